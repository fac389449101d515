"""Reference counts of host clusters: how many tables point to each, and which are free.

Counts are in refcount blocks (one cluster each), whose offsets are in the refcount table. Blocks are read when they are needed and kept
as numpy arrays of one element a cluster, whatever the width on disk. Changes stay in memory until ``commit`` writes them.

``take`` gives out free clusters: holes between used ones first, then what lies behind ``end``, the first cluster that was never used. What
lies behind ``end`` reads as zeroes (``virgin``), so that nothing needs to be written around a small write.

Thread-safety: none; the image's lock is held around every call.
"""

from __future__ import annotations

import errno
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from ..hostfile import HostFile
from . import layout
from .header import Header
from .tables import Corrupt, Entries

CACHE_BYTES = 16 << 20
"""Clean refcount blocks, as on disk: with clusters of 64 KiB and 16 bits they count 512 GiB."""
Values = NDArray[np.uint64]
_TYPES = {3: "u1", 4: ">u2", 5: ">u4", 6: ">u8"}


def unpack(raw: bytes | bytearray, order: int) -> NDArray[np.unsignedinteger]:
    """One element for each count of a refcount block; narrower ones than 8 bits begin with the least significant of a byte."""
    if order >= 3:
        kind = np.dtype(_TYPES[order])
        return np.frombuffer(raw, kind).astype(kind.newbyteorder("="))
    octets = np.frombuffer(raw, np.uint8)
    bits, mask = 1 << order, (1 << (1 << order)) - 1
    return np.stack([(octets >> np.uint8(shift)) & np.uint8(mask) for shift in range(0, 8, bits)], axis=1).reshape(-1)


