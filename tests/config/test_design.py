"""The example that the project's design promises, read and resolved."""

from __future__ import annotations

import vsw
from vsw.config.module import StaticEntry, Vlan

TOPOLOGY = """
[hosts.esx1.nics]
vmnic0 = { speed = "10G" }
vmnic1 = { speed = "10G" }

[hosts.esx1.switches.vSwitch0]
dialect = "vss"
mtu = 1500
team = { policy = "ip-hash", active = ["vmnic0", "vmnic1"] }

[profiles.web]
vlan = { mode = "access", vid = 10 }
security = { promiscuous = false, mac_changes = false, forged_transmits = false }

[vms.web1]
host = "esx1"
nics = [{ switch = "vSwitch0", profile = "web", model = "virtio-net", mac = "00:50:56:80:00:11" }]
disks = [{ file = "web1.qcow2", controller = "virtio-scsi" }]

[hosts.lab.switches.br0]
dialect = "ovs"
static = [{ vlan = 10, mac = "02:00:00:00:00:01", port = "p1" }]
[hosts.lab.switches.br0.ports]
p1 = { vlan = { mode = "access", vid = 10 } }
p2 = { vlan = { mode = "trunk", vids = "10,20-29" } }
p3 = { vlan = { mode = "native-untagged", vid = 20, vids = "10,20" } }
up = { kind = "uplink", vlan = { mode = "dot1q-tunnel", vid = 30, cvids = "1-100" } }
"""


def test_a_virtual_switch_gets_uplinks_a_team_and_its_vnics() -> None:
    module = vsw.loads(TOPOLOGY).module("esx1/vSwitch0")
    assert [(p.number, p.name, p.kind, p.team) for p in module.ports] == [
        (0, "vmnic0", "uplink", 0),
        (1, "vmnic1", "uplink", 0),
        (2, "web1.0", "vnic", 0),
    ]
    assert module.ports[0].vlan == Vlan("trunk", vids=frozenset(range(4095)))
    assert module.ports[2].vlan == Vlan("access", vid=10)
    assert (module.ports[2].mac, module.ports[2].effective_mac) == (0x005056800011, 0x005056800011)
    assert module.ports[2].security.forged_transmits is False
    (team,) = module.teams
    assert (team.policy, team.active, team.standby, team.assignment, team.ip_hash_bits) == ("ip-hash", (0, 1), (), "modulo", 32)
    assert module.static == (StaticEntry(10, 0x005056800011, 2),)
    assert (module.learning, module.vlan_limit, module.age_ns) == ("none", 1, 300_000_000_000)


def test_a_plain_switch_has_no_team_unless_written() -> None:
    module = vsw.loads(TOPOLOGY).module("lab/br0")
    assert module.teams == ()
    assert [port.team for port in module.ports] == [None] * 4
    assert [port.vlan for port in module.ports] == [
        Vlan("access", vid=10),
        Vlan("trunk", vids=frozenset({10, *range(20, 30)})),
        Vlan("native-untagged", vid=20, vids=frozenset({10, 20})),
        Vlan("dot1q-tunnel", vid=30, cvids=frozenset(range(1, 101)), ethertype=0x88A8),
    ]
    assert module.static == (StaticEntry(10, 0x020000000001, 0),)
    assert module.learning == "full"
