"""The machines of a host, as ``vsw run`` looks after them: disks served, cards passed through, guests started, their ends told.

Machines outlive the program that started them.  One that runs already (its program was killed, say) is taken over as it is: its cards and disks find
their sockets again by themselves.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from vsw.config.lab import Lab
from vsw.config.models import DiskWords
from vsw.disk.serve.attach import VmDisks
from vsw.errors import VswError
from vsw.vm import running
from vsw.vm.passthrough import open_wire, passed_through
from vsw.vm.place import check_socket, vm_folder
from vsw.vm.plan import plan, remember, wanted
from vsw.vm.qemu import Drive
from vsw.vm.running import Running
from vsw.vm.wire import Wire

DISKS = "disks.sock"


class Guests:
    """The machines of ``lab`` that start by themselves, on one host (``None``: on all).

    ``tell`` gets a sentence for each thing that happens.  A machine that can't be started is told of, and the others go on.
    """

    def __init__(self, lab: Lab, run: Path, host: str | None, tell: Callable[[str], None]) -> None:
        self.lab = lab
        self.run = run
        self.names = wanted(lab, host)
        self.tell = tell
        self.failed: dict[str, str] = {}
        self._host = host
        self._wires: list[Wire] = []
        self._disks: dict[str, VmDisks] = {}
        self._alive: set[str] = set()

    def start(self) -> None:
        """Start them; the switches and the wires have to be there."""
        for passed in passed_through(self.lab, self._host):
            try:
                self._wires.append(open_wire(passed, self.run))
            except (VswError, OSError) as error:
                self.tell(f"card {passed.host}/{passed.card} can't be passed through to {passed.vm}.{passed.index}: {error}")
        if self.names:
            remember(self.lab)
        for name in self.names:
            try:
                self._start(name)
            except (VswError, OSError) as error:
                self._release(name)
                self.failed[name] = str(error)
                self.tell(f"VM {name} can't be started: {error}")

    def _start(self, name: str) -> None:
        runs = running.find(self.run, name)
        if runs is None or any(DISKS in word for word in runs.command):
            self._serve(name)
        if runs is not None:
            self.tell(f"VM {name} runs already, as process {runs.pid}")
            if any(word.startswith("stream,") and "reconnect" not in word for word in runs.command):
                self.tell(f"VM {name}: cards attached by stream do not connect again before QEMU 8.0: vsw vm stop {name}, and start it")
        else:
            planned = plan(self.lab, name, self.run, self._drive)
            state: Running = running.start(self.run, planned.machine, str(Path(self.lab.file).absolute()), planned.cards)
            self.tell(f"VM {name} runs as process {state.pid} ({state.accel})")
        self._alive.add(name)

    def _serve(self, name: str) -> None:
        words = self.lab.topology.vms[name].disks
        if words:
            folder = vm_folder(self.run, name)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._disks[name] = VmDisks(name, words, Path(self.lab.file).parent, check_socket(folder / DISKS))

    def _drive(self, name: str, index: int, words: DiskWords) -> Drive:
        served = self._disks[name].disks[index]
        return Drive(words.controller, readonly=words.readonly, block_size=words.block_size, nbd=served.socket, export=served.export)

    def poll(self) -> None:
        """Tell of machines that have ended, and give back what they had."""
        running.reap()
        for name in sorted(self._alive):
            if not running.is_running(self.run, name):
                self._alive.discard(name)
                self._release(name)
                log = vm_folder(self.run, name) / running.QEMU_LOG
                with contextlib.suppress(OSError):
                    said = log.read_text(errors="replace").strip().rpartition("\n")[2]
                    self.tell(f"VM {name} has ended{f': {said}' if said else ''}")

    def alive(self) -> set[str]:
        """Names of those that ran at the last look."""
        return set(self._alive)

    def stop(self, seconds: float = running.SHUTDOWN) -> None:
        """Stop all that run: all are asked to shut down, and share the time."""
        until = time.monotonic() + seconds
        for name in sorted(self._alive):
            try:
                running.press_power_button(self.run, name)
            except VswError as error:
                self.tell(str(error))
        for name in sorted(self._alive):
            try:
                self.tell(f"VM {name}: {running.stop(self.run, name, max(0.0, until - time.monotonic()))}")
            except VswError as error:
                if running.is_running(self.run, name):
                    self.tell(str(error))
            self._alive.discard(name)
            self._release(name)

    def close(self) -> None:
        """Give back cards and disks; machines that still run wait for theirs until somebody serves them again."""
        while self._wires:
            self._wires.pop().close()
        for name in list(self._disks):
            self._release(name)

    def _release(self, name: str) -> None:
        if disks := self._disks.pop(name, None):
            disks.close()
            (vm_folder(self.run, name) / DISKS).unlink(missing_ok=True)
