"""Mode pages: caching, control, error recovery, informational exceptions (SPC-4 7.5, SBC-3 6.5).

Only three bits can be changed: WCE (write cache), D_SENSE (format of sense data) and SWP (software write protect). Nothing is
saved, so a reset brings the defaults back. ``LAYOUT`` is data; the commands below only move it.
"""

# ruff: noqa: ARG001  (every handler takes what any of them needs)

from __future__ import annotations

from typing import TYPE_CHECKING

from .commands import Access, DataOut, allocation, command, parameter_list
from .sense import MODE_CHANGED, PARAMETER_LENGTH, SAVING_UNSUPPORTED, illegal, invalid_cdb, invalid_parameter

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

RECOVERY = 0x01
CACHING = 0x08
CONTROL = 0x0A
EXCEPTIONS = 0x1C
ALL_PAGES = 0x3F

WCE = (CACHING, 2, 0x04)
D_SENSE = (CONTROL, 2, 0x04)
SWP = (CONTROL, 4, 0x08)
"""Page, byte, bit."""

# The defaults, and the bits that MODE SELECT may change; both with the head of two bytes.
LAYOUT: dict[int, tuple[bytes, bytes]] = {
    # AWRE, and eight read retries, as a disk has them.
    RECOVERY: (bytes.fromhex("010a 8008 0000000000000000"), bytes.fromhex("010a 0000 0000000000000000")),
    # WCE set, no limit for prefetching, FSW.
    CACHING: (
        bytes.fromhex("0812 0400 0000 0000 ffff 0000 8020 0000 0000 0000"),
        bytes.fromhex("0812 0400 0000 0000 0000 0000 0000 0000 0000 0000"),
    ),
    # Unrestricted reordering, busy time-out unlimited.
    CONTROL: (bytes.fromhex("0a0a 0010 0000 0000 ffff 0000"), bytes.fromhex("0a0a 0400 0800 0000 0000 0000")),
    # DEXCPT, since nothing is predicted.
    EXCEPTIONS: (bytes.fromhex("1c0a 0800 0000 0000 0000 0000"), bytes.fromhex("1c0a 0000 0000 0000 0000 0000")),
}


class ModePages:
    """The current values of one logical unit's mode pages."""

    def __init__(self) -> None:
        self._pages = {page: bytearray(defaults) for page, (defaults, _) in LAYOUT.items()}

    def reset(self) -> None:
        """Back to the defaults."""
        self._pages = {page: bytearray(defaults) for page, (defaults, _) in LAYOUT.items()}

    def _bit(self, place: tuple[int, int, int]) -> bool:
        page, byte, mask = place
        return bool(self._pages[page][byte] & mask)

    @property
    def write_cache(self) -> bool:
        """WCE: a write may be answered before it is on stable storage."""
        return self._bit(WCE)

    @property
    def descriptor_sense(self) -> bool:
        """D_SENSE: sense data in descriptor format."""
        return self._bit(D_SENSE)

    @property
    def software_write_protect(self) -> bool:
        """SWP."""
        return self._bit(SWP)

    def page(self, page: int, control: int) -> bytes:
        """One page; ``control``: 0 current, 1 changeable, 2 default."""
        defaults, changeable = LAYOUT[page]
        return bytes(self._pages[page]) if control == 0 else (changeable, defaults)[control - 1]

    def replace(self, new: dict[int, bytes]) -> bool:
        """Take over whole pages that were checked; true if anything changed."""
        changed = any(self._pages[page] != value for page, value in new.items())
        self._pages.update({page: bytearray(value) for page, value in new.items()})
        return changed


def _block_descriptor(unit: LogicalUnit, long: bool) -> bytes:
    if long:
        return unit.count.to_bytes(8, "big") + bytes(4) + unit.block_size.to_bytes(4, "big")
    return min(unit.count, 0xFFFFFFFF).to_bytes(4, "big") + unit.block_size.to_bytes(4, "big")


