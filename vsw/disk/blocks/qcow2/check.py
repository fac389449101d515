"""Is an image consistent: does every table point to clusters that are there, counted, and nobody else's?

Every reference is collected from the tables on disk (the active disk, snapshots, counts, bitmaps) as numpy arrays and compared with the
reference counts. Each L2 table is read once, however many tables point to it, and tables that overlap are reported rather than followed,
so that time and memory are bounded by what the file really holds.

Three kinds of findings: **corruptions** (a count that is too low, a reference to what can't be right), **leaks** (a count that is too high: space is
lost, nothing else) and **marks** (an entry does not say that its cluster is unshared, and costs a copy). Repairing leaks and marks, and raising
counts, loses nothing (``Repair.SAFE``); to drop references that can't be right is the user's decision (``Repair.ALL``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError
from ..hostfile import HostFile
from . import layout
from .header import Header, read_header
from .metadata import Snapshot, read_snapshots, snapshot_table_length
from .refcounts import Values, unpack
from .tables import Entries, read_l1

MOST_MESSAGES = 100
_OFFSET = np.uint64(layout.OFFSET_MASK)
_COPIED = np.uint64(layout.COPIED)


class Repair(Enum):
    NONE = "none"
    SAFE = "safe"
    """Counts, marks and the dirty bit: nothing that the guest wrote is lost."""
    ALL = "all"
    """Also drop references that can't be right: what they stood for reads as zeroes."""


@dataclass
class Report:
    """What was found. Clusters are host clusters."""

    file: str
    cluster_size: int
    corruptions: int = 0
    leaks: int = 0
    """Leaked clusters."""
    marks: int = 0
    """Entries that do not say that their cluster is unshared."""
    messages: list[str] = field(default_factory=list)
    """The first corruptions in words."""
    total: int = 0
    """Guest clusters."""
    allocated: int = 0
    """Guest clusters of the active disk that have a place."""
    compressed: int = 0
    end: int = 0
    """Bytes of the file up to the end of the last cluster that is referred to."""
    dirty: bool = False
    corrupt: bool = False
    repaired: Report | None = None
    """What had been found before it was repaired."""

    def add(self, message: str, count: int = 1) -> None:
        self.corruptions += count
        if len(self.messages) < MOST_MESSAGES:
            self.messages.append(message)

    @property
    def sound(self) -> bool:
        """No corruption; leaks and marks may be there."""
        return self.corruptions == 0


Progress = Callable[[int, int], None]
"""Called with how many L2 tables have been looked at, and how many there are. Repairing looks at them twice."""


def check_image(path: str | os.PathLike[str], repair: Repair = Repair.NONE, progress: Progress | None = None) -> Report:
    """Check (and repair) the image at ``path``, which nobody may be using meanwhile. Backing files are not looked at."""
    file = HostFile(path, read_only=repair is Repair.NONE)
    try:
        return check_file(file, repair, progress)
    finally:
        file.close()


def check_file(file: HostFile, repair: Repair = Repair.NONE, progress: Progress | None = None) -> Report:
    """The same for a file that is open."""
    walk = Walk(file, progress)
    report = walk.report
    if repair is Repair.NONE:
        return report
    from .repair import mend  # noqa: PLC0415

    if report.corruptions or report.leaks or report.marks or report.dirty or report.corrupt:
        mend(walk, repair)
        report = Walk(file, progress).report
        if report.sound and (report.dirty or report.corrupt):
            mend_bits(file)
            report.dirty = report.corrupt = False
        report.repaired = walk.report
    return report


def mend_bits(file: HostFile) -> None:
    """The image is sound: say so."""
    from .header import change_header  # noqa: PLC0415

    header = read_header(file)
    file.flush()
    change_header(file, header, incompatible=header.incompatible & ~(layout.DIRTY | layout.CORRUPT))
    file.flush()


