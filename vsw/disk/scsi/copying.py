"""Third-party copy: EXTENDED COPY and RECEIVE COPY RESULTS (SPC-4 6.4 and 6.18), block to block between units of one target.

What hypervisors use it for: cloning a disk without moving its bytes over the wire.

The copy runs after its own command has left the unit, with source and destination entered in one order for all copies, so that two copies in
opposite directions and two commands that want a unit alone can't wait for each other.
"""

# ruff: noqa: ARG001  (every handler takes what any of them needs)

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .commands import DataOut, Later, allocation, command, parameter_list
from .limits import LARGEST_COPY
from .sense import (
    COPY_TARGET_UNREACHABLE,
    NO_ADDITIONAL,
    PARAMETER_LENGTH,
    TARGET_UNREACHABLE,
    TOO_MANY_SEGMENTS,
    TOO_MANY_TARGETS,
    UNSUPPORTED_SEGMENT,
    UNSUPPORTED_TARGET,
    CheckCondition,
    Code,
    Key,
    illegal,
    invalid_cdb,
    invalid_parameter,
)

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

HEAD = 16
TARGET_BYTES = 32
SEGMENT_BYTES = 28
IDENTIFICATION = 0xE4
BLOCK_TO_BLOCK = 0x02
MOST_TARGETS = 16
MOST_SEGMENTS = 64
LONGEST_LIST = MOST_TARGETS * TARGET_BYTES + MOST_SEGMENTS * SEGMENT_BYTES
KEPT_RESULTS = 64
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch to copy; source and destination are indexes of the target descriptors, positions are in their blocks."""

    source: int
    destination: int
    blocks: int
    in_destination_blocks: bool
    source_lba: int
    destination_lba: int


def aborted(code: Code, segment: int) -> CheckCondition:
    """COPY ABORTED; the information field tells how many segments were done."""
    return CheckCondition(Key.COPY_ABORTED, code, information=segment)


@command("83 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00", "EXTENDED COPY", action=0, lengthy=True, out=parameter_list(10, 4))
def extended_copy(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> Later | None:
    wanted = int.from_bytes(cdb[10:14], "big")
    if wanted == 0:
        return None
    listing = bytes(data.view[:wanted])
    if wanted < HEAD or len(listing) < wanted:
        raise illegal(PARAMETER_LENGTH)
    target_bytes = int.from_bytes(listing[2:4], "big")
    segment_bytes = int.from_bytes(listing[8:12], "big")
    inline = int.from_bytes(listing[12:16], "big")
    if target_bytes + segment_bytes > LONGEST_LIST or HEAD + target_bytes + segment_bytes + inline > wanted:
        raise illegal(PARAMETER_LENGTH)
    if inline:
        raise invalid_parameter(12)
    if target_bytes % TARGET_BYTES:
        raise invalid_parameter(2)
    if target_bytes > MOST_TARGETS * TARGET_BYTES:
        raise invalid_parameter(2, code=TOO_MANY_TARGETS)
    targets = [_target(presence, listing, at) for at in range(HEAD, HEAD + target_bytes, TARGET_BYTES)]
    segments = _segments(listing, HEAD + target_bytes, HEAD + target_bytes + segment_bytes)
    identifier = listing[0]

    def run() -> None:
        done = 0
        try:
            for done, segment in enumerate(segments):
                _copy(done, segment, targets)
        except CheckCondition:
            _remember(unit, presence, identifier, 2, done)
            raise
        _remember(unit, presence, identifier, 1, len(segments))

    return run


def _remember(unit: LogicalUnit, presence: Presence, identifier: int, status: int, segments: int) -> None:
    results = unit.copy_results
    results.pop((presence.identity, identifier), None)
    results[presence.identity, identifier] = (status, segments)
    while len(results) > KEPT_RESULTS:
        results.pop(next(iter(results)), None)


def _target(presence: Presence, listing: bytes, at: int) -> Presence | None:
    """Whom an identification descriptor names; ``None`` if this target has no such unit."""
    descriptor = listing[at : at + TARGET_BYTES]
    if descriptor[0] != IDENTIFICATION:
        raise invalid_parameter(at, code=UNSUPPORTED_TARGET)
    if descriptor[1] & 0xC0:  # LU ID TYPE: only logical unit numbers
        raise invalid_parameter(at + 1, 7)
    if descriptor[1] & 0x20:  # NUL: no device
        return None
    code_set, kind, length = descriptor[4] & 0x0F, descriptor[5] & 0x3F, descriptor[7]
    if length > 20:
        raise invalid_parameter(at + 7)
    wanted = (code_set, kind, descriptor[8 : 8 + length])
    for lun in presence.nexus.luns():
        candidate = presence.nexus.presence(lun)
        if candidate is not None and wanted in candidate.unit.designators():
            return candidate
    return None


def _segments(listing: bytes, at: int, stop: int) -> list[Segment]:
    found = []
    while at < stop:
        if listing[at] != BLOCK_TO_BLOCK:
            raise invalid_parameter(at, code=UNSUPPORTED_SEGMENT)
        if stop - at < SEGMENT_BYTES:
            raise illegal(PARAMETER_LENGTH)
        part = listing[at : at + SEGMENT_BYTES]
        if int.from_bytes(part[2:4], "big") != SEGMENT_BYTES - 4:
            raise invalid_parameter(at + 2)
        found.append(
            Segment(
                int.from_bytes(part[4:6], "big"),
                int.from_bytes(part[6:8], "big"),
                int.from_bytes(part[10:12], "big"),
                bool(part[1] & 0x02),
                int.from_bytes(part[12:20], "big"),
                int.from_bytes(part[20:28], "big"),
            )
        )
        if len(found) > MOST_SEGMENTS:
            raise invalid_parameter(8, code=TOO_MANY_SEGMENTS)
        at += SEGMENT_BYTES
    return found


def _copy(number: int, segment: Segment, targets: list[Presence | None]) -> None:
    if segment.source >= len(targets) or segment.destination >= len(targets):
        raise aborted(TARGET_UNREACHABLE, number)
    source, destination = targets[segment.source], targets[segment.destination]
    if source is None or destination is None:
        raise aborted(COPY_TARGET_UNREACHABLE, number)
    length = segment.blocks * (destination if segment.in_destination_blocks else source).unit.block_size
    if length % source.unit.block_size or length % destination.unit.block_size or length > LARGEST_COPY:
        raise aborted(NO_ADDITIONAL, number)
    with ExitStack() as stack:
        for unit in sorted({source.unit, destination.unit}, key=id):
            stack.enter_context(unit.shared())
        for presence, write in ((source, False), (destination, True)):
            unit = presence.unit
            if unit.unready() or unit.reservations.conflicts(presence, write) or (write and unit.protected):
                raise aborted(COPY_TARGET_UNREACHABLE, number)
        start, end = segment.source_lba * source.unit.block_size, segment.destination_lba * destination.unit.block_size
        if start + length > source.unit.blocks.size or end + length > destination.unit.blocks.size:
            raise aborted(NO_ADDITIONAL, number)
        try:
            _move(source.unit, start, destination.unit, end, length)
        except OSError as error:
            raise aborted(NO_ADDITIONAL, number) from error


def _move(source: LogicalUnit, start: int, destination: LogicalUnit, end: int, length: int) -> None:
    """Copy piece by piece, from the far end if the ranges overlap that way."""
    buffer = memoryview(bytearray(min(PIECE, length)))
    places = range(0, length, PIECE)
    fua = not destination.modes.write_cache
    for at in reversed(places) if source is destination and start < end else places:
        piece = buffer[: min(PIECE, length - at)]
        source.blocks.readinto(start + at, piece)
        destination.blocks.write(end + at, piece, fua=fua)


RESULTS = "84 00 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00"


@command(RESULTS, "RECEIVE COPY RESULTS, COPY STATUS", action=0)
def copy_status(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    result = unit.copy_results.get((presence.identity, cdb[2]))
    if result is None:
        raise invalid_cdb(2)
    status, segments = result
    return allocation(cdb, 10, 4, (8).to_bytes(4, "big") + bytes((status,)) + segments.to_bytes(2, "big") + bytes(5))


@command(RESULTS, "RECEIVE COPY RESULTS, OPERATING PARAMETERS", action=3)
def copy_parameters(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    body = bytearray(44)
    body[4] = 0x01  # SNLID: commands without a list identifier
    body[8:10] = MOST_TARGETS.to_bytes(2, "big")
    body[10:12] = MOST_SEGMENTS.to_bytes(2, "big")
    body[12:16] = LONGEST_LIST.to_bytes(4, "big")
    body[16:20] = LARGEST_COPY.to_bytes(4, "big")
    body[34:36] = (1).to_bytes(2, "big")
    body[36] = 1
    body[37] = unit.block_size.bit_length() - 1
    body[43] = 2
    body += bytes((BLOCK_TO_BLOCK, IDENTIFICATION))
    body[0:4] = (len(body) - 4).to_bytes(4, "big")
    return allocation(cdb, 10, 4, body)


def third_party_page() -> bytes:
    """VPD page 8Fh: which copy commands and descriptors exist (SPC-4 7.8.17)."""

    def part(kind: int, body: bytes) -> bytes:
        body += bytes(-(len(body) + 4) % 4)
        return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body

    commands = bytes((0x83, 1, 0x00, 0x84, 2, 0x00, 0x03))
    limits = MOST_TARGETS.to_bytes(2, "big") + MOST_SEGMENTS.to_bytes(2, "big") + LONGEST_LIST.to_bytes(4, "big")
    return (
        part(0x0001, bytes((len(commands),)) + commands)
        + part(0x0004, bytes(4) + limits + bytes(16))
        + part(0x0008, bytes((2, BLOCK_TO_BLOCK, IDENTIFICATION)))
    )