def _sense(unit: LogicalUnit, cdb: bytes, ten: bool) -> bytes:
    control = cdb[2] >> 6
    page = cdb[2] & 0x3F
    subpage = cdb[3]
    if control == 3:
        raise illegal(SAVING_UNSUPPORTED)
    if page == ALL_PAGES and subpage in (0, 0xFF):
        pages = sorted(LAYOUT)
    elif page in LAYOUT and subpage in (0, 0xFF):
        pages = [page]
    elif page in LAYOUT or page == ALL_PAGES:
        raise invalid_cdb(3, 7)
    else:
        raise invalid_cdb(2, 5)
    long = ten and bool(cdb[1] & 0x10)
    descriptor = b"" if cdb[1] & 0x08 else _block_descriptor(unit, long)
    body = descriptor + b"".join(unit.modes.page(number, control) for number in pages)
    device = (0x80 if unit.protected else 0) | 0x10  # WP, DPOFUA
    if ten:
        head = (len(body) + 6).to_bytes(2, "big") + bytes((0, device, 1 if long else 0, 0)) + len(descriptor).to_bytes(2, "big")
        return allocation(cdb, 7, 2, head + body)
    return allocation(cdb, 4, 1, bytes((len(body) + 3, 0, device, len(descriptor))) + body)


def _select(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut, *, ten: bool) -> None:
    if not cdb[1] & 0x10:  # PF: only pages are understood
        raise invalid_cdb(1, 4)
    wanted = int.from_bytes(cdb[7:9], "big") if ten else cdb[4]
    if not wanted:
        return
    listing = bytes(data.view[:wanted])
    head = 8 if ten else 4
    if len(listing) < wanted or len(listing) < head:
        raise illegal(PARAMETER_LENGTH)
    descriptor = int.from_bytes(listing[6:8], "big") if ten else listing[3]
    long = ten and bool(listing[4] & 1)
    at = head
    if descriptor:
        expected = _block_descriptor(unit, long)
        if descriptor != len(expected):
            raise invalid_parameter(6 if ten else 3)
        if len(listing) < at + descriptor:
            raise illegal(PARAMETER_LENGTH)
        given = listing[at : at + descriptor]
        width = len(expected) // 2
        if given[-3:] != expected[-3:] or (any(given[:width]) and given[:width] != expected[:width]):
            raise invalid_parameter(at)
        at += descriptor
    new: dict[int, bytes] = {}
    while at < len(listing):
        page = listing[at] & 0x3F
        if page not in LAYOUT or listing[at] & 0x40:
            raise invalid_parameter(at, 5)
        current, changeable = unit.modes.page(page, 0), unit.modes.page(page, 1)
        if at + 2 > len(listing) or listing[at + 1] != len(current) - 2:
            raise invalid_parameter(at + 1)
        if at + len(current) > len(listing):
            raise illegal(PARAMETER_LENGTH)
        given = bytes((page,)) + listing[at + 1 : at + len(current)]
        for index in range(2, len(current)):
            if wrong := (given[index] ^ current[index]) & ~changeable[index]:
                raise invalid_parameter(at + index, wrong.bit_length() - 1)
        new[page] = given
        at += len(current)
    if unit.modes.replace(new):
        unit.attend(MODE_CHANGED, but=presence)


@command("1a08ffffff00", "MODE SENSE(6)", access=Access.READ)
def mode_sense_6(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    return _sense(unit, cdb, ten=False)


@command("5a18ffff000000ffff00", "MODE SENSE(10)", access=Access.READ)
def mode_sense_10(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    return _sense(unit, cdb, ten=True)


@command("15100000ff00", "MODE SELECT(6)", access=Access.WRITE, alone=True, out=parameter_list(4, 1))
def mode_select_6(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _select(unit, presence, cdb, data, ten=False)


@command("55100000000000ffff00", "MODE SELECT(10)", access=Access.WRITE, alone=True, out=parameter_list(7, 2))
def mode_select_10(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _select(unit, presence, cdb, data, ten=True)
