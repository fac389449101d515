"""A disk in memory: gone with the process, sparse, as large as the address space (disks past 2 TiB cost nothing until written)."""

from __future__ import annotations

from .base import Blocks, Extent, Kind, merge
from .direct import MEMORY_GRANULE, MemoryDirect


class MemoryBlocks(Blocks):
    """``size`` bytes of anonymous memory, zero at first.

    ``flush`` has nothing to do: no crash of the host leaves anything, so that whole or not at all holds for a write of any length.
    """

    format = "memory"
    granularity = MEMORY_GRANULE

    def __init__(self, size: int, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self._size = size
        self._memory = MemoryDirect(size)
        self.direct = self._memory
        self.atomic = max(size, 512)

    @property
    def size(self) -> int:
        return self._size

    def _readinto(self, offset: int, view: memoryview) -> None:
        self._memory.readinto(offset, view)

    def _write(self, offset: int, view: memoryview, fua: bool) -> None:
        self._memory.write_from(offset, view, fua)

    def _flush(self) -> None:
        """Nothing is cached."""

    def _discard(self, offset: int, length: int) -> None:
        self._memory.zero(offset, length, True)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self._memory.zero(offset, length, unmap)

    def _write_zeroes_fast(self, offset: int, length: int, unmap: bool) -> None:
        self._memory.zero(offset, length, unmap)

    def _extents(self, offset: int, length: int) -> list[Extent]:
        found = []
        stop = offset + length
        while offset < stop:
            end, written = self._memory.run(offset, stop)
            found.append(Extent(offset, end - offset, Kind.DATA if written else Kind.HOLE))
            offset = end
        return merge(found)

    def _resize(self, size: int) -> None:
        memory = MemoryDirect(size)
        kept = min(size, self._size)
        for extent in self._extents(0, kept) if kept else ():
            if extent.kind is Kind.DATA:
                piece = bytearray(extent.length)
                self._memory.readinto(extent.offset, piece)
                memory.write_from(extent.offset, piece, False)
        self._memory = self.direct = memory
        self._size = size
        self.atomic = max(size, 512)

    def _close(self) -> None:
        self.direct = None
        self._memory = MemoryDirect(0)
