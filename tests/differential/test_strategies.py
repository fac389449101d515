"""The generator of random scenarios: deterministic, and it reaches every verdict and every drop reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.differential.strategies import WITHOUT, generate, play
from vsw.config.dialects import DIALECTS
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.verdicts import Reason, Verdict

SEEDS = range(200)
FRAMES = 20


def decisions(dialect: str) -> Iterator[Decision]:
    for seed in SEEDS:
        scenario = generate(seed, FRAMES, dialect)
        yield from play(ReferenceSwitch(scenario.module, narrate=False), scenario)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_verdict_and_reason_occurs(dialect: str) -> None:
    dropped: Counter[Reason] = Counter()
    filtered: Counter[Reason] = Counter()
    verdicts: Counter[Verdict] = Counter()
    normalised = 0
    for decision in decisions(dialect):
        verdicts[decision.verdict] += 1
        dropped[decision.reason] += 1
        filtered.update(reason for _, reason in decision.filtered)
        normalised += decision.normalised
    total = len(SEEDS) * FRAMES
    assert set(dropped) == set(Reason) - WITHOUT[dialect]
    never_filtered = WITHOUT[dialect] | ({Reason.NOT_DESIGNATED} if dialect == "ovs" else set())
    assert set(filtered) == {reason for reason in Reason if reason.at_egress} - never_filtered
    assert verdicts[Verdict.DELIVERED] > total / 5
    assert verdicts[Verdict.CONSUMED] > 0
    assert normalised > total / 100


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_seed_always_gives_the_same_scenario(dialect: str) -> None:
    assert generate(7, 30, dialect) == generate(7, 30, dialect)
    assert generate(7, 30, dialect) != generate(8, 30, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_scenarios_are_within_what_the_configuration_allows(dialect: str) -> None:
    for seed in SEEDS:
        scenario = generate(seed, FRAMES, dialect)
        numbers = [port.number for port in scenario.module.ports]
        assert len(set(numbers)) == len(numbers)
        assert {entry.port for entry in scenario.module.static} <= set(numbers)
        assert len({(entry.vlan, entry.mac) for entry in scenario.module.static}) == len(scenario.module.static)
        assert all(member in numbers for team in scenario.module.teams for member in team.active + team.standby + team.unused)
        assert all(len(frame.data) <= frame.length for frame in scenario.frames)
        assert [time for time, _, _ in scenario.events] == sorted(time for time, _, _ in scenario.events)
