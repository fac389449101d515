"""A process is killed with requests in flight: what it had flushed is there, and the image is sound."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.run import ROOT, environment
from tests.disk.crash import number_of, scratch
from tests.disk.killed import STRETCH
from vsw.disk.blocks import create_blocks, open_blocks
from vsw.disk.blocks.qcow2.check import Repair, check_image

THREADS = 3
SIZE = 60 * STRETCH


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=scratch()) as directory:
        yield Path(directory)


def kill_once(path: Path, image_format: str, lines: int) -> list[int]:
    """Let a writer run until it has said ``lines`` things, and kill it; returns the last number that each thread flushed."""
    program = [sys.executable, str(ROOT / "tests" / "disk" / "killed.py"), str(path), image_format, str(THREADS)]
    flushed = [0] * THREADS
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment(), cwd=ROOT) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout, start=1):
            thread, number = map(int, line.split())
            flushed[thread] = number
            if count == lines:
                writer.kill()  # what it said before it died is still read
    assert writer.returncode == -9
    return flushed


def judge(path: Path, image_format: str, flushed: list[int]) -> None:
    """Every sector of a thread holds what it flushed last, or what it wrote since: the next number, or zero where it discards first."""
    if image_format == "qcow2":
        report = check_image(path)
        assert report.corruptions == 0, report.messages
        check_image(path, Repair.SAFE)
    with open_blocks(path, image_format) as blocks:
        numbers = number_of(blocks.read(0, SIZE)).reshape(-1, STRETCH // 512)
    for stretch, found in enumerate(numbers.tolist()):
        last = flushed[stretch % THREADS]
        allowed = {last, last + 1} | ({0} if (last + 1) % 5 == 0 and stretch % 3 == 0 else set())
        assert set(found) <= allowed, f"stretch {stretch}: {found}, flushed {last}"


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_killed_with_requests_in_flight(place: Path, image_format: str) -> None:
    repeat(place, image_format, rounds=2)


@pytest.mark.long
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_killed_many_times(place: Path, image_format: str) -> None:
    repeat(place, image_format, rounds=15)


def repeat(place: Path, image_format: str, rounds: int) -> None:
    chance = random.Random(1)
    for number in range(rounds):
        path = place / f"disk{number}"
        options = {"cluster_size": 4096} if image_format == "qcow2" else {}
        create_blocks(path, SIZE, image_format, **options).close()
        judge(path, image_format, kill_once(path, image_format, chance.randrange(3, 60)))
        path.unlink()
