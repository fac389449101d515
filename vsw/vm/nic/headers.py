"""Where the headers of a frame lie, for what a card does with them.

Lengths are proved here, once: a layout that is returned lies within the frame.  What the frame's own length fields say counts, not padding behind it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MACS = 12
TYPE = 2
TAG = 4
TPIDS = frozenset((0x8100, 0x88A8, 0x9100))
IPV4, IPV6 = 0x0800, 0x86DD
TCP, UDP = 6, 17
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60

IPV4_HEADER, IPV6_HEADER = 20, 40
TCP_HEADER, UDP_HEADER = 20, 8
#: Of the IPv4 header's seventh 16 bits: more fragments, and where this one belongs.
_FRAGMENT_BITS = 0x3FFF
#: Tags and extension headers that are walked before a card gives up.
MAX_TAGS, MAX_EXTENSIONS = 2, 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes from the frame's start.

    ``version`` is 4 or 6; ``l3`` where its header begins, ``l4`` where the transport header begins, ``end`` where the datagram ends.  ``protocol``
    is :data:`TCP`, :data:`UDP` or another number; ``fragment``: the datagram is a part of one, so its transport header is not to be relied on.
    ``routed``: an IPv6 routing header says that the destination is not the last one.
    """

    version: int
    l3: int
    l4: int
    end: int
    protocol: int
    fragment: bool = False
    routed: bool = False

    @property
    def transport(self) -> bool:
        """Whether a whole transport header that a card deals with is there."""
        need = {TCP: TCP_HEADER, UDP: UDP_HEADER}.get(self.protocol)
        return need is not None and not self.fragment and self.end - self.l4 >= need


def type_at(frame: bytes) -> tuple[int, int]:
    """Offset of the frame's last EtherType (behind at most two tags) and its value; (0, 0) if the frame is too short."""
    at = MACS
    for _ in range(MAX_TAGS + 1):
        if len(frame) < at + TYPE:
            return 0, 0
        kind = int.from_bytes(frame[at : at + TYPE], "big")
        if kind not in TPIDS:
            return at, kind
        at += TAG
    return 0, 0


def layout(frame: bytes) -> Layout | None:
    """The frame's IP datagram; ``None`` if it has none that is whole."""
    at, kind = type_at(frame)
    if kind == IPV4:
        return _ipv4(frame, at + TYPE)
    if kind == IPV6:
        return _ipv6(frame, at + TYPE)
    return None


def _ipv4(frame: bytes, l3: int) -> Layout | None:
    if len(frame) < l3 + IPV4_HEADER:
        return None
    first, total, fragment, protocol = struct.unpack_from("!BxHxxHxB", frame, l3)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < IPV4_HEADER or total < header or l3 + total > len(frame):
        return None
    return Layout(4, l3, l3 + header, l3 + total, protocol, fragment=bool(fragment & _FRAGMENT_BITS))


def _ipv6(frame: bytes, l3: int) -> Layout | None:
    if len(frame) < l3 + IPV6_HEADER:
        return None
    first, payload, protocol = struct.unpack_from("!B3xHB", frame, l3)
    at = l3 + IPV6_HEADER
    end = at + payload
    if first >> 4 != 6 or end > len(frame):
        return None
    fragment = routed = False
    for _ in range(MAX_EXTENSIONS):
        if protocol not in {HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION}:
            return Layout(6, l3, at, end, protocol, fragment, routed)
        if end - at < 8:
            return None
        if protocol == FRAGMENT:
            fragment = True
            length = 8
        else:
            routed = routed or (protocol == ROUTING and frame[at + 3] > 0)
            length = (frame[at + 1] + 1) * 8
        protocol = frame[at]
        at += length
        if at > end:
            return None
    return None
