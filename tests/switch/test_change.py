"""A switch that was edited a hundred times is the switch that is made anew from the last edit.

What :mod:`vsw.switch.change` writes is compared in two ways: its tables with those that the compiler makes of the whole module, and what frames meet.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import vsw.switch.change
import vsw.switch.switch
from tests.differential.compare import batch_of, ingress_of
from tests.differential.strategies import Scenario, generate
from vsw import Switch
from vsw.config.dialects import DIALECTS, Security
from vsw.config.module import Module, Port, StaticEntry
from vsw.datapath.tables import Entries, Tables
from vsw.measure.lab import bench_module
from vsw.switch.compile import compile_module
from vsw.switch.result import COLUMNS

SEEDS = 10
EDITS = 6


def edited(rng: random.Random, module: Module) -> Module:
    """The module with a port or an entry that came, went or changed."""
    ports, static = {port.number: port for port in module.ports}, list(module.static)
    locals_ = [port for port in module.ports if port.kind != "uplink"]
    other = rng.choice(locals_)
    match rng.randrange(8):
        case 0 | 1:
            new = _twin(rng, module, other)
            ports[new.number] = new
            static += [replace(entry, port=new.number, mac=_address(rng, module)) for entry in static if entry.port == other.number]
            if new.effective_mac is not None:
                static.insert(rng.randrange(len(static) + 1), StaticEntry(rng.choice((None, new.vlan.vid or None)), new.effective_mac, new.number))
        case 2 if len(locals_) > 1:
            del ports[other.number]
            static = [entry for entry in static if entry.port != other.number]
        case 3:
            ports[other.number] = replace(other, vlan=rng.choice(locals_).vlan)
        case 4:
            ports[other.number] = replace(other, security=Security(*(rng.random() < 0.5 for _ in range(3))), mtu=rng.choice((100, 1500)))
        case 5 if static:
            static.pop(rng.randrange(len(static)))
        case 6:
            entry = StaticEntry(rng.choice((None, *(one.vlan for one in static))), _address(rng, module), rng.choice(module.ports).number)
            static.insert(rng.randrange(len(static) + 1), entry)
        case _:
            ports[other.number] = replace(other, effective_mac=_address(rng, module), macs=(_address(rng, module),), protected=not other.protected)
    return replace(module, ports=tuple(ports[number] for number in sorted(ports)), static=tuple(static))


def _twin(rng: random.Random, module: Module, port: Port) -> Port:
    free = sorted(set(range(max(one.number for one in module.ports) + 3)) - {one.number for one in module.ports})
    address = _address(rng, module)
    return replace(port, number=rng.choice(free), name="new", mac=address, effective_mac=address, macs=())


def _address(rng: random.Random, module: Module) -> int:
    """One that somebody has already, as often as not."""
    known = [entry.mac for entry in module.static]
    return rng.choice(known) if known and rng.random() < 0.5 else 0x020000000000 + rng.randrange(1 << 32)


def meaning(tables: Tables) -> dict[str, Any]:
    """What tables say, however their groups are numbered and their entries are ordered."""

    def entries(table: Entries) -> dict[tuple[int, int], int]:
        assert len(np.unique(table.keys())) == len(table)
        return dict(zip(zip(table.vlan.tolist(), table.mac.tolist(), strict=True), table.port.tolist(), strict=True))

    members = [tables.members[start : start + count].tolist() for start, count in tables.groups.tolist()]
    vlans = (tables.vlans[name].tolist() for name in ("fid", "flags", "group", "promiscuous"))
    return {
        "module": tables.module.tobytes(),
        "teams": tables.teams.tobytes(),
        "ports": tables.ports.tobytes(),
        "accept": tables.accept.tobytes(),
        "receive": tables.receive.tobytes(),
        "vlans": [(fid, flags, members[group], members[promiscuous]) for fid, flags, group, promiscuous in zip(*vlans, strict=True)],
        "static": entries(tables.static),
        "owners": entries(tables.owners),
    }


def seen(switch: Switch, scenario: Scenario) -> Any:
    batch = batch_of(scenario)
    result = switch.forward(batch, ingress=ingress_of(scenario), copies=True)
    return [getattr(result, name).tolist() for name in COLUMNS], list(result.egress())


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each change so far was compiled as one; none is too large for it."""
    taken: list[bool] = []
    compiled = vsw.switch.change.compile_change

    def spied(*arguments: Any) -> Any:
        change = compiled(*arguments)
        taken.append(change is not None)
        return change

    monkeypatch.setattr(vsw.switch.change, "LARGE", 0)
    monkeypatch.setattr(vsw.switch.switch, "compile_change", spied)
    return taken


@pytest.mark.parametrize("dialect", DIALECTS)
def test_edits_lead_to_the_switch_that_is_made_anew(dialect: str, changes: list[bool]) -> None:
    for seed in range(SEEDS):
        rng = random.Random(f"{dialect}/{seed}")
        scenario = generate(seed, 60, dialect)
        module = replace(scenario.module, learning="none", ports=tuple(replace(port, bpdu_guard=False) for port in scenario.module.ports))
        switch = Switch(module)
        for step in range(EDITS):
            module = edited(rng, module)
            switch.reconfigure(module)
            up = {port.number: switch.is_up(port.number) for port in module.ports}
            whole = compile_module(module, switch._teams, up)
            assert meaning(switch._tables) == meaning(whole), f"seed {seed}, edit {step}"
        anew = Switch(replace(module, ports=tuple(replace(port, up=switch.is_up(port.number)) for port in module.ports)))
        now = scenario._replace(module=module)
        assert seen(switch, now) == seen(anew, now), f"seed {seed}"
    assert sum(changes) > 0.5 * len(changes)


def test_one_more_in_a_large_switch() -> None:
    """It is compiled as a change, and what the datapath is told has the size of the change."""
    module = bench_module(200, vnics=200, vlans=16, policy="port-id", security=True)
    last = module.ports[-1]
    rng = random.Random(1)
    new = replace(_twin(rng, module, last), number=last.number + 1, mac=0x02AA00000001, effective_mac=0x02AA00000001)
    more = replace(module, ports=(*module.ports, new), static=(*module.static, StaticEntry(None, 0x02AA00000001, new.number)))
    switch = Switch(module)
    change = vsw.switch.change.compile_change(module, more, switch._tables, switch._teams, {port.number: True for port in more.ports})
    assert change is not None
    assert list(change.delta.ports) == [new.number]
    assert len(change.delta.add) + len(change.delta.add_owners) <= 8
    assert len(change.delta.remove) == len(change.delta.remove_owners) == 0
    assert len(change.delta.vlans) == 1


def test_edits_again_and_again_do_not_fill_the_groups(changes: list[bool]) -> None:
    module = bench_module(200, vnics=200, vlans=16, policy="port-id", security=True)
    switch = Switch(module)
    other = replace(module, ports=tuple(replace(port, vlan=module.ports[-2].vlan) if port is module.ports[-1] else port for port in module.ports))
    for number in range(300):
        switch.reconfigure((other, module)[number % 2])
        assert len(switch._tables.members) < 4096
    assert changes.count(False) < 20
