"""A vhost-user front end for tests: what QEMU and a guest's driver do between them, in Python.

``FrontEnd`` speaks the protocol and owns the "guest's memory", a memfd. ``DriverRing`` is the driver's side of one virtqueue in it. Everything can
be done wrong on purpose: ``send`` takes any message, ``memory`` any bytes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.patience import PATIENCE
from vsw.virtio.messages import CONFIG_HEAD, HEADER, INDEX_NUMBER, MEMORY_HEAD, MEMORY_REGION, NO_DESCRIPTOR, RING_ADDRESSES, WORD, Feature, Request

GUEST = 0x4000_0000
"""Guest-physical address of the memory's first byte; far from 0, so that an address of another kind does not fit by chance."""
USER = 0x7F00_0000_0000
"""The front end's own virtual address of it, as the messages say."""
NEXT, WRITE, INDIRECT = 1, 2, 4
"""How long a test waits for what must come."""


class GoneError(Exception):
    """The back end has closed the connection."""


class FrontEnd:
    """One connection. ``size`` bytes of memory, of which ``take`` gives out pieces."""

    def __init__(self, path: str | Path, size: int = 4 << 20) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self.size = size
        self.memory = mmap.mmap(self.fd, size)
        self.used = 0
        self.features = 0
        self.closed = False
        self.rings: list[DriverRing] = []

    # Messages.

    def send(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = 1, size: int | None = None) -> None:
        data = HEADER.pack(request, flags, len(payload) if size is None else size) + payload
        socket.send_fds(self.socket, [data], list(fds))

    def receive(self) -> tuple[int, bytes]:
        head = self._exactly(HEADER.size)
        request, _, size = HEADER.unpack(head)
        return request, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionError as error:
                raise GoneError from error
            if not piece:
                raise GoneError
            data += piece
        return data

    def ask(self, request: int, payload: bytes = b"") -> bytes:
        self.send(request, payload)
        answered, answer = self.receive()
        assert answered == request
        return answer

    def number(self, request: int) -> int:
        (value,) = WORD.unpack(self.ask(request))
        return int(value)

    def acknowledged(self, request: int, payload: bytes = b"", fds: Sequence[int] = ()) -> int:
        """Send with the wish for an acknowledgement; what it says (0: done)."""
        self.send(request, payload, fds, flags=1 | 8)
        answered, answer = self.receive()
        assert answered == request
        return int(WORD.unpack(answer)[0])

    def settle(self) -> None:
        """Return when all messages before this were worked on."""
        self.number(Request.GET_FEATURES)

    def gone(self) -> bool:
        """Wait until the back end hangs up."""
        try:
            while True:
                self.receive()
        except GoneError:
            return True

    # Setting up.

    def negotiate(self, wanted: int | None = None, protocol: int | None = None) -> None:
        """Take all features that are offered, or those of ``wanted``."""
        offered = self.number(Request.GET_FEATURES)
        self.features = offered if wanted is None else offered & wanted
        if self.features & Feature.PROTOCOL_FEATURES:
            have = self.number(Request.GET_PROTOCOL_FEATURES)
            self.send(Request.SET_PROTOCOL_FEATURES, WORD.pack(have if protocol is None else have & protocol))
        self.send(Request.SET_OWNER)
        self.send(Request.SET_FEATURES, WORD.pack(self.features))

    def share(self) -> None:
        """Hand over the memory."""
        region = MEMORY_REGION.pack(GUEST, self.size, USER, 0)
        self.send(Request.SET_MEM_TABLE, MEMORY_HEAD.pack(1, 0) + region, [self.fd])

    def start(self, rings: int, entries: int = 64) -> None:
        """Make and start rings."""
        for index in range(len(self.rings), len(self.rings) + rings):
            ring = DriverRing(self, index, entries)
            self.rings.append(ring)
            ring.announce()

    def take(self, size: int, alignment: int = 64) -> int:
        """The offset of ``size`` bytes of the memory that nobody has yet."""
        at = -(-self.used // alignment) * alignment
        assert at + size <= self.size
        self.used = at + size
        return at

    # The device looks at indices meanwhile, so that both bytes have to change at once (struct writes zeros first).

    def put16(self, place: int, value: int) -> None:
        ctypes.c_uint16.from_buffer(self.memory, place).value = value

    def get16(self, place: int) -> int:
        return ctypes.c_uint16.from_buffer(self.memory, place).value

    def write_config(self, offset: int, data: bytes) -> None:
        self.send(Request.SET_CONFIG, CONFIG_HEAD.pack(offset, len(data), 0) + data)

    def config(self, size: int) -> bytes:
        return self.ask(Request.GET_CONFIG, CONFIG_HEAD.pack(0, size, 0) + bytes(size))[CONFIG_HEAD.size :]

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.socket.close()
        for ring in self.rings:
            ring.close()
        self.memory.close()
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DriverRing:
    """The driver's side of a split virtqueue of ``entries`` entries."""

    def __init__(self, front: FrontEnd, index: int, entries: int) -> None:
        self.front = front
        self.index = index
        self.entries = entries
        self.descriptors = front.take(16 * entries)
        self.available = front.take(6 + 2 * entries)
        self.used = front.take(6 + 8 * entries)
        self.free = list(range(entries))
        self.posted = 0
        self.seen = 0
        self.heads: dict[int, list[int]] = {}
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.error = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def announce(self, base: int = 0) -> None:
        """Say all about the ring, in the order in which QEMU does it for network cards."""
        send = self.front.send
        if self.front.features & Feature.PROTOCOL_FEATURES:
            send(Request.SET_VRING_ENABLE, INDEX_NUMBER.pack(self.index, 1))
        send(Request.SET_VRING_NUM, INDEX_NUMBER.pack(self.index, self.entries))
        send(Request.SET_VRING_BASE, INDEX_NUMBER.pack(self.index, base))
        send(Request.SET_VRING_ADDR, self.addresses())
        send(Request.SET_VRING_ERR, WORD.pack(self.index), [self.error])
        send(Request.SET_VRING_CALL, WORD.pack(self.index), [self.call])
        send(Request.SET_VRING_KICK, WORD.pack(self.index), [self.kick])

    def addresses(self) -> bytes:
        return RING_ADDRESSES.pack(self.index, 0, USER + self.descriptors, USER + self.used, USER + self.available, 0)

    def poll_only(self) -> None:
        """Take the calls away: the driver polls."""
        self.front.send(Request.SET_VRING_CALL, WORD.pack(self.index | NO_DESCRIPTOR))

    # Raw pieces, for tests that do it wrong.

    def put_descriptor(self, number: int, address: int, length: int, flags: int, following: int) -> None:
        struct.pack_into("<QIHH", self.front.memory, self.descriptors + 16 * number, address, length, flags, following)

    def publish(self, head: int, count: int = 1) -> None:
        """Make a head available ``count`` times and kick."""
        for _ in range(count):
            struct.pack_into("<H", self.front.memory, self.available + 4 + 2 * (self.posted % self.entries), head)
            self.posted += 1
        self.set_index(self.posted & 0xFFFF)
        os.eventfd_write(self.kick, 1)

    def set_index(self, index: int) -> None:
        self.front.put16(self.available + 2, index)

    # What a driver does.

    def post(self, buffers: Sequence[bytes | int], *, indirect: bool = False, kick: bool = True) -> tuple[int, list[int]]:
        """Make a chain available: bytes are to be read, a number is so many bytes to be written. Returns its head and the buffers' offsets."""
        places = []
        for buffer in buffers:
            length = buffer if isinstance(buffer, int) else len(buffer)
            place = self.front.take(length, 16)
            if isinstance(buffer, bytes):
                self.front.memory[place : place + length] = buffer
            places.append(place)
        return self.post_at(list(zip(places, buffers, strict=True)), indirect=indirect, kick=kick), places

    def post_at(self, buffers: Sequence[tuple[int, bytes | int]], *, indirect: bool = False, kick: bool = True) -> int:
        lengths = [(GUEST + place, what if isinstance(what, int) else len(what), WRITE if isinstance(what, int) else 0) for place, what in buffers]
        if indirect:
            table = self.front.take(16 * len(lengths), 16)
            for number, (address, length, flags) in enumerate(lengths):
                more = NEXT if number + 1 < len(lengths) else 0
                struct.pack_into("<QIHH", self.front.memory, table + 16 * number, address, length, flags | more, number + 1)
            lengths = [(GUEST + table, 16 * len(lengths), INDIRECT)]
        numbers = [self.free.pop(0) for _ in lengths]
        for number, following, (address, length, flags) in zip(numbers, [*numbers[1:], 0], lengths, strict=True):
            self.put_descriptor(number, address, length, flags | (NEXT if number != numbers[-1] else 0), following)
        self.heads[numbers[0]] = numbers
        struct.pack_into("<H", self.front.memory, self.available + 4 + 2 * (self.posted % self.entries), numbers[0])
        self.posted += 1
        self.set_index(self.posted & 0xFFFF)
        if kick:
            os.eventfd_write(self.kick, 1)
        return numbers[0]

    def done(self) -> list[tuple[int, int]]:
        """``(head, bytes written)`` of the chains that the device has given back since the last time."""
        found = []
        index = self.front.get16(self.used + 2)
        while self.seen & 0xFFFF != index:
            head, length = struct.unpack_from("<II", self.front.memory, self.used + 4 + 8 * (self.seen % self.entries))
            self.seen += 1
            self.free += self.heads.pop(head)
            found.append((head, length))
        return found

    def wait(self, count: int = 1) -> list[tuple[int, int]]:
        """The next ``count`` chains that come back, waiting for calls."""
        found: list[tuple[int, int]] = []
        while len(found) < count:
            if self.front.features & Feature.EVENT_IDX:
                self.front.put16(self.available + 4 + 2 * self.entries, (self.seen + count - len(found) - 1) & 0xFFFF)
            found += self.done()
            if len(found) >= count:
                break
            ready, _, _ = select.select([self.call], [], [], PATIENCE)
            assert ready, f"{count - len(found)} of {count} chains did not come back"
            os.eventfd_read(self.call)
        return found

    def failed(self) -> bool:
        """Wait until the device says that the ring has failed."""
        ready, _, _ = select.select([self.error], [], [], PATIENCE)
        return bool(ready)

    def close(self) -> None:
        for fd in (self.kick, self.call, self.error):
            os.close(fd)
