"""Configuration to tables: names, sets and modes become numbers, bitmaps and groups.

:func:`compile_module` is pure: one :class:`~vsw.config.module.Module` and the state of its teams in, one
:class:`~vsw.datapath.tables.Tables` out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import ALL_VIDS, Module, Port, StaticEntry, Team
from vsw.datapath import tables as t
from vsw.errors import UsageError
from vsw.switch.team import TeamState

MODES = {
    "access": t.ACCESS,
    "trunk": t.TRUNK,
    "native-tagged": t.NATIVE_TAGGED,
    "native-untagged": t.NATIVE_UNTAGGED,
    "dot1q-tunnel": t.TUNNEL,
    "private": t.PRIVATE,
}
PRIORITY_TAGS = {"no": 0, "if-nonzero": 1, "always": 2}
#: Numbers of ``hashes/registry.h``.
POLICIES = {
    "port-id": 0,
    "src-mac": 1,
    "ip-hash": 2,
    "layer2": 3,
    "layer2+3": 4,
    "layer3+4": 5,
    "vlan+srcmac": 6,
    "explicit": t.EXPLICIT,
}
#: Policies under which each vNIC hears the outside by one uplink alone.
DESIGNATING = ("port-id", "src-mac", "explicit")
ETHERNET = 14
NO_VLAN = 0xFFFF
#: An any-VLAN entry of a port with at most this many VLANs becomes one exact entry for each: one probe finds it.
EXPAND = 64


def compile_module(module: Module, teams: dict[int, TeamState], up: dict[int, bool]) -> Tables:
    """Tables for a module whose teams and ports are in the given state (``up`` by port number)."""
    return Compiler(module, teams, up).tables()


def compile_state(module: Module, teams: dict[int, TeamState], up: dict[int, bool], tables: t.Tables, number: int) -> t.Delta:
    """What changes in a module's tables when port ``number`` goes up or down; ``teams`` and ``up`` are in the new state."""
    return Compiler(module, teams, up).state(tables, number)


Tables = t.Tables


def team_row(team: Team, state: TeamState) -> np.void:
    """The row of a team in its present state."""
    row: np.void = np.zeros(1, t.TEAM)[0]
    usable = state.usable()
    if len(usable) > t.TEAM_MEMBERS:
        raise UsageError(f"team {team.name}: {len(usable)} usable members, at most {t.TEAM_MEMBERS} are possible")
    row["policy"] = POLICIES[team.policy]
    row["buckets_used"] = team.assignment == "buckets"
    row["ip_hash_bits"] = team.ip_hash_bits
    row["lacp"] = team.lacp
    row["usable_count"] = len(usable)
    row["usable"][: len(usable)] = usable
    row["buckets"][:] = state.buckets()
    first = state.first()
    row["first"] = row["first_up"] = t.NO_PORT if first is None else first
    return row


def is_local(module: Module, port: Port) -> bool:
    """Whether a flood goes to the port: an uplink of a virtual dialect is picked by its team."""
    return not module.dialect.virtual or port.kind != "uplink"


def is_promiscuous(port: Port) -> bool:
    """Whether the port hears every frame of its VLANs."""
    return port.kind != "uplink" and port.security.promiscuous


