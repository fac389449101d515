"""Random sequences of everything that can be done to a qcow2 image, against a plain array; the image is clean by our check and by QEMU's.

``make disk-crash`` runs many more than the quick suite.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.disk import qemu
from vsw.disk.blocks import Qcow2Blocks, create_blocks
from vsw.disk.blocks.qcow2 import refcounts, tables, writing
from vsw.disk.blocks.qcow2.check import check_image
from vsw.disk.blocks.qcow2.snapshots import apply_snapshot, create_snapshot, delete_snapshot

HAVE_QEMU = shutil.which("qemu-img") is not None


class Life:
    """One image, what it must hold, and a source of chance."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random.Random(seed)
        self.path = directory / "disk.qcow2"
        chance = self.random
        cluster = chance.choice([512, 1024, 4096, 65536, 65536, 1 << 21])
        size = chance.randrange(1, 2048 if cluster < 65536 else 16384) * 512
        self.model = bytearray(size)
        options: dict[str, Any] = {"cluster_size": cluster, "refcount_bits": chance.choice([1, 2, 4, 8, 16, 16, 32, 64])}
        if chance.random() < 0.3:
            options |= {"version": 2, "refcount_bits": 16}
        if chance.random() < 0.4:
            base = chance.choice(["raw", "qcow2"])
            with create_blocks(directory / "base", chance.randrange(1, size // 512 + 100) * 512, base) as below:
                content = chance.randbytes(below.size)
                below.write(0, content)
            self.model[: len(content)] = content[:size]
            options |= {"backing": "base", "backing_format": base}
        elif chance.random() < 0.3:
            options["preallocation"] = chance.choice(["metadata", "falloc", "full"])
        self.snapshots: dict[str, bytes] = {}
        self.can_snapshot = options["refcount_bits"] > 2
        self.blocks = Qcow2Blocks.create(self.path, size, **options)

    def live(self, steps: int) -> None:
        for step in range(steps):
            self._step(step)
            if self.random.random() < 0.3:
                assert self.blocks.read(0, self.blocks.size) == self.model
        self._reopen()
        assert self.blocks.read(0, self.blocks.size) == self.model
        self.blocks.close()

    def _step(self, step: int) -> None:
        chance, blocks, size = self.random, self.blocks, len(self.model)
        offset = chance.randrange(size)
        length = chance.choice([1, 100, 512, 4096, 70_000, 300_000, 2_000_000])
        if chance.random() < 0.5:
            offset, length = offset // 512 * 512, max(512, length // 512 * 512)
        length = min(length, size - offset)
        what = chance.random()
        if what < 0.5:
            data = chance.randbytes(length)
            blocks.write(offset, data, fua=chance.random() < 0.1)
            self.model[offset : offset + length] = data
        elif what < 0.6:
            blocks.write_zeroes(offset, length, chance.random() < 0.5)
            self.model[offset : offset + length] = bytes(length)
        elif what < 0.7:
            blocks.discard(offset, length)
            after = blocks.read(offset, length)
            assert all(new in (0, old) for new, old in zip(after, self.model[offset : offset + length], strict=True))
            self.model[offset : offset + length] = after
        elif what < 0.75:
            blocks.flush()
        elif what < 0.8:
            self._reopen()
        elif what < 0.85:
            self._resize(chance.randrange(1, size // 512 * 2 + 1) * 512)
        elif what < 0.93:
            if self.can_snapshot:
                create_snapshot(blocks, f"s{step}")
                self.snapshots[f"s{step}"] = bytes(self.model)
        elif self.snapshots:
            name = chance.choice(sorted(self.snapshots))
            if what < 0.96:
                apply_snapshot(blocks, name)
                self.model = bytearray(self.snapshots[name])
                assert blocks.size == len(self.model)
            else:
                delete_snapshot(blocks, name)
                del self.snapshots[name]

    def _resize(self, size: int) -> None:
        try:
            self.blocks.resize(size)
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # version 2 can't do all of it
                raise
            return
        self.model = self.model[:size] + bytes(max(0, size - len(self.model)))

    def _reopen(self) -> None:
        self.blocks.close()
        report = check_image(self.path)
        assert (report.corruptions, report.leaks, report.marks) == (0, 0, 0), report
        if HAVE_QEMU:
            assert qemu.check(self.path) == qemu.CLEAN
        self.blocks = Qcow2Blocks(self.path)


def live(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # hold next to nothing in memory, so that tables and counts are forgotten, read again and committed all the time
        for module in (tables, refcounts):
            monkeypatch.setattr(module, "CACHE_BYTES", 0)
        monkeypatch.setattr(writing, "DIRTY_BYTES", 4096)
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else None) as directory:
        life = Life(seed, Path(directory))
        life.live(life.random.randrange(5, 60))
        if HAVE_QEMU:
            (Path(directory) / "model").write_bytes(life.model)
            qemu.must("compare", "-f", "raw", "-F", "qcow2", Path(directory) / "model", life.path)


@pytest.mark.parametrize("seed", range(12))
def test_random_lives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    live(seed, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_many_random_lives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    live(seed, monkeypatch)
