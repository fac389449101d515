"""A team of uplinks: which members are usable, and which one a hash picks (rules.md, section 13)."""

from __future__ import annotations

from collections.abc import Mapping

from vsw.config.module import Team


class TeamState:
    """A team as it is now: events change the two lists if the team does not fail back.

    ``up`` tells of each port number whether that port is up; the switch owns it.
    """

    def __init__(self, team: Team, up: Mapping[int, bool]) -> None:
        self.team = team
        self.active = list(team.active)
        self.standby = list(team.standby)
        self.members = frozenset((*team.active, *team.standby, *team.unused))
        self._up = up

    def replacements(self) -> dict[int, int]:
        """The j-th active that is down -> the j-th standby that is up."""
        down = [member for member in self.active if not self._up[member]]
        ready = [member for member in self.standby if self._up[member]]
        return dict(zip(down, ready, strict=False))

    def usable(self) -> list[int]:
        """The actives that are up, then the standbys that replace others."""
        return [member for member in self.active if self._up[member]] + list(self.replacements().values())

    def first(self) -> int | None:
        """The first active that is up, else the first standby that is up."""
        return next((member for member in (*self.active, *self.standby) if self._up[member]), None)

    def pick(self, value: int) -> int | None:
        """The member that a hash value picks, ``None`` if none is usable."""
        if self.team.policy == "explicit":
            return self.first()
        usable = self.usable()
        if not usable:
            return None
        if self.team.assignment == "modulo":
            return usable[value % len(usable)]
        bucket = value & 0xFF
        owner = self.active[bucket % len(self.active)] if self.active else None
        if owner is not None and self._up[owner]:
            return owner
        substitute = None if owner is None else self.replacements().get(owner)
        return substitute if substitute is not None else usable[bucket // max(len(self.active), 1) % len(usable)]

    def designated(self, number: int, mac: int | None) -> int | None:
        """The member for traffic to a port of that number and effective MAC."""
        return self.pick(number if self.team.policy == "port-id" else (mac or 0) & 0xFF)

    def comes_up(self, member: int) -> None:
        """A member that was down is about to be up: without failback it has to queue if the team does without it."""
        if self.team.failback or not self.usable():
            return
        if member in self.active:
            place = self.active.index(member)
            substitute = self.replacements().get(member)
            if substitute is None:
                del self.active[place]
            else:
                self.active[place] = substitute
                self.standby.remove(substitute)
            self.standby.append(member)
        elif member in self.standby:
            self.standby.remove(member)
            self.standby.append(member)

    def why(self, value: int, names: Mapping[int, str]) -> str:
        """The sentence that tells how :meth:`pick` came to its choice."""
        member = self.pick(value)
        usable = self.usable()
        if member is None:
            return "no member is up"
        listed = ", ".join(names[number] for number in usable)
        if self.team.policy == "explicit":
            return f"the first active that is up, else the first standby: {names[member]}"
        if self.team.assignment == "modulo":
            return f"{value:#x} mod {len(usable)} usable ({listed}) = {value % len(usable)}: {names[member]}"
        bucket = value & 0xFF
        if not self.active:
            return f"bucket {bucket} shared out over the standbys ({listed}): {names[member]}"
        owner = self.active[bucket % len(self.active)]
        found = f"bucket {bucket} of {value:#x} belongs to {names[owner]} ({bucket} mod {len(self.active)} actives)"
        if owner == member:
            return f"{found}, which is up"
        if self.replacements().get(owner) == member:
            return f"{found}, which is down; standby {names[member]} replaces it"
        return f"{found}, which is down; {bucket // len(self.active)} mod {len(usable)} usable ({listed}): {names[member]}"