class Compiler:
    """Tables of a module; ``ports`` and ``static`` are all of it, or the part whose entries are wanted."""

    def __init__(
        self,
        module: Module,
        teams: dict[int, TeamState],
        up: dict[int, bool],
        *,
        ports: tuple[Port, ...] | None = None,
        static: tuple[StaticEntry, ...] | None = None,
    ) -> None:
        self.module = module
        self.ports = module.ports if ports is None else ports
        self.static = module.static if static is None else static
        self.teams = teams
        self.up = up
        self.by_number = {port.number: port for port in self.ports}
        self.fid = np.arange(t.VIDS, dtype=np.uint16)
        for secondary, primary in module.private:
            self.fid[secondary] = primary
        self.secondaries: dict[int, list[int]] = {}
        for secondary, primary in module.private:
            self.secondaries.setdefault(primary, []).append(secondary)
        self.vid_rows: dict[frozenset[int], NDArray[np.bool_]] = {}
        self.count = max(self.by_number, default=-1) + 1

    def tables(self) -> t.Tables:
        accept, receive = self.vids()
        ports = np.zeros(self.count, t.PORT)
        for number, port in self.by_number.items():
            ports[number] = self.port_row(port)
        vlans, groups, members = self.groups(np.flatnonzero(self.place < len(self.by_number)), receive[:-1])
        static = self.static_entries(receive)
        return t.Tables(
            module=self.module_row(),
            ports=ports,
            vlans=vlans,
            groups=groups,
            members=members,
            teams=self.team_rows(),
            accept=rows_of_bits(accept)[self.place],
            receive=rows_of_bits(receive)[self.place],
            static=static,
            owners=self.owner_entries(static),
        )

    def entries(self) -> tuple[t.Entries, t.Entries]:
        """Static entries, and owners."""
        static = self.static_entries(self.vids()[1])
        return static, self.owner_entries(static)

    def vids(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """VIDs that may come in, VLANs that are received: a row for each port that there is, by its place, and one for numbers that are nobody's."""
        # Numbers may lie far apart.
        numbers = np.array(sorted(self.by_number), np.int64)
        self.place = np.full(self.count, len(numbers))
        self.place[numbers] = np.arange(len(numbers))
        accept, receive = np.zeros((2, len(numbers) + 1, t.VIDS), bool)
        for place, number in enumerate(numbers.tolist()):
            self.fill_vids(self.by_number[number], accept[place], receive[place])
        if self.module.dialect.reserve_4095:
            accept[:, 4095] = False
        return accept, receive

    def team_rows(self) -> NDArray[np.void]:
        return np.array([team_row(team, self.teams[i]) for i, team in enumerate(self.module.teams)], t.TEAM)

    def state(self, tables: t.Tables, number: int) -> t.Delta:
        """What a port's going up or down changes: its row, its teams', where those hear the outside who hang on them, and the default port."""
        teams = self.team_rows()
        changed = np.flatnonzero(teams != tables.teams)
        ports = {number: self.port_row(self.by_number[number])}
        hang = np.isin(tables.ports["team"], changed) & (tables.ports["flags"] & t.DESIGNATED != 0)
        for other in np.flatnonzero(hang).tolist():
            row = tables.ports[other].copy()
            row["designated"] = self.designated(self.by_number[other])
            if row["designated"] != tables.ports[other]["designated"] and other != number:
                ports[other] = row
        module = self.module_row()
        return t.Delta(
            module=None if np.array_equal(module, tables.module) else module, ports=ports, teams={int(index): teams[index] for index in changed}
        )

    def module_row(self) -> NDArray[np.void]:
        module, dialect = self.module, self.module.dialect
        row = np.zeros(1, t.MODULE)
        reserved = "pass" if module.forward_bpdu else dialect.reserved
        row["flags"] = (
            (dialect.virtual and t.VIRTUAL)
            | (dialect.check_source and t.CHECK_SOURCE)
            | (dialect.reserve_4095 and t.RESERVE_4095)
            | (dialect.ovs_tags and t.OVS_TAGS)
            | (reserved == "drop" and t.RESERVED_DROP)
            | (reserved == "ovs" and t.RESERVED_OVS)
            | (module.learning != "none" and t.LEARNS)
            | (any(port.bpdu_guard for port in module.ports) and t.GUARDS)
            | (not dialect.virtual and bool(module.teams) and t.TEAMS_OF_PORTS)
        )
        row["ports"] = self.count
        row["teams"] = len(module.teams)
        row["default_port"] = self.default_port()
        row["vlan_limit"] = module.vlan_limit
        tpids = [int.from_bytes(tpid.to_bytes(2, "big"), "little") for tpid in dialect.tpids]
        row["tpid"][:] = (tpids + tpids[:1] * 3)[:3]
        row["age"] = module.age_ns
        row["port_limit"] = module.port_limit
        row["module_limit"] = module.module_limit
        return row

    def default_port(self) -> int:
        """Where a frame of an unknown source came in (rule 0)."""
        if self.module.teams:
            state = self.teams[0]
            return next((member for member in (*state.active, *state.standby) if self.up[member]), t.NO_PORT)
        return next((port.number for port in self.ports_in_order() if port.kind == "uplink" and self.up[port.number]), t.NO_PORT)

    def ports_in_order(self) -> Iterable[Port]:
        return sorted(self.ports, key=lambda port: port.number)

    def port_row(self, port: Port) -> np.void:
        module, dialect = self.module, self.module.dialect
        uplink = port.kind == "uplink"
        team = None if port.team is None else module.teams[port.team]
        vlan = port.vlan
        row: np.void = np.zeros(1, t.PORT)[0]
        designated = dialect.virtual and dialect.designated and not uplink and team is not None and team.policy in DESIGNATING and not team.lacp
        drops_bpdu = not uplink and (port.bpdu_filter or dialect.drop_bpdu)
        mac = port.effective_mac if port.effective_mac is not None else port.mac
        lacp = any(one.lacp and port.number in (*one.active, *one.standby, *one.unused) for one in module.teams)
        learns = module.learning == "full" or (module.learning == "outside" and uplink)
        row["flags"] = (
            t.EXISTS
            | (self.up[port.number] and t.UP)
            | (uplink and t.UPLINK)
            | (port.protected and t.PROTECTED)
            | (not port.security.mac_changes and port.mac is not None and mac != port.mac and t.MAC_CHANGED)
            | (mac is not None and not port.security.forged_transmits and t.CHECK_FORGED)
            | (port.bpdu_guard and not uplink and t.BPDU_GUARD)
            | (drops_bpdu and t.BPDU_DROP)
            | (port.security.promiscuous and not uplink and t.PROMISCUOUS)
            | (uplink and lacp and t.LACP)
            | (designated and t.DESIGNATED)
            | (learns and t.LEARN)
            | (dialect.deja_vu and uplink and t.CHECK_DEJA_VU)
            | (module.pad and t.PADS)
        )
        row["max_length"] = port.mtu + ETHERNET
        tunnel = vlan.mode == "dot1q-tunnel"
        row["pvid"] = vlan.secondary if vlan.mode == "private" and vlan.role != "promiscuous" else vlan.vid
        row["vid_mask"] = 0 if tunnel else 0x0FFF
        row["untagged_vid"] = vlan.vid if vlan.mode == "native-untagged" else NO_VLAN
        row["tag_sent"] = 0 if vlan.mode in ("access", "private", "dot1q-tunnel") else 4
        row["mac"] = 0 if mac is None else t.as_loaded(mac)
        row["team"] = t.NO_TEAM if port.team is None else port.team
        row["designated"] = self.designated(port) if designated else t.NO_PORT
        row["tunnel_tpid"] = vlan.ethertype
        row["mode"] = MODES[vlan.mode]
        row["priority_tags"] = PRIORITY_TAGS[port.priority_tags]
        flags = int(row["flags"])
        row["flags"] = flags | self.slow_flags(port, flags)
        return row

    def slow_flags(self, port: Port, flags: int) -> int:
        """What the fast lane leaves to the exact path: frames from this port, frames to it."""
        ovs = self.module.dialect.ovs_tags
        tunnel = port.vlan.mode == "dot1q-tunnel"
        deep = ovs and self.module.vlan_limit > 1
        bond = not self.module.dialect.virtual and port.kind == "uplink" and port.team is not None
        slow_in = deep or bond or (ovs and tunnel)
        slow_out = deep or bond or port.priority_tags != "no" or bool(flags & (t.MAC_CHANGED | t.PADS | t.PROTECTED))
        return (slow_in and t.SLOW_IN) | (slow_out and t.SLOW_OUT)

    def designated(self, port: Port) -> int:
        """The uplink whose multi-destination frames the port gets (rule 13)."""
        assert port.team is not None
        team, state = self.module.teams[port.team], self.teams[port.team]
        if team.policy == "explicit":
            member = state.first()
        else:
            mac = port.effective_mac if port.effective_mac is not None else port.mac
            member = state.pick(port.number if team.policy == "port-id" else (mac or 0) & 0xFF)
        return t.NO_PORT if member is None else member

    def vid_row(self, vids: frozenset[int]) -> NDArray[np.bool_]:
        """A set of VIDs as a row of the tables; sets that many ports share are gone through once."""
        row = self.vid_rows.get(vids)
        if row is None:
            if not vids <= ALL_VIDS:
                raise UsageError(f"{self.module.name}: VID {min(vids - ALL_VIDS)} of a port: VIDs are 0 to {t.VIDS - 1}")
            row = self.vid_rows[vids] = np.zeros(t.VIDS, bool)
            row[np.fromiter(vids, np.int64, len(vids))] = True
        return row

    def fill_vids(self, port: Port, accept: NDArray[np.bool_], receive: NDArray[np.bool_]) -> None:
        """VIDs that may come in (0: none; a tunnel's customers'), and VLANs that the port receives."""
        vlan = port.vlan
        if vlan.mode in ("access", "private"):
            accept[0] = True
        elif vlan.mode == "dot1q-tunnel":
            accept[:] = self.vid_row(vlan.cvids) if vlan.cvids else True
        else:
            accept[:] = self.vid_row(vlan.vids)
            if vlan.mode != "trunk":
                accept[0] = True
        if vlan.mode in ("access", "dot1q-tunnel"):
            receive[vlan.vid] = True
        elif vlan.mode == "private":
            receive[vlan.vid] = True
            if vlan.role == "promiscuous":
                receive[self.secondaries.get(vlan.vid, [])] = True
            elif vlan.role == "community":
                receive[vlan.secondary] = True
        else:
            receive[:] = self.vid_row(vlan.vids)

    def groups(self, numbers: NDArray[np.int64], receive: NDArray[np.bool_]) -> tuple[NDArray[np.void], NDArray[np.void], NDArray[np.uint16]]:
        """VLAN rows, and the flood groups that they share: one for each distinct set of ports."""
        ports = [self.by_number[number] for number in numbers.tolist()]
        local = np.array([is_local(self.module, port) for port in ports], bool)
        promiscuous = np.array([is_promiscuous(port) for port in ports], bool)
        vlans = np.zeros(t.VIDS, t.VLAN)
        vlans["fid"] = self.fid
        # one row of bits a VLAN and column; the empty set first, so that there is one
        sets = np.concatenate([np.zeros((1, len(ports)), bool), (receive & local[:, None]).T, (receive & promiscuous[:, None]).T])
        rows = np.packbits(sets, axis=1) if ports else np.zeros((len(sets), 1), np.uint8)
        known: dict[bytes, int] = {}
        width, raw = rows.shape[1], rows.tobytes()
        found = [known.setdefault(raw[at : at + width], len(known)) for at in range(0, len(raw), width)]
        distinct = [np.flatnonzero(np.unpackbits(np.frombuffer(row, np.uint8), count=len(ports))) for row in known]
        lengths = np.array([len(places) for places in distinct], np.int64)
        groups = np.zeros(len(distinct), t.GROUP)
        groups["start"], groups["count"] = np.cumsum(lengths) - lengths, lengths
        vlans["group"], vlans["promiscuous"] = found[1 : 1 + t.VIDS], found[1 + t.VIDS :]
        vlans["flags"] = np.where(groups["count"][vlans["promiscuous"]] > 0, t.VLAN_PROMISCUOUS, 0)
        return vlans, groups, numbers[np.concatenate(distinct)].astype(np.uint16)

    def static_entries(self, receive: NDArray[np.bool_]) -> t.Entries:
        """Static entries, those for any VLAN written out where the port carries few."""
        vlan, mac, port = self.columns()
        is_any = vlan == t.ANY_VLAN
        vlan[~is_any] = self.fid[vlan[~is_any]]
        carried = receive.sum(axis=1)
        few = is_any & (carried[self.place[port]] <= EXPAND) & (not self.module.private)
        if few.any():
            extra_vlan, extra_row = [], []
            for row in np.flatnonzero(few):
                vids = np.flatnonzero(receive[self.place[port[row]]])
                extra_vlan.append(vids.astype(np.uint16))
                extra_row.append(np.full(len(vids), row))
            rows = np.concatenate(extra_row)
            # what was written down for one VLAN stands before what follows from an any-VLAN entry; that one stays, for rule 8 asks for it
            vlan, mac, port = np.concatenate([vlan, *extra_vlan]), np.concatenate([mac, mac[rows]]), np.concatenate([port, port[rows]])
        uplinks = np.zeros(self.count, bool)
        for one in self.ports:
            uplinks[one.number] = one.kind == "uplink"
        exact = vlan != t.ANY_VLAN
        member = np.zeros(len(vlan), bool)
        member[exact] = receive[self.place[port[exact]], vlan[exact]]
        if not self.module.dialect.virtual:
            member |= exact
        member &= ~uplinks[port]
        flags = t.STATIC | np.where(member, t.MEMBER, 0)
        if self.module.private:
            flags = np.full(len(vlan), t.STATIC)
        entries = t.Entries(vlan, mac, (port | flags).astype(np.uint16))
        return _first_of_each(entries)

    def placed(self, vlans: NDArray[np.uint16], vlan: int) -> NDArray[np.bool_]:
        """Which entries are in this VLAN, or in its primary."""
        there: NDArray[np.bool_] = (vlans == vlan) | (vlans == self.fid[vlan])
        return there

    def columns(self) -> tuple[NDArray[np.uint16], NDArray[np.uint64], NDArray[np.uint16]]:
        static = self.static
        count = len(static)
        vlan = np.fromiter((t.ANY_VLAN if entry.vlan is None else entry.vlan for entry in static), np.uint16, count)
        mac = np.fromiter((entry.mac for entry in static), np.uint64, count)
        port = np.fromiter((entry.port for entry in static), np.uint16, count)
        return vlan, t.as_loaded_array(mac), port

    def owner_entries(self, static: t.Entries) -> t.Entries:
        """What ``source-mac`` looks up (rule 0): rows in ascending order of port number, the first of each key counts."""
        vlan, mac, port = self.columns()
        wire, macs, numbers = [np.empty(0, np.uint16)], [np.empty(0, np.uint64)], [np.empty(0, np.uint16)]
        fids = [np.empty(0, np.uint16)]
        order = np.argsort(port, kind="stable")
        vlan, mac, port = vlan[order], mac[order], port[order]
        bounds = np.searchsorted(port, np.arange(self.count + 1))

        def own(vids: NDArray[np.uint16], addresses: NDArray[np.uint64], number: int, within: int | None = None) -> None:
            """``vids`` are those on the wire; ``within`` is the VLAN that the frames are then in, where it is another."""
            wire.append(np.repeat(vids, len(addresses)))
            fids.append(np.repeat(self.fid[vids % t.VIDS] if within is None else self.fid[np.full(len(vids), within)], len(addresses)))
            macs.append(np.tile(addresses, len(vids)))
            numbers.append(np.full(len(vids) * len(addresses), number | t.STATIC, np.uint16))

        for one in self.ports_in_order():
            if one.kind == "uplink":
                continue
            rows = slice(bounds[one.number], bounds[one.number + 1])
            entry_vlan, entry_mac = vlan[rows], mac[rows]
            mine = {one.effective_mac if one.effective_mac is not None else one.mac, *one.macs} - {None}
            anywhere = np.array(sorted(t.as_loaded(address) for address in mine if address is not None), np.uint64)
            anywhere = np.union1d(anywhere, entry_mac[entry_vlan == t.ANY_VLAN])
            tied = entry_vlan != t.ANY_VLAN
            tied_vlan, tied_mac = entry_vlan[tied], entry_mac[tied]
            settings = one.vlan
            if settings.mode in ("trunk", "native-tagged", "native-untagged"):
                vids = np.array(sorted(settings.vids - {0}), np.uint16)
                untagged = settings.vid if settings.mode != "trunk" else (0 if 0 in settings.vids else None)
                if len(vids) <= EXPAND:
                    own(vids, anywhere, one.number)
                    if untagged is not None:
                        own(np.zeros(1, np.uint16), anywhere, one.number, untagged)
                else:
                    own(np.full(1, t.ANY_VLAN, np.uint16), anywhere, one.number)
                for primary in np.unique(tied_vlan).tolist():
                    there = tied_mac[tied_vlan == primary]
                    own(np.intersect1d(vids, np.array([primary, *self.secondaries.get(primary, [])], np.uint16)), there, one.number)
                if untagged is not None:
                    own(np.zeros(1, np.uint16), tied_mac[self.placed(tied_vlan, untagged)], one.number, untagged)
                continue
            assigned = settings.secondary if settings.mode == "private" and settings.role != "promiscuous" else settings.vid
            here = tied_mac[self.placed(tied_vlan, assigned)]
            if assigned:
                own(np.array([assigned], np.uint16), np.union1d(anywhere, here), one.number, assigned)
            if settings.mode != "dot1q-tunnel" or not settings.cvids or 0 in settings.cvids:
                own(np.zeros(1, np.uint16), np.union1d(anywhere, here), one.number, assigned)
        # ascending by port, so that the first of each key is the lowest
        owners = t.Entries(np.concatenate(wire), np.concatenate(macs), np.concatenate(numbers))
        if any(not one.security.forged_transmits for one in self.module.ports):
            owners.port[self.honest(owners, np.concatenate(fids), static)] |= t.HONEST
        return _first_of_each(owners)

    def honest(self, owners: t.Entries, fids: NDArray[np.uint16], static: t.Entries) -> NDArray[np.bool_]:
        """Rows whose address is surely no forged source on its port (rule 8): the port's own, or one that a static entry puts there."""
        own = np.zeros(self.count, np.uint64)
        for one in self.ports:
            mac = one.effective_mac if one.effective_mac is not None else one.mac
            own[one.number] = 0 if mac is None else t.as_loaded(mac)
        numbers = owners.port & t.PORT_NUMBER
        order = np.argsort(static.keys(), kind="stable")
        keys, ports = static.keys()[order], static.port[order] & t.PORT_NUMBER
        sure: NDArray[np.bool_] = own[numbers] == owners.mac
        if len(keys):
            for vlans in (fids, np.full(len(fids), t.ANY_VLAN)):
                wanted = t.Entries(vlans, owners.mac, owners.port).keys()
                place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
                sure |= (keys[place] == wanted) & (ports[place] == numbers)
        return sure


def _first_of_each(entries: t.Entries) -> t.Entries:
    _, first = np.unique(entries.keys(), return_index=True)
    return entries.rows(np.sort(first))


def rows_of_bits(table: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(table, axis=1, bitorder="little").view("<u8").astype(np.uint64)
