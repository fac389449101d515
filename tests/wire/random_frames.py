"""Frames for the tests of what reads frames: put together at random from headers that mean something, then damaged."""

from __future__ import annotations

import random
import struct

TPIDS = (0x8100, 0x88A8, 0x9100)
IPV4, IPV6, ARP, MPLS = 0x0800, 0x86DD, 0x0806, 0x8847
TCP, UDP, ICMP, ICMP6, AH, FRAGMENT = 6, 17, 1, 58, 51, 44
WITH_PORTS = (TCP, UDP, 33, 50, 132, 136)
OTHERS = (0, 2, 4, 41, 47, 50, 58, 59, 89, 135, 255)
EXTENSIONS = (0, 43, 60, FRAGMENT, AH)
ICMP_TYPES = (0, 3, 4, 5, 8, 9, 11, 12, 13, 14, 1, 2, 128, 129, 133)


def frames(seed: int, count: int) -> list[tuple[bytes, int]]:
    """``count`` pairs of captured bytes and length on the wire, the same for the same seed."""
    rng = random.Random(seed)
    return [damage(rng, frame(rng)) for _ in range(count)]


def frame(rng: random.Random) -> bytes:
    destination = rng.choice([b"\xff" * 6, b"\x01\x80\xc2\0\0\x0e", b"\x33\x33" + rng.randbytes(4), b"\x02" + rng.randbytes(5), rng.randbytes(6)])
    source = rng.choice([b"\x02" + rng.randbytes(5), rng.randbytes(6)])
    tags = b"".join(struct.pack("!HH", rng.choice(TPIDS), rng.getrandbits(16)) for _ in range(rng.choice([0, 0, 1, 1, 2, 3])))
    return destination + source + tags + typed(rng)


def typed(rng: random.Random) -> bytes:
    kind = rng.randrange(20)
    if kind < 10:
        return struct.pack("!H", IPV4) + ipv4(rng)
    if kind < 16:
        return struct.pack("!H", IPV6) + ipv6(rng)
    if kind == 16:
        return struct.pack("!HHHBBH", ARP, 1, IPV4, 6, 4, 1) + rng.randbytes(20)
    if kind == 17:
        return struct.pack("!H", rng.randrange(0x600)) + bytes.fromhex("aaaa03000000") + rng.randbytes(30)
    if kind == 18:
        return struct.pack("!HI", MPLS, rng.getrandbits(32)) + ipv4(rng)
    return rng.randbytes(rng.randrange(2, 60))


def ipv4(rng: random.Random, inside: bool = False) -> bytes:
    protocol = a_protocol(rng)
    words = rng.choice([5] * 6 + [6, 15])
    fragment = rng.choice([0] * 5 + [0x4000] * 3 + [0x2000, 0x00B9, 0x2001, 0x8000])
    body = transport(rng, protocol, inside)
    return (
        struct.pack("!BBHHHBBH", 0x40 | words, rng.getrandbits(8), words * 4 + len(body), rng.getrandbits(16), fragment, 64, protocol, 0)
        + addresses(rng, 4)
        + rng.randbytes(words * 4 - 20)
        + body
    )


def ipv6(rng: random.Random, inside: bool = False) -> bytes:
    protocol = a_protocol(rng)
    body = transport(rng, protocol, inside)
    following = protocol
    for _ in range(rng.choice([0] * 6 + [1, 1, 2, 3, 9])):
        kind = rng.choice(EXTENSIONS)
        units = rng.randrange(3)
        if kind == FRAGMENT:
            offset = rng.choice([0, 0, 1, 8, 0x0549, 6])
            body = struct.pack("!BBHI", following, rng.getrandbits(8), offset, rng.getrandbits(32)) + body
        elif kind == AH:
            body = struct.pack("!BB", following, units) + rng.randbytes((units + 2) * 4 - 2) + body
        else:
            body = struct.pack("!BB", following, units) + rng.randbytes((units + 1) * 8 - 2) + body
        following = kind
    return struct.pack("!IHBB", 6 << 28 | rng.getrandbits(28), len(body), following, 64) + addresses(rng, 16) + body


def a_protocol(rng: random.Random) -> int:
    return rng.choice([TCP, UDP, ICMP, ICMP6, AH, rng.choice(WITH_PORTS), rng.choice(OTHERS), TCP, UDP])


def addresses(rng: random.Random, size: int) -> bytes:
    near = rng.randbytes(size - 1)
    return near + rng.randbytes(1) + rng.choice([near + rng.randbytes(1), rng.randbytes(size)])


def transport(rng: random.Random, protocol: int, inside: bool) -> bytes:
    if protocol in (ICMP, ICMP6) and not inside:
        quoted = rng.choice([ipv4, ipv6])(rng, inside=True)
        header = struct.pack("!BBHHH", rng.choice(ICMP_TYPES), rng.randrange(3), 0, rng.choice([0, rng.getrandbits(16)]), 0)
        return header + quoted[: rng.choice([len(quoted), 28, 48, rng.randrange(60)])]
    return rng.randbytes(rng.choice([40, 20, 8, rng.randrange(12)]))


def damage(rng: random.Random, data: bytes) -> tuple[bytes, int]:
    """The frame as it is, or with bits turned, or cut on the wire, by the capture, or both."""
    length = len(data)
    if rng.random() < 0.3:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(min(len(changed), 70))] ^= 1 << rng.randrange(8)
        data = bytes(changed)
    if rng.random() < 0.15:
        length = rng.randrange(length + 1)
        data = data[:length]
    elif rng.random() < 0.1:
        data = data.ljust(60, b"\0")
        length = len(data)
    if rng.random() < 0.2:
        data = data[: rng.randrange(len(data) + 1)]
    return data, length
