"""Mends what ``check`` found, in an order that leaves an image no worse than before wherever it is interrupted."""

from __future__ import annotations

import numpy as np

from ....errors import ImageError
from . import layout
from .check import Repair, Walk
from .header import change_header
from .refcounts import pack, unpack

LARGEST = 64 << 20
"""Bytes of new refcount blocks that any image may need; a larger one twice what its file occupies."""
_COPIED = np.uint64(layout.COPIED)


def mend(walk: Walk, repair: Repair) -> None:
    """Mend what ``walk`` found; the file is writable. The bits of the header are left to the caller."""
    if repair is Repair.ALL and _drop(walk):
        walk.file.flush()
        again = Walk(walk.file)
        walk.__dict__.update({name: value for name, value in again.__dict__.items() if name != "report"})
    _marks(walk, claims=True)
    walk.file.flush()
    if walk.rebuild:
        _rebuild(walk)
    else:
        _counts(walk, raising=True)
        walk.file.flush()
        _counts(walk, raising=False)
    _marks(walk, claims=False)
    walk.file.flush()


def _drop(walk: Walk) -> bool:
    """Remove references that can't be right; what they stood for reads as zeroes."""
    changed = False
    for offset, places in walk.bad_l1:
        for place in places.tolist():
            walk.file.write(offset + place * 8, bytes(8))
            changed = True
    instead = layout.ZERO if walk.header.version >= 3 else 0
    for offset in walk.tables.tolist():
        if walk.file.is_hole(offset, walk.cluster):
            continue
        entries = walk.read_table(offset)
        bad = walk.bad_entries(entries)
        if bad.any():
            entries[bad] = instead
            walk.file.write(offset, entries.astype(">u8").tobytes())
            changed = True
    return changed


def _marks(walk: Walk, *, claims: bool) -> None:
    """Take wrong claims of being unshared away, or put missing ones there; by the counts as they should be."""
    wrong = walk.wrong_marks(walk.active, actual=False)[0 if claims else 1]
    if wrong.any():
        walk.active[wrong] ^= _COPIED
        walk.file.write(walk.header.l1_offset, walk.active.astype(">u8").tobytes())
    for offset in walk.active_tables():
        if walk.file.is_hole(offset, walk.cluster):
            continue
        entries = walk.read_table(offset)
        wrong = walk.wrong_marks(entries, actual=False)[0 if claims else 1] & ~walk.bad_entries(entries)
        if wrong.any():
            entries[wrong] ^= _COPIED
            walk.file.write(offset, entries.astype(">u8").tobytes())


def _counts(walk: Walk, *, raising: bool) -> None:
    """Write the counts that are too low, or all."""
    order = walk.header.refcount_order
    for index, offset in sorted(walk.blocks.items()):
        places, counts = walk.expected(index)
        old = unpack(walk.file.read(offset, walk.cluster), order)
        new = np.zeros_like(old)
        new[places] = counts.astype(old.dtype)
        if raising:
            new = np.maximum(old, new)
        if (new != old).any():
            walk.file.write(offset, pack(new, order))


def _rebuild(walk: Walk) -> None:
    """Write all counts anew behind the end of the file, and let the header point there. Former counts are not counted any more."""
    order, per = walk.header.refcount_order, walk.per_block
    former = {offset >> walk.bits for offset in walk.blocks.values()}
    table = walk.header.refcount_offset >> walk.bits
    former.update(range(table, table + walk.header.refcount_clusters))
    keep = ~np.isin(walk.clusters, np.array(sorted(former), np.uint64)) | (walk.counts > 1)
    counts = walk.counts - np.isin(walk.clusters, np.array(sorted(former), np.uint64)).astype(np.int64)
    clusters, counts = walk.clusters[keep], counts[keep]
    start = -(-walk.file.size // walk.cluster)
    used = set(np.unique(clusters // np.uint64(per)).tolist())
    rows = table_rows = 0
    while True:  # the counts count themselves
        stop = start + rows + table_rows
        indexes = sorted(used | set(range(start // per, max(start, stop - 1) // per + 1)))
        needed = -(-(indexes[-1] + 1) * 8 // walk.cluster)
        if len(indexes) <= rows and needed <= table_rows:
            break
        rows, table_rows = max(rows, len(indexes)), max(table_rows, needed)
    if needed << walk.bits > max(layout.MAX_REFTABLE_BYTES, walk.cluster) or len(indexes) << walk.bits > LARGEST + 2 * walk.file.occupied():
        raise ImageError(walk.file.path, f"its counts can't be rebuilt: that would need {len(indexes)} blocks of {walk.cluster} bytes")
    stop = start + rows + table_rows
    clusters = np.concatenate([clusters, np.arange(start, stop, dtype=np.uint64)])
    counts = np.concatenate([counts, np.ones(stop - start, np.int64)])
    walk.file.grow(stop << walk.bits)
    reftable = np.zeros((table_rows << walk.bits) // 8, np.uint64)
    for number, index in enumerate(indexes):
        low, high = np.searchsorted(clusters, np.array([index * per, (index + 1) * per], np.uint64)).tolist()
        values = unpack(bytes(walk.cluster), order).copy()
        values[(clusters[low:high] % np.uint64(per)).astype(np.int64)] = counts[low:high].astype(values.dtype)
        reftable[index] = (start + number) << walk.bits
        walk.file.write((start + number) << walk.bits, pack(values, order))
    place = (start + rows) << walk.bits
    walk.file.write(place, reftable.astype(">u8").tobytes())
    walk.file.flush()
    walk.header = change_header(walk.file, walk.header, refcount_offset=place, refcount_clusters=table_rows)
    walk.file.flush()
