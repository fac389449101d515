"""Section 11: what is learned, for how long, and what gives way; section 12: how it is found again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.build import access, community, isolated, module, port, promiscuous, static, trunk, uplink
from tests.golden.frames import BROADCAST, fate, frame, send
from vsw.reference.switch import ReferenceSwitch

SECOND = 1_000_000_000


class Talk:
    """A plain switch of four access ports in VLAN 10; frames are said in a word."""

    def __init__(self, **more: Any) -> None:
        more.setdefault("learning", "full")
        self.switch = ReferenceSwitch(module("ovs", [port(number, access(10)) for number in range(4)], **more))
        self.time = 0

    def __call__(self, source: int | str, port_in: int, destination: int | str = BROADCAST, after: int = 0) -> str:
        self.time += after
        return fate(send(self.switch, frame(destination, source), port_in, self.time))

    def knows(self, address: int, asked_from: int = 3) -> str:
        """The port that an address is known on, asked without teaching a source (it is a group address)."""
        found = fate(send(self.switch, frame(address, BROADCAST), asked_from, self.time))
        return found if len(found) == 1 or found == "same_port" else "-"


def test_learns_moves_and_forgets() -> None:
    talk = Talk(age_ns=10 * SECOND)
    assert talk(1, 0, 2) == "1 2 3"  # unknown: flooded
    assert talk(2, 1, 1) == "0"
    assert talk(1, 0, 2) == "1"
    assert talk(1, 2, 2) == "1"  # 1 has moved to port 2
    assert talk(2, 1, 1) == "2"
    assert talk(2, 1, 1, after=10 * SECOND - 1) == "2"
    assert talk(2, 1, 1, after=1) == "0 2 3"  # clock - stamp = age: expired; nobody else has refreshed it


def test_a_source_that_speaks_is_stamped_anew() -> None:
    talk = Talk(age_ns=10 * SECOND)
    talk(1, 0)
    talk(1, 0, after=9 * SECOND)
    talk.time += 9 * SECOND
    assert talk.knows(1) == "0"
    talk.time += SECOND
    assert talk.knows(1) == "-"


def test_an_earlier_time_does_not_turn_the_clock_back() -> None:
    talk = Talk(age_ns=10 * SECOND)
    talk.time = 20 * SECOND
    talk(1, 0)
    talk.time = 5 * SECOND
    talk(2, 1)  # stamped 20 s all the same
    talk.time = 29 * SECOND
    assert (talk.knows(1), talk.knows(2)) == ("0", "1")
    assert talk.switch.counters.time_backwards == 1


def test_an_expired_source_is_a_new_one() -> None:
    talk = Talk(age_ns=10 * SECOND, port_limit=1)
    talk(1, 0)
    talk(2, 1)
    talk(1, 1, after=10 * SECOND)  # expired on port 0; new on port 1, where 2 gives way
    assert (talk.knows(1), talk.knows(2)) == ("1", "-")


@pytest.mark.parametrize(("source", "known"), [(1, "0"), ("00:00:00:00:00:00", "0")])
def test_single_addresses_and_zero_are_learned(source: int | str, known: str) -> None:
    talk = Talk()
    talk(source, 0)
    assert talk("02:00:00:00:00:77", 3, source) == known


def test_groups_are_not_learned() -> None:
    talk = Talk()
    talk(BROADCAST, 0)
    talk("01:00:00:00:00:01", 0)
    assert len(talk.switch._table) == 0


def test_a_static_entry_is_neither_learned_nor_moved() -> None:
    talk = Talk(static=static((10, 1, 0), (None, 2, 1)))
    talk(1, 2)
    talk(2, 2)
    assert (talk.knows(1), talk.knows(2), len(talk.switch._table)) == ("0", "1", 0)


def test_an_any_vlan_entry_whose_port_is_not_in_the_vlan_does_not_stop_learning() -> None:
    ports = [port(0, access(10)), port(1, access(20)), port(2, access(10))]
    switch = ReferenceSwitch(module("ovs", ports, static=static((None, 1, 1))))
    send(switch, frame(BROADCAST, 1), 0)
    assert fate(send(switch, frame(1, 5), 2)) == "0"


def test_refused_frames_teach_nothing() -> None:
    talk = Talk()
    send(talk.switch, frame(BROADCAST, 1, "8100:10"), 0)  # VLAN not allowed
    send(talk.switch, frame("01:80:c2:00:00:00", 2), 0)  # reserved
    send(talk.switch, frame(BROADCAST, 3)[:13], 0)
    assert len(talk.switch._table) == 0
    talk(4, 0, 4)  # finds its own port, and yet was learned
    assert talk.knows(4) == "0"


def test_port_limit_evicts_the_least_recently_stamped() -> None:
    talk = Talk(port_limit=2)
    talk(1, 0)
    talk(2, 0)
    talk(1, 0)  # 2 is now the older one
    talk(3, 0)
    assert [talk.knows(address) for address in (1, 2, 3)] == ["0", "-", "0"]


def test_an_entry_that_moves_to_a_full_port_evicts_there() -> None:
    talk = Talk(port_limit=1)
    talk(1, 0)
    talk(2, 1)
    talk(1, 1)
    assert [talk.knows(address) for address in (1, 2)] == ["1", "-"]


def test_module_limit_takes_from_the_port_with_most() -> None:
    talk = Talk(module_limit=4)
    for address, port_in in ((1, 0), (2, 1), (3, 1), (4, 2)):
        talk(address, port_in)
    talk(5, 3)  # port 1 has most: 2 goes, though 1 is the oldest of all
    assert [talk.knows(address, 2) for address in (1, 2, 3, 5)] == ["0", "-", "1", "3"]
    talk(6, 3)  # all four have... ports 0, 1, 2 one each, 3 one: the lowest number
    assert [talk.knows(address, 2) for address in (1, 3, 5, 6)] == ["-", "1", "3", "3"]


def test_module_limit_takes_an_expired_entry_first() -> None:
    talk = Talk(module_limit=3, age_ns=10 * SECOND)
    talk(1, 2)
    talk(2, 0, after=6 * SECOND)
    talk(3, 0)
    talk(4, 1, after=4 * SECOND)  # 1 has expired, so nothing of port 0 has to go
    assert [talk.knows(address) for address in (1, 2, 3, 4)] == ["-", "0", "0", "1"]


def test_the_ports_limit_is_looked_at_first() -> None:
    talk = Talk(module_limit=3, port_limit=1)
    for address, port_in in ((1, 0), (2, 1), (3, 2)):
        talk(address, port_in)
    talk(4, 2)  # 3 gives way; then the module has room
    assert [talk.knows(address) for address in (1, 2, 3, 4)] == ["0", "1", "-", "2"]


@pytest.mark.parametrize(("learning", "local", "outside"), [("none", "-", "-"), ("outside", "-", "8"), ("full", "1", "8")])
def test_what_is_learned(learning: str, local: str, outside: str) -> None:
    ports = [port(0, access(10)), port(1, access(10)), port(2, access(10)), uplink(8)]
    switch = ReferenceSwitch(module("ovs", ports, learning=learning))
    send(switch, frame(BROADCAST, 1), 1)
    send(switch, frame(BROADCAST, 2, "8100:10"), 8)
    fates = [fate(send(switch, frame(address, BROADCAST), 0)) for address in (1, 2)]
    assert [found if len(found) == 1 else "-" for found in fates] == [local, outside]


def test_a_virtual_switch_that_learns_the_outside() -> None:
    """What is learned on an uplink is known to be outside: from an uplink it does not go back."""
    ports = [port(0, access(10)), uplink(8), uplink(9)]
    switch = ReferenceSwitch(module("vsw", ports, learning="outside"))
    assert fate(send(switch, frame(BROADCAST, 5, "8100:10"), 8)) == "0"
    assert fate(send(switch, frame(5, 6, "8100:10"), 9)) == "uplink_to_uplink"
    assert fate(send(switch, frame(7, 6, "8100:10"), 9)) == "unknown_unicast"
    assert fate(send(switch, frame(5, 1), 0)) == "no_uplink"


def test_each_vlan_has_its_own_entries() -> None:
    switch = ReferenceSwitch(module("ovs", [port(number, trunk()) for number in range(3)]))
    send(switch, frame(BROADCAST, 1, "8100:10"), 0)
    assert fate(send(switch, frame(1, 2, "8100:10"), 2)) == "0"
    assert fate(send(switch, frame(1, 2, "8100:20"), 2)) == "0 1"


def test_secondary_vlans_are_filed_under_their_primary() -> None:
    ports = [port(0, promiscuous(100)), port(1, isolated(100, 101)), port(2, community(100, 102)), port(3, community(100, 102))]
    switch = ReferenceSwitch(module("vsw", ports, learning="full", private=((101, 100), (102, 100))))
    send(switch, frame(BROADCAST, 1), 1)
    send(switch, frame(BROADCAST, 2), 2)
    assert fate(send(switch, frame(1, 5), 0)) == "1"
    assert fate(send(switch, frame(2, 6), 3)) == "2"
    assert fate(send(switch, frame(1, 6), 3)) == "egress_vlan not 1:egress_vlan"
