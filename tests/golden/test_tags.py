"""Which VLAN a frame gets by each mode, and with which tags it leaves, in each dialect.

A broadcast comes in by port 0, whose mode the row names.  Ports that it may leave by: ``T`` trunk of all VLANs,
``A`` access 10, ``N`` native-untagged 10 (all VLANs), ``X`` tunnel 10.  ``ovs2`` is ``ovs`` with ``vlan_limit`` 2.
What the tables expect was worked out by hand from the rules and from what Open vSwitch was seen to do.
"""

from __future__ import annotations

import pytest

from tests.golden.build import access, module, native_tagged, native_untagged, port, static, trunk, tunnel
from tests.golden.frames import BODY, BROADCAST, frame, hexes, once
from vsw.config.module import Vlan
from vsw.verdicts import Verdict

OUT = {"T": (1, trunk()), "A": (2, access(10)), "N": (3, native_untagged(10)), "X": (4, tunnel(10))}
MODES = {
    "access": access(10),
    "trunk": trunk("10,20"),
    "trunk0": trunk("0,10"),
    "native-tagged": native_tagged(10, "10,20"),
    "native-untagged": native_untagged(10, "10,20"),
    "tunnel": tunnel(10),
    "tunnel-c": tunnel(10, "0,5"),
    "tunnel-8100": tunnel(10, ethertype=0x8100),
}

