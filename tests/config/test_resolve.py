"""From words to modules: what is accepted, and what it becomes."""

from __future__ import annotations

import pytest

import vsw
from vsw.config.dialects import Security
from vsw.config.module import Module, Port, StaticEntry, Vlan

SWITCH = "[hosts.h.switches.s]"
ALL = frozenset(range(4095))
ALL_OVS = frozenset(range(4096))


def module(*lines: str, dialect: str = "vsw") -> Module:
    return vsw.loads("\n".join([SWITCH, f'dialect = "{dialect}"', *lines])).module()


def port(words: str, dialect: str = "vsw") -> Port:
    return module(f"ports.a = {{ {words} }}", dialect=dialect).port("a")


def vlan(words: str, dialect: str = "vsw") -> Vlan:
    return port(f"vlan = {{ {words} }}", dialect).vlan


VLANS = [
    ("access", "vsw", "mode = 'access', vid = 10", Vlan("access", vid=10)),
    ("access-0", "vsw", "mode = 'access', vid = 0", Vlan("access", vid=0)),
    ("access-4094", "vss", "mode = 'access', vid = 4094", Vlan("access", vid=4094)),
    ("access-4095-ovs", "ovs", "mode = 'access', vid = 4095", Vlan("access", vid=4095)),
    ("trunk", "vsw", "mode = 'trunk', vids = '0,7,5-6'", Vlan("trunk", vids=frozenset({0, 5, 6, 7}))),
    ("trunk-all", "vsw", "mode = 'trunk'", Vlan("trunk", vids=ALL)),
    ("trunk-all-ovs", "ovs", "mode = 'trunk'", Vlan("trunk", vids=ALL_OVS)),
    ("native-adds-itself", "vsw", "mode = 'native-tagged', vid = 7, vids = '5'", Vlan("native-tagged", vid=7, vids=frozenset({5, 7}))),
    ("native-takes-0-off", "ovs", "mode = 'native-untagged', vid = 7, vids = '0,7'", Vlan("native-untagged", vid=7, vids=frozenset({7}))),
    ("native-all", "vsw", "mode = 'native-tagged', vid = 7", Vlan("native-tagged", vid=7, vids=ALL - {0})),
    ("native-all-ovs", "ovs", "mode = 'native-tagged', vid = 4095", Vlan("native-tagged", vid=4095, vids=ALL_OVS - {0})),
    ("native-0", "ovs", "mode = 'native-tagged', vid = 0, vids = '5'", Vlan("native-tagged", vid=0, vids=frozenset({5}))),
    ("native-0-all", "ovs", "mode = 'native-tagged', vid = 0", Vlan("native-tagged", vid=0, vids=ALL_OVS)),
    ("tunnel", "vsw", "mode = 'dot1q-tunnel', vid = 7", Vlan("dot1q-tunnel", vid=7, ethertype=0x88A8)),
    (
        "tunnel-c-tag",
        "vsw",
        "mode = 'dot1q-tunnel', vid = 7, cvids = '0-2', ethertype = 0x8100",
        Vlan("dot1q-tunnel", vid=7, cvids=frozenset({0, 1, 2}), ethertype=0x8100),
    ),
    ("tunnel-0-ovs", "ovs", "mode = 'dot1q-tunnel', vid = 0", Vlan("dot1q-tunnel", vid=0)),
    ("isolated", "vsw", "mode = 'private', primary = 7, role = 'isolated', secondary = 8", Vlan("private", vid=7, role="isolated", secondary=8)),
    ("promiscuous", "vss", "mode = 'private', primary = 7, role = 'promiscuous'", Vlan("private", vid=7, role="promiscuous")),
]


@pytest.mark.parametrize(("dialect", "words", "expected"), [case[1:] for case in VLANS], ids=[case[0] for case in VLANS])
def test_vlan_modes(dialect: str, words: str, expected: Vlan) -> None:
    assert vlan(words, dialect) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("plain", Vlan("trunk", vids=ALL)), ("uplink", Vlan("trunk", vids=ALL)), ("host", Vlan("access")), ("vnic", Vlan("access"))],
)
def test_a_port_without_vlan(kind: str, expected: Vlan) -> None:
    assert port(f"kind = '{kind}'").vlan == expected


