"""Rule 0: which port a frame of a capture came in by, when its tag and its source tell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.build import access, isolated, module, native_tagged, port, promiscuous, static, team, trunk, tunnel, uplink
from tests.golden.frames import BROADCAST, fate, frame, hexes, once, send
from vsw.reference.switch import ReferenceSwitch

PRIVATE = ((101, 100),)


def lab(**more: Any) -> Any:
    ports = [
        port(0, access(10), address=1, team=0, macs=(0x11,)),
        port(1, trunk("0,10,20"), address=2, team=0),
        port(2, trunk("10"), address=3, team=0),
        port(3, native_tagged(10, "10,20"), address=4, team=0),
        port(4, tunnel(30), address=5, team=0),
        port(5, tunnel(30, "7"), address=6, team=0),
        port(6, isolated(100, 101), address=7, team=0),
        port(7, promiscuous(100), address=8, team=0),
        port(8, access(20), address=9, effective_mac=0x29, team=0),
        uplink(20, team=0, up=more.pop("up", True)),
        uplink(21, team=0),
    ]
    entries = more.pop("entries", ())
    return module("vsw", ports, teams=(team("explicit", [20], [21]),), private=PRIVATE, static=static(*entries), **more)


#: source, tags, (port that it came in by, whether a tag was taken off first)
OWNERS: list[tuple[str | int, str, int, bool]] = [
    (1, "", 0, False),
    (1, "8100:0.3", 0, False),
    (1, "8100:10", 0, True),
    (1, "88a8:10", 0, True),
    (1, "8100:20", 20, False),
    (0x11, "8100:10", 0, True),
    (2, "", 1, False),
    (2, "8100:10", 1, False),
    (2, "8100:30", 20, False),
    (3, "", 20, False),  # a trunk without VLAN 0
    (3, "8100:10", 2, False),
    (4, "", 3, False),
    (4, "8100:10", 3, False),
    (4, "8100:20", 3, False),
    (4, "8100:30", 20, False),
    (5, "", 4, False),
    (5, "88a8:30", 4, True),
    (5, "8100:30 8100:5", 4, True),
    (5, "8100:5", 20, False),  # the customer's VID says nothing
    (6, "", 20, False),  # cvids without 0: it does not take untagged frames
    (6, "8100:30 8100:7", 5, True),
    (7, "", 6, False),
    (7, "8100:101", 6, True),
    (7, "8100:100", 20, False),
    (8, "8100:100", 7, True),
    (8, "8100:101", 20, False),
    (9, "8100:20", 20, False),  # configured, but its guest uses another
    (0x29, "8100:20", 8, True),
    (0x77, "", 20, False),
    (BROADCAST, "", 20, False),
    ("00:00:00:00:00:00", "", 20, False),
]


@pytest.mark.parametrize(("source", "tags", "port_in", "normalised"), OWNERS)
def test_owner(source: str | int, tags: str, port_in: int, normalised: bool) -> None:
    decision = once(lab(), frame(BROADCAST, source, tags), None, source_mac=True)
    assert (decision.port_in, decision.normalised) == (port_in, normalised)


#: static entry, source, tags, port
STATIC: list[tuple[tuple[int | None, int, int], str, int]] = [
    ((10, 0x50, 0), "8100:10", 0),
    ((10, 0x50, 0), "", 0),
    ((20, 0x50, 0), "8100:10", 20),  # an entry of another VLAN
    ((20, 0x50, 0), "", 20),
    ((None, 0x50, 0), "8100:10", 0),
    ((None, 0x50, 1), "8100:20", 1),
    ((20, 0x50, 1), "8100:20", 1),
    ((20, 0x50, 1), "8100:10", 20),
    ((20, 0x50, 1), "", 20),
    ((0, 0x50, 1), "", 1),
    ((10, 0x50, 3), "", 3),
    ((20, 0x50, 3), "", 20),
    ((100, 0x50, 6), "8100:101", 6),  # filed under the primary
    ((100, 0x50, 6), "", 6),
    ((101, 0x50, 6), "8100:101", 6),
    ((100, 0x50, 6), "8100:100", 20),
    ((10, 0x50, 21), "8100:10", 20),  # on an uplink: not owned
]


@pytest.mark.parametrize(("entry", "tags", "port_in"), STATIC)
def test_owner_by_static_entry(entry: tuple[int | None, int, int], tags: str, port_in: int) -> None:
    assert once(lab(entries=(entry,)), frame(BROADCAST, 0x50, tags), None, source_mac=True).port_in == port_in


def test_the_lowest_number_of_several_owners() -> None:
    entries = ((None, 0x50, 3), (10, 0x50, 1))
    assert once(lab(entries=entries), frame(BROADCAST, 0x50, "8100:10"), None, source_mac=True).port_in == 1
    assert once(lab(entries=entries), frame(BROADCAST, 0x50, ""), None, source_mac=True).port_in == 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(BROADCAST, 1)[:13], "malformed"),
        (frame(BROADCAST, 1, "8100:10")[:17], "malformed"),
        (b"", "malformed"),
    ],
)
def test_frames_that_cannot_be_read_came_from_outside(data: bytes, expected: str) -> None:
    decision = once(lab(), data, None, source_mac=True)
    assert (fate(decision), decision.port_in) == (expected, 20)


def test_the_first_usable_uplink() -> None:
    assert once(lab(up=False), frame(BROADCAST, 0x77), None, source_mac=True).port_in == 21
    switch = ReferenceSwitch(lab())
    switch.set_port(20, up=False)
    switch.set_port(21, up=False)
    decision = send(switch, frame(BROADCAST, 0x77), None, source_mac=True)
    assert (fate(decision), decision.port_in) == ("no_port", None)


def test_without_a_team_the_uplink_with_the_lowest_number() -> None:
    made = module("vsw", [uplink(9), uplink(4, up=False), uplink(5), port(0, access(10), address=1)])
    assert once(made, frame(BROADCAST, 0x77, "8100:10"), None, source_mac=True).port_in == 5
    alone = module("vsw", [port(0, access(10), address=1)])
    assert fate(once(alone, frame(BROADCAST, 0x77), None, source_mac=True)) == "no_port"


def test_the_given_port_is_not_looked_at() -> None:
    assert once(lab(), frame(BROADCAST, 1), 1, source_mac=True).port_in == 0


def test_a_normalised_frame_goes_on_as_if_it_had_come_in_without_its_tag() -> None:
    switch = ReferenceSwitch(lab())
    decision = send(switch, frame(2, 1, "88a8:10.5"), None, source_mac=True)
    assert decision.vlan == 10
    assert hexes({copy.port: copy.data for copy in decision.copies}) == hexes({20: frame(2, 1, "8100:10")})  # no static entry for 2 here
    assert (switch.counters.rx_bytes[0], switch.counters.normalised, decision.copies[0].length) == (60, 1, 64)


def test_a_normalised_frame_may_turn_out_to_be_unreadable() -> None:
    data = frame(BROADCAST, 1, "8100:10 8100:5")[:18]  # behind the tag that is taken off another one begins, cut
    decision = once(lab(), data, None, source_mac=True)
    assert (fate(decision), decision.port_in, decision.normalised) == ("malformed", 0, True)


def test_a_down_owner_is_still_the_owner() -> None:
    switch = ReferenceSwitch(lab())
    switch.set_port(0, up=False)
    assert fate(send(switch, frame(BROADCAST, 1), None, source_mac=True)) == "port_down"
