"""One NBD connection: its handshake, then its requests until the client leaves.

A thread for each connection; it sleeps in ``Wire.next``. Plain reads and writes never come up here (``nbd_wire.pyx``). All others run in the
server's pool, several at a time, and are answered as they finish, which need not be the order in which they came.

What a client can make the server hold is bounded: :data:`MOST_TASKS` requests and :data:`MOST_DATA` bytes; beyond that nothing more
is received from it until something has been answered.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING

from ..blocks import Extent, Kind
from . import nbd_protocol as nbd
from . import nbd_wire
from .nbd_handshake import Agreed, Handshake, HandshakeError
from .nbd_protocol import CHUNK_HEAD, CHUNK_MAGIC, DONE, SIMPLE_REPLY, SIMPLE_REPLY_MAGIC, Chunk, Command, Flag

if TYPE_CHECKING:
    from .nbd import NbdServer

log = logging.getLogger("vsw.disk.nbd")

MOST_TASKS = 64
"""Requests of one connection that are under way in the pool."""
MOST_DATA = 64 << 20
"""Bytes that they hold; one request may always be held."""
HANDSHAKE_SECONDS = 30
MOST_EXTENTS = 1024
"""Descriptors of one block status reply; the client asks again from where it ends."""
STATUS_STEP = 64 << 20
"""Bytes that the backend is asked about at a time."""

FLAGS = {
    Command.READ: Flag.DF,
    Command.WRITE: Flag.FUA,
    Command.TRIM: Flag.FUA,
    Command.CACHE: Flag(0),
    Command.FLUSH: Flag(0),
    Command.WRITE_ZEROES: Flag.FUA | Flag.NO_HOLE | Flag.FAST_ZERO,
    Command.BLOCK_STATUS: Flag.REQ_ONE,
}
"""Requests that exist, and the flags that each may have."""
CHANGES = frozenset((Command.WRITE, Command.TRIM, Command.WRITE_ZEROES))

Reply = tuple[bytes, bytes | bytearray]


class Request:
    """A request that the session looks after; ``data`` is what a write brought."""

    __slots__ = ("command", "cookie", "data", "flags", "length", "offset")

    def __init__(self, wire: nbd_wire.Wire) -> None:
        self.command = wire.command
        self.flags = wire.flags
        self.cookie = wire.cookie
        self.offset = wire.offset
        self.length = wire.length
        self.data = bytearray()

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return self.length if self.command in (Command.READ, Command.WRITE) else 0


class Session:
    """One connection and, after the handshake, the use of one export on it."""

    def __init__(self, server: NbdServer, connection: socket.socket, peer: str) -> None:
        self.server = server
        self.connection = connection
        self.peer = peer
        self.agreed: Agreed | None = None
        self.requests = 0
        """Requests that the session did itself, so far."""
        self._wire: nbd_wire.Wire | None = None
        self._finished: deque[tuple[int, Reply]] = deque()
        self._held = 0

    @property
    def export_name(self) -> str | None:
        """The export in use; ``None`` before the handshake has ended."""
        return None if self.agreed is None else self.agreed.export.name

    @property
    def counters(self) -> tuple[int, int, int, int]:
        """``(reads, writes, bytes read, bytes written)`` on the fast way."""
        return (0, 0, 0, 0) if self._wire is None else self._wire.counters

    # The thread.

    def run(self) -> None:
        """Serve the connection until it ends; never raises."""
        try:
            agreed = self._handshake()
            if agreed is not None and self.server.admit(self, agreed):
                log.info("%s uses export %r", self.peer, agreed.export.name)
                self._transmission(agreed)
        except HandshakeError as error:
            log.warning("handshake with %s ends: %s", self.peer, error)
        except OSError as error:
            log.info("connection from %s ends: %s", self.peer, error)
        except Exception:
            log.exception("connection from %s ends by a defect of the server", self.peer)
        finally:
            self._end()

    def stop(self) -> None:
        """End the connection from another thread: nothing more is received, what runs is still answered."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """End it without regard for replies that the client does not read."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        # The descriptor goes last: nobody may be in a system call on a number that is used again.
        self.connection.close()
        self.server.ended(self)
        if self.agreed is not None:
            log.info("%s leaves export %r", self.peer, self.agreed.export.name)

    # The handshake.

    def _handshake(self) -> Agreed | None:
        deadline = time.monotonic() + HANDSHAKE_SECONDS

        def receive(length: int) -> bytes:
            got = bytearray()
            while len(got) < length:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise HandshakeError(f"not over after {HANDSHAKE_SECONDS} s")
                self.connection.settimeout(left)
                try:
                    piece = self.connection.recv(length - len(got))
                except TimeoutError:
                    continue
                if not piece:
                    raise HandshakeError("the client closed the connection")
                got += piece
            return bytes(got)

        def send(data: bytes) -> None:
            self.connection.settimeout(max(0.01, deadline - time.monotonic()))
            self.connection.sendall(data)

        agreed = Handshake(self.server.exports(), receive, send).run()
        self.connection.settimeout(None)
        self.server.set_timeouts(self.connection)
        return agreed

    # Transmission.

    def _transmission(self, agreed: Agreed) -> None:
        blocks = agreed.export.blocks
        # A door that waits for each read (direct I/O) is better used by several threads of the pool.
        door = blocks.direct if blocks.alignment == 1 else None
        wire = nbd_wire.Wire(self.connection.fileno(), door, blocks.size, blocks.alignment, not agreed.export.writable, agreed.structured)
        self._wire = wire
        try:
            while True:
                event = wire.next()
                if event == nbd_wire.WOKEN:
                    self._answer(wire)
                elif event == nbd_wire.REQUEST:
                    if not self._request(wire, Request(wire)):
                        break
                else:
                    if event == nbd_wire.BAD_REQUEST:
                        log.warning("%s sent what is no request; the connection ends", self.peer)
                    break
        finally:
            # Clients may count on what they sent before they left; and a backend must not be closed under a thread that uses it.
            while wire.others:
                wire.rest()
                self._answer(wire)
            wire.flush()

    def _request(self, wire: nbd_wire.Wire, request: Request) -> bool:
        """Take up a request; false ends the connection."""
        assert self.agreed is not None
        self.requests += 1
        if request.command == Command.DISCONNECT:
            return False
        if request.command == Command.WRITE and request.length > nbd.LARGEST_PAYLOAD:
            log.warning("%s writes %d bytes at once, the limit is %d; the connection ends", self.peer, request.length, nbd.LARGEST_PAYLOAD)
            return False
        while wire.others and (wire.others >= MOST_TASKS or self._held + request.held > MOST_DATA):
            wire.rest()
            self._answer(wire)
        refusal = refuse(request, self.agreed)
        if request.command == Command.WRITE:
            request.data = bytearray(request.length)
            if not wire.take(request.data):
                return False
        if refusal is not None:
            wire.send(self._error(request, *refusal))
            return True
        wire.others += 1
        self._held += request.held
        if not self.server.submit(lambda: self._run(wire, request)):
            self._finished.append((request.held, (self._error(request, nbd.ESHUTDOWN, "the server is closing"), b"")))
            self._answer(wire)
        return True

    def _answer(self, wire: nbd_wire.Wire) -> None:
        """Send what the pool has finished."""
        while self._finished:
            held, (head, data) = self._finished.popleft()
            wire.send(head, data)
            self._held -= held
            wire.others -= 1

    # In the pool.

    def _run(self, wire: nbd_wire.Wire, request: Request) -> None:
        assert self.agreed is not None
        try:
            reply = self._do(request, self.agreed)
        except OSError as error:
            reply = self._error(request, nbd.wire_errno(error.errno), error.strerror or ""), b""
        except MemoryError:
            reply = self._error(request, nbd.ENOMEM, "out of memory"), b""
        except Exception:
            log.exception("a request of %s fails by a defect of the server", self.peer)
            reply = self._error(request, nbd.EIO, "a defect of the server"), b""
        self._finished.append((request.held, reply))
        wire.wake()

    def _do(self, request: Request, agreed: Agreed) -> Reply:
        blocks = agreed.export.blocks
        fua = bool(request.flags & Flag.FUA)
        match request.command:
            case Command.READ:
                data = bytearray(request.length)
                blocks.readinto(request.offset, data)
                if agreed.structured:
                    head = CHUNK_HEAD.pack(CHUNK_MAGIC, DONE, Chunk.OFFSET_DATA, request.cookie, 8 + len(data))
                    return head + struct.pack(">Q", request.offset), data
                return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, request.cookie), data
            case Command.WRITE:
                blocks.write(request.offset, request.data, fua=fua)
            case Command.FLUSH:
                blocks.flush()
            case Command.TRIM:
                blocks.discard(request.offset, request.length)
                if fua:
                    blocks.flush()
            case Command.CACHE:
                blocks.prefetch(request.offset, request.length)
            case Command.WRITE_ZEROES:
                unmap, fast = not request.flags & Flag.NO_HOLE, bool(request.flags & Flag.FAST_ZERO)
                blocks.write_zeroes(request.offset, request.length, unmap, fast=fast)
                if fua:
                    blocks.flush()
            case Command.BLOCK_STATUS:
                return self._status(request, agreed), b""
        return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, request.cookie), b""

    def _status(self, request: Request, agreed: Agreed) -> bytes:
        most = 1 if request.flags & Flag.REQ_ONE else MOST_EXTENTS
        body = bytearray(struct.pack(">I", nbd.ALLOCATION_ID))
        for extent in _extents(agreed, request.offset, request.offset + request.length, most):
            body += struct.pack(">II", extent.length, STATES[extent.kind])
        return CHUNK_HEAD.pack(CHUNK_MAGIC, DONE, Chunk.BLOCK_STATUS, request.cookie, len(body)) + body

    def _error(self, request: Request, code: int, text: str) -> bytes:
        """An error's reply; with structured replies it carries a sentence."""
        assert self.agreed is not None
        if not self.agreed.structured:
            return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, code, request.cookie)
        words = text.encode()[: nbd.LONGEST_NAME]
        body = struct.pack(">IH", code, len(words)) + words
        return CHUNK_HEAD.pack(CHUNK_MAGIC, DONE, Chunk.ERROR, request.cookie, len(body)) + body


