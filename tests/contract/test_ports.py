"""What every type of live port promises (``vsw/ports/port.h``): order, lengths, nothing lost without being counted, peers that go and come back."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.port_rigs import RIGS, Rig, make
from tests.patience import PATIENCE
from vsw.errors import UsageError
from vsw.ports import TYPES, PortDrop, port_type

ADDRESSES = bytes.fromhex("020000000001020000000002")


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    made = make(request.param, tmp_path)
    yield made
    made.close()


def frame(number: int, length: int = 60) -> bytes:
    """A frame that says its number and has no byte in common by chance."""
    return (ADDRESSES + struct.pack("!HI", 0x88B5, number) + random.Random(number).randbytes(length))[:length]


def padded(rig: Rig, data: bytes) -> bytes:
    return data.ljust(rig.port.shortest, b"\0")


def drops(rig: Rig) -> int:
    return sum(rig.port.counters()["drops"].values())


def descriptors() -> set[str]:
    return {link.name for link in Path("/proc/self/fd").iterdir()}


def test_every_type_has_a_rig() -> None:
    assert set(TYPES) <= set(RIGS)
    assert all(port_type(word).type == word for word in TYPES)


def test_numbers_match_the_header() -> None:
    header = (Path(__file__).parents[2] / "vsw/ports/port.h").read_text()
    assert all(f"VSW_DROP_{reason.name} = {int(reason)}," in header for reason in PortDrop)


def test_nothing_there(rig: Rig) -> None:
    assert rig.port.link
    assert not rig.port.attention
    assert rig.port.read() == []
    assert not rig.port.wait(0)
    rig.port.write([])
    assert rig.receive() == []
    counters = rig.port.counters()
    assert counters.pop("drops") == {}
    assert {"rx_frames", "rx_bytes", "tx_frames", "tx_bytes"} < set(counters)
    assert set(counters.values()) == {0}


def test_order_in(rig: Rig) -> None:
    """And a notification for each time that nothing was there."""
    for first in range(0, 1000, 100):
        sent = [frame(number, 60 + number % 40) for number in range(first, first + 100)]
        for start in range(0, 100, 10):
            rig.send(sent[start : start + 10])
            assert rig.read(10) == sent[start : start + 10]
        assert not rig.port.wait(0)
    assert rig.port.counters()["rx_frames"] == 1000
    assert drops(rig) == 0


def test_order_out(rig: Rig) -> None:
    sent = [frame(number, 60 + number % 40) for number in range(1000)]
    arrived = []
    for start in range(0, 1000, 10):
        rig.port.write(sent[start : start + 10])
        arrived += rig.arrived(10)
    assert arrived == sent
    counters = rig.port.counters()
    assert (counters["tx_frames"], counters["tx_bytes"], counters["drops"]) == (1000, sum(map(len, sent)), {})


def test_a_few_at_a_time(rig: Rig) -> None:
    """A limit cuts a burst, and loses nothing."""
    sent = [frame(number) for number in range(10)]
    rig.send(sent)
    got: list[bytes] = []
    while len(got) < 10:
        if not (more := rig.port.read(3)):
            assert rig.port.wait(PATIENCE)
        assert len(more) <= 3
        got += more
    assert got == sent


def test_lengths_in(rig: Rig) -> None:
    """Short frames as guests send them, and long ones, byte for byte."""
    lengths = [*range(rig.shortest_sent, 130), 1513, 1514, 1515, 1518, 9014, rig.longest_sent - 1, rig.longest_sent]
    for length in lengths:
        if rig.shortest_sent <= length <= rig.longest_sent:
            rig.send([frame(length, length)])
            assert rig.read(1) == [frame(length, length)]
    assert drops(rig) == 0


def test_lengths_out(rig: Rig) -> None:
    lengths = [*range(14, 130), 1513, 1514, 1515, 1518, 9014, rig.longest_received - 1, rig.longest_received]
    for length in lengths:
        if length <= rig.longest_received:
            rig.port.write([frame(length, length)])
            assert rig.arrived(1) == [padded(rig, frame(length, length))]
    assert drops(rig) == 0


def test_too_long_is_counted_and_the_next_one_passes(rig: Rig) -> None:
    rig.port.write([frame(1), frame(2, 400_000), frame(3)])
    assert rig.arrived(2) == [padded(rig, frame(1)), padded(rig, frame(3))]
    assert drops(rig) == 1
    assert set(rig.port.counters()["drops"]) <= {"tx_too_long", "tx_refused"}


def test_tags(rig: Rig) -> None:
    """A copy is the addresses, tags, and the rest of the frame from somewhere on."""
    data = frame(7, 100)
    for tags, body_at in ((((0x8100, 10),), 12), ((), 16), (((0x88A8, 0x2005), (0x8100, 0xFFF)), 16), (((0x8100, 1),) * 3, 12)):
        rig.port.write([data], tags=tags, body_at=body_at)
        head = data[:12] + b"".join(struct.pack("!HH", *tag) for tag in tags)
        assert rig.arrived(1) == [head + data[body_at:]]


def test_tags_in(rig: Rig) -> None:
    """Tags are in the frame where they were, whoever took them off on the way."""
    for tags in ((0x8100, 10), (0x88A8, 0xE005, 0x8100, 0xFFF), (0x8100, 1) * 3, (0x8100, 0)):
        data = frame(7)[:12] + struct.pack(f"!{len(tags)}H", *tags) + frame(7)[12:]
        rig.send([data])
        assert rig.read(1) == [data]


def test_tags_do_not_spoil_the_padding(rig: Rig) -> None:
    rig.port.write([frame(7, 30)], tags=((0x8100, 10),))
    head = frame(7)[:12] + struct.pack("!HH", 0x8100, 10)
    assert rig.arrived(1) == [padded(rig, head + frame(7, 30)[12:])]


def test_a_peer_that_does_not_read(rig: Rig) -> None:
    """What does not fit is counted; what fitted arrives, in order, and then the way is free again."""
    if rig.lossy:
        pytest.skip("the kernel takes what it is given")
    sent = 0
    while not drops(rig):
        rig.port.write([frame(number, 1000) for number in range(sent, sent + 64)])
        sent += 64
        assert sent < 1 << 20
    lost = drops(rig)
    assert set(rig.port.counters()["drops"]) == {"tx_full"}
    arrived = rig.arrived(sent - lost)
    numbers = [struct.unpack_from("!I", data, 14)[0] for data in arrived]
    assert numbers == sorted(set(numbers))
    assert [frame(number, 1000) for number in numbers] == arrived
    assert rig.port.counters()["tx_frames"] == sent - lost
    rig.port.write([frame(1)])
    assert rig.arrived(1) == [padded(rig, frame(1))]
    assert drops(rig) == lost
    assert not rig.port.blocked


def test_conservation(rig: Rig) -> None:
    """Whatever the two sides do, frames that were sent have been received or are counted as dropped."""
    luck = random.Random(1)
    out = back = 0
    arrived: list[bytes] = []
    got: list[bytes] = []
    for _ in range(300):
        match luck.randrange(4):
            case 0:
                many = luck.randrange(40)
                rig.port.write([frame(number, luck.randrange(60, 1500)) for number in range(out, out + many)])
                out += many
            case 1:
                rig.send([frame(back, luck.randrange(60, 1500))])
                back += 1
                got += rig.read(1)
            case 2:
                arrived += rig.receive()
            case 3:
                got += rig.port.read(luck.randrange(1, 256))
    lost = drops(rig)
    arrived += rig.arrived(out - lost - len(arrived))
    counters = rig.port.counters()
    assert len(got) == back == counters["rx_frames"]
    assert sum(map(len, got)) == counters["rx_bytes"]
    assert len(arrived) == counters["tx_frames"] == out - lost
    assert sum(map(len, arrived)) == counters["tx_bytes"]
    assert rig.receive() == []


def test_peer_gone(rig: Rig) -> None:
    rig.leave()
    written = rig.work_until_lost()
    before = drops(rig)
    rig.port.write([frame(number) for number in range(10)])
    assert drops(rig) == before + 10
    assert rig.port.counters()["drops"]["tx_no_peer"] >= 10
    assert rig.port.counters()["tx_frames"] + drops(rig) == written + 10
    assert rig.port.read() == []
    assert not rig.port.blocked


def test_peer_gone_and_back(rig: Rig) -> None:
    if not rig.returns:
        pytest.skip("a peer of this type does not come back")
    for number in range(3):
        rig.leave()
        rig.work_until_lost()
        rig.port.service()
        rig.come_back()
        rig.serve_until_linked()
        rig.send([frame(number)])
        assert rig.read(1) == [frame(number)]
        rig.port.write([frame(number + 100)])
        assert rig.arrived(1) == [padded(rig, frame(number + 100))]


def test_closed_with_frames_on_their_way(rig: Rig) -> None:
    rig.send([frame(number) for number in range(8)])
    while not rig.port.counters()["drops"] and not rig.lossy:
        rig.port.write([frame(number, 1000) for number in range(64)])
    rig.port.read(1)
    rig.port.close()
    rig.port.close()
    for call in (rig.port.read, lambda: rig.port.write([frame(1)]), lambda: rig.port.wait(0)):
        with pytest.raises(UsageError, match="is closed"):
            call()
    assert not rig.port.link
    assert "closed" in repr(rig.port)


@pytest.mark.parametrize("word", RIGS)
def test_descriptors_are_given_back(word: str, tmp_path: Path) -> None:
    before = descriptors()
    made = make(word, tmp_path)
    assert made.port.describe()
    made.close()
    assert descriptors() == before


def test_bad_arguments(rig: Rig) -> None:
    for limit in (0, 257):
        with pytest.raises(UsageError, match=f"limit is 1 to 256, not {limit}"):
            rig.port.read(limit)
    with pytest.raises(UsageError, match="14 bytes or more, not 13"):
        rig.port.write([bytes(13)])
    with pytest.raises(UsageError, match="at most 3 tags, not 4"):
        rig.port.write([bytes(60)], tags=((0x8100, 1),) * 4)
