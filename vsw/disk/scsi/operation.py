"""Operating the drive: START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, FORMAT UNIT, SANITIZE (SBC-3 5).

Ejecting takes the medium away from the guest, not the file from the host: loading puts the same one back. Without LOEJ nothing
happens, since nothing spins.
"""

# ruff: noqa: ARG001  (every handler takes what any of them needs)

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .commands import Access, DataOut, Later, command, parameter_list
from .sense import (
    PARAMETER_LENGTH,
    REMOVAL_PREVENTED,
    SANITIZE_FAILED,
    CheckCondition,
    Key,
    ReservationConflict,
    illegal,
    invalid_cdb,
    invalid_parameter,
)

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

PIECE = 1 << 20
ZERO_PIECE = 1 << 30
"""Bytes between two looks at the progress."""


@command("1b 01 00 0f f7 00", "START STOP UNIT", alone=True)
def start_stop_unit(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    if unit.sanitizing is not None and (sense := unit.unready()):
        raise CheckCondition(sense.key, sense.code)
    condition, load, start = cdb[4] >> 4, bool(cdb[4] & 0x02), bool(cdb[4] & 0x01)
    if not (start and condition == 0) and unit.reservations.conflicts(presence, write=True):
        raise ReservationConflict
    if condition or not load:
        if not start and unit.loaded and not cdb[4] & 0x04:
            unit.blocks.flush()
        return
    if not unit.removable:
        raise invalid_cdb(4, 1)
    if start == unit.loaded:
        return
    if any(other.prevents for other in unit.presences):  # the tray is locked, whichever way it would move
        raise CheckCondition(Key.ILLEGAL_REQUEST, REMOVAL_PREVENTED)
    if start:
        unit.loaded = True
        unit.medium_changed(presence)
    else:
        unit.blocks.flush()
        unit.loaded = False


@command("1e 00 00 00 03 00", "PREVENT ALLOW MEDIUM REMOVAL", alone=True)
def prevent_allow(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    if cdb[4] & 0x02:
        raise invalid_cdb(4, 1)
    prevent = bool(cdb[4] & 0x01)
    if prevent and unit.reservations.conflicts(presence, write=True):
        raise ReservationConflict
    presence.prevents = prevent


# Operations on the whole medium, which report their progress while they run.


def _whole(unit: LogicalUnit, work: Callable[[], None], immediate: bool) -> Later | None:
    """Run ``work`` with the unit not ready; the caller has the unit alone. Aborts and resets do not stop it (SBC-3 4.11)."""
    unit.sanitizing = 0.0
    unit.sanitize_failed = False
    failed: list[OSError] = []

    def run() -> None:
        try:
            work()
            unit.blocks.flush()
        except OSError as error:
            failed.append(error)
        with unit.alone():
            unit.sanitizing = None
            unit.sanitize_failed = bool(failed)

    if immediate:
        threading.Thread(target=run, name="vsw-sanitize", daemon=True).start()
        return None

    def finish() -> None:
        run()
        if failed:
            raise CheckCondition(Key.MEDIUM_ERROR, SANITIZE_FAILED)

    return finish


def _zero(unit: LogicalUnit, unmap: bool) -> None:
    size = unit.blocks.size
    for start in range(0, size, ZERO_PIECE):
        unit.blocks.write_zeroes(start, min(ZERO_PIECE, size - start), unmap)
        unit.sanitizing = start / size


def _overwrite(unit: LogicalUnit, pattern: bytes, passes: int, invert: bool) -> None:
    size = unit.blocks.size
    block = (pattern * (unit.block_size // len(pattern) + 1))[: unit.block_size]
    inverse = bytes(byte ^ 0xFF for byte in block)
    for number in range(passes):
        # With INVERT each pass writes the inverse of the one before; the last pass writes the pattern as given.
        chosen = inverse if invert and (passes - 1 - number) % 2 else block
        piece = memoryview(chosen * (PIECE // unit.block_size))
        for start in range(0, size, PIECE):
            unit.blocks.write(start, piece[: size - start])
            unit.sanitizing = (number + start / size) / passes


SANITIZE = "48 a0 00 00 00 00 00 ff ff 00"


@command(
    SANITIZE,
    "SANITIZE, OVERWRITE",
    action=1,
    access=Access.WRITE,
    writes=True,
    alone=True,
    lengthy=True,
    unstoppable=True,
    out=parameter_list(7, 2),
)
def sanitize_overwrite(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> Later | None:
    _sanitizable(unit)
    wanted = int.from_bytes(cdb[7:9], "big")
    if wanted < 5 or wanted > unit.block_size + 4:
        raise invalid_cdb(7)
    listing = bytes(data.view[:wanted])
    if len(listing) < wanted:
        raise illegal(PARAMETER_LENGTH)
    passes = listing[0] & 0x1F
    length = int.from_bytes(listing[2:4], "big")
    if listing[0] & 0x60:  # TEST: vendor specific patterns
        raise invalid_parameter(0, 6)
    if passes == 0:
        raise invalid_parameter(0, 4)
    if length == 0 or length > unit.block_size:
        raise invalid_parameter(2)
    if length != wanted - 4:
        raise illegal(PARAMETER_LENGTH)
    return _whole(unit, lambda: _overwrite(unit, listing[4:], passes, bool(listing[0] & 0x80)), bool(cdb[1] & 0x80))


@command(
    SANITIZE,
    "SANITIZE, BLOCK ERASE",
    action=2,
    access=Access.WRITE,
    writes=True,
    alone=True,
    lengthy=True,
    unstoppable=True,
    out=parameter_list(7, 2),
    when=lambda unit: unit.thin,
)
def sanitize_block_erase(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> Later | None:
    _sanitizable(unit)
    if any(cdb[7:9]):
        raise invalid_cdb(7)
    return _whole(unit, lambda: _zero(unit, True), bool(cdb[1] & 0x80))


@command(SANITIZE, "SANITIZE, EXIT FAILURE MODE", action=0x1F, access=Access.WRITE, alone=True, out=parameter_list(7, 2))
def sanitize_exit_failure_mode(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    if any(cdb[7:9]):
        raise invalid_cdb(7)
    unit.sanitize_failed = False


def _sanitizable(unit: LogicalUnit) -> None:
    """After a failed sanitize another one may be tried; otherwise the medium must be ready."""
    sense = unit.unready()
    if sense is not None and not unit.sanitize_failed:
        raise CheckCondition(sense.key, sense.code)


@command("04 00 00 00 00 00", "FORMAT UNIT", access=Access.WRITE, writes=True, ready=True, alone=True, lengthy=True, unstoppable=True)
def format_unit(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> Later | None:
    return _whole(unit, lambda: _zero(unit, unit.thin), False)
