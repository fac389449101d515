"""A port goes up or down: what is then changed in place are the tables that compiling anew would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import vsw
from tests.golden.build import access, module, port, team, uplink
from tests.golden.frames import frame
from vsw.config.module import Module
from vsw.datapath.tables import TEAM_MEMBERS, Delta
from vsw.measure.lab import bench_module
from vsw.switch.compile import compile_module

PORTS = tuple(port(number, access(10), address=number + 1) for number in range(6))
UPLINKS = tuple(uplink(number) for number in (6, 7, 8))


def teamed(policy: str, dialect: str = "vsw") -> Module:
    return module(dialect, (*(replace(one, team=0) for one in PORTS), *UPLINKS), teams=(team(policy, (6, 7), (8,)),))


MODULES = {
    **{policy: teamed(policy) for policy in ("explicit", "port-id", "src-mac", "ip-hash")},
    "vss": teamed("port-id", "vss"),
    "bond": teamed("src-mac", "ovs"),
    "bench": bench_module(100, policy="port-id"),
}
#: Numbers of ports and where they go; the team's last members come and go too.
CHANGES = [(6, False), (7, False), (0, False), (6, True), (8, False), (6, False), (7, True), (0, True), (6, True), (6, True)]


@pytest.mark.parametrize("name", MODULES)
def test_a_change_of_state_is_what_compiling_anew_gives(name: str) -> None:
    module = MODULES[name]
    switch = vsw.Switch(module)
    for number, up in CHANGES:
        switch.set_port(number, up)
        anew = compile_module(module, switch._teams, switch._up)
        delta = Delta.between(switch._tables, anew)
        assert (delta.module, delta.ports, delta.teams, delta.groups) == (None, {}, {}, None)
        assert len(delta.add) == len(delta.remove) == len(delta.add_owners) == 0
        assert switch.datapath.port_up(number) == up


@pytest.mark.parametrize("dialect", ["vsw", "vss"])
def test_a_port_that_its_guard_shut_stays_shut_when_others_change(dialect: str) -> None:
    """Each change of the team is told to the ports that hang on it, the shut one too."""
    guarded = tuple(replace(one, team=0, bpdu_guard=True) for one in PORTS)
    switch = vsw.Switch(module(dialect, (*guarded, *UPLINKS), teams=(team("port-id", (6, 7), (8,)),)))
    bpdu = np.frombuffer(frame("01:80:c2:00:00:00", 1) + bytes(64), np.uint8)
    switch.forward(vsw.Batch.from_arrays(bpdu, np.array([0], np.uint64), np.array([len(bpdu) - 64], np.uint32)), ingress=0)
    for number, up in [(6, False), (7, False), (8, False), (6, True), (7, True), (8, True)]:
        switch.set_port(number, up)
        assert [switch.is_up(port.number) for port in guarded] == [False, True, True, True, True, True], (number, up)
    switch.set_port(0, True)
    assert switch.is_up(0)


def test_numbers_far_apart_make_the_tables_that_near_ones_make() -> None:
    far = module("vsw", (port(0, access(10), address=1), port(4000, access(10), address=2)))
    tables = compile_module(far, {}, {0: True, 4000: True})
    assert np.flatnonzero(tables.ports["flags"]).tolist() == [0, 4000]
    assert np.flatnonzero(tables.receive.any(axis=1)).tolist() == np.flatnonzero(tables.accept.any(axis=1)).tolist() == [0, 4000]
    group = tables.groups[tables.vlans[10]["group"]]
    assert tables.members[group["start"] : group["start"] + group["count"]].tolist() == [0, 4000]


def test_a_configuration_that_is_refused_changes_nothing() -> None:
    """Ports that it does not have are there still; those that it adds are not."""
    before = teamed("port-id")
    switch = vsw.Switch(before)
    switch.set_port(7, False)
    many = tuple(uplink(number) for number in range(6, 6 + TEAM_MEMBERS + 2))
    after = module("vsw", (*(replace(one, team=0) for one in PORTS[1:]), *many), teams=(team("port-id", tuple(one.number for one in many)),))
    with pytest.raises(vsw.UsageError, match="65 usable members, at most 64"):
        switch.reconfigure(after)
    assert [(one.name, usable) for one, usable in switch.teams()] == [(before.teams[0].name, [6, 8])]
    for number, up in [(0, False), (7, True), (0, True)]:
        switch.set_port(number, up)
        assert switch.is_up(number) == up
    with pytest.raises(vsw.UsageError, match="no port 9"):
        switch.set_port(9, False)
