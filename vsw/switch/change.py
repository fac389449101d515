"""A changed module to changed rows: what a switch is told when ports or static entries come, go or change and all else stays.

:func:`compile_change` costs what the change costs, and short passes over all ports and entries; :func:`~vsw.switch.compile.compile_module`
costs what the module has.
What one MAC address means in the tables depends on nothing but the static entries and the ports that name it.  So all rows of the addresses that the
change touches are made anew, from a module that has only those ports and entries, and take the place of the old ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import Module, Port, StaticEntry
from vsw.datapath import tables as t
from vsw.switch.compile import Compiler, is_local, is_promiscuous, rows_of_bits
from vsw.switch.team import TeamState

#: A greater share of the ports or entries than one in so many is compiled as a whole.
LARGE = 8
#: Members of groups that nobody uses any more, beyond those in use: then the groups are made anew.
WASTE = 1024


class Change(NamedTuple):
    """What to tell the datapath, and what its tables are then."""

    delta: t.Delta
    tables: t.Tables


def compile_change(
    old: Module, new: Module, tables: t.Tables, teams: dict[int, TeamState], up: dict[int, bool]
) -> Change | None:
    """What leads from ``tables``, which are those of ``old``, to ``new``; ``teams`` and ``up`` are in the state to be.

    None where more changes than ports and static entries, or so much that the whole is compiled as fast.
    """
    if any(getattr(old, field.name) != getattr(new, field.name) for field in fields(Module) if field.name not in ("ports", "static")):
        return None
    changed = _changed_ports(old, new)
    entries = _changed_entries(old.static, new.static)
    before, after = ({port.number: port for port in module.ports if port.number in changed} for module in (old, new))
    if (
        len(changed) * LARGE > len(new.ports)
        or len(entries) * LARGE > len(new.static)
        or any(port.kind == "uplink" for port in (*before.values(), *after.values()))
        or _checks_sources(old) != _checks_sources(new)
    ):
        return None
    return _Change(new, tables, teams, up, before, after).compile(old, entries)


def _changed_ports(old: Module, new: Module) -> set[int]:
    """Numbers of ports that came, went or changed."""
    before = {port.number: port for port in old.ports}
    changed = set(before)
    for port in new.ports:
        number = port.number
        if number in before and (before[number] is port or before[number] == port):
            changed.discard(number)
        else:
            changed.add(number)
    return changed


def _changed_entries(old: tuple[StaticEntry, ...], new: tuple[StaticEntry, ...]) -> list[StaticEntry]:
    """Entries between what both begin with and what both end with."""
    if old == new:
        return []
    least = min(len(old), len(new))
    first = sum(1 for _ in takewhile(_same, zip(old, new, strict=False)))
    last = min(least - first, sum(1 for _ in takewhile(_same, zip(reversed(old), reversed(new), strict=False))))
    return [*old[first : len(old) - last], *new[first : len(new) - last]]


def _same(pair: tuple[StaticEntry, StaticEntry]) -> bool:
    return pair[0] is pair[1] or pair[0] == pair[1]


def _checks_sources(module: Module) -> bool:
    """Whether owners say which addresses are honest."""
    return any(not port.security.forged_transmits for port in module.ports)


def _named(port: Port) -> set[int]:
    """Addresses that a port's own configuration names."""
    return {address for address in (port.mac, port.effective_mac, *port.macs) if address is not None}


