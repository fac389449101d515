"""One open qcow2 image: what its parts share, and what guards it.

``lock`` guards everything in memory (tables, counts, the header); it is never held while guests' data is read or written. What is on its way
is known by two things:

- A **ticket**: each operation that reads or writes host clusters holds one. A cluster that was freed is given out again only when every
  operation that began before has ended.
- ``allocating``: guest clusters that somebody is writing to a new place. Others that would change them wait on ``lock``.

Freed clusters wait in ``frees`` until ``commit`` has brought to disk that nothing points to them.
"""

from __future__ import annotations

import errno
import threading
from typing import Any

from ..base import Blocks
from ..hostfile import HostFile
from . import layout
from .compressed import InflatedCache
from .door import Qcow2Direct
from .header import Header, change_header
from .refcounts import Refcounts
from .tables import Tables


class Core:
    """State of one open image; the functions of the neighbouring files work on it."""

    def __init__(self, file: HostFile, header: Header, *, read_only: bool) -> None:
        self.file = file
        self.header = header
        self.read_only = read_only
        self.bits = header.cluster_bits
        self.cluster = 1 << header.cluster_bits
        self.backing: Blocks | None = None
        self.door = Qcow2Direct(file.direct, header.cluster_bits)
        self.lock = threading.Condition(threading.Lock())
        self.commit_lock = threading.Lock()
        self.broken = ""
        """Why nothing may be changed any more."""
        self.allocating: set[int] = set()
        self.frees: list[tuple[int, int]] = []
        """(first, count) of clusters to which nothing in memory points any more."""
        self.waiting: list[tuple[int, list[tuple[int, int]]]] = []
        """(ticket, clusters) that nothing on disk points to either, but operations up to that ticket may still use."""
        self._ticket = 0
        self._active: set[int] = set()
        self.inflated = InflatedCache(max(2, (4 << 20) >> self.bits))
        self.tables = Tables(file, header, self.corrupt)
        self.refcounts: Refcounts
        """Read when the image is writable."""

    @property
    def metadata(self) -> set[int]:
        """Host clusters that hold metadata: a table that points there for data is wrong."""
        return self.refcounts.metadata

    @property
    def size(self) -> int:
        return self.header.size

    # Tickets; the lock is held.

    def begin(self) -> int:
        self._ticket += 1
        self._active.add(self._ticket)
        return self._ticket

    def end(self, ticket: int) -> None:
        self._active.discard(ticket)

    @property
    def ticket(self) -> int:
        """The latest ticket that was given out."""
        return self._ticket

    def ended(self, ticket: int) -> bool:
        """True if all operations up to ``ticket`` have ended."""
        return not self._active or min(self._active) > ticket

    # Inconsistencies.

    def corrupt(self, message: str) -> OSError:
        """The error to raise for an inconsistency. A writable image is marked corrupt on disk, and changed no more."""
        if not self.read_only and not self.broken:
            self.broken = message
            self.door.forget_all()
            if self.header.version >= 3:
                self.change(incompatible=self.header.incompatible | layout.CORRUPT)
        return OSError(errno.EIO, f"{self.file.path}: the image is corrupt: {message}")

    def must_be_sound(self) -> None:
        if self.broken:
            raise OSError(errno.EIO, f"{self.file.path}: not changed any more, because the image is corrupt: {self.broken}")

    def change(self, **changes: Any) -> None:
        """Write the header with ``changes``; the caller flushes."""
        self.header = change_header(self.file, self.header, **changes)

    def host_of(self, entry: int) -> int:
        """The host offset that an L2 entry points to, once it is known to be one."""
        host = entry & layout.OFFSET_MASK
        if host & (self.cluster - 1) or host + self.cluster > self.file.size or host == 0:
            raise self.corrupt(f"data at {host} is not a whole cluster within the file of {self.file.size} bytes")
        return host

    def free(self, entry: int) -> None:
        """Nothing in memory points to what ``entry`` of an L2 table points to any more."""
        clusters = self.clusters_of(entry)
        if entry & layout.COMPRESSED:
            self.inflated.clear()
        if clusters is not None:
            self.frees.append(clusters)

    def clusters_of(self, entry: int) -> tuple[int, int] | None:
        """(first, count) of the host clusters that an L2 entry points to."""
        if entry & layout.COMPRESSED:
            offset, length = self.compressed(entry)
            first = offset >> self.bits
            return first, ((offset + length - 1) >> self.bits) - first + 1
        host = entry & layout.OFFSET_MASK
        return (host >> self.bits, 1) if host else None

    def compressed(self, entry: int) -> tuple[int, int]:
        """(offset, most bytes) of the compressed data that an L2 entry points to."""
        shift = 62 - (self.bits - 8)
        offset = entry & ((1 << shift) - 1)
        sectors = (entry >> shift) & ((1 << (self.bits - 8)) - 1)
        return offset, (sectors + 1) * layout.SECTOR - offset % layout.SECTOR
