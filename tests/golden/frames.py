"""Frames for the golden tables, written the way that one reads them.

Tags are written outermost first as ``TPID:VID``, ``TPID:VID.PCP``, with a final ``d`` for DEI: ``88a8:10.5d 8100:7``.
An empty text is an untagged frame.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from tests.golden.build import mac
from vsw.config.module import Module
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.verdicts import Reason, Verdict

BROADCAST = "ff:ff:ff:ff:ff:ff"
MULTICAST = "01:00:5e:00:00:fb"
#: What follows the tags unless a test says otherwise: an ARP type and 46 bytes, so that an untagged frame has 60.
BODY = bytes.fromhex("0806") + bytes(range(46))
TAG = re.compile(r"([0-9a-f]{4}):(\d+)(?:\.(\d))?(d?)")


def tag_bytes(tags: str) -> bytes:
    """The bytes of tags as this page writes them."""
    found = b""
    for word in tags.split():
        match = TAG.fullmatch(word)
        assert match, word
        found += struct.pack("!HH", int(match[1], 16), int(match[3] or 0) << 13 | bool(match[4]) << 12 | int(match[2]))
    return found


def frame(destination: str | int, source: str | int, tags: str = "", body: bytes = BODY) -> bytes:
    """A frame: addresses (02:00:00:00:00:xx for a number), tags, and all that follows them (the type first)."""
    addresses = [mac(one) or 0 for one in (destination, source)]
    return b"".join(one.to_bytes(6, "big") for one in addresses) + tag_bytes(tags) + body


def ipv4(source: str, destination: str, protocol: int = 17, upper: bytes = bytes(8), flags: int = 0, words: int = 5) -> bytes:
    """Type 0x0800 and an IPv4 packet (addresses in hex, ``words`` 32-bit words of header, ``flags`` with the offset)."""
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(upper), 0, flags, 64, protocol, 0)
    return b"\x08\x00" + header + bytes.fromhex(source + destination) + bytes(max(0, words - 5) * 4) + upper


def ipv6(source: str, destination: str, protocol: int = 17, upper: bytes = bytes(8)) -> bytes:
    """Type 0x86dd and an IPv6 packet (addresses in hex)."""
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(upper), protocol, 64) + bytes.fromhex(source + destination) + upper


def send(switch: ReferenceSwitch, data: bytes, port: int | None, time: int = 0, length: int | None = None, source_mac: bool = False) -> Decision:
    """Offer one frame, wholly captured unless ``length`` says that it was longer."""
    return switch.forward(data, len(data) if length is None else length, time, port, source_mac)


def once(module: Module, data: bytes, port: int | None, length: int | None = None, source_mac: bool = False) -> Decision:
    """What becomes of one frame in a fresh switch."""
    return send(ReferenceSwitch(module), data, port, 0, length, source_mac)


def fate(decision: Decision) -> str:
    """The decision without the bytes: the reason's name, or the ports of the copies: ``no_member``, ``1 4``, ``1 4 not 5:port_down``."""
    held = "".join(f" {number}:{reason.name.lower()}" for number, reason in decision.filtered)
    if decision.verdict == Verdict.DELIVERED:
        assert decision.reason == Reason.NONE
        return " ".join(str(copy.port) for copy in decision.copies) + (f" not{held}" if held else "")
    assert not decision.copies
    return decision.verdict.name.lower() if decision.verdict == Verdict.CONSUMED else f"{decision.reason.name.lower()}{held and ' not' + held}"


def hexes(copies: Mapping[int, bytes]) -> dict[int, str]:
    """Copies as hex, so that a failing comparison prints frames."""
    return {port: data.hex(" ") for port, data in copies.items()}
