"""What :func:`vsw.classify` should give, frame by frame, read the way one reads frames by hand: from the front, with ``struct``."""

from __future__ import annotations

import struct
from typing import Any

from vsw import RowFlag

M64 = (1 << 64) - 1
PORT_PROTOCOLS = {6, 17, 33, 132, 136}


class ShortError(Exception):
    """A header ends behind the captured bytes; ``end`` is where."""

    def __init__(self, end: int) -> None:
        self.end = end
        super().__init__(end)


class ContradictionError(Exception):
    """A header says what can't be."""


class Cursor:
    """Reads on; raises before anything of a header that isn't all there is given out."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def peek(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ShortError(self.at + size)
        return self.data[self.at : self.at + size]

    def skip(self, size: int) -> None:
        self.peek(size)
        self.at += size


def slow_row(data: bytes, length: int) -> dict[str, Any]:
    row = {
        "dst": bytes(6), "src": bytes(6), "outer_tpid": 0, "outer_tci": 0, "inner_tpid": 0, "inner_tci": 0, "ethertype": 0, "tos": 0,
        "length": length, "captured": len(data), "src_ip": bytes(16), "dst_ip": bytes(16), "sport": 0, "dport": 0, "flow_hash": 0,
        "ip_version": 0, "protocol": 0, "network": 0, "tags": 0, "transport": 0, "flags": RowFlag(0),
    }  # fmt: skip
    cursor = Cursor(data)
    try:
        ethernet(row, cursor, length)
        if row["ethertype"] == 0x0800:
            ipv4(row, cursor)
        elif row["ethertype"] == 0x86DD:
            ipv6(row, cursor)
    except ShortError as short:
        row["flags"] |= RowFlag.MALFORMED if length < short.end else RowFlag.CUT
    except ContradictionError:
        row["flags"] |= RowFlag.MALFORMED
    if len(data) >= 14:
        row["flow_hash"] = flow_hash(row)
    return row


def ethernet(row: dict[str, Any], cursor: Cursor, length: int) -> None:
    row["dst"], row["src"], kind = struct.unpack("!6s6sH", cursor.peek(14))
    cursor.skip(12)
    if row["dst"] == b"\xff" * 6:
        row["flags"] |= RowFlag.BROADCAST
    if row["dst"][0] % 2:
        row["flags"] |= RowFlag.GROUP
    if row["src"][0] % 2:
        row["flags"] |= RowFlag.GROUP_SOURCE
    for name in ("outer", "inner"):
        if kind not in (0x8100, 0x88A8, 0x9100):
            break
        try:
            tci, following = struct.unpack("!2xHH", cursor.peek(6))
        except ShortError as short:
            row["flags"] |= RowFlag.MALFORMED if length < short.end else RowFlag.CUT
            break
        row[f"{name}_tpid"], row[f"{name}_tci"] = kind, tci
        row["tags"] += 1
        cursor.skip(4)
        kind = following
    cursor.skip(2)
    row["ethertype"] = kind
    row["network"] = cursor.at
    if kind in (0x8100, 0x88A8, 0x9100):
        row["flags"] |= RowFlag.UNREAD_TAG
    if kind < 1536:
        row["flags"] |= RowFlag.LENGTH_FIELD


def ipv4(row: dict[str, Any], cursor: Cursor) -> None:
    first, tos, _, _, fragment, _, protocol, _, src, dst = struct.unpack("!BBHHHBBH4s4s", cursor.peek(20))
    version, words = divmod(first, 16)
    if version != 4 or words < 5:
        raise ContradictionError
    row.update(ip_version=4, tos=tos, protocol=protocol, src_ip=src + bytes(12), dst_ip=dst + bytes(12))
    if words > 5:
        row["flags"] |= RowFlag.IP_OPTIONS
    later = fragment % 0x2000 > 0
    if later or fragment & 0x2000:
        row["flags"] |= RowFlag.FRAGMENT
    if later:
        row["flags"] |= RowFlag.LATER_FRAGMENT
    cursor.skip(words * 4)
    if not later:
        transport(row, cursor)


def ipv6(row: dict[str, Any], cursor: Cursor) -> None:
    first, _, following, _, src, dst = struct.unpack("!IHBB16s16s", cursor.peek(40))
    if first >> 28 != 6:
        raise ContradictionError
    row.update(ip_version=6, tos=first >> 20 & 0xFF, protocol=following, src_ip=src, dst_ip=dst)
    cursor.skip(40)
    for _ in range(8):
        if following not in (0, 43, 44, 51, 60):
            break
        row["flags"] |= RowFlag.IP_OPTIONS
        after, units, offset = struct.unpack("!BBH4x", cursor.peek(8))
        if following == 44:
            size = 8
            if offset & 1 or offset >> 3:
                row["flags"] |= RowFlag.FRAGMENT
            if offset >> 3:
                row["flags"] |= RowFlag.LATER_FRAGMENT
        else:
            size = (units + 2) * 4 if following == 51 else (units + 1) * 8
        cursor.skip(size)
        row["protocol"] = following = after
        if RowFlag.LATER_FRAGMENT in row["flags"]:
            return
    transport(row, cursor)


def transport(row: dict[str, Any], cursor: Cursor) -> None:
    row["transport"] = cursor.at
    if row["protocol"] in PORT_PROTOCOLS:
        row["sport"], row["dport"] = struct.unpack("!HH", cursor.peek(4))
        row["flags"] |= RowFlag.HAS_PORTS


def fold(a: int, b: int) -> int:
    return (a * b & M64) ^ (a * b >> 64)


def flow_hash(row: dict[str, Any]) -> int:
    kind = row["protocol"]
    ends = []
    for side in ("s", "d"):
        port = 0 if RowFlag.FRAGMENT in row["flags"] else int.from_bytes(row[f"{side}port"].to_bytes(2, "big"), "little")
        address = row["src_ip" if side == "s" else "dst_ip"]
        if row["ip_version"] == 4:
            ends.append(int.from_bytes(address[:4], "little") + (port << 32))
        elif row["ip_version"] == 6:
            low, high = struct.unpack("<QQ", address)
            ends.append((fold(low ^ 0x9E3779B97F4A7C15, high ^ 0xA0761D6478BD642F) + port) & M64)
        else:
            ends.append(int.from_bytes(row["src" if side == "s" else "dst"], "big"))
            kind = row["ethertype"] if row["ethertype"] >= 1536 else 0
    mixed = fold(ends[0] ^ 0xA0761D6478BD642F, ends[1] ^ 0xA0761D6478BD642F)
    return ((mixed ^ kind) * 0x9E3779B97F4A7C15 & M64) >> 32
