"""Writes: in place where a cluster is ours alone, else to a new place which takes effect in memory when its data is written.

A write to a new place goes through three steps. Under the lock clusters are taken and the guest clusters entered in ``allocating``;
without it the data is written, with what surrounds it in the first and last cluster copied from where it was; under the lock
again the table points to the new place, and the old one is freed. On disk the table follows at the next commit.
"""

from __future__ import annotations

from typing import NamedTuple

from . import layout
from .commit import commit
from .core import Core
from .reading import Rests, Run, fetch, run_within, runs
from .tables import Table

LARGEST = 16 << 20
"""Bytes that one step of a write allocates at most: others wait for no longer."""
DIRTY_BYTES = 8 << 20
"""Changed L2 tables from which on a write commits them."""


class Place(NamedTuple):
    """Where ``length`` bytes of a write go."""

    host: int
    length: int
    fresh: Fresh | None
    ticket: int


class Fresh(NamedTuple):
    """``clusters`` at a new place: for guest clusters from ``first`` on. ``virgin`` ones read as zeroes; ``taken`` ones go back on failure."""

    first: int
    clusters: int
    host: int
    virgin: bool
    taken: bool
    head: list[Run]
    tail: list[Run]


def write_from(core: Core, offset: int, view: memoryview, durably: bool) -> bool:
    """Write ``view`` at guest ``offset``; with ``durably`` what is written in place is on stable storage afterwards.

    True if anything has a new place.
    """
    done, moved = 0, False
    while done < len(view):
        place = _find_place(core, offset + done, len(view) - done)
        piece = view[done : done + place.length]
        try:
            if place.fresh is None:
                core.file.write(place.host, piece, durably)
            else:
                moved = True
                _fill(core, place, piece)
        except BaseException:
            with core.lock:
                core.end(place.ticket)
                if place.fresh is not None:
                    _give_up(core, place.fresh)
            raise
        with core.lock:
            if place.fresh is not None:
                _publish(core, place.fresh)
            core.end(place.ticket)
            full = core.tables.dirty_bytes > DIRTY_BYTES
        if full:
            commit(core)
        done += place.length
    return moved


def _find_place(core: Core, offset: int, length: int) -> Place:
    with core.lock:
        while True:
            core.must_be_sound()
            first = offset >> core.bits
            index, cell = divmod(first, core.tables.per_table)
            inside = offset & (core.cluster - 1)
            most = min(((inside + length - 1) >> core.bits) + 1, core.tables.per_table - cell)
            table = core.tables.get(index)
            if table is not None and not core.tables.shared(index):
                rows = _in_place(core, table, cell, most)
                if rows:
                    host = core.host_of(table.cells[cell])
                    core.door.learn(first, rows, host, True)
                    return Place(host + inside, min(length, rows * core.cluster - inside), None, core.begin())
            if first not in core.allocating:
                break
            core.lock.wait()
        table = writable_table(core, index)
        fresh = _take(core, table, first, cell, min(most, max(1, LARGEST >> core.bits)))
        bytes_here = min(length, fresh.clusters * core.cluster - inside)
        stop = inside + bytes_here
        try:
            start = first << core.bits
            end = (first + fresh.clusters) << core.bits
            head = [run_within(core, table.cells[cell], start, inside)] if inside else []
            rest = end - start - stop
            tail = [run_within(core, table.cells[cell + fresh.clusters - 1], start + stop, rest)] if rest else []
        except BaseException:
            _give_back(core, fresh)
            raise
        fresh = fresh._replace(head=head, tail=tail)
        core.allocating.update(range(first, first + fresh.clusters))
        return Place(fresh.host + inside, bytes_here, fresh, core.begin())


def _in_place(core: Core, table: Table, cell: int, most: int) -> int:
    """How many clusters from ``cell`` on may be written where they are, in one go."""
    cells = table.cells
    entry = cells[cell]
    if entry >> 62 != 2 or entry & layout.ZERO or not entry & layout.OFFSET_MASK:  # COPIED and not COMPRESSED
        return 0
    refuse_metadata(core, entry)
    count = 1
    while count < most and cells[cell + count] == entry + count * core.cluster:
        refuse_metadata(core, entry + count * core.cluster)
        count += 1
    if count > 1:
        core.host_of(cells[cell + count - 1])
    return count


