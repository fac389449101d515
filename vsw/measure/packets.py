"""Ethernet frames by the hundred thousand: pcap records with IPv4/IPv6 and TCP/UDP headers, written column by column.

A group of frames that have the same headers is one packed structured array, a header field is one column of it, and
the group's rows are scattered to where the records stand in the file.  What is not a header is zero: it costs nothing, and
counts nothing in a checksum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

U1 = NDArray[np.uint8]
U2 = NDArray[np.uint16]
U4 = NDArray[np.uint32]
U8 = NDArray[np.uint64]
Rows = NDArray[Any]

#: pcap file header: nanosecond magic, version 2.4, two unused words, snap length, link type Ethernet (all little-endian).
FILE_HEADER = np.array([0xA1B23C4D, 2 | 4 << 16, 0, 0, 262_144, 1], "<u4").tobytes()
RECORD_HEADER_BYTES = 16
#: The frame check sequence: counted in a size "on the wire", never captured.
FCS_BYTES = 4
#: Captured bytes of the shortest frame on the wire (64 with the check sequence).
MIN_CAPTURED = 60

_RECORD = [("sec", "<u4"), ("nsec", "<u4"), ("captured", "<u4"), ("length", "<u4")]
_ADDRESSES = [("dst_high", ">u2"), ("dst_low", ">u4"), ("src_high", ">u2"), ("src_low", ">u4")]
_TAG = [("tpid", ">u2"), ("tci", ">u2")]
_IPV4 = [
    ("version", ">u2"), ("ip_length", ">u2"), ("ip_id", ">u2"), ("fragment", ">u2"), ("ttl", "u1"), ("protocol", "u1"), ("ip_sum", "<u2"),
    ("ip_src", ">u4"), ("ip_dst", ">u4"),
]  # fmt: skip
_IPV6 = [
    ("version", ">u4"), ("ip_length", ">u2"), ("protocol", "u1"), ("ttl", "u1"),
    ("ip_src_net", ">u8"), ("ip_src", ">u8"), ("ip_dst_net", ">u8"), ("ip_dst", ">u8"),
]  # fmt: skip
_TCP = [
    ("sport", ">u2"), ("dport", ">u2"), ("number", ">u4"), ("acknowledged", ">u4"), ("flags", ">u2"), ("window", ">u2"), ("l4_sum", "<u2"),
    ("urgent", ">u2"),
]  # fmt: skip
_UDP = [("sport", ">u2"), ("dport", ">u2"), ("udp_length", ">u2"), ("l4_sum", "<u2"), ("number", ">u4")]

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
_VERSION_4_IHL_5 = 0x4500
_VERSION_6 = 6 << 28
_DONT_FRAGMENT = 0x4000
_TTL = 64
_TCP_ACK = 5 << 12 | 0x10
_TCP_WINDOW = 0xFFFF
#: Where IPv4 addresses (10.0.0.0) and IPv6 addresses (fd00::) begin; an end point's number is added.
IPV4_BASE = 10 << 24
IPV6_NET = 0xFD << 56


def _type(tagged: bool, ipv6: bool, tcp: bool) -> np.dtype[Any]:
    fields = _RECORD + _ADDRESSES + (_TAG if tagged else []) + [("ethertype", ">u2")] + (_IPV6 if ipv6 else _IPV4) + (_TCP if tcp else _UDP)
    return np.dtype(fields)


_TYPES = {(tagged, ipv6, tcp): _type(tagged, ipv6, tcp) for tagged in (False, True) for ipv6 in (False, True) for tcp in (False, True)}

#: Bytes of the longest headers, from the destination address on: a frame at least this long may be of any kind.
MAX_HEADER_BYTES = max(kind.itemsize for kind in _TYPES.values()) - RECORD_HEADER_BYTES
#: The same without IPv6.  IPv6 does not fit into the shortest frame.
MAX_IPV4_HEADER_BYTES = max(kind.itemsize for (_, ipv6, _), kind in _TYPES.items() if not ipv6) - RECORD_HEADER_BYTES
assert MAX_IPV4_HEADER_BYTES <= MIN_CAPTURED


@dataclass(slots=True)
class Columns:
    """What the frames of a chunk say: arrays of one length, one element a frame.

    ``dst`` and ``src`` are MAC addresses (48 bits, first octet most significant), ``tpid`` is 0 where there is no tag, ``ip_src`` and
    ``ip_dst`` number the end points (they are added to 10.0.0.0 or fd00::), ``size`` counts captured bytes, ``number`` is
    carried in the frame (TCP: the sequence number; UDP: the first four bytes of payload), ``time`` is in nanoseconds.
    """

    dst: U8
    src: U8
    tpid: U2
    tci: U2
    ipv6: NDArray[np.bool_]
    tcp: NDArray[np.bool_]
    ip_src: U4
    ip_dst: U4
    sport: U2
    dport: U2
    size: U4
    number: U4
    time: NDArray[np.int64]


def write_records(columns: Columns) -> tuple[U1, U8]:
    """The frames as pcap records, one after the other; and where each frame's first byte stands in them."""
    sizes = columns.size.astype(np.uint64)
    ends = np.cumsum(sizes + RECORD_HEADER_BYTES)
    starts = ends - sizes - RECORD_HEADER_BYTES
    buffer = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    kind = (columns.tpid != 0) * 4 + columns.ipv6 * 2 + columns.tcp
    one_size = bool(len(sizes)) and bool((sizes == sizes[0]).all())
    for (tagged, ipv6, tcp), layout in _TYPES.items():
        (which,) = np.nonzero(kind == tagged * 4 + ipv6 * 2 + tcp)
        if not len(which):
            continue
        rows = _rows(layout, columns, which, tagged, ipv6, tcp).view(np.uint8).reshape(len(which), layout.itemsize)
        if one_size:
            buffer.reshape(len(sizes), -1)[which, : layout.itemsize] = rows
        else:
            buffer[starts[which].astype(np.int64)[:, None] + np.arange(layout.itemsize)] = rows
    return buffer, starts + RECORD_HEADER_BYTES


