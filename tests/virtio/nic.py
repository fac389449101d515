"""A guest with a virtio network card, without the guest: the driver's side of receive and transmit rings, in Python."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.virtio.front_end import DriverRing, FrontEnd
from vsw.virtio.messages import Feature

HEADER, OLD_HEADER = 12, 10
MRG_RXBUF = 1 << 15
LONGEST = 65_557


class Nic:
    """``pairs`` of rings with ``entries`` each; ``room`` bytes a receive buffer; ``wanted`` features (all that are offered if ``None``)."""

    def __init__(
        self, path: str | Path, *, wanted: int | None = None, pairs: int = 1, entries: int = 256, room: int = 2048, transmit_entries: int = 0
    ) -> None:
        transmit_entries = transmit_entries or entries
        stride = LONGEST + HEADER + 2048
        self.front = FrontEnd(path, pairs * (entries * (room + 64) + transmit_entries * stride) + (1 << 20))
        self.front.negotiate(wanted)
        self.memory = self.front.memory
        self.rings = self.front.rings
        self.header = HEADER if self.front.features & (MRG_RXBUF | Feature.VERSION_1) else OLD_HEADER
        self.room = room
        self.front.share()
        self.buffers: dict[int, list[int]] = {}
        for index in range(2 * pairs):
            count = transmit_entries if index % 2 else entries
            ring = DriverRing(self.front, index, count)
            self.rings.append(ring)
            self.buffers[index] = [self.front.take(stride if index % 2 else room, 16) for _ in range(count)]
            if not index % 2:
                for _ in range(count):
                    self._give(ring, kick=False)
            ring.announce()
        self.front.settle()

    def _give(self, ring: DriverRing, *, kick: bool) -> None:
        """Make the next free receive buffer available."""
        ring.post_at([(self.buffers[ring.index][ring.free[0]], self.room)], kick=kick)

    def send(self, frames: list[bytes], pair: int = 0, header: bytes = b"", cut: int = 0, indirect: bool = False) -> None:
        """Send frames, with a header of zeros or the one that is given; ``cut`` bytes a descriptor (0: one descriptor)."""
        ring = self.rings[2 * pair + 1]
        ring.done()
        for frame in frames:
            data = header.ljust(self.header, b"\0") + frame
            place = self.buffers[ring.index][ring.free[0]]
            self.memory[place : place + len(data)] = data
            pieces = [data[at : at + cut] for at in range(0, len(data), cut)] if cut else [data]
            at = place
            chain: list[tuple[int, bytes | int]] = []
            for piece in pieces:
                chain.append((at, piece))
                at += len(piece)
            ring.post_at(chain, indirect=indirect)

    def receive(self, pair: int = 0) -> list[bytes]:
        """Frames that the device has written; their buffers go back to it."""
        return [frame for _, frame in self.receive_whole(pair)]

    def receive_whole(self, pair: int = 0) -> list[tuple[bytes, bytes]]:
        """The same with their headers."""
        ring = self.rings[2 * pair]
        chains = ring.done()
        found = []
        while chains:
            head, length = chains.pop(0)
            data = self._written(ring, head, length)
            header = data[: self.header]
            if self.header == HEADER:
                (count,) = struct.unpack_from("<H", data, 10)
                assert count >= 1
                for _ in range(count - 1):
                    data += self._written(ring, *chains.pop(0))
            found.append((header, data[self.header :]))
        while ring.free:
            self._give(ring, kick=False)
        return found

    def _written(self, ring: DriverRing, head: int, length: int) -> bytes:
        assert 0 < length <= self.room
        place = self.buffers[ring.index][head]
        return self.memory[place : place + length]

    def close(self) -> None:
        self.front.close()
