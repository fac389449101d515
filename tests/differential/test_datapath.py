"""The compiled datapath does what the reference does: verdicts, copies, egress bytes, counters.

By every way through it: the fast lane and the exact path, bursts of 1, 7 and 256 frames, one to three workers.
``make differential`` does the same at length.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.differential import captures
from tests.differential.clean import generate_clean
from tests.differential.compare import EVERY_WAY, TWO_WAYS, Way, batch_of, disagreements, ingress_of, run_datapath
from tests.differential.strategies import START, Frame, Scenario, generate, scenarios
from tests.golden import build
from vsw import Batch, Switch
from vsw.capture import open_capture
from vsw.config.dialects import DIALECTS
from vsw.verdicts import Reason, Verdict

dialects = pytest.mark.parametrize("dialect", DIALECTS)
# Real captures are not part of the project: where there are none, one test stands for those of them, skipped, and says so.
MISSING = pytest.param(None, marks=pytest.mark.skip(reason=f"no captures in {captures.FOLDER} (set VSW_CAPTURES)"))


@dialects
@settings(max_examples=25)
@given(data=st.data())
def test_any_scenario(dialect: str, data: st.DataObject) -> None:
    scenario = data.draw(scenarios(dialect))
    assert disagreements(scenario, ways=TWO_WAYS) == []


@dialects
@pytest.mark.parametrize("first", range(0, 48, 12))
def test_seeded_scenarios(dialect: str, first: int) -> None:
    for seed in range(first, first + 12):
        ways = EVERY_WAY if seed % 5 == 0 else TWO_WAYS
        assert disagreements(generate(seed, 60, dialect), ways=ways) == [], f"generate({seed}, 60, {dialect!r})"


@pytest.mark.parametrize(
    ("seed", "frames", "dialect"),
    [
        pytest.param(113, 100, "vss", id="a standby that comes up again goes to the end of the standbys"),
        pytest.param(-101, 2000, "vsw", id="a static entry for any VLAN goes before one learned in its primary VLAN"),
    ],
)
def test_what_once_differed(seed: int, frames: int, dialect: str) -> None:
    assert disagreements(generate(seed, frames, dialect)) == []


@dialects
def test_many_frames_of_one_module(dialect: str) -> None:
    for seed in (1004, 1005):
        assert disagreements(generate(seed, 1000, dialect)) == [], f"generate({seed}, 1000, {dialect!r})"


@dialects
@pytest.mark.parametrize("seed", range(6))
def test_clean_traffic(dialect: str, seed: int) -> None:
    assert disagreements(generate_clean(seed, 1200, dialect)) == [], f"generate_clean({seed}, 1200, {dialect!r})"


@dialects
def test_frames_at_the_edge_of_memory(dialect: str) -> None:
    """The fast lane may read whole words only where there is something behind a frame."""
    scenario = generate_clean(3, 300, dialect)
    for count in (1, 5, 299):
        frames = scenario.frames[:count]
        buffer = np.frombuffer(b"".join(frame.data for frame in frames), np.uint8)
        lengths = np.array([len(frame.data) for frame in frames], np.uint32)
        offsets = (np.cumsum(lengths) - lengths).astype(np.uint64)
        wire, times = np.array([frame.length for frame in frames], np.uint32), np.array([frame.time for frame in frames], np.int64)
        tight = Batch.from_arrays(buffer, offsets, lengths, wire_lengths=wire, time=times)
        assert disagreements(scenario._replace(frames=frames), tight, (Way(False), Way(True), Way(False, burst=7), Way(False, copies=True))) == []


@dialects
@pytest.mark.parametrize("path", captures.CAPTURES or [MISSING], ids=lambda path: getattr(path, "name", str(path)))
def test_captures(path: Path, dialect: str) -> None:
    capture = captures.opened(path)
    if capture is None:
        pytest.skip("frames of another link layer")
    frames = captures.frames_of(capture)
    for name, ingress in captures.QUICK:
        ways = (*TWO_WAYS, Way(False, burst=7, workers=2))
        assert disagreements(captures.scenario(frames, name, dialect, ingress), capture, ways) == [], f"{name}, {ingress}"


@pytest.mark.parametrize("path", captures.CAPTURES[-1:] or [MISSING], ids=lambda path: getattr(path, "name", str(path)))
def test_a_slice_of_a_capture_by_several_workers(path: Path) -> None:
    capture = open_capture(path)
    frames = captures.frames_of(capture)[5:60]
    for ingress in captures.INGRESS:
        assert disagreements(captures.scenario(frames, "hosts", "vsw", ingress), capture[5:60]) == []


@dialects
def test_what_lies_behind_a_cut_frame_is_not_read(dialect: str) -> None:
    """LACP is known by the byte behind the Ethernet header; here that byte is the next frame's first one, and would fit."""
    ports = [build.uplink(0, team=0), build.uplink(1, team=0), build.port(2, build.trunk(), address=2, team=0)]
    module = build.module(dialect, ports, teams=(build.team("layer2", (0, 1), lacp=True),), forward_bpdu=True, learning="none")
    lacp = bytes.fromhex("0180c2000002" "0200000000ee" "8809" "01") + bytes(45)
    frames = [Frame(lacp[:captured], 60, START, port) for captured in (14, 15, 14, 60) for port in (0, 2)]
    scenario = Scenario(module, frames, False, [])
    assert disagreements(scenario) == []
    assert run_datapath(scenario).counters.consumed == 2


@dialects
def test_results_do_not_depend_on_how_they_are_kept(dialect: str) -> None:
    """No columns, columns written again, the batch's own ports: the same counters and the same columns."""
    scenario: Scenario = generate_clean(5, 700, dialect)
    first = run_datapath(scenario)
    assert first.counters.delivered == int((first.verdict == Verdict.DELIVERED).sum())
    assert first.counters.dropped.tolist()[: len(Reason)] == np.bincount(
        first.reason[first.verdict == Verdict.DROPPED], minlength=len(Reason)
    ).tolist()
    batch, ingress = batch_of(scenario), ingress_of(scenario)
    bare = Switch(scenario.module).forward(batch, ingress=ingress, columns=False)
    again = Switch(scenario.module).forward(batch, ingress=ingress, out=run_datapath(scenario, copies=False))
    assert bare.summary() | {"seconds": 0} == first.summary() | {"seconds": 0} == again.summary() | {"seconds": 0}
    for name in ("verdict", "reason", "port_in", "egress_port", "vlan", "normalised"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
