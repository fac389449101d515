"""The NBD server: exports, listening sockets, connections, and their orderly end.

::

    with NbdServer([Export("web1", blocks)], unix="web1.sock") as server:
        print(server.urls)      # ["nbd+unix:///web1?socket=web1.sock"]

Fixed newstyle negotiation, structured replies, ``base:allocation``, flush, FUA, trim, write zeroes, cache, several connections a client. It
listens where it is told, and its caller should think of a unix socket or the loopback interface: NBD knows no passwords, and there is no TLS
here: who reaches the socket may write the disk, and what travels can be read.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

from ...errors import UsageError
from ..blocks import Blocks
from .listen import Reception, close_listener, listen_tcp, listen_unix, set_send_timeout
from .nbd_handshake import Agreed
from .nbd_protocol import LONGEST_NAME
from .nbd_session import Session

DEFAULT_PORT = 10809
MOST_CONNECTIONS = 256
POOL = 16
"""Threads for requests that may wait, over all connections."""
SEND_SECONDS = 60
GRACE_SECONDS = 5
SOCKET_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Export:
    """A disk under a name (UTF-8, may be empty). ``read_only`` refuses changes to a disk that could be written.

    The disk's size must not change while it is served.
    """

    name: str
    blocks: Blocks
    description: str = ""
    read_only: bool = False

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("description", self.description)):
            if len(text.encode()) > LONGEST_NAME or "\0" in text:
                raise UsageError(f"the {what} of an export has at most {LONGEST_NAME} bytes, none of them zero: {text[:100]!r}")

    @property
    def writable(self) -> bool:
        return not (self.read_only or self.blocks.read_only)


class NbdServer:
    """Serves ``exports`` on ``unix`` (a path) and ``tcp`` (``(host, port)`` pairs; port 0 lets the system choose) until ``close``.

    The first export is also the one that clients get who name none. Every method may be called from any thread.
    """

    def __init__(
        self,
        exports: Iterable[Export],
        *,
        unix: str | os.PathLike[str] | None = None,
        tcp: Iterable[tuple[str, int]] = (),
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self._exports: dict[str, Export] = {}
        self._lock = threading.Lock()
        self._closing = False
        for export in exports:
            self.export(export)
        listeners: list[socket.socket] = []
        try:
            if unix is not None:
                listeners.append(listen_unix(unix))
            listeners += [listen_tcp(host, port) for host, port in tcp]
            if not listeners:
                raise UsageError("an NBD server needs a unix socket or an address to listen on")
            self._pool = ThreadPoolExecutor(POOL, "vsw-nbd-work")
            self._reception = Reception("nbd", listeners, most_connections, self._begin)
            self._reception.start()
        except BaseException:
            for listener in listeners:
                close_listener(listener)
            raise

    # Exports.

    def export(self, export: Export) -> None:
        """Add an export while running."""
        with self._lock:
            if export.name in self._exports:
                raise UsageError(f"export {export.name!r} is there already")
            self._exports[export.name] = export

    def withdraw(self, name: str) -> Export:
        """Take an export away: connections that use it end, what runs is finished first; then its disk may be closed."""
        with self._lock:
            export = self._exports.pop(name, None)
            if export is None:
                raise UsageError(f"no export is called {name!r}")
            users = [(session, thread) for session, thread in self._reception.threads().items() if session.export_name == name]
        self._end(users, GRACE_SECONDS)
        return export

    def exports(self) -> dict[str, Export]:
        """The exports by name, in the order in which they came."""
        with self._lock:
            return dict(self._exports)

    def admit(self, session: Session, agreed: Agreed) -> bool:
        """A handshake has ended: from here on the export counts as in use; false if it was withdrawn meanwhile."""
        with self._lock:
            if self._closing or self._exports.get(agreed.export.name) is not agreed.export:
                return False
            session.agreed = agreed
            return True

    @property
    def addresses(self) -> list[str | tuple[str, int]]:
        """Where it listens: paths of unix sockets, ``(host, port)``."""
        found: list[str | tuple[str, int]] = []
        for listener in self._reception.listeners:
            name = listener.getsockname()
            found.append(name if isinstance(name, str) else (name[0], name[1]))
        return found

    @property
    def urls(self) -> list[str]:
        """A URL for each export and address (NBD URI specification)."""
        return [nbd_url(address, name) for name in self.exports() for address in self.addresses]

    # Connections.

    def _begin(self, connection: socket.socket, peer: str) -> Session:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        return Session(self, connection, peer)

    def set_timeouts(self, connection: socket.socket) -> None:
        """What holds after the handshake."""
        set_send_timeout(connection, SEND_SECONDS)

    def ended(self, session: Session) -> None:
        self._reception.ended(session)

    def submit(self, work: Callable[[], None]) -> bool:
        """Run ``work`` in the pool; false if the server is closing."""
        try:
            self._pool.submit(work)
        except RuntimeError:
            return False
        return True

    @property
    def sessions(self) -> list[Session]:
        """The connections, handshakes under way among them."""
        return list(self._reception.threads())

    # The end.

    def close(self, grace: float = GRACE_SECONDS) -> None:
        """Stop listening, finish what has arrived, and end the connections; the disks stay open, and are not flushed.

        Clients that do not read their replies within ``grace`` seconds lose them.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._reception.close()
        self._end(list(self._reception.threads().items()), grace)
        self._pool.shutdown()

    def _end(self, threads: list[tuple[Session, threading.Thread]], grace: float) -> None:
        for session, _ in threads:
            session.stop()
        deadline = time.monotonic() + grace
        for session, thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                session.abort()
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def nbd_url(address: str | tuple[str, int], export: str) -> str:
    """The URL of an export on a unix socket (a path) or a TCP address."""
    if isinstance(address, str):
        return f"nbd+unix:///{quote(export, safe='')}?socket={quote(address)}"
    host, port = address
    return f"nbd://{f'[{host}]' if ':' in host else host}:{port}/{quote(export, safe='')}"
