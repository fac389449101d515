"""The state of a team: who is usable now, and which bucket is whose (rule 13)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import Team
from vsw.datapath.tables import BUCKETS, NO_PORT


class TeamState:
    """Members of one team as failures and returns have ordered them.

    ``up`` is the link state by port number; it is shared with the switch and read, never written.
    """

    def __init__(self, team: Team, up: Mapping[int, bool]) -> None:
        self.team = team
        self.up = up
        self.active = list(team.active)
        self.standby = list(team.standby)

    def replacements(self) -> dict[int, int]:
        """Standbys in service, by the active member whose place they take."""
        down = [member for member in self.active if not self.up[member]]
        ready = [member for member in self.standby if self.up[member]]
        return dict(zip(down, ready, strict=False))

    def usable(self) -> list[int]:
        """Members that frames may leave by: actives that are up, then standbys in service."""
        return [member for member in self.active if self.up[member]] + list(self.replacements().values())

    def first(self) -> int | None:
        """What policy ``explicit`` picks, and the first usable member of any policy."""
        return next((member for member in (*self.active, *self.standby) if self.up[member]), None)

    def buckets(self) -> NDArray[np.uint16]:
        """The member of each of the 256 buckets, uint16."""
        usable = self.usable()
        table = np.full(BUCKETS, NO_PORT, np.uint16)
        if not usable or not self.active:
            return table
        replaced = self.replacements()
        count = len(self.active)
        for bucket in range(BUCKETS):
            home = self.active[bucket % count]
            if not self.up[home]:
                home = replaced.get(home, usable[bucket // count % len(usable)])
            table[bucket] = home
        return table

    def pick(self, value: int) -> int | None:
        """The member for a hash."""
        usable = self.usable()
        if not usable:
            return None
        if self.team.assignment == "buckets":
            return int(self.buckets()[value % BUCKETS])
        return usable[value % len(usable)]

    def returned(self, member: int) -> None:
        """A member has come up again (``up`` says so already): without failback it waits behind the standbys."""
        if self.team.failback:
            return
        was_up = {**self.up, member: False}
        before = TeamState(self.team, was_up)
        before.active, before.standby = self.active, self.standby
        if not before.usable():
            return
        if member in self.active:
            replacement = before.replacements().get(member)
            place = self.active.index(member)
            if replacement is None:
                del self.active[place]
            else:
                self.active[place] = replacement
                self.standby.remove(replacement)
        elif member in self.standby:
            self.standby.remove(member)
        else:
            return
        self.standby.append(member)
