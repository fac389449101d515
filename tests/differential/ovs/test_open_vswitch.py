"""Open vSwitch and dialect ``ovs`` send the same frames out of the same ports.

Open vSwitch 3.1, action NORMAL, userspace datapath, flow cache off.  Random modules over all VLAN modes, bonds, static entries; random and
damaged frames; with learning (frames in order) and without.  What is compared is every byte, except for DEI where there are several copies
of a frame: Open vSwitch edits one buffer, so that a copy's DEI depends on the copies made before it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.differential.ovs import cases
from tests.differential.ovs.driver import Egress, Offered, OpenVSwitch, missing, script
from tests.differential.ovs.implementations import IMPLEMENTATIONS, Implementation, Outcome, PortEvent, explain
from vsw.config.load import loads
from vsw.config.module import Module, Policy, Port, Vlan
from vsw.verdicts import Reason

pytestmark = [
    pytest.mark.ovs,
    pytest.mark.skipif(missing() is not None, reason=f"Open vSwitch is not installed: {missing()}"),
]


@pytest.fixture(scope="session")
def peer() -> Iterator[OpenVSwitch]:
    with OpenVSwitch() as switch:
        yield switch


@pytest.fixture(params=IMPLEMENTATIONS, ids=repr)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    return request.param


def comparable(egress: Egress, *, exact: bool) -> Egress:
    return egress if exact else {port: [cases.without_dei(data) for data in sent] for port, sent in egress.items()}


def agree(peers: Egress, ours: Egress) -> bool:
    exact = sum(map(len, peers.values())) == 1
    return comparable(peers, exact=exact) == comparable(ours, exact=exact)


def listing(egress: Egress, module: Module) -> str:
    lines = [f"  {module.port(port).name}: {data.hex()}  {cases.words(data)}" for port, sent in sorted(egress.items()) for data in sent]
    return "\n".join(lines) or "  nothing"


def assert_agreement(
    label: str,
    module: Module,
    frames: Sequence[Offered],
    peers: Sequence[Egress],
    ours: Sequence[Outcome],
    events: Sequence[PortEvent] = (),
) -> None:
    for place, (frame, theirs, outcome) in enumerate(zip(frames, peers, ours, strict=True)):
        if agree(theirs, outcome.egress):
            continue
        teachers = [
            f"  {earlier}: {module.port(frames[earlier].port).name} {frames[earlier].data.hex()}  {cases.words(frames[earlier].data)}"
            for earlier in range(place)
            if frames[earlier].data[6:12] in (frame.data[:6], frame.data[6:12])
        ]
        message = [
            f"{label}, frame {place}: Open vSwitch and vsw disagree",
            script(module),
            "frames before it with its destination or source as their source:",
            *(teachers or ["  none"]),
            f"the frame, by {module.port(frame.port).name}: {frame.data.hex()}",
            f"  {cases.words(frame.data)}",
            "Open vSwitch sends:",
            listing(theirs, module),
            f"vsw sends (reason {outcome.reason.name}):",
            listing(outcome.egress, module),
            f"events: {events or 'none'}",
            "as the reference explains it:",
            explain(module, frames[: place + 1], events),
        ]
        pytest.fail("\n".join(message), pytrace=False)


def compare_in_order(peer: OpenVSwitch, implementation: Implementation, seed: int, count: int, bond: Policy | None = None) -> list[Outcome]:
    module = cases.module(seed, bond=bond)
    frames = cases.frames_in_order(seed, module, count)
    peer.configure(module)
    outcomes = implementation.forward(module, frames)
    assert_agreement(f"seed {seed} in order, bond {bond}", module, frames, peer.forward_in_order(frames), outcomes)
    return outcomes


def compare_in_any_order(
    peer: OpenVSwitch, implementation: Implementation, seed: int, count: int, bond: Policy | None = None, waves: int = 2
) -> list[Outcome]:
    module = cases.module(seed, bond=bond)
    peer.configure(module)
    outcomes = []
    for wave in range(waves):
        peer.flush()
        frames = cases.frames_in_any_order(seed * waves + wave, module, count)
        outcomes += implementation.forward(module, frames)
        label = f"seed {seed} in any order, wave {wave}, bond {bond}"
        assert_agreement(label, module, frames, peer.forward_in_any_order(frames), outcomes[-count:])
    return outcomes


def assert_variety(outcomes: Sequence[Outcome], reasons: Sequence[Reason]) -> None:
    """Agreement says little if all frames meet the same end."""
    seen = Counter(outcome.reason for outcome in outcomes)
    copies = Counter(min(sum(map(len, outcome.egress.values())), 2) for outcome in outcomes)
    print(f"{len(outcomes)} frames agree: {copies[1]} with one copy, {copies[2]} with more;", {r.name: n for r, n in seen.most_common() if r})
    assert copies[1] > len(outcomes) / 50
    assert copies[2] > len(outcomes) / 10
    assert not set(reasons) - set(seen)


PLAIN = (
    Reason.MALFORMED,
    Reason.VLAN_NOT_ALLOWED,
    Reason.RESERVED_ADDRESS,
    Reason.SAME_PORT,
    Reason.NO_MEMBER,
    Reason.PROTECTED,
)
ALL_BUT_0 = ",".join(map(str, range(1, 4096)))
BALANCING: tuple[Policy, ...] = ("src-mac", "layer2+3")


def test_learning(peer: OpenVSwitch, implementation: Implementation) -> None:
    outcomes = [outcome for seed in range(1000, 1018) for outcome in compare_in_order(peer, implementation, seed, 50)]
    assert_variety(outcomes, PLAIN)


def test_static_entries(peer: OpenVSwitch, implementation: Implementation) -> None:
    outcomes = [outcome for seed in range(2000, 2014) for outcome in compare_in_any_order(peer, implementation, seed, 50)]
    assert_variety(outcomes, PLAIN)


def test_active_backup(peer: OpenVSwitch, implementation: Implementation) -> None:
    outcomes = [outcome for seed in range(3000, 3012) for outcome in compare_in_order(peer, implementation, seed, 50, "explicit")]
    assert_variety(outcomes, (*PLAIN, Reason.NOT_DESIGNATED))


@pytest.mark.parametrize("failback", [True, False])
def test_failover(peer: OpenVSwitch, implementation: Implementation, failback: bool) -> None:
    """The active member goes down and comes up again, then the other one; addresses learned on the bond stay with it."""
    outcomes = []
    for seed in range(6000, 6006):
        module = cases.module(seed, bond="explicit", members=2)
        module = replace(module, teams=(replace(module.teams[0], failback=failback),))
        first, second = module.teams[0].active
        events = [PortEvent(20 * (place + 1), port, up) for place, (port, up) in enumerate([(first, False), (first, True), (second, False)])]
        down: set[int] = set()
        frames: list[Offered] = []
        peers: list[Egress] = []
        peer.configure(module)
        for stage in range(4):
            if stage:
                event = events[stage - 1]
                peer.set_member(event.port, event.up)
                down = down - {event.port} if event.up else down | {event.port}
            there = replace(module, ports=tuple(port for port in module.ports if port.number not in down))
            offered = cases.frames_in_order(10 * seed + stage, there, 20)
            frames += offered
            peers += peer.forward_in_order(offered)
        ours = implementation.forward(module, frames, events)
        assert_agreement(f"seed {seed}, failback {failback}", module, frames, peers, ours, events)
        outcomes += ours
    assert_variety(outcomes, (Reason.VLAN_NOT_ALLOWED, Reason.SAME_PORT, Reason.NOT_DESIGNATED))


@pytest.mark.parametrize("policy", BALANCING)
def test_balancing_bond(peer: OpenVSwitch, implementation: Implementation, policy: Policy) -> None:
    """A group address is accepted on one member only, and a copy leaves by one member; which one, is each switch's own."""
    outcomes = []
    first = 4000 + 10 * BALANCING.index(policy)
    for seed in range(first, first + 6):
        module = cases.module(seed, bond=policy)
        frames = cases.frames_that_stay(seed, module, 60)
        members = module.teams[0].active
        peer.configure(module)
        peers = [as_one_port(egress, members) for egress in peer.forward_in_order(frames)]
        ours = implementation.forward(module, frames)
        for outcome in ours:
            assert sum(len(outcome.egress.get(member, ())) for member in members) <= 1
        merged = [Outcome(as_one_port(outcome.egress, members), outcome.reason) for outcome in ours]
        assert_agreement(f"seed {seed}, policy {policy}", module, frames, peers, merged)
        outcomes += ours
    assert_variety(outcomes, (Reason.VLAN_NOT_ALLOWED, Reason.SAME_PORT, Reason.NOT_DESIGNATED))


