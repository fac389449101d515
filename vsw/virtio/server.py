"""The vhost-user socket of a device: one front end at a time, as many after one another as like to come.

::

    with VhostUserServer("web1.0.sock", device):
        ...                             # QEMU connects with -chardev socket,path=web1.0.sock,reconnect=1

We listen and the front end connects, so that it finds us again after we were restarted. A second front end waits in the socket's queue until the
first has gone. What a front end does wrong ends its own connection, with the reason in the log; the device and the socket stay.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import stat
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import UsageError
from .device import Device, log
from .faults import FrontEndError
from .messages import receive, send
from .session import Session

LONGEST_PATH = 107
"""Bytes of a unix socket's path."""


def listen(path: Path, mode: int = 0o600) -> socket.socket:
    """A listening unix socket at ``path``; one that a process left there when it died is replaced, one that is served is not.

    Raises :class:`~vsw.errors.UsageError`, which names the path and the remedy.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise UsageError(f"{path}: the path of a socket has at most {LONGEST_PATH} bytes, not {len(os.fsencode(path))}")
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            _remove_dead(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Nobody may connect before the mode is set: the socket takes connections only from listen() on.
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(4)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"{path}: something that is no socket of a dead process is in the way; remove it or choose another path") from None
        raise UsageError(f"{path}: can't listen there: {error.strerror}") from None
    return listener


def _remove_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINPROGRESS):
                raise UsageError(f"{path}: can't be used: {error.strerror}") from None
    raise UsageError(f"{path}: another process serves this socket; stop it or choose another path")


class VhostUserServer:
    """Serves ``device`` at the unix socket ``path`` from construction until :meth:`close`; the device stays the caller's."""

    def __init__(self, path: str | Path, device: Device, mode: int = 0o600) -> None:
        self.path = Path(path)
        self.device = device
        self._listener = listen(self.path, mode)
        self._identity = self._inode()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = False
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=f"vsw-vhost-{device.name}", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """True while a front end is there."""
        return self._connection is not None

    def close(self) -> None:
        """Send the front end away and remove the socket. No ring runs any more when this returns."""
        if self._closing:
            return
        self._closing = True
        os.eventfd_write(self._wake, 1)
        # A thread that waits for the rest of a message wakes too.
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        os.close(self._wake)
        if self._inode() == self._identity:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _inode(self) -> tuple[int, int] | None:
        try:
            state = self.path.lstat()
        except OSError:
            return None
        return state.st_dev, state.st_ino

    # The thread.

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            waiting.register(self._wake, selectors.EVENT_READ)
            while not self._closing:
                waiting.select()
                if self._closing:
                    return
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:  # it gave up meanwhile, or there are no descriptors left
                    log.warning("%s: accept failed: %s", self.device.name, error)
                    continue
                with connection:
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        """One front end, from its coming to its end."""
        self._connection = connection
        session = Session(self.device)
        reason = ""
        self.device.attached()
        try:
            self._converse(connection, session)
        except FrontEndError as error:
            reason = str(error)
        except OSError as error:
            reason = f"the connection failed: {error.strerror or error}"
        finally:
            self._connection = None
            session.close()
            self.device.changed()
            self.device.detached("" if self._closing else reason)

    def _converse(self, connection: socket.socket, session: Session) -> None:
        with selectors.DefaultSelector() as waiting:
            for source in (connection, self._wake, self.device.attention):
                waiting.register(source, selectors.EVENT_READ)
            while not self._closing:
                ready = [key.fileobj for key, _ in waiting.select()]
                if self._closing:
                    return
                if self.device.attention in ready:
                    os.eventfd_read(self.device.attention)
                    session.report()
                if connection in ready and not self._one(connection, session):
                    return

    def _one(self, connection: socket.socket, session: Session) -> bool:
        """Take one message; false if the front end has gone."""
        message = receive(connection)
        if message is None:
            return False
        log.debug("%s: %s", self.device.name, message.request.name)
        try:
            answer = session.handle(message)
        except FrontEndError:
            refusal = session.refusal(message)
            if refusal is not None:
                send(connection, message.request, refusal)
            raise
        finally:
            message.close()
        if answer is not None:
            send(connection, message.request, answer)
        return True
