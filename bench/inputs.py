"""What the benchmarks switch: cases, each a module and a capture that was generated from it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from vsw.config.module import Module
from vsw.measure.lab import bench_module
from vsw.measure.traffic import Mix, Traffic, write_capture


@dataclass(frozen=True)
class Case:
    """A kind of traffic; ``targets`` are the ratios to the bare loop that the project wants to reach."""

    name: str
    macs: int
    sizes: str
    frames: int
    targets: dict[str, float] = field(default_factory=dict)


CASES = {
    case.name: case
    for case in (
        Case("min64", 1_000, "64", 4_000_000, {"C": 0.45, "F1": 0.6, "F2": 0.4, "W": 0.4}),
        Case("imix", 1_000, "imix", 1_000_000, {"F1": 0.9, "F2": 0.85}),
        Case("macs100k", 100_000, "64", 4_000_000, {"F1": 0.5, "F2": 0.35}),
        Case("macs1m", 1_000_000, "64", 4_000_000, {"F1": 0.35}),
    )
}


@dataclass(frozen=True)
class Input:
    """A case made ready: the same module with security off and on, and the capture."""

    case: Case
    off: Module
    on: Module
    traffic: Traffic


def prepare(case: Case, folder: Path, *, policy: str, seed: int = 1, frames: int | None = None) -> Input:
    """Generate the case's capture in ``folder`` (``frames`` instead of the case's own number)."""
    case = case if frames is None else replace(case, frames=frames)
    off = bench_module(case.macs, policy=policy)  # type: ignore[arg-type]
    on = bench_module(case.macs, policy=policy, security=True)  # type: ignore[arg-type]
    return Input(case, off, on, write_capture(off, folder / f"{case.name}-{case.frames}.pcap", Mix(case.frames, case.sizes, seed)))


def scratch_parent(needed: int) -> Path:
    """Where files of the benchmark go: memory (``/dev/shm``) if it has room for ``needed`` bytes twice over, so that no disk is measured."""
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free > 2 * needed and os.access(shared, os.W_OK):
        return shared
    return Path(tempfile.gettempdir())


@contextmanager
def scratch(needed: int, folder: Path | None = None) -> Iterator[Path]:
    """A directory that is removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="vsw-bench-", dir=folder or scratch_parent(needed)))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