def pack(values: NDArray[np.unsignedinteger], order: int) -> bytes:
    """The reverse of :func:`unpack`."""
    if order >= 3:
        return values.astype(_TYPES[order]).tobytes()
    bits = 1 << order
    parts = values.astype(np.uint8).reshape(-1, 8 // bits)
    octets = np.zeros(len(parts), np.uint8)
    for place in range(8 // bits):
        octets |= parts[:, place] << np.uint8(place * bits)
    return octets.tobytes()


class Block:
    """One refcount block. ``low`` and ``high`` bound the counts that differ from the disk; ``fresh`` is set until it was written once."""

    __slots__ = ("fresh", "high", "low", "offset", "values")

    def __init__(self, offset: int, values: NDArray[np.unsignedinteger], fresh: bool = False) -> None:
        self.offset = offset
        self.values = values
        self.fresh = fresh
        self.low, self.high = (0, len(values)) if fresh else (len(values), 0)

    @property
    def dirty(self) -> bool:
        return self.low < self.high

    def touch(self, low: int, high: int) -> None:
        """Counts ``low..high`` (exclusive) were changed."""
        self.low = min(self.low, low)
        self.high = max(self.high, high)

    def take_dirty(self, order: int) -> tuple[int, bytes]:
        """Where on disk what must be written, whole sectors; the block counts as clean afterwards."""
        step = (layout.SECTOR * 8) >> order
        low = self.low // step * step
        high = min(-(-self.high // step) * step, len(self.values))
        self.low, self.high = len(self.values), 0
        return self.offset + (low << order) // 8, pack(self.values[low:high], order)


class Refcounts:
    """The counts of one image, and its free clusters."""

    def __init__(self, file: HostFile, header: Header, corrupt: Corrupt) -> None:
        self._file = file
        self._corrupt = corrupt
        self.bits = header.cluster_bits
        self.order = header.refcount_order
        self.per_block = (8 << header.cluster_bits) >> header.refcount_order
        self.most = (1 << (1 << header.refcount_order)) - 1
        """The largest count that fits."""
        self.offset = header.refcount_offset
        self.clusters = header.refcount_clusters
        self.moved = False
        """The table has another place than the header on disk says."""
        self.table_dirty: set[int] = set()
        self.metadata: set[int] = set()
        """Host clusters that hold metadata: neither given out, nor to be pointed to for data."""
        self.retired: list[tuple[int, int]] = []
        """Clusters of former refcount tables: (first, count), free as soon as the header on disk points elsewhere."""
        self._clean: OrderedDict[int, Block] = OrderedDict()
        self._dirty: dict[int, Block] = {}
        self._cached = max(4, CACHE_BYTES >> header.cluster_bits)
        raw = file.read_most(self.offset, self.clusters << self.bits)
        self.table: Entries = np.frombuffer(raw + bytes((self.clusters << self.bits) - len(raw)), ">u8").astype(np.uint64)
        used = self.table[self.table != 0]
        if len(np.unique(used)) != len(used):
            raise corrupt("two entries of the refcount table point to the same block")
        self.hint = 0
        """No cluster before this one is free."""
        self.end = self._find_end()
        self._zero_from = -(-file.size // (1 << self.bits))

    def _find_end(self) -> int:
        end = 0
        for index in reversed(np.flatnonzero(self.table).tolist()):
            if self._file.is_hole(int(self.table[index]), 1 << self.bits):
                continue
            block = self._get(index)
            if block is not None and (found := np.flatnonzero(block.values)).size:
                end = index * self.per_block + int(found[-1]) + 1
                break
        if self._file.fixed:
            return end
        return max(end, -(-self._file.size // (1 << self.bits)))

    @property
    def dirty(self) -> bool:
        return bool(self.table_dirty or self.moved) or any(block.dirty for block in self._dirty.values())

    def _get(self, index: int) -> Block | None:
        """The block with the counts of clusters ``index * per_block`` and following; None if there is none, and all are free."""
        block = self._dirty.get(index)
        if block is not None:
            return block
        block = self._clean.get(index)
        if block is not None:
            self._clean.move_to_end(index)
            return block
        offset = int(self.table[index]) if index < len(self.table) else 0
        if offset == 0:
            return None
        size = 1 << self.bits
        if offset % size or offset + size > self._file.size:
            raise self._corrupt(f"a refcount block at {offset} is not a whole cluster within the file of {self._file.size} bytes")
        block = self._clean[index] = Block(offset, unpack(self._file.read(offset, size), self.order))
        if len(self._clean) > self._cached:
            self._clean.popitem(last=False)
        return block

    def get(self, cluster: int) -> int:
        block = self._get(cluster // self.per_block)
        return 0 if block is None else int(block.values[cluster % self.per_block])

    def get_many(self, clusters: Values) -> Values:
        """The counts of many clusters."""
        counts = np.zeros(len(clusters), np.uint64)
        indexes = clusters // np.uint64(self.per_block)
        for index in np.unique(indexes).tolist():
            block = self._get(int(index))
            if block is not None:
                here = indexes == index
                counts[here] = block.values[(clusters[here] % np.uint64(self.per_block)).astype(np.int64)]
        return counts

    def add(self, first: int, count: int, delta: int) -> None:
        """Change the counts of ``count`` clusters from ``first`` on by ``delta``; their blocks exist."""
        while count:
            index, low = divmod(first, self.per_block)
            step = min(count, self.per_block - low)
            block = self._writable(index, first)
            part = block.values[low : low + step]
            if delta < 0 and int(part.min()) < -delta:
                raise self._corrupt(f"the reference count of a cluster from {first << self.bits} on would fall below 0")
            if delta > 0 and int(part.max()) > self.most - delta:
                raise OSError(errno.ERANGE, f"{self._file.path}: a reference count would exceed {self.most}, the largest of {1 << self.order} bits")
            if delta > 0:
                part += part.dtype.type(delta)
            else:
                part -= part.dtype.type(-delta)
                self.hint = min(self.hint, first)
            block.touch(low, low + step)
            first += step
            count -= step

    def add_each(self, clusters: Values, delta: int) -> None:
        """Change the counts of many clusters, each as often as it occurs, by ``delta`` (1 or -1). Checked before anything is changed."""
        distinct, times = np.unique(clusters, return_counts=True)
        indexes = distinct // np.uint64(self.per_block)
        parts = []
        for index in np.unique(indexes).tolist():
            here = indexes == index
            first = int(distinct[here][0])
            block = self._writable(int(index), first)
            places = (distinct[here] % np.uint64(self.per_block)).astype(np.int64)
            old, step = block.values[places].astype(np.uint64), times[here].astype(np.uint64)
            if delta > 0 and bool((np.uint64(self.most) - old < step).any()):
                raise OSError(errno.ERANGE, f"{self._file.path}: a reference count would exceed {self.most}, the largest of {1 << self.order} bits")
            if delta < 0 and bool((old < step).any()):
                raise self._corrupt(f"the reference count of a cluster from {first << self.bits} on would fall below 0")
            parts.append((block, places, old + step if delta > 0 else old - step))
        for block, places, values in parts:
            block.values[places] = values.astype(block.values.dtype)
            block.touch(int(places.min()), int(places.max()) + 1)
        if delta < 0 and len(distinct):
            self.hint = min(self.hint, int(distinct[0]))

    def check_room(self, clusters: Values) -> None:
        """Raise ``OSError`` (``ERANGE``) unless each of the clusters can be counted once more, as often as it occurs."""
        distinct, times = np.unique(clusters, return_counts=True)
        if len(distinct) and bool((np.uint64(self.most) - self.get_many(distinct) < times.astype(np.uint64)).any()):
            raise OSError(errno.ERANGE, f"{self._file.path}: reference counts of {1 << self.order} bits can't count one snapshot more")

    def _writable(self, index: int, cluster: int) -> Block:
        block = self._get(index)
        if block is None:
            raise self._corrupt(f"the cluster at {cluster << self.bits} is in use, and has no reference count")
        if index not in self._dirty:
            self._clean.pop(index, None)
            self._dirty[index] = block
        return block

    # Free clusters.

    def take(self, wanted: int) -> tuple[int, int, bool]:
        """``(first, count, virgin)``: up to ``wanted`` free clusters in a row, now counted once; ``virgin`` ones read as zeroes."""
        while self.hint < self.end:
            index, low = divmod(self.hint, self.per_block)
            stop = min(self.end, (index + 1) * self.per_block)
            block = self._get(index)
            if block is None:  # nothing was ever counted here: left alone
                self.hint = stop
                continue
            values = block.values[low : stop - index * self.per_block]
            start = 0 if not values[0] else int((values == 0).argmax())
            if values[start]:
                self.hint = stop
                continue
            row = values[start : start + wanted]
            used = np.flatnonzero(row)
            count = int(used[0]) if used.size else len(row)
            first = self.hint + start
            if not self.metadata.isdisjoint(range(first, first + count)):
                raise self._corrupt(f"a cluster with metadata, from {first << self.bits} on, is not counted")
            self.add(first, count, 1)
            self.hint = first + count
            return first, count, False
        first = self.take_row(wanted)
        return first, wanted, first >= self._zero_from

    def take_row(self, wanted: int) -> int:
        """The first of ``wanted`` clusters in a row behind all others, now counted once; makes the blocks (and the table) that count them."""
        start = self.end
        index, low = divmod(start, self.per_block)
        near = self._dirty.get(index)
        if near is not None and low + wanted <= self.per_block:  # as it is nearly always
            self._file.grow((start + wanted) << self.bits)
            self.end = start + wanted
            near.values[low : low + wanted] = 1
            near.touch(low, low + wanted)
            return start
        blocks: list[int] = []
        table = 0
        while True:  # the blocks and the table need clusters, which need blocks
            stop = start + len(blocks) + table + wanted
            needed = [i for i in range(start // self.per_block, (stop - 1) // self.per_block + 1) if i >= len(self.table) or not self.table[i]]
            last = (stop - 1) // self.per_block
            table_needed = 0
            if last >= len(self.table):
                table_needed = -(-(last + 1) * 3 // 2 * 8 // (1 << self.bits))
                if table_needed << self.bits > max(layout.MAX_REFTABLE_BYTES, 1 << self.bits):
                    raise OSError(errno.EFBIG, f"{self._file.path}: the file would be larger than its format can count")
            if len(needed) <= len(blocks) and table_needed <= table:
                break
            blocks = needed if len(needed) > len(blocks) else blocks
            table = max(table, table_needed)
        stop = start + len(blocks) + table + wanted
        if stop << self.bits > layout.MAX_HOST_OFFSET:
            raise OSError(errno.EFBIG, f"{self._file.path}: the file would be larger than its format can count")
        if blocks or table:
            self._file.reserve(start << self.bits, (len(blocks) + table) << self.bits)
        self._file.grow(stop << self.bits)
        if table:
            self._move_table(start + len(blocks), table)
        for place, index in enumerate(blocks):
            offset = (start + place) << self.bits
            dtype = np.dtype(_TYPES.get(self.order, "u1")).newbyteorder("=")
            self._dirty[index] = Block(offset, np.zeros(self.per_block, dtype), fresh=True)
            self.table[index] = offset
            self.table_dirty.add(index)
        self.metadata.update(range(start, stop - wanted))
        self.end = stop
        self.add(start, stop - start, 1)
        return stop - wanted

    def _move_table(self, first: int, clusters: int) -> None:
        table = np.zeros((clusters << self.bits) // 8, np.uint64)
        table[: len(self.table)] = self.table
        self.retired.append((self.offset >> self.bits, self.clusters))
        self.table, self.offset, self.clusters, self.moved = table, first << self.bits, clusters, True

    # What commit writes.

    def take_dirty(self) -> list[tuple[int, Block]]:
        """All blocks that must be written. They stay where they are until ``settle``, lest somebody reads them from a disk that lags behind."""
        return [(index, block) for index, block in self._dirty.items() if block.dirty]

    def settle(self) -> None:
        """What was taken has been written: blocks that have not changed since may be forgotten."""
        for index, block in list(self._dirty.items()):
            if not block.dirty:
                del self._dirty[index]
                self._clean[index] = block
        while len(self._clean) > self._cached:
            self._clean.popitem(last=False)

    def give_back(self, index: int) -> None:
        """Writing failed: the block is as dirty as can be."""
        block = self._dirty.get(index)
        if block is not None:
            block.touch(0, len(block.values))

    def take_table(self) -> tuple[list[tuple[int, bytes]], bool]:
        """Where on disk what of the refcount table must be written, and whether the header must then point to it; it counts as clean from now on."""
        moved, self.moved = self.moved, False
        if moved:
            self.table_dirty.clear()
            return [(self.offset, self.table.astype(">u8").tobytes())], True
        per = layout.SECTOR // 8
        sectors = sorted({index // per for index in self.table_dirty})
        self.table_dirty.clear()
        parts = [self.table[sector * per : (sector + 1) * per].astype(">u8").tobytes() for sector in sectors]
        return [(self.offset + sector * layout.SECTOR, part) for sector, part in zip(sectors, parts, strict=True)], False

    def last(self) -> int:
        """One more than the last cluster in use."""
        while self.end and not self._file.fixed:
            index, low = divmod(self.end - 1, self.per_block)
            block = self._get(index)
            if block is not None and (found := np.flatnonzero(block.values[: low + 1])).size:
                return index * self.per_block + int(found[-1]) + 1
            self.end = index * self.per_block
        return self.end