def test_numbers_count_up_and_skip_explicit_ones() -> None:
    lab = vsw.loads(
        f"""{SWITCH}
        team = {{ active = ["n2", "n1"], standby = ["n3"], unused = ["n4"] }}
        ports = {{ b = {{}}, a = {{ number = 2 }}, n1 = {{}} }}
        [vms.w]
        host = "h"
        nics = [{{ switch = "s" }}, {{ switch = "s", number = 9 }}]
        [vms.v]
        host = "h"
        nics = [{{ switch = "s", number = 0 }}]
        """
    )
    assert [(p.number, p.name, p.kind) for p in lab.module().ports] == [
        (0, "v.0", "vnic"),
        (1, "b", "plain"),
        (2, "a", "plain"),
        (3, "n1", "uplink"),
        (4, "n2", "uplink"),
        (5, "n3", "uplink"),
        (6, "n4", "uplink"),
        (7, "w.0", "vnic"),
        (9, "w.1", "vnic"),
    ]
    (team,) = lab.module().teams
    assert (team.active, team.standby, team.unused) == ((4, 3), (5,), (6,))
    assert [p.team for p in lab.module().ports] == [0] * 9


def test_the_port_then_its_profile_then_the_switch_then_the_dialect() -> None:
    made = vsw.loads(
        f"""{SWITCH}
        mtu = 2000
        ports.bare = {{}}
        ports.both = {{ profile = "p", mtu = 3000, security = {{ promiscuous = false }}, protected = false }}
        ports.profiled = {{ profile = "p" }}
        [profiles.p]
        mtu = 4000
        vlan = {{ mode = "access", vid = 9 }}
        security = {{ promiscuous = true, mac_changes = true }}
        protected = true
        priority_tags = "always"
        bpdu_guard = true
        bpdu_filter = true
        """
    ).module()
    bare, both, profiled = made.ports
    assert (bare.mtu, both.mtu, profiled.mtu) == (2000, 3000, 4000)
    assert both.vlan == profiled.vlan == Vlan("access", vid=9)
    assert bare.security == Security(promiscuous=False, mac_changes=False, forged_transmits=False)
    assert both.security == Security(promiscuous=False, mac_changes=True, forged_transmits=False)
    assert profiled.security == Security(promiscuous=True, mac_changes=True, forged_transmits=False)
    assert (bare.protected, both.protected, profiled.protected) == (False, False, True)
    assert (bare.priority_tags, both.priority_tags) == ("no", "always")
    assert (profiled.bpdu_guard, profiled.bpdu_filter, bare.bpdu_guard, bare.bpdu_filter) == (True, True, False, False)


def test_what_the_dialect_decides_and_the_switch_may_change() -> None:
    for dialect, learning, limit in (("vsw", "none", 1), ("vss", "none", 1), ("ovs", "full", 1)):
        made = module(dialect=dialect)
        assert (made.learning, made.vlan_limit, made.forward_bpdu, made.pad) == (learning, limit, False, False)
        assert (made.age_ns, made.port_limit, made.module_limit) == (300 * 10**9, 4096, 8192)
    made = module(
        "learning = 'outside'", "vlan_limit = 2", "forward_bpdu = true", "pad = true", "age = 0.25", "port_limit = 1", "module_limit = 1048576"
    )
    assert (made.learning, made.vlan_limit, made.forward_bpdu, made.pad) == ("outside", 2, True, True)
    assert (made.age_ns, made.port_limit, made.module_limit) == (250_000_000, 1, 1048576)


def test_addresses_of_a_port() -> None:
    made = port("mac = '02:00:00:00:00:01', effective_mac = '02:00:00:00:00:02', macs = ['0200.0000.0003'], up = false")
    assert (made.mac, made.effective_mac, made.macs, made.up) == (0x020000000001, 0x020000000002, (0x020000000003,), False)
    assert port("kind = 'host'").mac is None