def refuse_metadata(core: Core, entry: int) -> None:
    if (entry & layout.OFFSET_MASK) >> core.bits in core.metadata:
        raise core.corrupt(f"guest data would overwrite metadata at {entry & layout.OFFSET_MASK}")


def writable_table(core: Core, index: int) -> Table:
    """The table of L1 entry ``index``, made or copied if it is missing or shared. The lock is held."""
    table = core.tables.get(index)
    if table is not None and not core.tables.shared(index):
        return table
    cluster, _, _ = core.refcounts.take(1)
    host = cluster << core.bits
    try:
        core.file.reserve(host, core.cluster)  # a full file system is told to the write, not to a later flush
    except BaseException:
        core.refcounts.add(cluster, 1, -1)
        raise
    if table is None:
        made = Table(host, core.tables.empty(), fresh=True)
    else:
        made = Table(host, table.entries.copy(), fresh=True)
        core.frees.append((table.offset >> core.bits, 1))
    core.metadata.add(cluster)
    core.tables.put(index, made)
    return made


def _take(core: Core, table: Table, first: int, cell: int, most: int) -> Fresh:
    """New clusters for up to ``most`` guest clusters from ``first`` on: as many as are alike and come in a row."""
    cells = table.cells
    entry = cells[cell]
    if _reserved(entry):
        refuse_metadata(core, entry)
        count = 1
        while count < most and cells[cell + count] == entry + count * core.cluster and first + count not in core.allocating:
            refuse_metadata(core, entry + count * core.cluster)
            count += 1
        core.host_of(cells[cell + count - 1])
        return Fresh(first, count, core.host_of(entry), False, False, [], [])
    count = 1
    while count < most and first + count not in core.allocating and not _own(cells[cell + count]):
        count += 1
    cluster, count, virgin = core.refcounts.take(count)
    core.file.grow((cluster + count) << core.bits)
    return Fresh(first, count, cluster << core.bits, virgin, True, [], [])


def _own(entry: int) -> bool:
    """The cluster has a place that is ours alone."""
    return entry >> 62 == 2 and bool(entry & layout.OFFSET_MASK)


def _reserved(entry: int) -> bool:
    """The cluster reads as zeroes and has a place that is ours alone."""
    return _own(entry) and bool(entry & layout.ZERO)


def _fill(core: Core, place: Place, data: memoryview) -> None:
    """Write ``data`` and what surrounds it in its clusters."""
    fresh = place.fresh
    assert fresh is not None
    head = _surroundings(core, fresh.head, fresh.virgin)
    tail = _surroundings(core, fresh.tail, fresh.virgin)
    core.file.writev(place.host - len(head), [piece for piece in (head, data, tail) if len(piece)])


def _surroundings(core: Core, found: list[Run], virgin: bool) -> bytearray:
    """What the runs hold; nothing, if that are zeroes and the new place reads as zeroes."""
    if not found or (virgin and all(_reads_as_zeroes(core, run) for run in found)):
        return bytearray()
    buffer = bytearray(sum(run.length for run in found))
    view = memoryview(buffer)
    for run in found:
        fetch(core, run, view[: run.length])
        view = view[run.length :]
    return buffer


def _reads_as_zeroes(core: Core, run: Run) -> bool:
    if run.rests is Rests.NOTHING:
        return core.backing is None or run.offset >= core.backing.size
    return run.rests in (Rests.ZERO, Rests.RESERVED)


def _publish(core: Core, fresh: Fresh) -> None:
    """The table points to the new place; the lock is held."""
    index, cell = divmod(fresh.first, core.tables.per_table)
    table = core.tables.get(index)
    assert table is not None
    core.door.forget(fresh.first, fresh.clusters)
    cells = table.cells
    for number in range(fresh.clusters):
        entry = cells[cell + number]
        if fresh.taken and entry:
            core.free(entry)
        cells[cell + number] = (fresh.host + number * core.cluster) | layout.COPIED
    core.door.learn(fresh.first, fresh.clusters, fresh.host, True)
    core.tables.touch(index, table, cell, cell + fresh.clusters)
    core.allocating.difference_update(range(fresh.first, fresh.first + fresh.clusters))
    core.lock.notify_all()


