"""The forwarding table of a module: static entries, and learned ones with their two limits and their age.

A learned entry is filed under (filtering VLAN, MAC).  Entries are kept in the order in which they were stamped, of
the module and of each port, so that the least recently stamped one is always the first.
"""

from __future__ import annotations

from typing import NamedTuple

from vsw.config.module import Module
from vsw.reference.vlans import Vlans

Key = tuple[int, int]


class Learned(NamedTuple):
    """A learned entry: the port, and the clock (ns) when its address was last seen as a source."""

    port: int
    stamp: int


class Table:
    """Static lookup, lookup, and learning, as sections 11 and 12 of the rules have them."""

    def __init__(self, module: Module, vlans: Vlans) -> None:
        self._vlans = vlans
        self._age = module.age_ns
        self._port_limit = module.port_limit
        self._module_limit = module.module_limit
        self._static = {(entry.vlan, entry.mac): entry.port for entry in module.static if entry.vlan is not None}
        self._any_vlan = {entry.mac: entry.port for entry in module.static if entry.vlan is None}
        self._learned: dict[Key, Learned] = {}
        self._of_port: dict[int, dict[Key, None]] = {port.number: {} for port in module.ports}

    def __len__(self) -> int:
        """The number of learned entries, expired ones that no lookup has found yet among them."""
        return len(self._learned)

    def static_here(self, vlan: int, mac: int, port: int) -> bool:
        """Rule 8: a static entry for the MAC, in the frame's VLAN or in any, lies on this port."""
        return self._static.get((self._vlans.filtering(vlan), mac)) == port or self._any_vlan.get(mac) == port

    def static(self, vlan: int, mac: int) -> int | None:
        """The port of the static entry for (VLAN, MAC), ``None`` if there is none."""
        port = self._static.get((self._vlans.filtering(vlan), mac))
        if port is None:
            port = self._any_vlan.get(mac)
            if port is not None and not self._vlans.receives(port, vlan):
                return None
        return port

    def learned(self, vlan: int, mac: int, clock: int) -> int | None:
        """The port of the learned entry for (VLAN, MAC), ``None`` if there is none; an expired one is removed."""
        key = (self._vlans.filtering(vlan), mac)
        entry = self._learned.get(key)
        if entry is None:
            return None
        if clock - entry.stamp >= self._age:
            self._remove(key)
            return None
        return entry.port

    def learn(self, vlan: int, mac: int, port: int, clock: int) -> str:
        """Stamp, move or add the entry of a source (no static entry exists for it); says what was done."""
        key = (self._vlans.filtering(vlan), mac)
        known = self.learned(vlan, mac, clock)
        evicted = ""
        if not self._port_limit or not self._module_limit:
            return "no room: a limit is 0"
        if known != port and len(self._of_port[port]) >= self._port_limit:
            evicted = self._evict(port, "the port is at its limit")
        if known is None and len(self._learned) >= self._module_limit:
            evicted = self._evict(self._to_give_up(clock), "the module is at its limit")
        if known is not None:
            self._remove(key)
        self._learned[key] = Learned(port, clock)
        self._of_port[port][key] = None
        done = "added" if known is None else "stamped anew" if known == port else "moved here"
        return f"{done}{evicted}"

    def _to_give_up(self, clock: int) -> int:
        """The port whose least recently stamped entry goes when the module is full."""
        oldest = next(iter(self._learned.values()))
        if clock - oldest.stamp >= self._age:
            return oldest.port
        return min(self._of_port, key=lambda port: (-len(self._of_port[port]), port))

    def _evict(self, port: int, why: str) -> str:
        key = next(iter(self._of_port[port]))
        self._remove(key)
        return f"; {why}: evicted {key[1].to_bytes(6, 'big').hex(':')} in VLAN {key[0]} of port {port}"

    def _remove(self, key: Key) -> None:
        del self._of_port[self._learned.pop(key).port][key]