# Teams.


def test_uplinks_of_a_virtual_switch_make_a_team() -> None:
    made = module("ports.a = { kind = 'uplink' }", "ports.b = {}", "ports.c = { kind = 'uplink' }")
    (team,) = made.teams
    assert (team.policy, team.active, team.standby, team.assignment, team.failback, team.lacp) == ("port-id", (0, 2), (), "buckets", True, False)
    assert [p.team for p in made.ports] == [0, 0, 0]


def test_without_uplinks_there_is_no_team() -> None:
    assert module("ports.a = {}").teams == ()
    assert module("ports.a = {}").ports[0].team is None


def test_a_plain_switch_has_a_team_only_where_it_is_written() -> None:
    assert module("ports.a = { kind = 'uplink' }", dialect="ovs").teams == ()
    made = module("ports.a = {}", "team = { policy = 'layer2', active = ['x', 'y'] }", dialect="ovs")
    assert [p.team for p in made.ports] == [None, 0, 0]
    assert made.teams[0].assignment == "buckets"


def test_a_team_without_members_takes_all_uplinks_but_standby_and_unused() -> None:
    made = module("team = { policy = 'src-mac', standby = ['b'], unused = ['c'] }", *(f"ports.{name} = {{ kind = 'uplink' }}" for name in "abcd"))
    (team,) = made.teams
    assert (team.policy, team.active, team.standby, team.unused) == ("src-mac", (0, 3), (1,), (2,))


TEAM = "team = { policy = 'ip-hash', active = ['n0', 'n1'], standby = ['n2'], ip_hash_bits = 8, failback = false, assignment = 'modulo' }"
OVERRIDES = [
    ("policy", "{ policy = 'src-mac' }", ("src-mac", (1, 2), (3,), (), 8, False, "modulo")),
    ("active", "{ active = ['n2'] }", ("ip-hash", (3,), (), (), 8, False, "modulo")),
    ("order", "{ active = ['n1'], standby = ['n0'] }", ("ip-hash", (2,), (1,), (), 8, False, "modulo")),
    ("standby", "{ standby = ['n0'] }", ("ip-hash", (2,), (1,), (), 8, False, "modulo")),
    ("unused", "{ unused = ['n1'] }", ("ip-hash", (1,), (), (2,), 8, False, "modulo")),
    ("rest", "{ ip_hash_bits = 32, failback = true, assignment = 'buckets' }", ("ip-hash", (1, 2), (3,), (), 32, True, "buckets")),
]


@pytest.mark.parametrize(("words", "expected"), [case[1:] for case in OVERRIDES], ids=[case[0] for case in OVERRIDES])
def test_overrides(words: str, expected: tuple[object, ...]) -> None:
    made = module(TEAM, f"ports.a.team = {words}")
    assert made.ports[0].team == 1
    team = made.teams[1]
    assert (team.policy, team.active, team.standby, team.unused, team.ip_hash_bits, team.failback, team.assignment) == expected


def test_equal_overrides_share_a_team() -> None:
    made = vsw.loads(
        f"""{SWITCH}
        {TEAM}
        ports.a.profile = "p"
        ports.b.profile = "p"
        ports.c.team = {{ policy = "explicit" }}
        ports.d.team = {{ policy = "ip-hash" }}
        [profiles.p]
        team = {{ policy = "explicit" }}
        """
    ).module()
    assert len(made.teams) == 2
    assert [p.team for p in made.ports] == [1, 1, 1, 0, 0, 0, 0]


# The static table.

