"""What a call from Python costs: a batch of one frame."""

from __future__ import annotations

import timeit
from collections.abc import Callable

import numpy as np

import vsw
from vsw.config.module import Module
from vsw.measure.lab import bench_module
from vsw.measure.traffic import Kind, Mix, chunks
from vsw.switch.result import new_columns

CALLS = 20_000
TIMES = 15


def single(module: Module, kind: Kind) -> tuple[vsw.Batch, int]:
    """A batch that holds one frame of the kind, and the port that it comes in by."""
    for chunk in chunks(module, Mix(1_000)):
        (found,) = np.nonzero(chunk.kinds == kind)
        first = found[0]
        batch = vsw.Batch.from_arrays(chunk.buffer, chunk.offsets[first : first + 1], chunk.lengths[first : first + 1])
        return batch, int(chunk.port_in[first])
    raise AssertionError("no chunk")


def calls() -> dict[str, Callable[[], object]]:
    """``Datapath.run(batch, out=...)`` at one frame, with the port given and by source address."""
    module = bench_module(1000)
    datapath = vsw.Switch(module).datapath
    batch, port = single(module, Kind.INSIDE)
    out = new_columns(1)
    return {
        "run(batch, out=columns, port=N)": lambda: datapath.run(batch, out=out, port=port),
        "run(batch, out=columns, source_mac=True)": lambda: datapath.run(batch, out=out, source_mac=True),
    }


def one_frame() -> dict[str, float]:
    """Nanoseconds a call: the median of some thousands of calls, the call of the lambda taken off."""
    nothing = min(timeit.repeat(lambda: None, number=CALLS, repeat=TIMES)) / CALLS
    return {name: (float(np.median(timeit.repeat(call, number=CALLS, repeat=TIMES))) / CALLS - nothing) * 1e9 for name, call in calls().items()}
