"""Medium access: reading, writing, verifying, comparing, flushing (SBC-3 5).

Positions and lengths come out of the CDB in one place (:func:`span`); whoever has a span knows that it lies within the disk.
"""

# ruff: noqa: ARG001  (every handler takes what any of them needs)

from __future__ import annotations

from typing import TYPE_CHECKING

from .commands import Access, DataOut, Reply, command
from .limits import LARGEST_COMPARE, LARGEST_TRANSFER
from .sense import (
    INVALID_FIELD_UNIT,
    LBA_OUT_OF_RANGE,
    MISCOMPARE_VERIFY,
    CheckCondition,
    Key,
    Status,
    fault,
    illegal,
    invalid_cdb,
)

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

FUA = 0x08
PIECE = 1 << 20
"""Bytes compared or modified at a time."""

LAYOUT = {
    # CDB bytes: (where LBA starts, its bytes, where the number of blocks starts, its bytes)
    6: (1, 3, 4, 1),
    10: (2, 4, 7, 2),
    12: (2, 4, 6, 4),
    16: (2, 8, 10, 4),
}


def decode(cdb: bytes) -> tuple[int, int]:
    """``(first block, number of blocks)`` as the CDB has them; READ(6) and WRITE(6) mean 256 by 0."""
    at, size, count_at, count_size = LAYOUT[len(cdb)]
    lba = int.from_bytes(cdb[at : at + size], "big")
    blocks = int.from_bytes(cdb[count_at : count_at + count_size], "big")
    if len(cdb) == 6:
        lba &= 0x1FFFFF
        blocks = blocks or 256
    return lba, blocks


def within(unit: LogicalUnit, lba: int, blocks: int) -> None:
    """Raise LBA OUT OF RANGE unless the blocks lie within the disk; the information field has the first that does not."""
    if lba + blocks > unit.count:
        raise CheckCondition(Key.ILLEGAL_REQUEST, LBA_OUT_OF_RANGE, information=max(lba, unit.count))


def span(unit: LogicalUnit, cdb: bytes) -> tuple[int, int]:
    """``(first block, number of blocks)`` of the CDB, which lie within the disk and fit into one transfer."""
    lba, blocks = decode(cdb)
    within(unit, lba, blocks)
    if blocks * unit.block_size > LARGEST_TRANSFER:
        raise invalid_cdb(LAYOUT[len(cdb)][2])
    return lba, blocks


def transfer_length(unit: LogicalUnit, cdb: bytes) -> int:
    """Data-out of a write: its blocks, as far as one command may transfer."""
    return min(decode(cdb)[1] * unit.block_size, LARGEST_TRANSFER)


def compared_length(unit: LogicalUnit, cdb: bytes) -> int:
    """Data-out of VERIFY: its blocks (BYTCHK 01b), one block (11b), or none."""
    check = cdb[1] >> 1 & 3
    return transfer_length(unit, cdb) if check == 1 else unit.block_size if check == 3 else 0


def whole_blocks(unit: LogicalUnit, data: DataOut, blocks: int) -> memoryview:
    """The data for ``blocks`` blocks. An initiator that announced fewer gets them written, and learns of the rest by the residual."""
    wanted = blocks * unit.block_size
    view = data.view[:wanted]
    if len(view) % unit.block_size:
        raise illegal(INVALID_FIELD_UNIT)
    return view


# Reading.


