"""The module that benchmarks switch with: one host's switch, its VMs, and as many addresses as wanted."""

from __future__ import annotations

from vsw.config.dialects import DIALECTS, Security
from vsw.config.module import ALL_VIDS, Module, Policy, Port, StaticEntry, Team, Vlan
from vsw.errors import UsageError

_VNIC_OUI = 0x005056_800000  # VMware, assigned by a vCenter
_GUEST_OUI = 0x525400_000000  # QEMU
_GUESTS = 1 << 24
#: Odd, so that multiplying by it modulo 2**24 permutes the guests' addresses: no table is given neighbours to hash.
_SCRAMBLE = 0x9E3779

OPEN = Security(promiscuous=False, mac_changes=True, forged_transmits=True)
STRICT = Security(promiscuous=False, mac_changes=False, forged_transmits=False)


def bench_module(
    macs: int = 1000,
    *,
    vnics: int = 64,
    vlans: int = 16,
    policy: Policy = "ip-hash",
    security: bool = False,
    dialect: str = "vsw",
) -> Module:
    """A switch with two uplinks in a team (ports 0 and 1, trunks) and ``vnics`` vNICs, dealt to VLANs 1 to ``vlans`` in turn.

    Every fourth vNIC of a VLAN is a trunk that carries that VLAN (its guest tags), the others are access ports.  ``macs`` counts all local addresses:
    each vNIC's own, and the rest as static entries (VLAN, address) dealt to all vNICs in turn, as of guests bridged behind them.
    ``security`` rejects MAC changes and forged transmits; no port is promiscuous either way.
    """
    if not 1 <= vlans <= 4094 or not vlans <= vnics <= 4094:
        raise UsageError(f"{vnics} vNICs in {vlans} VLANs: 1 to 4094 VLANs and no fewer vNICs, at most 4094")
    if not vnics <= macs <= _GUESTS:
        raise UsageError(f"{macs} MAC addresses for {vnics} vNICs: at least one each, at most {_GUESTS}")
    rules = STRICT if security else OPEN
    ports = [Port(number, f"vmnic{number}", "uplink", Vlan("trunk", vids=ALL_VIDS), OPEN, team=0) for number in (0, 1)]
    static = []
    for index in range(vnics):
        vid = index % vlans + 1
        trunk = index // vlans % 4 == 3
        vlan = Vlan("trunk", vids=frozenset({vid})) if trunk else Vlan("access", vid)
        mac = _VNIC_OUI + index
        port = Port(2 + index, f"vm{index}.0", "vnic", vlan, rules, mac=mac, effective_mac=mac, team=0)
        ports.append(port)
        static.append(StaticEntry(None if trunk else vid, mac, port.number))
    for guest in range(macs - vnics):
        index = guest % vnics
        static.append(StaticEntry(index % vlans + 1, _GUEST_OUI + guest * _SCRAMBLE % _GUESTS, 2 + index))
    row = DIALECTS[dialect]
    team = Team("uplinks", policy, (0, 1), assignment=row.assignment)
    return Module("bench/vSwitch0", row, tuple(ports), (team,), tuple(static), learning=row.learning, module_limit=max(8192, macs))
