"""The place of a running host in the run folder: one process at a time, and where its control socket is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vsw.errors import UsageError
from vsw.vm.place import check_socket

LOCK, CONTROL = "lock", "control.sock"


class Place:
    """``RUN/HOST/``, held by this process until :meth:`close`; an instance that holds it already is named by :class:`~vsw.errors.UsageError`."""

    def __init__(self, run: Path, host: str) -> None:
        self.folder = run / host
        self.control = control_socket(run, host)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise UsageError(
                f"host {host} runs already, as process {pid or '?'} (its folder is {self.folder}): stop that one, or give this one another --run-dir"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let the place go; the folder stays."""
        os.close(self._fd)


def control_socket(run: Path, host: str) -> Path:
    """Where the control socket of a host is."""
    return check_socket(run / host / CONTROL)


def running_hosts(run: Path) -> list[str]:
    """The hosts of a run folder that have a control socket, by name."""
    return sorted(path.parent.name for path in run.glob(f"*/{CONTROL}"))
