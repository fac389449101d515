"""A packet port on a cable: what a sender left to its card to do, and a cable that is pulled while frames go out (root)."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.port_rigs import PacketRig, ip, make

SOL_PACKET, PACKET_VNET_HDR = 263, 15
NEEDS_CSUM, GSO_TCPV4 = 1, 1
ETHERNET = bytes.fromhex("020000000002 020000000001 0800")
TCP, UDP = 6, 17
#: Where the checksum stands in the header.
FIELD = {TCP: 16, UDP: 6}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[PacketRig]:
    made = make("packet", tmp_path)
    assert isinstance(made, PacketRig)
    yield made
    made.close()


@pytest.fixture
def sender(rig: PacketRig) -> Iterator[socket.socket]:
    """Sends frames with a virtio header before them, as a guest's network stack gives them to its card."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as made:
        made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        made.bind((rig.other, 0))
        yield made


def added(data: bytes) -> int:
    """The ones' complement sum of 16-bit words."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def packet(protocol: int, payload: bytes) -> tuple[bytes, int]:
    """IPv4 with a transport header whose checksum field has the pseudo header's sum only; and the sum that it should have."""
    length = len(payload) + (20 if protocol == TCP else 8)
    source, target = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    pseudo = added(source + target + struct.pack("!HH", protocol, length))
    ports = struct.pack("!HH", 4000, 80)
    rest = struct.pack("!IIBBHHH", 1, 0, 0x50, 0x18, 512, pseudo, 0) if protocol == TCP else struct.pack("!HH", length, pseudo)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, protocol, 0) + source + target
    head = head[:10] + struct.pack("!H", ~added(head) & 0xFFFF) + head[12:]
    return ETHERNET + head + ports + rest + payload, (~added(ports + rest + payload) & 0xFFFF) or 0xFFFF


def virtio(flags: int = 0, gso: int = 0, header: int = 0, size: int = 0, start: int = 0, offset: int = 0) -> bytes:
    return struct.pack("=BBHHHH", flags, gso, header, size, start, offset)


@pytest.mark.parametrize("protocol", FIELD, ids=["tcp", "udp"])
@pytest.mark.parametrize("length", [18, 100, 101, 102, 103, 1200])
def test_a_checksum_that_was_left_to_the_card_is_made(rig: PacketRig, sender: socket.socket, protocol: int, length: int) -> None:
    frame, wanted = packet(protocol, random.Random(length).randbytes(length))
    at = 34 + FIELD[protocol]
    sender.send(virtio(NEEDS_CSUM, start=34, offset=FIELD[protocol]) + frame)
    (found,) = rig.read(1)
    assert found == frame[:at] + wanted.to_bytes(2, "big") + frame[at + 2 :]
    assert rig.port.counters()["drops"] == {}


def test_a_sum_of_zero_is_sent_as_ones(rig: PacketRig, sender: socket.socket) -> None:
    """No checksum and a checksum of 0 are the same to UDP (RFC 768)."""
    frame, wanted = packet(UDP, bytes(18))
    # Two bytes of payload that take what is left of the sum.
    frame, wanted = packet(UDP, wanted.to_bytes(2, "big") + bytes(16))
    assert wanted == 0xFFFF
    sender.send(virtio(NEEDS_CSUM, start=34, offset=6) + frame)
    (found,) = rig.read(1)
    assert found == frame[:40] + b"\xff\xff" + frame[42:]


def test_segments_that_were_left_to_the_card_to_cut_are_counted(rig: PacketRig, sender: socket.socket) -> None:
    frame, _ = packet(TCP, bytes(4000))
    sender.send(virtio(NEEDS_CSUM, GSO_TCPV4, 54, 1000, 34, 16) + frame)
    plain, _ = packet(UDP, b"after it" * 8)
    sender.send(virtio() + plain)
    assert rig.read(1) == [plain]
    assert rig.port.counters()["drops"] == {"rx_segmented": 1}


def test_an_interface_that_goes_down_while_frames_go_out(rig: PacketRig) -> None:
    frame, _ = packet(UDP, bytes(100))
    assert rig.port.link
    ip("link", "set", rig.name, "down")
    rig.port.write([frame] * 5)
    assert not rig.port.link
    assert rig.port.counters()["tx_frames"] == 0
    assert rig.port.counters()["drops"] == {"tx_no_peer": 5}
    ip("link", "set", rig.name, "up")
    rig.serve_until_linked()
    rig.port.write([frame])
    assert rig.arrived(1) == [frame]


def test_a_frame_that_is_longer_than_the_cable_takes(rig: PacketRig) -> None:
    ip("link", "set", rig.name, "mtu", "1500")
    long, _ = packet(UDP, bytes(3000))
    short, _ = packet(UDP, bytes(100))
    rig.port.write([long, short])
    assert rig.arrived(1) == [short]
    assert rig.port.counters()["drops"] == {"tx_too_long": 1}
