"""What ``vsw explain`` prints: every rule that was applied to a frame, with the values that it was applied to."""

from __future__ import annotations

from tests.golden.build import access, module, port, team, trunk, uplink
from tests.golden.frames import frame, ipv4, once
from vsw.config.dialects import Security
from vsw.reference.decision import Decision

STRICT = Security(promiscuous=False, mac_changes=False, forged_transmits=False)


def told(decision: Decision) -> list[str]:
    return [f"{step.rule}: {step.text}" for step in decision.steps]


def lab() -> list:  # type: ignore[type-arg]
    return [
        port(0, access(10), "web1.0", address="00:50:56:80:00:11", team=0, security=STRICT),
        port(1, trunk("10,20"), "fw.0", address="00:50:56:80:00:12", team=0, mtu=20),
        uplink(2, name="vmnic0", team=0),
        uplink(3, name="vmnic1", team=0),
    ]


MODULE = module("vss", lab(), teams=(team("ip-hash", [2, 3], name="team0"),))


def test_a_frame_that_leaves_by_a_team() -> None:
    data = frame("00:50:56:99:99:99", "00:50:56:80:00:11", "", ipv4("a4120154", "a41201a0"))
    assert told(once(MODULE, data, 0)) == [
        "0 port: in by web1.0 (port 0, vnic, access), 42 bytes",
        "1 port: web1.0 is up",
        "2 header: 00:50:56:80:00:11 to 00:50:56:99:99:99, type 0800",
        "3 tags: read: no tag",
        "4 MTU: 42 bytes, 1514 allowed (MTU 1500, 0 tags at the front)",
        "5 source: 00:50:56:80:00:11 is an address of one station",
        "6 VLAN: web1.0 is access: VID 0 is in VLAN 10; inside [8100 pcp 0 dei 0 vid 10]",
        "7 reserved: 00:50:56:99:99:99 is not a reserved destination",
        "8 forged: 00:50:56:80:00:11 belongs to web1.0",
        "12 forwarding: 00:50:56:99:99:99 is not known in VLAN 10",
        "13 team: team team0, ip-hash: 0xf4 mod 2 usable (vmnic0, vmnic1) = 0: vmnic0",
        "14 egress: vmnic0: sent with [8100 pcp 0 dei 0 vid 10], 46 bytes",
        "15 verdict: delivered: at least one copy left the module",
    ]


def test_a_frame_whose_tag_told_the_port() -> None:
    data = frame("00:50:56:80:00:12", "00:50:56:80:00:11", "8100:10")
    assert told(once(MODULE, data, None, source_mac=True)) == [
        "0 source-mac: web1.0 owns 00:50:56:80:00:11 with VID 10",
        "0 source-mac: the wire's tag 10 is taken off: web1.0 has none",
        "0 port: in by web1.0 (port 0, vnic, access), 60 bytes",
        "1 port: web1.0 is up",
        "2 header: 00:50:56:80:00:11 to 00:50:56:80:00:12, type 0806",
        "3 tags: read: no tag",
        "4 MTU: 60 bytes, 1514 allowed (MTU 1500, 0 tags at the front)",
        "5 source: 00:50:56:80:00:11 is an address of one station",
        "6 VLAN: web1.0 is access: VID 0 is in VLAN 10; inside [8100 pcp 0 dei 0 vid 10]",
        "7 reserved: 00:50:56:80:00:12 is not a reserved destination",
        "8 forged: 00:50:56:80:00:11 belongs to web1.0",
        "12 forwarding: 00:50:56:80:00:12 in VLAN 10 is at fw.0 (static)",
        "14 egress: fw.0: held back, too_long: the frame is longer than the port's MTU allows",
        "15 verdict: dropped, too_long: the frame is longer than the port's MTU allows",
    ]


def test_a_frame_that_is_dropped_at_once() -> None:
    assert told(once(MODULE, b"\xff" * 13, 2, 60))[-2:] == [
        "2 header: an Ethernet header needs 14 bytes, 60 are in the frame, 13 captured",
        "15 verdict: dropped, cut_by_capture: the header is in the frame, but not in the bytes that were captured",
    ]
    assert told(once(MODULE, b"", None)) == [
        "0 port: no port of this switch is known that the frame came in by",
        "15 verdict: dropped, no_port: no port of this module is known that the frame came in by",
    ]


def test_what_was_not_designated() -> None:
    made = module("vsw", lab(), teams=(team("port-id", [2, 3], name="team0"),))
    decision = once(made, frame("ff:ff:ff:ff:ff:ff", "00:50:56:99:99:99", "8100:10"), 3)
    assert told(decision)[-4:] == [
        "12 forwarding: flooded to web1.0, fw.0",
        "14 egress: web1.0: held back, not_designated: another uplink of the team is the one to receive this",
        "14 egress: fw.0: held back, too_long: the frame is longer than the port's MTU allows",
        "15 verdict: dropped, not_designated: another uplink of the team is the one to receive this",
    ]
