"""Thin provisioning: UNMAP, WRITE SAME, GET LBA STATUS (SBC-3 4.7).

Unmapped blocks read as zeroes here (LBPRZ), so unmapping is ``write_zeroes(unmap=True)`` of the backend, never its ``discard``.
"""

# ruff: noqa: ARG001  (every handler takes what any of them needs)

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks import Kind
from .commands import Access, DataOut, allocation, command, parameter_list
from .limits import LARGEST_UNMAP, LARGEST_WRITE_SAME, UNMAP_DESCRIPTORS
from .medium import decode, within
from .sense import INVALID_FIELD_UNIT, PARAMETER_LENGTH, fault, illegal, invalid_cdb, invalid_parameter

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

PIECE = 1 << 20
STATUS_WINDOW = 1 << 34
"""Bytes that one GET LBA STATUS looks at, however many fewer its allocation length would hold."""
STATUS_DESCRIPTORS = 1024
MAPPED, DEALLOCATED = 0, 1


@command(
    "42 00 00 00 00 00 1f ff ff 00",
    "UNMAP",
    access=Access.WRITE,
    ready=True,
    writes=True,
    lengthy=True,
    out=parameter_list(7, 2),
    when=lambda unit: unit.thin,
)
def unmap(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    wanted = int.from_bytes(cdb[7:9], "big")
    if wanted == 0:
        return
    listing = bytes(data.view[:wanted])
    if wanted < 8 or len(listing) < wanted:
        raise illegal(PARAMETER_LENGTH)
    size = int.from_bytes(listing[2:4], "big")
    descriptors = min(size, len(listing) - 8) // 16
    if descriptors > UNMAP_DESCRIPTORS:
        raise invalid_parameter(2)
    ranges = []
    for at in range(8, 8 + 16 * descriptors, 16):
        lba = int.from_bytes(listing[at : at + 8], "big")
        blocks = int.from_bytes(listing[at + 8 : at + 12], "big")
        within(unit, lba, blocks)
        ranges.append((lba, blocks))
    if sum(blocks for _, blocks in ranges) > LARGEST_UNMAP:
        raise invalid_parameter(8)
    for lba, blocks in ranges:
        try:
            unit.blocks.write_zeroes(lba * unit.block_size, blocks * unit.block_size, True)
        except OSError as error:
            raise fault(error, True, lba) from error


def _write_same(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    flags = cdb[1]
    wants_unmap = bool(flags & 0x08)
    if wants_unmap and not unit.thin:
        raise invalid_cdb(1, 3)
    no_data = len(cdb) == 16 and bool(flags & 0x01)
    lba, blocks = decode(cdb)
    within(unit, lba, max(blocks, 1))
    blocks = blocks or unit.count - lba  # none: to the end of the medium
    if blocks > LARGEST_WRITE_SAME:
        raise invalid_cdb(10 if len(cdb) == 16 else 7)
    if no_data:
        pattern = bytes(unit.block_size)
    else:
        if data.announced != unit.block_size or len(data.view) != unit.block_size:
            raise illegal(INVALID_FIELD_UNIT)
        pattern = bytes(data.view)
    offset, length = lba * unit.block_size, blocks * unit.block_size
    try:
        if not any(pattern):
            unit.blocks.write_zeroes(offset, length, wants_unmap)
        else:
            repeated = memoryview(pattern * (min(PIECE, length) // unit.block_size))
            for start in range(offset, offset + length, len(repeated)):
                unit.blocks.write(start, repeated[: offset + length - start])
        if not unit.modes.write_cache:
            unit.blocks.flush()
    except OSError as error:
        raise fault(error, True, lba) from error


@command(
    "41 08 ff ff ff ff 1f ff ff 00",
    "WRITE SAME(10)",
    access=Access.WRITE,
    ready=True,
    writes=True,
    lengthy=True,
    out=lambda unit, _: unit.block_size,
)
def write_same_10(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _write_same(unit, presence, cdb, data)


@command(
    "93 09 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00",
    "WRITE SAME(16)",
    access=Access.WRITE,
    ready=True,
    writes=True,
    lengthy=True,
    out=lambda unit, cdb: 0 if cdb[1] & 1 else unit.block_size,
)
def write_same_16(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _write_same(unit, presence, cdb, data)


@command(
    "9e 00 ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
    "GET LBA STATUS",
    action=0x12,
    access=Access.READ,
    ready=True,
    when=lambda unit: unit.thin,
)
def get_lba_status(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    lba, _ = decode(cdb)
    within(unit, lba, 1)
    room = int.from_bytes(cdb[10:14], "big")
    most = max(1, min((room - 8) // 16, STATUS_DESCRIPTORS))
    size = unit.block_size
    length = min((unit.count - lba) * size, STATUS_WINDOW)
    try:
        extents = unit.blocks.extents(lba * size, length)
    except OSError as error:
        raise fault(error, False, lba) from error
    # A block counts as mapped if any byte of it is: extents of the backend need not end at a block's edge.
    runs: list[tuple[int, int, int]] = []
    at = lba
    for extent in extents:
        state = DEALLOCATED if extent.kind is Kind.HOLE else MAPPED
        end = extent.offset + extent.length
        stop = end // size if state == DEALLOCATED else -(-end // size)
        if stop <= at:
            continue
        if runs and runs[-1][2] == state:
            runs[-1] = (runs[-1][0], stop - runs[-1][0], state)
        else:
            runs.append((at, stop - at, state))
        at = stop
    body = b"".join(start.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes((state, 0, 0, 0)) for start, blocks, state in runs[:most])
    return allocation(cdb, 10, 4, (len(body) + 4).to_bytes(4, "big") + bytes(4) + body)
