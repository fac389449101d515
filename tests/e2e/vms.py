"""Guests that run beside the test, as ``vsw vm`` starts them: commands over the serial console, events awaited, nothing timed.

Limits of time are generous: a guest that needs 4 s to boot on an idle machine may need a minute on a busy one.
"""

from __future__ import annotations

import itertools
import re
import select
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.guest import GuestError
from vsw.vm.place import vm_folder
from vsw.vm.running import CONSOLE

#: Seconds.
BOOT, ANSWER = 300.0, 180.0
#: Seconds without a word after which the guest gets an empty line: on a busy machine an interrupt of QEMU's serial port is sometimes lost, and
#: what it has received lies there until more comes.
NUDGE = 3.0


class Guest:
    """A running guest's shell.  ``run`` gives what a command wrote, :class:`GuestError` if it failed."""

    def __init__(self, run: Path, name: str) -> None:
        self.name = name
        self._text = ""
        self._numbers = itertools.count(1)
        self._console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._console.connect(str(vm_folder(run, name) / CONSOLE))
        self._log = vm_folder(run, name) / "console.log"
        self.ready = False

    def close(self) -> None:
        self._console.close()

    def wait_until_ready(self) -> None:
        """Wait for the shell; QEMU keeps what was written before this connection only in the log."""
        limit = time.monotonic() + BOOT
        while not self.ready and "agent ready" not in self._log.read_text(errors="replace"):
            self._more(min(1.0, limit - time.monotonic()), limit)
        self.ready = True

    def begin(self, command: str) -> str:
        """Start a command; :meth:`end` awaits it."""
        self.wait_until_ready()
        mark = f"done-{next(self._numbers)}-{self.name}"
        self._console.sendall(f"{{ {command}\n}} < /dev/null 2>&1; status=$?; echo; echo {mark[:4]}'{mark[4:]}' $status\n".encode())
        return mark

    def end(self, mark: str, seconds: float = ANSWER) -> tuple[int, str]:
        """Exit status and output of the command that :meth:`begin` started."""
        found = self._await(re.compile(rf"^(?:\nagent ready\n)?(.*?)\n?{mark} (\d+)\n", re.DOTALL), seconds)
        return int(found[2]), found[1].strip("\n")

    def run(self, command: str, seconds: float = ANSWER) -> str:
        """What a command wrote."""
        status, text = self.end(self.begin(command), seconds)
        if status:
            raise GuestError(f"{self.name}: {command!r} ended with {status}: {text[-2000:]}")
        return text

    def status(self, command: str, seconds: float = ANSWER) -> int:
        """A command's exit status."""
        return self.end(self.begin(command), seconds)[0]

    def wait_for(self, pattern: str, seconds: float = ANSWER) -> str:
        """Wait for a line that a command in the background writes; all text up to its end."""
        return self._await(re.compile(rf"^.*?{pattern}[^\n]*\n", re.DOTALL), seconds)[0]

    def counters(self, card: str = "eth0") -> dict[str, int]:
        """``rx_packets``, ``tx_packets``, ``rx_bytes``, ``tx_bytes``, ``rx_dropped`` of a card, as the guest's kernel counts them."""
        names = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_dropped")
        values = self.run(f"cd /sys/class/net/{card}/statistics && cat {' '.join(names)}; cd /").split()
        return dict(zip(names, map(int, values), strict=True))

    def _await(self, pattern: re.Pattern[str], seconds: float) -> re.Match[str]:
        limit = time.monotonic() + seconds
        while (found := pattern.search(self._text)) is None:
            if not self._more(min(NUDGE, limit - time.monotonic()), limit, pattern.pattern):
                self._console.sendall(b"\n")
        self._text = self._text[found.end() :]
        return found

    def _more(self, wait: float, limit: float, what: str = "agent ready") -> bool:
        if time.monotonic() >= limit:
            raise GuestError(f"{self.name}: waited in vain for {what!r}; it wrote:\n{(self._text or self._log.read_text(errors='replace'))[-2000:]}")
        if select.select([self._console], [], [], max(0.0, wait))[0]:
            data = self._console.recv(1 << 16)
            if not data:
                raise GuestError(f"{self.name}: the guest has ended; it wrote:\n{self._log.read_text(errors='replace')[-2000:]}")
            self._text += data.decode(errors="replace").replace("\r", "")
            return True
        return False


def wait_until_ready(guests: Iterable[Guest]) -> None:
    """Wait for all of them; they boot at once."""
    for guest in guests:
        guest.wait_until_ready()
