"""Rules 1 to 12: each reason for which a frame is dropped, and the frame next to it that is not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.build import access, community, isolated, module, port, promiscuous, static, team, trunk, tunnel, uplink
from tests.golden.frames import BODY, BROADCAST, MULTICAST, fate, frame, once, send
from vsw.config.dialects import Security
from vsw.config.module import Module
from vsw.reference.switch import ReferenceSwitch

STRICT = Security(promiscuous=False, mac_changes=True, forged_transmits=False)
SPY = Security(promiscuous=True, mac_changes=True, forged_transmits=True)
LACPDU = b"\x88\x09\x01" + bytes(45)


def host(dialect: str = "vsw", **more: Any) -> Module:
    """Two vNICs in VLAN 10 (0: 02:..:01, 1: 02:..:02), a trunk of a guest (2), two uplinks (8, 9), one team by source MAC (even: 8, odd: 9)."""
    ports = [
        port(0, access(10), address=1, team=0, **more.pop("first", {})),
        port(1, access(10), address=2, team=0, **more.pop("second", {})),
        port(2, trunk("0,10,20"), address=3, team=0),
        uplink(8, team=0, **more.pop("uplink", {})),
        uplink(9, team=0, **more.pop("other", {})),
    ]
    return module(dialect, ports, teams=(team("src-mac", [8, 9], lacp=more.pop("lacp", False)),), **more)


def whole(data: bytes) -> tuple[bytes, int]:
    return data, len(data)


LONG = BODY[:2] + bytes(1500)
#: id, module, (bytes captured, length), port, what becomes of it
CASES: list[tuple[str, Module, tuple[bytes, int], int | None, str]] = [
    ("no port", host(), whole(frame(2, 1)), None, "no_port"),
    ("port that does not exist", host(), whole(frame(2, 1)), 7, "no_port"),
    ("port that can't exist", host(), whole(frame(2, 1)), 70000, "no_port"),
    ("port down", host(first={"up": False}), whole(frame(2, 1)), 0, "port_down"),
    ("port down, before its length is looked at", host(first={"up": False}), whole(b""), 0, "port_down"),
    ("nothing", host(), whole(b""), 0, "malformed"),
    ("13 bytes", host(), whole(frame(2, 1)[:13]), 0, "malformed"),
    ("14 bytes", host(), whole(frame(2, 1)[:14]), 0, "1"),
    ("13 bytes captured", host(), (frame(2, 1)[:13], 60), 0, "cut_by_capture"),
    ("13 bytes captured of 14", host(), (frame(2, 1)[:13], 14), 0, "cut_by_capture"),
    ("14 bytes captured", host(), (frame(2, 1)[:14], 60), 0, "1"),
    ("tag, 17 bytes", host(), whole(frame(2, 3, "8100:10")[:17]), 2, "malformed"),
    ("tag, 14 bytes", host(), whole(frame(2, 3, "8100:10")[:14]), 2, "malformed"),
    ("tag, 18 bytes", host(), whole(frame(2, 3, "8100:10")[:18]), 2, "1"),
    ("tag, 17 bytes captured", host(), (frame(2, 3, "8100:10")[:17], 64), 2, "cut_by_capture"),
    ("tag on an access port, 17 bytes", host(), whole(frame(2, 1, "8100:10")[:17]), 0, "malformed"),
    ("TPID that is none", host("vss"), whole(frame(2, 1, "9100:10")[:17]), 0, "1"),
    ("second tag cut", host(), whole(frame(2, 3, "8100:10 8100:5")[:21]), 2, "1"),
    ("second tag cut, ovs", host("ovs", vlan_limit=2), whole(frame(2, 3, "8100:10 8100:5")[:21]), 2, "1"),
    ("SNAP with a tag, ovs", host("ovs"), whole(frame(2, 1, "", bytes.fromhex("0026 aaaa03000000 8100 000a") + bytes(30))), 0, "malformed"),
    ("SNAP with a tag, greatest length", host("ovs"), whole(frame(2, 1, "", bytes.fromhex("05ff aaaa03000000 88a8 000a"))), 0, "malformed"),
    ("not a length", host("ovs"), whole(frame(2, 1, "", bytes.fromhex("0600 aaaa03000000 8100 000a"))), 0, "1"),
    ("SNAP with another type", host("ovs"), whole(frame(2, 1, "", bytes.fromhex("0026 aaaa03000000 9100 000a"))), 0, "1"),
    ("SNAP with an OUI", host("ovs"), whole(frame(2, 1, "", bytes.fromhex("0026 aaaa0300000c 8100 000a"))), 0, "1"),
    ("SNAP cut before its type", host("ovs"), (frame(2, 1, "", bytes.fromhex("0026 aaaa03000000 81")), 60), 0, "1"),
    ("SNAP within a tag", host("ovs"), whole(frame(2, 3, "8100:10", bytes.fromhex("0026 aaaa03000000 8100 000a"))), 2, "1"),
    ("SNAP with a tag elsewhere", host("vsw"), whole(frame(2, 1, "", bytes.fromhex("0026 aaaa03000000 8100 000a"))), 0, "1"),
    ("1514 bytes", host(), whole(frame(2, 1, "", LONG)), 0, "1"),
    ("1515 bytes", host(), whole(frame(2, 1, "", LONG + b"x")), 0, "too_long"),
    ("1515 bytes, of which 20 captured", host(), (frame(2, 1, "", LONG)[:20], 1515), 0, "too_long"),
    ("1518 bytes with a tag", host(), whole(frame(2, 3, "8100:10", LONG)), 2, "1"),
    ("1519 bytes with a tag", host(), whole(frame(2, 3, "8100:10", LONG + b"x")), 2, "too_long"),
    ("1522 bytes with two tags", host(), whole(frame(BROADCAST, 0x77, "88a8:20 8100:5", LONG)), 9, "2"),
    ("1523 bytes with two tags", host(), whole(frame(BROADCAST, 0x77, "88a8:20 8100:5", LONG + b"x")), 9, "too_long"),
    ("a third tag does not count", host(), whole(frame(BROADCAST, 0x77, "88a8:20 8100:5 8100:6", LONG)), 8, "too_long"),
    ("second tag not captured", host(), (frame(BROADCAST, 0x77, "88a8:20 8100:5")[:21], 1522), 9, "too_long"),
    ("second tag and type captured", host(), (frame(BROADCAST, 0x77, "88a8:20 8100:5")[:22], 1522), 9, "2"),
    ("a tag that is none does not count", host("vss"), whole(frame(2, 1, "88a8:20", LONG)), 0, "too_long"),
    ("source is broadcast", host(), whole(frame(2, BROADCAST)), 0, "bad_source"),
    ("source is multicast", host("vss"), whole(frame(2, "01:00:00:00:00:00")), 0, "bad_source"),
    ("source is zero", host(), whole(frame(2, "00:00:00:00:00:00")), 0, "bad_source"),
    ("source is broadcast, ovs", host("ovs"), whole(frame(2, BROADCAST)), 0, "1"),
    ("source is zero, ovs", host("ovs"), whole(frame(2, "00:00:00:00:00:00")), 0, "1"),
    ("4095", host(), whole(frame(2, 3, "8100:4095")), 2, "reserved_vid"),
    ("4095 on an uplink", host(), whole(frame(2, 0x77, "88a8:4095")), 8, "reserved_vid"),
    ("VLAN not allowed", host(), whole(frame(2, 3, "8100:11")), 2, "vlan_not_allowed"),
    ("an access port's own VLAN", host(), whole(frame(2, 1, "8100:10")), 0, "vlan_not_allowed"),
    ("reserved, first of range", host("vsw", uplink={}), whole(frame("01:80:c2:00:00:00", 0x77, "8100:10")), 8, "reserved_address"),
    ("reserved, last of range", host(), whole(frame("01:80:c2:00:00:0f", 1)), 0, "reserved_address"),
    ("behind the range", host(), whole(frame("01:80:c2:00:00:10", 1)), 0, "1 2 9"),
    ("reserved but forwarded", host(forward_bpdu=True), whole(frame("01:80:c2:00:00:0e", 1)), 0, "1 2 9"),
    ("reserved passes in vss", host("vss"), whole(frame("01:80:c2:00:00:0e", 1)), 0, "1 2 9"),
    ("PVST+ is not reserved in vsw", host(), whole(frame("01:00:0c:cc:cc:cd", 0x77, "8100:20")), 9, "2"),
    *(
        (f"ovs does not forward {address}", host("ovs"), whole(frame(address, 1)), 0, "reserved_address")
        for address in (
            *("01:80:c2:00:00:00", "01:80:c2:00:00:0f", "01:00:0c:cc:cc:cc", "01:00:0c:cc:cc:cd", "01:00:0c:cd:cd:cd"),
            *("01:00:0c:cc:cc:c0", "01:00:0c:cc:cc:c7", "01:00:0c:00:00:00", "00:e0:2b:00:00:00", "00:e0:2b:00:00:04", "00:e0:2b:00:00:06"),
        )
    ),
    *(
        (f"ovs forwards {address}", host("ovs"), whole(frame(address, 1)), 0, "1 2 9")
        for address in (
            *("01:80:c2:00:00:10", "01:80:c2:00:00:21", "01:00:0c:cc:cc:cf", "01:00:0c:cc:cc:c8", "00:e0:2b:00:00:05", "01:00:0c:00:00:01"),
        )
    ),
    ("ovs with forward_bpdu", host("ovs", forward_bpdu=True), whole(frame("01:80:c2:00:00:00", 1)), 0, "1 2 9"),
    ("spanning tree from a vNIC", host(), whole(frame("01:80:c2:00:00:00", 1)), 0, "bpdu"),
    ("PVST+ from a vNIC", host(), whole(frame("01:00:0c:cc:cc:cd", 3, "8100:20")), 2, "bpdu"),
    ("spanning tree from a vNIC, forward_bpdu", host(forward_bpdu=True), whole(frame("01:80:c2:00:00:00", 1)), 0, "bpdu"),
    ("spanning tree passes in vss", host("vss"), whole(frame("01:80:c2:00:00:00", 1)), 0, "1 2 9"),
    ("bpdu_filter", host("vss", first={"bpdu_filter": True}), whole(frame("01:80:c2:00:00:00", 1)), 0, "bpdu"),
    ("bpdu_guard", host("vss", first={"bpdu_guard": True}), whole(frame("01:00:0c:cc:cc:cd", 1)), 0, "bpdu"),
    ("bpdu_guard and another address", host("vss", first={"bpdu_guard": True}), whole(frame("01:80:c2:00:00:02", 1)), 0, "1 2 9"),
    ("bpdu_guard on an uplink", host("vss", other={"bpdu_guard": True}), whole(frame("01:80:c2:00:00:00", 0x77, "8100:20")), 9, "2"),
    ("LACP", host(lacp=True), whole(frame("01:80:c2:00:00:02", 0x77, "", LACPDU)), 8, "consumed"),
    ("LACP from a vNIC", host(lacp=True), whole(frame("01:80:c2:00:00:02", 1, "", LACPDU)), 0, "reserved_address"),
    ("LACP with a tag", host(lacp=True), whole(frame("01:80:c2:00:00:02", 0x77, "8100:10", LACPDU)), 8, "reserved_address"),
    ("LACP with another subtype", host(lacp=True), whole(frame("01:80:c2:00:00:02", 0x77, "", b"\x88\x09\x02" + bytes(45))), 8, "reserved_address"),
    ("LACP with another type", host(lacp=True), whole(frame("01:80:c2:00:00:02", 0x77, "", b"\x88\x08\x01" + bytes(45))), 8, "reserved_address"),
    ("LACP without its subtype", host(lacp=True), (frame("01:80:c2:00:00:02", 0x77, "", LACPDU[:2]), 60), 8, "reserved_address"),
    ("LACP, and no team speaks it", host(), whole(frame("01:80:c2:00:00:02", 0x77, "", LACPDU)), 8, "reserved_address"),
    ("LACP where VLAN 0 is not allowed", host(lacp=True, uplink={"vlan": trunk("10")}), whole(frame("01:80:c2:00:00:02", 0x77, "", LACPDU)), 8,
     "vlan_not_allowed"),
    ("forged", host(first={"security": STRICT}), whole(frame(2, 0x55)), 0, "forged_source"),
    ("forged, another's address", host(first={"security": STRICT}), whole(frame(2, 3)), 0, "forged_source"),
    ("its own address", host(first={"security": STRICT}), whole(frame(2, 1)), 0, "1"),
    ("its effective address", host(first={"security": STRICT, "effective_mac": 0x21}), whole(frame(2, 0x21)), 0, "1"),
    ("the address it has given up", host(first={"security": STRICT, "effective_mac": 0x21}), whole(frame(2, 1)), 0, "forged_source"),
    ("an address behind it", host(first={"security": STRICT, "macs": (0x31,)}), whole(frame(2, 0x31)), 0, "1"),
    ("a static entry of any VLAN", host(first={"security": STRICT}, static=static((None, 0x41, 0), (10, 2, 1))), whole(frame(2, 0x41)), 0, "1"),
    ("a static entry of another VLAN", host(first={"security": STRICT}, static=static((20, 0x41, 0))), whole(frame(2, 0x41)), 0, "forged_source"),
    ("forged transmits of a port without address", host(uplink={"security": STRICT}), whole(frame(2, 0x55, "8100:10")), 8, "1"),
    ("deja-vu", host(), whole(frame(2, 1, "8100:10")), 8, "deja_vu"),
    ("deja-vu, vss", host("vss"), whole(frame(BROADCAST, 1, "8100:10")), 9, "deja_vu"),
    ("deja-vu of a trunk vNIC", host(), whole(frame(2, 3, "8100:10")), 8, "deja_vu"),
    ("deja-vu: another VLAN", host(), whole(frame(BROADCAST, 1, "8100:20")), 9, "2"),
    ("deja-vu: a VLAN that the trunk vNIC does not carry", host(), whole(frame(BROADCAST, 3, "8100:30")), 8, "no_member"),
    ("deja-vu: a static entry on an uplink", host(static=static((10, 0x41, 9), (10, 2, 1))), whole(frame(2, 0x41, "8100:10")), 8, "1"),
    ("deja-vu, ovs", host("ovs"), whole(frame(2, 1, "8100:10")), 8, "1"),
    ("unknown from an uplink", host(), whole(frame(0x99, 0x77, "8100:10")), 8, "unknown_unicast"),
    ("local, but in another VLAN", host(), whole(frame(2, 0x77, "8100:20")), 8, "unknown_unicast"),
    ("unknown from a vNIC", host(), whole(frame(0x99, 1)), 0, "9"),
    ("unknown from a vNIC without team", module("vsw", [port(0, access(10)), uplink(8)]), whole(frame(0x99, 1)), 0, "no_uplink"),
    ("uplink to uplink", host(static=static((10, 0x41, 9))), whole(frame(0x41, 0x77, "8100:10")), 8, "uplink_to_uplink"),
    ("uplink to itself", host(static=static((10, 0x41, 8))), whole(frame(0x41, 0x77, "8100:10")), 8, "uplink_to_uplink"),
    ("to an uplink: the team picks", host(static=static((10, 0x41, 8))), whole(frame(0x41, 1)), 0, "9"),
    ("same port", host(), whole(frame(1, 0x55)), 0, "same_port"),
    ("same port, ovs", host("ovs"), whole(frame(1, 0x55)), 0, "same_port"),
    ("source is destination, ovs", host("ovs"), whole(frame(0x55, 0x55)), 0, "same_port"),
    ("destination zero, ovs", host("ovs"), whole(frame("00:00:00:00:00:00", 0x55)), 0, "1 2 9"),
    ("no member", module("vsw", [port(0, access(10)), port(1, access(20))]), whole(frame(BROADCAST, 1)), 0, "no_member"),
    ("no member, ovs", module("ovs", [port(0, access(10)), port(1, access(20))]), whole(frame(0x99, 1)), 0, "no_member"),
    ("uplink does not carry the VLAN", host(uplink={"vlan": trunk("20")}), whole(frame(BROADCAST, 2)), 1, "0 2"),
    ("unicast, uplink does not carry the VLAN", host(uplink={"vlan": trunk("20")}), whole(frame(0x99, 2)), 1, "egress_vlan not 8:egress_vlan"),
    ("a group is never looked up", host("ovs", static=static((10, MULTICAST, 1))), whole(frame(MULTICAST, 1)), 0, "1 2 9"),
    ("known in a VLAN, not in any", host(static=static((10, 0x41, 1), (None, 0x41, 2))), whole(frame(0x41, 1)), 0, "1"),
    ("known in any VLAN that its port receives", host(static=static((None, 0x41, 2))), whole(frame(0x41, 1)), 0, "2"),
    ("known in any VLAN, but its port is not in this one", host(static=static((None, 0x41, 1))), whole(frame(0x41, 3, "8100:20")), 2, "9"),
    ("promiscuous", host(second={"security": SPY}), whole(frame(3, 1)), 0, "1 2"),
    ("promiscuous sees what has nowhere to go", host(second={"security": SPY}), whole(frame(0x99, 0x77, "8100:10")), 8, "1"),
    ("promiscuous sees what comes back", host(second={"security": SPY}), whole(frame(1, 0x55)), 0, "1"),
    ("promiscuous, not its own", host(first={"security": SPY}), whole(frame(0x99, 1)), 0, "9"),
    ("promiscuous, another VLAN", host(second={"security": SPY}), whole(frame(0x99, 3, "8100:20")), 2, "9"),
    ("promiscuous gets one copy", host(second={"security": SPY}), whole(frame(2, 1)), 0, "1"),
    ("promiscuous but down", host(second={"security": SPY, "up": False}), whole(frame(0x99, 0x77, "8100:10")), 8, "port_down not 1:port_down"),
    ("promiscuous, ovs", host("ovs", second={"security": SPY}), whole(frame(3, 0x55)), 0, "1 2"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "offered", "port_in", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_fate(made: Module, offered: tuple[bytes, int], port_in: int | None, expected: str) -> None:
    data, length = offered
    assert fate(once(made, data, port_in, length)) == expected


def test_bpdu_guard_shuts_the_port_until_an_event() -> None:
    switch = ReferenceSwitch(host("vss", first={"bpdu_guard": True}))
    fates = [fate(send(switch, data, 0)) for data in (frame(2, 1), frame("01:80:c2:00:00:00", 1), frame(2, 1))]
    assert fates == ["1", "bpdu", "port_down"]
    assert fate(send(switch, frame(1, 2), 1)) == "port_down not 0:port_down"
    switch.set_port(0, up=True)
    assert fate(send(switch, frame(2, 1), 0)) == "1"


def private(**more: Any) -> Module:
    """Primary 100 with an isolated (101) and a community VLAN (102): P promiscuous 0; I isolated 1, 2; C community 3, 4; a trunk 5; an uplink 9."""
    ports = [
        port(0, promiscuous(100), address=1, team=0),
        port(1, isolated(100, 101), address=2, team=0),
        port(2, isolated(100, 101), address=3, team=0),
        port(3, community(100, 102), address=4, team=0),
        port(4, community(100, 102), address=5, team=0),
        port(5, access(100), address=6, team=0),
        uplink(9, team=0),
    ]
    return module(more.pop("dialect", "vsw"), ports, teams=(team("explicit", [9]),), private=((101, 100), (102, 100)), **more)


@pytest.mark.parametrize(
    ("destination", "port_in", "expected"),
    [
        (BROADCAST, 0, "1 2 3 4 5 9"),
        (BROADCAST, 1, "0 9"),
        (BROADCAST, 3, "0 4 9"),
        (BROADCAST, 5, "0 1 2 3 4 9"),
        (1, 1, "0"),
        (2, 0, "1"),
        (3, 1, "egress_vlan not 2:egress_vlan"),  # isolated to isolated
        (4, 1, "egress_vlan not 3:egress_vlan"),
        (5, 3, "4"),
        (2, 3, "egress_vlan not 1:egress_vlan"),
        (6, 3, "egress_vlan not 5:egress_vlan"),  # an access port of the primary is no promiscuous port
        (0x99, 1, "9"),
    ],
)
def test_private_vlans(destination: str | int, port_in: int, expected: str) -> None:
    decision = once(private(), frame(destination, 0x41), port_in)
    assert fate(decision) == expected
    assert decision.vlan == (100, 101, 101, 102, 102, 100)[port_in]
    tags = {0: "8100:100", 1: "8100:101", 3: "8100:102", 5: "8100:100"}[port_in]
    for copy in decision.copies:
        assert copy.data == frame(destination, 0x41, tags if copy.port == 9 else "")


@pytest.mark.parametrize(
    ("destination", "tags", "expected"),
    [
        (BROADCAST, "8100:100", "0 1 2 3 4 5"),
        (BROADCAST, "8100:101", "0"),
        (BROADCAST, "8100:102", "0 3 4"),
        (1, "8100:102", "0"),
        (2, "8100:100", "1"),
        (2, "8100:101", "egress_vlan not 1:egress_vlan"),
    ],
)
def test_private_vlans_from_the_uplink(destination: str | int, tags: str, expected: str) -> None:
    assert fate(once(private(), frame(destination, 0x77, tags), 9)) == expected


def test_private_ports_take_untagged_frames_only() -> None:
    assert fate(once(private(), frame(BROADCAST, 2, "8100:101"), 1)) == "vlan_not_allowed"
    assert fate(once(private(), frame(BROADCAST, 2, "8100:0.3"), 1)) == "0 9"


def test_deja_vu_in_a_secondary_vlan() -> None:
    assert fate(once(private(), frame(BROADCAST, 2, "8100:101"), 9)) == "deja_vu"


def test_tunnel_in_a_virtual_dialect_does_not_filter_customers_at_egress() -> None:
    made = module("vsw", [port(0, tunnel(10)), port(1, tunnel(10, "7"))])
    assert fate(once(made, frame(BROADCAST, 1, "8100:5"), 0)) == "1"
    assert fate(once(made, frame(BROADCAST, 1, "8100:5"), 1)) == "vlan_not_allowed"
