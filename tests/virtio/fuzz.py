"""A hostile front end and its guest: messages, memory tables, descriptors and indices as luck has them, and memory that goes away.

``attack`` is one connection, reproducible from its seed but for the timing of the device's threads. Half of what it does is right, so that it
gets far: pure noise would be refused by the first message.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from tests.virtio.front_end import GUEST, INDIRECT, NEXT, USER, WRITE, DriverRing, FrontEnd, GoneError
from vsw.virtio.messages import INDEX_NUMBER, MEMORY_HEAD, MEMORY_REGION, ONE_REGION, RING_ADDRESSES, WORD, Feature, Request

EDGES = (0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 63, 64, 255, 256, 4095, 4096, 65535, 65536, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
WIDE = (*EDGES, GUEST, USER, 1 << 32, 1 << 44, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1)
ENTRIES = 64
SIZE = 1 << 20


class Attack:
    """One connection; :meth:`run` does ``steps`` things with it."""

    def __init__(self, path: Path, seed: int, rings: int, poke: Callable[[], None]) -> None:
        self.luck = random.Random(seed)
        self.poke = poke
        self.front = FrontEnd(path, SIZE)
        self.rings = rings
        self.fds: list[int] = []

    def run(self, steps: int) -> None:
        actions = [self.message, self.right_message, self.noise, self.chain, self.index, self.kick, self.scribble, self.shrink]
        weights = [4, 4, 1, 60, 6, 40, 6, 0.3]
        try:
            if self.luck.random() < 0.9:
                self.set_up()
            for _ in range(steps):
                self.luck.choices(actions, weights)[0]()
                if self.luck.random() < 0.2:
                    self.poke()
            self.settle()
        except (GoneError, OSError):
            pass
        finally:
            self.poke()
            self.front.close()
            for fd in self.fds:
                os.close(fd)

    def set_up(self) -> None:
        luck = self.luck
        self.front.negotiate(None if luck.random() < 0.7 else luck.getrandbits(64) | Feature.PROTOCOL_FEATURES)
        self.front.share()
        self.front.start(luck.randrange(1, self.rings + 1), ENTRIES)
        self.front.settle()

    # Pieces.

    def number(self, near: int = 0) -> int:
        luck = self.luck
        match luck.randrange(4):
            case 0:
                return luck.choice(WIDE)
            case 1:
                return near
            case 2:
                return (near + luck.randrange(-70, 70)) % (1 << 64)
            case _:
                return luck.getrandbits(luck.choice([4, 8, 16, 32, 64]))

    def small(self) -> int:
        return self.number(self.luck.randrange(ENTRIES)) & 0xFFFF_FFFF

    def address(self) -> int:
        return self.number(GUEST + self.luck.randrange(SIZE)) if self.luck.random() < 0.3 else GUEST + self.luck.randrange(SIZE)

    def fd(self) -> int:
        """A descriptor of some kind; stays ours."""
        luck = self.luck
        match luck.randrange(6):
            case 0:
                made = os.eventfd(luck.choice([0, 5]), os.EFD_CLOEXEC)
            case 1:
                made = os.memfd_create("other", os.MFD_CLOEXEC)
                os.ftruncate(made, luck.choice([0, 1, 4096, SIZE]))
            case 2:
                made = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            case 3:
                ours, theirs = socket.socketpair()
                self.fds.append(ours.detach())
                made = theirs.detach()
            case 4:
                made = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
            case _:
                return self.front.fd
        self.fds.append(made)
        return made

    # Actions.

    def message(self) -> None:
        """A request with some payload and some descriptors."""
        luck = self.luck
        request = luck.choice([*Request, *range(45)])
        match luck.randrange(6):
            case 0:
                payload = luck.randbytes(luck.choice([0, 4, 8, 12, 40, 264, 300]))
            case 1:
                payload = INDEX_NUMBER.pack(luck.randrange(self.rings + 1), self.small())
            case 2:
                payload = WORD.pack(self.number(luck.randrange(self.rings)))
            case 3:
                count = luck.choice([0, 1, 2, 3, 8, 9, 0xFFFF_FFFF])
                regions = [self.region() for _ in range(min(count, 8))]
                payload = MEMORY_HEAD.pack(count, 0) + b"".join(regions)
            case 4:
                payload = RING_ADDRESSES.pack(luck.randrange(self.rings + 1), 0, *(self.number(USER + luck.randrange(SIZE)) for _ in range(4)))
            case _:
                payload = ONE_REGION.pack(0, *MEMORY_REGION.unpack(self.region()))
        fds = [self.fd() for _ in range(luck.choice([0, 0, 1, 1, 1, 2, 8, 9]))]
        self.front.send(request, payload, fds, flags=luck.choice([1, 1, 1, 1, 9, 9, 0, 2, 5, 0xFFFF_FFFF]))

    def right_message(self) -> None:
        """Something that a well-behaved front end may say at any time."""
        luck = self.luck
        index = luck.randrange(self.rings)
        match luck.randrange(6):
            case 0:
                self.front.share()
            case 1:
                self.front.send(Request.SET_VRING_ENABLE, INDEX_NUMBER.pack(index, luck.randrange(2)))
            case 2:
                self.front.send(Request.GET_VRING_BASE, INDEX_NUMBER.pack(index, 0))
            case 3 if self.front.used < SIZE // 2:
                self.front.rings.append(DriverRing(self.front, index, ENTRIES))
                self.front.rings[-1].announce()
            case 4:
                self.front.send(Request.SET_FEATURES, WORD.pack(self.front.features))
            case _:
                self.settle()

    def settle(self) -> None:
        """Take answers up to one that we ask for now."""
        self.front.send(Request.GET_FEATURES)
        while self.front.receive()[0] != Request.GET_FEATURES:
            pass

    def noise(self) -> None:
        self.front.socket.sendall(self.luck.randbytes(self.luck.choice([1, 5, 12, 13, 40])))

    def region(self) -> bytes:
        luck = self.luck
        if luck.random() < 0.5:
            half = SIZE // 2
            part = luck.randrange(2)
            return MEMORY_REGION.pack(GUEST + part * half, half, USER + part * half, part * half)
        return MEMORY_REGION.pack(self.number(GUEST), self.number(SIZE), self.number(USER), luck.choice([0, 0, 4096, self.number()]))

    def ring(self) -> DriverRing | None:
        return self.luck.choice(self.front.rings) if self.front.rings else None

    def descriptor(self) -> tuple[int, int, int, int]:
        luck = self.luck
        length = luck.choice([luck.randrange(0, 70), luck.randrange(0, 2000), 16 * luck.randrange(0, 20), self.small()])
        flags = luck.choice([0, 0, WRITE, WRITE, NEXT, NEXT, NEXT | WRITE, INDIRECT, luck.getrandbits(16)])
        following = luck.randrange(ENTRIES) if luck.random() < 0.8 else luck.getrandbits(16)
        return self.address(), length, flags, following

    def chain(self) -> None:
        """A chain that is right at first, and then perhaps spoiled."""
        ring = self.ring()
        luck = self.luck
        if ring is None:
            return
        count = luck.choice([1, 1, 2, 3, 3, 5, 20])
        first = luck.randrange(ENTRIES)
        readable = luck.randrange(count + 1)
        for number in range(count):
            length = luck.choice([1, 12, 16, 51, 60, 108, 512, 1500, 4096])
            place = luck.randrange(SIZE - 4096)
            more = NEXT if number + 1 < count else 0
            ring.put_descriptor(
                (first + number) % ENTRIES, GUEST + place, length, (0 if number < readable else WRITE) | more, (first + number + 1) % ENTRIES
            )
            if number == 0:
                self.front.memory[place : place + 16] = struct.pack("<IIQ", luck.choice([0, 1, 4, 8, 11, 13, 99]), 0, luck.choice([0, 1, 8, 1 << 40]))
                if luck.random() < 0.3:
                    offload = luck.choice([0, 1, 1]), luck.choice([0, 1, 4, 0x81, 0x84, 3, luck.getrandbits(8)]), 54, self.small() & 0xFFFF
                    asked = struct.pack("<BBHHHHH", *offload, luck.choice([34, 38, 54, 0, self.small() & 0xFFFF]), luck.choice([16, 6, 0xFFFF]), 0)
                    tags = bytes((0x81, 0, 0, 10)) * luck.randrange(3)
                    kind, ip = luck.choice([(bytes((8, 0)), bytes((0x45,)) + bytes(8) + bytes((6,))), (bytes((0x86, 0xDD)), bytes((0x60,)))])
                    head = asked + bytes(12) + tags + kind + ip.ljust(20 if len(ip) > 1 else 40, b"\0") + bytes(12) + bytes((0x50,))
                    self.front.memory[place : place + len(head)] = head
                elif luck.random() < 0.5:
                    address = bytes((1, luck.choice([0, 0, 1, 7]), 0x40, luck.choice([0, 1]))) + bytes(15)
                    self.front.memory[place : place + 20] = address + luck.choice([b"\x28", b"\x2a", b"\x12", b"\xa0", luck.randbytes(1)])
        if luck.random() < 0.15:
            ring.put_descriptor((first + luck.randrange(count)) % ENTRIES, *self.descriptor())
        ring.publish(first if luck.random() < 0.97 else self.small() & 0xFFFF)

    def index(self) -> None:
        ring = self.ring()
        if ring is not None and self.luck.random() < 0.1:
            ring.set_index(self.small() & 0xFFFF)

    def kick(self) -> None:
        ring = self.ring()
        if ring is not None:
            os.eventfd_write(self.luck.choice([ring.kick, ring.call]), 1)

    def scribble(self) -> None:
        """Write somewhere in the memory, rings included."""
        place = self.luck.randrange(SIZE - 64)
        if self.luck.random() < 0.05:
            self.front.memory[place : place + 64] = self.luck.randbytes(64)

    def shrink(self) -> None:
        """Cut the memory short; nothing of ours may touch it afterwards."""
        ring = self.ring()
        os.ftruncate(self.front.fd, self.luck.choice([0, 4096, SIZE // 2]))
        if ring is not None:
            with contextlib.suppress(OSError):
                os.eventfd_write(ring.kick, 1)
        self.poke()
        raise GoneError


def attack(path: Path, seed: int, rings: int, steps: int, poke: Callable[[], None] = lambda: None) -> None:
    """One connection of a hostile front end to the device at ``path``; ``poke`` lets the device work, where that is the caller's to do."""
    Attack(path, seed, rings, poke).run(steps)
