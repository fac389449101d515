"""What holds for every frame and every module: nothing disappears, nothing raises, bytes are only added or removed as tags and padding."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.strategies import Scenario, generate, play, raw_frames, scenarios
from tests.golden.build import module, port, trunk, tunnel
from tests.golden.frames import BODY, BROADCAST, frame, once
from vsw.config.dialects import DIALECTS
from vsw.reference.counters import Counters
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.verdicts import Reason, Verdict

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], derandomize=True)


def check_equations(count: Counters) -> None:
    assert count.offered == count.delivered + count.consumed + sum(count.dropped)
    assert count.copies_selected == count.copies_out + sum(map(sum, count.port_filtered))
    assert count.copies_out == sum(count.tx_frames)
    assert sum(map(sum, count.port_dropped)) == sum(count.dropped) - count.dropped[Reason.NO_PORT]
    assert sum(count.rx_frames) == count.offered - count.dropped[Reason.NO_PORT]
    assert count.dropped[Reason.NONE] == 0


def check_decision(scenario: Scenario, decision: Decision) -> None:
    assert (decision.reason == Reason.NONE) == (decision.verdict != Verdict.DROPPED)
    assert bool(decision.copies) == (decision.verdict == Verdict.DELIVERED)
    reached = [copy.port for copy in decision.copies] + [number for number, _ in decision.filtered]
    assert len(set(reached)) == len(reached)
    assert decision.port_in not in reached
    for ports in ([copy.port for copy in decision.copies], [number for number, _ in decision.filtered]):
        assert ports == sorted(ports)
    if decision.verdict == Verdict.DROPPED and decision.filtered:
        assert decision.reason == decision.filtered[0][1]
    for _, reason in decision.filtered:
        assert reason.at_egress
    kinds = {one.number: one.kind for one in scenario.module.ports}
    if scenario.module.dialect.virtual and decision.port_in is not None and kinds[decision.port_in] == "uplink":
        assert not [number for number in reached if kinds[number] == "uplink"]
    assert len([number for number in reached if kinds[number] == "uplink"]) <= 1 or not scenario.module.dialect.virtual


def check(scenario: Scenario, narrate: bool = False) -> None:
    switch = ReferenceSwitch(scenario.module, narrate)
    delivered = 0
    for offered, decision in zip(scenario.frames, play(switch, scenario), strict=True):
        check_decision(scenario, decision)
        check_equations(switch.counters)
        delivered += decision.verdict == Verdict.DELIVERED
        taken_off = 4 if decision.normalised else 0
        for copy in decision.copies:
            assert copy.data[:12] == offered.data[:12]
            added = copy.length - (offered.length - taken_off)
            padded = scenario.module.pad and copy.length == 60
            assert (-8 <= added <= 8 and added % 4 == 0) or padded
            assert len(copy.data) == len(offered.data) - taken_off + added
        assert bool(decision.steps) == narrate
    assert switch.counters.offered == len(scenario.frames)
    assert switch.counters.delivered == delivered


@RELAXED
@given(scenarios())
def test_equations(scenario: Scenario) -> None:
    check(scenario)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_equations_over_many_seeds(dialect: str) -> None:
    for seed in range(1000, 1060):
        check(generate(seed, 25, dialect))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_narration_changes_nothing(dialect: str) -> None:
    for seed in range(2000, 2030):
        scenario = generate(seed, 15, dialect)
        told = list(play(ReferenceSwitch(scenario.module), scenario))
        silent = list(play(ReferenceSwitch(scenario.module, narrate=False), scenario))
        assert [decision._replace(steps=()) for decision in told] == silent
        assert all(decision.steps[-1].rule == "15 verdict" for decision in told)


@RELAXED
@given(scenarios(most_frames=1), st.lists(raw_frames(), max_size=8), st.booleans())
def test_no_bytes_raise(scenario: Scenario, frames: list[tuple[bytes, int]], source_mac: bool) -> None:
    switch = ReferenceSwitch(scenario.module)
    for data, length in frames:
        for one in scenario.module.ports:
            switch.forward(data, length, 0, one.number, source_mac)
    check_equations(switch.counters)


@given(st.binary(max_size=40), st.integers(0, 1))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_into_a_tunnel_and_out_again_is_the_same_frame(tail: bytes, limit: int) -> None:
    """Virtual: whatever a customer sends, the other end of the tunnel gets it byte by byte."""
    made = module(("vsw", "vss")[limit], [port(0, tunnel(10, ethertype=0x88A8)), port(1, trunk()), port(2, tunnel(10))])
    data = frame(BROADCAST, 1, "", tail + BODY)
    decision = once(made, data, 0)
    if decision.verdict == Verdict.DELIVERED:
        assert {copy.port: copy.data for copy in decision.copies} == {1: data[:12] + b"\x88\xa8\x00\x0a" + data[12:], 2: data}
        back = once(made, decision.copies[0].data, 1)
        if made.dialect.name == "vsw":
            assert {copy.port: copy.data for copy in back.copies} == {0: data, 2: data}
    else:
        assert decision.reason == Reason.RESERVED_VID
