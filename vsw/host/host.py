"""A host that runs: the modules of its switches, their ports, and those who ask and command."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsw.config.lab import Lab
from vsw.config.load import loads
from vsw.config.module import Module
from vsw.errors import UsageError
from vsw.host import report
from vsw.host.captures import Captures
from vsw.host.control import ControlServer
from vsw.host.module import LiveModule
from vsw.host.place import Place
from vsw.host.service import Service

LOG = logging.getLogger("vsw.host")


def host_of(lab: Lab, name: str | None) -> str:
    """The host that is to run: the one that was named, or the only one."""
    if name is None:
        if len(lab.hosts) == 1:
            return next(iter(lab.hosts))
        raise UsageError(f"{lab.file} has {len(lab.hosts)} hosts: {', '.join(lab.hosts) or 'none'}; say which with --host")
    if name not in lab.hosts:
        raise UsageError(f"{lab.file} has no host {name!r}; it has {', '.join(lab.hosts) or 'none'}")
    return name


class LiveHost:
    """The switches of host ``name`` of a topology, running.

    :meth:`start` takes the host's place in the run folder (a second instance is refused), attaches ports, and answers at the control socket;
    :meth:`close` undoes it all.  ``ended`` is set when the host can't go on; ``failure`` says why then.

    Thread-safety: methods may be called from any thread.
    """

    def __init__(self, lab: Lab, name: str, run: Path, *, workers: int = 1, captures: Captures | None = None) -> None:
        self.captures = captures or Captures()
        self.lab = lab
        self.name = name
        self.run = run
        self.workers = workers
        self.modules: dict[str, LiveModule] = {}
        self.ended = threading.Event()
        self.failure: str | None = None
        self._lock = threading.RLock()
        self._place: Place | None = None
        self._service: Service | None = None
        self._control: ControlServer | None = None

    def __enter__(self) -> LiveHost:
        self.start()
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to switch.  :class:`~vsw.errors.UsageError` or OSError if the host can't run; a port that can't be attached is in ``problems``."""
        modules = self.lab.hosts[self.name].switches.values()
        self.captures.check([f"{module.name}/{port.name}" for module in modules for port in module.ports])
        self._place = Place(self.run, self.name)
        try:
            for module in modules:
                live = LiveModule(module, self.run, workers=self.workers, queues=queues(self.lab), captures=self.captures)
                self.modules[module.name] = live
                live.open()
            self._service = Service(list(self.modules.values()), self._failed)
            self._service.start()
            commands = {"hello": self._hello, "show": self._show, "port": self._port, "apply": self._apply}
            self._control = ControlServer(self._place.control, commands)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop switching, close every port, and let the place go."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._service is not None:
            self._service.stop()
            self._service = None
        for module in self.modules.values():
            module.close()
        if self._place is not None:
            self._place.close()
            self._place = None

    def _failed(self, module: LiveModule, error: BaseException) -> None:
        self.failure = f"{module.name}: a worker ended: {error!r}"
        LOG.error("%s", self.failure)
        self.ended.set()

    @property
    def problems(self) -> dict[str, str]:
        """Why ports are attached to nothing, by ``host/switch/port``."""
        return {f"{name}/{port}": text for name, module in self.modules.items() for port, text in module.problems.items()}

    # ---- changes ----

    def apply(self, lab: Lab, *, dry_run: bool = False) -> dict[str, dict[str, list[str]]]:
        """Take another topology: what changes, by module (see :meth:`LiveModule.apply`).

        The host's switches must be the same ones.  Of several modules each changes as a whole; if one refuses, those before it are brought back.
        """
        with self._lock:
            if self.name not in lab.hosts:
                raise UsageError(f"{lab.file} has no host {self.name!r}")
            switches = {module.name: module for module in lab.hosts[self.name].switches.values()}
            if set(switches) != set(self.modules):
                raise UsageError(
                    f"{lab.file} gives host {self.name} the switches {_names(switches)}, and {_names(self.modules)} run: that takes a restart"
                )
            for name, module in switches.items():
                if module.dialect.name != self.modules[name].module.dialect.name:
                    raise UsageError(f"{name} runs as dialect {self.modules[name].module.dialect.name}: another one takes a restart")
            wanted = queues(lab)
            changes = {name: self.modules[name].apply(module, wanted, dry_run=True) for name, module in switches.items()}
            if dry_run:
                return changes
            done: list[tuple[LiveModule, Module, dict[str, int]]] = []
            try:
                for name, module in switches.items():
                    live = self.modules[name]
                    before = (live, live.module, live.queues)
                    live.apply(module, wanted)
                    done.append(before)
            except BaseException:
                for live, module, queues_before in done:
                    live.apply(module, queues_before)
                raise
            self.lab = lab
            if self._service is not None:
                self._service.wake()
            return changes

    def set_port(self, port: str, up: bool) -> dict[str, Any]:
        """A port (``PORT``, ``SWITCH/PORT`` or ``HOST/SWITCH/PORT``) goes up or down by the administrator's word."""
        module, name = self.find_port(port)
        module.set_admin(name, up)
        number = module.switch.port(name)
        return {"module": module.name, "port": name, "admin": module.admin(number), "up": module.switch.is_up(number)}

    def find_port(self, port: str) -> tuple[LiveModule, str]:
        """The module and the name of a port."""
        place, _, name = port.rpartition("/")
        found = [
            module
            for full, module in self.modules.items()
            if place in {"", full, full.partition("/")[2]} and any(one.name == name for one in module.module.ports)
        ]
        if len(found) == 1:
            return found[0], name
        if not found:
            names = ", ".join(f"{full}/{one.name}" for full, module in self.modules.items() for one in module.module.ports[:20])
            raise UsageError(f"host {self.name} has no port {port!r}; its ports: {names or 'none'}")
        raise UsageError(f"several switches have a port {port!r}: say {' or '.join(f'{module.name}/{name}' for module in found)}")

    # ---- the control socket ----

    def _hello(self, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        return {"host": self.name, "pid": os.getpid(), "topology": self.lab.file, "modules": list(self.modules), "problems": self.problems}

    def _show(self, request: Mapping[str, Any]) -> Any:
        what = request.get("what")
        if what == "counters":
            return {name: report.counters(module) for name, module in self.modules.items()}
        if what not in report.SHOWS:
            raise UsageError(f"what can be shown is counters, {', '.join(report.SHOWS)}, not {what!r}")
        return [row for module in self.modules.values() for row in report.SHOWS[str(what)](module)]

    def _port(self, request: Mapping[str, Any]) -> dict[str, Any]:
        port, up = request.get("port"), request.get("up")
        if not isinstance(port, str) or not isinstance(up, bool):
            raise UsageError('"port" is a name, "up" true or false')
        return self.set_port(port, up)

    def _apply(self, request: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
        text, file = request.get("text"), request.get("file", "<control socket>")
        if not isinstance(text, str) or not isinstance(file, str):
            raise UsageError('"text" is a topology, "file" its name')
        return self.apply(loads(text, file=file), dry_run=bool(request.get("dry_run", False)))


def queues(lab: Lab) -> dict[str, int]:
    """How many queues the ports of virtual machines have at most, by port name."""
    return {f"{name}.{index}": min(vm.cpus, 16) for name, vm in lab.topology.vms.items() for index in range(len(vm.nics))}


def _names(modules: Mapping[str, object]) -> str:
    return ", ".join(name.partition("/")[2] for name in modules) or "none"
