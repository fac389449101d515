"""The vhost-user protocol: front ends come and go, in whatever order they say things, and what they do wrong ends their own connection."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.virtio.echo import SPACE, Echo
from tests.virtio.front_end import GUEST, USER, DriverRing, FrontEnd
from vsw.errors import UsageError
from vsw.virtio.device import BASE_FEATURES
from vsw.virtio.memory import MOST_REGIONS
from vsw.virtio.messages import (
    CONFIG_HEAD,
    INDEX_NUMBER,
    MEMORY_HEAD,
    MEMORY_REGION,
    ONE_REGION,
    RING_ADDRESSES,
    WORD,
    Feature,
    ProtocolFeature,
    Request,
)
from vsw.virtio.server import listen


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    with Echo(tmp_path / "v.sock") as device:
        yield device


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def works(front: FrontEnd, ring: int = 0) -> bool:
    _, (_, place) = front.rings[ring].post([b"ab", 2])
    front.rings[ring].wait()
    return front.memory[place : place + 2] == b"ba"


def test_what_is_offered(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        assert front.number(Request.GET_FEATURES) == BASE_FEATURES
        assert front.number(Request.GET_PROTOCOL_FEATURES) == echo.protocol
        assert front.number(Request.GET_QUEUE_NUM) == 2
        assert front.number(Request.GET_MAX_MEM_SLOTS) == MOST_REGIONS


def test_acknowledgements_are_given_where_they_were_agreed_on(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.send(Request.SET_OWNER, flags=9)
        front.settle()                  # no answer came before this one
        front.negotiate()
        assert front.acknowledged(Request.SET_OWNER) == 0
        assert front.acknowledged(Request.SET_VRING_NUM, INDEX_NUMBER.pack(9, 64)) == 1
        assert front.gone()


ORDERS = {
    "network card": ["enable", "features", "memory", "number", "base", "address", "call", "kick"],
    "disk": ["features", "memory", "number", "base", "address", "kick", "call", "enable"],
    "memory last": ["features", "number", "address", "kick", "enable", "call", "memory"],
    "features last": ["enable", "number", "memory", "address", "kick", "call", "features"],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_the_order_of_things_does_not_matter(echo: Echo, order: list[str]) -> None:
    with FrontEnd(echo.server.path) as front:
        offered = front.features = front.number(Request.GET_FEATURES)
        front.send(Request.SET_PROTOCOL_FEATURES, WORD.pack(front.number(Request.GET_PROTOCOL_FEATURES)))
        ring = DriverRing(front, 0, 8)
        front.rings.append(ring)
        for word in order:
            match word:
                case "enable":
                    front.send(Request.SET_VRING_ENABLE, INDEX_NUMBER.pack(0, 1))
                case "features":
                    front.send(Request.SET_FEATURES, WORD.pack(offered))
                case "memory":
                    front.share()
                case "number":
                    front.send(Request.SET_VRING_NUM, INDEX_NUMBER.pack(0, 8))
                case "base":
                    front.send(Request.SET_VRING_BASE, INDEX_NUMBER.pack(0, 0))
                case "address":
                    front.send(Request.SET_VRING_ADDR, ring.addresses())
                case "call":
                    front.send(Request.SET_VRING_CALL, WORD.pack(0), [ring.call])
                case "kick":
                    front.send(Request.SET_VRING_KICK, WORD.pack(0), [ring.kick])
        assert works(front)


def test_a_ring_that_is_not_enabled_waits(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        front.share()
        front.start(2)
        front.send(Request.SET_VRING_ENABLE, INDEX_NUMBER.pack(0, 0))
        front.settle()
        front.rings[0].post([b"later", 5])
        assert works(front, 1)
        assert front.rings[0].done() == []
        front.send(Request.SET_VRING_ENABLE, INDEX_NUMBER.pack(0, 1))
        assert front.rings[0].wait() == [(0, 5)]


def test_memory_is_exchanged_under_a_running_ring(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        front.share()
        front.start(1)
        for turn in range(20):
            front.used = 1 << 20
            if turn % 2:
                front.share()
            else:       # half of it goes and comes back, hot-plugged
                half = front.size // 2
                front.send(Request.SET_MEM_TABLE, MEMORY_HEAD.pack(1, 0) + MEMORY_REGION.pack(GUEST, half, USER, 0), [front.fd])
                region = ONE_REGION.pack(0, GUEST + half, half, USER + half, half)
                assert front.acknowledged(Request.ADD_MEM_REG, region, [front.fd]) == 0
                assert front.acknowledged(Request.REM_MEM_REG, region) == 0
            front.rings[0].post([b"x" * 100, 100])
            assert front.rings[0].wait()[0][1] == 100


def test_a_region_that_is_added_for_every_queue_is_one(echo: Echo) -> None:
    """QEMU 7.2 adds each region once a pair of queues, and removes it as often; the rings go on meanwhile."""
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        whole = ONE_REGION.pack(0, GUEST, front.size, USER, 0)
        assert front.acknowledged(Request.ADD_MEM_REG, whole, [front.fd]) == 0
        front.start(1)
        for _ in range(2):
            assert front.acknowledged(Request.ADD_MEM_REG, whole, [front.fd]) == 0
        for _ in range(2):
            front.rings[0].post([b"x" * 100, 100])
            assert front.rings[0].wait()[0][1] == 100
            assert front.acknowledged(Request.REM_MEM_REG, whole) == 0
        front.ask(Request.GET_VRING_BASE, INDEX_NUMBER.pack(0, 0))
        assert front.acknowledged(Request.REM_MEM_REG, whole) == 0
        front.send(Request.REM_MEM_REG, whole)
        assert front.gone()


def test_the_same_addresses_of_another_file_are_another_region(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front, FrontEnd(echo.server.path) as other:
        front.negotiate()
        whole = ONE_REGION.pack(0, GUEST, front.size, USER, 0)
        assert front.acknowledged(Request.ADD_MEM_REG, whole, [front.fd]) == 0
        front.send(Request.ADD_MEM_REG, whole, [other.fd])
        assert front.gone()


def test_the_configuration_space(echo: Echo) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        assert front.config(8) == SPACE[:8]
        assert front.config(64) == SPACE + bytes(32)
        front.write_config(4, b"new!")
        assert front.config(8) == b"\0\1\2\3new!"
        # Too much is answered with nothing, and is no reason to go.
        assert front.ask(Request.GET_CONFIG, CONFIG_HEAD.pack(0, 300, 0)) == CONFIG_HEAD.pack(0, 0, 0)
        front.write_config(30, b"beyond")
        assert front.gone()


def test_front_ends_come_one_after_another(echo: Echo) -> None:
    for _ in range(3):
        with FrontEnd(echo.server.path) as front:
            front.negotiate()
            front.share()
            front.start(2)
            assert works(front)
        assert echo.gone.wait(PATIENCE)
        echo.gone.clear()
    # A second one waits for the first.
    with FrontEnd(echo.server.path) as first:
        first.settle()
        with FrontEnd(echo.server.path) as second:
            second.send(Request.GET_FEATURES)
            first.settle()
            first.close()
            assert second.receive()[0] == Request.GET_FEATURES
    assert echo.reasons == [""] * len(echo.reasons)


def test_closing_the_server_lets_go_of_everything(tmp_path: Path) -> None:
    before = descriptors()
    with Echo(tmp_path / "v.sock") as device:
        front = FrontEnd(device.server.path)
        front.negotiate()
        front.share()
        front.start(2)
        assert works(front)
        device.server.close()
        assert front.gone()
        assert not any(ring.running for ring in device.rings)
        assert not device.server.path.exists()
        front.close()
        assert "guest" not in Path("/proc/self/maps").read_text()
    assert descriptors() == before


# What can't be right.

TABLE = MEMORY_HEAD.pack(1, 0)
SIZE = 4 << 20


def region(guest: int = GUEST, size: int = SIZE, user: int = USER, offset: int = 0) -> bytes:
    return MEMORY_REGION.pack(guest, size, user, offset)


WRONG: dict[str, tuple[int, bytes, int, str]] = {
    "no such request": (99, b"", 0, "message 99 is none that was offered"),
    "request of another protocol": (6, bytes(16), 1, "message 6 is none"),
    "payload too short": (Request.SET_FEATURES, b"1234", 0, "SET_FEATURES has 4 bytes, not 8 to 8"),
    "payload too long": (Request.SET_OWNER, b"1234", 0, "SET_OWNER has 4 bytes, not 0 to 0"),
    "unwanted descriptor": (Request.SET_OWNER, b"", 1, "SET_OWNER came with 1 file descriptors, at most 0"),
    "too many descriptors": (Request.SET_MEM_TABLE, TABLE + region(), 9, "more than 8 file descriptors"),
    "features that were not offered": (Request.SET_FEATURES, WORD.pack(1 << 50), 0, "features 0x4000000000000 were not offered"),
    "protocol features too": (Request.SET_PROTOCOL_FEATURES, WORD.pack(1 << 40), 0, "protocol features 0x10000000000 were not"),
    "ring beyond the last": (Request.SET_VRING_NUM, INDEX_NUMBER.pack(2, 64), 0, "ring 2 of 2"),
    "kick of a ring beyond": (Request.SET_VRING_KICK, WORD.pack(255), 1, "ring 255 of 2"),
    "no kick": (Request.SET_VRING_KICK, WORD.pack(0), 0, "came without a file descriptor"),
    "kick that is memory": (Request.SET_VRING_KICK, WORD.pack(0), 1, "not an eventfd"),
    "call that is memory": (Request.SET_VRING_CALL, WORD.pack(0), 1, "not an eventfd"),
    "regions without files": (Request.SET_MEM_TABLE, TABLE + region(), 0, "1 memory regions came with 0 file descriptors"),
    "files without regions": (Request.SET_MEM_TABLE, MEMORY_HEAD.pack(0, 0), 1, "0 memory regions came with 1 file"),
    "more regions than bytes": (Request.SET_MEM_TABLE, MEMORY_HEAD.pack(2, 0) + region(), 2, "and 40 bytes"),
    "a region of nothing": (Request.SET_MEM_TABLE, TABLE + region(size=0), 1, "of 0 bytes"),
    "a region that is longer than its file": (Request.SET_MEM_TABLE, TABLE + region(offset=4096), 1, "its file, which has 4194304"),
    "a region that wraps": (Request.SET_MEM_TABLE, TABLE + region(guest=0xFFFF_FFFF_FFFF_0000), 1, "is not possible"),
    "a region whose user address wraps": (Request.SET_MEM_TABLE, TABLE + region(user=0xFFFF_FFFF_FFFF_0000), 1, "is not possible"),
    "an offset that wraps": (Request.SET_MEM_TABLE, TABLE + region(offset=0xFFFF_FFFF_FFFF_F000), 1, "is not possible"),
    "regions that overlap": (Request.SET_MEM_TABLE, MEMORY_HEAD.pack(2, 0) + region() + region(guest=GUEST + 4096, size=4096), 2, "overlap"),
    "a region that is not there": (Request.REM_MEM_REG, ONE_REGION.pack(0, 1, 2, 3, 4), 0, "there is no memory region of 2 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "payload", "fds", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_message_ends_the_connection(
    echo: Echo, request_: int, payload: bytes, fds: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        front.settle()
        before = descriptors()
        front.send(request_, payload, [front.fd] * fds)
        assert front.gone()
        assert echo.gone.wait(PATIENCE)
        assert reason in echo.reasons[0]
        assert reason in caplog.text
        assert len(descriptors()) <= len(before)
    with FrontEnd(echo.server.path) as next_:
        next_.settle()


HEADERS = {
    "another version": {"flags": 2},
    "no version": {"flags": 0},
    "a reply": {"flags": 5},
    "a large size": {"size": 1 << 31},
    "a size that does not come": {"size": 8},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_wrong_header_ends_the_connection(echo: Echo, header: dict[str, int]) -> None:
    front = FrontEnd(echo.server.path)
    front.send(Request.SET_FEATURES, b"", **header)
    front.socket.shutdown(socket.SHUT_WR)
    assert front.gone()
    assert echo.gone.wait(PATIENCE)
    assert echo.reasons[0]
    front.close()


RINGS = {
    "no power of two": (63, (0, 0, 0), "a ring of 63 entries"),
    "too large": (65536, (0, 0, 0), "a ring of 65536 entries"),
    "descriptors outside": (64, (SIZE, 0, 0), "do not lie in the guest's memory"),
    "descriptors that end outside": (64, (SIZE - 1008, 0, 0), "do not lie in the guest's memory"),
    "available ring outside": (64, (0, SIZE - 128, 0), "do not lie in the guest's memory"),
    "used ring outside": (64, (0, 0, SIZE - 512), "do not lie in the guest's memory"),
    "addresses of the guest": (64, (GUEST - USER, GUEST - USER, GUEST - USER), "do not lie in the guest's memory"),
    "descriptors askew": (64, (8, 0, 0), "not aligned"),
    "available ring askew": (64, (0, 1, 0), "not aligned"),
    "used ring askew": (64, (0, 0, 2), "not aligned"),
}


@pytest.mark.parametrize(("entries", "places", "reason"), RINGS.values(), ids=RINGS)
def test_a_ring_that_can_not_be_ends_the_connection(echo: Echo, entries: int, places: tuple[int, int, int], reason: str) -> None:
    with FrontEnd(echo.server.path) as front:
        front.negotiate()
        front.share()
        kick = os.eventfd(0)
        front.send(Request.SET_VRING_NUM, INDEX_NUMBER.pack(0, entries))
        descriptors_, available, used = ((USER + place) & 0xFFFF_FFFF_FFFF_FFFF for place in places)
        front.send(Request.SET_VRING_ADDR, RING_ADDRESSES.pack(0, 0, descriptors_, used, available, 0))
        front.send(Request.SET_VRING_ENABLE, INDEX_NUMBER.pack(0, 1))
        front.send(Request.SET_VRING_KICK, WORD.pack(0), [kick])
        assert front.gone()
        os.close(kick)
        assert echo.gone.wait(PATIENCE)
        assert reason in echo.reasons[0]


# The socket.


def test_a_socket_that_is_served_is_not_taken(echo: Echo) -> None:
    with pytest.raises(UsageError, match="another process serves this socket"):
        listen(echo.server.path)
    with FrontEnd(echo.server.path) as front:
        front.settle()


def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Echo(path) as echo, FrontEnd(path) as front:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        front.settle()
        assert echo.server.connected


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is in the way"):
        listen(path)
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match="can't listen there: No such file"):
        listen(tmp_path / "none" / "v.sock")
    with pytest.raises(UsageError, match="at most 107 bytes, not"):
        listen(tmp_path / ("x" * 107))


def test_features_have_their_numbers() -> None:
    assert Feature.PROTOCOL_FEATURES == 1 << 30
    assert ProtocolFeature.CONFIGURE_MEM_SLOTS == 1 << 15
