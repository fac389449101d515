"""Modules that were made by hand: what is wrong with them is said, before any of it reaches the tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.golden.build import access, module, port, static, team, trunk, tunnel, uplink
from vsw import Module, Switch, UsageError
from vsw.config.module import Vlan

GOOD = module("vsw", [port(0, access(10), address=1, team=0), uplink(3, team=0)], teams=(team("port-id", [3]),))


def with_vlan(vlan: Vlan) -> Module:
    return replace(GOOD, ports=(replace(GOOD.ports[0], vlan=vlan), GOOD.ports[1]))


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (replace(GOOD, static=static((10, 7, 5))), "test: a static entry is for port 5, and no port has that number"),
        (replace(GOOD, static=static((10, 7, -1))), "test: a static entry is for port -1, and no port has that number"),
        (replace(GOOD, static=static((4096, 7, 0))), "test: VLAN 4096 of a static entry or a private VLAN: VIDs are 0 to 4095"),
        (replace(GOOD, private=((-2, 100),)), "test: VLAN -2 of a static entry or a private VLAN: VIDs are 0 to 4095"),
        (replace(GOOD, teams=(team("port-id", [3], [9]),)), "test: team team has a member 9, and no port has that number"),
        (replace(GOOD, teams=()), "test: port p0 is of team 0, and there are 0"),
        (replace(GOOD, ports=(*GOOD.ports, port(3, access(10), "other"))), "test: two ports have the same number"),
        (replace(GOOD, ports=(*GOOD.ports, port(4096, access(10)))), "test: port 4096: numbers are 0 to 4095"),
        (replace(GOOD, ports=(port(-1, access(10)), *GOOD.ports)), "test: port -1: numbers are 0 to 4095"),
        (with_vlan(access(4096)), "test: port p0: VLAN 4096, secondary 0: VIDs are 0 to 4095"),
        (with_vlan(Vlan("native-untagged", -7, frozenset({1}))), "test: port p0: VLAN -7, secondary 0: VIDs are 0 to 4095"),
        (with_vlan(Vlan("private", 10, role="isolated", secondary=9999)), "test: port p0: VLAN 10, secondary 9999: VIDs are 0 to 4095"),
        (with_vlan(trunk("1,5000")), "test: VID 5000 of a port: VIDs are 0 to 4095"),
        (with_vlan(tunnel(10, "4096")), "test: VID 4096 of a port: VIDs are 0 to 4095"),
    ],
)
@pytest.mark.parametrize("how", [Switch, lambda made: Switch(GOOD).reconfigure(made)], ids=["new", "reconfigured"])
def test_what_names_nothing_is_said(how: Callable[[Module], object], made: Module, text: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(text)}$"):
        how(made)


def test_a_switch_that_refused_a_module_is_as_before() -> None:
    switch = Switch(GOOD)
    with pytest.raises(UsageError):
        switch.reconfigure(with_vlan(trunk("1,5000")))
    assert switch.module is GOOD
    switch.reconfigure(replace(GOOD, pad=True))
    assert switch.module.pad
