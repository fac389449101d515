"""What guests leave to their card: checksums completed and segments cut in software, held against arithmetic of its own and dpkt's reading."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dpkt
import pytest

from tests.patience import PATIENCE
from tests.virtio.nic import Nic
from vsw.ports.vhost_user import VhostUserPort
from vsw.virtio.messages import Feature

MACS = bytes.fromhex("020000000001020000000002")
CSUM, TSO4, TSO6, ECN = 1 << 0, 1 << 11, 1 << 12, 1 << 13
PLAIN = Feature.PROTOCOL_FEATURES | Feature.VERSION_1
NEEDS_CSUM, TCPV4, TCPV6, WITH_ECN = 1, 1, 4, 0x80
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80


@pytest.fixture
def port(tmp_path: Path) -> Iterator[VhostUserPort]:
    with VhostUserPort("port", tmp_path / "v.sock") as made:
        yield made


def header(gso: int = 0, headers: int = 0, size: int = 0, start: int = 0, offset: int = 0, flags: int = NEEDS_CSUM) -> bytes:
    return struct.pack("<BBHHHH", flags, gso, headers, size, start, offset)


def ones_sum(data: bytes) -> int:
    """The ones' complement sum of big-endian words."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(version: int, length: int, protocol: int) -> bytes:
    return ADDRESSES[version] + (struct.pack("!BBH", 0, protocol, length) if version == 4 else struct.pack("!IHBB", length, 0, 0, protocol))


ADDRESSES = {4: bytes((10, 0, 0, 1, 10, 0, 0, 2)), 6: bytes(range(32))}


def packet(
    version: int, payload: bytes, *, flags: int = ACK, tags: int = 0, options: bytes = b"", ip_options: bytes = b"", udp: bool = False
) -> tuple[bytes, int]:
    """A frame with the sum of its pseudo header where its checksum belongs, and where its transport header begins."""
    protocol = 17 if udp else 6
    transport = 8 if udp else 20 + len(options)
    partial = struct.pack("!H", ones_sum(pseudo(version, transport + len(payload), protocol)))
    if udp:
        body = struct.pack("!HHH", 1000, 2000, 8 + len(payload)) + partial + payload
    else:
        body = struct.pack("!HHIIBBH", 1000, 2000, 0xFFFF_F000, 7, transport // 4 << 4, flags, 512) + partial + bytes(2) + options + payload
    if version == 4:
        words = 5 + len(ip_options) // 4
        ip = struct.pack("!BBHHHBBH", 0x40 | words, 0, (words * 4 + len(body)) & 0xFFFF, 0xFFFE, 0x4000, 64, protocol, 0) + ADDRESSES[4] + ip_options
        ip = ip[:10] + struct.pack("!H", 0xFFFF - ones_sum(ip)) + ip[12:]
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(body) & 0xFFFF, protocol, 64) + ADDRESSES[6]
    front = MACS + struct.pack("!HH", 0x8100, 10) * tags + struct.pack("!H", 0x0800 if version == 4 else 0x86DD) + ip
    return front + body, len(front)


def right(frame: bytes, version: int, start: int, protocol: int = 6) -> bool:
    """Whether the transport checksum, and IPv4's own, fit."""
    sums = [ones_sum(pseudo(version, len(frame) - start, protocol) + frame[start:])]
    if version == 4:
        sums.append(ones_sum(frame[start - (20 if frame[start - 20] >> 4 == 4 else 24) : start]))
    return all(total == 0xFFFF for total in sums)


def read(port: VhostUserPort, count: int, limit: int = 256) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < count:
        more = port.read(limit)
        assert more or port.wait(PATIENCE), f"{len(frames)} frames of {count} came"
        frames += more
    return frames


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 99, 1400, 1401, 9000])
@pytest.mark.parametrize("cut", [0, 700])
def test_a_checksum_is_completed(port: VhostUserPort, version: int, udp: bool, length: int, cut: int) -> None:
    nic = Nic(port.path, transmit_entries=64)
    frame, start = packet(version, random.Random(length).randbytes(length), udp=udp)
    nic.send([frame], header=header(start=start, offset=6 if udp else 16), cut=cut)
    (got,) = read(port, 1)
    at = start + (6 if udp else 16)
    assert got[:at] + got[at + 2 :] == frame[:at] + frame[at + 2 :]
    assert right(got, version, start, 17 if udp else 6)
    nic.close()


def test_a_checksum_of_zero_is_sent_as_ones(port: VhostUserPort) -> None:
    """0 would mean that a UDP datagram has none."""
    nic = Nic(port.path)
    payload = bytes(2)
    frame, start = packet(4, payload, udp=True)
    total = ones_sum(pseudo(4, 10, 17) + frame[start : start + 6] + bytes(2))
    frame = frame[:-2] + struct.pack("!H", 0xFFFF - total)
    nic.send([frame], header=header(start=start, offset=6))
    (got,) = read(port, 1)
    assert got[start + 6 : start + 8] == b"\xff\xff"
    nic.close()


