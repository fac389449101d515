"""One module that runs: a switch, the ports that it is attached to, and what changes both."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from vsw.config.module import Module, Port
from vsw.errors import VswError
from vsw.host.attach import arguments, holds, open_port
from vsw.host.captures import Captures
from vsw.host.loop import Loop
from vsw.host.renumber import renumber
from vsw.ports.base import Port as LivePort
from vsw.switch.switch import Switch

LOG = logging.getLogger("vsw.host")


class LiveModule:
    """A switch between live ports.

    A port is up if its administrator wants it (``up`` of the topology, :meth:`set_admin`) and, for an uplink, if its link is up: what is attached
    there says so, and an uplink that is attached to nothing has none.  A guest that is away leaves its port up; what the switch sends to it is
    counted by the port as ``tx_no_peer``.

    ``problems`` says, by port name, why something could not be attached; the other ports work.

    Thread-safety: methods may be called from any thread; one change at a time.
    """

    def __init__(
        self, module: Module, run: Path, *, workers: int = 1, queues: Mapping[str, int] | None = None, captures: Captures | None = None
    ) -> None:
        self.run = run
        self.captures = captures or Captures()
        self.queues = dict(queues or {})
        self.switch = Switch(module)
        self.loop = Loop(self.switch.datapath, workers=workers)
        self.problems: dict[str, str] = {}
        self._admin = {port.number: port.up for port in module.ports}
        self._set: dict[int, bool] = {}  # what the switch was told last
        self._used = {port.number for port in module.ports}
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """``host/switch``."""
        return self.switch.module.name

    @property
    def module(self) -> Module:
        """The configuration that is in force."""
        return self.switch.module

    def open(self) -> None:
        """Attach all ports and start the workers.  What can't be attached is in ``problems``, and in the log."""
        with self._lock:
            for port in self.module.ports:
                self._attach(port)
                self._follow(port)
            self.loop.start()

    def close(self) -> None:
        """Stop the workers, and close all ports."""
        with self._lock:
            self.loop.stop()
            for number in self.loop.attached():
                live = self.loop.detach(number)
                if live is not None:
                    live.close()

    # ---- attaching ----

    def _open(self, port: Port, queues: Mapping[str, int]) -> LivePort:
        return self.captures.around(open_port(self.name, port, self.run, queues.get(port.name, 1)))

    def _attach(self, port: Port) -> None:
        self.problems.pop(port.name, None)
        if port.attach is None:
            return
        try:
            live = self._open(port, self.queues)
        except (OSError, VswError) as error:
            self._failed(port, error)
            return
        self.loop.attach(port.number, live)

    def _failed(self, port: Port, error: Exception) -> None:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        self.problems[port.name] = text
        LOG.error("%s/%s is attached to nothing: %s", self.name, port.name, text)

    def attach(self, port: str | int, live: LivePort) -> None:
        """Attach a port that is open already in place of what is attached there (for programs that embed a switch, and for tests)."""
        with self._lock:
            number = self.switch.port(port)
            previous = self.loop.attach(number, live)
            if previous is not None:
                previous.close()
            self._follow(self.module.port(number))

    def _link(self, port: Port) -> bool:
        live = self.loop.port(port.number)
        return port.kind != "uplink" or (live is not None and live.link)

    def _follow(self, port: Port) -> None:
        """Bring the switch's port to the state that administrator and link give it."""
        up = self._admin[port.number] and self._link(port)
        if self._set.get(port.number, port.up) != up:
            LOG.info("%s/%s goes %s", self.name, port.name, "up" if up else "down")
            self.switch.set_port(port.number, up)
        self._set[port.number] = up

    def set_admin(self, port: str | int, up: bool) -> None:
        """The administrator wants a port up or down."""
        with self._lock:
            number = self.switch.port(port)
            self._admin[number] = up
            if up:
                self._set[number] = False  # also a port that its BPDU guard has shut comes up
            self._follow(self.module.port(number))

    def admin(self, number: int) -> bool:
        """What the administrator wants of the port of that number."""
        return self._admin[number]

    def service(self, number: int) -> None:
        """Look after a port that wants it, and follow its link."""
        self.loop.service(number)
        with self._lock:
            try:
                port = self.module.port(number)
            except KeyError:
                return  # it was taken away meanwhile
            self._follow(port)

    # ---- another configuration ----

    def apply(self, module: Module, queues: Mapping[str, int] | None = None, *, dry_run: bool = False) -> dict[str, list[str]]:
        """Take another configuration of the same switch; frames of ports that it does not concern are not held up.

        Either all of it takes effect, or nothing, and an error says why.  Ports keep their numbers by name.  Returns the names of ports that were
        ``added``, ``removed``, ``changed`` (settings of the switch) and ``attached`` (anew, because that is what changed).
        ``queues`` are those of ports that are opened from now on; None leaves them as they are.
        """
        with self._lock:
            old = {port.name: port for port in self.module.ports}
            module = renumber(module, {name: port.number for name, port in old.items()}, self._used)
            Switch(module)  # what can't be compiled is refused before anything is touched
            new = {port.name: port for port in module.ports}
            moved = [name for name in new if name in old and (old[name].attach != new[name].attach or name in self.problems)]
            changes = {
                "added": [name for name in new if name not in old],
                "removed": [name for name in old if name not in new],
                "changed": [name for name in new if name in old and new[name] != old[name] and name not in moved],
                "attached": moved,
            }
            if dry_run:
                return changes
            queues = self.queues if queues is None else dict(queues)
            opening = [new[name] for name in (*changes["added"], *moved) if new[name].attach is not None]
            closing = [old[name] for name in (*changes["removed"], *moved)]
            with self._exchange(opening, closing, queues) as opened:
                self._program(module)
            self.queues = queues
            for port in module.ports:
                if port.name in opened:
                    self.loop.attach(port.number, opened[port.name])
                self._follow(port)
            return changes

    @contextmanager
    def _exchange(self, opening: list[Port], closing: list[Port], queues: Mapping[str, int]) -> Iterator[dict[str, LivePort]]:
        """Opens ports for the new configuration; what they need and old ones have is given up first.  An error brings the old ones back."""
        needed = {thing for port in opening if port.attach is not None for thing in holds(arguments(self.name, port, port.attach, self.run))}
        opened: dict[str, LivePort] = {}
        given_up: list[Port] = []
        try:
            for port in closing:
                if port.attach is not None and needed & holds(arguments(self.name, port, port.attach, self.run)):
                    given_up.append(port)
                    self._detach(port)
            for port in opening:
                opened[port.name] = self._open(port, queues)
            for port in closing:
                self._detach(port)
            yield opened
        except BaseException:
            for live in opened.values():
                live.close()
            for port in closing:
                if self.loop.port(port.number) is None:
                    self._attach(port)
            raise
        for port in closing:
            self.problems.pop(port.name, None)

    def _detach(self, port: Port) -> None:
        live = self.loop.detach(port.number)
        if live is not None:
            live.close()

    def _program(self, module: Module) -> None:
        """Hand the configuration to the switch; where frames begin or cease to change what later ones meet, ports change their workers with it."""
        stateful = module.learning != "none" or any(port.bpdu_guard for port in module.ports)
        turns = stateful != self.switch.datapath.stateful
        quiet: AbstractContextManager[Any] = self.loop.quiet() if turns else nullcontext()
        before = {port.name: port.up for port in self.module.ports}
        with quiet:
            self.switch.reconfigure(module)
            if turns:
                self.loop.gather()
        for number in {port.number for port in module.ports} ^ set(self._admin):
            self._set.pop(number, None)
        self._admin = {port.number: self._admin[port.number] for port in module.ports if port.number in self._admin}
        for port in module.ports:
            self._used.add(port.number)
            if before.get(port.name) != port.up or port.number not in self._admin:
                self._admin[port.number] = port.up