# What a user writes in a topology, and in Open vSwitch's own configuration: what follows from it is each one's own affair.
WORDS = (
    ("", ""),
    ('vlan = { mode = "access", vid = 0 }', "vlan_mode=access tag=0"),
    ('vlan = { mode = "access", vid = 0 }', "vlan_mode=access"),
    ('vlan = { mode = "access", vid = 10 }', "tag=10 trunks=20"),
    ('vlan = { mode = "trunk" }', "vlan_mode=trunk"),
    ('vlan = { mode = "trunk", vids = 0 }', "trunks=0"),
    ('vlan = { mode = "trunk", vids = "0,10" }', "vlan_mode=trunk trunks=0,10"),
    ('vlan = { mode = "trunk", vids = "1-4095" }, priority_tags = "always"', "trunks=1-4095 other_config:priority-tags=always"),
    ('vlan = { mode = "native-tagged", vid = 10 }', "vlan_mode=native-tagged tag=10"),
    ('vlan = { mode = "native-tagged", vid = 10, vids = "0,20" }', "vlan_mode=native-tagged tag=10 trunks=0,20"),
    ('vlan = { mode = "native-tagged", vid = 0, vids = 20 }', "vlan_mode=native-tagged trunks=20"),
    ('vlan = { mode = "native-untagged", vid = 20, vids = [10, 4095] }', "vlan_mode=native-untagged tag=20 trunks=10,4095"),
    ('vlan = { mode = "native-untagged", vid = 0 }, protected = true', "vlan_mode=native-untagged tag=0 protected=true"),
    ('vlan = { mode = "dot1q-tunnel", vid = 10 }', "vlan_mode=dot1q-tunnel tag=10"),
    ('vlan = { mode = "dot1q-tunnel", vid = 0, cvids = 10 }', "vlan_mode=dot1q-tunnel cvlans=10"),
    (
        'vlan = { mode = "dot1q-tunnel", vid = 20, cvids = "0,10", ethertype = 0x8100 }, priority_tags = "if-nonzero"',
        "vlan_mode=dot1q-tunnel tag=20 cvlans=0,10 other_config:qinq-ethtype=802.1q other_config:priority-tags=if-nonzero",
    ),
)


