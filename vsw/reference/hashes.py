"""The hashes by which a team picks one of its members (rules.md, section 13): 32 bits, unsigned.

All of them work on D, the frame without the outermost tag that was read.  Bytes that were not captured are not
there: a header that needs more than there is can't be read.  The four at the end are Linux bonding's, little-endian
as on the hosts that it was watched on; of IPv6 it looks at the first Next Header only.
"""

from __future__ import annotations

import struct

from vsw.config.module import Policy
from vsw.reference.tags import HEADER_LENGTH, TYPE_AT

IPV4, IPV6 = 0x0800, 0x86DD
IPV4_LENGTH, IPV6_LENGTH, ICMP_LENGTH = 20, 40, 8
ICMP, ICMPV6 = 1, 58
#: Protocols of which 4 bytes are taken as ports, and where: TCP, UDP, DCCP, SCTP, UDP-Lite; the SPI of ESP and of AH.
PORTS_AT = {6: 0, 17: 0, 33: 0, 50: 0, 132: 0, 136: 0, 51: 4}
#: ICMP types with an identifier, of either version: echo and timestamp, request and reply.
ICMP_WITH_ID = frozenset((0, 8, 13, 14, 128, 129))
ICMP_ERRORS = {ICMP: frozenset((3, 4, 5, 11, 12)), ICMPV6: frozenset((1, 2, 3, 4))}


def team_hash(policy: Policy, frame: bytes, port_in: int, tci: int, ip_hash_bits: int = 32) -> int:
    """The hash of a frame by a policy.

    ``frame`` is D (at least 14 bytes), ``port_in`` the ingress port's number, ``tci`` the 16 bits PCP, DEI and VID
    of the VLAN that the frame is in.  Policy ``explicit`` has no hash: 0.
    """
    match policy:
        case "port-id":
            return port_in
        case "src-mac":
            return frame[11]
        case "ip-hash":
            value = ip_hash(frame)
            return value & 0xFF if ip_hash_bits == 8 else value
        case "layer2":
            return layer2(frame)
        case "layer2+3":
            return layer23(frame)
        case "layer3+4":
            return layer34(frame)
        case "vlan+srcmac":
            return tci ^ int.from_bytes(frame[6:9], "big") ^ int.from_bytes(frame[9:12], "big")
        case "explicit":
            return 0


def ethertype(frame: bytes) -> int:
    """The two bytes at 12: a type, or an 802.3 length."""
    return int.from_bytes(frame[TYPE_AT:HEADER_LENGTH], "big")


def ip_hash(frame: bytes) -> int:
    """Source XOR destination address, as the number that one writes; of other frames the words where IPv4 would have them."""
    kind = ethertype(frame)
    if kind == IPV6 and len(frame) >= HEADER_LENGTH + IPV6_LENGTH:
        return _xor_words("!8I", frame, HEADER_LENGTH + 8)
    return _xor_words("!2I", frame[:34].ljust(34, b"\0"), HEADER_LENGTH + 12)


def layer2(frame: bytes) -> int:
    """E: the last octets of both addresses and the type."""
    return frame[5] ^ frame[11] ^ ethertype(frame)


def layer23(frame: bytes) -> int:
    """E and the addresses, folded; E if there is no IP header to read."""
    flow = _flow(frame)
    return layer2(frame) if flow is None else _fold(layer2(frame) ^ flow[0])


def layer34(frame: bytes) -> int:
    """Ports (or the ICMP identifier) and addresses, folded and halved; E if there is no IP header to read."""
    flow = _flow(frame)
    return layer2(frame) if flow is None else _fold(flow[1] ^ flow[0]) >> 1


def _xor_words(layout: str, frame: bytes, at: int) -> int:
    value = 0
    for word in struct.unpack_from(layout, frame, at):
        value ^= word
    return value


def _fold(value: int) -> int:
    value ^= value >> 16
    return value ^ value >> 8


def _flow(frame: bytes) -> tuple[int, int] | None:
    """Addresses XORed, and ports or ICMP identifier; ``None`` if the IP header can't be read."""
    kind = ethertype(frame)
    outer = _ip(frame, kind, HEADER_LENGTH)
    if outer is None:
        return None
    addresses, protocol, at = outer
    if protocol not in ICMP_ERRORS:
        return addresses, _ports(frame, protocol, at)
    if len(frame) < at + ICMP_LENGTH:
        return addresses, 0
    icmp_type, code, identifier = struct.unpack_from("!BB2xH", frame, at)
    if icmp_type in ICMP_WITH_ID:
        return addresses, icmp_type | code << 8 | (identifier or 1) << 16
    if icmp_type not in ICMP_ERRORS[protocol]:
        return addresses, 0
    # An error is a matter of the flow that it tells about: the packet inside counts, read as the outer one was.
    inner = _ip(frame, kind, at + ICMP_LENGTH)
    if inner is None:
        return None
    addresses, protocol, at = inner
    return addresses, _ports(frame, protocol, at)


def _ip(frame: bytes, kind: int, at: int) -> tuple[int, int, int] | None:
    """Addresses XORed, the protocol (-1 for a fragment of IPv4), and where its header begins."""
    if kind == IPV4 and len(frame) >= at + IPV4_LENGTH:
        fragment = int.from_bytes(frame[at + 6 : at + 8], "big") & 0x3FFF  # more fragments, or an offset; "don't" is no matter
        return _xor_words("<2I", frame, at + 12), -1 if fragment else frame[at + 9], at + (frame[at] & 0x0F) * 4
    if kind == IPV6 and len(frame) >= at + IPV6_LENGTH:
        return _xor_words("<8I", frame, at + 8), frame[at + 6], at + IPV6_LENGTH
    return None


def _ports(frame: bytes, protocol: int, at: int) -> int:
    offset = PORTS_AT.get(protocol)
    if offset is None or len(frame) < at + offset + 4:
        return 0
    return int.from_bytes(frame[at + offset : at + offset + 4], "little")