MAC = "mac = '02:00:00:00:00:01'"
STATIC = [
    ("access", f"{MAC}, vlan = {{ mode = 'access', vid = 10 }}", [(10, 1)]),
    ("access-0", f"kind = 'host', {MAC}", [(0, 1)]),
    ("tunnel", f"{MAC}, vlan = {{ mode = 'dot1q-tunnel', vid = 10 }}", [(10, 1)]),
    ("trunk", f"{MAC}, vlan = {{ mode = 'trunk', vids = '10' }}", [(None, 1)]),
    ("native", f"{MAC}, vlan = {{ mode = 'native-tagged', vid = 10 }}", [(None, 1)]),
    ("isolated", f"{MAC}, vlan = {{ mode = 'private', primary = 10, role = 'isolated', secondary = 11 }}", [(10, 1)]),
    ("promiscuous", f"{MAC}, vlan = {{ mode = 'private', primary = 10, role = 'promiscuous' }}", [(10, 1)]),
    ("effective", f"{MAC}, effective_mac = '02:00:00:00:00:02', vlan = {{ mode = 'access', vid = 10 }}", [(10, 2)]),
    ("macs", f"{MAC}, macs = ['02:00:00:00:00:03', '02:00:00:00:00:01'], vlan = {{ mode = 'access', vid = 10 }}", [(10, 1), (10, 3)]),
    ("only-macs", "macs = ['02:00:00:00:00:03']", [(None, 3)]),
    ("none", "", []),
]


@pytest.mark.parametrize(("words", "expected"), [case[1:] for case in STATIC], ids=[case[0] for case in STATIC])
def test_addresses_of_ports_are_static(words: str, expected: list[tuple[int | None, int]]) -> None:
    made = module(f"ports.a = {{ {words} }}")
    assert made.static == tuple(StaticEntry(vid, 0x020000000000 + low, 0) for vid, low in expected)


def test_written_entries() -> None:
    made = module(
        "team = { active = ['n'] }",
        "ports.a = { mac = '02:00:00:00:00:01', vlan = { mode = 'access', vid = 10 } }",
        "ports.b = { vlan = { mode = 'private', primary = 20, role = 'isolated', secondary = 21 } }",
        "private_vlans = [{ primary = 30, secondaries = '31-32' }]",
        "static = [",
        "  { vlan = 10, mac = '02:00:00:00:00:01', port = 'a' },",
        "  { mac = '02:00:00:00:00:02', port = 'a' },",
        "  { vlan = 21, mac = '02:00:00:00:00:03', port = 'b' },",
        "  { vlan = 32, mac = '02:00:00:00:00:04', port = 'n' },",
        "]",
    )
    assert made.private == ((21, 20), (31, 30), (32, 30))
    assert made.static == (
        StaticEntry(10, 0x020000000001, 0),
        StaticEntry(None, 0x020000000002, 0),
        StaticEntry(20, 0x020000000003, 1),
        StaticEntry(30, 0x020000000004, 2),
    )


@pytest.mark.parametrize(
    "lines",
    [
        [f"ports.{name} = {{ {MAC}, vlan = {{ mode = 'access', vid = {vid} }} }}" for name, vid in (("a", 10), ("b", 20))],
        [f"ports.a = {{ {MAC}, vlan = {{ mode = 'access', vid = 10 }} }}", f"ports.b = {{ {MAC}, vlan = {{ mode = 'trunk', vids = '20' }} }}"],
        [f"ports.a = {{ {MAC} }}", "static = [{ vlan = 10, mac = '02:00:00:00:00:01', port = 'a' }]"],
    ],
    ids=["two-vlans", "trunk-without-the-vlan", "same-port"],
)
def test_one_address_twice_where_the_vlans_do_not_meet(lines: list[str]) -> None:
    assert len(module(*lines).static) == 2


def test_a_card_name_may_return_on_another_host() -> None:
    lab = vsw.loads("[hosts]\na.switches.s.team = { active = ['eth0'] }\nb.switches.s.team = { active = ['eth0'] }")
    assert list(lab.modules) == ["a/s", "b/s"]


def test_an_empty_topology_has_no_modules() -> None:
    lab = vsw.loads("")
    assert lab.modules == {}
    with pytest.raises(vsw.UsageError, match="has no switch"):
        lab.module()


def test_ports_that_are_written_alike_share_their_sets() -> None:
    made = module(*(f"ports.p{number} = {{ vlan = {{ mode = 'native-tagged', vid = 5, vids = '1-4094' }} }}" for number in range(50)))
    assert len({id(p.vlan.vids) for p in made.ports}) == 1
