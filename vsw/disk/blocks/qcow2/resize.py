"""Longer and shorter disks."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np

from . import layout
from .commit import commit
from .core import Core
from .writing import unmap, writable_table, zero_bytes

if TYPE_CHECKING:
    from .image import Qcow2Blocks


def resize(image: Qcow2Blocks, size: int) -> None:
    """Make the disk ``size`` bytes long, durably. Nobody else uses it meanwhile.

    A crash leaves the old or the new size. Growing: what will be new is made to read as zeroes first, then the size changes. Shrinking: the
    size changes first, then what was cut is freed.
    """
    core = image.core
    core.must_be_sound()
    if size % layout.SECTOR:
        raise OSError(errno.EINVAL, f"{image.path}: a qcow2 disk has a multiple of {layout.SECTOR} bytes, not {size}")
    needed = layout.l1_entries(size, core.bits)
    if size > layout.MAX_SIZE or needed * 8 > layout.MAX_L1_BYTES:
        raise OSError(errno.EFBIG, f"{image.path}: {size} bytes are too many for clusters of {core.cluster} bytes")
    if core.header.snapshots and core.header.version < 3:
        raise OSError(errno.ENOTSUP, f"{image.path}: version 2 can't resize a disk that has snapshots")
    commit(core)
    core.door.forget_all()
    core.door.drain()
    old = core.size
    if size > old:
        _grow(image, old, size, needed)
    elif size < old:
        _shrink(core, size)


def _grow(image: Qcow2Blocks, old: int, size: int, needed: int) -> None:
    core = image.core
    if needed > len(core.tables.l1):
        _longer_l1(core, needed)
    # The rest of the last cluster may hold what was cut off earlier, or show what the backing file has there.
    end = -(-old // core.cluster) * core.cluster
    behind = image.backing.size if image.backing is not None else 0
    with_size = min(size, max(end, behind))
    if with_size > old:
        if core.header.version < 3 and behind > old:
            raise OSError(errno.ENOTSUP, f"{image.path}: version 2 can't hide that the backing file is longer than the disk")
        zero_bytes(core, old, min(end, with_size), keep=False)
        if with_size > end:
            unmap(core, end, with_size - end, False)
    commit(core)
    core.change(size=size)
    core.file.flush()


def _longer_l1(core: Core, needed: int) -> None:
    """Move the L1 table to where it has room; the header takes both in one write."""
    with core.lock:
        old = (core.header.l1_offset >> core.bits, -(-core.header.l1_size * 8 // core.cluster))
        entries = max(needed, 1)
        clusters = -(-entries * 8 // core.cluster)
        l1 = np.zeros(entries, np.uint64)
        l1[: len(core.tables.l1)] = core.tables.l1
        first = core.refcounts.take_row(clusters)
        core.file.grow((first + clusters) << core.bits)
        core.metadata.update(range(first, first + clusters))
    commit(core)  # the new place is counted
    core.file.write(first << core.bits, l1.astype(">u8").tobytes())
    core.file.flush()
    core.change(l1_offset=first << core.bits, l1_size=entries)
    core.file.flush()
    with core.lock:
        core.tables.replace_l1(l1)
        core.frees.append(old)


def _shrink(core: Core, size: int) -> None:
    core.change(size=size)
    core.file.flush()
    # What lies behind the end belongs to nobody; entries there are freed, so that a disk that grows again reads as zeroes.
    end = -(-size // core.cluster) * core.cluster
    per_table = core.tables.per_table
    with core.lock:
        for index in core.tables.used():
            low = max(0, (end >> core.bits) - index * per_table)
            if low >= per_table:
                continue
            table = core.tables.get(index)
            assert table is not None
            if low == 0:
                for entry in table.entries[table.entries != 0].tolist():
                    core.free(entry)
                core.frees.append((table.offset >> core.bits, 1))
                core.tables.drop(index)
                continue
            for cell in np.flatnonzero(table.entries[low:]).tolist():
                core.free(table.cells[low + cell])
            _clear(core, index, low)
    commit(core)
    commit(core)


def _clear(core: Core, index: int, low: int) -> None:
    table = writable_table(core, index)
    table.entries[low:] = 0
    core.tables.touch(index, table, low, len(table.entries))
