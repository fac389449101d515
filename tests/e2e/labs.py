"""A switch that runs (``vsw run`` as a process of its own) and its guests, for the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.vms import Guest
from vsw.vm import running
from vsw.vm.place import vm_folder

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which something that should have happened is missed.
PATIENCE = 120.0
APPEND = "console=ttyS0 quiet loglevel=1 ipv6.disable=1 panic=-1 agent"


def vsw(*arguments: object, inside: Sequence[str] = (), check: bool = True) -> Any:
    """What ``vsw ARGUMENTS --json`` prints."""
    words = [*inside, sys.executable, "-m", "vsw", *map(str, arguments), "--json"]
    done = subprocess.run(words, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if check and done.returncode:
        raise AssertionError(f"vsw {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else {}


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}


def until(found: Any, what: str, seconds: float = PATIENCE) -> Any:
    """Ask ``found()`` until it says something true, which is returned."""
    limit = time.monotonic() + seconds
    while True:
        if value := found():
            return value
        if time.monotonic() > limit:
            raise AssertionError(f"waited in vain for {what}")


class Lab:
    """One topology, run in a folder of its own; ``inside`` is put before every command (``ip netns exec NAME``)."""

    def __init__(self, text: str, host: str | None = None, inside: Sequence[str] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vsw-e2e-")
        self.folder = Path(self._folder.name)
        self.run_dir = self.folder / "run"
        self.topology = self.folder / "lab.toml"
        self.topology.write_text(text)
        self.host = host
        self.inside = list(inside)
        self.switch: subprocess.Popen[str] | None = None
        self.guests: dict[str, Guest] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for guest in self.guests.values():
            guest.close()
        for name in running.known(self.run_dir):
            if running.is_running(self.run_dir, name):
                running.stop(self.run_dir, name, now=True)
        if self.switch is not None and self.switch.poll() is None:
            self.switch.terminate()
            self.switch.communicate(timeout=PATIENCE)
        self._folder.cleanup()

    def start(self, *options: object) -> None:
        """Start the switch, and with it the machines that do not run yet; wait until it answers."""
        words = [*self.inside, sys.executable, "-m", "vsw", "run", self.topology, "--run-dir", self.run_dir, *options]
        if self.host is not None:
            words += ["--host", self.host]
        with (self.folder / "switch.log").open("ab") as log:
            self.switch = subprocess.Popen(list(map(str, words)), env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)
        until(self._answers, f"vsw run to answer; it said: {self.log()}")

    def _answers(self) -> bool:
        assert self.switch is not None
        if (code := self.switch.poll()) is not None:
            raise AssertionError(f"vsw run ended with {code}: {self.log()}")
        try:
            return bool(self.show("port"))
        except AssertionError:
            return False

    def log(self) -> str:
        path = self.folder / "switch.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def stop(self) -> None:
        """As Ctrl-C would: the machines end too, also those that a killed switch left and this one took over."""
        assert self.switch is not None
        self.switch.terminate()
        self.switch.wait(PATIENCE)
        for name, guest in self.guests.items():
            guest.close()
            # What it wrote must not be taken for its next boot's.
            (vm_folder(self.run_dir, name) / running.CONSOLE_LOG).write_text("")
        self.guests.clear()

    def kill(self) -> None:
        """As a crash would."""
        assert self.switch is not None
        self.switch.send_signal(signal.SIGKILL)
        self.switch.wait()

    def show(self, what: str) -> Any:
        """``vsw show WHAT``."""
        return vsw("show", what, "--run-dir", self.run_dir, inside=self.inside)

    def running(self) -> set[str]:
        """Names of the machines that run."""
        return {name for name in running.known(self.run_dir) if running.is_running(self.run_dir, name)}

    def guest(self, name: str) -> Guest:
        """A guest's shell."""
        if name not in self.guests:
            until(lambda: running.find(self.run_dir, name), f"VM {name} to be started; vsw run said: {self.log()}")
            self.guests[name] = Guest(self.run_dir, name)
        return self.guests[name]

    def ready(self, names: Iterable[str]) -> list[Guest]:
        """The shells of guests, when they are there; the guests boot at once, again if a test before stopped the lab."""
        if self.switch is None or self.switch.poll() is not None:
            self.start()
        guests = [self.guest(name) for name in names]
        for guest in guests:
            guest.wait_until_ready()
        return guests
