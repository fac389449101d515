"""Which member a team picks: lists, standby, buckets, failback; and what members take in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.build import access, mac, module, port, static, team, trunk, uplink
from tests.golden.frames import BROADCAST, fate, frame, once, send
from vsw.config.module import Team
from vsw.reference.switch import ReferenceSwitch
from vsw.reference.team import TeamState


def state(made: Team, down: str = "") -> TeamState:
    gone = {int(word) for word in down.split()}
    return TeamState(made, {number: number not in gone for number in (*made.active, *made.standby, *made.unused)})


#: policy, assignment, active, standby, members that are down, {hash: pick}
PICKS: list[tuple[str, str, list[int], list[int], str, dict[int, int | None]]] = [
    ("src-mac", "modulo", [1, 2, 3], [], "", {0: 1, 1: 2, 2: 3, 3: 1, 0xFFFFFFFF: 1}),
    ("src-mac", "modulo", [3, 1, 2], [], "", {0: 3, 1: 1, 2: 2}),  # configured order, not that of the numbers
    ("src-mac", "modulo", [1, 2, 3], [], "2", {0: 1, 1: 3, 2: 1}),
    ("src-mac", "modulo", [1, 2, 3], [4], "1", {0: 2, 1: 3, 2: 4}),  # the standby is the last of the usable ones
    ("src-mac", "modulo", [1, 2, 3], [4], "", {3: 1}),  # a standby that replaces nobody is not used
    ("src-mac", "modulo", [1, 2], [3, 4], "1", {0: 2, 1: 3, 2: 2}),
    ("src-mac", "modulo", [1, 2], [3, 4], "1 3", {0: 2, 1: 4}),
    ("src-mac", "modulo", [1, 2], [3], "1 2 3", {0: None}),
    ("src-mac", "buckets", [1, 2, 3], [], "", {0: 1, 1: 2, 2: 3, 255: 1, 256: 1, 257: 2}),  # 255 mod 3 = 0; the low 8 bits count
    ("src-mac", "buckets", [1, 2, 3], [4], "2", {0: 1, 1: 4, 2: 3, 4: 4}),  # only the lost member's buckets move
    ("src-mac", "buckets", [1, 2, 3], [], "2", {0: 1, 2: 3, 1: 1, 4: 3, 7: 1}),  # 1//3, 4//3, 7//3 over [1, 3]
    ("src-mac", "buckets", [1, 2, 3], [4], "1 2", {0: 4, 3: 4, 1: 3, 4: 4, 2: 3}),  # 4 replaces 1; 2's share out over [3, 4]
    ("src-mac", "buckets", [1, 2], [3, 4], "1 2 3", {0: 4, 1: 4}),
    ("src-mac", "buckets", [1, 2], [3], "1 2 3", {0: None, 1: None}),
    ("explicit", "buckets", [2, 1], [3], "", {0: 2, 1: 2}),
    ("explicit", "modulo", [2, 1], [3], "2", {0: 1, 1: 1}),
    ("explicit", "modulo", [2, 1], [4, 3], "2 1", {0: 4}),
    ("explicit", "modulo", [2, 1], [4, 3], "2 1 4", {0: 3}),
    ("explicit", "modulo", [2, 1], [4, 3], "1 2 3 4", {0: None}),
]


@pytest.mark.parametrize(("policy", "assignment", "active", "standby", "down", "picks"), PICKS)
def test_picks(policy: str, assignment: str, active: list[int], standby: list[int], down: str, picks: dict[int, int | None]) -> None:
    made = state(team(policy, active, standby, assignment=assignment), down)
    assert {value: made.pick(value) for value in picks} == picks


#: failback, active, standby, events ("-1" down, "+1" up), the two lists afterwards
EVENTS: list[tuple[bool, list[int], list[int], str, list[int], list[int]]] = [
    (True, [1, 2], [3], "-1 +1", [1, 2], [3]),
    (False, [1, 2], [3], "-1", [1, 2], [3]),  # going down changes no list
    (False, [1, 2], [3], "-1 +1", [3, 2], [1]),  # the standby keeps the place
    (False, [1, 2], [3], "-2 +2", [1, 3], [2]),
    (False, [1, 2], [3], "-1 +1 -3", [3, 2], [1]),
    (False, [1, 2], [3], "-1 +1 -3 +3", [1, 2], [3]),
    (False, [1, 2], [], "-1 +1", [2], [1]),  # nobody replaced it: closed up
    (False, [1, 2], [], "-1 -2 +1", [1, 2], []),  # nobody was usable: it has its place back
    (False, [1, 2], [], "-1 -2 +1 +2", [1], [2]),
    (False, [1, 2], [3, 4], "-3 -1 +3", [1, 2], [4, 3]),  # a standby too queues at the end, and does not oust 4
    (False, [1, 2], [3, 4], "-1 -2 +2", [1, 4], [3, 2]),
    (False, [1, 2], [3, 4], "-1 -2 +2 +1", [3, 4], [2, 1]),
    (False, [1, 2, 3], [4], "-1 -2 +2", [1, 3], [4, 2]),  # 4 replaces 1, so that 2's place is closed up
]


@pytest.mark.parametrize(("failback", "active", "standby", "events", "active_then", "standby_then"), EVENTS)
def test_events(failback: bool, active: list[int], standby: list[int], events: str, active_then: list[int], standby_then: list[int]) -> None:
    made = team("src-mac", active, standby, failback=failback)
    switch = ReferenceSwitch(module("vsw", [uplink(number, team=0) for number in (*active, *standby)], teams=(made,)))
    for event in events.split():
        switch.set_port(int(event[1:]), event[0] == "+")
    assert (switch._teams[0].active, switch._teams[0].standby) == (active_then, standby_then)


def test_a_second_event_up_changes_nothing() -> None:
    made = team("src-mac", [1, 2], [3], failback=False)
    switch = ReferenceSwitch(module("vsw", [uplink(1, team=0), uplink(2, team=0), uplink(3, team=0)], teams=(made,)))
    switch.set_port(1, up=True)
    assert switch._teams[0].active == [1, 2]


def test_a_port_that_starts_down_keeps_its_place() -> None:
    made = team("src-mac", [1, 2], [3], failback=False)
    ports = [port(0, access(10), team=0), uplink(1, team=0, up=False), uplink(2, team=0), uplink(3, team=0)]
    assert fate(once(module("vsw", ports, teams=(made,)), frame(0x99, 2), 0)) == "2"  # hash 2 over usable [2, 3]
    assert fate(once(module("vsw", ports, teams=(made,)), frame(0x99, 3), 0)) == "3"


@pytest.mark.parametrize(("number", "expected"), [(4, "2"), (5, "3"), (6, "2"), (301, "3")])
def test_port_id_is_the_number_of_the_port(number: int, expected: str) -> None:
    ports = [port(number, access(10), team=0), uplink(2, team=0), uplink(3, team=0)]
    assert fate(once(module("vsw", ports, teams=(team("port-id", [2, 3]),)), frame(0x99, 1), number)) == expected


def test_a_port_may_have_a_team_of_its_own() -> None:
    teams = (team("explicit", [2, 3]), team("explicit", [3, 2]))
    ports = [port(0, access(10), team=0), port(1, access(10), team=1), uplink(2, team=0), uplink(3, team=0)]
    assert fate(once(module("vsw", ports, teams=teams), frame(0x99, 1), 0)) == "2"
    assert fate(once(module("vsw", ports, teams=teams), frame(0x99, 1), 1)) == "3"
    assert fate(once(module("vsw", ports, teams=teams), frame(BROADCAST, 1), 1)) == "0 3"


def designated(policy: str, uplink_in: int, **more: Any) -> str:
    """A broadcast that comes in by one of two uplinks (1, 2), to vNIC 5 with the address 02:..:08."""
    ports = [uplink(1, team=0), uplink(2, team=0), port(5, access(10), address=8, team=0)]
    return fate(once(module(more.pop("dialect", "vsw"), ports, teams=(team(policy, [1, 2], **more),)), frame(BROADCAST, 0x77, "8100:10"), uplink_in))


@pytest.mark.parametrize(
    ("policy", "by_1", "by_2"),
    [
        ("port-id", "not_designated not 5:not_designated", "5"),  # 5 mod 2 = 1
        ("src-mac", "5", "not_designated not 5:not_designated"),  # 8 mod 2 = 0
        ("explicit", "5", "not_designated not 5:not_designated"),
        ("ip-hash", "5", "5"),
        ("layer2", "5", "5"),
        ("layer3+4", "5", "5"),
    ],
)
@pytest.mark.parametrize("dialect", ["vsw", "vss"])
def test_designated_uplink(dialect: str, policy: str, by_1: str, by_2: str) -> None:
    assert (designated(policy, 1, dialect=dialect), designated(policy, 2, dialect=dialect)) == (by_1, by_2)
    assert (designated(policy, 1, dialect=dialect, lacp=True), designated(policy, 2, dialect=dialect, lacp=True)) == ("5", "5")


def test_unicast_is_taken_from_any_uplink() -> None:
    ports = [uplink(1, team=0), uplink(2, team=0), port(5, access(10), address=8, team=0)]
    for number in (1, 2):
        assert fate(once(module("vsw", ports, teams=(team("port-id", [1, 2]),)), frame(8, 0x77, "8100:10"), number)) == "5"


def plain(policy: str, **more: Any) -> Any:
    """A plain switch: port 0, and a bond of ports 1 and 2 (3 stands by); 02:..:99 is known on port 2."""
    ports = [port(0, trunk()), uplink(1, team=0), uplink(2, team=0), uplink(3, team=0)]
    return module("ovs", ports, teams=(team(policy, [1, 2], [3], **more),), static=static((10, 0x99, 2), (10, 0x98, 0)))


#: policy, LACP, destination, source, ingress port, what becomes of it
BOND = [
    ("src-mac", False, 0x99, 2, 0, "1"),  # known on member 2, yet the team picks
    ("src-mac", False, 0x99, 3, 0, "2"),
    ("src-mac", False, BROADCAST, 3, 0, "2"),
    ("src-mac", False, 0x50, 3, 0, "2"),
    ("src-mac", False, 0x99, 3, 1, "same_port"),  # from a member of the same team
    ("src-mac", False, BROADCAST, 3, 1, "0"),
    ("src-mac", False, BROADCAST, 3, 2, "not_designated"),  # only the first usable member takes groups in
    ("src-mac", True, BROADCAST, 3, 2, "0"),
    ("src-mac", False, 0x98, 3, 2, "0"),
    ("src-mac", False, 0x98, 3, 3, "0"),
    ("src-mac", False, BROADCAST, 3, 3, "not_designated"),
    ("explicit", False, 0x98, 3, 1, "0"),
    ("explicit", False, 0x98, 3, 2, "not_designated"),
    ("explicit", True, 0x98, 3, 2, "not_designated"),
    ("explicit", False, BROADCAST, 3, 0, "1"),
    ("src-mac", False, 0x50, 3, 1, "0"),  # unknown, from a member: no member gets it
]


@pytest.mark.parametrize(("policy", "lacp", "destination", "source", "port_in", "expected"), BOND)
def test_a_team_counts_as_one_port_in_a_plain_switch(
    policy: str, lacp: bool, destination: str | int, source: int, port_in: int, expected: str
) -> None:
    assert fate(once(plain(policy, lacp=lacp), frame(destination, source, "8100:10"), port_in)) == expected


@pytest.mark.parametrize(("port_in", "expected"), [(0, "1 4"), (1, "0 4"), (2, "0 4"), (4, "0 1"), (5, "0 2")])
def test_two_bonds_are_two_ports(port_in: int, expected: str) -> None:
    ports = [port(0, trunk()), *(uplink(number, team=number // 3) for number in (1, 2, 4, 5))]
    teams = (team("port-id", [1, 2], lacp=True, assignment="buckets"), team("src-mac", [4, 5], lacp=True))
    made = module("ovs", ports, teams=teams)
    assert fate(once(made, frame(BROADCAST, 2, "8100:10"), port_in)) == expected


def test_no_usable_member() -> None:
    switch = ReferenceSwitch(plain("src-mac"))
    for number in (1, 2, 3):
        switch.set_port(number, up=False)
    assert fate(send(switch, frame(0x99, 2, "8100:10"), 0)) == "no_uplink"
    assert fate(send(switch, frame(BROADCAST, 2, "8100:10"), 0)) == "no_member"
    ports = [port(0, access(10), team=0), uplink(1, team=0, up=False)]
    assert fate(once(module("vsw", ports, teams=(team("src-mac", [1]),)), frame(0x99, 1), 0)) == "no_uplink"
    assert fate(once(module("vsw", ports, teams=(team("src-mac", [1]),)), frame(BROADCAST, 1), 0)) == "no_member"


def test_narration_tells_why_a_member_was_picked() -> None:
    names = {1: "vmnic0", 2: "vmnic1", 3: "vmnic2"}
    assert state(team("src-mac", [1, 2])).why(0xF4, names) == "0xf4 mod 2 usable (vmnic0, vmnic1) = 0: vmnic0"
    buckets = team("src-mac", [1, 2], [3], assignment="buckets")
    assert state(buckets).why(0x97, names) == "bucket 151 of 0x97 belongs to vmnic1 (151 mod 2 actives), which is up"
    assert state(buckets, "2").why(0x97, names).endswith("which is down; standby vmnic2 replaces it")
    assert state(buckets, "2 3").why(0x97, names).endswith("which is down; 75 mod 1 usable (vmnic0): vmnic0")
    assert mac(1) == 0x020000000001
