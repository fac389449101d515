"""Listening sockets of the transports: TCP, and unix sockets that take the place of dead ones only; and who waits at them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import selectors
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

log = logging.getLogger("vsw.disk.listen")

BACKLOG = 64
LONGEST_PATH = 107
"""Bytes of a unix socket's name, which the kernel limits."""


class Conversation(Protocol):
    """What a transport makes of a connection."""

    def run(self) -> None: ...


Session = TypeVar("Session", bound=Conversation)


class Reception(Generic[Session]):
    """Accepts connections on ``listeners`` from ``start`` until ``close``, and gives each a session and a thread.

    ``begin(connection, peer)`` makes the session, ``name`` is for threads and the log. Beyond ``most`` sessions at once connections are refused. A
    session says :meth:`ended` at its end, from its own thread. Every method may be called from any thread.
    """

    def __init__(self, name: str, listeners: Iterable[socket.socket], most: int, begin: Callable[[socket.socket, str], Session]) -> None:
        self.listeners = list(listeners)
        self._name = name
        self._most = most
        self._begin = begin
        self._lock = threading.Lock()
        self._threads: dict[Session, threading.Thread] = {}
        self._closing = False
        self._wake, self._waker = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name=f"vsw-{name}-accept", daemon=True)

    def start(self) -> None:
        """Begin to accept; once only."""
        self._acceptor.start()

    def threads(self) -> dict[Session, threading.Thread]:
        """The sessions that have not ended, and their threads."""
        with self._lock:
            return dict(self._threads)

    def ended(self, session: Session) -> None:
        """That session counts no longer."""
        with self._lock:
            self._threads.pop(session, None)

    def close(self) -> None:
        """Stop listening; once only. Sessions go on."""
        with self._lock:
            self._closing = True
        self._waker.send(b"x")
        self._acceptor.join()
        for listener in self.listeners:
            close_listener(listener)
        self._wake.close()
        self._waker.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in (*self.listeners, self._wake):
                selector.register(listener, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select():
                    if key.fileobj is not self._wake:
                        self._welcome(key.fileobj)  # type: ignore[arg-type]

    def _welcome(self, listener: socket.socket) -> None:
        try:
            connection, address = listener.accept()
        except OSError as error:  # the peer gave up meanwhile, or there are no descriptors left
            log.warning("accept failed: %s", error)
            time.sleep(0.01)
            return
        peer = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "unix socket"
        if len(self.threads()) >= self._most or self._closing:  # sessions come by this thread alone
            log.warning("%s connection from %s refused: %d are open", self._name, peer, self._most)
            connection.close()
            return
        session = None
        try:
            connection.setblocking(True)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            session = self._begin(connection, peer)
            thread = threading.Thread(target=session.run, name=f"vsw-{self._name}-{peer}", daemon=True)
            with self._lock:
                self._threads[session] = thread
            thread.start()
        except (OSError, RuntimeError) as error:  # the peer has gone, or no thread can be started
            log.warning("%s connection from %s refused: %s", self._name, peer, error)
            if session is not None:
                self.ended(session)
            connection.close()


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket; the address may be IPv4 or IPv6, port 0 lets the system choose."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"can't listen on {host} port {port}: {error.strerror}") from None
    return listener


def listen_unix(path: str | os.PathLike[str]) -> socket.socket:
    """A listening unix socket that only its owner may connect to.

    A socket at ``path`` that nobody listens on any more is replaced; one that is alive, and a file that is no socket, are left alone: ``OSError``
    with ``EADDRINUSE``. Two processes that start at once do not take it from each other, the folder is locked meanwhile.
    """
    name = os.fspath(path)
    if len(os.fsencode(name)) > LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, f"{name}: the name of a unix socket has at most {LONGEST_PATH} bytes")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    folder = os.open(Path(name).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _remove_dead(name)
        listener.bind(name)
        # Nobody can connect before listen(), so that the mode holds from the first moment.
        Path(name).chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"can't listen on {name}: {error.strerror}") from None
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


def _remove_dead(name: str) -> None:
    try:
        mode = Path(name).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EADDRINUSE, "a file that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        # A backlog that is full would make a blocking connect wait; it then says EAGAIN, which is a sign of life.
        probe.setblocking(False)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            Path(name).unlink()
            return
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EADDRINUSE, "another process serves there")


def close_listener(listener: socket.socket) -> None:
    """Stop listening; the name of a unix socket goes, unless it is another's by now."""
    name = listener.getsockname() if listener.family == socket.AF_UNIX else None
    if isinstance(name, str) and name:
        # While we listen nobody replaces the name, see above; whoever deleted it may have put another there, which a connection tells from ours.
        with contextlib.suppress(OSError):
            if _reaches_us(name):
                Path(name).unlink()
    listener.close()


def _reaches_us(name: str) -> bool:
    """Whether a connection to ``name`` arrives in this process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        probe.connect(name)
        pid = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return bool(pid == os.getpid())


def set_send_timeout(connection: socket.socket, seconds: float) -> None:
    """How long a send may wait for a peer that does not read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000)))
