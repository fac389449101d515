"""Modules without TOML, for tests: what the configuration would resolve, said in a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vsw.config.dialects import DIALECTS, Security
from vsw.config.module import ALL_VIDS, Module, Port, StaticEntry, Team, Vlan

#: Everything is accepted; a test that is about security says so itself.
OPEN = Security(promiscuous=False, mac_changes=True, forged_transmits=True)


def vids(text: str) -> frozenset[int]:
    """``"0,10,20-29"`` as a set; ``"all"`` is 0 to 4095."""
    if text == "all":
        return ALL_VIDS
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def access(vid: int) -> Vlan:
    return Vlan("access", vid)


def trunk(carried: str = "all") -> Vlan:
    return Vlan("trunk", 0, vids(carried))


def _amended(vid: int, carried: str) -> frozenset[int]:
    return vids(carried) if vid == 0 else (vids(carried) | {vid}) - {0}


def native_tagged(vid: int, carried: str = "all") -> Vlan:
    return Vlan("native-tagged", vid, _amended(vid, carried))


def native_untagged(vid: int, carried: str = "all") -> Vlan:
    return Vlan("native-untagged", vid, _amended(vid, carried))


def tunnel(vid: int, cvids: str = "", ethertype: int = 0x88A8) -> Vlan:
    return Vlan("dot1q-tunnel", vid, cvids=vids(cvids), ethertype=ethertype)


def promiscuous(primary: int) -> Vlan:
    return Vlan("private", primary, role="promiscuous")


def isolated(primary: int, secondary: int) -> Vlan:
    return Vlan("private", primary, role="isolated", secondary=secondary)


def community(primary: int, secondary: int) -> Vlan:
    return Vlan("private", primary, role="community", secondary=secondary)


def mac(text: str | int | None) -> int | None:
    """A MAC address as the configuration holds it: ``"02:00:00:00:00:01"``, or 1 for that same address."""
    if text is None:
        return None
    return 0x020000000000 + text if isinstance(text, int) else int(text.replace(":", ""), 16)


def port(number: int, vlan: Vlan, name: str | None = None, kind: str = "vnic", address: str | int | None = None, **more: Any) -> Port:
    """A port; ``address`` is its configured MAC and, unless ``effective_mac`` is given too, its effective one."""
    more.setdefault("security", OPEN)
    own = mac(address)
    effective = mac(more.pop("effective_mac")) if "effective_mac" in more else own
    more["macs"] = tuple(mac(one) for one in more.get("macs", ()))
    return Port(number, name or f"p{number}", kind, vlan, mac=own, effective_mac=effective, **more)  # type: ignore[arg-type]


def uplink(number: int, vlan: Vlan | None = None, name: str | None = None, **more: Any) -> Port:
    """An uplink, by default a trunk of all VLANs."""
    return port(number, vlan or trunk(), name or f"up{number}", "uplink", **more)


def team(policy: str, active: Sequence[int], standby: Sequence[int] = (), **more: Any) -> Team:
    """A team with the assignment ``modulo`` unless told otherwise."""
    more.setdefault("assignment", "modulo")
    return Team(more.pop("name", "team"), policy, tuple(active), tuple(standby), **more)  # type: ignore[arg-type]


def static(*entries: tuple[int | None, str | int, int]) -> tuple[StaticEntry, ...]:
    """Static entries from (VLAN or ``None``, MAC, port)."""
    return tuple(StaticEntry(vlan, mac(address), number) for vlan, address, number in entries)  # type: ignore[arg-type]


def of_vnics(ports: Iterable[Port]) -> tuple[StaticEntry, ...]:
    """The static entries that follow from vNICs."""
    found = []
    for one in ports:
        for address in (() if one.effective_mac is None else (one.effective_mac,)) + one.macs:
            anywhere = one.vlan.mode in ("trunk", "native-tagged", "native-untagged")
            found.append(StaticEntry(None if anywhere else one.vlan.vid, address, one.number))
    return tuple(found)


def module(dialect: str, ports: Sequence[Port], **more: Any) -> Module:
    """A module; its learning is the dialect's and its static entries those of its vNICs, unless told otherwise."""
    row = DIALECTS[dialect]
    more.setdefault("learning", row.learning)
    more.setdefault("static", of_vnics(ports))
    return Module(more.pop("name", "test"), row, tuple(ports), **more)
