"""Internal snapshots: states of the disk that share clusters with it within one image.

A snapshot is an L1 table; the tables and data below it are shared, and counted once for each L1 table that leads to them. Every operation works alone
(nobody else uses the disk) and takes effect by one write of the header; before it counts are only raised, after it they are only lowered. While
the marks of unshared clusters and the counts do not agree, the dirty bit is set, so that the next to open the image repairs them.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

import numpy as np

from ....errors import UsageError
from . import layout
from .commit import commit, joined
from .core import Core
from .metadata import Snapshot, find_snapshot, metadata_clusters, read_snapshots
from .refcounts import Values
from .tables import Entries, read_l1

if TYPE_CHECKING:
    from .image import Qcow2Blocks

_OFFSET = np.uint64(layout.OFFSET_MASK)
_COPIED = np.uint64(layout.COPIED)


def list_snapshots(image: Qcow2Blocks) -> list[Snapshot]:
    """In the order in which they were made."""
    return read_snapshots(image.core.file, image.core.header)


def create_snapshot(image: Qcow2Blocks, name: str, when: float | None = None) -> Snapshot:
    """Keep the disk as it is now under ``name``; ``when`` is the time to note (default: now), in seconds since the epoch."""
    every = list_snapshots(image)
    if not name or len(name.encode()) > 1023 or "\0" in name:
        raise UsageError(f"the name of a snapshot has 1 to 1023 bytes (found {name!r})")
    if name in (snapshot.name for snapshot in every):
        raise UsageError(f"{image.path}: there is a snapshot {name!r} already")
    if len(every) >= layout.MAX_SNAPSHOTS:
        raise UsageError(f"{image.path}: there are {len(every)} snapshots, which is the most")
    core = image.core
    _begin(image)
    nanoseconds = int((time.time() if when is None else when) * 1_000_000_000)
    numbers = [int(snapshot.id) for snapshot in every if snapshot.id.isascii() and snapshot.id.isdigit()]
    ident = str(max(numbers, default=0) + 1)
    with core.lock:
        shared = _references(core, core.tables.l1)
        core.refcounts.check_room(shared)
        _set_marks(core, np.zeros(0, np.uint64))
        core.file.flush()
        first = core.refcounts.take_row(max(1, -(-len(core.tables.l1) * 8 // core.cluster)))
        core.refcounts.add_each(shared, 1)
        core.file.grow(core.refcounts.end << core.bits)
        core.file.write(first << core.bits, (core.tables.l1 & ~_COPIED).astype(">u8").tobytes())
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    made = Snapshot(ident, name, first << core.bits, len(core.tables.l1), seconds & 0xFFFF_FFFF, rest, 0, 0, core.size)
    _write_table(core, [*every, made])
    _finish(core)
    return made


def delete_snapshot(image: Qcow2Blocks, name: str) -> None:
    """Forget the snapshot; what only it used is free."""
    gone = find_snapshot(image.path, list_snapshots(image), name)
    core = image.core
    every = list_snapshots(image)
    l1 = read_l1(core.file, gone.l1_offset, gone.l1_size)
    _begin(image)
    with core.lock:
        freed = np.concatenate([_references(core, l1), _rows(core, gone.l1_offset, gone.l1_size * 8)])
    _write_table(core, [snapshot for snapshot in every if snapshot != gone])
    _free(core, freed)
    _finish(core)


def apply_snapshot(image: Qcow2Blocks, name: str) -> None:
    """Make the disk what it was when the snapshot was made, its size included. What was written since is lost, unless another snapshot has it."""
    wanted = find_snapshot(image.path, list_snapshots(image), name)
    core = image.core
    l1 = read_l1(core.file, wanted.l1_offset, wanted.l1_size) & ~_COPIED
    _begin(image)
    with core.lock:
        used = _references(core, l1)
        freed = np.concatenate([_references(core, core.tables.l1), _rows(core, core.header.l1_offset, core.header.l1_size * 8)])
        first = core.refcounts.take_row(max(1, -(-len(l1) * 8 // core.cluster)))
        core.refcounts.add_each(used, 1)
        core.file.grow(core.refcounts.end << core.bits)
        core.file.write(first << core.bits, l1.astype(">u8").tobytes())
    commit(core)
    core.change(l1_offset=first << core.bits, l1_size=len(l1), size=wanted.size)
    core.file.flush()
    with core.lock:
        core.tables.replace_l1(l1)
    _free(core, freed)
    _finish(core)


def _begin(image: Qcow2Blocks) -> None:
    """Everything is on disk, and the dirty bit is set."""
    core = image.core
    if image.read_only:
        raise OSError(errno.EROFS, "the disk is read-only")
    commit(core)
    core.door.forget_all()
    core.door.drain()
    if core.header.version >= 3:
        core.change(incompatible=core.header.incompatible | layout.DIRTY)
        core.file.flush()


def _finish(core: Core) -> None:
    """The counts, then the marks that go with them, then the dirty bit."""
    commit(core)
    with core.lock:
        _set_marks(core, None)
        core.refcounts.metadata.clear()
    core.file.flush()
    if core.header.version >= 3:
        core.change(incompatible=core.header.incompatible & ~layout.DIRTY)
        core.file.flush()
    core.refcounts.metadata.update(metadata_clusters(core.file, core.header, core.tables.l1, core.refcounts.table))


def _write_table(core: Core, snapshots: list[Snapshot]) -> None:
    """Write the table of snapshots to a new place; the header takes it, and the old place is free."""
    packed = b"".join(snapshot.pack() for snapshot in snapshots)
    old = (core.header.snapshots_offset, sum(len(snapshot.pack()) for snapshot in read_snapshots(core.file, core.header)))
    offset = 0
    if packed:
        with core.lock:
            offset = core.refcounts.take_row(-(-len(packed) // core.cluster)) << core.bits
            core.file.grow(core.refcounts.end << core.bits)
        core.file.write(offset, packed)
    commit(core)
    core.change(snapshots=len(snapshots), snapshots_offset=offset)
    core.file.flush()
    if old[1]:
        _free(core, _rows(core, *old))


def _free(core: Core, clusters: Values) -> None:
    """Count each of the clusters once less; the space of those that nobody needs goes back to the file system."""
    with core.lock:
        core.refcounts.add_each(clusters, -1)
    commit(core)
    distinct = np.unique(clusters)
    with core.lock:
        unused = distinct[core.refcounts.get_many(distinct) == 0].tolist()
    for first, count in joined([(cluster, 1) for cluster in unused]):
        core.file.punch(first << core.bits, count << core.bits)


def _rows(core: Core, offset: int, length: int) -> Values:
    return np.arange(offset >> core.bits, (offset + length + core.cluster - 1) >> core.bits, dtype=np.uint64)


def _references(core: Core, l1: Entries) -> Values:
    """Every cluster that an L1 table leads to, as often as it does."""
    parts = [np.zeros(0, np.uint64)]
    for offset in (l1[(l1 & _OFFSET) != 0] & _OFFSET).tolist():
        parts.append(np.array([offset >> core.bits], np.uint64))
        entries = core.tables.read(offset)
        packed = (entries & np.uint64(layout.COMPRESSED)) != 0
        hosts = entries[~packed] & _OFFSET
        parts.append(hosts[hosts != 0] >> np.uint64(core.bits))
        for entry in entries[packed].tolist():
            first, count = core.clusters_of(entry) or (0, 0)
            parts.append(np.arange(first, first + count, dtype=np.uint64))
    return np.concatenate(parts)


def _set_marks(core: Core, alone: Values | None) -> None:
    """Mark the entries of the active disk whose cluster is counted once (None), or no entry at all, on disk. Nothing is dirty."""
    tables = core.tables
    none = alone is not None
    for index in tables.used():
        offset = int(tables.l1[index]) & layout.OFFSET_MASK
        shared = core.refcounts.get(offset >> core.bits) != 1
        if shared and not none:
            continue  # what a shared table leads to is shared, and the table is not ours to change
        entries = tables.read(offset)
        placed = ((entries & np.uint64(layout.COMPRESSED)) == 0) & ((entries & _OFFSET) != 0)
        marked = np.zeros(len(entries), bool)
        if not none:
            marked[placed] = core.refcounts.get_many((entries[placed] & _OFFSET) >> np.uint64(core.bits)) == 1
        changed = np.where(marked, entries | _COPIED, entries & ~_COPIED)
        if (changed != entries).any():
            core.file.write(offset, changed.astype(">u8").tobytes())
    l1 = tables.l1 & ~_COPIED
    if not none:
        places = np.flatnonzero(l1)
        l1[places[core.refcounts.get_many(l1[places] >> np.uint64(core.bits)) == 1]] |= _COPIED
    if (l1 != tables.l1).any():
        core.file.write(core.header.l1_offset, l1.astype(">u8").tobytes())
    tables.replace_l1(l1)