STATES = {Kind.DATA: 0, Kind.ZERO: nbd.STATE_ZERO, Kind.HOLE: nbd.STATE_HOLE | nbd.STATE_ZERO}


def _extents(agreed: Agreed, offset: int, stop: int, most: int) -> list[Extent]:
    """At most ``most`` extents from ``offset`` on, neighbours of different kinds; less than a whole step at a time is asked for no backend."""
    found: list[Extent] = []
    while offset < stop:
        for extent in agreed.export.blocks.extents(offset, min(STATUS_STEP, stop - offset)):
            if found and found[-1].kind is extent.kind:
                found[-1] = Extent(found[-1].offset, found[-1].length + extent.length, extent.kind)
            elif len(found) == most:
                return found
            else:
                found.append(extent)
            offset = extent.offset + extent.length
    return found


def refuse(request: Request, agreed: Agreed) -> tuple[int, str] | None:
    """Why a request can't be done at all: NBD error and a sentence."""
    blocks = agreed.export.blocks
    if request.command not in FLAGS:
        return nbd.EINVAL, f"request type {request.command} is not known"
    command = Command(request.command)
    if request.flags & ~int(FLAGS[command]):
        return nbd.EINVAL, f"flags {request.flags:#x} do not belong to {command.name}"
    if command is Command.FLUSH:
        return None if request.offset == request.length == 0 else (nbd.EINVAL, "FLUSH has no range")
    if command is Command.BLOCK_STATUS and not agreed.allocation:
        return nbd.EINVAL, "no metadata context was chosen"
    if request.flags & Flag.DF and not agreed.structured:
        return nbd.EINVAL, "DF needs structured replies"
    if command in CHANGES and not agreed.export.writable:
        return nbd.EPERM, "the export is read-only"
    if request.length == 0:
        return nbd.EINVAL, "a request of no bytes"
    if request.offset > blocks.size or request.length > blocks.size - request.offset:
        text = f"bytes {request.offset}..{request.offset + request.length} do not lie within an export of {blocks.size} bytes"
        return (nbd.ENOSPC if command in (Command.WRITE, Command.WRITE_ZEROES) else nbd.EINVAL), text
    if (request.offset | request.length) % blocks.alignment:
        return nbd.EINVAL, f"requests must be multiples of {blocks.alignment} bytes"
    if command is Command.READ and request.length > nbd.LARGEST_PAYLOAD:
        return nbd.EINVAL, f"{request.length} bytes are more than the {nbd.LARGEST_PAYLOAD} of one read"
    return None
