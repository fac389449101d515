"""Frames of a flow, joined for a guest that takes segments: what it gets is cut here again, by other arithmetic, into the frames that were sent."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports.test_vhost_offload import ACK, CWR, FIN, PSH, header, ones_sum, packet, pseudo, read
from tests.virtio.front_end import GUEST, NEXT, WRITE
from tests.virtio.nic import Nic
from vsw.ports.vhost_user import VhostUserPort
from vsw.virtio.messages import Feature

GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, MRG_RXBUF = 1 << 1, 1 << 7, 1 << 8, 1 << 15
PLAIN = Feature.PROTOCOL_FEATURES | Feature.VERSION_1
ALL = PLAIN | MRG_RXBUF | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6
SYN, URG, ECE = 0x02, 0x20, 0x40
TCPV4, TCPV6 = 1, 4
TIMESTAMPS = b"\1\1\x08\x0a12345678"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[VhostUserPort]:
    with VhostUserPort("port", tmp_path / "v.sock") as made:
        yield made


def complete(frame: bytes, version: int, start: int) -> bytes:
    """The frame with right checksums."""
    transport = frame[start:]
    transport = transport[:16] + bytes(2) + transport[18:]
    check = 0xFFFF - ones_sum(pseudo(version, len(transport), 6) + transport)
    front = frame[:start]
    if version == 4:
        at = start - 20
        ip = front[at : at + 10] + bytes(2) + front[at + 12 :]
        front = front[:at] + ip[:10] + struct.pack("!H", 0xFFFF - ones_sum(ip)) + ip[12:]
    return front + transport[:16] + struct.pack("!H", check) + transport[18:]


def piece(version: int, payload: bytes, sent: int = 0, number: int = 0, *, flags: int = ACK, fixed: bool = False) -> bytes:
    """A frame of a flow whose first has number 0 and whose ``sent`` bytes went before."""
    frame, start = packet(version, payload, flags=flags, options=TIMESTAMPS)
    frame = frame[: start + 4] + struct.pack("!I", (0xFFFF_F000 + sent) & 0xFFFF_FFFF) + frame[start + 8 :]
    if version == 4 and not fixed:
        frame = frame[: start - 16] + struct.pack("!H", (0xFFFE + number) & 0xFFFF) + frame[start - 14 :]
    return complete(frame, version, start)


def flow(version: int, sizes: list[int], last: int = ACK | PSH, *, fixed: bool = False, seed: int = 1) -> list[bytes]:
    luck, sent, frames = random.Random(seed), 0, []
    for number, size in enumerate(sizes):
        flags = last if number == len(sizes) - 1 else ACK
        frames.append(piece(version, luck.randbytes(size), sent, number, flags=flags, fixed=fixed))
        sent += size
    return frames


def cut(head: bytes, frame: bytes, *, fixed: bool = False) -> list[bytes]:
    """What a card would send if the guest had handed it this."""
    flags, gso, headers, size, start, offset = struct.unpack_from("<BBHHHH", head)
    if gso == 0:
        assert head[:10] == bytes(10)
        return [frame]
    version = {TCPV4: 4, TCPV6: 6}[gso]
    ip = 20 if version == 4 else 40
    assert (flags, offset, start) == (1, 16, 14 + ip)
    assert headers == start + (frame[start + 12] >> 4) * 4
    # What the guest completes has to be the sum of the pseudo header.
    assert struct.unpack_from("!H", frame, start + 16)[0] % 0xFFFF == ones_sum(pseudo(version, len(frame) - start, 6)) % 0xFFFF
    if version == 4:
        assert struct.unpack_from("!H", frame, 16)[0] == len(frame) - 14
        assert ones_sum(frame[14:34]) == 0xFFFF
    else:
        assert struct.unpack_from("!H", frame, 18)[0] == len(frame) - 54
    payload, made = frame[headers:], []
    assert len(payload) > size
    for number, at in enumerate(range(0, len(payload), size)):
        front = bytearray(frame[:headers])
        bytes_here = payload[at : at + size]
        if version == 4:
            struct.pack_into("!H", front, 16, headers - 14 + len(bytes_here))
            struct.pack_into("!H", front, 18, (struct.unpack_from("!H", front, 18)[0] + (0 if fixed else number)) & 0xFFFF)
        else:
            struct.pack_into("!H", front, 18, headers - 54 + len(bytes_here))
        struct.pack_into("!I", front, start + 4, (struct.unpack_from("!I", front, start + 4)[0] + at) & 0xFFFF_FFFF)
        if at + size < len(payload):
            front[start + 13] &= ~(PSH | FIN) & 0xFF
        made.append(complete(bytes(front) + bytes_here, version, start))
    return made


@pytest.mark.parametrize("room", [2048, 65_600, 700])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("sizes", [[1448] * 2, [1448] * 44 + [17], [1448, 1], [100] * 200 + [64], [8000] * 8], ids=str)
def test_a_flow_is_joined(port: VhostUserPort, version: int, sizes: list[int], fixed: bool, room: int) -> None:
    nic = Nic(port.path, wanted=int(ALL), room=room)
    frames = flow(version, sizes, fixed=fixed)
    port.write(frames)
    ((head, got),) = nic.receive_whole()
    assert cut(head, got, fixed=fixed) == frames
    counted = port.counters()
    assert (counted["tx_frames"], counted["tx_bytes"], counted["drops"]) == (len(frames), sum(map(len, frames)), {})
    assert counted["tx_frames"] - counted["tx_joined_frames"] == 1
    assert counted["tx_bytes"] - counted["tx_joined_bytes"] == len(got)
    nic.close()


def test_a_segment_ends_where_ip_can_not_say_more(port: VhostUserPort) -> None:
    nic = Nic(port.path, wanted=int(ALL))
    frames = flow(4, [1448] * 100)
    port.write(frames)
    got = nic.receive_whole()
    assert [one for head, frame in got for one in cut(head, frame)] == frames
    assert [len(frame) for _, frame in got] == [66 + 45 * 1448, 66 + 45 * 1448, 66 + 10 * 1448]
    nic.close()


def test_a_segment_goes_whole_from_guest_to_guest(tmp_path: Path) -> None:
    """What one guest hands over as a segment the other gets as one: cut between them, joined again."""
    with VhostUserPort("a", tmp_path / "a") as one, VhostUserPort("b", tmp_path / "b") as other:
        sender, receiver = Nic(one.path, transmit_entries=16), Nic(other.path)
        payload = random.Random(7).randbytes(60_000)
        frame, start = packet(4, payload, flags=ACK | PSH)
        sender.send([frame], header=header(TCPV4, len(frame) - len(payload), 1448, start, 16))
        pieces = read(one, -(-len(payload) // 1448))
        other.write(pieces)
        ((head, got),) = receiver.receive_whole()
        ip = frame[14:24] + struct.pack("!H", 0xFFFF - ones_sum(frame[14:24] + frame[26:34])) + frame[26:34]
        assert got == frame[:14] + ip + frame[34:]
        assert struct.unpack_from("<BBHHHH", head) == (1, TCPV4, 54, 1448, 34, 16)
        assert one.counters()["rx_frames"] - one.counters()["rx_cut_frames"] == 1
        assert one.counters()["rx_bytes"] - one.counters()["rx_cut_bytes"] == len(frame)
        sender.close()
        receiver.close()


def damaged(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes((frame[at] ^ 0x10,)) + frame[at + 1 :]


def changed(frame: bytes, at: int, value: int) -> bytes:
    """With another byte in its TCP header over IPv4, and the checksum that belongs to it."""
    return complete(frame[:at] + bytes((value,)) + frame[at + 1 :], 4, 34)


A, B = flow(4, [1448, 1448], ACK)
A6, B6 = flow(6, [1448, 1448], ACK)
APART = {
    "payload damaged": [A, damaged(B, 500)],
    "payload of the first damaged": [damaged(A, 500), B],
    "IPv6 payload damaged": [A6, damaged(B6, 500)],
    "IP header's sum damaged": [A, damaged(B, 24)],
    "another flow": [A, complete(damaged(B, 35), 4, 34)],
    "another address": [A, complete(damaged(B, 29), 4, 34)],
    "another station": [A, damaged(B, 11)],
    "a gap": [A, piece(4, bytes(1448), 1449, 1)],
    "the same again": [A, A],
    "another acknowledgement": [A, complete(damaged(B, 45), 4, 34)],
    "another window": [A, complete(damaged(B, 49), 4, 34)],
    "another time": [A, complete(damaged(B, 60), 4, 34)],
    "another hop limit": [A, complete(damaged(B, 22), 4, 34)],
    "another class": [A, complete(damaged(B, 15), 4, 34)],
    "another identification": [A, complete(damaged(B, 18), 4, 34)],
    "a longer one behind a short one": [piece(4, bytes(1000)), piece(4, bytes(1001), 1000, 1)],
    "pushed in between": [piece(4, bytes(1448), flags=ACK | PSH), B],
    "the end in between": [piece(4, bytes(1448), flags=ACK | FIN), B],
    "congestion echoed by one": [A, piece(4, bytes(1448), 1448, 1, flags=ACK | ECE)],
    "window reduced": [piece(4, bytes(1448), flags=ACK | CWR), piece(4, bytes(1448), 1448, 1, flags=ACK | CWR)],
    "urgent": [piece(4, bytes(1448), flags=ACK | URG), piece(4, bytes(1448), 1448, 1, flags=ACK | URG)],
    "a beginning": [piece(4, bytes(1448), flags=ACK | SYN), B],
    "nothing in it": [A, piece(4, b"", 1448, 1)],
    "too little in each": [piece(4, bytes(20)), piece(4, bytes(20), 20, 1)],
    "padded": [piece(4, bytes(100)), piece(4, bytes(1), 100, 1) + bytes(3)],
    "tagged": [one[:12] + b"\x81\0\0\x0a" + one[12:] for one in (A, B)],
    "a fragment": [complete(damaged(one, 21), 4, 34) for one in (A, B)],
    "neither TCP nor UDP": [complete(damaged(one, 23), 4, 34) for one in (A, B)],
    "both versions": [A, B6],
    "IPv6, another hop limit": [A6, damaged(B6, 21)],
    "IPv6, another class": [A6, damaged(B6, 14 + 1)],
    "IPv6, padded": [A6 + bytes(3), B6 + bytes(3)],
    "IPv6 with something before TCP": [damaged(one, 20) for one in (A6, B6)],
    "IPv6 by its type only": [damaged(one, 14) for one in (A6, B6)],
    "IPv6, cut short": [A6[:70], B6[:70]],
    "neither IPv4 nor IPv6": [one[:12] + b"\x88\xb5" + one[14:] for one in (A, B)],
    "a bit of TCP that means nothing yet": [changed(one, 46, one[46] | 1) for one in (A, B)],
    "a TCP header that is too short": [changed(one, 46, 0x40) for one in (A, B)],
    "a TCP header beyond the end": [changed(one, 46, 0xF0) for one in (piece(4, bytes(12)), piece(4, bytes(12), 12, 1))],
    "an urgent pointer": [changed(one, 53, 1) for one in (A, B)],
    "cut short": [A, B[:40]],
}


@pytest.mark.parametrize("frames", APART.values(), ids=APART)
def test_what_stays_apart(port: VhostUserPort, frames: list[bytes]) -> None:
    nic = Nic(port.path, wanted=int(ALL))
    port.write(frames)
    assert [(head[:10], frame) for head, frame in nic.receive_whole()] == [(bytes(10), frame) for frame in frames]
    assert port.counters()["tx_joined_frames"] == 0
    nic.close()


@pytest.mark.parametrize(
    ("wanted", "version"),
    [(PLAIN | MRG_RXBUF, 4), (PLAIN | MRG_RXBUF | GUEST_CSUM | GUEST_TSO6, 4), (PLAIN | MRG_RXBUF | GUEST_CSUM | GUEST_TSO4, 6),
     (PLAIN | MRG_RXBUF | GUEST_TSO4 | GUEST_TSO6, 4)],
)  # fmt: skip
def test_only_for_guests_that_take_it(port: VhostUserPort, wanted: int, version: int) -> None:
    nic = Nic(port.path, wanted=int(wanted))
    frames = flow(version, [1448] * 5)
    port.write(frames)
    assert nic.receive() == frames
    nic.close()


def test_a_guest_without_room_gets_the_frames_for_which_there_is_some(port: VhostUserPort) -> None:
    """Five buffers of 1,500 bytes: too few for ten frames in one, enough for five of them."""
    nic = Nic(port.path, wanted=int(ALL), entries=8, room=1600)
    port.write(flow(4, [1448] * 3))
    assert len(nic.receive_whole()) == 1
    frames = flow(4, [1448] * 10, seed=2)
    port.write(frames)
    got = nic.receive_whole()
    assert [one for head, frame in got for one in cut(head, frame)] == frames[: len(frames) - port.counters()["drops"]["tx_full"]]
    assert 0 < port.counters()["drops"]["tx_full"] < 10
    nic.close()


def test_without_mergeable_buffers_what_does_not_fit_goes_apart(port: VhostUserPort) -> None:
    nic = Nic(port.path, wanted=int(ALL & ~MRG_RXBUF), room=2048)
    frames = flow(4, [1000] * 3)
    port.write(frames)
    assert nic.receive() == frames
    nic.close()


@pytest.mark.parametrize("seed", range(30))
def test_any_mixture_arrives_in_order(port: VhostUserPort, seed: int) -> None:
    luck = random.Random(seed)
    nic = Nic(port.path, wanted=int(ALL), entries=1024)
    frames: list[bytes] = []
    while len(frames) < 200:
        version = luck.choice([4, 6])
        sizes = [luck.choice([100, 1448])] * luck.randrange(1, 30)
        if luck.random() < 0.5:
            sizes[-1] = luck.randrange(1, sizes[0] + 1)
        more = flow(version, sizes, luck.choice([ACK, ACK | PSH, ACK | FIN]), seed=luck.randrange(99))
        if luck.random() < 0.3:
            more[luck.randrange(len(more))] = luck.choice([bytes(60), damaged(A, luck.randrange(14, 200)), A6])
        frames += more
    for at in range(0, len(frames), 50):
        port.write(frames[at : at + 50])
    got = nic.receive_whole()
    assert [one for head, frame in got for one in cut(head, frame)] == frames
    assert len(got) < len(frames)
    assert len(got) == len(frames) - port.counters()["tx_joined_frames"]
    assert sum(len(frame) for _, frame in got) == port.counters()["tx_bytes"] - port.counters()["tx_joined_bytes"]
    nic.close()


def test_a_ring_that_fails_at_a_segment_takes_nothing_more(port: VhostUserPort) -> None:
    """The chain where the second segment would go leads beyond the table: nothing is written where the frames before went, or anywhere."""
    nic = Nic(port.path, wanted=int(ALL), entries=4)
    ring = nic.rings[0]
    ring.put_descriptor(3, GUEST + nic.buffers[0][3], nic.room, NEXT | WRITE, 99)
    frames = [bytes(60), *flow(4, [1448] * 2), *flow(4, [1448] * 2, seed=2)]
    port.write(frames)
    got = nic.receive_whole()
    assert [one for head, frame in got for one in cut(head, frame)] == frames[:3]
    counted = port.counters()
    assert (counted["tx_frames"], counted["tx_bytes"]) == (3, sum(map(len, frames[:3])))
    assert counted["drops"] == {"tx_refused": 2}
    nic.close()
