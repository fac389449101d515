"""The wire format of the vhost-user protocol: requests, their payloads, and reading one message with its descriptors.

A message is a header (request, flags, size: 4 bytes each, little-endian) and ``size`` bytes. Descriptors travel beside the header. What each request
may bring is one line in ``SHAPES``: a message that does not match ends the connection before anybody looks at its contents.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

from .faults import FrontEndError

HEADER = struct.Struct("<III")
VERSION = 1
VERSION_BITS = 3
REPLY = 4
NEED_REPLY = 8
LARGEST_PAYLOAD = 4096
MOST_FDS = 8
"""Descriptors of one message: what SET_MEM_TABLE may bring."""

WORD = struct.Struct("<Q")
INDEX_NUMBER = struct.Struct("<II")
RING_ADDRESSES = struct.Struct("<IIQQQQ")
"""Index, flags, then the front end's addresses of the descriptors, the used ring, the available ring, and the log."""
MEMORY_HEAD = struct.Struct("<II")
MEMORY_REGION = struct.Struct("<QQQQ")
"""Guest-physical address, size, the front end's address, offset in the file."""
ONE_REGION = struct.Struct("<QQQQQ")
CONFIG_HEAD = struct.Struct("<III")
"""Offset, size, flags."""
INDEX_BITS = 0xFF
NO_DESCRIPTOR = 0x100
"""In the payload of SET_VRING_KICK, CALL and ERR: there is none, the ring is polled."""


class Request(IntEnum):
    """What a front end asks for."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    GET_CONFIG = 24
    SET_CONFIG = 25
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38


class ProtocolFeature(IntFlag):
    """What both ends agreed on beyond the base protocol."""

    MQ = 1 << 0
    REPLY_ACK = 1 << 3
    CONFIG = 1 << 9
    CONFIGURE_MEM_SLOTS = 1 << 15


class Feature(IntFlag):
    """Features of every virtio device."""

    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    PROTOCOL_FEATURES = 1 << 30
    VERSION_1 = 1 << 32


class Shape(NamedTuple):
    """Sizes of a request's payload in bytes, and how many descriptors may come with it."""

    least: int
    most: int
    fds: int = 0


NOTHING = Shape(0, 0)
FD = Shape(WORD.size, WORD.size, 1)
SHAPES = {
    Request.GET_FEATURES: NOTHING,
    Request.SET_FEATURES: Shape(WORD.size, WORD.size),
    Request.SET_OWNER: NOTHING,
    Request.RESET_OWNER: NOTHING,
    Request.SET_MEM_TABLE: Shape(MEMORY_HEAD.size, MEMORY_HEAD.size + MOST_FDS * MEMORY_REGION.size, MOST_FDS),
    Request.SET_VRING_NUM: Shape(INDEX_NUMBER.size, INDEX_NUMBER.size),
    Request.SET_VRING_ADDR: Shape(RING_ADDRESSES.size, RING_ADDRESSES.size),
    Request.SET_VRING_BASE: Shape(INDEX_NUMBER.size, INDEX_NUMBER.size),
    Request.GET_VRING_BASE: Shape(INDEX_NUMBER.size, INDEX_NUMBER.size),
    Request.SET_VRING_KICK: FD,
    Request.SET_VRING_CALL: FD,
    Request.SET_VRING_ERR: FD,
    Request.GET_PROTOCOL_FEATURES: NOTHING,
    Request.SET_PROTOCOL_FEATURES: Shape(WORD.size, WORD.size),
    Request.GET_QUEUE_NUM: NOTHING,
    Request.SET_VRING_ENABLE: Shape(INDEX_NUMBER.size, INDEX_NUMBER.size),
    Request.GET_CONFIG: Shape(CONFIG_HEAD.size, CONFIG_HEAD.size + 256),
    Request.SET_CONFIG: Shape(CONFIG_HEAD.size, CONFIG_HEAD.size + 256),
    Request.GET_MAX_MEM_SLOTS: NOTHING,
    Request.ADD_MEM_REG: Shape(ONE_REGION.size, ONE_REGION.size, 1),
    Request.REM_MEM_REG: Shape(ONE_REGION.size, ONE_REGION.size, 1),
}
REPLIES = frozenset({
    Request.GET_FEATURES, Request.GET_PROTOCOL_FEATURES, Request.GET_QUEUE_NUM, Request.GET_VRING_BASE, Request.GET_CONFIG, Request.GET_MAX_MEM_SLOTS,
})  # fmt: skip
"""Requests that are answered by what they ask for, whether an acknowledgement is wanted or not."""


@dataclass(slots=True)
class Message:
    """One message of a front end; ``fds`` are the receiver's to close, whichever it has not taken."""

    request: Request
    need_reply: bool
    payload: bytes
    fds: list[int]

    def take(self) -> int:
        """The next descriptor, the caller's own from now on."""
        if not self.fds:
            raise FrontEndError(f"{self.request.name} came without a file descriptor")
        return self.fds.pop(0)

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.pop())


def receive(connection: socket.socket) -> Message | None:
    """The next message; ``None`` when the front end has gone.

    Raises :class:`FrontEndError` for what can't be a message; no descriptor is left open then.
    """
    head, fds, flags, _ = socket.recv_fds(connection, HEADER.size, MOST_FDS, socket.MSG_CMSG_CLOEXEC)
    message = Message(Request.GET_FEATURES, False, b"", fds)
    try:
        if not head:
            message.close()
            return None
        head += _rest(connection, HEADER.size - len(head))
        number, bits, size = HEADER.unpack(head)
        if flags & socket.MSG_CTRUNC:
            raise FrontEndError(f"message {number} came with more than {MOST_FDS} file descriptors")
        if bits & VERSION_BITS != VERSION or bits & REPLY:
            raise FrontEndError(f"message {number} has flags {bits:#x}: not a request of version {VERSION}")
        if size > LARGEST_PAYLOAD:
            raise FrontEndError(f"message {number} has {size} bytes, more than {LARGEST_PAYLOAD}")
        try:
            message.request = Request(number)
        except ValueError:
            raise FrontEndError(f"message {number} is none that was offered") from None
        shape = SHAPES[message.request]
        if not shape.least <= size <= shape.most:
            raise FrontEndError(f"{message.request.name} has {size} bytes, not {shape.least} to {shape.most}")
        if len(fds) > shape.fds:
            raise FrontEndError(f"{message.request.name} came with {len(fds)} file descriptors, at most {shape.fds} belong to it")
        message.need_reply = bool(bits & NEED_REPLY)
        message.payload = _rest(connection, size)
    except BaseException:
        message.close()
        raise
    return message


def _rest(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes. Descriptors that come in the middle of a message are not received: the kernel closes them."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise FrontEndError(f"the connection ended within a message: {size - len(data)} bytes of it are missing")
        data += piece
    return data


def send(connection: socket.socket, request: Request, payload: bytes) -> None:
    """Answer a request."""
    connection.sendall(HEADER.pack(request, VERSION | REPLY, len(payload)) + payload)
