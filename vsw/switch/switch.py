"""The switch that users hold: one module, its tables, and runs of frames through it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import Module, Team
from vsw.datapath.pipeline import Datapath
from vsw.datapath.source import FrameSource
from vsw.datapath.tables import UP, Delta, Tables
from vsw.errors import UsageError
from vsw.switch.change import compile_change
from vsw.switch.compile import compile_module, compile_state
from vsw.switch.result import Counters, Result
from vsw.switch.run import BURST, Run
from vsw.switch.team import TeamState


@dataclass(frozen=True, slots=True)
class Event:
    """A port goes up or down at ``time`` (ns since the epoch): before the first frame with that time or a later one."""

    time: int
    port: str | int
    up: bool


class Switch:
    """One module that frames can be sent through.

    Learned addresses, port states and :attr:`counters` live as long as the switch; :meth:`reset` forgets them.

    Thread-safety: :meth:`forward` may run in several threads at once (each run has counters and columns of its own; where frames change what later
    frames meet, runs wait for one another).  :meth:`set_port` and :meth:`reconfigure` may be called at any time: they take effect
    between two bursts, so that each frame meets the old or the new configuration.
    """

    def __init__(self, module: Module) -> None:
        self._lock = threading.RLock()
        self._load(module)
        self._datapath = Datapath(self._tables)

    def _load(self, module: Module) -> None:
        if not isinstance(module, Module):
            raise UsageError(f"a switch is made of a Module, such as load(FILE).module() gives, not of {module!r}")
        module.check()
        self.module = module
        self._up = {port.number: port.up for port in module.ports}
        self._teams = {index: TeamState(team, self._up) for index, team in enumerate(module.teams)}
        self._tables = compile_module(module, self._teams, self._up)

    # ---- control ----

    def port(self, name_or_number: str | int) -> int:
        """The number of a port; :class:`~vsw.errors.UsageError` names those that exist."""
        try:
            return self.module.port(name_or_number).number
        except KeyError:
            names = ", ".join(port.name for port in self.module.ports)
            raise UsageError(f"{self.module.name} has no port {name_or_number!r}; its ports: {names}") from None

    def set_port(self, port: str | int, up: bool) -> None:
        """A port goes up or down; teams fail over and back."""
        with self._lock:
            number = self.port(port)
            self._see_guards()
            was = self._up[number]
            self._up[number] = up
            if up and not was:
                for state in self._teams.values():
                    state.returned(number)
            delta = compile_state(self.module, self._teams, self._up, self._tables, number)
            self._datapath.apply(delta)
            self._tables = delta.into(self._tables)

    def is_up(self, port: str | int) -> bool:
        """Whether a port is up: what was set, unless its BPDU guard has shut it since."""
        return self._datapath.port_up(self.port(port))

    def teams(self) -> list[tuple[Team, list[int]]]:
        """Every team, and the numbers of the members that frames may leave by now."""
        with self._lock:
            return [(state.team, state.usable()) for state in self._teams.values()]

    def reconfigure(self, module: Module) -> None:
        """Take a new configuration of the same module: counters, learned addresses and the states of ports stay, by port number.

        Raises :class:`~vsw.errors.UsageError` for what can't be compiled; all is as before then.
        """
        module.check()
        with self._lock:
            self._see_guards()
            up = {port.number: self._up.get(port.number, port.up) for port in module.ports}
            old, teams = self._teams, {index: TeamState(team, up) for index, team in enumerate(module.teams)}
            for index, state in teams.items():
                if index in old and old[index].team == state.team:
                    state.active, state.standby = old[index].active, old[index].standby
            self._tables = self._update(module, teams, up)
            self.module, self._teams, self._up = module, teams, up

    def _see_guards(self) -> None:
        """A BPDU guard shuts its port in the datapath; states and tables follow, and the rows that are made of them next do not open it."""
        for port in self.module.ports:
            if port.bpdu_guard and not self._datapath.port_up(port.number):
                self._up[port.number] = False
                self._tables.ports["flags"][port.number] &= ~np.uint32(UP)

    def _update(self, module: Module, teams: dict[int, TeamState], up: dict[int, bool]) -> Tables:
        """Have the datapath do as the module says; returns its tables then."""
        change = compile_change(self.module, module, self._tables, teams, up)
        if change is not None:
            self._datapath.apply(change.delta)
            return change.tables
        tables = compile_module(module, teams, up)
        if _same_shape(self._tables, tables):
            self._datapath.apply(Delta.between(self._tables, tables))
        else:
            self._datapath.program(tables)
        return tables

    def reset(self) -> None:
        """Forget learned addresses, counters and port states."""
        with self._lock:
            self._load(self.module)
            self._datapath = Datapath(self._tables)

    @property
    def counters(self) -> Counters:
        """Everything counted since the switch was made or reset."""
        counters = self._datapath.counters()
        if counters is None:
            worker = self._datapath.worker()
            counters = worker.counters()
            self._datapath.retire(worker)
        return Counters.from_worker(counters, self.rows)

    @property
    def rows(self) -> int:
        """Rows of the per-port counters: the greatest port number + 1."""
        return len(self._tables.ports)

    @property
    def datapath(self) -> Datapath:
        """The compiled datapath itself, for callers that send many small batches (see :meth:`Datapath.run`)."""
        return self._datapath

    def learned(self) -> list[tuple[int, int, int, int]]:
        """Learned addresses, least recently seen first: (filtering VLAN, MAC, port number, last seen in ns)."""
        return [
            (vlan, int.from_bytes(mac.to_bytes(6, "little"), "big"), port, stamp) for vlan, mac, port, stamp in self._datapath.learned()
        ]

    def flush(self, port: str | int | None = None) -> int:
        """Forget learned addresses, of one port or all; returns how many."""
        return self._datapath.flush(None if port is None else self.port(port))

    # ---- frames ----

    def forward(
        self,
        frames: FrameSource | str | os.PathLike[str],
        *,
        ingress: str | int | NDArray[np.uint16] | None = None,
        events: Iterable[Event] = (),
        workers: int = 1,
        columns: bool = True,
        copies: bool = False,
        out: Result | None = None,
        egress: Any = None,
        exact: bool = False,
        burst: int = BURST,
        progress: Callable[[int, int], object] | None = None,
    ) -> Result:
        """Send frames through the switch, in order, and say what became of each.

        ``frames`` is a capture, a :class:`~vsw.Batch`, or the path of a capture file.  ``ingress`` is a port (name or number), an array with one port
        number a frame (uint16), or ``"source-mac"``; without it, what the frames themselves say (a batch's ``port_in``, a capture's interfaces
        named ``host/switch/port``), else ``source-mac``.  ``events`` change port states on the frames' clock.
        ``workers`` threads share the work where frames do not change what later frames meet; results are the same for every number.
        ``columns`` and ``copies`` say what to keep; ``out`` is an earlier result whose columns are written again (its rows must suffice).
        ``egress`` is an object with a ``sink`` (address of a ``vsw_sink``) and a ``check()``: it is given every copy.
        ``exact`` keeps the fast lane out (for tests); ``burst`` is 1 to 256 frames.
        ``progress`` is called now and then with (bytes done, frames done).

        Raises :class:`~vsw.errors.UsageError` where arguments do not fit, :class:`~vsw.errors.CaptureError` where a capture can't be read on.
        """
        if isinstance(frames, str | os.PathLike):
            from vsw.capture import open_capture  # noqa: PLC0415

            frames = open_capture(frames)
        if not isinstance(frames, FrameSource):
            raise UsageError(f"frames come from a capture, a batch or the path of a capture, not from {frames!r}")
        return Run(
            self, frames, ingress=ingress, events=events, workers=workers, columns=columns, copies=copies, out=out, egress=egress,
            exact=exact, burst=burst, progress=progress,
        ).result()


def _same_shape(old: Tables, new: Tables) -> bool:
    """Whether a delta can lead from one to the other: learning neither begins nor ends, nor changes its bounds."""
    fields = ("age", "port_limit", "module_limit")
    learns = (old.module["flags"] ^ new.module["flags"]) & 64
    return not learns.any() and all(old.module[name] == new.module[name] for name in fields)
