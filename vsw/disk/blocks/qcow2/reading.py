"""Reads: from guest bytes to runs of host bytes, and from there into the caller's buffer."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

import numpy as np

from ..base import Extent, Kind, merge
from . import layout
from .compressed import inflate
from .core import Core
from .tables import Table

ZEROES = memoryview(bytes(1 << 20))
VECTOR = 24
"""Clusters of one table from which on numpy finds the runs faster than a loop."""


class Rests(Enum):
    """What guest clusters rest on."""

    NOTHING = "unallocated"
    ZERO = "zero"
    RESERVED = "zero, with a host cluster"
    DATA = "data"
    COMPRESSED = "compressed"


class Run(NamedTuple):
    """``length`` guest bytes from ``offset``, which rest on the same. ``host`` is where the data lies (an L2 entry, if it is compressed)."""

    offset: int
    length: int
    rests: Rests
    host: int


def classify(entry: int) -> Rests:
    if entry & layout.COMPRESSED:
        return Rests.COMPRESSED
    if entry & layout.ZERO:
        return Rests.RESERVED if entry & layout.OFFSET_MASK else Rests.ZERO
    return Rests.DATA if entry & layout.OFFSET_MASK else Rests.NOTHING


def runs(core: Core, offset: int, length: int) -> Iterator[Run]:
    """The range in runs, in order; the lock is held. Host offsets are checked."""
    per_table = core.tables.per_table
    stop = offset + length
    while offset < stop:
        first = offset >> core.bits
        index, cell = divmod(first, per_table)
        upto = min(stop, (index + 1) * per_table << core.bits)
        table = core.tables.get(index)
        if table is None:
            yield Run(offset, upto - offset, Rests.NOTHING, 0)
        else:
            count = ((upto - 1) >> core.bits) - first + 1
            yield from _table_runs(core, table, cell, count, offset, upto)
        offset = upto


def _table_runs(core: Core, table: Table, cell: int, count: int, offset: int, stop: int) -> Iterator[Run]:
    """The runs of ``count`` entries of one table from ``cell`` on, which map ``offset..stop``."""
    if count >= VECTOR:
        entries = table.entries[cell : cell + count] & np.uint64(layout.OFFSET_MASK | layout.COMPRESSED | layout.ZERO)
        # Entries that go on like the one before: data one cluster further, or the same mark without a place.
        placed = ((entries & np.uint64(layout.COMPRESSED | layout.ZERO)) == 0) & (entries != 0)
        step = np.where(placed[:-1], np.uint64(core.cluster), np.uint64(0))
        alike = (entries[1:] == entries[:-1] + step) & (placed[1:] == placed[:-1]) & ((entries[1:] & np.uint64(layout.COMPRESSED)) == 0)
        starts = [0, *(np.flatnonzero(~alike) + 1).tolist(), count]
    else:
        starts = list(range(count + 1))
    cells, bits, cluster = table.cells, core.bits, core.cluster
    base = offset >> bits
    pending: Run | None = None
    for number in range(len(starts) - 1):
        begin = max(offset, (base + starts[number]) << bits)
        end = min(stop, (base + starts[number + 1]) << bits)
        entry = cells[cell + starts[number]]
        rests = classify(entry)
        host = 0
        if rests is Rests.DATA:
            host = core.host_of(entry)
            if starts[number + 1] - starts[number] > 1:
                core.host_of(cells[cell + starts[number + 1] - 1])
            host += begin & (cluster - 1)
        elif rests is Rests.COMPRESSED:
            host = entry
        if core.header.version < 3 and rests in (Rests.ZERO, Rests.RESERVED):
            raise core.corrupt(f"a zero cluster at guest offset {begin}, which version 2 does not have")
        if pending is not None and pending.rests is rests and (
            pending.host + pending.length == host if rests is Rests.DATA else rests is not Rests.COMPRESSED
        ):
            pending = pending._replace(length=pending.length + end - begin)
            continue
        if pending is not None:
            yield pending
        pending = Run(begin, end - begin, rests, host)
    if pending is not None:
        yield pending


def run_within(core: Core, entry: int, offset: int, length: int) -> Run:
    """The run of a range within one cluster, which ``entry`` maps; the lock is held."""
    rests = classify(entry)
    if core.header.version < 3 and rests in (Rests.ZERO, Rests.RESERVED):
        raise core.corrupt(f"a zero cluster at guest offset {offset}, which version 2 does not have")
    host = entry
    if rests is Rests.DATA:
        host = core.host_of(entry) + (offset & (core.cluster - 1))
    return Run(offset, length, rests, host)


def read_into(core: Core, offset: int, view: memoryview) -> None:
    """Fill ``view`` from guest ``offset``."""
    with core.lock:
        found = list(runs(core, offset, len(view)))
        for run in found:
            if run.rests is Rests.DATA:
                first = run.offset >> core.bits
                core.door.learn(first, ((run.offset + run.length - 1) >> core.bits) - first + 1, run.host & ~(core.cluster - 1), False)
        ticket = core.begin()
    try:
        for run in found:
            fetch(core, run, view[run.offset - offset : run.offset - offset + run.length])
    finally:
        with core.lock:
            core.end(ticket)


def fetch(core: Core, run: Run, view: memoryview) -> None:
    """Fill ``view`` with the bytes of ``run``; a ticket from before the run was found is held."""
    if run.rests is Rests.DATA:
        core.file.readinto(run.host, view)
    elif run.rests is Rests.NOTHING and core.backing is not None:
        inside = max(0, min(run.length, core.backing.size - run.offset))
        if inside:
            core.backing.readinto(run.offset, view[:inside])
        zero(view[inside:])
    elif run.rests is Rests.COMPRESSED:
        start = run.offset & (core.cluster - 1)
        view[:] = cluster_of(core, run.host)[start : start + run.length]
    else:
        zero(view)


def zero(view: memoryview) -> None:
    for start in range(0, len(view), len(ZEROES)):
        piece = view[start : start + len(ZEROES)]
        piece[:] = ZEROES[: len(piece)]


def cluster_of(core: Core, entry: int) -> bytes:
    """The bytes of a compressed cluster."""
    key = entry & ~layout.COPIED
    data = core.inflated.get(key)
    if data is None:
        offset, length = core.compressed(entry)
        if offset >= core.file.size:
            with core.lock:
                raise core.corrupt(f"compressed data at {offset} is not within the file of {core.file.size} bytes")
        data = inflate(core.file.read_most(offset, length), core.cluster, core.header.compression, core.file.path)
        core.inflated.put(key, data)
    return data


def extents_of(core: Core, offset: int, length: int) -> list[Extent]:
    """What the range rests on, backing files included."""
    with core.lock:
        found = list(runs(core, offset, length))
    extents: list[Extent] = []
    for run in found:
        if run.rests is Rests.NOTHING and core.backing is not None:
            inside = max(0, min(run.length, core.backing.size - run.offset))
            if inside:
                extents += core.backing.extents(run.offset, inside)
            if inside < run.length:
                extents.append(Extent(run.offset + inside, run.length - inside, Kind.HOLE))
        else:
            extents.append(Extent(run.offset, run.length, KINDS[run.rests]))
    return merge(extents)


KINDS = {
    Rests.NOTHING: Kind.HOLE,
    Rests.ZERO: Kind.HOLE,
    Rests.RESERVED: Kind.ZERO,
    Rests.DATA: Kind.DATA,
    Rests.COMPRESSED: Kind.DATA,
}
