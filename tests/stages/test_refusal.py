"""A sink that takes no more: what was counted is what was done up to the frame whose copy it refused, by whichever way through the datapath."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import vsw
from tests.differential.clean import generate_clean
from tests.differential.compare import batch_of, ingress_of
from tests.differential.strategies import Scenario
from vsw.config.dialects import DIALECTS

#: What does not depend on how many copies of a flood were made when one of them was refused.
OF_FRAMES = ("offered", "delivered", "consumed", "dropped", "time_backwards", "normalised", "rx_frames", "rx_bytes", "port_dropped")
COPY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int64)


class VswSink(ctypes.Structure):
    """``vsw_sink`` of state.h."""

    _fields_ = (("copy", COPY), ("lean", ctypes.c_void_p), ("failed", ctypes.c_uint32), ("roomy", ctypes.c_uint32))


class Refusing:
    """Takes ``most`` copies."""

    def __init__(self, most: int) -> None:
        self.most = self.left = most
        self.made = VswSink(COPY(self._copy))
        self.sink = ctypes.addressof(self.made)

    def _copy(self, *_: Any) -> int:
        self.left -= 1
        return self.left >= 0

    def check(self) -> None:
        raise vsw.VswError("enough")


def counted(scenario: Scenario, ingress: Any, sink: Refusing, exact: bool) -> dict[str, Any]:
    switch = vsw.Switch(scenario.module)
    with suppress(vsw.VswError):
        switch.forward(batch_of(scenario), ingress=ingress, egress=sink, exact=exact)
    counters = switch.counters
    assert counters.offered == counters.delivered + counters.consumed + counters.dropped.sum()
    assert counters.copies_selected == counters.copies_out + counters.port_filtered.sum()
    assert counters.copies_out == counters.tx_frames.sum() <= sink.most + len(scenario.module.ports)
    return {name: np.asarray(getattr(counters, name)).tolist() for name in OF_FRAMES}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_frames_behind_the_refused_one_are_not_counted(dialect: str) -> None:
    refused = 0
    for seed in range(6):
        scenario = generate_clean(seed, 300, dialect)
        if seed % 2:
            scenario = scenario._replace(frames=[frame._replace(time=number if number % 3 else 5) for number, frame in enumerate(scenario.frames)])
        for ingress in (ingress_of(scenario), "source-mac"):
            for most in (0, 1, 20, 60):
                sink = Refusing(most)
                assert counted(scenario, ingress, sink, exact=False) == counted(scenario, ingress, Refusing(most), exact=True), (seed, most)
                refused += sink.left < 0
    assert refused > 30
