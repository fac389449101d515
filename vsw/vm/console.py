"""A machine's serial console in a terminal."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

#: Ctrl-]: ends the session, as telnet has it.
LEAVE = 0x1D
_CHUNK = 65536


def attach(path: Path, read: int, write: int) -> str:
    """Connect ``read`` and ``write`` (descriptors) with the console at ``path``, until the guest ends, or Ctrl-] or the end of ``read`` come.

    Returns why it ended: ``left``, ``closed`` (QEMU has gone) or ``end`` (of ``read``; what the guest still writes within a moment is shown).
    A terminal at ``read`` is raw meanwhile: Ctrl-C goes to the guest.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console, _raw(read) as terminal, selectors.DefaultSelector() as ready:
        console.connect(os.fspath(path))
        ready.register(console, selectors.EVENT_READ)
        with contextlib.suppress(PermissionError):  # a regular file is always readable, and epoll says so
            ready.register(read, selectors.EVENT_READ)
        regular = read not in ready.get_map()
        while True:
            events = {key.fd for key, _ in ready.select(0 if regular else None)}
            if console.fileno() in events:
                data = console.recv(_CHUNK)
                if not data:
                    return "closed"
                _write(write, data)
            if read in events or regular:
                data = os.read(read, _CHUNK)
                if terminal and LEAVE in data:
                    console.sendall(data[: data.index(LEAVE)])
                    return "left"
                if not data:
                    _drain(console, write)
                    return "end"
                console.sendall(data)


def _drain(console: socket.socket, write: int) -> None:
    """What comes until the guest is silent for a moment."""
    console.settimeout(1.0)
    with contextlib.suppress(TimeoutError):
        while data := console.recv(_CHUNK):
            _write(write, data)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[bool]:
    """Whether ``fd`` is a terminal; if so it is raw meanwhile."""
    if not os.isatty(fd):
        yield False
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield True
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
