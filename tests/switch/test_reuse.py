"""``Switch.forward(..., out=...)``: columns of an earlier result are written again, for captures and for batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vsw
from vsw.datapath.source import FrameSource
from vsw.measure.lab import bench_module
from vsw.measure.traffic import Mix, chunks, write_capture
from vsw.switch.result import COLUMNS

FRAMES = 1_000
MIX = Mix(FRAMES)


@pytest.fixture(params=["capture", "batch"])
def frames(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FrameSource]:
    module = bench_module(64)
    if request.param == "batch":
        [chunk] = chunks(module, MIX)
        yield vsw.Batch.from_arrays(chunk.buffer, chunk.offsets, chunk.lengths, time=chunk.times)
    else:
        write_capture(module, tmp_path / "t.pcap", MIX)
        with vsw.open_capture(tmp_path / "t.pcap") as capture:
            yield capture


@pytest.mark.parametrize("workers", [1, 3])
def test_same_columns_in_the_same_memory(frames: FrameSource, workers: int) -> None:
    switch = vsw.Switch(bench_module(64, security=True))
    first = switch.forward(frames, ingress="source-mac")
    copies = {name: getattr(first, name).copy() for name in COLUMNS}
    for name in COLUMNS:
        getattr(first, name)[:] = 77
    second = switch.forward(frames, ingress="source-mac", out=first, workers=workers)
    assert second.workers == workers
    for name in COLUMNS:
        assert np.shares_memory(getattr(second, name), getattr(first, name))
        assert np.array_equal(getattr(second, name), copies[name])
    assert second.frames == FRAMES


@pytest.mark.parametrize("workers", [1, 3])
def test_too_few_rows(frames: FrameSource, workers: int) -> None:
    switch = vsw.Switch(bench_module(64))
    [chunk] = chunks(bench_module(64), Mix(FRAMES - 1))
    fewer = switch.forward(vsw.Batch.from_arrays(chunk.buffer, chunk.offsets, chunk.lengths))
    with pytest.raises(vsw.UsageError, match=f"room for {FRAMES - 1} frames"):
        switch.forward(frames, out=fewer, workers=workers)
