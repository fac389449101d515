"""What must not take the fast lane: one thing that is special about a frame or a port, and everything else as plain as can be.

Each row says what the reference makes of the frame, so that a row that no longer shows its point is noticed; then all ways through the
datapath are compared.
The frames stand in one burst behind plain ones, so that the lane is surely taken.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.differential.compare import EVERY_WAY, compare, run_reference
from tests.differential.strategies import START, Frame, Scenario
from tests.golden.build import access, mac, module, of_vnics, port, static, team, trunk, tunnel, uplink
from vsw.config.dialects import Security
from vsw.config.module import Module
from vsw.verdicts import Reason

STRICT = Security(promiscuous=False, mac_changes=False, forged_transmits=False)
SPY = Security(promiscuous=True, mac_changes=True, forged_transmits=True)
ONE, TWO, THREE, OUTSIDE = 1, 2, 3, 0x99
ZERO = -1


def frame(to: int, source: int, *, tag: int | None = None, tpid: int = 0x8100, type_: int = 0x0800, length: int = 60) -> bytes:
    """A frame between two of the addresses that `mac` numbers; ``tag`` is a TCI."""

    def address(number: int) -> bytes:
        value = mac(number) if 0 <= number < 1 << 16 else max(number, 0)
        assert value is not None
        return value.to_bytes(6, "big")

    head = address(to) + address(source)
    if tag is not None:
        head += struct.pack("!HH", tpid, tag)
    return (head + struct.pack("!H", type_)).ljust(length, b"\x45")


PORTS = (
    port(0, access(10), address=ONE),
    port(1, access(10), address=TWO),
    port(2, access(10), address=THREE),
    uplink(3),
    uplink(4),
)
TEAM = team("explicit", (3, 4))
PLAIN = module("vsw", tuple(replace(one, team=0) for one in PORTS), teams=(TEAM,))


def changed(number: int, **settings: object) -> Module:
    """The plain module with other settings of one port."""
    ports = tuple(replace(one, **settings) if one.number == number else one for one in PLAIN.ports)  # type: ignore[arg-type]
    return replace(PLAIN, ports=ports, static=of_vnics(ports))


def out(module: Module, data: bytes, port_in: int) -> tuple[Reason, tuple[int, ...]]:
    scenario = scene(module, data, port_in)
    decisions, counters = run_reference(scenario)
    assert compare(scenario, decisions, counters, None, EVERY_WAY) == []
    last = decisions[-1]
    return last.reason, tuple(copy.port for copy in last.copies)


def scene(module: Module, data: bytes, port_in: int) -> Scenario:
    plain = [Frame(frame(ONE, TWO), 60, START + number, 1) for number in range(8)]
    return Scenario(module, [*plain, Frame(data, len(data), START + 9, port_in)], False, [])


CASES = {
    "nothing special": (PLAIN, frame(TWO, ONE), 0, Reason.NONE, (1,)),
    "to the outside": (PLAIN, frame(OUTSIDE, ONE), 0, Reason.NONE, (3,)),
    "from the outside": (PLAIN, frame(TWO, OUTSIDE, tag=10), 3, Reason.NONE, (1,)),
    "from the outside, unknown": (PLAIN, frame(0x98, OUTSIDE, tag=10), 3, Reason.UNKNOWN_UNICAST, ()),
    "the guest changed its address": (
        changed(1, mac=mac(7), effective_mac=mac(TWO), security=STRICT), frame(TWO, THREE), 2, Reason.MAC_CHANGED, (),
    ),
    "a static entry on an uplink: the team picks": (
        replace(PLAIN, static=(*PLAIN.static, *static((10, 0x77, 4)))), frame(0x77, ONE), 0, Reason.NONE, (3,),
    ),
    "a static entry on an uplink, from an uplink": (
        replace(PLAIN, static=(*PLAIN.static, *static((10, 0x77, 4)))), frame(0x77, OUTSIDE, tag=10), 3, Reason.UPLINK_TO_UPLINK, (),
    ),
    "a static entry on a port without the VLAN": (
        replace(PLAIN, static=(*PLAIN.static, *static((20, 0x77, 1)))), frame(0x77, OUTSIDE, tag=20), 3, Reason.EGRESS_VLAN, (),
    ),
    "its own port": (PLAIN, frame(ONE, 0x55), 0, Reason.SAME_PORT, ()),
    "the port to is down": (changed(1, up=False), frame(TWO, ONE), 0, Reason.PORT_DOWN, ()),
    "the port from is down": (changed(0, up=False), frame(TWO, ONE), 0, Reason.PORT_DOWN, ()),
    "a forged source": (changed(0, security=STRICT), frame(TWO, 0x55), 0, Reason.FORGED_SOURCE, ()),
    "seen before": (PLAIN, frame(TWO, ONE, tag=10), 3, Reason.DEJA_VU, ()),
    "both protected": (
        replace(PLAIN, ports=tuple(replace(one, protected=one.number < 2) for one in PLAIN.ports)), frame(TWO, ONE), 0, Reason.PROTECTED, (),
    ),
    "somebody listens": (changed(2, security=SPY), frame(TWO, ONE), 0, Reason.NONE, (1, 2)),
    "too long to come in": (changed(0, mtu=64), frame(TWO, ONE, length=79), 0, Reason.TOO_LONG, ()),
    "just not too long": (changed(0, mtu=64), frame(TWO, ONE, length=78), 0, Reason.NONE, (1,)),
    "too long to go out": (changed(1, mtu=64), frame(TWO, ONE, length=79), 0, Reason.TOO_LONG, ()),
    "a group as its source": (PLAIN, frame(TWO, 0x010000000001), 0, Reason.BAD_SOURCE, ()),
    "zero as its source": (PLAIN, frame(TWO, ZERO), 0, Reason.BAD_SOURCE, ()),
    "a tag on an access port": (PLAIN, frame(TWO, ONE, tag=10), 0, Reason.VLAN_NOT_ALLOWED, ()),
    "VLAN 4095": (PLAIN, frame(TWO, OUTSIDE, tag=4095), 3, Reason.RESERVED_VID, ()),
    "a reserved group": (PLAIN, frame(0x0180C200000E, ONE), 0, Reason.RESERVED_ADDRESS, ()),
    "a spanning tree frame": (PLAIN, frame(0x0180C2000000, ONE), 0, Reason.BPDU, ()),
    "a broadcast": (PLAIN, frame(0xFFFFFFFFFFFF, ONE), 0, Reason.NONE, (1, 2, 3)),
    "a priority tag": (PLAIN, frame(TWO, ONE, tag=5 << 13), 0, Reason.NONE, (1,)),
    "another switch's tag": (PLAIN, frame(TWO, OUTSIDE, tag=10, tpid=0x9100), 3, Reason.NONE, (1,)),
    "into a tunnel": (changed(1, vlan=tunnel(30, cvids="10")), frame(TWO, OUTSIDE, tag=30, tpid=0x88A8), 3, Reason.NONE, (1,)),
    "out of a tunnel": (changed(0, vlan=tunnel(30)), frame(OUTSIDE, ONE, tag=12), 0, Reason.NONE, (3,)),
    "padded": (replace(PLAIN, pad=True), frame(TWO, OUTSIDE, tag=10), 3, Reason.NONE, (1,)),
    "priority tags are asked for": (changed(1, priority_tags="if-nonzero"), frame(TWO, OUTSIDE, tag=10 | 3 << 13), 3, Reason.NONE, (1,)),
    "a trunk guest": (changed(1, vlan=trunk("10,20")), frame(TWO, ONE), 0, Reason.NONE, (1,)),
    "a trunk guest of so many VLANs that one entry stands for all": (changed(1, vlan=trunk("all")), frame(TWO, ONE), 0, Reason.NONE, (1,)),
    "a tag that stays, priority and all": (
        changed(1, vlan=trunk("10,20")), frame(TWO, OUTSIDE, tag=10 | 0xF << 12, tpid=0x88A8), 3, Reason.NONE, (1,),
    ),
    "an uplink that does not carry the VLAN": (changed(3, vlan=trunk("20")), frame(OUTSIDE, ONE), 0, Reason.EGRESS_VLAN, ()),
    "no uplink is up": (
        replace(PLAIN, ports=tuple(replace(one, up=one.number < 3) for one in PLAIN.ports)), frame(OUTSIDE, ONE), 0, Reason.NO_UPLINK, (),
    ),
    "no such port": (PLAIN, frame(TWO, ONE), 99, Reason.NO_PORT, ()),
    "a tag, and nothing behind it": (PLAIN, frame(TWO, OUTSIDE, tag=10)[:17], 3, Reason.MALFORMED, ()),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_special_is_noticed(case: str) -> None:
    module, data, port_in, reason, ports = CASES[case]
    assert out(module, data, port_in) == (reason, ports)


def test_an_address_that_a_static_entry_puts_elsewhere_is_forged() -> None:
    """The port is found by it, for its own configuration names it, and yet its frames are not to be believed."""
    ports = tuple(replace(one, security=STRICT, macs=(mac(0x55),)) if one.number == 0 else one for one in PLAIN.ports)
    data = frame(TWO, 0x55)
    plain = [Frame(frame(ONE, TWO), 60, START + number, None) for number in range(8)]
    module = replace(PLAIN, ports=ports, static=(*PLAIN.static, *static((10, 0x55, 1))))
    scenario = Scenario(module, [*plain, Frame(data, len(data), START + 9, None)], True, [])
    decisions, counters = run_reference(scenario)
    assert (decisions[-1].port_in, decisions[-1].reason) == (0, Reason.FORGED_SOURCE)
    assert compare(scenario, decisions, counters, None, EVERY_WAY) == []
