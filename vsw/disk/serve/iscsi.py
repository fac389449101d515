"""The iSCSI target server: listening sockets, sessions, and their orderly end (RFC 7143).

::

    target = Target("iqn.2026-01.example.lab:web1", {0: LogicalUnit(blocks, serial="web1")})
    with IscsiServer([Exported(target)]) as server:
        print(server.address)       # ("127.0.0.1", 3260)

It listens on the loopback interface unless told otherwise: without CHAP everybody who reaches the port may write the disks, and
with CHAP the data still travels in the clear.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ...errors import UsageError
from ..scsi.target import Target
from .iscsi_login import Chap
from .iscsi_session import Session
from .listen import Reception, close_listener, listen_tcp, set_send_timeout

DEFAULT_PORT = 3260
PORTAL_TAG = 1
MOST_CONNECTIONS = 256
POOL = 8
"""Threads for commands that may take seconds, over all sessions."""
PING_SECONDS = 30
SEND_SECONDS = 60
BUFFER = 1 << 20
NAME = re.compile(r"(iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(:[^\s,]+)?|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16}([0-9A-Fa-f]{16})?)")


@dataclass(frozen=True, slots=True)
class Exported:
    """A target and who may log in to it.

    ``chap`` is what initiators must prove, ``mutual`` what this target proves to initiators that ask; the two secrets must differ.
    ``initiators`` are the names that may log in (``None``: any).
    """

    target: Target
    chap: Chap | None = None
    mutual: Chap | None = None
    initiators: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.target.name) or len(self.target.name.encode()) > 223:
            raise UsageError(f"target name {self.target.name!r} must look like iqn.2026-01.example.lab:disk, eui. or naa. with hexadecimal digits")
        if self.mutual is not None and (self.chap is None or self.mutual.secret == self.chap.secret):
            raise UsageError("mutual CHAP needs CHAP of the initiator, with another secret")


class IscsiServer:
    """Serves ``exports`` on ``listen`` (``(host, port)`` pairs; port 0 lets the system choose) from construction until ``close``.

    All portals are one portal group: a second session to another portal is a second path to the same units. ``discovery_chap``
    guards discovery sessions. A connection on which nothing came for ``ping_seconds`` is asked whether its initiator is there; beyond
    ``most_connections`` new ones are refused.
    """

    portal_tag = PORTAL_TAG

    def __init__(
        self,
        exports: Iterable[Exported],
        listen: Iterable[tuple[str, int]] = (("127.0.0.1", DEFAULT_PORT),),
        *,
        discovery_chap: Chap | None = None,
        ping_seconds: float = PING_SECONDS,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self.discovery_chap = discovery_chap
        self._exports: dict[str, Exported] = {}
        self._ping_seconds = ping_seconds
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()
        self._tsih = 0
        self._closing = False
        for exported in exports:
            self.export(exported)
        listeners: list[socket.socket] = []
        try:
            for host, port in listen:
                listeners.append(listen_tcp(host, port))
            if not listeners:
                raise UsageError("an iSCSI server needs an address to listen on")
            self._pool = ThreadPoolExecutor(POOL, "vsw-iscsi-work")
            self._reception = Reception("iscsi", listeners, most_connections, self._begin)
            self._reception.start()
        except BaseException:
            for listener in listeners:
                close_listener(listener)
            raise

    # Exports.

    def export(self, exported: Exported) -> None:
        """Add a target while running."""
        with self._lock:
            if exported.target.name in self._exports:
                raise UsageError(f"target {exported.target.name} is exported already")
            self._exports[exported.target.name] = exported

    def exports(self) -> list[Exported]:
        with self._lock:
            return list(self._exports.values())

    def find(self, name: str) -> Exported | None:
        """The exported target of that name."""
        return self._exports.get(name)

    @property
    def address(self) -> tuple[str, int]:
        """Where the first listener is."""
        host, port = self._reception.listeners[0].getsockname()[:2]
        return host, port

    @property
    def portals(self) -> list[str]:
        """Where all listeners are, as ``host:port``."""
        names = [listener.getsockname()[:2] for listener in self._reception.listeners]
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in names]

    def addresses(self, seen: str) -> list[str]:
        """The portals as ``host:port``, for SendTargets: the one that the initiator came by first; never an unspecified address."""
        found = [seen]
        for listener in self._reception.listeners:
            host, port = listener.getsockname()[:2]
            text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if host not in ("0.0.0.0", "::") and text not in found:
                found.append(text)
        return found

    # Connections.

    def _begin(self, connection: socket.socket, peer: str) -> Session:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._ping_seconds))
        set_send_timeout(connection, SEND_SECONDS)
        return Session(self, connection, peer)

    def started(self, session: Session) -> int | None:
        """A login is complete: the session's handle. An older session of the same initiator, ISID and target ends first."""
        while True:
            with self._lock:
                if self._closing:
                    return None
                older = [other for other in self._sessions if other.key == session.key and not session.login.discovery]
                running = self._reception.threads()
                threads = [running[other] for other in older if other in running]
                if not older:
                    self._sessions.add(session)
                    self._tsih = self._tsih % 0xFFFF + 1
                    return self._tsih
            for other in older:
                other.stop()
            for thread in threads:
                thread.join()

    def ended(self, session: Session) -> None:
        with self._lock:
            self._sessions.discard(session)
        self._reception.ended(session)

    def end_sessions(self, target: Target, but: Session | None = None) -> None:
        """Close every session of a target (TARGET COLD RESET)."""
        with self._lock:
            sessions = [session for session in self._sessions if session.nexus is not None and session.nexus.target is target and session is not but]
        for session in sessions:
            session.stop()

    def submit(self, work: Callable[[], None]) -> bool:
        """Run ``work`` in the pool; false if the server is closing."""
        try:
            self._pool.submit(work)
        except RuntimeError:
            return False
        return True

    @property
    def sessions(self) -> list[tuple[str, str, str]]:
        """``(initiator, address, target)`` of each session; the target of a discovery session is empty."""
        with self._lock:
            return sorted((session.login.initiator, session.peer, session.key[2]) for session in self._sessions)

    # The end.

    def close(self, grace: float = 0.0) -> None:
        """Stop listening, ask initiators to log out, wait ``grace`` seconds for them, and end what is left. The units stay open."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            sessions = list(self._sessions)
        self._reception.close()
        if grace > 0:
            for session in sessions:
                session.ask_for_logout(max(1, int(grace)))
        deadline = time.monotonic() + grace
        threads = self._reception.threads()
        for thread in threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        for session, thread in threads.items():
            session.stop()
            thread.join()
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
