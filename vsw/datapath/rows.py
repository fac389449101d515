"""What :func:`vsw.classify` writes: the dtype of its rows, and the bits of their column ``flags``."""

from __future__ import annotations

from enum import IntFlag

import numpy as np

_COLUMNS: list[tuple[str, str, int]] = [
    ("dst", "6u1", 0),  # destination MAC address
    ("src", "6u1", 6),  # source MAC address
    ("outer_tpid", "u2", 12),  # of the outermost tag; 0 if the frame is untagged
    ("outer_tci", "u2", 14),  # PCP << 13 | DEI << 12 | VID
    ("inner_tpid", "u2", 16),  # of the second tag; 0 if there is none
    ("inner_tci", "u2", 18),
    ("ethertype", "u2", 20),  # behind the tags that were read; 802.3: the length (flag LENGTH_FIELD)
    ("tos", "u1", 22),  # IPv4 type of service, IPv6 traffic class
    ("length", "u4", 24),  # bytes on the wire, without FCS
    ("captured", "u4", 28),  # bytes that were captured
    ("src_ip", "16u1", 32),  # IPv4: the first four octets, then zeros
    ("dst_ip", "16u1", 48),
    ("sport", "u2", 64),  # 0 without HAS_PORTS
    ("dport", "u2", 66),
    ("flow_hash", "u4", 68),
    ("ip_version", "u1", 72),  # 4, 6, or 0: no IP header could be read
    ("protocol", "u1", 73),  # IPv4 protocol, or what follows the IPv6 extension headers
    ("network", "u1", 74),  # offset of what follows the EtherType, in bytes; 0 if the Ethernet header is cut
    ("tags", "u1", 75),  # number of tags that were read: 0, 1 or 2
    ("transport", "u2", 76),  # offset of what follows the IP headers; 0 if they could not be read to their end, or in a later fragment
    ("flags", "u2", 78),  # RowFlag
]

#: The dtype of a row: 80 bytes a frame.  Numbers are in the host's byte order; the octets of addresses stand as on the wire.
ROW = np.dtype(
    {
        "names": [name for name, _, _ in _COLUMNS],
        "formats": [form for _, form, _ in _COLUMNS],
        "offsets": [offset for _, _, offset in _COLUMNS],
        "itemsize": 80,
    }
)


class RowFlag(IntFlag):
    """Bits of the column ``flags`` (uint16)."""

    #: The destination is a group address (multicast or broadcast).
    GROUP = 1 << 0
    #: The destination is ff:ff:ff:ff:ff:ff.
    BROADCAST = 1 << 1
    #: ``sport`` and ``dport`` were read: TCP, UDP, UDP-Lite, SCTP or DCCP.
    HAS_PORTS = 1 << 2
    #: ``ethertype`` is below 0x0600: an 802.3 frame's length.
    LENGTH_FIELD = 1 << 3
    #: ``ethertype`` is a TPID: a third tag, or one that is cut short.
    UNREAD_TAG = 1 << 4
    #: The IPv4 header has options, or the IPv6 header is followed by extension headers.
    IP_OPTIONS = 1 << 5
    #: Part of a fragmented packet, the first part too.
    FRAGMENT = 1 << 6
    #: A part of a fragmented packet that is not the first: it has no transport header.
    LATER_FRAGMENT = 1 << 7
    #: The source is a group address, which no station may use.
    GROUP_SOURCE = 1 << 8
    #: A header ends behind the captured bytes, though not behind the frame's end.  Nothing from that header on was read.
    CUT = 1 << 9
    #: A header ends behind the frame's end, or contradicts itself (IP version, IPv4 header length).  Nothing from that header on was read.
    MALFORMED = 1 << 10
