"""The driver itself: what it tells Open vSwitch, that frames keep their order, and that nothing stays behind."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from tests.differential.ovs import cases
from tests.differential.ovs.driver import DriverError, Offered, OpenVSwitch, Tap, commands, frame_number, missing, number_frame, port_settings
from vsw.config.dialects import DIALECTS
from vsw.config.module import ALL_VIDS, Module, Port, Team, Vlan

installed = pytest.mark.skipif(missing() is not None, reason=f"Open vSwitch is not installed: {missing()}")
TRUNK = Vlan("trunk", 0, ALL_VIDS)


def port(number: int, vlan: Vlan = TRUNK, **more: object) -> Port:
    return Port(number, f"p{number}", "plain", vlan, cases.OVS.security, mtu=cases.MTU, **more)  # type: ignore[arg-type]


def module(*ports: Port, **more: object) -> Module:
    return Module("br", cases.OVS, ports, learning="full", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vlan", "settings"),
    [
        (Vlan("access", 10), "vlan_mode=access tag=10"),
        (Vlan("access", 0), "vlan_mode=access"),
        (TRUNK, "vlan_mode=trunk"),
        (Vlan("trunk", 0, frozenset({20, 10, 0})), "vlan_mode=trunk trunks=0,10,20"),
        (Vlan("native-tagged", 5, ALL_VIDS - {0}), "vlan_mode=native-tagged tag=5"),
        (Vlan("native-tagged", 0, frozenset({0, 7})), "vlan_mode=native-tagged trunks=0,7"),
        (Vlan("native-untagged", 5, frozenset({5, 6})), "vlan_mode=native-untagged tag=5 trunks=5,6"),
        (Vlan("dot1q-tunnel", 0), "vlan_mode=dot1q-tunnel tag=0 other_config:qinq-ethtype=802.1ad"),
        (
            Vlan("dot1q-tunnel", 9, cvids=frozenset({0, 3}), ethertype=0x8100),
            "vlan_mode=dot1q-tunnel tag=9 cvlans=0,3 other_config:qinq-ethtype=802.1q",
        ),
    ],
)
def test_port_settings(vlan: Vlan, settings: str) -> None:
    assert port_settings(port(0, vlan)) == settings.split()


def test_settings_beside_the_vlan() -> None:
    assert port_settings(port(0, priority_tags="always", protected=True)) == [
        "vlan_mode=trunk",
        "other_config:priority-tags=always",
        "protected=true",
    ]


def test_a_bond_is_one_port() -> None:
    members = tuple(replace(port(number), kind="uplink", team=0) for number in (1, 2))
    lines = commands(module(port(0), *members, teams=(Team("bond0", "explicit", (2, 1)),)))
    assert [line for line in lines if line[0].startswith("add")] == [
        ["add-port", "br", "p0", "vlan_mode=trunk"],
        ["add-bond", "br", "bond0", "p2", "p1", "bond_mode=active-backup", "other_config:bond-primary=p2", "vlan_mode=trunk"],
    ]


def test_members_of_a_bond_are_alike() -> None:
    members = (replace(port(0), kind="uplink", team=0), replace(port(1, Vlan("access", 1)), kind="uplink", team=0))
    with pytest.raises(DriverError, match="settings differ"):
        commands(module(*members, teams=(Team("bond0", "explicit", (0, 1)),)))


def test_other_dialects_are_refused() -> None:
    with pytest.raises(DriverError, match="dialect 'vss'"):
        commands(replace(module(port(0)), dialect=DIALECTS["vss"]))


@pytest.mark.parametrize(("length", "numbered"), [(14, False), (33, False), (34, True), (1500, True)])
def test_numbers_of_frames(length: int, numbered: bool) -> None:
    data = number_frame(bytes(length), 77)
    assert len(data) == length
    assert frame_number(data) == (77 if numbered else None)


def test_a_capture_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "1.pcap"
    record = struct.pack("=IIII", 0, 0, 3, 3) + b"abc"
    path.write_bytes(bytes(24) + record + record[:10])
    tap = Tap.open(path)
    assert list(tap.read()) == [b"abc"]
    with path.open("ab") as file:
        file.write(record[10:])
    assert list(tap.read()) == [b"abc"]
    assert list(tap.read()) == []
    tap.close()
    assert not path.exists()


@installed
@pytest.mark.ovs
def test_frames_keep_their_order_between_ports() -> None:
    """The host moves between two ports, and a third sends to it: each time where it was last."""
    host, other = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
    here = host + other + bytes(48)
    moves = [1 + (place // 2) % 2 for place in range(200)]
    frames = [Offered(moves[place], other + host + bytes(48)) if place % 2 == 0 else Offered(0, here) for place in range(200)]
    with OpenVSwitch() as switch:
        switch.configure(module(port(0), port(1), port(2)))
        egress = switch.forward_in_order(frames)
    assert egress[1::2] == [{moves[place]: [here]} for place in range(1, 200, 2)]


@installed
@pytest.mark.ovs
def test_any_order_equals_order() -> None:
    of = cases.module(1)
    frames = cases.frames_in_any_order(1, of, 300)
    with OpenVSwitch() as switch:
        switch.configure(of)
        in_order = switch.forward_in_order(frames)
        switch.flush()
        assert switch.forward_in_any_order(frames) == in_order
    assert any(in_order)


@installed
@pytest.mark.ovs
def test_nothing_stays_behind() -> None:
    with OpenVSwitch() as first, OpenVSwitch() as second:
        assert first.directory != second.directory
        first.configure(module(port(0), port(1)))
        directory, children = first.directory, [child.pid for _, child in first.children]
        assert len(children) == 2
    assert not directory.exists()
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    first.close()


@installed
@pytest.mark.ovs
def test_an_error_of_the_switch_is_told() -> None:
    with OpenVSwitch() as switch, pytest.raises(DriverError, match="no-such-command"):
        switch.control.request("no-such-command")
