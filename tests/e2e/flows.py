"""Random frames for hashes over addresses, protocols and ports: every branch that Linux bonding's parser has."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

IPV4, IPV6, ARP, MPLS, PPPOE = 0x0800, 0x86DD, 0x0806, 0x8847, 0x8864
C_TAG, S_TAG = 0x8100, 0x88A8
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOLS = (TCP, UDP, 33, 50, 51, 132, 136, 47, 4, 41, 0, 2, 89, 255)
NEXT_HEADERS = (TCP, UDP, 33, 50, 51, 132, 136, 0, 43, 44, 60, 59, 41, 89)
ICMP_TYPES = (0, 8, 13, 14, 128, 129, 3, 4, 5, 11, 12, 1, 2, 9, 10, 133, 135)

Make = Callable[[random.Random], tuple[int, bytes]]


def ipv4(chance: random.Random) -> tuple[int, bytes]:
    return IPV4, ipv4_packet(chance, chance.choice(PROTOCOLS), chance.randbytes(24))


def ipv4_packet(chance: random.Random, protocol: int, payload: bytes) -> bytes:
    words = chance.choices((5, 6, 15, 2, 0), (20, 3, 1, 1, 1))[0]
    fragment = chance.choices((0, 0x4000, 0x2000, 0x2007, 0x0004, 0x8000), (12, 6, 1, 1, 1, 1))[0]
    version = chance.choices((4, 6), (20, 1))[0]
    header = struct.pack("!BBHHHBBH", version << 4 | words, chance.randrange(256), 20 + len(payload), 1, fragment, 64, protocol, 0)
    return header + addresses(chance, 4) + chance.randbytes(max(words - 5, 0) * 4) + payload


def ipv6(chance: random.Random) -> tuple[int, bytes]:
    return IPV6, ipv6_packet(chance, chance.choice(NEXT_HEADERS), chance.randbytes(24))


def ipv6_packet(chance: random.Random, following: int, payload: bytes) -> bytes:
    first = 0x60000000 | chance.getrandbits(28) if chance.random() < 0.5 else 0x60000000
    return struct.pack("!IHBB", first, len(payload), following, 64) + addresses(chance, 16) + payload


def icmp(chance: random.Random) -> tuple[int, bytes]:
    """ICMP of either version (the number of either in the header of either), errors with a packet inside."""
    make, kind = chance.choice(((ipv4_packet, IPV4), (ipv6_packet, IPV6)))
    number = chance.choice((ICMP, ICMP, ICMPV6, ICMPV6, ICMP if kind == IPV4 else ICMPV6))
    header = struct.pack("!BBHHH", chance.choice(ICMP_TYPES), chance.randrange(16), 0, chance.choice((0, chance.randrange(65536))), 1)
    inside = make(chance, chance.choice((TCP, UDP, 51, 44, ICMP, ICMPV6)), chance.randbytes(16))
    body = header + chance.choice((inside, inside, inside[: chance.randrange(len(inside))]))
    return kind, make(chance, number, body[: chance.choice((len(body), len(body), len(body), 7))])


def other(chance: random.Random) -> tuple[int, bytes]:
    return chance.choice((ARP, MPLS, PPPOE, 0x88CC, 0x0600, 0x05FF, 0x0026, 0x9100)), chance.randbytes(46)


def cut(chance: random.Random) -> tuple[int, bytes]:
    """A packet that ends within a header (Linux takes a tagged frame from 20 bytes on)."""
    kind, packet = chance.choice((ipv4, ipv6, icmp))(chance)
    return kind, packet[: chance.randrange(2, 64)]


def addresses(chance: random.Random, size: int) -> bytes:
    """Source and destination: from few, so that some bits are constant, or random."""
    return chance.randbytes(2 * size) if chance.random() < 0.5 else chance.randbytes(size - 1) + b"\x01" + chance.randbytes(size - 1) + b"\x02"


KINDS: Sequence[tuple[Make, int]] = ((ipv4, 6), (ipv6, 5), (icmp, 5), (other, 3), (cut, 3))


def frames(seed: int, count: int) -> list[bytes]:
    """Frames from stations to others that never send: untagged, tagged, double-tagged."""
    chance = random.Random(f"flows {seed}")
    return [frame(chance) for _ in range(count)]


def frame(chance: random.Random) -> bytes:
    make = chance.choices([make for make, _ in KINDS], [weight for _, weight in KINDS])[0]
    kind, packet = make(chance)
    tags = b""
    # Linux writes the tag of a tagged MPLS frame back into the frame before the bond sees it: it hashes the tag's TPID instead of the type.
    for _ in range(0 if kind == MPLS else chance.choices((0, 1, 2), (10, 6, 2))[0]):
        pcp_dei = chance.choice((0, 0, chance.randrange(16))) << 12
        vid = chance.choice((0, 10, 4094, 4095, chance.randrange(1, 4096)))
        tags += struct.pack("!HH", chance.choice((C_TAG, C_TAG, S_TAG)), pcp_dei | vid)
    destination = chance.choice((b"\x02\xaa", b"\x01\x00\x5e", b"\x33\x33"))
    source = b"\x02\x55"
    pair = destination + chance.randbytes(6 - len(destination)) + source + chance.randbytes(6 - len(source))
    return pair + tags + struct.pack("!H", kind) + packet