@pytest.mark.parametrize("limit", [256, 7, 1])
@pytest.mark.parametrize(
    ("version", "length", "size", "options"),
    [
        (4, 60000, 1448, {"options": b"\1\1\x08\x0a12345678"}),
        (6, 60000, 1440, {}),
        (4, 65000, 536, {"tags": 1}),
        (6, 3000, 1000, {"tags": 2}),
        (4, 2999, 1000, {"ip_options": b"\1\1\1\1"}),
        (4, 100, 1448, {}),
        (4, 1449, 1448, {}),
        (4, 4096, 64, {}),
    ],
)
def test_a_segment_is_cut(port: VhostUserPort, version: int, length: int, size: int, options: dict[str, Any], limit: int) -> None:
    nic = Nic(port.path)
    payload = random.Random(length).randbytes(length)
    frame, start = packet(version, payload, flags=ACK | PSH | FIN | CWR, **options)
    gso = TCPV4 if version == 4 else TCPV6
    headers = len(frame) - length
    front = headers - (20 + len(options.get("options", b""))) - (20 + len(options.get("ip_options", b"")) if version == 4 else 40)
    nic.send([frame], header=header(gso | WITH_ECN, headers, size, start, 16))
    nic.send([GOOD[:60]])
    count = -(-length // size)
    *got, after = read(port, count + 1, limit)
    assert after == GOOD[:60]
    assert [len(piece) - headers for piece in got] == [size] * (count - 1) + [length - size * (count - 1)]
    assert b"".join(piece[headers:] for piece in got) == payload
    for number, piece in enumerate(got):
        assert right(piece, version, start)
        assert piece[:front] == frame[:front]
        ethernet = dpkt.ethernet.Ethernet(piece)
        assert ethernet.data.data.seq == (0xFFFF_F000 + number * size) & 0xFFFF_FFFF
        assert ethernet.data.data.flags & (PSH | FIN) == (PSH | FIN if number == count - 1 else 0)
        assert bool(ethernet.data.data.flags & CWR) == (number == 0)
        if version == 4:
            assert ethernet.data.id == (0xFFFE + number) & 0xFFFF
            assert ethernet.data.len == len(piece) - front
        else:
            assert ethernet.data.plen == len(piece) - start
    counters = port.counters()
    assert (counters["rx_frames"], counters["rx_bytes"], counters["drops"]) == (count + 1, sum(map(len, got)) + 60, {})
    nic.close()


GOOD, START = packet(4, bytes(3000))
GOOD6, START6 = packet(6, bytes(3000))
WRONG = {
    "checksum beyond the end": (GOOD, header(start=len(GOOD), offset=0)),
    "checksum across the end": (GOOD, header(start=len(GOOD) - 17, offset=16)),
    "checksum that wraps": (GOOD, header(start=0xFFFF, offset=0xFFFF)),
    "segment without a checksum": (GOOD, header(TCPV4, 54, 1448, START, 16, flags=0)),
    "pieces of nothing": (GOOD, header(TCPV4, 54, 0, START, 16)),
    "pieces that are too small": (GOOD, header(TCPV4, 54, 63, START, 16)),
    "UDP segment": (GOOD, header(3, 54, 1448, START, 16)),
    "unknown kind": (GOOD, header(2, 54, 1448, START, 16)),
    "kind far out": (GOOD, header(0x7F, 54, 1448, START, 16)),
    "checksum of something else": (GOOD, header(TCPV4, 54, 1448, START, 6)),
    "IPv6 as IPv4": (GOOD6, header(TCPV4, 74, 1448, START6, 16)),
    "IPv4 as IPv6": (GOOD, header(TCPV6, 54, 1448, START, 16)),
    "transport header elsewhere": (GOOD, header(TCPV4, 54, 1448, START + 4, 16)),
    "transport header beyond the end": (GOOD6, header(TCPV6, 74, 1448, len(GOOD6) - 10, 16)),
    "only headers": (GOOD[:54], header(TCPV4, 54, 1448, START, 16)),
    "cut within TCP": (GOOD[:50], header(TCPV4, 54, 1448, START, 16)),
    "cut within IP": (GOOD[:30], header(TCPV4, 54, 1448, START, 16)),
    "TCP header too short": (GOOD[:46] + b"\x40" + GOOD[47:], header(TCPV4, 54, 1448, START, 16)),
    "IP header too short": (GOOD[:14] + b"\x44" + GOOD[15:], header(TCPV4, 54, 1448, START - 4, 16)),
}


@pytest.mark.parametrize(("frame", "asked"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_done_is_counted_and_the_next_one_passes(port: VhostUserPort, frame: bytes, asked: bytes) -> None:
    nic = Nic(port.path)
    nic.send([frame], header=asked)
    nic.send([GOOD[:60]])
    assert read(port, 1) == [GOOD[:60]]
    assert port.counters()["drops"] == {"rx_malformed": 1}
    nic.close()


@pytest.mark.parametrize(
    ("wanted", "frame", "asked"),
    [
        (PLAIN, GOOD, header(start=START, offset=16)),
        (PLAIN | CSUM, GOOD, header(TCPV4, 54, 1448, START, 16)),
        (PLAIN | CSUM | TSO4, GOOD6, header(TCPV6, 74, 1448, START6, 16)),
        (PLAIN | CSUM | TSO6, GOOD, header(TCPV4, 54, 1448, START, 16)),
    ],
)  # fmt: skip
def test_only_what_was_agreed_on_is_done(port: VhostUserPort, wanted: int, frame: bytes, asked: bytes) -> None:
    nic = Nic(port.path, wanted=int(wanted))
    nic.send([frame], header=asked)
    nic.send([GOOD[:60]])
    assert read(port, 1) == [GOOD[:60]]
    assert port.counters()["drops"] == {"rx_malformed": 1}
    nic.close()
