"""Nothing that was flushed is lost by a crash, and no crash leaves a corrupt image; ``make disk-crash`` explores many more states."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.disk import qemu
from tests.disk.crash import Explorer, LostError, Recording, content, scratch
from vsw.disk.blocks import Qcow2Blocks, RawBlocks
from vsw.disk.blocks.qcow2.snapshots import apply_snapshot, create_snapshot, delete_snapshot

SIZE = 96 * 1024
SHAPES: dict[str, dict[str, Any]] = {
    "512": {"cluster_size": 512},
    "512, 1 bit": {"cluster_size": 512, "refcount_bits": 1},
    "512, 64 bits": {"cluster_size": 512, "refcount_bits": 64},
    "4096": {"cluster_size": 4096},
    "16384, 64 bits": {"cluster_size": 16384, "refcount_bits": 64},
    "version 2": {"cluster_size": 4096, "version": 2},
    "overlay": {"cluster_size": 4096, "backing": "base", "backing_format": "raw"},
    "metadata": {"cluster_size": 4096, "preallocation": "metadata"},
}


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=scratch()) as directory:
        (Path(directory) / "base").write_bytes(content(1_000_000, SIZE // 1024))
        yield Path(directory)


def second(path: Path) -> int:
    return int(qemu.check(path)["corruptions"])


def explorer(place: Path, every: int) -> Explorer:
    return Explorer(place, second if shutil.which("qemu-img") else None, every)


def record(place: Path, kind: str, seed: int, steps: int, removed: frozenset[int] = frozenset()) -> Recording:
    path = place / "disk"
    path.unlink(missing_ok=True)
    if kind == "raw":
        RawBlocks.create(path, SIZE).close()
        recording = Recording(path, "raw", removed)
    else:
        Qcow2Blocks.create(path, SIZE, **SHAPES[kind]).close()
        recording = Recording(path, "qcow2", removed)
    recording.random_steps(random.Random(seed), steps)
    return recording


@pytest.mark.parametrize("kind", ["raw", *SHAPES])
def test_no_crash_loses_what_was_flushed(place: Path, kind: str) -> None:
    recording = record(place, kind, seed=len(kind), steps=20)
    judge = explorer(place, every=15)
    judge.explore(recording, random.Random(1), each=6)
    recording.blocks.close()
    assert judge.states > 25


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["raw", *SHAPES])
def test_many_crashes(place: Path, kind: str, seed: int) -> None:
    recording = record(place, kind, seed=100 + seed, steps=90 if kind == "raw" else 30)
    judge = explorer(place, every=6)
    judge.explore(recording, random.Random(seed), each=20)
    recording.blocks.close()
    print(f"{kind}: {judge.states} states, {judge.leaky} of them with leaks, {judge.asked} shown to qemu-img check")
    assert judge.states > 100


def left_out(place: Path, kind: str, removed: int, steps: int) -> None:
    """A mutant: the first, second or third flush of every operation does not happen."""
    with pytest.raises(LostError):  # noqa: PT012
        for seed in range(20):
            recording = record(place, kind, seed=seed, steps=steps, removed=frozenset({removed}))
            Explorer(place).explore(recording, random.Random(seed), each=8)
            recording.blocks.close()


@pytest.mark.parametrize(("kind", "removed"), [("raw", 1), ("4096", 1), ("4096", 2), ("overlay", 1), ("512, 64 bits", 2)])
def test_a_flush_that_is_left_out_is_found(place: Path, kind: str, removed: int) -> None:
    left_out(place, kind, removed, steps=15)


@pytest.mark.long
def test_the_flush_behind_a_new_refcount_block_is_missed(place: Path) -> None:
    left_out(place, "512, 64 bits", 3, steps=30)


@pytest.mark.parametrize("kind", ["4096", "512", "version 2"])
def test_no_crash_while_snapshots_come_and_go(place: Path, kind: str) -> None:
    chance = random.Random(5)
    recording = record(place, kind, seed=3, steps=6)
    for step in range(3):
        recording.do(lambda blocks: create_snapshot(blocks, f"s{step}", when=0.0), flush=True)  # noqa: B023
        recording.random_steps(chance, 4)
    recording.do(lambda blocks: delete_snapshot(blocks, "s1"), flush=True)
    recording.random_steps(chance, 3)
    judge = explorer(place, every=20)
    if kind == "version 2":  # has no dirty bit: marks and counts may disagree until somebody repairs them, which QEMU calls corruption
        judge.second = None
    judge.explore(recording, random.Random(2), each=4, every=3)
    recording.blocks.close()
    assert judge.states > 60


def test_no_crash_while_a_snapshot_is_applied_leaves_a_mixture(place: Path) -> None:
    recording = record(place, "4096", seed=4, steps=6)
    recording.do(lambda blocks: create_snapshot(blocks, "then", when=0.0), flush=True)
    recording.random_steps(random.Random(6), 8)
    recording.do(lambda blocks: blocks.flush(), flush=True)
    before = recording.steps[-1].after
    recording.do(lambda blocks: apply_snapshot(blocks, "then"), flush=True)
    start, after = recording.steps[-1].start, recording.steps[-1].after
    assert (before != after).any()
    judge = explorer(place, every=20)
    for where, state in recording.states(random.Random(3), each=6):
        if where > start:
            judge.judge(recording, where, state)
            with Qcow2Blocks(place / "state", read_only=True) as blocks:
                data = blocks.read(0, blocks.size)
            from tests.disk.crash import number_of

            found = number_of(data)
            assert (found == before).all() or (found == after).all()
    recording.blocks.close()


@pytest.mark.long
def test_no_crash_while_the_refcount_table_moves(place: Path) -> None:
    """A file that outgrows its refcount table of one cluster: 64 entries, each for 64 clusters of 512 bytes."""
    path = place / "disk"
    with Qcow2Blocks.create(path, 4 << 20, cluster_size=512, refcount_bits=64) as blocks:
        blocks.write(2 << 20, content(7, 3950))
        before = blocks.core.header.refcount_offset
    recording = Recording(path, "qcow2")
    for number in range(2):
        recording.do(lambda blocks: blocks.write(number * 20_480, content(8 + number, 40)))  # noqa: B023
        recording.do(lambda blocks: blocks.flush(), flush=True)
    assert recording.blocks.core.header.refcount_offset != before  # type: ignore[attr-defined]
    judge = explorer(place, every=10)
    judge.explore(recording, random.Random(2), each=4, every=3)
    recording.blocks.close()
    assert judge.states > 25


@pytest.mark.parametrize("kind", ["4096", "512", "overlay"])
def test_no_crash_while_the_size_changes(place: Path, kind: str) -> None:
    recording = record(place, kind, seed=9, steps=8)
    chance = random.Random(10)
    for size in (SIZE * 3, SIZE // 2 + 512, SIZE):
        recording.do(lambda blocks: blocks.resize(size), flush=True)  # noqa: B023
        recording.random_steps(chance, 4)
    judge = explorer(place, every=20)
    judge.explore(recording, random.Random(2), each=4, every=3)
    recording.blocks.close()
    assert judge.states > 25
