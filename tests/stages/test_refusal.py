"""A sink that takes no more: what was counted is what was done up to the frame whose copy it refused, all of that frame's copies among it.

Whichever way through the datapath the frames took, it is what the reference says of as many frames.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import vsw
from tests.differential.clean import generate_clean
from tests.differential.compare import batch_of, counter_differences, ingress_of, run_reference
from tests.differential.strategies import Scenario
from vsw.config.dialects import DIALECTS
from vsw.switch.result import Counters

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


def counted(scenario: Scenario, sink: Refusing, exact: bool) -> Counters:
    switch = vsw.Switch(scenario.module)
    with suppress(vsw.VswError):
        switch.forward(batch_of(scenario), ingress=ingress_of(scenario), egress=sink, exact=exact)
    counters = switch.counters
    assert sink.left >= -1, "a sink that has refused is given nothing more"
    assert counters.copies_out == counters.tx_frames.sum() <= sink.most + len(scenario.module.ports)
    return counters


def columns(counters: Any) -> dict[str, Any]:
    return {field.name: np.asarray(getattr(counters, field.name)).tolist() for field in fields(Counters)}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_frames_behind_the_refused_one_are_not_counted(dialect: str) -> None:
    refused = 0
    for seed in range(6):
        scenario = generate_clean(seed, 300, dialect)
        if seed % 2:
            scenario = scenario._replace(frames=[frame._replace(time=number if number % 3 else 5) for number, frame in enumerate(scenario.frames)])
        for by_source in (False, True):
            scenario = scenario._replace(source_mac=by_source)
            for most in (0, 1, 20, 60):
                sink = Refusing(most)
                found = counted(scenario, sink, exact=False)
                assert columns(found) == columns(counted(scenario, Refusing(most), exact=True)), (seed, most)
                _, wanted = run_reference(scenario._replace(frames=scenario.frames[: found.offered]))
                assert counter_differences(wanted, found) == [], (seed, most)
                refused += sink.left < 0
    assert refused > 30
