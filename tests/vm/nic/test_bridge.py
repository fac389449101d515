"""A card's embedded bridge: a golden table for VEB and one for VEPA, and the two against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from vsw.vm.nic.bridge import WIRE, AdjacentBridge, EmbeddedBridge, Function, Mode

A, B, C, D, OUT, NOBODY = 0x525400000001, 0x525400000002, 0x525400000003, 0x525400000004, 0x020000000099, 0x020000000098
BROADCAST, GROUP = 0xFFFFFFFFFFFF, 0x01005E000001
# a and b without a VLAN, c and d in VLAN 10.
FUNCTIONS = (Function("a", A), Function("b", B), Function("c", C, vid=10), Function("d", D, vid=10))


def frame(to: int, source: int, vid: int | None = None) -> bytes:
    tag = b"" if vid is None else b"\x81\0" + vid.to_bytes(2, "big")
    return to.to_bytes(6, "big") + source.to_bytes(6, "big") + tag + b"\x08\0" + bytes(46)


# (who sends, the frame that it sends, who gets it and with which VID in a tag, or why nobody)
VEB = [
    ("unicast to another function stays in the card", "a", (B, A, None), [("b", None)]),
    ("unicast to itself", "a", (A, A, None), "same_port"),
    ("unicast to a function of another VLAN is outside", "a", (C, A, None), [(WIRE, None)]),
    ("unicast to an unknown address is outside", "a", (OUT, A, None), [(WIRE, None)]),
    ("broadcast", "a", (BROADCAST, A, None), [("b", None), (WIRE, None)]),
    ("multicast in a VLAN: a tag on the wire, none inside", "c", (GROUP, C, None), [("d", None), (WIRE, 10)]),
    ("unicast in a VLAN", "c", (D, C, None), [("d", None)]),
    ("unicast out of a VLAN", "c", (OUT, C, None), [(WIRE, 10)]),
    ("a forged source", "a", (B, C, None), "forged_source"),
    ("a tag where the card inserts one", "c", (D, C, 20), "vlan_not_allowed"),
    ("a tag where it does not", "a", (OUT, A, 20), [(WIRE, 20)]),
    ("from the wire to a function", WIRE, (A, OUT, None), [("a", None)]),
    ("from the wire to a function in its VLAN: the tag is stripped", WIRE, (C, OUT, 10), [("c", None)]),
    ("from the wire to a function in another VLAN", WIRE, (C, OUT, 20), "unknown_unicast"),
    ("from the wire to nobody", WIRE, (NOBODY, OUT, None), "unknown_unicast"),
    ("broadcast from the wire", WIRE, (BROADCAST, OUT, None), [("a", None), ("b", None)]),
    ("broadcast from the wire in a VLAN", WIRE, (BROADCAST, OUT, 10), [("c", None), ("d", None)]),
    ("broadcast from the wire in a VLAN of nobody", WIRE, (BROADCAST, OUT, 20), "no_member"),
    ("its own broadcast comes back: a loop", WIRE, (BROADCAST, A, None), "deja_vu"),
]
VEPA = [
    ("unicast to another function goes to the wire", "a", (B, A, None), [(WIRE, None)]),
    ("unicast to itself as well", "a", (A, A, None), [(WIRE, None)]),
    ("unicast outside", "a", (OUT, A, None), [(WIRE, None)]),
    ("broadcast goes to the wire, and nowhere else", "a", (BROADCAST, A, None), [(WIRE, None)]),
    ("multicast in a VLAN", "c", (GROUP, C, None), [(WIRE, 10)]),
    ("a forged source", "a", (B, C, None), "forged_source"),
    ("unicast reflected", WIRE, (B, A, None), [("b", None)]),
    ("unicast reflected in a VLAN", WIRE, (D, C, 10), [("d", None)]),
    ("broadcast reflected: not to its source", WIRE, (BROADCAST, A, None), [("b", None)]),
    ("multicast reflected in a VLAN: not to its source", WIRE, (GROUP, D, 10), [("c", None)]),
    ("broadcast from outside", WIRE, (BROADCAST, OUT, None), [("a", None), ("b", None)]),
    ("the source's address in another VLAN is another station's", WIRE, (BROADCAST, A, 10), [("c", None), ("d", None)]),
    ("to nobody", WIRE, (NOBODY, OUT, None), "unknown_unicast"),
    ("in a VLAN of nobody", WIRE, (BROADCAST, OUT, 20), "no_member"),
]


@pytest.mark.parametrize(
    ("mode", "sender", "sent", "expected"),
    [pytest.param("veb", *row[1:], id=f"VEB {row[0]}") for row in VEB] + [pytest.param("vepa", *row[1:], id=f"VEPA {row[0]}") for row in VEPA],
)
def test_golden(mode: Mode, sender: str, sent: tuple[int, int, int | None], expected: list[tuple[str, int | None]] | str) -> None:
    bridge = EmbeddedBridge(mode, FUNCTIONS)
    copies = bridge.from_wire(frame(*sent)) if sender == WIRE else bridge.from_function(sender, frame(*sent))
    if isinstance(expected, str):
        assert (copies, bridge.drops) == ([], {expected: 1})
    else:
        assert [(copy.to, copy.frame) for copy in copies] == [(to, frame(sent[0], sent[1], vid)) for to, vid in expected]
        assert bridge.drops == {}


@pytest.mark.parametrize("mode", ["veb", "vepa"])
@pytest.mark.parametrize("size", [0, 11, 13])
def test_too_short_for_addresses(mode: Mode, size: int) -> None:
    bridge = EmbeddedBridge(mode, FUNCTIONS)
    assert bridge.from_wire(bytes(size)) == bridge.from_function("a", bytes(size)) == []
    assert bridge.drops == {"malformed": 2}


def test_a_bridge_without_reflective_relay_sends_nothing_back() -> None:
    plain, relay = AdjacentBridge(["card", "rack"]), AdjacentBridge(["card", "rack"], reflective=["card"])
    for bridge, back in ((plain, []), (relay, ["card"])):
        assert bridge.forward("card", frame(BROADCAST, A)) == [*back, "rack"]
        assert bridge.forward("card", frame(BROADCAST, B)) == [*back, "rack"]
        assert bridge.forward("card", frame(A, B)) == back
        assert bridge.forward("rack", frame(A, OUT)) == ["card"]
        assert bridge.forward("rack", frame(OUT, OUT)) == []
        assert bridge.forward("card", b"") == []


def deliver(mode: Mode, sent: list[tuple[str, bytes]]) -> list[tuple[int, str]]:
    """(Number of the frame, who got it), for frames that functions or the rack send; the card's port reflects in VEPA mode."""
    card = EmbeddedBridge(mode, FUNCTIONS)
    adjacent = AdjacentBridge(["card", "rack"], reflective=["card"] if mode == "vepa" else [])
    found = []
    for number, (sender, data) in enumerate(sent):
        out = [(copy.to, copy.frame) for copy in card.from_function(sender, data)] if sender != "rack" else []
        found += [(number, to) for to, _ in out if to != WIRE]
        arriving = [("card", wire) for to, wire in out if to == WIRE] + ([("rack", data)] if sender == "rack" else [])
        for port, wire in arriving:
            for to in adjacent.forward(port, wire):
                found += [(number, "rack")] if to == "rack" else [(number, copy.to) for copy in card.from_wire(wire)]
    return sorted(found)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", "d", "rack"]), st.sampled_from([A, B, C, D, OUT, BROADCAST, GROUP]), st.booleans()), max_size=20
    )
)  # fmt: skip
def test_vepa_with_reflective_relay_delivers_what_veb_delivers(drawn: list[tuple[str, int, bool]]) -> None:
    sources = {"a": A, "b": B, "c": C, "d": D, "rack": OUT}
    # Everybody has been heard of first, so that the adjacent bridge knows where they are.
    opening = [(name, frame(GROUP, sources[name])) for name in "abcd"] + [("rack", frame(GROUP, OUT)), ("rack", frame(GROUP, OUT, 10))]
    sent = [(sender, frame(to, sources[sender], 10 if sender == "rack" and in_vlan else None)) for sender, to, in_vlan in drawn]
    # To oneself: VEB tells at once, VEPA lets the adjacent bridge decide.
    sent = [(sender, data) for sender, data in sent if data[:6] != data[6:12]]
    veb, vepa = deliver("veb", opening + sent), deliver("vepa", opening + sent)
    assert veb == vepa


def test_functions_that_can_not_be_told_apart() -> None:
    with pytest.raises(vsw.UsageError, match="functions a and b have the same address in VLAN 0"):
        EmbeddedBridge("veb", [Function("a", A), Function("b", A)])
    assert EmbeddedBridge("veb", [Function("a", A), Function("b", A, vid=5)])
    with pytest.raises(vsw.UsageError, match="can't be called"):
        EmbeddedBridge("veb", [Function(WIRE, A)])


def test_a_function_that_may_spoof() -> None:
    bridge = EmbeddedBridge("veb", [Function("a", A, spoof=True), Function("b", B)])
    assert [copy.to for copy in bridge.from_function("a", frame(B, OUT))] == ["b"]
