"""EXTENDED COPY: what a list may have wrong, where a copy stops, and what RECEIVE COPY RESULTS tells of it (SPC-4 6.4, 6.18)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.disk.scsi_helpers import information, sense_code
from vsw.disk.blocks import MemoryBlocks
from vsw.disk.scsi import LogicalUnit, Target
from vsw.disk.scsi.commands import Reply

#: One more than there may be segments, and results that are kept.
MANY = 65


def copy_list(
    targets: list[bytes],
    segments: list[bytes],
    *,
    identifier: int = 7,
    target_bytes: int | None = None,
    segment_bytes: int | None = None,
    inline: int = 0,
) -> bytes:
    first, second = b"".join(targets), b"".join(segments)
    head = bytes((identifier, 0)) + (len(first) if target_bytes is None else target_bytes).to_bytes(2, "big") + bytes(4)
    return (
        head
        + (len(second) if segment_bytes is None else segment_bytes).to_bytes(4, "big")
        + inline.to_bytes(4, "big")
        + first
        + second
        + bytes(inline)
    )


def named(identifier: bytes, *, kind: int = 0xE4, lun_type: int = 0, length: int = 8) -> bytes:
    return bytes((kind, lun_type, 0, 0, 1, 3, 0, length)) + identifier + bytes(12) + b"\0\0\x02\0"


def stretch(
    source: int = 0, target: int = 1, blocks: int = 4, start: int = 0, end: int = 0, *, kind: int = 2, length: int = 24, flags: int = 0
) -> bytes:
    numbers = source.to_bytes(2, "big") + target.to_bytes(2, "big") + bytes(2) + blocks.to_bytes(2, "big")
    return bytes((kind, flags)) + length.to_bytes(2, "big") + numbers + start.to_bytes(8, "big") + end.to_bytes(8, "big")


class Copying:
    """Two units of one target: the first one's blocks are of 512 bytes, the second one's of 4096."""

    def __init__(self) -> None:
        self.source, self.destination = (
            LogicalUnit(MemoryBlocks(1 << 20), serial="one"),
            LogicalUnit(MemoryBlocks(1 << 20), serial="two", block_size=4096),
        )
        self.source.blocks.write(0, os.urandom(64 << 10))
        self.nexus = Target("iqn.2026-01.example.lab:two", {0: self.source, 5: self.destination}).connect(b"x")
        for lun in (0, 5):
            self.nexus.execute(lun, bytes(6))
        self.both = [named(self.source.identifier), named(self.destination.identifier)]

    def copy(self, listing: bytes, wanted: int | None = None) -> Reply:
        length = (len(listing) if wanted is None else wanted).to_bytes(4, "big")
        return self.nexus.execute(0, b"\x83\0" + bytes(8) + length + b"\0\0", listing)

    def status(self, identifier: int = 7) -> Reply:
        return self.nexus.execute(0, bytes((0x84, 0, identifier)) + bytes(7) + b"\0\0\0\xff\0\0")


#: What a list has wrong, and the sense code.  Nothing is copied then.
BAD_LISTS: dict[str, tuple[Callable[[Copying], bytes], tuple[int, int, int]]] = {
    "shorter than its head": (lambda c: bytes(15), (5, 0x1A, 0)),
    "targets beyond its end": (lambda c: copy_list(c.both, [], target_bytes=96), (5, 0x1A, 0)),
    "segments beyond its end": (lambda c: copy_list(c.both, [stretch()], segment_bytes=56), (5, 0x1A, 0)),
    "a segment that is cut": (lambda c: copy_list(c.both, [stretch()[:-1]]), (5, 0x1A, 0)),
    "data in it": (lambda c: copy_list(c.both, [stretch()], inline=4), (5, 0x26, 0)),
    "half a target": (lambda c: copy_list([*c.both, bytes(16)], []), (5, 0x26, 0)),
    "too many targets": (lambda c: copy_list(c.both * 9, []), (5, 0x26, 6)),
    "another kind of target": (lambda c: copy_list([named(c.source.identifier, kind=0xE0)], []), (5, 0x26, 7)),
    "a proxy token": (lambda c: copy_list([named(c.source.identifier, lun_type=0x40)], []), (5, 0x26, 0)),
    "a designator that is too long": (lambda c: copy_list([named(c.source.identifier, length=21)], []), (5, 0x26, 0)),
    "another kind of segment": (lambda c: copy_list(c.both, [stretch(kind=0)]), (5, 0x26, 9)),
    "a segment of another length": (lambda c: copy_list(c.both, [stretch(length=20)]), (5, 0x26, 0)),
}


@pytest.mark.parametrize("what", BAD_LISTS)
def test_a_copy_that_is_asked_for_wrongly(what: str) -> None:
    copying = Copying()
    make, code = BAD_LISTS[what]
    assert sense_code(copying.copy(make(copying))) == code
    assert not any(copying.destination.blocks.read(0, 64 << 10))
    assert sense_code(copying.status())[0] == 5  # it never began


def test_too_many_segments() -> None:
    copying = Copying()
    code = sense_code(copying.copy(copy_list([copying.both[0]], [stretch(0, 0)] * MANY)))
    assert code == (5, 0x26, 8)


#: The second of two segments fails: its place is told, and the first one is copied.
LAST_SEGMENTS: dict[str, tuple[bytes, tuple[int, int, int]]] = {
    "no such target": (stretch(0, 3), (0xA, 8, 4)),
    "a unit of somebody else": (stretch(0, 2), (0xA, 0xD, 2)),
    "half a block": (stretch(0, 1, blocks=3), (0xA, 0, 0)),
    "from beyond the end": (stretch(0, 1, blocks=8, start=2041), (0xA, 0, 0)),
    "to beyond the end": (stretch(0, 1, blocks=8, end=256), (0xA, 0, 0)),
}


@pytest.mark.parametrize("what", LAST_SEGMENTS)
def test_a_copy_that_ends_in_the_middle_tells_where(what: str) -> None:
    copying = Copying()
    segment, code = LAST_SEGMENTS[what]
    reply = copying.copy(copy_list([*copying.both, named(b"nobody's")], [stretch(blocks=8), segment]))
    assert (sense_code(reply), information(reply)) == (code, 1)
    assert copying.destination.blocks.read(0, 8192) == copying.source.blocks.read(0, 4096) + bytes(4096)
    status = copying.status().data
    assert (status[4], int.from_bytes(status[5:7], "big")) == (2, 1)


def test_a_copy_onto_what_is_protected_does_not_happen() -> None:
    copying = Copying()
    page = bytearray(copying.nexus.execute(5, bytes.fromhex("1a080a00ff00")).data[4:])
    page[4] |= 8
    assert copying.nexus.execute(5, bytes.fromhex("151000001000"), bytes(4) + bytes(page)).status == 0
    assert sense_code(copying.copy(copy_list(copying.both, [stretch(blocks=8)]))) == (0xA, 0xD, 2)
    assert not any(copying.destination.blocks.read(0, 4096))


def test_a_copy_of_blocks_of_the_destination_and_of_nothing() -> None:
    copying = Copying()
    assert copying.copy(b"", wanted=0).status == 0
    assert copying.copy(copy_list(copying.both, [stretch(blocks=2, end=1, flags=2)])).status == 0
    assert copying.destination.blocks.read(4096, 8192) == copying.source.blocks.read(0, 8192)


def test_a_copy_within_a_unit_whose_ranges_overlap() -> None:
    for start, end in ((0, 3), (3, 0)):
        copying = Copying()
        before = copying.source.blocks.read(start * 512, 8 * 512)
        assert copying.copy(copy_list(copying.both[:1], [stretch(0, 0, blocks=8, start=start, end=end)])).status == 0
        assert copying.source.blocks.read(end * 512, 8 * 512) == before


def test_results_of_the_last_copies_are_kept() -> None:
    copying = Copying()
    for identifier in range(MANY):
        assert copying.copy(copy_list(copying.both[:1], [], identifier=identifier)).status == 0
    assert sense_code(copying.status(0))[0] == 5
    assert copying.status(1).data[4] == copying.status(MANY - 1).data[4] == 1


def test_what_can_be_copied_is_told() -> None:
    """VPD page 8Fh: descriptors of commands, limits and descriptor kinds, each a multiple of four bytes."""
    page = Copying().nexus.execute(0, bytes.fromhex("12018f00ff00")).data
    assert page[1] == 0x8F
    rest = page[4 : 4 + int.from_bytes(page[2:4], "big")]
    found = {}
    while rest:
        length = int.from_bytes(rest[2:4], "big")
        assert (length + 4) % 4 == 0
        found[int.from_bytes(rest[:2], "big")] = rest[4 : 4 + length]
        rest = rest[4 + length :]
    assert found[1].rstrip(b"\0")[:4] == bytes((7, 0x83, 1, 0))
    assert int.from_bytes(found[4][4:6], "big") == 16
    assert int.from_bytes(found[4][6:8], "big") == MANY - 1
    assert found[8][:3] == bytes((2, 2, 0xE4))
