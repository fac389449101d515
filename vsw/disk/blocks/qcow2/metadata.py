"""Which host clusters hold metadata, and the table of internal snapshots: what several parts of an image read."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np

from ....errors import ImageError, UsageError
from ..hostfile import HostFile
from . import layout
from .header import Header
from .tables import Entries

_ENTRY = struct.Struct(">QIHHIIQII")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One internal snapshot, as the table has it. Times are in seconds (since the epoch) and nanoseconds; ``size`` is that of the disk then."""

    id: str
    name: str
    l1_offset: int
    l1_size: int
    seconds: int
    nanoseconds: int
    vm_clock: int
    vm_state: int
    size: int
    extra: bytes = b""
    """The extra data as it stands on disk, from the third field on (what later versions add)."""

    def pack(self) -> bytes:
        extra = struct.pack(">QQ", self.vm_state, self.size) + self.extra
        ident, name = self.id.encode("utf-8", "surrogateescape"), self.name.encode("utf-8", "surrogateescape")
        times = (self.seconds, self.nanoseconds, self.vm_clock)
        head = _ENTRY.pack(self.l1_offset, self.l1_size, len(ident), len(name), *times, min(self.vm_state, 0xFFFF_FFFF), len(extra))
        body = head + extra + ident + name
        return body + bytes(-len(body) % 8)


def read_snapshots(file: HostFile, header: Header) -> list[Snapshot]:
    """The table of internal snapshots. Raises :class:`~vsw.errors.ImageError` if it can't be right."""
    found: list[Snapshot] = []
    at = header.snapshots_offset
    stop = min(file.size, at + layout.MAX_SNAPSHOT_TABLE)
    for number in range(header.snapshots):
        head = file.read_most(at, min(_ENTRY.size, stop - at))
        if len(head) < _ENTRY.size:
            raise ImageError(file.path, f"the entry of snapshot {number + 1} at {at} is cut")
        l1_offset, l1_size, id_length, name_length, seconds, nanoseconds, clock, state, extra_length = _ENTRY.unpack(head)
        length = extra_length + id_length + name_length
        if extra_length > layout.MAX_SNAPSHOT_EXTRA:
            raise ImageError(file.path, f"snapshot {number + 1} has {extra_length} bytes of extra data, more than {layout.MAX_SNAPSHOT_EXTRA}")
        if l1_size * 8 > layout.MAX_L1_BYTES or l1_offset % header.cluster_size or (l1_size and l1_offset + 8 > file.size):
            raise ImageError(file.path, f"the L1 table of snapshot {number + 1} ({l1_size} entries at {l1_offset}) can't be right")
        body = file.read_most(at + _ENTRY.size, min(length, stop - at - _ENTRY.size))
        if len(body) < length:
            raise ImageError(file.path, f"the entry of snapshot {number + 1} at {at} is cut")
        extra, ident, name = body[:extra_length], body[extra_length : extra_length + id_length], body[extra_length + id_length :]
        size = header.size
        if extra_length >= 8:
            state = int.from_bytes(extra[:8], "big")
        if extra_length >= 16:
            size = int.from_bytes(extra[8:16], "big")
        if size > layout.MAX_SIZE or layout.l1_entries(size, header.cluster_bits) > l1_size:
            raise ImageError(file.path, f"snapshot {number + 1} has {size} bytes, too many for its L1 table of {l1_size} entries")
        texts = (ident.decode("utf-8", "surrogateescape"), name.decode("utf-8", "surrogateescape"))
        found.append(Snapshot(*texts, l1_offset, l1_size, seconds, nanoseconds, clock, state, size, extra[16:]))
        at += _ENTRY.size + length
        at += -(at - header.snapshots_offset) % 8
    return found


def find_snapshot(path: str, every: list[Snapshot], name: str) -> Snapshot:
    """The snapshot with this name, or this id. Raises :class:`~vsw.errors.UsageError` if there is none, or several."""
    found = [snapshot for snapshot in every if snapshot.name == name] or [snapshot for snapshot in every if snapshot.id == name]
    if len(found) != 1:
        known = ", ".join(repr(snapshot.name) for snapshot in every) or "none"
        raise UsageError(f"{path}: {'no' if not found else 'more than one'} snapshot is called {name!r}; there are: {known}")
    return found[0]


def of_snapshot(file: HostFile, header: Header, name: str) -> Header:
    """The header as if the disk were what it was in a snapshot."""
    found = find_snapshot(file.path, read_snapshots(file, header), name)
    return replace(header, l1_offset=found.l1_offset, l1_size=found.l1_size, size=found.size)


def snapshot_table_length(snapshots: list[Snapshot]) -> int:
    return sum(len(snapshot.pack()) for snapshot in snapshots)


def metadata_clusters(file: HostFile, header: Header, l1: Entries, reftable: Entries) -> set[int]:
    """Host clusters of the header, the tables of the active disk, the counts and the snapshot table."""
    bits = header.cluster_bits

    def rows(offset: int, length: int) -> range:
        return range(offset >> bits, (offset + length + header.cluster_size - 1) >> bits)

    clusters = {0, *rows(header.l1_offset, header.l1_size * 8), *rows(header.refcount_offset, header.refcount_clusters << bits)}
    for table in (l1 & np.uint64(layout.OFFSET_MASK), reftable):
        clusters.update((table[table != 0] >> np.uint64(bits)).tolist())
    if header.snapshots:
        snapshots = read_snapshots(file, header)
        clusters.update(rows(header.snapshots_offset, snapshot_table_length(snapshots)))
        for snapshot in snapshots:
            clusters.update(rows(snapshot.l1_offset, snapshot.l1_size * 8))
    return clusters
