"""Virtqueues: what a driver makes available comes back done, whatever shape it has; and what can't be right stops the ring, and only that."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.virtio.echo import Echo
from tests.virtio.front_end import GUEST, INDIRECT, NEXT, USER, WRITE, DriverRing, FrontEnd
from vsw.virtio.faults import RING_FAULTS
from vsw.virtio.messages import INDEX_NUMBER, ONE_REGION, Feature, Request

PLAIN = Feature.PROTOCOL_FEATURES | Feature.VERSION_1
FEATURES = {
    "plain": PLAIN,
    "event-idx": PLAIN | Feature.EVENT_IDX,
    "all": PLAIN | Feature.EVENT_IDX | Feature.INDIRECT_DESC,
    "old": Feature.VERSION_1,
}


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    with Echo(tmp_path / "v.sock") as device:
        yield device


@pytest.fixture(params=FEATURES)
def front(request: pytest.FixtureRequest, echo: Echo) -> Iterator[FrontEnd]:
    with FrontEnd(echo.server.path) as end:
        end.negotiate(FEATURES[request.param])
        end.share()
        end.start(2)
        yield end


def exchange(front: FrontEnd, ring: DriverRing, out: list[bytes], rooms: list[int], **options: bool) -> bytes:
    """Post a chain, and what the device wrote into it."""
    _, places = ring.post([*out, *rooms], **options)
    ((_, written),) = ring.wait()
    got = b"".join(front.memory[place : place + room] for place, room in zip(places[len(out) :], rooms, strict=True))
    return got[:written]


@pytest.mark.parametrize(
    ("out", "rooms"),
    [
        pytest.param([b"hello"], [16], id="one each"),
        pytest.param([b"h", b"ell", b"o"], [1, 1, 9], id="pieces"),
        pytest.param([b"abc", b"", b"def"], [0, 6], id="empty buffers"),
        pytest.param([b"only to read"], [], id="nothing to write"),
        pytest.param([], [8], id="nothing to read"),
        pytest.param([b"longer than the room"], [4], id="too little room"),
        pytest.param([bytes(range(256)) * 16] * 4, [16384], id="large"),
    ],
)  # fmt: skip
def test_a_chain_comes_back(front: FrontEnd, echo: Echo, out: list[bytes], rooms: list[int]) -> None:
    data = b"".join(out)
    assert exchange(front, front.rings[0], out, rooms) == data[::-1][: sum(rooms)]
    assert echo.seen == [data]


def test_many_chains_go_round_and_round(front: FrontEnd, echo: Echo) -> None:
    ring = front.rings[1]
    for turn in range(40):
        chains = [ring.post([b"%d of %d" % (number, turn), 4]) for number in range(20)]
        done = ring.wait(20)
        assert [head for head, _ in done] == [head for head, _ in chains]
    assert echo.seen == [b"%d of %d" % (number, turn) for turn in range(40) for number in range(20)]


def test_indices_wrap(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        front.share()
        ring = DriverRing(front, 0, 64)
        ring.posted = ring.seen = 0xFFF0
        for at in (ring.available + 2, ring.used + 2):
            struct.pack_into("<H", front.memory, at, 0xFFF0)
        ring.announce(0xFFF0)
        front.rings.append(ring)
        for number in range(40):
            assert exchange(front, ring, [b"%d" % number], [8]) == (b"%d" % number)[::-1]
        assert echo.seen == [b"%d" % number for number in range(40)]


def test_indirect_tables(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        front.share()
        front.start(1)
        assert exchange(front, front.rings[0], [b"in", b"dir", b"ect"], [3, 5], indirect=True) == b"tceridni"
        # A table may lie at any address, and stand at the end of a chain.
        ring = front.rings[0]
        place = front.take(4096)
        front.memory[place : place + 3] = b"xyz"
        struct.pack_into("<QIHH", front.memory, place + 101, GUEST + place, 3, NEXT, 1)
        struct.pack_into("<QIHH", front.memory, place + 117, GUEST + place + 64, 9, WRITE, 0)
        ring.put_descriptor(60, GUEST + place, 2, NEXT, 61)
        ring.put_descriptor(61, GUEST + place + 101, 32, INDIRECT, 0)
        ring.heads[60] = []
        ring.publish(60)
        assert ring.wait() == [(60, 5)]
        assert front.memory[place + 64 : place + 69] == b"zyxyx"


def test_a_buffer_may_cross_from_one_region_to_the_next(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        half = front.size // 2
        for part in range(2):
            region = ONE_REGION.pack(0, GUEST + part * half, half, USER + part * half, part * half)
            assert front.acknowledged(Request.ADD_MEM_REG, region, [front.fd]) == 0
        front.start(1)
        front.memory[half - 3 : half + 3] = b"across"
        front.rings[0].post_at([(half - 3, b"across"), (half + 64, 6)])
        assert front.rings[0].wait() == [(0, 6)]
        assert front.memory[half + 64 : half + 70] == b"ssorca"


def test_a_ring_goes_on_where_the_last_device_stopped(tmp_path: Path) -> None:
    with Echo(tmp_path / "a.sock") as first, FrontEnd(first.server.path) as front:
        front.negotiate()
        front.share()
        front.start(1)
        exchange(front, front.rings[0], [b"one"], [3])
        assert INDEX_NUMBER.unpack(front.ask(Request.GET_VRING_BASE, INDEX_NUMBER.pack(0, 0))) == (0, 1)
        front.rings[0].post([b"two", 3])
        front.socket.close()
        with Echo(tmp_path / "b.sock") as second:
            again = FrontEnd(second.server.path, 4096)
            front.socket = again.socket
            front.negotiate()
            front.share()
            front.rings[0].announce(0)      # a device that was killed has told nobody its index
            assert [length for _, length in front.rings[0].wait()] == [3]
            assert second.seen == [b"two"]
            assert first.seen == [b"one"]


def test_the_driver_is_called_only_when_it_wants(front: FrontEnd, echo: Echo) -> None:
    ring = front.rings[0]
    if front.features & Feature.EVENT_IDX:
        struct.pack_into("<H", front.memory, ring.available + 4 + 2 * ring.entries, 7)      # not before the eighth
    else:
        struct.pack_into("<H", front.memory, ring.available, 1)
    for _ in range(8):
        ring.post([b"quiet"])
    # The other ring is served after this one.
    exchange(front, front.rings[1], [b"last"], [4])
    assert len(ring.done()) == 8
    assert echo.rings[0].calls == (1 if front.features & Feature.EVENT_IDX else 0)


# What can't be right.

Spoil = Callable[[FrontEnd, DriverRing, int], None]


def loop(front: FrontEnd, ring: DriverRing, place: int) -> None:
    ring.put_descriptor(0, GUEST + place, 1, NEXT, 1)
    ring.put_descriptor(1, GUEST + place, 1, NEXT, 0)
    ring.publish(0)


def descriptor(address: int, length: int, flags: int = 0, following: int = 0) -> Spoil:
    def spoil(front: FrontEnd, ring: DriverRing, place: int) -> None:
        ring.put_descriptor(0, address, length, flags, following)
        ring.publish(0)

    return spoil


def table(*entries: tuple[int, int, int, int], length: int | None = None, flags: int = INDIRECT) -> Spoil:
    def spoil(front: FrontEnd, ring: DriverRing, place: int) -> None:
        for number, entry in enumerate(entries):
            struct.pack_into("<QIHH", front.memory, place + 16 * number, *entry)
        ring.put_descriptor(0, GUEST + place, 16 * len(entries) if length is None else length, flags, 1)
        ring.publish(0)

    return spoil


def order(front: FrontEnd, ring: DriverRing, place: int) -> None:
    ring.put_descriptor(0, GUEST + place, 4, WRITE | NEXT, 1)
    ring.put_descriptor(1, GUEST + place, 4, 0, 0)
    ring.publish(0)


END = GUEST + (4 << 20)
WRONG: list[tuple[str, Spoil, int]] = [
    ("index far ahead", lambda front, ring, place: (ring.set_index(1000), os.eventfd_write(ring.kick, 1))[0], 1),
    ("index backwards", lambda front, ring, place: (ring.set_index(0xFFFF), os.eventfd_write(ring.kick, 1))[0], 1),
    ("head", lambda front, ring, place: ring.publish(64), 2),
    ("next", descriptor(GUEST, 1, NEXT, 64), 3),
    ("loop", loop, 4),
    ("loop of itself without length", descriptor(GUEST, 0, NEXT, 0), 4),
    ("beyond the memory", descriptor(END - 4, 5), 6),
    ("before the memory", descriptor(GUEST - 1, 2), 6),
    ("user address", descriptor(USER, 2), 6),
    ("wraps", descriptor(0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF), 6),
    ("all of 32 bits", descriptor(GUEST, 0xFFFF_FFFF), 6),
    ("order", order, 7),
    ("indirect in indirect", table((GUEST, 16, INDIRECT, 0)), 5),
    ("indirect with next", table((GUEST, 16, 0, 0), flags=INDIRECT | NEXT), 5),
    ("indirect of 17 bytes", table((GUEST, 16, 0, 0), length=17), 5),
    ("indirect of nothing", table(length=0), 5),
    ("indirect of 4 GiB", table(length=0xFFFF_FFF0), 5),
    ("indirect outside", descriptor(END - 16, 32, INDIRECT), 6),
    ("indirect next", table((GUEST, 1, NEXT, 1)), 3),
    ("indirect loop", table((GUEST, 1, NEXT, 1), (GUEST, 1, NEXT, 0)), 4),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "fault"), [pytest.param(spoil, fault, id=name) for name, spoil, fault in WRONG])
def test_what_is_wrong_stops_the_ring_and_only_that(echo: Echo, spoil: Spoil, fault: int, caplog: pytest.LogCaptureFixture) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        front.share()
        front.start(2)
        spoil(front, front.rings[0], front.take(4096))
        assert front.rings[0].failed()
        assert echo.rings[0].fault == RING_FAULTS[fault]
        assert f"ring 0 is no longer served: {RING_FAULTS[fault]}" in caplog.text
        assert exchange(front, front.rings[1], [b"well"], [4]) == b"llew"
        assert echo.seen == [b"well"]
        # The guest resets its device: the ring is set up anew, and runs.
        front.ask(Request.GET_VRING_BASE, INDEX_NUMBER.pack(0, 0))
        ring = front.rings[0] = DriverRing(front, 0, 64)
        ring.announce()
        assert exchange(front, ring, [b"again"], [5]) == b"niaga"


def test_indirect_must_be_negotiated(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate(PLAIN)
        front.share()
        front.start(1)
        front.rings[0].post([b"x", 1], indirect=True)
        assert front.rings[0].failed()
        assert echo.rings[0].fault == RING_FAULTS[5]


@pytest.mark.parametrize("left", [0, 4096, 1 << 20])
def test_memory_that_is_cut_short_ends_the_connection_and_nothing_else(echo: Echo, left: int, caplog: pytest.LogCaptureFixture) -> None:
    front = FrontEnd(echo.server.path)
    front.negotiate()
    front.share()
    front.used = 2 << 20
    front.start(1)
    front.rings[0].post([b"before", 6])
    front.rings[0].wait()
    front.memory.close()
    os.ftruncate(front.fd, left)
    os.eventfd_write(front.rings[0].kick, 1)
    assert front.gone()
    assert echo.gone.wait(PATIENCE)
    assert echo.reasons == [RING_FAULTS[9]]
    assert "was sent away: the file behind the guest's memory was cut short" in caplog.text
    # The next guest is served.
    with FrontEnd(echo.server.path) as other:
        other.negotiate()
        other.share()
        other.start(1)
        assert exchange(other, other.rings[0], [b"fine"], [4]) == b"enif"
    front.close()
