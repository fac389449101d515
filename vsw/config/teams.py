"""The teams of one switch: its own, and what profiles and ports make of it."""

from __future__ import annotations

from typing import TypeVar

from vsw.config.dialects import Dialect
from vsw.config.draft import Draft
from vsw.config.models import TeamWords
from vsw.config.module import Port, Team
from vsw.config.positions import Path
from vsw.config.problems import Report
from vsw.config.values import listed

_T = TypeVar("_T")
_LISTS = ("active", "standby", "unused")


class TeamBuilder:
    """``teams[0]`` is the switch's own, if it has uplinks to make one of; equal overrides share a team."""

    def __init__(
        self, path: Path, words: TeamWords | None, dialect: Dialect, drafts: list[Draft], cards: tuple[str, ...], report: Report
    ) -> None:
        self.path = path
        self.words = words if words is not None else TeamWords()
        self.dialect = dialect
        self.report = report
        self.uplinks = {draft.name: draft.number for draft in drafts if draft.kind == "uplink"}
        self.teams: list[Team] = []
        self._names = {draft.number: draft.name for draft in drafts}
        self._known: dict[tuple[object, ...], int] = {}
        self._overrides: dict[Path, int | None] = {}
        self._check_cards(drafts, cards)
        if words is not None or (dialect.virtual and self.uplinks):
            self._own()

    def team_of(self, draft: Draft) -> int | None:
        """The index of the port's team (see :attr:`vsw.config.module.Port.team`)."""
        override: TeamWords | None = draft.setting("team")
        place = draft.place("team")
        if draft.kind == "uplink":
            if override is not None:
                self.report.add(place, f"uplink {draft.name!r} is a member of the switch's team, it can't have its own")
            return next((index for index, team in enumerate(self.teams) if draft.number in team.active + team.standby + team.unused), None)
        if override is None:
            return 0 if self.teams and self.dialect.virtual else None
        if not self.dialect.virtual:
            self.report.add(place, f"in dialect {self.dialect.name} a team is one port of the switch; other ports can't change it")
            return None
        if not self.teams:
            if not self.uplinks:
                self.report.add(place, "the switch has no uplinks to make a team of")
            return None
        name = place[1] if place[0] == "profiles" else draft.name
        if place not in self._overrides:
            self._overrides[place] = self._add(str(name), override, self.words, place)
        return self._overrides[place]

    def check_bond(self, ports: tuple[Port, ...]) -> None:
        """In a plain dialect a team is one port, so its members have one set of VLAN settings."""
        if self.dialect.virtual or not self.teams:
            return
        by_number = {port.number: port for port in ports}
        first, *others = (by_number[number] for number in self.teams[0].active + self.teams[0].standby)
        for other in others:
            for key in ("vlan", "priority_tags", "protected"):
                if getattr(other, key) != getattr(first, key):
                    message = f"members {first.name!r} and {other.name!r} differ in `{key}`; in dialect {self.dialect.name} a team is one port"
                    self.report.add((*self.path, "team"), message)

    def _check_cards(self, drafts: list[Draft], cards: tuple[str, ...]) -> None:
        if not cards:
            return
        for draft in drafts:
            if draft.kind == "uplink" and draft.name not in cards:
                message = f"the host has no such card{self.report.hint(draft.name, cards)}; it has: {listed(cards)}"
                self.report.add(draft.path, message, draft.name)

    def _own(self) -> None:
        path = (*self.path, "team")
        if not self.dialect.virtual and self.words.unused:
            message = f"in dialect {self.dialect.name} a port outside the team is a port like others; it can't be unused"
            self.report.add((*path, "unused"), message)
        self._add("team", self.words, TeamWords(active=tuple(self.uplinks)), path)

    def _add(self, name: str, words: TeamWords, base: TeamWords, path: Path) -> int | None:
        members = self._members(words, base, path)
        if members is None:
            return None
        active, standby, unused = members
        lacp = _first(words.lacp, base.lacp, False)
        if self.teams and lacp != self.teams[0].lacp:
            self.report.add((*path, "lacp"), "LACP runs on the team of the switch, for all ports alike", words.lacp)
        team = Team(
            name=name,
            policy=_first(words.policy, base.policy, "port-id"),
            active=active,
            standby=standby,
            unused=unused,
            assignment=_first(words.assignment, base.assignment, self.dialect.assignment),
            ip_hash_bits=_first(words.ip_hash_bits, base.ip_hash_bits, 32),
            failback=_first(words.failback, base.failback, True),
            lacp=lacp,
        )
        key = (team.policy, active, standby, unused, team.assignment, team.ip_hash_bits, team.failback, team.lacp)
        if key not in self._known:
            self._known[key] = len(self.teams)
            self.teams.append(team)
        return self._known[key]

    def _members(self, words: TeamWords, base: TeamWords, path: Path) -> tuple[tuple[int, ...], ...] | None:
        """Port numbers of active, standby and unused, or ``None`` if they are no team."""
        written = {key: getattr(words, key) for key in _LISTS}
        if self.teams and all(names is None for names in written.values()):
            own = self.teams[0]
            return own.active, own.standby, own.unused
        seen: dict[str, str] = {}
        good = True
        for key, names in written.items():
            for index, name in enumerate(names or ()):
                if name in seen:
                    self.report.add((*path, key, index), f"the card is already in `{seen[name]}` of this team", name)
                    good = False
                elif name not in self.uplinks:
                    known = f"{self.report.hint(name, self.uplinks)}; it has: {listed(self.uplinks)}"
                    self.report.add((*path, key, index), f"no uplink of switch {self.path[-1]!r}{known}", name)
                    good = False
                seen.setdefault(name, key)
        if not good:
            return None
        if written["active"] is None:
            names = [self._names[number] for number in self.teams[0].active] if self.teams else list(base.active or ())
            written["active"] = tuple(name for name in names if name not in seen)
        if not written["active"]:
            self.report.add(path, "a team needs at least one active uplink")
            return None
        return tuple(tuple(self.uplinks[name] for name in written[key] or ()) for key in _LISTS)


def _first(written: _T | None, inherited: _T | None, default: _T) -> _T:
    if written is not None:
        return written
    return inherited if inherited is not None else default
