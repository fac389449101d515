"""What the reference does with generated traffic: each kind of frame meets its fate, so the benchmarks' mix is what they say."""

from __future__ import annotations

from collections import Counter

import pytest

from vsw.measure.lab import bench_module
from vsw.measure.traffic import Kind, Mix, chunks
from vsw.reference.switch import ReferenceSwitch
from vsw.verdicts import Reason, Verdict

UPLINKS = {0, 1}


@pytest.mark.parametrize(
    ("macs", "sizes", "source_mac"),
    [(64, "64", False), (1000, "64", True), (1000, "imix", False), (1000, "imix", True), (20_000, "64", True), (1000, "1518", True)],
)
def test_fate_of_each_kind(macs: int, sizes: str, source_mac: bool) -> None:
    """With the port given and security off, and by source address with security on: the same frames are delivered, in as many copies."""
    module = bench_module(macs, security=source_mac)
    owner = {entry.mac: entry.port for entry in module.static}
    switch = ReferenceSwitch(module, narrate=False)
    verdicts: Counter[Verdict] = Counter()
    for chunk in chunks(module, Mix(1_500, sizes)):
        columns = (chunk.offsets, chunk.lengths, chunk.times, chunk.port_in, chunk.kinds)
        for offset, length, time, port, kind in zip(*(column.tolist() for column in columns), strict=True):
            data = chunk.buffer[offset : offset + length].tobytes()
            found = switch.forward(data, length, time, None if source_mac else port, source_mac)
            out = {copy.port for copy in found.copies}
            verdicts[found.verdict] += 1
            assert not found.filtered
            assert not found.normalised
            assert found.reason == (Reason.UNKNOWN_UNICAST if kind == Kind.UNKNOWN else Reason.NONE)
            # An address that is not here is outside: the first uplink stands for all of them.
            assert found.port_in == (0 if source_mac and port in UPLINKS else port)
            match kind:
                case Kind.INSIDE | Kind.INWARD:
                    assert out == {owner[int.from_bytes(data[:6])]}
                case Kind.OUTWARD:
                    assert out in ({0}, {1})
                case Kind.BROADCAST_LOCAL:
                    assert len(out) == 4
                    assert len(out & UPLINKS) == 1
                case Kind.BROADCAST_OUTSIDE:
                    assert len(out) == 4
                    assert not out & UPLINKS
                case Kind.UNKNOWN:
                    assert not out
    assert verdicts[Verdict.DELIVERED] >= 0.93 * 1_500
    assert verdicts[Verdict.CONSUMED] == 0


def test_the_team_uses_both_uplinks() -> None:
    module = bench_module(1000)
    switch = ReferenceSwitch(module, narrate=False)
    sent: Counter[int] = Counter()
    for chunk in chunks(module, Mix(1_500, outsiders=64)):
        columns = (chunk.offsets, chunk.lengths, chunk.times, chunk.port_in)
        for offset, length, time, port in zip(*(column.tolist() for column in columns), strict=True):
            found = switch.forward(chunk.buffer[offset : offset + length].tobytes(), length, time, port)
            sent.update(copy.port for copy in found.copies if copy.port in UPLINKS)
    assert min(sent[0], sent[1]) > 0.4 * sent.total()
