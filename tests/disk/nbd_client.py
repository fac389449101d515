"""A small NBD client for tests: it says exactly what a test tells it to, right or wrong. Nothing of it is shared with the server."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import Self

from tests.patience import PATIENCE

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED, LIST_META, SET_META = 1, 2, 3, 5, 6, 7, 8, 9, 10
ACK, SERVER, INFO_REPLY, META_REPLY = 1, 2, 3, 4
ERR = 1 << 31


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(raw)) + raw


@dataclass
class Answer:
    """What came back for a request."""

    error: int
    data: bytes = b""
    message: str = ""
    extents: list[tuple[int, int]] = field(default_factory=list)


class Client:
    """One connection; ``go`` ends the handshake."""

    def __init__(self, address: str | tuple[str, int], *, flags: int = 3, hello: bool = True) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.structured = False
        self.size = 0
        self.flags = 0
        self.cookie = 0
        self.lengths: dict[int, int] = {}
        if hello:
            assert self.exactly(18) == b"NBDMAGICIHAVEOPT\0\3"
            self.socket.sendall(struct.pack(">I", flags))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def exactly(self, size: int) -> bytes:
        out = bytearray()
        while len(out) < size:
            piece = self.socket.recv(size - len(out))
            if not piece:
                raise ConnectionResetError("the server closed the connection")
            out += piece
        return bytes(out)

    def closed(self) -> bool:
        """True once the server has closed the connection; what it sent before is thrown away."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    # The handshake.

    def option(self, number: int, data: bytes = b"") -> None:
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)

    def reply(self) -> tuple[int, int, bytes]:
        """Option, type, data of one reply."""
        magic, option, kind, length = struct.unpack(">QIII", self.exactly(20))
        assert magic == 0x0003E889045565A9
        return option, kind, self.exactly(length)

    def replies(self, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """All replies to an option, up to the one that is final: an ACK or an error."""
        self.option(number, data)
        found = []
        while True:
            option, kind, body = self.reply()
            assert option == number
            found.append((kind, body))
            if kind == ACK or kind & ERR:
                return found

    def want_structured(self) -> Self:
        assert self.replies(STRUCTURED) == [(ACK, b"")]
        self.structured = True
        return self

    def want_status(self, name: str = "", *queries: str) -> Self:
        """Structured replies and ``base:allocation``."""
        if not self.structured:
            self.want_structured()
        wanted = queries or ("base:allocation",)
        found = self.replies(SET_META, text(name) + struct.pack(">I", len(wanted)) + b"".join(map(text, wanted)))
        assert found == [(META_REPLY, b"\0\0\0\1base:allocation"), (ACK, b"")]
        return self

    def go(self, name: str = "", *info: int, option: int = GO) -> dict[int, bytes]:
        """The information that came, by its type."""
        found = self.replies(option, text(name) + struct.pack(f">H{len(info)}H", len(info), *info))
        assert found[-1][0] == ACK, found
        known = {int.from_bytes(body[:2], "big"): body[2:] for kind, body in found[:-1] if kind == INFO_REPLY}
        self.size, self.flags = struct.unpack(">QH", known[0])
        return known

    # Transmission.

    def request(self, command: int, offset: int = 0, length: int = 0, *, flags: int = 0, data: bytes = b"", cookie: int | None = None) -> int:
        """Send one request; its cookie."""
        if cookie is None:
            self.cookie += 1
            cookie = self.cookie
        self.lengths[cookie] = length if command == READ else 0
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length) + data)
        return cookie

    def receive(self) -> tuple[int, Answer]:
        """The cookie and answer of the next reply."""
        magic = int.from_bytes(self.exactly(4), "big")
        if magic == 0x67446698:
            error, cookie = struct.unpack(">IQ", self.exactly(12))
            assert not (self.structured and self.lengths[cookie]), "a read's reply must be structured"
            return cookie, Answer(error, self.exactly(self.lengths[cookie]) if not error else b"")
        assert magic == 0x668E33EF, hex(magic)
        assert self.structured
        flags, kind, cookie, length = struct.unpack(">HHQI", self.exactly(16))
        assert flags == 1, "the server never needs several chunks"
        body = self.exactly(length)
        if kind & 0x8000:
            error, size = struct.unpack(">IH", body[:6])
            assert size == len(body) - 6
            assert error
            return cookie, Answer(error, message=body[6:].decode())
        if kind == 1:
            return cookie, Answer(0, body[8:])
        assert kind == 5
        assert body[:4] == b"\0\0\0\1"
        numbers = struct.unpack(f">{(length - 4) // 4}I", body[4:])
        return cookie, Answer(0, extents=list(zip(numbers[::2], numbers[1::2], strict=True)))

    def do(self, command: int, offset: int = 0, length: int = 0, *, flags: int = 0, data: bytes = b"") -> Answer:
        """One request and its answer."""
        cookie = self.request(command, offset, length, flags=flags, data=data)
        got, answer = self.receive()
        assert got == cookie
        return answer

    def read(self, offset: int, length: int) -> bytes:
        answer = self.do(READ, offset, length)
        assert answer.error == 0
        assert len(answer.data) == length
        return answer.data

    def write(self, offset: int, data: bytes, flags: int = 0) -> None:
        assert self.do(WRITE, offset, len(data), flags=flags, data=data).error == 0
