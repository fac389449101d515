"""The serving process is killed (SIGKILL) with writes in flight, again and again: what was acknowledged and then flushed is there afterwards.

Every 4 KiB block is written with its number and a generation in each sector. After a kill a sector must hold its own block's number, a generation
that was sent, and none older than the last one that a flush covered (FUA covers itself).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.cli.run import command, environment
from tests.disk import nbd_client
from tests.disk.initiator import Initiator, write_16
from vsw.disk.blocks import FORMATS, create_blocks, open_blocks

BLOCKS = 512
BLOCK, SECTOR = 4096, 512
SIZE = BLOCKS * BLOCK
DEPTH = 24


class Transport(Protocol):
    """A way to a disk with several requests under way; ``None`` from ``receive``: the server has gone."""

    def write(self, block: int, data: bytes, fua: bool) -> object: ...
    def flush(self) -> object: ...
    def receive(self) -> object | None: ...
    def close(self) -> None: ...


class OverNbd:
    def __init__(self, urls: list[str], folder: Path) -> None:
        self.client = nbd_client.Client(str(folder / "disk.sock"))
        self.client.go("")

    def write(self, block: int, data: bytes, fua: bool) -> object:
        return self.client.request(nbd_client.WRITE, block * BLOCK, BLOCK, flags=nbd_client.FUA if fua else 0, data=data)

    def flush(self) -> object:
        return self.client.request(nbd_client.FLUSH)

    def receive(self) -> object | None:
        try:
            cookie, answer = self.client.receive()
        except ConnectionError:
            return None
        assert answer.error == 0
        return cookie

    def close(self) -> None:
        self.client.socket.close()


class OverIscsi:
    def __init__(self, urls: list[str], folder: Path) -> None:
        host, port = urls[-1].removeprefix("iscsi://").split("/")[0].rsplit(":", 1)
        self.initiator = Initiator((host, int(port)), urls[-1].split("/")[3]).login()
        self.initiator.command(bytes(6))

    def write(self, block: int, data: bytes, fua: bool) -> object:
        cdb = bytearray(write_16(block * BLOCK // SECTOR, BLOCK // SECTOR))
        cdb[1] |= 0x08 if fua else 0
        header = self.initiator.command_header(bytes(cdb), BLOCK, 0xA1)
        self.initiator.send(header, data)
        return bytes(header[16:20])

    def flush(self) -> object:
        header = self.initiator.command_header(bytes.fromhex("35000000000000000000"), 0, 0x81)
        self.initiator.send(header)
        return bytes(header[16:20])

    def receive(self) -> object | None:
        try:
            pdu = self.initiator.receive()
        except ConnectionError:
            return None
        assert (pdu.opcode, pdu.status) == (0x21, 0)
        return pdu.tag

    def close(self) -> None:
        self.initiator.socket.close()


TRANSPORTS = {"nbd": OverNbd, "iscsi": OverIscsi}


def stamped(block: int, generation: int) -> bytes:
    return (struct.pack("<QQ", block + 1, generation) * (SECTOR // 16)) * (BLOCK // SECTOR)


@contextmanager
def server(folder: Path, image: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    words = command("disk", "serve", image, "--socket", folder / "disk.sock", "--iscsi", "--port", 0, "--json")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["disks"][0]["urls"]
        finally:
            process.kill()


def hammer(transport: Transport, process: subprocess.Popen[str], chance: random.Random, generation: int, floor: list[int]) -> int:
    """Write, flush, and kill the server after some replies; raises ``floor`` (by sector) to what is promised. The last generation sent."""
    writes: dict[object, tuple[int, int, bool]] = {}
    flushes: dict[object, list[tuple[int, int]]] = {}
    busy: set[int] = set()
    acknowledged: dict[int, int] = {}
    left = chance.randrange(50, 800)

    def promise(block: int, generation: int) -> None:
        for sector in range(block * BLOCK // SECTOR, (block + 1) * BLOCK // SECTOR):
            floor[sector] = max(floor[sector], generation)

    alive = True
    while True:
        while alive and len(writes) + len(flushes) < DEPTH:
            try:
                if chance.random() < 0.04:
                    covered = list(acknowledged.items())
                    flushes[transport.flush()] = covered
                    continue
                block = next(block for block in iter(lambda: chance.randrange(BLOCKS), None) if block not in busy)
                generation += 1
                fua = chance.random() < 0.1
                busy.add(block)
                writes[transport.write(block, stamped(block, generation), fua)] = (block, generation, fua)
            except OSError:
                alive = False
        done = transport.receive()
        if done is None:
            return generation
        if done in flushes:
            for block, covered_generation in flushes.pop(done):
                promise(block, covered_generation)
        else:
            block, written, fua = writes.pop(done)
            busy.discard(block)
            acknowledged[block] = written
            if fua:
                promise(block, written)
        left -= 1
        if left == 0:
            process.send_signal(signal.SIGKILL)


def check(image: Path, kind: str, generation: int, floor: list[int]) -> None:
    """Compare the disk with what was promised; what it holds is the floor of what comes."""
    with open_blocks(image, kind) as blocks:
        data = blocks.read(0, SIZE)
    for sector in range(SIZE // SECTOR):
        piece = data[sector * SECTOR : (sector + 1) * SECTOR]
        number, found = struct.unpack("<QQ", piece[:16])
        assert piece == piece[:16] * (SECTOR // 16), f"sector {sector} is torn"
        assert number == (sector * SECTOR // BLOCK + 1 if found else 0), f"sector {sector} holds block {number - 1}"
        assert floor[sector] <= found <= generation, f"sector {sector} holds generation {found}, promised was {floor[sector]}"
        floor[sector] = found


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("transport", list(TRANSPORTS))
def test_what_was_flushed_survives_the_server(transport: str, kind: str, kills: int) -> None:
    chance = random.Random(f"{transport} {kind} {kills}")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        folder = Path(name)
        image = folder / f"disk.{kind}"
        create_blocks(image, SIZE, kind).close()
        floor = [0] * (SIZE // SECTOR)
        generation = 0
        for _ in range(kills):
            with server(folder, image) as (process, urls):
                way: Transport = TRANSPORTS[transport](urls, folder)
                generation = hammer(way, process, chance, generation, floor)
                way.close()
            if kind == "qcow2" and shutil.which("qemu-img"):
                # Leaked clusters (status 3) are allowed, damage is not.
                checked = subprocess.run(["qemu-img", "check", str(image)], capture_output=True, text=True, check=False)
                assert checked.returncode in (0, 3), checked.stdout + checked.stderr
            check(image, kind, generation, floor)
        assert max(floor) > 0
