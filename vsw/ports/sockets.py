"""Unix sockets that the switch makes: names that fit, nobody else's, for their owner only."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from vsw.errors import UsageError

#: Bytes of ``sun_path``, without the zero that ends it.
LONGEST = 107


def name_of(path: str) -> str:
    """The path, if a socket can have it; :class:`~vsw.errors.UsageError` otherwise."""
    length = len(os.fsencode(path))
    if not 1 <= length <= LONGEST or "\0" in path:
        raise UsageError(f"the path of a unix socket has 1 to {LONGEST} bytes, not {length}: {path!r}; a shorter --run-dir may help")
    return path


def claim(path: str, kind: int) -> socket.socket:
    """A socket bound at ``path``, mode 0600, non-blocking.

    A socket that a dead process left there is replaced.  :class:`~vsw.errors.UsageError` if a living one has it, or if something else is there;
    OSError with the path where the system refuses.
    """
    name_of(path)
    try:
        there = Path(path).lstat()
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISSOCK(there.st_mode):
            raise UsageError(f"{path} is there and is no socket: choose another path, or remove it")
        if alive(path, kind):
            raise UsageError(f"{path} is in use by another process: stop it, or choose another path")
        Path(path).unlink()
    made = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(made.fileno(), 0o600)
        made.bind(path)
    except OSError as error:
        made.close()
        raise OSError(error.errno, error.strerror, path) from None
    return made


def alive(path: str, kind: int) -> bool:
    """Whether a process holds the socket at ``path``."""
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            # of another type: somebody's all the same
            return error.errno not in {errno.ECONNREFUSED, errno.ENOENT}
    return True
