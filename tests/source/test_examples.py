"""What lies in examples/ can be used as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import vsw
from tests.source.tree import ROOT, name
from vsw.reference.switch import ReferenceSwitch
from vsw.verdicts import Reason, Verdict

EXAMPLES = ROOT / "examples"
RECORDED = {"two-vlans.pcapng": "two-vlans.toml"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=name)
def test_topology_loads(path: Path) -> None:
    assert vsw.load(path).modules


def test_every_capture_has_its_topology() -> None:
    assert {path.name for path in EXAMPLES.glob("*.pcap*")} == set(RECORDED)


@pytest.mark.parametrize(("capture", "topology"), RECORDED.items())
def test_a_recording_is_whole_and_comes_from_the_topology(capture: str, topology: str) -> None:
    lab = vsw.load(EXAMPLES / topology)
    with vsw.open_capture(EXAMPLES / capture) as trace:
        names = trace.interface_names()
        frames = [(bytes(frame.data), frame.length, frame.time, names[frame.interface]) for frame in trace]
    assert 2000 <= len(frames) <= 5000
    assert all(len(data) == length for data, length, _, _ in frames)
    places = {place: place.rpartition("/") for place in names}
    assert {module for module, _, _ in places.values()} == set(lab.modules)
    module = lab.module(None)
    switch = ReferenceSwitch(module, narrate=False)
    decisions = [switch.forward(data, length, time, module.port(places[place][2]).number) for data, length, time, place in frames]
    assert sum(decision.verdict is Verdict.DELIVERED for decision in decisions) > len(frames) * 0.8
    # What a virtual switch between two uplinks that are no bond must hold back occurs, and nothing that would be a fault of the recording.
    assert {decision.reason for decision in decisions} == {
        Reason.NONE, Reason.DEJA_VU, Reason.NO_MEMBER, Reason.RESERVED_ADDRESS, Reason.FORGED_SOURCE,
    }  # fmt: skip
    assert Reason.NOT_DESIGNATED in {reason for decision in decisions for _, reason in decision.filtered}
    seen = {port.name for port in module.ports for decision in decisions if decision.port_in == port.number}
    assert seen == {port.name for port in module.ports}