#: mode, tags as received, {dialects: reason, or the tags of each copy}
TABLE: list[tuple[str, str, dict[str, str]]] = [
    ("access", "", {"vsw vss ovs ovs2": "T=8100:10 | A= | N= | X="}),
    ("access", "8100:0", {"vsw vss ovs ovs2": "T=8100:10 | A= | N= | X="}),
    ("access", "8100:0.5", {"vsw vss ovs ovs2": "T=8100:10.5 | A= | N= | X="}),
    ("access", "8100:0.5d", {"vsw vss": "T=8100:10.5d | A= | N= | X=", "ovs ovs2": "T=8100:10.5 | A= | N= | X="}),
    ("access", "8100:10", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("access", "8100:20", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("access", "8100:99", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("access", "8100:4095", {"vsw vss": "reserved_vid", "ovs ovs2": "vlan_not_allowed"}),
    (
        "access",
        "88a8:10 8100:5",
        {
            "vsw ovs ovs2": "vlan_not_allowed",
            "vss": "T=8100:10 88a8:10 8100:5 | A=88a8:10 8100:5 | N=88a8:10 8100:5 | X=88a8:10 8100:5",
        },
    ),
    ("access", "9100:10", {"vsw": "vlan_not_allowed", "vss ovs ovs2": "T=8100:10 9100:10 | A=9100:10 | N=9100:10 | X=9100:10"}),
    (
        "access",
        "8100:0 8100:5",
        {
            "vsw vss ovs": "T=8100:10 8100:5 | A=8100:5 | N=8100:5 | X=8100:5",
            "ovs2": "T=8100:10 | A= | N= | X=",
        },
    ),
    (
        "access",
        "88a8:0.5",
        {
            "vsw ovs ovs2": "T=88a8:10.5 | A= | N= | X=",
            "vss": "T=8100:10 88a8:0.5 | A=88a8:0.5 | N=88a8:0.5 | X=88a8:0.5",
        },
    ),
    ("trunk", "", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("trunk", "8100:0", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("trunk", "8100:0.5", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("trunk", "8100:10", {"vsw vss ovs ovs2": "T=8100:10 | A= | N= | X="}),
    ("trunk", "8100:10.3d", {"vsw vss ovs ovs2": "T=8100:10.3d | A= | N= | X="}),
    ("trunk", "8100:20.5", {"vsw vss ovs ovs2": "T=8100:20.5 | N=8100:20.5"}),
    ("trunk", "8100:99", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("trunk", "8100:4095", {"vsw vss": "reserved_vid", "ovs ovs2": "vlan_not_allowed"}),
    (
        "trunk",
        "88a8:10 8100:5",
        {
            "vsw ovs": "T=88a8:10 8100:5 | A=8100:5 | N=8100:5 | X=8100:5",
            "vss": "vlan_not_allowed",
            "ovs2": "T=88a8:10 8100:5 | N=8100:5 | X=8100:5",
        },
    ),
    (
        "trunk",
        "8100:10 8100:0.1",
        {
            "vsw vss ovs": "T=8100:10 8100:0.1 | A=8100:0.1 | N=8100:0.1 | X=8100:0.1",
            "ovs2": "T=8100:10 8100:0.1 | A= | N=8100:0.1 | X=8100:0.1",
        },
    ),
    ("trunk", "9100:10", {"vsw": "T=9100:10 | A= | N= | X=", "vss ovs ovs2": "vlan_not_allowed"}),
    ("trunk", "88a8:20", {"vsw ovs ovs2": "T=88a8:20 | N=88a8:20", "vss": "vlan_not_allowed"}),
    ("trunk0", "", {"vsw vss ovs ovs2": "T="}),
    ("trunk0", "8100:0", {"vsw vss": "T=8100:0", "ovs ovs2": "T="}),
    ("trunk0", "8100:0.0d", {"vsw vss": "T=8100:0.0d", "ovs ovs2": "T="}),
    ("trunk0", "8100:0.5", {"vsw vss ovs ovs2": "T=8100:0.5"}),
    ("trunk0", "9100:0.5", {"vsw vss ovs ovs2": "T=9100:0.5"}),
    ("trunk0", "8100:0 8100:7", {"vsw vss": "T=8100:0 8100:7", "ovs": "T=8100:7", "ovs2": "T="}),
    ("trunk0", "8100:0.5 8100:7", {"vsw vss ovs ovs2": "T=8100:0.5 8100:7"}),
    ("trunk0", "8100:20", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("tunnel", "", {"vsw vss ovs ovs2": "T=88a8:10 | A= | N= | X="}),
    (
        "tunnel",
        "8100:0",
        {
            "vsw vss": "T=88a8:10 8100:0 | A=8100:0 | N=8100:0 | X=8100:0",
            "ovs ovs2": "T=88a8:10 | A= | N= | X=",
        },
    ),
    (
        "tunnel",
        "8100:0.5",
        {
            "vsw vss": "T=88a8:10 8100:0.5 | A=8100:0.5 | N=8100:0.5 | X=8100:0.5",
            "ovs ovs2": "T=88a8:10 8100:0.5 | A= | N=8100:0.5 | X=8100:0.5",
        },
    ),
    (
        "tunnel",
        "8100:5.6d",
        {
            "vsw vss": "T=88a8:10 8100:5.6d | A=8100:5.6d | N=8100:5.6d | X=8100:5.6d",
            "ovs ovs2": "T=88a8:10 8100:5.6d | N=8100:5.6d | X=8100:5.6d",
        },
    ),
    ("tunnel", "8100:4095", {"vsw vss": "reserved_vid", "ovs ovs2": "T=88a8:10 8100:4095 | N=8100:4095 | X=8100:4095"}),
    (
        "tunnel",
        "88a8:20 8100:5",
        {
            "vsw vss": "T=88a8:10 88a8:20 8100:5 | A=88a8:20 8100:5 | N=88a8:20 8100:5 | X=88a8:20 8100:5",
            "ovs": "T=88a8:10 88a8:20 8100:5 | N=88a8:20 8100:5 | X=88a8:20 8100:5",
            "ovs2": "T=88a8:10 88a8:20 | N=88a8:20 | X=88a8:20",
        },
    ),
    # Only as long as the tags are equal from the inside on do they stay as they were read.
    ("tunnel", "88a8:10d 8100:5", {"ovs2": "T=88a8:10 88a8:10 | N=88a8:10 | X=88a8:10"}),
    ("tunnel", "8100:5d 8100:5", {"ovs2": "T=88a8:10 8100:5 | N=8100:5 | X=8100:5"}),
    ("tunnel", "8100:5 8100:5d", {"ovs2": "T=88a8:10 8100:5d | N=8100:5d | X=8100:5d"}),
    ("tunnel", "9100:5", {"vsw vss ovs ovs2": "T=88a8:10 9100:5 | A=9100:5 | N=9100:5 | X=9100:5"}),
    ("tunnel-c", "", {"vsw vss ovs ovs2": "T=88a8:10 | A= | N= | X="}),
    ("tunnel-c", "8100:5", {"vsw vss": "T=88a8:10 8100:5 | A=8100:5 | N=8100:5 | X=8100:5", "ovs ovs2": "T=88a8:10 8100:5 | N=8100:5 | X=8100:5"}),
    ("tunnel-c", "8100:6", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("tunnel-c", "8100:10", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
    ("tunnel-8100", "", {"vsw vss ovs ovs2": "T=8100:10 | A= | N= | X="}),
]
for native in ("native-tagged", "native-untagged"):  # they differ at egress only
    TABLE += [
        (native, "", {"vsw vss ovs ovs2": "T=8100:10 | A= | N= | X="}),
        (native, "8100:0", {"vsw vss ovs ovs2": "T=8100:10 | A= | N= | X="}),
        (native, "8100:0.5", {"vsw vss ovs ovs2": "T=8100:10.5 | A= | N= | X="}),
        (native, "8100:10", {"vsw vss ovs ovs2": "T=8100:10 | A= | N= | X="}),
        (native, "8100:20", {"vsw vss ovs ovs2": "T=8100:20 | N=8100:20"}),
        (native, "8100:99", {"vsw vss ovs ovs2": "vlan_not_allowed"}),
        (native, "8100:4095", {"vsw vss": "reserved_vid", "ovs ovs2": "vlan_not_allowed"}),
        (
            native,
            "8100:0 8100:5",
            {
                "vsw vss ovs": "T=8100:10 8100:5 | A=8100:5 | N=8100:5 | X=8100:5",
                "ovs2": "T=8100:10 8100:5 | N=8100:5 | X=8100:5",
            },
        ),
        (
            native,
            "88a8:10 8100:5",
            {
                "vsw ovs": "T=88a8:10 8100:5 | A=8100:5 | N=8100:5 | X=8100:5",
                "vss": "T=8100:10 88a8:10 8100:5 | A=88a8:10 8100:5 | N=88a8:10 8100:5 | X=88a8:10 8100:5",
                "ovs2": "T=88a8:10 8100:5 | N=8100:5 | X=8100:5",
            },
        ),
        (native, "9100:10", {"vsw": "T=9100:10 | A= | N= | X=", "vss ovs ovs2": "T=8100:10 9100:10 | A=9100:10 | N=9100:10 | X=9100:10"}),
    ]

#: The port that the copy leaves by, tags as received by a trunk of all VLANs, the tags of the copy for vsw, ovs, ovs2 (``-``: none).
EGRESS: list[tuple[str, Vlan, str, str, str, str]] = [
    ("access", access(10), "8100:10.3 8100:5", "8100:5", "8100:5", "-"),
    ("native-tagged", native_tagged(10, "10,20"), "8100:10", "8100:10", "8100:10", "8100:10"),
    ("native-tagged", native_tagged(10, "10,20"), "8100:20", "8100:20", "8100:20", "8100:20"),
    ("native-tagged", native_tagged(10, "10,20"), "", "-", "-", "-"),
    ("native-untagged", native_untagged(10, "10,20"), "8100:10.7", "", "", ""),
    ("native-untagged", native_untagged(10, "10,20"), "8100:20.7", "8100:20.7", "8100:20.7", "8100:20.7"),
    ("native-untagged", native_untagged(10, "10,20"), "8100:30", "-", "-", "-"),
    ("native-untagged 0", native_untagged(0, "0,10"), "", "", "", ""),
    ("native-untagged 0", native_untagged(0, "0,10"), "8100:0.5", "", "", ""),
    ("tunnel", tunnel(10, "5"), "8100:10 8100:5", "8100:5", "-", "8100:5"),
    ("tunnel", tunnel(10, "5"), "8100:10 8100:6", "8100:6", "-", "-"),
    ("tunnel", tunnel(10, "0"), "8100:10 8100:6", "8100:6", "8100:6", "-"),
    ("tunnel", tunnel(10), "8100:10 8100:6", "8100:6", "8100:6", "8100:6"),
    ("access 0", access(0), "", "", "", ""),
    ("access 0", access(0), "8100:0.5", "", "", ""),
    ("access 4095", access(4095), "88a8:4095", "reserved_vid", "", ""),
]

CASES = [
    pytest.param(dialect, MODES[mode], tags, expected, id=f"{dialect}-{mode}-{tags.replace(' ', '+') or 'untagged'}")
    for mode, tags, row in TABLE
    for dialects, expected in row.items()
    for dialect in dialects.split()
]
EGRESS_CASES = [
    pytest.param(dialect, out, tags, expected, id=f"{dialect}-{tags.replace(' ', '+') or 'untagged'}-to-{name}")
    for name, out, tags, *row in EGRESS
    for dialect, expected in zip(("vsw", "ovs", "ovs2"), row, strict=True)
]


def switch_settings(dialect: str) -> dict[str, int]:
    return {"vlan_limit": 2} if dialect == "ovs2" else {}


@pytest.mark.parametrize(("dialect", "vlan", "tags", "expected"), CASES)
def test_modes(dialect: str, vlan: Vlan, tags: str, expected: str) -> None:
    ports = [port(0, vlan), *(port(number, out) for number, out in OUT.values())]
    decision = once(module(dialect[:3], ports, **switch_settings(dialect)), frame(BROADCAST, 1, tags), 0)
    if "=" not in expected:
        assert decision.verdict == Verdict.DROPPED
        assert decision.reason.name.lower() == expected
        assert decision.vlan is None
        return
    copies = {OUT[name.strip()][0]: frame(BROADCAST, 1, sent) for name, _, sent in (part.partition("=") for part in expected.split("|"))}
    assert hexes({copy.port: copy.data for copy in decision.copies}) == hexes(copies)
    assert all(copy.length == len(copy.data) for copy in decision.copies)
    assert decision.filtered == ()


@pytest.mark.parametrize(("dialect", "vlan", "tags", "expected"), EGRESS_CASES)
def test_egress_of_modes(dialect: str, vlan: Vlan, tags: str, expected: str) -> None:
    ports = [port(0, trunk()), port(1, vlan)]
    decision = once(module(dialect[:3], ports, **switch_settings(dialect)), frame(BROADCAST, 1, tags), 0)
    if expected == "-" or expected.isidentifier():
        assert decision.reason.name.lower() == ("no_member" if expected == "-" else expected)
    else:
        assert hexes({copy.port: copy.data for copy in decision.copies}) == hexes({1: frame(BROADCAST, 1, expected)})


@pytest.mark.parametrize(("dialect", "expected"), [("vsw", ""), ("vss", ""), ("ovs", ""), ("ovs2", "")])
def test_vlan_0_of_an_access_port_leaves_a_trunk_untagged(dialect: str, expected: str) -> None:
    ports = [port(0, access(0)), port(1, trunk())]
    decision = once(module(dialect[:3], ports, **switch_settings(dialect)), frame(BROADCAST, 1), 0)
    assert hexes({copy.port: copy.data for copy in decision.copies}) == hexes({1: frame(BROADCAST, 1, expected)})


#: Dialect ovs: a unicast whose MAC is static on a port goes there without a look at that port's VLANs.
@pytest.mark.parametrize(
    ("vlan", "expected"),
    [(access(20), ""), (trunk("20"), "8100:10.2"), (native_untagged(20, "20"), "8100:10.2"), (tunnel(20, "7"), "")],
    ids=lambda value: value.mode if isinstance(value, Vlan) else None,
)
def test_ovs_known_unicast_leaves_by_a_port_that_is_not_in_the_vlan(vlan: Vlan, expected: str) -> None:
    made = module("ovs", [port(0, trunk()), port(1, vlan)], static=static((10, 2, 1)))
    decision = once(made, frame(2, 1, "8100:10.2"), 0)
    assert hexes({copy.port: copy.data for copy in decision.copies}) == hexes({1: frame(2, 1, expected)})


def test_ovs_compares_tags_from_the_inside() -> None:
    """DEI stays in tags that are left as they were: the outer one is rewritten, the inner one is not, and the other way round."""
    made = module("ovs", [port(0, native_tagged(10)), port(1, trunk())], vlan_limit=2)
    decision = once(made, frame(BROADCAST, 1, "8100:0.1d 8100:5.2d"), 0)
    assert hexes({copy.port: copy.data for copy in decision.copies}) == hexes({1: frame(BROADCAST, 1, "8100:10.1 8100:5.2d")})


def test_a_virtual_switch_reads_one_tag() -> None:
    made = module("vsw", [port(0, access(10)), port(1, trunk())], vlan_limit=2)
    assert once(made, frame(BROADCAST, 1, "8100:0 8100:5"), 0).copies[0].data == frame(BROADCAST, 1, "8100:10 8100:5")


def test_payload_is_left_alone() -> None:
    body = BODY + bytes(range(256)) * 4
    decision = once(module("vsw", [port(0, access(10)), port(1, trunk())]), frame(BROADCAST, 1, "", body), 0)
    assert decision.copies[0].data == frame(BROADCAST, 1, "8100:10", body)
