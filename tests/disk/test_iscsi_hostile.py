"""Hostile initiators: whatever they send, the target neither crashes nor hangs, nor reads or writes outside the disk.

After each attack a well-behaved initiator does its work on the same server.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.disk.initiator import Initiator, read_16, write_16
from tests.patience import PATIENCE
from vsw.disk.blocks import FaultyBlocks, MemoryBlocks
from vsw.disk.scsi import LogicalUnit, Target
from vsw.disk.serve.iscsi import POOL, Exported, IscsiServer

NAME = "iqn.2026-01.example.lab:disk"
SIZE = 1 << 20
TUR = bytes(6)


@pytest.fixture(scope="module")
def server(module_log: list[str]) -> Iterator[IscsiServer]:
    target = Target(NAME, {0: LogicalUnit(MemoryBlocks(SIZE), serial="x")})
    with IscsiServer([Exported(target)], [("127.0.0.1", 0)]) as running:
        yield running
    assert module_log == []


@pytest.fixture(scope="module")
def module_log() -> Iterator[list[str]]:
    """Defects that the target logged: a session that ends by an exception says so."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                found.append(self.format(record))

    logger = logging.getLogger("vsw.disk.iscsi")
    keep = Keep()
    logger.addHandler(keep)
    yield found
    logger.removeHandler(keep)


@pytest.fixture(autouse=True)
def the_next_initiator_is_served(server: IscsiServer) -> Iterator[None]:
    yield
    with Initiator(server.address, NAME, name="iqn.2026-01.example.lab:good").login() as initiator:
        initiator.command(TUR)
        assert initiator.command(write_16(7, 2), write=b"good" * 256).status == 0
        assert initiator.command(read_16(7, 2), read=1024).data == b"good" * 256
        assert initiator.logout() == 0
        assert initiator.closed()


def session(server: IscsiServer, **keys: str) -> Initiator:
    initiator = Initiator(server.address, NAME).login(**keys)
    initiator.command(TUR)
    return initiator


def drain(initiator: Initiator) -> None:
    """Say no more and read until the target ends the connection."""
    try:
        initiator.socket.shutdown(socket.SHUT_WR)
    except OSError:
        return
    assert initiator.closed()


# Before login.


@pytest.mark.parametrize("seed", range(30))
def test_noise_instead_of_a_login(server: IscsiServer, seed: int) -> None:
    noise = random.Random(seed)
    with Initiator(server.address, NAME) as initiator:
        data = bytearray(noise.randbytes(noise.choice((1, 47, 48, 49, 500, 5000))))
        if seed % 2:
            data[0] = 0x43
            data[4:8] = bytes((0, 0, noise.randrange(4), noise.randrange(256)))
        initiator.socket.sendall(data)
        drain(initiator)


@pytest.mark.parametrize("opcode", [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x10, 0x1C, 0x23, 0x3F])
def test_nothing_but_login_before_login(server: IscsiServer, opcode: int) -> None:
    with Initiator(server.address, NAME) as initiator:
        initiator.send(bytes((opcode | 0x40, 0x80)) + bytes(46))
        assert initiator.closed()


def test_endless_keys(server: IscsiServer) -> None:
    with Initiator(server.address, NAME) as initiator:
        head = bytearray(48)
        head[0], head[1] = 0x43, 0x44
        statuses = []
        for _ in range(20):
            initiator.send(head, b"X" * 8000)
            statuses.append(initiator.receive().number(36, 2))
            if statuses[-1]:
                break
        assert statuses[-1] == 0x0302
        assert initiator.closed()


@pytest.mark.parametrize("seed", range(40))
def test_fuzzed_logins(server: IscsiServer, seed: int) -> None:
    chance = random.Random(seed)
    with Initiator(server.address, NAME) as initiator:
        given = initiator.names() | {"MaxBurstLength": "1024", "AuthMethod": "None"}
        text = bytearray(b"".join(f"{key}={value}\0".encode() for key, value in given.items()))
        for _ in range(chance.randrange(1, 6)):
            text[chance.randrange(len(text))] = chance.randrange(256)
        head = bytearray(48)
        head[0], head[1] = 0x43, chance.choice((0x87, 0x81, 0x83, 0x04, 0x00, chance.randrange(256)))
        initiator.send(head, bytes(text))
        drain(initiator)


# After login.


