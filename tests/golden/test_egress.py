"""Section 14: what holds a copy back, priority tags, padding, MTU; frames of which the capture has only the beginning."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.build import access, module, native_untagged, port, static, team, trunk, tunnel, uplink
from tests.golden.frames import BODY, BROADCAST, fate, frame, hexes, once, send
from vsw.config.dialects import Security
from vsw.config.module import PriorityTags, Vlan
from vsw.reference.switch import ReferenceSwitch

#: id, settings of port 1, of port 2 (both access 10 like port 0), destination, what becomes of it
HELD: list[tuple[str, dict[str, Any], dict[str, Any], str | int, str]] = [
    ("nothing", {}, {}, BROADCAST, "1 2"),
    ("one is down", {"up": False}, {}, BROADCAST, "2 not 1:port_down"),
    ("both are down: the lowest number's reason", {"protected": True}, {"up": False}, BROADCAST, "protected not 1:protected 2:port_down"),
    ("down goes before protected", {"protected": True, "up": False}, {}, 1, "port_down not 1:port_down"),
    ("protected", {"protected": True}, {}, BROADCAST, "2 not 1:protected"),
    ("protected, unicast", {"protected": True}, {}, 1, "protected not 1:protected"),
    ("MAC changed", {"effective_mac": 0x31, "security": Security(False, False, True)}, {}, BROADCAST, "2 not 1:mac_changed"),
    ("MAC changed and accepted", {"effective_mac": 0x31, "security": Security(False, True, True)}, {}, BROADCAST, "1 2"),
    ("MAC not changed", {"security": Security(False, False, True)}, {}, BROADCAST, "1 2"),
    ("no MAC to change", {"address": None, "security": Security(False, False, True)}, {}, BROADCAST, "1 2"),
    ("MTU", {"mtu": 45}, {"mtu": 46}, BROADCAST, "2 not 1:too_long"),
    ("MTU of both", {"mtu": 45}, {"mtu": 44}, BROADCAST, "too_long not 1:too_long 2:too_long"),
]


@pytest.mark.parametrize("dialect", ["vsw", "vss", "ovs"])
@pytest.mark.parametrize(("one", "two", "destination", "expected"), [row[1:] for row in HELD], ids=[row[0] for row in HELD])
def test_copies_held_back(dialect: str, one: dict[str, Any], two: dict[str, Any], destination: str | int, expected: str) -> None:
    ports = [port(0, access(10), protected=True), port(1, access(10), **{"address": 1, **one}), port(2, access(10), address=2, **two)]
    made = module(dialect, ports, static=static((10, 1, 1), (10, 2, 2)))
    assert fate(once(made, frame(destination, 0x50), 0)) == expected


def test_only_protected_to_protected_is_held_back() -> None:
    ports = [port(0, access(10)), port(1, access(10), protected=True)]
    assert fate(once(module("vsw", ports), frame(BROADCAST, 1), 0)) == "1"
    assert fate(once(module("vsw", ports), frame(BROADCAST, 1), 1)) == "0"


#: ingress mode, tags as received, egress mode, {(dialects, settings of priority_tags): tags of the copy}
PRIORITY: list[tuple[Vlan, str, Vlan, dict[tuple[str, str], str]]] = [
    (access(10), "", access(10), {("vsw ovs ovs2", "if-nonzero"): "", ("vsw ovs ovs2", "always"): ""}),
    (access(10), "8100:0", access(10), {("vsw ovs ovs2", "if-nonzero"): "", ("vsw ovs ovs2", "always"): ""}),
    (access(10), "8100:0.5", access(10), {("vsw ovs ovs2", "no"): "", ("vsw ovs ovs2", "if-nonzero always"): "8100:0.5"}),
    (trunk(), "8100:10.5", access(10), {("vsw ovs ovs2", "if-nonzero"): "8100:0.5", ("vsw ovs ovs2", "no"): ""}),
    (trunk(), "88a8:10.5", access(10), {("vsw ovs ovs2", "always"): "8100:0.5"}),
    (trunk(), "8100:10.5", native_untagged(10), {("vsw ovs ovs2", "always"): "8100:0.5"}),
    (trunk(), "8100:10.5", trunk(), {("vsw ovs ovs2", "if-nonzero"): "8100:10.5"}),
    (trunk(), "8100:0", trunk(), {("vsw", "no always"): "8100:0", ("ovs ovs2", "no if-nonzero"): "", ("ovs ovs2", "always"): "8100:0"}),
    (trunk(), "", trunk(), {("vsw ovs ovs2", "always"): ""}),
    # The tunnel's new tag has PCP 0, unless the port that the copy leaves by asks for the priority as received.
    (tunnel(10), "8100:5.6", trunk(), {("vsw ovs ovs2", "no"): "88a8:10 8100:5.6", ("vsw ovs ovs2", "if-nonzero"): "88a8:10.6 8100:5.6"}),
    (tunnel(10), "8100:5.6", tunnel(10), {("vsw", "no"): "8100:5.6", ("vsw", "always"): "8100:0.6 8100:5.6", ("ovs ovs2", "no always"): "8100:5.6"}),
    # Out of a tunnel the outer PCP overwrites the customer's, where the customer's tag was read (ovs2); else a tag comes before it.
    (trunk(), "8100:10.5 8100:7.2", tunnel(10), {("vsw ovs", "always"): "8100:0.5 8100:7.2", ("ovs2", "always"): "8100:7.5"}),
    (trunk(), "8100:10 8100:7.2", tunnel(10), {("vsw ovs", "always"): "8100:7.2", ("ovs2", "always"): "8100:7"}),
    # DEI: kept by a virtual switch where the tag stays; by Open vSwitch only in a tag that is not rewritten.
    (trunk(), "8100:10.5d", trunk(), {("vsw ovs ovs2", "if-nonzero"): "8100:10.5d"}),
    (tunnel(10), "8100:5.6d", trunk(), {("vsw ovs ovs2", "always"): "88a8:10.6 8100:5.6d"}),
]  # fmt: skip
PRIORITY_CASES = [
    pytest.param(dialect, mode, vlan_in, tags, vlan_out, expected, id=f"{dialect}-{vlan_in.mode}-{tags.replace(' ', '+')}-{vlan_out.mode}-{mode}")
    for vlan_in, tags, vlan_out, row in PRIORITY
    for (dialects, modes), expected in row.items()
    for dialect in dialects.split()
    for mode in modes.split()
]


@pytest.mark.parametrize(("dialect", "mode", "vlan_in", "tags", "vlan_out", "expected"), PRIORITY_CASES)
def test_priority_tags(dialect: str, mode: PriorityTags, vlan_in: Vlan, tags: str, vlan_out: Vlan, expected: str) -> None:
    more = {"vlan_limit": 2} if dialect == "ovs2" else {}
    made = module(dialect[:3], [port(0, vlan_in), port(1, vlan_out, priority_tags=mode)], static=static((10, 2, 1), (0, 2, 1)), **more)
    decision = once(made, frame(2, 1, tags), 0)
    assert hexes({copy.port: copy.data for copy in decision.copies}) == hexes({1: frame(2, 1, expected)})


#: id, mode of the egress port, tags as received, bytes of the frame, bytes captured, length of the copy, bytes of the copy
PAD = [
    ("64 to 60", access(10), "8100:10", 64, 64, 60, 60),
    ("63 would be 59", access(10), "8100:10", 63, 63, 60, 60),
    ("18 would be 14", access(10), "8100:10", 18, 18, 60, 60),
    ("65 to 61", access(10), "8100:10", 65, 65, 61, 61),
    ("a tag stays", trunk(), "8100:10", 30, 30, 30, 30),
    ("cut by the capture", access(10), "8100:10", 63, 40, 59, 36),
]


@pytest.mark.parametrize(("vlan", "tags", "length", "captured", "sent", "bytes_sent"), [row[1:] for row in PAD], ids=[row[0] for row in PAD])
def test_padding(vlan: Vlan, tags: str, length: int, captured: int, sent: int, bytes_sent: int) -> None:
    data = frame(BROADCAST, 1, tags, BODY + bytes(100))[:captured]
    for pad in (True, False):
        copy = once(module("vsw", [port(0, trunk()), port(1, vlan)], pad=pad), data, 0, length).copies[0]
        unpadded = length - (4 if vlan.mode == "access" else 0)
        assert copy.length == (sent if pad else unpadded)
        assert len(copy.data) == (bytes_sent if pad else captured - (4 if vlan.mode == "access" else 0))
        assert copy.data[len(data) - 4 :].strip(b"\0") == b"" or vlan.mode == "trunk" or length >= 60


def test_padding_only_where_tags_were_removed_on_balance() -> None:
    short = frame(BROADCAST, 1, "", BODY[:20])
    assert once(module("vsw", [port(0, access(10)), port(1, access(10))], pad=True), short, 0).copies[0].length == len(short)
    ovs = module("ovs", [port(0, tunnel(10)), port(1, tunnel(10))], pad=True)
    tagged = frame(BROADCAST, 1, "8100:5", BODY[:20])
    assert once(ovs, tagged, 0).copies[0].length == len(tagged)
    priority = frame(BROADCAST, 1, "8100:0", BODY[:20])  # the customer's 0/0 tag is lost
    assert once(ovs, priority, 0).copies[0].length == 60


def test_length_counts_tags_not_captured_bytes() -> None:
    """Snap length 20 of a frame of 1,000 bytes: the copy has what was captured, and is 1,004 bytes long on the wire."""
    switch = ReferenceSwitch(module("vsw", [port(0, access(10)), port(1, trunk())]))
    data = frame(BROADCAST, 1)[:20]
    copy = send(switch, data, 0, length=1000).copies[0]
    assert (copy.length, copy.data) == (1004, data[:12] + b"\x81\x00\x00\x0a" + data[12:])
    assert (switch.counters.rx_bytes[0], switch.counters.tx_bytes[1]) == (1000, 1004)


@pytest.mark.parametrize("captured", range(65))
def test_a_frame_cut_at_any_byte(captured: int) -> None:
    made = module("vsw", [port(0, trunk()), port(1, trunk())])
    data = frame(BROADCAST, 1, "8100:10")[:captured]
    decision = once(made, data, 0, 64)
    if captured < 18:
        assert fate(decision) == "cut_by_capture"
    else:
        assert decision.copies == ((1, data, 64),)


#: id, ingress mode, egress MTU, tags as received, bytes after the tags' type, fits
MTU = [
    ("untagged copy", access(10), access(10), 100, "", 100, True),
    ("untagged copy", access(10), access(10), 100, "", 101, False),
    ("a tag is added", access(10), trunk(), 100, "", 100, True),
    ("a tag is added", access(10), trunk(), 100, "", 101, False),
    ("a tag is removed", trunk(), access(10), 100, "8100:10", 100, True),
    ("a tag is removed", trunk(), access(10), 100, "8100:10", 101, False),
    ("a tunnel's tag and the customer's", tunnel(10), trunk(), 100, "8100:5", 100, True),
    ("a tunnel's tag and the customer's", tunnel(10), trunk(), 100, "8100:5", 101, False),
    ("a tunnel's tag and two of the customer's: two count", tunnel(10), trunk(), 100, "8100:5 8100:6", 96, True),
    ("a tunnel's tag and two of the customer's: two count", tunnel(10), trunk(), 100, "8100:5 8100:6", 97, False),
    ("a tag behind the one removed counts", trunk(), access(10), 100, "8100:10 8100:6", 100, True),
    ("a tag behind the one removed counts", trunk(), access(10), 100, "8100:10 8100:6", 101, False),
]


MTU_IDS = [f"{row[0]}: {row[5]}" for row in MTU]


@pytest.mark.parametrize(("vlan_in", "vlan_out", "mtu", "tags", "payload", "fits"), [row[1:] for row in MTU], ids=MTU_IDS)
def test_mtu_at_egress(vlan_in: Vlan, vlan_out: Vlan, mtu: int, tags: str, payload: int, fits: bool) -> None:
    made = module("vsw", [port(0, vlan_in), port(1, vlan_out, mtu=mtu)])
    assert fate(once(made, frame(BROADCAST, 1, tags, b"\x08\x06" + bytes(payload)), 0)) == ("1" if fits else "too_long not 1:too_long")


def test_a_tag_that_the_switch_writes_counts_though_the_dialect_does_not_recognise_it() -> None:
    made = module("vss", [port(0, tunnel(10)), port(1, trunk(), mtu=100)])
    assert fate(once(made, frame(BROADCAST, 1, "", b"\x08\x06" + bytes(100)), 0)) == "1"


def test_counters() -> None:
    ports = [port(0, access(10), team=0), port(1, access(10), team=0, up=False), port(2, access(10), team=0), uplink(8, team=0)]
    switch = ReferenceSwitch(module("vsw", ports, teams=(team("explicit", [8]),)))
    for data, port_in, time in (
        (frame(BROADCAST, 1), 0, 5),  # to 2 and 8; 1 is down
        (frame(1, 0x77, "8100:10"), 8, 4),  # unknown from the uplink; earlier than the clock
        (frame(2, 1)[:10], 2, 6),  # malformed
        (frame(2, 1), None, 7),  # no port
    ):
        send(switch, data, port_in, time)
    count = switch.counters
    assert (count.offered, count.delivered, count.consumed, sum(count.dropped)) == (4, 1, 0, 3)
    assert (count.copies_selected, count.copies_out) == (3, 2)
    assert (count.time_backwards, switch.clock, count.normalised) == (1, 7, 0)
    assert (count.rx_frames[0], count.rx_frames[2], count.rx_frames[8]) == (1, 1, 1)
    assert (count.rx_bytes[0], count.rx_bytes[2], count.rx_bytes[8]) == (60, 10, 64)
    assert (count.tx_frames[2], count.tx_bytes[2], count.tx_bytes[8], count.tx_frames[1]) == (1, 60, 64, 0)
    found = {(number, reason) for number, row in enumerate(count.port_dropped) for reason, times in enumerate(row) if times}
    assert found == {(8, 14), (2, 3)}  # unknown_unicast, malformed
    assert [(number, reason) for number, row in enumerate(count.port_filtered) for reason, times in enumerate(row) if times] == [(1, 2)]


def test_a_frame_whose_copies_were_all_held_back_counts_on_both_ports() -> None:
    switch = ReferenceSwitch(module("vsw", [port(0, access(10)), port(1, access(10), up=False)]))
    send(switch, frame(BROADCAST, 1), 0)
    assert switch.counters.port_dropped[0][2] == switch.counters.port_filtered[1][2] == switch.counters.dropped[2] == 1
    assert sum(switch.counters.port_dropped[1]) == 0