def _read(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytearray:
    lba, blocks = span(unit, cdb)
    if len(cdb) > 6 and cdb[1] & FUA and not unit.protected:
        unit.blocks.flush()
    buffer = bytearray(blocks * unit.block_size)
    try:
        unit.blocks.readinto(lba * unit.block_size, buffer)
    except OSError as error:
        raise fault(error, False, lba) from error
    return buffer


def _write(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    lba, blocks = span(unit, cdb)
    fua = (len(cdb) > 6 and bool(cdb[1] & FUA)) or not unit.modes.write_cache
    _put(unit, lba, whole_blocks(unit, data, blocks), fua)


def _put(unit: LogicalUnit, lba: int, view: memoryview, fua: bool) -> None:
    try:
        unit.blocks.write(lba * unit.block_size, view, fua=fua)
    except OSError as error:
        raise fault(error, True, lba) from error


for _usage, _name in (
    ("08 1f ff ff ff 00", "READ(6)"),
    ("28 18 ff ff ff ff 1f ff ff 00", "READ(10)"),
    ("a8 18 ff ff ff ff ff ff ff ff 1f 00", "READ(12)"),
    ("88 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", "READ(16)"),
):
    # A read that the gate does not let pass may have to wait for a device.
    command(_usage, _name, access=Access.READ, ready=True, lengthy=True)(_read)

for _usage, _name in (
    ("0a 1f ff ff ff 00", "WRITE(6)"),
    ("2a 18 ff ff ff ff 1f ff ff 00", "WRITE(10)"),
    ("aa 18 ff ff ff ff ff ff ff ff 1f 00", "WRITE(12)"),
    ("8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", "WRITE(16)"),
):
    command(_usage, _name, access=Access.WRITE, ready=True, writes=True, out=transfer_length)(_write)


@command(
    "9c 18 ff ff ff ff ff ff ff ff 00 00 ff ff 1f 00",
    "WRITE ATOMIC(16)",
    access=Access.WRITE,
    ready=True,
    writes=True,
    alone=True,
    out=lambda unit, cdb: min(int.from_bytes(cdb[12:14], "big") * unit.block_size, LARGEST_TRANSFER),
    when=lambda unit: unit.atomic_blocks > 0,
)
def write_atomic(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    lba = int.from_bytes(cdb[2:10], "big")
    blocks = int.from_bytes(cdb[12:14], "big")
    within(unit, lba, blocks)
    if blocks > unit.atomic_blocks:
        raise invalid_cdb(12)
    view = data.view[: blocks * unit.block_size]
    if len(view) < blocks * unit.block_size:  # half of it would not be atomic
        raise illegal(INVALID_FIELD_UNIT)
    _put(unit, lba, view, bool(cdb[1] & FUA) or not unit.modes.write_cache)


# Verifying.


def _compare(unit: LogicalUnit, lba: int, expected: memoryview) -> None:
    """Raise MISCOMPARE with the offset of the first byte that differs."""
    buffer = memoryview(bytearray(min(PIECE, len(expected))))
    for start in range(0, len(expected), PIECE):
        want = expected[start : start + PIECE]
        have = buffer[: len(want)]
        try:
            unit.blocks.readinto(lba * unit.block_size + start, have)
        except OSError as error:
            raise fault(error, False, lba + start // unit.block_size) from error
        if have != want:
            raise CheckCondition(Key.MISCOMPARE, MISCOMPARE_VERIFY, information=start + _first_difference(have, want))


def _first_difference(one: memoryview, other: memoryview) -> int:
    low, high = 0, len(one)
    while high - low > 1:  # one[low:high] differs, one[:low] does not
        middle = (low + high) // 2
        if one[low:middle] != other[low:middle]:
            high = middle
        else:
            low = middle
    return low


def _readable(unit: LogicalUnit, lba: int, blocks: int) -> None:
    """Read without comparing: the medium is there and readable."""
    stop = (lba + blocks) * unit.block_size
    buffer = memoryview(bytearray(min(PIECE, blocks * unit.block_size)))
    for start in range(lba * unit.block_size, stop, PIECE):
        try:
            unit.blocks.readinto(start, buffer[: min(PIECE, stop - start)])
        except OSError as error:
            raise fault(error, False, start // unit.block_size) from error


def _verify(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    lba, blocks = span(unit, cdb)
    check = cdb[1] >> 1 & 3
    match check:
        case 0:
            _readable(unit, lba, blocks)
        case 1:
            _compare(unit, lba, whole_blocks(unit, data, blocks))
        case 3:
            pattern = whole_blocks(unit, data, 1)
            for block in range(lba, lba + blocks if len(pattern) else lba):
                _compare(unit, block, pattern)
        case _:
            raise invalid_cdb(1, 2)


for _usage, _name in (
    ("2f 16 ff ff ff ff 1f ff ff 00", "VERIFY(10)"),
    ("af 16 ff ff ff ff ff ff ff ff 1f 00", "VERIFY(12)"),
    ("8f 16 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", "VERIFY(16)"),
):
    command(_usage, _name, access=Access.READ, ready=True, out=compared_length)(_verify)


def _write_and_verify(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    check = cdb[1] >> 1 & 3
    if check > 1:
        raise invalid_cdb(1, 2)
    lba, blocks = span(unit, cdb)
    view = whole_blocks(unit, data, blocks)
    _put(unit, lba, view, True)
    if check:
        _compare(unit, lba, view)
    else:
        _readable(unit, lba, len(view) // unit.block_size)


for _usage, _name in (
    ("2e 16 ff ff ff ff 1f ff ff 00", "WRITE AND VERIFY(10)"),
    ("ae 16 ff ff ff ff ff ff ff ff 1f 00", "WRITE AND VERIFY(12)"),
    ("8e 16 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", "WRITE AND VERIFY(16)"),
):
    command(_usage, _name, access=Access.WRITE, ready=True, writes=True, out=transfer_length)(_write_and_verify)


# Read, compute, write: nobody else may come between.


@command(
    "89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 1f 00",
    "COMPARE AND WRITE",
    access=Access.WRITE,
    ready=True,
    writes=True,
    alone=True,
    out=lambda unit, cdb: 2 * cdb[13] * unit.block_size,
)
def compare_and_write(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    lba = int.from_bytes(cdb[2:10], "big")
    blocks = cdb[13]
    if blocks > LARGEST_COMPARE:
        raise invalid_cdb(13)
    within(unit, lba, blocks)
    half = blocks * unit.block_size
    if data.announced != 2 * half or len(data.view) != 2 * half:
        raise invalid_cdb(13)
    _compare(unit, lba, data.view[:half])
    _put(unit, lba, data.view[half:], bool(cdb[1] & FUA) or not unit.modes.write_cache)


@command(
    "8b 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00",
    "ORWRITE(16)",
    access=Access.WRITE,
    ready=True,
    writes=True,
    alone=True,
    out=transfer_length,
)
def or_write(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    lba, blocks = span(unit, cdb)
    view = whole_blocks(unit, data, blocks)
    fua = bool(cdb[1] & FUA) or not unit.modes.write_cache
    for start in range(0, len(view), PIECE):
        mask = view[start : start + PIECE]
        at = lba + start // unit.block_size
        old = bytearray(len(mask))
        try:
            unit.blocks.readinto(at * unit.block_size, old)
        except OSError as error:
            raise fault(error, False, at) from error
        new = int.from_bytes(old, "little") | int.from_bytes(mask, "little")
        _put(unit, at, memoryview(new.to_bytes(len(mask), "little")), fua)


# The cache.


def _synchronize(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    within(unit, *decode(cdb))
    unit.blocks.flush()


def _prefetch(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> Reply:
    lba, blocks = decode(cdb)
    within(unit, lba, blocks)
    wanted = (blocks or unit.count - lba) * unit.block_size
    unit.blocks.prefetch(lba * unit.block_size, min(wanted, LARGEST_TRANSFER))
    return Reply(Status.CONDITION_MET if wanted <= LARGEST_TRANSFER else Status.GOOD)



for _usage, _name in (
    ("35 06 ff ff ff ff 1f ff ff 00", "SYNCHRONIZE CACHE(10)"),
    ("91 06 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", "SYNCHRONIZE CACHE(16)"),
):
    command(_usage, _name, access=Access.WRITE, ready=True, lengthy=True)(_synchronize)

for _usage, _name in (
    ("34 02 ff ff ff ff 1f ff ff 00", "PRE-FETCH(10)"),
    ("90 02 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", "PRE-FETCH(16)"),
):
    command(_usage, _name, access=Access.READ, ready=True)(_prefetch)