def test_words_of_the_configuration(peer: OpenVSwitch, implementation: Implementation) -> None:
    """A topology file and ``ovs-vsctl`` with the same words in it."""
    outcomes = []
    for seed in range(5000, 5014):
        chosen = random.Random(seed).sample(WORDS, 5)
        lines = [f"p{number} = {{ {ours} }}" for number, (ours, _) in enumerate(chosen)]
        static = '[{ mac = "02:00:00:00:00:a1", vlan = 10, port = "p0" }, { mac = "02:00:00:00:00:a2", vlan = 0, port = "p1" }]'
        switch = f'[hosts.h.switches.br]\ndialect = "ovs"\nmtu = 9000\nvlan_limit = {1 + seed % 2}\nstatic = {static}\n'
        text = switch + "[hosts.h.switches.br.ports]\n" + "\n".join(lines)
        module = loads(text).module()
        frames = cases.frames_in_order(seed, module, 50)
        peer.configure(module, {number: theirs.replace("1-4095", ALL_BUT_0).split() for number, (_, theirs) in enumerate(chosen)})
        ours = implementation.forward(module, frames)
        assert_agreement(f"seed {seed}\n{text}\nports: {[theirs for _, theirs in chosen]}", module, frames, peer.forward_in_order(frames), ours)
        outcomes += ours
    assert_variety(outcomes, PLAIN[:-1])


@pytest.mark.parametrize("spoiled", ["a bit of the payload", "DEI of the only copy", "a port", "a copy"])
def test_a_difference_is_told(peer: OpenVSwitch, spoiled: str) -> None:
    """By the comparison of the other tests: one bit is enough."""
    vlan = Vlan("trunk", 0, frozenset({7}))
    ports = tuple(Port(number, f"p{number}", "plain", vlan, cases.OVS.security, mtu=cases.MTU) for number in (0, 1))
    module = Module("br", cases.OVS, ports, learning="full")
    frames = [Offered(0, bytes.fromhex("ffffffffffff 020000000001 8100 9007 0800") + bytes(46))]
    peer.configure(module)
    peers = peer.forward_in_order(frames)
    assert peers == [{1: [frames[0].data]}]
    assert_agreement("as it is", module, frames, peers, [Outcome(peers[0], Reason.NONE)])
    data = bytearray(frames[0].data)
    data[14 if spoiled.startswith("DEI") else 30] ^= 0x10
    ours: Egress = {"a port": {0: [frames[0].data]}, "a copy": {}}.get(spoiled, {1: [bytes(data)]})
    with pytest.raises(pytest.fail.Exception, match="Open vSwitch and vsw disagree"):
        assert_agreement(spoiled, module, frames, peers, [Outcome(ours, Reason.NONE)])


def as_one_port(egress: Egress, members: Sequence[int]) -> Egress:
    """The egress with all that left by members of a bond under the number of its first member."""
    merged: Egress = {}
    for port, sent in egress.items():
        merged.setdefault(members[0] if port in members else port, []).extend(sent)
    return merged


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_fifty_thousand_frames(peer: OpenVSwitch, implementation: Implementation, block: int) -> None:
    first = 10_000 + 100 * block
    outcomes = [outcome for seed in range(first, first + 10) for outcome in compare_in_order(peer, implementation, seed, 100)]
    outcomes += [o for seed in range(first + 20, first + 30) for o in compare_in_order(peer, implementation, seed, 100, "explicit")]
    outcomes += [o for seed in range(first + 40, first + 55) for o in compare_in_any_order(peer, implementation, seed, 100)]
    assert len(outcomes) == 5000
    assert_variety(outcomes, (*PLAIN, Reason.NOT_DESIGNATED))
