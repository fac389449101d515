"""One switch: its ports numbered, their policies merged, its teams, its private VLANs.

What a port is, is decided here in this order: the port's own words, its profile's, the switch's, the dialect's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from vsw.config.cards import CARDS
from vsw.config.dialects import DIALECTS, Security
from vsw.config.draft import Draft
from vsw.config.models import (
    AccessVlan,
    NativeVlan,
    NicWords,
    PolicyWords,
    PortWords,
    PrivateVlan,
    SwitchWords,
    TrunkVlan,
    TunnelVlan,
    VlanWords,
    VnicWords,
)
from vsw.config.module import MAX_PORTS, Attach, Module, Port, PriorityTags, Vlan
from vsw.config.positions import Path
from vsw.config.problems import Report
from vsw.config.static import build_static
from vsw.config.teams import TeamBuilder
from vsw.config.values import MAX_VID, listed

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Vnic:
    """A vNIC that is connected to the switch: its port's name, where it is written, and its address."""

    name: str
    path: Path
    words: VnicWords
    mac: int | None


class SwitchBuilder:
    """Builds the module of one switch; problems go to the report."""

    def __init__(
        self, host: str, name: str, words: SwitchWords, profiles: Mapping[str, PolicyWords], nics: Mapping[str, NicWords], report: Report
    ) -> None:
        self.name = f"{host}/{name}"
        self.path: Path = ("hosts", host, "switches", name)
        self.words = words
        self.profiles = profiles
        self.nics = nics
        self.report = report
        self.dialect = DIALECTS[words.dialect]
        self.max_vid = MAX_VID - 1 if self.dialect.reserve_4095 else MAX_VID

    def build(self, vnics: list[Vnic]) -> Module | None:
        """The module, or ``None`` if it has too many ports to go on; if there were problems it is not to be used."""
        drafts = self._drafts(vnics)
        if len(drafts) > MAX_PORTS:
            self.report.add((*self.path, "ports"), f"a switch has at most {MAX_PORTS} ports, this one has {len(drafts)}")
            return None
        self._number(drafts)
        for draft in drafts:
            self._find_profile(draft)
            self._check_addresses(draft)
        vlans = {draft.name: self._vlan(draft) for draft in drafts}
        teams = TeamBuilder(self.path, self.words.team, self.dialect, drafts, tuple(self.nics), self.report)
        ports = tuple(sorted((self._port(draft, vlans[draft.name], teams) for draft in drafts), key=lambda port: port.number))
        teams.check_bond(ports)
        private = self._private(drafts, vlans)
        words = self.words
        return Module(
            name=self.name,
            dialect=self.dialect,
            ports=ports,
            teams=tuple(teams.teams),
            static=build_static(self.path, words.static, ports, drafts, private, self.max_vid, self.report),
            learning=words.learning if words.learning is not None else self.dialect.learning,
            vlan_limit=words.vlan_limit if words.vlan_limit is not None else self.dialect.vlan_limit,
            forward_bpdu=words.forward_bpdu,
            pad=words.pad,
            private=tuple(sorted(private.items())),
            age_ns=max(1, round(words.age * NANOSECONDS)),
            port_limit=words.port_limit,
            module_limit=words.module_limit,
        )

    def _drafts(self, vnics: list[Vnic]) -> list[Draft]:
        """Every port in the order in which numbers are counted."""
        team = self.words.team
        lists = (("active", team.active), ("standby", team.standby), ("unused", team.unused)) if team is not None else ()
        members: dict[str, Path] = {}
        for key, cards in lists:
            for index, card in enumerate(cards or ()):
                members.setdefault(card, (*self.path, "team", key, index))
        drafts: dict[str, Draft] = {}
        for name, words in self.words.ports.items():
            path = (*self.path, "ports", name)
            kind = words.kind
            if name in members and kind != "uplink":
                if "kind" in words.model_fields_set:
                    self.report.add(members[name], f"the port is written down as {kind!r}, only an uplink can be in a team", name)
                kind = "uplink"
            drafts[name] = Draft(name, kind, path, words, words.mac)
        for name, path in members.items():
            if name not in drafts:
                drafts[name] = Draft(name, "uplink", path, PortWords(kind="uplink"), None)
        for vnic in vnics:
            if vnic.name in drafts:
                self.report.add(vnic.path, f"the vNIC's port would be named {vnic.name!r}, and the switch has a port of that name")
                continue
            drafts[vnic.name] = Draft(vnic.name, "vnic", vnic.path, vnic.words, vnic.mac)
        return list(drafts.values())

    def _number(self, drafts: list[Draft]) -> None:
        """Explicit numbers as they are; the rest counts up from 0 and skips those."""
        taken: dict[int, str] = {}
        for draft in drafts:
            number = draft.words.number
            if number is None:
                continue
            if number in taken:
                self.report.add((*draft.path, "number"), f"port {taken[number]!r} of this switch has the same number", number)
            taken.setdefault(number, draft.name)
            draft.number = number
        free = iter(number for number in range(2 * MAX_PORTS) if number not in taken)
        for draft in drafts:
            if draft.number < 0:
                draft.number = next(free)

    def _find_profile(self, draft: Draft) -> None:
        name = draft.words.profile
        if name is None:
            return
        draft.profile = self.profiles.get(name)
        if draft.profile is None:
            known = f"{self.report.hint(name, self.profiles)}; there are: {listed(self.profiles)}"
            self.report.add((*draft.path, "profile"), f"no such profile{known}", name)

    def _check_addresses(self, draft: Draft) -> None:
        words = draft.words
        if draft.kind == "uplink":
            for key in ("mac", "effective_mac", "macs"):
                if getattr(words, key):
                    self.report.add((*draft.path, key), "an uplink has no address of its own; what is known to be behind it goes into `static`")
        elif words.effective_mac is not None and draft.mac is None:
            self.report.add((*draft.path, "effective_mac"), "needs `mac`, the address that was configured")

    def _port(self, draft: Draft, vlan: Vlan, teams: TeamBuilder) -> Port:
        defaults = self.dialect.security
        own, inherited = draft.words.security, draft.profile.security if draft.profile is not None else None

        def policy(key: str, default: bool) -> bool:
            for words in (own, inherited):
                if words is not None and (value := getattr(words, key)) is not None:
                    return bool(value)
            return default

        mtu = draft.setting("mtu")
        tags: PriorityTags | None = draft.setting("priority_tags")
        return Port(
            number=draft.number,
            name=draft.name,
            kind=draft.kind,
            vlan=vlan,
            security=Security(
                promiscuous=policy("promiscuous", defaults.promiscuous),
                mac_changes=policy("mac_changes", defaults.mac_changes),
                forged_transmits=policy("forged_transmits", defaults.forged_transmits),
            ),
            mtu=mtu if mtu is not None else self.words.mtu,
            mac=draft.mac,
            effective_mac=draft.words.effective_mac if draft.words.effective_mac is not None else draft.mac,
            macs=draft.words.macs,
            priority_tags=tags if tags is not None else "no",
            protected=bool(draft.setting("protected")),
            bpdu_guard=bool(draft.setting("bpdu_guard")),
            bpdu_filter=bool(draft.setting("bpdu_filter")),
            team=teams.team_of(draft),
            up=draft.words.up,
            attach=self._attach(draft),
        )

    def _attach(self, draft: Draft) -> Attach | None:
        """What the port itself is attached to; a vNIC by its card's model, an uplink as its card is."""
        if isinstance(draft.words, VnicWords):
            return Attach(draft.words.attach or ("vhost-user" if CARDS[draft.words.model].vhost else "dgram"))
        words = draft.words.attach if isinstance(draft.words, PortWords) else None
        if words is None and draft.kind == "uplink" and draft.name in self.nics:
            words = self.nics[draft.name].attach
        if words is None:
            return None
        told = words.model_dump(exclude={"type"}, exclude_none=True)
        return Attach(words.type, tuple((key, str(value)) for key, value in told.items()))

    def _vlan(self, draft: Draft) -> Vlan:
        words: VlanWords | None = draft.setting("vlan")
        path = draft.place("vlan")
        if words is None:
            if draft.kind in {"vnic", "host"}:
                return Vlan("access", vid=0)
            return Vlan("trunk", vids=_all_vids(self.max_vid))
        match words:
            case AccessVlan():
                self._check_vid(words.vid, (*path, "vid"))
                return Vlan("access", vid=words.vid)
            case TrunkVlan():
                return Vlan("trunk", vids=self._vids(words.vids, (*path, "vids")))
            case NativeVlan():
                self._check_vid(words.vid, (*path, "vid"))
                return Vlan(words.mode, vid=words.vid, vids=_amend(self._vids(words.vids, (*path, "vids")), words.vid))
            case TunnelVlan():
                if words.vid == 0 and self.dialect.virtual:
                    self.report.add((*path, "vid"), f"a tunnel of dialect {self.dialect.name} has a VID from 1 to {self.max_vid}", 0)
                self._check_vid(words.vid, (*path, "vid"))
                cvids = self._vids(words.cvids, (*path, "cvids")) if words.cvids is not None else frozenset()
                return Vlan("dot1q-tunnel", vid=words.vid, cvids=cvids, ethertype=words.ethertype)
            case PrivateVlan():
                return self._private_vlan(words, path)

    def _private_vlan(self, words: PrivateVlan, path: Path) -> Vlan:
        self._check_vid(words.primary, (*path, "primary"))
        if not self.dialect.virtual:
            self.report.add((*path, "mode"), f"dialect {self.dialect.name} has no private VLANs", "private")
        secondary = words.secondary
        if words.role == "promiscuous":
            if secondary is not None:
                self.report.add((*path, "secondary"), "a promiscuous port is in the primary VLAN and has no secondary", secondary)
        elif secondary is None:
            self.report.add((*path, "secondary"), f"is required for role {words.role}")
        else:
            self._check_vid(secondary, (*path, "secondary"))
        return Vlan("private", vid=words.primary, role=words.role, secondary=secondary or 0)

    def _check_vid(self, vid: int, path: Path) -> None:
        if vid > self.max_vid:
            self.report.add(path, f"VIDs of dialect {self.dialect.name} are 0 to {self.max_vid}", vid)

    def _vids(self, vids: frozenset[int] | None, path: Path) -> frozenset[int]:
        if vids is None:
            return _all_vids(self.max_vid)
        self._check_vid(max(vids), path)
        return vids

    def _private(self, drafts: list[Draft], vlans: dict[str, Vlan]) -> dict[int, int]:
        """Secondary -> primary, from the switch's own list and from its ports."""
        primaries: dict[int, int] = {}
        roles: dict[int, str] = {}
        used_as_primary: dict[int, Path] = {}

        def add(secondary: int, primary: int, path: Path) -> None:
            known = primaries.setdefault(secondary, primary)
            if known != primary:
                self.report.add(path, f"VLAN {secondary} is already a secondary of primary VLAN {known}", secondary)

        for index, pair in enumerate(self.words.private_vlans):
            path: Path = (*self.path, "private_vlans", index)
            if pair.primary in used_as_primary:
                self.report.add((*path, "primary"), "the secondaries of a primary VLAN stand in one place", pair.primary)
                continue
            used_as_primary[pair.primary] = (*path, "primary")
            if not self.dialect.virtual:
                self.report.add((*self.path, "private_vlans"), f"dialect {self.dialect.name} has no private VLANs")
            self._check_vid(pair.primary, (*path, "primary"))
            self._check_vid(max(pair.secondaries), (*path, "secondaries"))
            if 0 in pair.secondaries:
                self.report.add((*path, "secondaries"), "VLAN 0 can't be a secondary VLAN")
            for secondary in sorted(pair.secondaries):
                if self.report.full:
                    break
                add(secondary, pair.primary, (*path, "secondaries"))
        for draft in drafts:
            vlan = vlans[draft.name]
            if vlan.mode != "private":
                continue
            place = draft.place("vlan")
            used_as_primary.setdefault(vlan.vid, (*place, "primary"))
            if vlan.secondary:
                add(vlan.secondary, vlan.vid, (*place, "secondary"))
                role = roles.setdefault(vlan.secondary, vlan.role or "")
                if role != vlan.role:
                    self.report.add((*place, "role"), f"secondary VLAN {vlan.secondary} is {role} on another port of this switch", vlan.role)
        for primary, path in used_as_primary.items():
            if primary in primaries:
                self.report.add(path, f"VLAN {primary} is a secondary of primary VLAN {primaries[primary]}", primary)
        return primaries


@lru_cache(maxsize=4)
def _all_vids(last: int) -> frozenset[int]:
    return frozenset(range(last + 1))


@lru_cache(maxsize=4096)  # ports that are written alike share one set
def _amend(vids: frozenset[int], native: int) -> frozenset[int]:
    """What a native port carries: the native VLAN always, and not VLAN 0 beside it."""
    return vids if native == 0 else (vids | {native}) - {0}
