"""The switch's measures under pytest-benchmark, for saving and comparing runs on one machine.

    python -m pytest bench --benchmark-only --benchmark-autosave
    python -m pytest bench --benchmark-only --benchmark-compare

The figures that docs/benchmarks.md gives come from compare.py, which takes ratios within rounds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inputs import CASES, Input, prepare, scratch
from loops import MEASURES, measures
from one_frame import calls

FRAMES = {"min64": 1_000_000, "imix": 250_000, "macs100k": 1_000_000}
ROUNDS = 5
ONE_FRAME = calls()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    with scratch(1 << 30) as path:
        yield path
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module", params=FRAMES)
def made(request: pytest.FixtureRequest, folder: Path) -> Input:
    return prepare(CASES[request.param], folder, policy="ip-hash", frames=FRAMES[request.param])


@pytest.mark.parametrize("letter", MEASURES)
def test_measure(benchmark: Any, made: Input, folder: Path, letter: str) -> None:
    benchmark.group = made.case.name
    with measures(made, folder, [letter]) as measured:
        benchmark.extra_info["frames"] = made.traffic.frames
        benchmark.extra_info |= {key: count for key, count in measured.summaries.get(letter, {}).items() if key in ("delivered", "copies", "dropped")}
        benchmark.pedantic(measured.run[letter], setup=measured.before.get(letter), rounds=ROUNDS)


@pytest.mark.parametrize("call", ONE_FRAME.values(), ids=ONE_FRAME)
def test_one_frame(benchmark: Any, call: Callable[[], object]) -> None:
    benchmark.group = "one frame"
    benchmark(call)
