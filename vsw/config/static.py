"""The static forwarding table of one switch: what was written, and what follows from the addresses of ports."""

from __future__ import annotations

from vsw.config.draft import Draft
from vsw.config.models import StaticWords
from vsw.config.module import Port, StaticEntry
from vsw.config.positions import Path
from vsw.config.problems import Report
from vsw.config.values import format_mac, listed


def build_static(
    path: Path,
    written: tuple[StaticWords, ...],
    ports: tuple[Port, ...],
    drafts: list[Draft],
    private: dict[int, int],
    max_vid: int,
    report: Report,
) -> tuple[StaticEntry, ...]:
    """Every entry; two ports that claim one address in one VLAN go to the report."""
    table = _Table({port.number: port for port in ports}, private, report)
    by_name = {port.name: port for port in ports}
    for draft in drafts:
        port = by_name[draft.name]
        if port.kind == "uplink":
            continue
        vlan = port.vlan.vid if port.vlan.mode in {"access", "dot1q-tunnel", "private"} else None
        if port.effective_mac is not None:
            key = "effective_mac" if draft.words.effective_mac is not None else "mac"
            table.add(vlan, port.effective_mac, port, (*draft.path, key))
        for index, mac in enumerate(port.macs):
            table.add(vlan, mac, port, (*draft.path, "macs", index))
    for index, entry in enumerate(written):
        where = (*path, "static", index)
        if entry.vlan is not None and entry.vlan > max_vid:
            report.add((*where, "vlan"), f"VIDs of this dialect are 0 to {max_vid}", entry.vlan)
        if entry.port not in by_name:
            known = f"{report.hint(entry.port, by_name)}; it has: {listed(by_name)}"
            report.add((*where, "port"), f"the switch has no such port{known}", entry.port)
        else:
            table.add(entry.vlan, entry.mac, by_name[entry.port], (*where, "mac"))
    return table.entries()


class _Table:
    def __init__(self, ports: dict[int, Port], private: dict[int, int], report: Report) -> None:
        self._ports = ports
        self._private = private
        self._report = report
        self._secondaries: dict[int, set[int]] = {}
        for secondary, primary in private.items():
            self._secondaries.setdefault(primary, {primary}).add(secondary)
        self._claims: dict[int, dict[int | None, int]] = {}

    def add(self, vlan: int | None, mac: int, port: Port, path: Path) -> None:
        if vlan is not None:
            vlan = self._private.get(vlan, vlan)  # one table for a primary VLAN and its secondaries
        claims = self._claims.setdefault(mac, {})
        other = self._other(claims, vlan, port)
        if other is not None:
            number, common = other
            name = self._ports[number].name
            where = "any VLAN" if common is None else f"VLAN {common}"
            self._report.add(path, f"the address is already on port {name!r} of this switch, in {where}", format_mac(mac))
        claims.setdefault(vlan, port.number)

    def _other(self, claims: dict[int | None, int], vlan: int | None, port: Port) -> tuple[int, int | None] | None:
        """Another port that claims the address, and the VLAN in which they meet."""
        if claims.get(vlan, port.number) != port.number:
            return claims[vlan], vlan
        if vlan is not None:
            number = claims.get(None, port.number)
            return (number, vlan) if number != port.number and self._receives(self._ports[number], vlan) else None
        if None in claims:
            return None  # said before
        for known, number in claims.items():
            if known is not None and number != port.number and self._receives(port, known):
                return number, known
        return None

    def _receives(self, port: Port, vlan: int) -> bool:
        """Whether the port carries the VLAN or, if it is a primary one, a secondary of it."""
        family = self._secondaries.get(vlan)
        if not port.vlan.vids:
            return port.vlan.vid == vlan or (family is not None and port.vlan.vid in family)
        return vlan in port.vlan.vids or (family is not None and not family.isdisjoint(port.vlan.vids))

    def entries(self) -> tuple[StaticEntry, ...]:
        return tuple(StaticEntry(vlan, mac, number) for mac, claims in self._claims.items() for vlan, number in claims.items())
