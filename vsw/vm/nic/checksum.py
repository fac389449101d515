"""The internet checksum as a card completes and checks it: the IPv4 header, TCP and UDP over IPv4 and IPv6 (RFC 1071, RFC 8200 section 8.1)."""

from __future__ import annotations

import struct
from enum import IntEnum

from vsw.vm.nic.headers import TCP, UDP, Layout, layout

_CHECKSUM = {TCP: 16, UDP: 6}
_IPV4_CHECKSUM = 10


class Checked(IntEnum):
    """What a card tells the guest of a frame that came in."""

    NONE = 0
    """Nothing was checked: no IP, a fragment, no checksum, another protocol."""
    GOOD = 1
    """The checksums that are there are right."""
    BAD = 2
    """One of them is wrong."""


def add_up(data: bytes | memoryview, start: int = 0) -> int:
    """The one's complement sum of big-endian 16-bit words, 16 bits; an odd last byte is followed by a zero."""
    if len(data) % 2:
        data = bytes(data) + b"\0"
    total: int = start + sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_header(frame: bytes | bytearray, at: Layout) -> int:
    """The sum over addresses, length and protocol that TCP's and UDP's checksums begin with."""
    l4_bytes = at.end - at.l4
    addresses = frame[at.l3 + 12 : at.l3 + 20] if at.version == 4 else frame[at.l3 + 8 : at.l3 + 40]
    return add_up(bytes(addresses), l4_bytes + at.protocol)


def complete(frame: bytes) -> bytes:
    """The frame with its checksums written: the IPv4 header's, and that of a whole TCP or UDP datagram; others are left alone.

    A UDP checksum that comes out as zero is sent as its other form, all ones.
    """
    at = layout(frame)
    if at is None:
        return frame
    out = bytearray(frame)
    if at.version == 4:
        place = at.l3 + _IPV4_CHECKSUM
        out[place : place + 2] = bytes(2)
        out[place : place + 2] = (0xFFFF - add_up(bytes(out[at.l3 : at.l4]))).to_bytes(2, "big")
    if at.transport and not at.routed:
        place = at.l4 + _CHECKSUM[at.protocol]
        out[place : place + 2] = bytes(2)
        value = 0xFFFF - add_up(bytes(out[at.l4 : at.end]), pseudo_header(out, at))
        if value == 0 and at.protocol == UDP:
            value = 0xFFFF
        out[place : place + 2] = value.to_bytes(2, "big")
    return bytes(out)


def check(frame: bytes) -> Checked:
    """What a card finds.  A UDP datagram over IPv4 may say that it has no checksum; over IPv6 that is wrong."""
    at = layout(frame)
    if at is None:
        return Checked.NONE
    if at.version == 4 and add_up(frame[at.l3 : at.l4]) != 0xFFFF:
        return Checked.BAD
    if not at.transport or at.routed:
        return Checked.NONE
    place = at.l4 + _CHECKSUM[at.protocol]
    if at.protocol == UDP and frame[place : place + 2] == b"\0\0":
        return Checked.NONE if at.version == 4 else Checked.BAD
    return Checked.GOOD if add_up(frame[at.l4 : at.end], pseudo_header(frame, at)) == 0xFFFF else Checked.BAD