def _give_up(core: Core, fresh: Fresh) -> None:
    """Nothing came of it; the lock is held."""
    _give_back(core, fresh)
    core.allocating.difference_update(range(fresh.first, fresh.first + fresh.clusters))
    core.lock.notify_all()


def _give_back(core: Core, fresh: Fresh) -> None:
    if fresh.taken:
        core.refcounts.add(fresh.host >> core.bits, fresh.clusters, -1)


# Zeroes and discards.


def unmap(core: Core, offset: int, length: int, reserve: bool) -> None:
    """Make whole clusters read as zeroes: without a place, or with one of their own if ``reserve``. Version 3, or nothing behind."""
    stop = offset + length
    while offset < stop:
        first = offset >> core.bits
        index, cell = divmod(first, core.tables.per_table)
        count = min((stop - offset + core.cluster - 1) >> core.bits, core.tables.per_table - cell)
        if reserve:
            count = min(count, max(1, LARGEST >> core.bits))
        with core.lock:
            while core.allocating and not core.allocating.isdisjoint(range(first, first + count)):
                core.lock.wait()
            core.must_be_sound()
            _unmap(core, index, cell, count, first, reserve)
            full = core.tables.dirty_bytes > DIRTY_BYTES
        if full:
            commit(core)
        offset += count << core.bits


def _unmap(core: Core, index: int, cell: int, count: int, first: int, reserve: bool) -> None:
    behind = core.backing is not None and (first << core.bits) < core.backing.size
    if core.tables.get(index) is None and not behind and not reserve:
        return
    table = writable_table(core, index)
    cells = table.cells
    mark = layout.ZERO if core.backing is not None else 0
    core.door.forget(first, count)
    place = left = 0
    core.tables.touch(index, table, cell, cell + count)
    for number in range(cell, cell + count):
        entry = cells[number]
        if not reserve:
            if entry != mark:
                cells[number] = mark
                core.free(entry)
        elif _own(entry):
            refuse_metadata(core, entry)
            core.host_of(entry)
            cells[number] = entry | layout.ZERO
        else:
            if not left:
                row, left, _ = core.refcounts.take(sum(not _own(cells[other]) for other in range(number, cell + count)))
                core.file.grow((row + left) << core.bits)
                place = row << core.bits
            cells[number] = place | layout.COPIED | layout.ZERO
            core.free(entry)
            place += core.cluster
            left -= 1


def reads_as_zeroes(core: Core, offset: int, length: int) -> bool:
    """True if the range is known to read as zeroes."""
    with core.lock:
        return all(_reads_as_zeroes(core, run) for run in runs(core, offset, length))


def zero_bytes(core: Core, offset: int, stop: int, *, keep: bool) -> None:
    """Write zeroes where there are others; with ``keep`` everywhere, so that the range has a place."""
    zeroes = memoryview(bytes(min(1 << 20, max(stop - offset, 0))))
    while offset < stop:
        step = min(stop - offset, len(zeroes) if keep else core.cluster - offset % core.cluster, len(zeroes))
        if keep or not reads_as_zeroes(core, offset, step):
            write_from(core, offset, zeroes[:step], False)
        offset += step


def preallocate(core: Core, offset: int, length: int) -> list[tuple[int, int]]:
    """Give every cluster of a new disk's range a place; returns what was taken: (host offset, bytes), which read as zeroes."""
    taken: list[tuple[int, int]] = []
    first, stop = offset >> core.bits, (offset + length + core.cluster - 1) >> core.bits
    while first < stop:
        index, cell = divmod(first, core.tables.per_table)
        with core.lock:
            table = writable_table(core, index)
            fresh = _take(core, table, first, cell, min(stop - first, core.tables.per_table - cell))
            _publish(core, fresh)
        if not fresh.virgin:
            core.file.write(fresh.host, bytes(fresh.clusters << core.bits))
        taken.append((fresh.host, fresh.clusters << core.bits))
        first += fresh.clusters
    return taken