@pytest.mark.parametrize("header_digest", ["None", "CRC32C"])
@pytest.mark.parametrize("seed", range(40))
def test_fuzzed_headers(server: IscsiServer, seed: int, header_digest: str) -> None:
    chance = random.Random(seed)
    with session(server, HeaderDigest=header_digest) as initiator:
        for _ in range(20):
            head = initiator.header(chance.choice((0, 1, 1, 1, 2, 4, 5, 6, 0x10, chance.randrange(64))), chance.randrange(256))
            head[8:16] = bytes(8) if chance.random() < 0.7 else chance.randbytes(8)
            head[20:24] = chance.choice((bytes(4), b"\xff" * 4, (512).to_bytes(4, "big"), chance.randbytes(4)))
            head[32:48] = chance.choice((read_16(0, 1), write_16(0, 1), chance.randbytes(16)))
            data = chance.randbytes(chance.choice((0, 0, 1, 512, 3000)))
            packet = bytearray(initiator.build(head, data))
            if chance.random() < 0.1:
                packet[chance.randrange(48)] ^= 1 << chance.randrange(8)
            try:
                initiator.socket.sendall(packet)
            except OSError:
                break
        drain(initiator)


@pytest.mark.parametrize("length", [262145, 1 << 20, (1 << 24) - 1])
def test_segments_longer_than_agreed(server: IscsiServer, length: int) -> None:
    with session(server) as initiator:
        head = initiator.command_header(write_16(0, 8), 4096, 0xA1)
        head[5:8] = length.to_bytes(3, "big")
        initiator.socket.sendall(head)
        assert initiator.closed()


@pytest.mark.parametrize("cut", [1, 20, 47, 48, 49, 52, 560, 563])
def test_truncated_pdus(server: IscsiServer, cut: int) -> None:
    with session(server, HeaderDigest="CRC32C", DataDigest="CRC32C") as initiator:
        packet = initiator.build(initiator.command_header(write_16(3, 1), 512, 0xA1), b"t" * 512)
        initiator.socket.sendall(packet[:cut])
        drain(initiator)


@pytest.mark.parametrize("size", [1, 7, 48, 100])
def test_pdus_in_crumbs(server: IscsiServer, size: int) -> None:
    with session(server) as initiator:
        head = initiator.command_header(write_16(3, 2), 1024, 0xA1)
        packet = initiator.build(head, b"crumbs.." * 128)
        for at in range(0, len(packet), size):
            initiator.socket.sendall(packet[at : at + size])
        assert initiator.finish(bytes(head[16:20])).status == 0
        assert initiator.command(read_16(3, 2), read=1024).data == b"crumbs.." * 128


def test_a_wrong_header_digest_ends_the_connection(server: IscsiServer) -> None:
    with session(server, HeaderDigest="CRC32C") as initiator:
        packet = bytearray(initiator.build(initiator.command_header(TUR, 0, 0x81)))
        packet[50] ^= 1
        initiator.socket.sendall(packet)
        assert initiator.closed()


def test_a_wrong_data_digest_is_rejected_and_the_command_not_done(server: IscsiServer) -> None:
    with session(server, DataDigest="CRC32C") as initiator:
        initiator.command(write_16(0, 1), write=b"before" + bytes(506))
        packet = bytearray(initiator.build(initiator.command_header(write_16(0, 1), 512, 0xA1), b"x" * 512))
        packet[-1] ^= 1
        initiator.socket.sendall(packet)
        rejected = initiator.receive()
        assert (rejected.opcode, rejected.header[2], rejected.data) == (0x3F, 0x02, bytes(packet[:48]))
        initiator.cmd_sn -= 1  # the command was not taken
        assert initiator.command(read_16(0, 1), read=512).data[:6] == b"before"


def test_a_wrong_data_digest_of_data_out_ends_the_command(server: IscsiServer) -> None:
    with session(server, DataDigest="CRC32C") as initiator:
        head = initiator.command_header(write_16(0, 1), 512, 0xA1)
        initiator.send(head)
        r2t = initiator.receive()
        packet = bytearray(initiator.build(initiator.data_out(r2t.tag, r2t.header[20:24], 0, 0, last=True), b"x" * 512))
        packet[-1] ^= 1
        initiator.socket.sendall(packet)
        assert initiator.receive().opcode == 0x3F
        answer = initiator.finish(bytes(head[16:20]))
        assert answer.code == (11, 0x47, 5)


DATA_OUTS = [
    # id, DataSN, offset, length, last, solicited
    ("number too high", 1, 0, 4096, True, True),
    ("offset beyond", 0, 4096, 4096, True, True),
    ("offset far beyond", 0, 0xFFFFF000, 4096, True, True),
    ("too much", 0, 0, 8192, True, True),
    ("too little", 0, 0, 512, True, True),
    ("not asked for", 0, 0, 4096, True, False),
]