def _rows(layout: np.dtype[Any], columns: Columns, which: NDArray[np.intp], tagged: bool, ipv6: bool, tcp: bool) -> Rows:
    rows = np.zeros(len(which), layout)
    size = columns.size[which]
    seconds, nanoseconds = np.divmod(columns.time[which], 1_000_000_000)
    rows["sec"], rows["nsec"] = seconds, nanoseconds
    rows["captured"] = rows["length"] = size
    for name in ("dst", "src"):
        address = getattr(columns, name)[which]
        rows[f"{name}_high"], rows[f"{name}_low"] = address >> np.uint64(32), address & np.uint64(0xFFFFFFFF)
    if tagged:
        rows["tpid"], rows["tci"] = columns.tpid[which], columns.tci[which]
    ip_at = _offset(layout, "version")
    l4_at = _offset(layout, "sport")
    l4_bytes = size - np.uint32(l4_at - RECORD_HEADER_BYTES)
    protocol = PROTOCOL_TCP if tcp else PROTOCOL_UDP
    rows["protocol"], rows["ttl"] = protocol, _TTL
    if ipv6:
        rows["ethertype"], rows["version"], rows["ip_length"] = ETHERTYPE_IPV6, _VERSION_6, l4_bytes
        rows["ip_src_net"] = rows["ip_dst_net"] = IPV6_NET
        rows["ip_src"], rows["ip_dst"] = columns.ip_src[which], columns.ip_dst[which]
    else:
        rows["ethertype"], rows["version"], rows["ip_length"] = ETHERTYPE_IPV4, _VERSION_4_IHL_5, size - np.uint32(ip_at - RECORD_HEADER_BYTES)
        rows["ip_id"], rows["fragment"] = columns.number[which] & np.uint32(0xFFFF), _DONT_FRAGMENT
        rows["ip_src"], rows["ip_dst"] = columns.ip_src[which] + np.uint32(IPV4_BASE), columns.ip_dst[which] + np.uint32(IPV4_BASE)
        rows["ip_sum"] = _checksum(_sum(rows, ip_at, l4_at))
    rows["sport"], rows["dport"], rows["number"] = columns.sport[which], columns.dport[which], columns.number[which]
    if tcp:
        rows["flags"], rows["window"] = _TCP_ACK, _TCP_WINDOW
    else:
        rows["udp_length"] = l4_bytes
    # The pseudo header (addresses, protocol, length), then the header; the sums are of little-endian words, so big-endian ones are swapped.
    addresses_at = _offset(layout, "ip_src_net" if ipv6 else "ip_src")
    pseudo = _swapped(l4_bytes.astype(np.uint16)).astype(np.uint32) + np.uint32(protocol << 8)
    total = _checksum(_sum(rows, addresses_at, layout.itemsize) + pseudo)
    rows["l4_sum"] = total if tcp else np.where(total == 0, np.uint16(0xFFFF), total)
    return rows


def _offset(layout: np.dtype[Any], field: str) -> int:
    fields = layout.fields
    assert fields is not None
    return int(fields[field][1])


def _sum(rows: Rows, start: int, stop: int) -> U4:
    """Sum of the little-endian 16-bit words from byte ``start`` to ``stop`` of each row (both even)."""
    octets = rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)
    words = np.ascontiguousarray(octets[:, start:stop]).view("<u2")
    total = np.zeros(len(rows), np.uint32)
    for column in words.T:
        total += column
    return total


def _checksum(total: U4) -> U2:
    """The Internet checksum (RFC 1071), in the byte order of the words that were summed."""
    total = (total & np.uint32(0xFFFF)) + (total >> np.uint32(16))
    total = (total & np.uint32(0xFFFF)) + (total >> np.uint32(16))
    return (~total).astype(np.uint16)


def _swapped(values: U2) -> U2:
    return values.byteswap()
