"""Hostile guests: whatever a front end and its guest do, the process survives, their neighbours go on, and the reason is in the log.

The quick version is part of the suite; ``make fuzz-vhost`` attacks for as long as ``VSW_FUZZ_SECONDS`` says. Both print the seed of a connection that
shows a fault. Under ``make sanitize`` they run with AddressSanitizer.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.ports.test_vhost_join import flow
from tests.virtio.fuzz import attack
from tests.virtio.nic import Nic
from vsw.disk.blocks import MemoryBlocks
from vsw.disk.scsi import LogicalUnit, Target
from vsw.disk.serve.vhost_user import BlkServer, ScsiServer
from vsw.ports.vhost_user import VhostUserPort

KINDS = ("port", "blk", "scsi")
QUICK = 60
STEPS = 150
SEGMENT = flow(4, [1448, 1448, 100])
"""Frames that are joined for a guest that takes segments."""


class Victims:
    """The devices under attack, and a port beside them that must never notice."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        disk = stack.enter_context(MemoryBlocks(1 << 20))
        unit = LogicalUnit(MemoryBlocks(1 << 20), serial="victim")
        self.port = stack.enter_context(VhostUserPort("victim", place / "port.sock", queues=2))
        stack.enter_context(BlkServer(place / "blk.sock", disk, serial="victim"))
        stack.enter_context(ScsiServer(place / "scsi.sock", {0: Target("iqn.2026-01.example.lab:victim", {0: unit})}))
        self.neighbour = stack.enter_context(VhostUserPort("neighbour", place / "neighbour.sock"))
        self.nic = Nic(self.neighbour.path)
        stack.callback(self.nic.close)
        self.place = place

    def poke(self) -> None:
        """What the run loop does with the port that is attacked."""
        self.port.read()
        self.port.write([bytes(12) + bytes([8, 0]) + bytes(46), *SEGMENT, bytes(12) + bytes([8, 0]) + bytes(1400), *SEGMENT])
        self.port.wait(0)

    def attack(self, kind: str, seed: int) -> None:
        rings = {"port": 4, "blk": 4, "scsi": 3}[kind]
        attack(self.place / f"{kind}.sock", seed, rings, STEPS, self.poke if kind == "port" else lambda: None)

    def check(self, seed: int) -> None:
        """The neighbour still gets and gives its frames."""
        data = bytes.fromhex("0200000000010200000000020800") + seed.to_bytes(8, "big") + bytes(50)
        self.nic.send([data])
        assert self.neighbour.wait(PATIENCE)
        assert self.neighbour.read() == [data], f"seed {seed}"
        self.neighbour.write([data])
        assert self.nic.receive() == [data], f"seed {seed}"


@contextmanager
def victims(place: Path) -> Iterator[Victims]:
    with ExitStack() as stack:
        yield Victims(place, stack)


def still_served(place: Path, kind: str) -> None:
    """A good front end finds the device as new."""
    if kind == "port":
        return
    from tests.disk.test_vhost_user import Disk, Host

    if kind == "blk":
        disk = Disk(place / "blk.sock")
        disk.write(0, b"fine" * 128)
        assert disk.read(0, 512) == b"fine" * 128
        disk.close()
    else:
        host = Host(place / "scsi.sock")
        host.quiet()
        host.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_front_end_harms_nobody_else(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with victims(tmp_path) as scene:
        for seed in range(QUICK):
            scene.attack(kind, seed)
            if seed % 10 == 0:
                scene.check(seed)
        still_served(tmp_path, kind)
        scene.check(QUICK)
    reasons = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("was sent away: " in reason for reason in reasons)
    assert any("is no longer served: " in reason for reason in reasons)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 8     # (those of devices that were not collected yet)


@pytest.mark.long
def test_attacks_for_as_long_as_you_like(tmp_path: Path) -> None:
    seconds = float(os.environ.get("VSW_FUZZ_SECONDS", "300"))
    start = int(os.environ.get("VSW_FUZZ_SEED", time.time_ns() % (1 << 32)))
    end = time.monotonic() + seconds
    done = dict.fromkeys(KINDS, 0)
    with victims(tmp_path) as scene:
        seed = start
        while time.monotonic() < end:
            for kind in KINDS:
                scene.attack(kind, seed)
                done[kind] += 1
            scene.check(seed)
            seed += 1
        for kind in KINDS:
            still_served(tmp_path, kind)
    print(f"\nseeds from {start}: " + ", ".join(f"{count} attacks on {kind}" for kind, count in done.items()))
    assert all(done.values())