@pytest.mark.parametrize(("number", "offset", "length", "last", "solicited"), [case[1:] for case in DATA_OUTS], ids=[case[0] for case in DATA_OUTS])
def test_wrong_data_out_ends_the_command(server: IscsiServer, number: int, offset: int, length: int, last: bool, solicited: bool) -> None:
    with session(server) as initiator:
        initiator.command(write_16(0, 16), write=bytes(8192))
        head = initiator.command_header(write_16(0, 8), 4096, 0xA1)
        initiator.send(head)
        r2t = initiator.receive()
        transfer = r2t.header[20:24] if solicited else b"\xff" * 4
        initiator.send(initiator.data_out(r2t.tag, transfer, number, offset, last=last), b"x" * length)
        answer = initiator.finish(bytes(head[16:20]))
        assert answer.code == (11, 0x4B, 0)
        assert initiator.command(read_16(0, 16), read=8192).data == bytes(8192)


def test_data_out_for_nothing_is_dropped(server: IscsiServer) -> None:
    with session(server) as initiator:
        initiator.send(initiator.data_out(b"none", b"\0\0\0\7", 0, 0, last=True), b"x" * 512)
        assert initiator.command(TUR).status == 0


def test_memory_for_waiting_commands_is_bounded(server: IscsiServer) -> None:
    with session(server) as initiator:
        cdb = write_16(0, 2048)
        statuses = []
        for _ in range(70):
            head = initiator.command_header(cdb, 1 << 20, 0xA1)
            initiator.send(head)
            pdu = initiator.receive()
            statuses.append(pdu.status if pdu.opcode == 0x21 else None)
        assert statuses.count(None) == 64
        assert statuses[64:] == [0x28] * 6  # TASK SET FULL


@pytest.mark.parametrize("expected", [0xFFFFFFFF, 1 << 31, 64 << 20])
def test_enormous_transfers_fetch_only_what_the_command_takes(server: IscsiServer, expected: int) -> None:
    with session(server) as initiator:
        head = initiator.command_header(write_16(0, 1), expected, 0xA1)
        initiator.send(head)
        r2t = initiator.receive()
        assert (r2t.opcode, r2t.number(44)) == (0x31, 512)
        initiator.answer_r2t(r2t, bytes(512))
        answer = initiator.finish(bytes(head[16:20]))
        assert (answer.status, answer.underflow) == (0, expected - 512)


def test_a_peer_that_never_reads_holds_up_nobody(server: IscsiServer) -> None:
    with session(server) as initiator, session_of_another(server) as other:
        initiator.socket.setblocking(False)
        packet = b"".join(initiator.build(initiator.command_header(read_16(0, 2048), SIZE, 0xC1)) for _ in range(100))
        initiator.socket.send(packet)
        for number in range(20):
            assert other.command(read_16(number, 1), read=512).status == 0


def test_a_peer_that_never_reads_holds_up_no_slow_command_of_others() -> None:
    """As many slow commands as the pool has threads end when their answers can't be sent any more."""
    held = threading.Event()

    class Slow(FaultyBlocks):
        def _flush(self) -> None:
            held.wait(PATIENCE)
            super()._flush()

    target = Target(NAME, {0: LogicalUnit(MemoryBlocks(SIZE), serial="x"), 1: LogicalUnit(Slow(MemoryBlocks(SIZE)), serial="y")})
    flush = bytes.fromhex("35000000000000000000")
    with IscsiServer([Exported(target)], [("127.0.0.1", 0)]) as server, session(server) as initiator, session_of_another(server) as other:
        initiator.command(TUR, lun=1)
        for _ in range(POOL):
            initiator.send(initiator.command_header(flush, 0, 0x81, lun=1))
        initiator.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # until the target takes no more, because it can't get rid of what was read
                initiator.socket.sendall(initiator.build(initiator.command_header(read_16(0, 2048), 1 << 20, 0xC1)))
        held.set()
        for _ in range(20):
            assert other.command(flush).status == 0


def session_of_another(server: IscsiServer) -> Initiator:
    initiator = Initiator(server.address, NAME, name="iqn.2026-01.example.lab:other").login()
    initiator.command(TUR)
    return initiator


def test_too_many_connections() -> None:
    most = 8
    target = Target(NAME, {0: LogicalUnit(MemoryBlocks(SIZE), serial="x")})
    with IscsiServer([Exported(target)], [("127.0.0.1", 0)], most_connections=most) as small:
        crowd = [Initiator(small.address, NAME, isid=bytes((0x80, 0, 0, 0, 0, number))) for number in range(most + 3)]
        for initiator in crowd[:most]:
            initiator.login()
        for initiator in crowd[most:]:
            assert initiator.closed()
        assert len(small.sessions) == most
        assert crowd[0].logout() == 0
        for initiator in crowd:
            initiator.socket.close()