class _Change:
    def __init__(
        self, module: Module, tables: t.Tables, teams: dict[int, TeamState], up: dict[int, bool], before: dict[int, Port], after: dict[int, Port]
    ) -> None:
        self.module = module
        self.tables = tables
        self.teams = teams
        self.up = up
        self.before = before
        self.after = after
        self.numbers = sorted({*before, *after})
        self.whole = Compiler(module, teams, up)

    def compile(self, old: Module, entries: list[StaticEntry]) -> Change | None:
        count = self.whole.count
        ports, accept, receive = (_resized(array, count) for array in (self.tables.ports, self.tables.accept, self.tables.receive))
        rows: dict[int, np.void] = {}
        accepts: dict[int, NDArray[np.uint64]] = {}
        receives: dict[int, NDArray[np.uint64]] = {}
        for number in self.numbers:
            rows[number], accepts[number], receives[number] = self._rows(number)
            if number < count:
                ports[number], accept[number], receive[number] = rows[number], accepts[number], receives[number]
        vlans, groups, members = self._groups()
        if len(members) > 2 * int(groups["count"][np.unique([vlans["group"], vlans["promiscuous"]])].sum()) + WASTE:
            return None
        part = self._part(old, entries)
        static, remove, add = _replaced(self.tables.static, part.static, part.macs)
        owners, remove_owners, add_owners = _replaced(self.tables.owners, part.owners, part.macs)
        module, team_rows = self.whole.module_row(), self.whole.team_rows()
        regrouped = groups is not self.tables.groups
        delta = t.Delta(
            module=None if np.array_equal(module, self.tables.module) else module,
            ports=rows,
            accept=accepts,
            receive=receives,
            vlans={int(vid): vlans[vid] for vid in np.flatnonzero(vlans != self.tables.vlans)},
            teams={int(index): team_rows[index] for index in np.flatnonzero(team_rows != self.tables.teams)},
            groups=groups if regrouped else None,
            members=members if regrouped else None,
            remove=remove,
            add=add,
            remove_owners=remove_owners,
            add_owners=add_owners,
        )
        return Change(delta, t.Tables(module, ports, vlans, groups, members, team_rows, accept, receive, static, owners))

    def _rows(self, number: int) -> tuple[np.void, NDArray[np.uint64], NDArray[np.uint64]]:
        """A port's rows: of ports, of VIDs that may come in, of VLANs that it receives; zeros if it went."""
        accept, receive = np.zeros((2, t.VIDS), bool)
        row: np.void = np.zeros(1, t.PORT)[0]
        if number in self.after:
            row = self.whole.port_row(self.after[number])
            self.whole.fill_vids(self.after[number], accept, receive)
        if self.module.dialect.reserve_4095:
            accept[4095] = False
        return row, rows_of_bits(accept[None])[0], rows_of_bits(receive[None])[0]

    # ---- groups ----

    def _groups(self) -> tuple[NDArray[np.void], NDArray[np.void], NDArray[np.uint16]]:
        """VLANs, groups and members: a new group for every set of ports that some VLAN has now and had not before."""
        vlans = self.tables.vlans.copy()
        groups, members = [self.tables.groups], [self.tables.members]
        count, start = len(groups[0]), len(members[0])
        for column, belongs in (("group", partial(is_local, self.module)), ("promiscuous", is_promiscuous)):
            was = self._membership(self.before, belongs)
            now = self._membership(self.after, belongs)
            made: dict[tuple[int, bytes], int] = {}
            for vid in np.flatnonzero((was != now).any(axis=0)).tolist():
                old = int(vlans[column][vid])
                key = old, now[:, vid].tobytes()
                if key not in made:
                    row = self.tables.groups[old]
                    there = self.tables.members[row["start"] : row["start"] + row["count"]]
                    come = np.array(self.numbers, np.uint16)[now[:, vid]]
                    there = np.union1d(there[~np.isin(there, self.numbers)], come).astype(np.uint16)
                    groups.append(np.array([(start, len(there))], t.GROUP))
                    members.append(there)
                    made[key] = count
                    count, start = count + 1, start + len(there)
                vlans[column][vid] = made[key]
        if len(groups) == 1:
            return vlans, self.tables.groups, self.tables.members
        joined = np.concatenate(groups)
        vlans["flags"] = np.where(joined["count"][vlans["promiscuous"]] > 0, t.VLAN_PROMISCUOUS, 0)
        return vlans, joined, np.concatenate(members)

    def _membership(self, ports: dict[int, Port], belongs: Callable[[Port], bool]) -> NDArray[np.bool_]:
        """A row for each changed port: the VLANs in whose group it is."""
        found = np.zeros((len(self.numbers), t.VIDS), bool)
        accept = np.zeros(t.VIDS, bool)
        for place, number in enumerate(self.numbers):
            if number in ports and belongs(ports[number]):
                self.whole.fill_vids(ports[number], accept, found[place])
        return found

    # ---- addresses ----

    def _part(self, old: Module, entries: list[StaticEntry]) -> _Part:
        """Entries of the addresses that the change touches, as the new module has them."""
        changed = {*self.before, *self.after}
        touched = {entry.mac for entry in entries}
        touched.update(entry.mac for module in (old, self.module) for entry in module.static if entry.port in changed)
        for port in (*self.before.values(), *self.after.values()):
            touched |= _named(port)
        static = tuple(entry for entry in self.module.static if entry.mac in touched)
        needed = {entry.port for entry in static}
        ports = tuple(port for port in self.module.ports if port.number in needed or not touched.isdisjoint(_named(port)))
        part = Compiler(self.module, self.teams, self.up, ports=ports, static=static)
        macs = t.as_loaded_array(np.array(sorted(touched), np.uint64))
        found = part.entries()
        return _Part(macs, *(one.rows(np.isin(one.mac, macs)) for one in found))


class _Part(NamedTuple):
    """Addresses, as loaded, and all entries of theirs."""

    macs: NDArray[np.uint64]
    static: t.Entries
    owners: t.Entries


def _resized(array: NDArray[Any], count: int) -> NDArray[Any]:
    """A copy with ``count`` rows; new ones are zeros."""
    resized = np.zeros((count, *array.shape[1:]), array.dtype)
    same = min(count, len(array))
    resized[:same] = array[:same]
    return resized


def _replaced(old: t.Entries, part: t.Entries, macs: NDArray[np.uint64]) -> tuple[t.Entries, t.Entries, t.Entries]:
    """The entries with those of ``macs`` replaced by ``part``; which to remove; which to add."""
    touched = np.isin(old.mac, macs)
    remove, add = t.changed_entries(old.rows(touched), part)
    stay = old.rows(~touched)
    both = t.Entries(
        np.concatenate([stay.vlan, part.vlan]), np.concatenate([stay.mac, part.mac]), np.concatenate([stay.port, part.port])
    )
    return both, remove, add