class Walk:
    """One pass over the metadata of an image."""

    def __init__(self, file: HostFile, progress: Progress | None = None) -> None:
        self.file = file
        self.header: Header = read_header(file)
        self.bits = self.header.cluster_bits
        self.cluster = 1 << self.bits
        self.report = Report(file.path, self.cluster)
        self.report.total = -(-self.header.size // self.cluster)
        self.report.dirty = bool(self.header.incompatible & layout.DIRTY)
        self.report.corrupt = bool(self.header.incompatible & layout.CORRUPT)
        self._clusters: list[Values] = []
        self._weights: list[NDArray[np.int64]] = []
        self.rebuild = False
        """The counts have to be written anew, elsewhere."""
        self.l1s = self._l1_tables()
        self.active = self.l1s[0][1]
        self._own = self._metadata()
        self.tables, self.table_weights = self._l2_offsets()
        for done, (offset, weight) in enumerate(zip(self.tables.tolist(), self.table_weights.tolist(), strict=True), start=1):
            self._visit(offset, weight)
            if progress is not None:
                progress(done, len(self.tables))
        self._bitmaps()
        self.clusters, self.counts = self._sum()
        self._compare()
        self._marks()
        if len(self.clusters):
            self.report.end = (int(self.clusters[-1]) + 1) << self.bits

    def _refer(self, clusters: Values, weight: int = 1) -> None:
        if len(clusters):
            self._clusters.append(clusters)
            self._weights.append(np.full(len(clusters), weight, np.int64))

    def _rows(self, offset: int, length: int) -> Values:
        return np.arange(offset >> self.bits, (offset + length + self.cluster - 1) >> self.bits, dtype=np.uint64)

    def _inside(self, offsets: Entries) -> NDArray[np.bool_]:
        """Which offsets are those of whole clusters within the file."""
        last = max(0, self.file.size - self.cluster)
        inside: NDArray[np.bool_] = ((offsets & np.uint64(self.cluster - 1)) == 0) & (offsets <= np.uint64(last)) & (offsets > 0)
        return inside

    # Metadata.

    def _l1_tables(self) -> list[tuple[int, Entries, int]]:
        """(offset, entries, how many snapshots share it) of every L1 table; the active one is first."""
        found = [(self.header.l1_offset, read_l1(self.file, self.header.l1_offset, self.header.l1_size), 1)]
        self.snapshots: list[Snapshot] = []
        if not self.header.snapshots:
            return found
        try:
            self.snapshots = read_snapshots(self.file, self.header)
        except ImageError as error:
            self.report.add(error.message)
            return found
        ranges = {(snapshot.l1_offset, snapshot.l1_size) for snapshot in self.snapshots if snapshot.l1_size}
        stop = 0
        for offset, entries in sorted({*ranges, (self.header.l1_offset, self.header.l1_size)}):
            if offset < stop:
                self.report.add(f"the L1 table of {entries} entries at {offset} overlaps another")
            elif offset != self.header.l1_offset:
                times = sum((snapshot.l1_offset, snapshot.l1_size) == (offset, entries) for snapshot in self.snapshots)
                found.append((offset, read_l1(self.file, offset, entries), times))
            stop = max(stop, offset + entries * 8)
        return found

    def _metadata(self) -> Values:
        """Clusters that only one thing may refer to: header, L1 tables, counts, snapshot table."""
        header = self.header
        parts = [np.zeros(1, np.uint64), self._rows(header.refcount_offset, header.refcount_clusters << self.bits)]
        parts += [self._rows(offset, len(entries) * 8) for offset, entries, _ in self.l1s]
        if self.snapshots:
            parts.append(self._rows(header.snapshots_offset, snapshot_table_length(self.snapshots)))
        raw = self.file.read_most(header.refcount_offset, header.refcount_clusters << self.bits)
        self.reftable = np.frombuffer(raw + bytes(-len(raw) % 8), ">u8").astype(np.uint64)
        fixed = np.concatenate(parts)
        used = np.flatnonzero(self.reftable)
        offsets = self.reftable[used]
        good = self._inside(offsets) & ~np.isin(offsets >> np.uint64(self.bits), fixed)
        _, first = np.unique(offsets, return_index=True)
        single = np.zeros(len(offsets), bool)
        single[first] = True
        good &= single
        for index, offset in zip(used[~good].tolist(), offsets[~good].tolist(), strict=True):
            self.report.add(f"the refcount block {index} at {offset} is not within the file, or overlaps other metadata")
            self.rebuild = True
        self.blocks = dict(zip(used[good].tolist(), offsets[good].tolist(), strict=True))
        blocks = offsets[good] >> np.uint64(self.bits)
        own, times = np.unique(np.concatenate([fixed, blocks]), return_counts=True)
        for cluster in own[times > 1].tolist():
            self.report.add(f"metadata overlaps at {cluster << self.bits}")
        for part in (*parts, blocks):
            self._refer(part)
        # Several snapshots may share an L1 table in name only: each counts it.
        for offset, entries, times_shared in self.l1s:
            if times_shared > 1:
                self._refer(self._rows(offset, len(entries) * 8), times_shared - 1)
        return own

    def _l2_offsets(self) -> tuple[Entries, NDArray[np.int64]]:
        """Offsets of all L2 tables, and how many L1 entries point to each."""
        offsets, weights = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        self.bad_l1: list[tuple[int, NDArray[np.int64]]] = []
        for at, entries, times in self.l1s:
            places = np.flatnonzero(entries & _OFFSET)
            wanted = entries[places] & _OFFSET
            good = self._inside(wanted) & ~np.isin(wanted >> np.uint64(self.bits), self._own)
            if not good.all():
                self.bad_l1.append((at, places[~good]))
                for offset in wanted[~good][:MOST_MESSAGES].tolist():
                    self.report.add(f"an L2 table at {offset} is not a whole cluster within the file, or overlaps other metadata")
                self.report.corruptions += max(0, int((~good).sum()) - MOST_MESSAGES)
            offsets.append(wanted[good])
            weights.append(np.full(int(good.sum()), times, np.int64))
        every = np.concatenate(offsets)
        distinct, inverse = np.unique(every, return_inverse=True)
        summed = np.zeros(len(distinct), np.int64)
        np.add.at(summed, inverse, np.concatenate(weights))
        self._l2 = distinct >> np.uint64(self.bits)
        self._clusters.append(self._l2)
        self._weights.append(summed)
        self._active_tables = set((self.active & _OFFSET).tolist()) - {0}
        return distinct, summed

    # Tables.

    def read_table(self, offset: int) -> Entries:
        return np.frombuffer(self.file.read(offset, self.cluster), ">u8").astype(np.uint64)

    def bad_entries(self, entries: Entries) -> NDArray[np.bool_]:
        """Which entries of an L2 table point to what can't be guest data."""
        packed = (entries & np.uint64(layout.COMPRESSED)) != 0
        hosts = entries & _OFFSET
        bad: NDArray[np.bool_] = ~packed & (hosts != 0)
        bad[bad] = ~self._inside(hosts[bad])
        places = ~packed & (hosts != 0) & ~bad
        clusters = hosts[places] >> np.uint64(self.bits)
        bad[places] = np.isin(clusters, self._own) | np.isin(clusters, self._l2)
        if self.header.version < 3:
            bad |= ~packed & ((entries & np.uint64(layout.ZERO)) != 0)
        first, last = self._compressed(entries[packed])
        bad[packed] = (first << np.uint64(self.bits)) >= np.uint64(self.file.size)
        bad[packed] |= (last - first) > np.uint64(2)
        return bad

    def _compressed(self, entries: Entries) -> tuple[Values, Values]:
        """First and last host cluster of compressed data."""
        shift = 62 - (self.bits - 8)
        offsets = entries & np.uint64((1 << shift) - 1)
        sectors = (entries >> np.uint64(shift)) & np.uint64((1 << (self.bits - 8)) - 1)
        sector = np.uint64(layout.SECTOR)
        lengths = (sectors + np.uint64(1)) * sector - offsets % sector
        return offsets >> np.uint64(self.bits), (offsets + lengths - np.uint64(1)) >> np.uint64(self.bits)

    def _visit(self, offset: int, weight: int) -> None:
        if self.file.is_hole(offset, self.cluster):
            return
        entries = self.read_table(offset)
        bad = self.bad_entries(entries)
        if bad.any():
            self.report.add(f"{int(bad.sum())} entries of the L2 table at {offset} do not point to guest data within the file", int(bad.sum()))
        packed = ((entries & np.uint64(layout.COMPRESSED)) != 0) & ~bad
        hosts = entries & _OFFSET
        plain = ~packed & (hosts != 0) & ~bad
        if offset in self._active_tables:
            self.report.allocated += int(plain.sum() + packed.sum())
            self.report.compressed += int(packed.sum())
        self._refer(hosts[plain] >> np.uint64(self.bits), weight)
        if packed.any():
            first, last = self._compressed(entries[packed])
            for further in range(int((last - first).max()) + 1):
                self._refer((first + np.uint64(further))[first + np.uint64(further) <= last], weight)

    def _bitmaps(self) -> None:
        """Persistent bitmaps, if the image says that they are valid: their clusters are in use."""
        data = self.header.extensions.get(layout.EXTENSION_BITMAPS, b"")
        if not self.header.autoclear & layout.BITMAPS or len(data) < 24:
            return
        number, length, offset = int.from_bytes(data[:4], "big"), int.from_bytes(data[8:16], "big"), int.from_bytes(data[16:24], "big")
        raw = self.file.read_most(offset, min(length, 1 << 20))
        if len(raw) < length or offset % self.cluster:
            self.report.add(f"the directory of bitmaps ({length} bytes at {offset}) is not within the file, or is larger than 1 MiB")
            return
        self._refer(self._rows(offset, length))
        at = 0
        for _ in range(min(number, 65535)):
            if at + 24 > length:
                self.report.add("the directory of bitmaps is cut")
                return
            table, entries = int.from_bytes(raw[at : at + 8], "big"), int.from_bytes(raw[at + 8 : at + 12], "big")
            name, extra = int.from_bytes(raw[at + 18 : at + 20], "big"), int.from_bytes(raw[at + 20 : at + 24], "big")
            at += (24 + name + extra + 7) & ~7
            body = self.file.read_most(table, min(entries * 8, layout.MAX_L1_BYTES))
            if table % self.cluster or len(body) < entries * 8:
                self.report.add(f"the table of a bitmap at {table} is not within the file")
                continue
            self._refer(self._rows(table, entries * 8))
            hosts = np.frombuffer(body, ">u8").astype(np.uint64) & _OFFSET
            hosts = hosts[hosts != 0]
            good = self._inside(hosts)
            if not good.all():
                self.report.add(f"a bitmap has data outside of the file, by its table at {table}")
            self._refer(hosts[good] >> np.uint64(self.bits))

    # Counts.

    def _sum(self) -> tuple[Values, NDArray[np.int64]]:
        every = np.concatenate(self._clusters)
        weights = np.concatenate(self._weights)
        distinct, inverse = np.unique(every, return_inverse=True)
        counts = np.zeros(len(distinct), np.int64)
        np.add.at(counts, inverse, weights)
        self._clusters, self._weights = [], []
        return distinct, counts

    @property
    def per_block(self) -> int:
        return (8 << self.bits) >> self.header.refcount_order

    def block_values(self, offset: int) -> NDArray[np.unsignedinteger] | None:
        """The counts of a block; None if all are 0 because it is a hole."""
        if self.file.is_hole(offset, self.cluster):
            return None
        return unpack(self.file.read(offset, self.cluster), self.header.refcount_order)

    def expected(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(places within refcount block ``index``, references) of the clusters that are referred to."""
        low, high = np.searchsorted(self.clusters, np.array([index * self.per_block, (index + 1) * self.per_block], np.uint64)).tolist()
        return (self.clusters[low:high] - np.uint64(index * self.per_block)).astype(np.int64), self.counts[low:high]

    def _compare(self) -> None:
        actual = np.zeros(len(self.clusters), np.uint64)
        at = np.searchsorted
        needed = np.unique(self.clusters // np.uint64(self.per_block)).tolist()
        for index in sorted({*self.blocks, *needed}):
            places, counts = self.expected(index)
            values = self.block_values(self.blocks[index]) if index in self.blocks else None
            if index not in self.blocks and len(places):
                self.rebuild = True
            if values is None:
                low = places
                if len(low):
                    where = (index * self.per_block + int(low[0])) << self.bits
                    self.report.add(f"{len(low)} clusters from {where} on are in use and not counted", len(low))
                continue
            have = values[places].astype(np.uint64)
            start = int(at(self.clusters, np.uint64(index * self.per_block)))
            actual[start : start + len(places)] = have
            low = places[have < counts.astype(np.uint64)]
            if len(low):
                where = (index * self.per_block + int(low[0])) << self.bits
                self.report.add(f"{len(low)} clusters have a reference count that is too low, the first at {where}", len(low))
            self.report.leaks += int((have > counts.astype(np.uint64)).sum())
            unused = values.copy()
            unused[places] = 0
            self.report.leaks += int(np.count_nonzero(unused))
        self.actual = actual

    def count_of(self, hosts: Entries, actual: bool = True) -> Values:
        """The reference counts of host offsets that are referred to: as they are on disk, or as they should be."""
        places = np.searchsorted(self.clusters, hosts >> np.uint64(self.bits))
        places = np.minimum(places, len(self.clusters) - 1)
        found = (self.actual if actual else self.counts.astype(np.uint64))[places]
        return np.where(self.clusters[places] == hosts >> np.uint64(self.bits), found, np.uint64(0))

    def wrong_marks(self, entries: Entries, actual: bool = True) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(entries that claim to be unshared and are not, entries that are and do not say so)."""
        placed = ((entries & np.uint64(layout.COMPRESSED)) == 0) & ((entries & _OFFSET) != 0)
        packed = (entries & np.uint64(layout.COMPRESSED)) != 0
        marked = (entries & _COPIED) != 0
        alone = np.zeros(len(entries), bool)
        alone[placed] = self.count_of(entries[placed] & _OFFSET, actual) == 1
        return marked & ((placed & ~alone) | packed), placed & alone & ~marked

    def _marks(self) -> None:
        claims, misses = self.wrong_marks(self.active)
        wrong = int(claims.sum())
        self.report.marks += int(misses.sum())
        known = set(self.tables.tolist())
        for offset in self._active_tables:
            if offset in known and not self.file.is_hole(offset, self.cluster):
                entries = self.read_table(offset)
                entries = entries[~self.bad_entries(entries)]
                claims, misses = self.wrong_marks(entries)
                wrong += int(claims.sum())
                self.report.marks += int(misses.sum())
        if wrong:
            self.report.add(f"{wrong} entries claim that their cluster is unshared, which it is not", wrong)

    def active_tables(self) -> list[int]:
        """Offsets of the L2 tables of the active disk that can be read."""
        return [offset for offset in self.tables.tolist() if offset in self._active_tables]
