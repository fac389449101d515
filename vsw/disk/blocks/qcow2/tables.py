"""The two-level map from guest clusters to host clusters, held in memory where it is in use.

The L1 table is always whole in memory (at most 32 MiB). L2 tables are read when they are needed, one host cluster each, and kept as numpy
arrays of native integers; at most ``CACHE_BYTES`` of clean ones. A table that was changed stays until ``commit`` has written it: what
stands in memory is what counts, what stands on disk is what a crash falls back to.

Thread-safety: none; the image's lock is held around every call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..hostfile import HostFile
from . import layout
from .header import Header

Entries = NDArray[np.uint64]
CACHE_BYTES = 32 << 20
"""Clean L2 tables: with clusters of 64 KiB they map 256 GiB."""
PER_SECTOR = layout.SECTOR // 8

Corrupt = Callable[[str], OSError]


class Table:
    """One L2 table. ``low`` and ``high`` bound the entries that differ from the disk; ``fresh`` is set until it was written for the first time."""

    __slots__ = ("cells", "entries", "fresh", "high", "low", "offset")

    def __init__(self, offset: int, entries: Entries, fresh: bool = False) -> None:
        self.offset = offset
        self.entries = entries
        self.cells = memoryview(entries)  # type: ignore[arg-type]  # scalars come out of it faster than out of the array
        self.fresh = fresh
        self.low, self.high = (0, len(entries)) if fresh else (len(entries), 0)

    @property
    def dirty(self) -> bool:
        return self.low < self.high

    def touch(self, low: int, high: int) -> None:
        """Entries ``low..high`` (exclusive) were changed."""
        self.low = min(self.low, low)
        self.high = max(self.high, high)

    def take_dirty(self) -> tuple[int, bytes]:
        """Where on disk what must be written, whole sectors; the table counts as clean afterwards."""
        low = self.low // PER_SECTOR * PER_SECTOR
        high = min(-(-self.high // PER_SECTOR) * PER_SECTOR, len(self.entries))
        self.low, self.high = len(self.entries), 0
        return self.offset + low * 8, self.entries[low:high].astype(">u8").tobytes()


class Tables:
    """L1 and L2 of the active disk."""

    def __init__(self, file: HostFile, header: Header, corrupt: Corrupt) -> None:
        self._file = file
        self._corrupt = corrupt
        self.bits = header.cluster_bits
        self.per_table = 1 << (header.cluster_bits - 3)
        self.l1 = read_l1(file, header.l1_offset, header.l1_size)
        self.l1_dirty: set[int] = set()
        self._clean: OrderedDict[int, Table] = OrderedDict()
        self._dirty: dict[int, Table] = {}
        self._most = max(4, CACHE_BYTES >> header.cluster_bits)

    @property
    def dirty_bytes(self) -> int:
        return len(self._dirty) << self.bits

    @property
    def dirty(self) -> bool:
        return bool(self.l1_dirty) or any(table.dirty for table in self._dirty.values())

    def get(self, index: int) -> Table | None:
        """The table of L1 entry ``index``; None if there is none."""
        table = self._dirty.get(index)
        if table is not None:
            return table
        table = self._clean.get(index)
        if table is not None:
            self._clean.move_to_end(index)
            return table
        entry = int(self.l1[index])
        offset = entry & layout.OFFSET_MASK
        if offset == 0:
            return None
        table = Table(offset, self.read(offset))
        self._clean[index] = table
        if len(self._clean) > self._most:
            self._clean.popitem(last=False)
        return table

    def read(self, offset: int) -> Entries:
        """The entries of the L2 table at ``offset``, which need not be of the active disk."""
        if offset % (1 << self.bits) or offset + (1 << self.bits) > self._file.size:
            raise self._corrupt(f"an L2 table at {offset} is not a whole cluster within the file of {self._file.size} bytes")
        return np.frombuffer(self._file.read(offset, 1 << self.bits), ">u8").astype(np.uint64)

    def empty(self) -> Entries:
        """The entries of a table that maps nothing."""
        return np.zeros(self.per_table, np.uint64)

    def shared(self, index: int) -> bool:
        """True if the table of L1 entry ``index`` belongs to a snapshot too, and must be copied before it is changed."""
        return not int(self.l1[index]) & layout.COPIED

    def put(self, index: int, table: Table) -> None:
        """``table`` becomes the one of L1 entry ``index``; it is fresh, and nobody else's."""
        self._clean.pop(index, None)
        self._dirty[index] = table
        self.l1[index] = table.offset | layout.COPIED
        self.l1_dirty.add(index)

    def drop(self, index: int) -> None:
        """L1 entry ``index`` has no table any more."""
        self._clean.pop(index, None)
        self._dirty.pop(index, None)
        self.l1[index] = 0
        self.l1_dirty.add(index)

    def touch(self, index: int, table: Table, low: int, high: int) -> None:
        """Entries ``low..high`` of ``table`` were changed."""
        table.touch(low, high)
        if index not in self._dirty:
            self._clean.pop(index, None)
            self._dirty[index] = table

    def forget(self) -> None:
        """Drop what is cached, after the tables were changed on disk. Nothing may be dirty."""
        self._clean.clear()

    def replace_l1(self, l1: Entries) -> None:
        """Another L1 table took effect."""
        self.l1 = l1
        self.forget()

    def take_dirty(self) -> list[tuple[int, Table]]:
        """All tables that must be written. They stay where they are until ``settle``, lest somebody reads them from a disk that lags behind."""
        return [(index, table) for index, table in self._dirty.items() if table.dirty]

    def settle(self) -> None:
        """What was taken has been written: tables that have not changed since may be forgotten."""
        for index, table in list(self._dirty.items()):
            if not table.dirty and not table.fresh:
                del self._dirty[index]
                self._clean[index] = table
        while len(self._clean) > self._most:
            self._clean.popitem(last=False)

    def give_back(self, index: int, table: Table, fresh: bool) -> None:
        """Writing failed: the table is as dirty as can be."""
        if self._dirty.get(index) is table:
            table.touch(0, len(table.entries))
            table.fresh = fresh

    def take_l1(self, l1_offset: int) -> list[tuple[int, bytes]]:
        """Where on disk which sectors of the L1 table must be written; it counts as clean from now on."""
        sectors = sorted({index // PER_SECTOR for index in self.l1_dirty})
        self.l1_dirty.clear()
        parts = [self.l1[sector * PER_SECTOR : (sector + 1) * PER_SECTOR].astype(">u8").tobytes() for sector in sectors]
        return [(l1_offset + sector * layout.SECTOR, part) for sector, part in zip(sectors, parts, strict=True)]

    def used(self) -> Iterator[int]:
        """Indexes of the L1 entries that have a table."""
        return iter(np.flatnonzero(self.l1 & np.uint64(layout.OFFSET_MASK)).tolist())


def read_l1(file: HostFile, offset: int, entries: int) -> Entries:
    """An L1 table. What lies behind the end of the file reads as zeroes: the last cluster of a new image is not always whole."""
    raw = file.read_most(offset, entries * 8)
    return np.frombuffer(raw + bytes(entries * 8 - len(raw)), ">u8").astype(np.uint64)
