"""The order in which metadata reaches the disk, so that a crash at any moment leaves at most leaked clusters.

What was written to new places, and every change of a table, becomes durable in these steps:

1. refcount blocks (counts that grew), L2 tables that are new, a refcount table that moved: nothing on disk points to them yet, or they only claim
   more than is used; then a flush, which also makes the guest's data durable;
2. if there are new refcount blocks, the refcount table (or the header that points to it); then a flush;
3. changed entries of L2 tables, and the L1 table; then a flush.

Every entry is 8 bytes within a sector, so that a torn write of step 3 leaves each of them old or new: an old one points to clusters that are
still counted, a new one to clusters that are counted and hold their data. Only after step 3 are freed clusters counted less, in memory; the disk
learns of it in step 1 of the next commit. Until then, a crash leaks them.
"""

from __future__ import annotations

from typing import NamedTuple

from .core import Core
from .tables import Table


class Batch(NamedTuple):
    """What one commit writes: (offset, bytes) pairs, and what has to be marked again if that fails."""

    first: list[tuple[int, bytes]]
    table: list[tuple[int, bytes]]
    moved: bool
    last: list[tuple[int, bytes]]
    blocks: list[int]
    tables: list[tuple[int, Table, bool]]
    l1: set[int]
    reftable: set[int]
    frees: list[tuple[int, int]]
    ticket: int


def commit(core: Core) -> None:
    """Make everything durable whose operation had ended before."""
    with core.commit_lock:
        with core.lock:
            core.must_be_sound()
            batch = _gather(core)
        try:
            _write(core, batch)
        except BaseException:
            with core.lock:
                _restore(core, batch)
            raise
        with core.lock:
            core.tables.settle()
            core.refcounts.settle()
            if batch.frees:
                core.waiting.append((batch.ticket, batch.frees))
        release(core)


def is_clean(core: Core) -> bool:
    """True if the metadata on disk is what it is in memory, but for counts that are too high. The lock is held."""
    return not (core.tables.dirty or core.frees or core.refcounts.dirty or core.commit_lock.locked())


def _gather(core: Core) -> Batch:
    tables, counts = core.tables, core.refcounts
    first: list[tuple[int, bytes]] = []
    last: list[tuple[int, bytes]] = []
    taken = []
    blocks = counts.take_dirty()
    for _, block in blocks:
        first.append(block.take_dirty(counts.order))
        block.fresh = False
    for index, table in tables.take_dirty():
        taken.append((index, table, table.fresh))
        (first if table.fresh else last).append(table.take_dirty())
        table.fresh = False
    l1 = set(tables.l1_dirty)
    last += tables.take_l1(core.header.l1_offset)
    reftable = set(counts.table_dirty)
    writes, moved = counts.take_table()
    if moved:
        first += writes
        writes = []
    frees, core.frees = core.frees, []
    if moved:
        frees += counts.retired
        counts.retired = []
    return Batch(first, writes, moved, last, [index for index, _ in blocks], taken, l1, reftable, frees, core.ticket)


def _write(core: Core, batch: Batch) -> None:
    for offset, data in batch.first:
        core.file.write(offset, data)
    core.file.flush()
    if batch.table or batch.moved:
        for offset, data in batch.table:
            core.file.write(offset, data)
        if batch.moved:
            core.change(refcount_offset=core.refcounts.offset, refcount_clusters=core.refcounts.clusters)
        core.file.flush()
    if batch.last:
        for offset, data in batch.last:
            core.file.write(offset, data)
        core.file.flush()


def _restore(core: Core, batch: Batch) -> None:
    for index in batch.blocks:
        core.refcounts.give_back(index)
    for index, table, fresh in batch.tables:
        core.tables.give_back(index, table, fresh)
    core.tables.l1_dirty |= batch.l1
    core.refcounts.table_dirty |= batch.reftable
    core.refcounts.moved |= batch.moved
    core.frees = batch.frees + core.frees


def release(core: Core) -> None:
    """Count freed clusters less, once nobody can still be using them; their space goes back to the file system first."""
    if core.waiting:
        core.door.drain()
    with core.lock:
        ready = [clusters for ticket, freed in core.waiting if core.ended(ticket) for clusters in freed]
        core.waiting = [(ticket, freed) for ticket, freed in core.waiting if not core.ended(ticket)]
        ready.sort()
        unused = [(first, count) for first, count in ready if count == 1 and core.refcounts.get(first) == 1]
    for first, count in joined(unused):
        core.file.punch(first << core.bits, count << core.bits)
    with core.lock:
        for first, count in joined(ready):
            core.refcounts.add(first, count, -1)
            core.metadata.difference_update(cluster for cluster in range(first, first + count) if core.refcounts.get(cluster) == 0)


def joined(rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted rows of clusters, with neighbours made one."""
    joined: list[tuple[int, int]] = []
    for first, count in rows:
        if joined and sum(joined[-1]) == first:
            joined[-1] = (joined[-1][0], joined[-1][1] + count)
        else:
            joined.append((first, count))
    return joined
