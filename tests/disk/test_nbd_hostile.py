"""Hostile NBD clients: whatever arrives, the server neither crashes nor hangs, and the next client works."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk import nbd_client as nbd
from tests.disk.nbd_client import ACK, Client, text
from vsw.disk.blocks import MemoryBlocks
from vsw.disk.serve.nbd import Export, NbdServer

SIZE = 8 << 20


@pytest.fixture
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def server(place: Path) -> Iterator[NbdServer]:
    with MemoryBlocks(SIZE) as blocks, NbdServer([Export("disk", blocks)], unix=place / "s") as made:
        yield made


@pytest.fixture(autouse=True)
def the_next_client_works(server: NbdServer) -> Iterator[None]:
    yield
    with Client(path_of(server)) as client:
        client.want_structured().go("disk")
        client.write(7, b"good" * 1000)
        assert client.read(7, 4000) == b"good" * 1000
        assert client.do(nbd.FLUSH).error == 0
        client.request(nbd.DISC)
        assert client.closed()


def path_of(server: NbdServer) -> str:
    path = server.addresses[0]
    assert isinstance(path, str)
    return path


def ready(server: NbdServer, *, structured: bool = True) -> Client:
    client = Client(path_of(server))
    if structured:
        client.want_structured()
    client.go("disk")
    return client


def drain(client: Client) -> None:
    """Say no more and read until the server ends the connection."""
    try:
        client.socket.shutdown(socket.SHUT_WR)
    except OSError:
        return
    assert client.closed()


def push(client: Client, data: bytes) -> None:
    """Send as much as the server takes."""
    try:
        client.socket.sendall(data)
    except OSError:
        return


# The handshake.


@pytest.mark.parametrize("seed", range(30))
def test_noise_instead_of_a_handshake(server: NbdServer, seed: int) -> None:
    noise = random.Random(seed)
    with Client(path_of(server), hello=False) as client:
        push(client, noise.randbytes(noise.choice((1, 3, 4, 5, 20, 500, 70000))))
        drain(client)


@pytest.mark.parametrize("flags", [4, 0x80000000, 0xFFFFFFFF])
def test_unknown_client_flags_end_the_connection(server: NbdServer, flags: int) -> None:
    with Client(path_of(server), flags=flags) as client:
        assert client.closed()


@pytest.mark.parametrize("length", [65537, 1 << 31, 0xFFFFFFFF])
@pytest.mark.parametrize("option", [nbd.LIST, nbd.GO, nbd.EXPORT_NAME, 99])
def test_options_that_are_too_long_end_the_connection(server: NbdServer, option: int, length: int) -> None:
    with Client(path_of(server)) as client:
        push(client, b"IHAVEOPT" + struct.pack(">II", option, length) + bytes(100))
        assert client.closed()


@pytest.mark.parametrize("seed", range(40))
def test_fuzzed_options(server: NbdServer, seed: int) -> None:
    chance = random.Random(seed)
    with Client(path_of(server), flags=chance.choice((3, 3, 1, 0))) as client:
        for _ in range(10):
            data = bytearray(text("disk") + chance.choice((b"\0\0", b"\0\1\0\3", b"\0\0\0\1" + text("base:allocation"), b"\0\0\0\2" + text("base:"))))
            for _ in range(chance.randrange(4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            cut = bytes(data[: chance.choice((len(data), chance.randrange(len(data) + 1)))])
            option = chance.choice((nbd.LIST, nbd.INFO, nbd.STRUCTURED, nbd.LIST_META, nbd.SET_META, chance.randrange(20)))
            magic = b"IHAVEOPT" if chance.random() < 0.95 else chance.randbytes(8)
            push(client, magic + struct.pack(">II", option, len(cut)) + cut)
        drain(client)


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_handshake_that_breaks_off(server: NbdServer, cut: int) -> None:
    with Client(path_of(server)) as client:
        push(client, (b"IHAVEOPT" + struct.pack(">II", nbd.GO, 20) + text("disk") + bytes(12))[:cut])
        drain(client)


def test_options_without_end(server: NbdServer) -> None:
    with Client(path_of(server)) as client:
        for _ in range(64):
            assert client.replies(nbd.LIST)[-1] == (ACK, b"")
        assert client.closed()


# Requests.


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_fuzzed_requests(server: NbdServer, seed: int, structured: bool) -> None:
    chance = random.Random(seed)
    with ready(server, structured=structured) as client:
        for number in range(40):
            command = chance.choice((0, 0, 1, 1, 3, 4, 5, 6, 7, chance.randrange(65536)))
            flags = chance.choice((0, 0, 1, 2, 4, 8, 16, chance.randrange(65536)))
            offset = chance.choice((0, SIZE - 1, SIZE, chance.randrange(SIZE), chance.getrandbits(64)))
            length = chance.choice((0, 1, 512, 4096, 1 << 20, chance.randrange(1 << 16), chance.getrandbits(32)))
            packet = bytearray(struct.pack(">IHHQQI", 0x25609513, flags, command, number, offset, length))
            if chance.random() < 0.03:
                packet[chance.randrange(28)] ^= 1 << chance.randrange(8)
            # A write whose data is short makes of what follows its data; one that announces gigabytes ends the connection.
            push(client, bytes(packet) + (bytes(min(length, 8192)) if command == nbd.WRITE else b""))
        drain(client)


@pytest.mark.parametrize("cut", [1, 4, 27, 28, 29, 100, 28 + 4095])
def test_half_requests(server: NbdServer, cut: int) -> None:
    with ready(server) as client:
        client.write(0, b"b" * 4096)
        push(client, (struct.pack(">IHHQQI", 0x25609513, 0, nbd.WRITE, 9, 0, 4096) + b"n" * 4096)[:cut])
        drain(client)
    with ready(server) as client:
        assert client.read(0, 4096) == b"b" * 4096


@pytest.mark.parametrize("length", [4096, 1 << 20, 3 << 20])
@pytest.mark.parametrize("flags", [0, nbd.FUA])
def test_a_client_that_leaves_in_the_middle_of_a_write_wrote_nothing(server: NbdServer, length: int, flags: int) -> None:
    with ready(server) as client:
        client.write(0, b"b" * length)
    with ready(server) as client:
        push(client, struct.pack(">IHHQQI", 0x25609513, flags, nbd.WRITE, 9, 0, length) + b"n" * (length - 1))
    with ready(server) as client:
        assert client.read(0, length) == b"b" * length


@pytest.mark.parametrize("size", [1, 7, 28, 100])
def test_requests_in_crumbs(server: NbdServer, size: int) -> None:
    with ready(server) as client:
        packet = struct.pack(">IHHQQI", 0x25609513, 0, nbd.WRITE, 5, 3, 1000) + b"crumbs.." * 125
        for at in range(0, len(packet), size):
            client.socket.sendall(packet[at : at + size])
        client.lengths[5] = 0
        assert client.receive() == (5, nbd.Answer(0))
        assert client.read(3, 1000) == b"crumbs.." * 125


@pytest.mark.parametrize("magic", [0, 0x25609512, 0x67446698, 0xFFFFFFFF])
def test_a_wrong_magic_number_ends_the_connection(server: NbdServer, magic: int) -> None:
    with ready(server) as client:
        push(client, struct.pack(">IHHQQI", magic, 0, nbd.READ, 1, 0, 512))
        assert client.closed()


@pytest.mark.parametrize("length", [(32 << 20) + 1, 1 << 31, 0xFFFFFFFF])
def test_writes_that_are_too_long_end_the_connection(server: NbdServer, length: int) -> None:
    with ready(server) as client:
        push(client, struct.pack(">IHHQQI", 0x25609513, 0, nbd.WRITE, 1, 0, length) + bytes(1 << 16))
        assert client.closed()


def test_the_same_cookie_for_all(server: NbdServer) -> None:
    with ready(server) as client:
        for _ in range(100):
            client.request(nbd.FLUSH, cookie=0)
        assert [client.receive() for _ in range(100)] == [(0, nbd.Answer(0))] * 100


# Floods.


def test_a_flood_of_reads_by_a_client_that_reads_nothing_holds_up_nobody(server: NbdServer) -> None:
    with ready(server) as hostile, ready(server) as other:
        hostile.socket.setblocking(False)
        packet = struct.pack(">IHHQQI", 0x25609513, 0, nbd.READ, 1, 0, SIZE)
        with contextlib.suppress(BlockingIOError):
            while True:
                hostile.socket.send(packet * 100)
        for number in range(20):
            other.write(number * 512, b"o" * 512)
            assert other.do(nbd.FLUSH).error == 0


def test_a_flood_of_slow_requests_is_answered_to_the_last(server: NbdServer) -> None:
    with ready(server) as client:
        for number in range(1000):
            client.request((nbd.FLUSH, nbd.TRIM, nbd.CACHE)[number % 3], length=(0, 512, 512)[number % 3])
        assert sorted(client.receive()[0] for _ in range(1000)) == list(range(1, 1001))


def test_large_writes_hold_bounded_memory(server: NbdServer) -> None:
    """Twice as much as the server keeps at a time: it stops receiving, and goes on when it has written."""
    with ready(server) as client:
        for number in range(16):
            client.request(nbd.WRITE, 0, SIZE, data=bytes((number,)) * SIZE)
        assert {client.receive()[1].error for _ in range(16)} == {0}


def test_too_many_connections(place: Path) -> None:
    most = 8
    with MemoryBlocks(SIZE) as blocks, NbdServer([Export("", blocks)], unix=place / "t", most_connections=most) as small:
        crowd = [Client(path_of(small)) for _ in range(most)]
        for _ in range(3):
            with Client(path_of(small), hello=False) as refused:
                assert refused.closed()
        crowd[0].go("")
        crowd[0].request(nbd.DISC)
        assert crowd[0].closed()
        for client in crowd:
            client.socket.close()


def test_clients_that_come_and_go(server: NbdServer) -> None:
    for number in range(100):
        with Client(path_of(server)) as client:
            if number % 2:
                client.go("disk")
                client.request(nbd.READ, 0, 4096)
