"""The static forwarding table of one switch: what was written, and what follows from the addresses of ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsw.config.models import StaticWords
from vsw.config.module import Port, StaticEntry
from vsw.config.positions import Path
from vsw.config.problems import Report
from vsw.config.values import did_you_mean, format_mac

if TYPE_CHECKING:
    from vsw.config.ports import Draft


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
            report.add((*where, "port"), f"the switch has no such port{did_you_mean(entry.port, by_name)}", entry.port)
        else:
            table.add(entry.vlan, entry.mac, by_name[entry.port], (*where, "mac"))
    return table.entries()


class _Table:
    def __init__(self, ports: dict[int, Port], private: dict[int, int], report: Report) -> None:
        self._ports = ports
        self._private = private
        self._report = report
        self._vlans: dict[int, dict[int | None, int]] = {}

    def add(self, vlan: int | None, mac: int, port: Port, path: Path) -> None:
        if vlan is not None:
            vlan = self._private.get(vlan, vlan)  # one table for a primary VLAN and its secondaries
        claims = self._vlans.setdefault(mac, {})
        for other_vlan, number in claims.items():
            if number != port.number and self._meet(vlan, port, other_vlan, self._ports[number]):
                where = "in any VLAN" if vlan is None and other_vlan is None else f"in VLAN {vlan if vlan is not None else other_vlan}"
                name = self._ports[number].name
                self._report.add(path, f"the address is already on port {name!r} of this switch, {where}", format_mac(mac))
                return
        claims.setdefault(vlan, port.number)

    def _meet(self, vlan: int | None, port: Port, other_vlan: int | None, other: Port) -> bool:
        if vlan is None:
            return other_vlan is None or self._receives(port, other_vlan)
        return vlan == other_vlan or (other_vlan is None and self._receives(other, vlan))

    def _receives(self, port: Port, vlan: int) -> bool:
        if not port.vlan.vids:
            return self._private.get(port.vlan.vid, port.vlan.vid) == vlan
        return vlan in port.vlan.vids or any(primary == vlan and secondary in port.vlan.vids for secondary, primary in self._private.items())

    def entries(self) -> tuple[StaticEntry, ...]:
        return tuple(StaticEntry(vlan, mac, number) for mac, claims in self._vlans.items() for vlan, number in claims.items())
