"""Every example loads, says what it shows, and shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

import vsw
from vsw.config import unused
from vsw.config.module import Module

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.toml"))


def shape(module: Module) -> list[tuple[int, str, str, str]]:
    return [(port.number, port.name, port.kind, port.vlan.mode) for port in module.ports]


def test_there_are_examples() -> None:
    assert {path.stem for path in FILES} >= {"two-vlans", "two-switches", "guest-trunk", "plain-switch", "two-hosts"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_and_says_what_it_shows(path: Path) -> None:
    lab = vsw.load(path)
    assert lab.modules
    assert lab.file == str(path)
    comment = [line for line in path.read_text().split("\n\n[")[0].splitlines() if line.startswith("#")]
    assert len(comment) >= 3


def test_two_vlans() -> None:
    module = vsw.load(EXAMPLES / "two-vlans.toml").module()
    assert module.name == "esx1/vSwitch0"
    assert shape(module) == [
        (0, "vmnic0", "uplink", "trunk"),
        (1, "vmnic1", "uplink", "trunk"),
        (2, "web1.0", "vnic", "access"),
        (3, "web2.0", "vnic", "access"),
        (4, "db1.0", "vnic", "access"),
        (5, "db2.0", "vnic", "access"),
        (6, "router.0", "vnic", "trunk"),
    ]
    assert [(entry.vlan, entry.mac) for entry in module.static] == [
        (10, 0x005056001001),
        (10, 0x005056001002),
        (20, 0x005056002001),
        (20, 0x005056002002),
        (None, 0x005056003001),
    ]


def test_two_switches() -> None:
    lab = vsw.load(EXAMPLES / "two-switches.toml")
    assert list(lab.hosts["esx1"].switches) == ["vSwitch0", "vSwitch1"]
    outer, inner = lab.module("esx1/vSwitch0"), lab.module("esx1/vSwitch1")
    assert [(team.name, team.policy, team.active, team.standby) for team in outer.teams] == [
        ("team", "ip-hash", (1, 2), ()),
        ("management", "explicit", (2,), (1,)),
    ]
    assert [port.team for port in outer.ports] == [1, 0, 0, 0, 1, 0]
    assert inner.teams == ()
    assert {port.mtu for port in inner.ports} == {9000}
    assert lab.macs["backup.1"] >> 24 == 0x005056
    assert unused(lab.topology) == ["hosts.esx1.nics.vmnic0.speed", "hosts.esx1.nics.vmnic1.speed", "hosts.esx1.nics.vmnic2.speed"]


def test_guest_trunk() -> None:
    module = vsw.load(EXAMPLES / "guest-trunk.toml").module()
    assert module.private == ((201, 200),)
    assert module.teams[0].lacp
    assert [entry.vlan for entry in module.static] == [None, None, None, None, 300, 200, 200, 200]
    assert module.port("nested.0").macs == (0x00163E000001, 0x00163E000002)


def test_plain_switch() -> None:
    module = vsw.load(EXAMPLES / "plain-switch.toml").module()
    assert module.port("tunnel").number == 100
    assert module.ports[-1].name == "tunnel"
    assert [port.team for port in module.ports if port.kind == "uplink"] == [0, 0]
    assert module.port("p4").vlan.vids == module.port("p3").vlan.vids == frozenset({10, 20})
    assert not module.port("spare").up


def test_two_hosts() -> None:
    lab = vsw.load(EXAMPLES / "two-hosts.toml")
    assert list(lab.modules) == ["alpha/dvs", "beta/dvs"]
    with pytest.raises(vsw.UsageError, match=r"2 modules: alpha/dvs, beta/dvs; say which"):
        lab.module()
    with pytest.raises(vsw.UsageError, match=r"no module 'alpha/dv' \(did you mean 'alpha/dvs'\?\)"):
        lab.module("alpha/dv")
    assert {"supervisor", "modules"} <= set(unused(lab.topology))
    assert not [path for path in unused(lab.topology) if path.startswith("profiles")]
