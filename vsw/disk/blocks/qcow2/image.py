"""qcow2 as a block backend: the contract of ``blocks/base.py`` over one image and what it rests on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from ....errors import ImageError, UsageError
from ..base import Blocks, Extent
from ..hostfile import HostFile
from . import layout
from .backing import Chain, open_backing
from .commit import commit, is_clean
from .core import Core
from .header import read_header
from .metadata import metadata_clusters, of_snapshot
from .reading import Rests, extents_of, read_into, runs
from .refcounts import Refcounts
from .writing import unmap, write_from, zero_bytes


class Mapped(NamedTuple):
    """``length`` bytes from ``offset`` rest on the same, in the image ``depth`` levels below (0: the image itself)."""

    offset: int
    length: int
    depth: int
    rests: Rests
    host: int | None
    """Where in that image's file, if it is plain data."""


class Qcow2Blocks(Blocks):
    """The qcow2 image at ``path``, version 2 or 3.

    ``backing_directories`` may hold backing files, beside the image's own directory; ``backing_format`` is for images that do not name it;
    ``backing=False`` opens the image alone: what rests on its backing file then reads as zeroes, and nothing can be written.
    ``snapshot`` shows the disk as it was in that internal snapshot, and needs ``read_only``.
    ``file`` replaces the host file (for tests that look at what is written, or break it).

    Raises :class:`~vsw.errors.ImageError` if the image is none, is damaged, or needs what is not supported; ``OSError`` if a file can't be opened
    or is locked. A writable image that was not closed properly (dirty bit) is repaired first. One that is marked corrupt can be read only.
    """

    format = "qcow2"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        lock: bool = True,
        backing: bool = True,
        backing_directories: Sequence[str | os.PathLike[str]] = (),
        backing_format: str | None = None,
        snapshot: str | None = None,
        chain: Chain | None = None,
        file: HostFile | None = None,
    ) -> None:
        super().__init__(read_only=read_only or not backing)
        if snapshot is not None and not self._read_only:
            raise UsageError(f"{path}: a snapshot can only be read; apply it, or open it read-only")
        self.path = os.fspath(path)
        self._file = HostFile(path, read_only=self._read_only, lock=lock) if file is None else file
        self.backing: Blocks | None = None
        try:
            self.core = self._open(snapshot)
            if backing and self.core.header.backing is not None:
                links = Chain.of(self.path, backing_directories) if chain is None else chain
                if not links.met:
                    links = Chain(links.directories, (self._file.identity,))
                self.backing = self.core.backing = open_backing(self.path, self.core.header, links, backing_format)
        except BaseException:
            self._file.close()
            raise
        self.granularity = self.core.cluster
        self.direct = self.core.door

    def _open(self, snapshot: str | None) -> Core:
        header = read_header(self._file)
        if snapshot is not None:
            header = of_snapshot(self._file, header, snapshot)
        if not self._read_only:
            if header.incompatible & layout.CORRUPT:
                raise ImageError(self.path, "is marked corrupt, and can only be read; vsw disk check --repair mends what can be mended")
            if header.autoclear & layout.BITMAPS:
                raise ImageError(self.path, "has persistent bitmaps, which a write would make stale; the image can only be read")
            if header.incompatible & layout.DIRTY:
                from .check import Repair, check_file  # noqa: PLC0415  # rarely needed

                check_file(self._file, Repair.SAFE)
                header = read_header(self._file)
        core = Core(self._file, header, read_only=self._read_only)
        if not self._read_only:
            core.refcounts = Refcounts(self._file, header, core.corrupt)
            core.metadata.update(metadata_clusters(self._file, header, core.tables.l1, core.refcounts.table))
            if header.autoclear:
                core.change(autoclear=0)
        return core

    @classmethod
    def create(cls, path: str | os.PathLike[str], size: int, **options: Any) -> Self:
        """Create an image of ``size`` bytes at ``path``, which must not exist; options as :func:`~.create.create_image`."""
        from .create import create_image  # noqa: PLC0415

        directories = options.get("backing_directories", ())
        create_image(path, size, **options)
        return cls(path, backing_directories=directories)

    @property
    def size(self) -> int:
        return self.core.size

    def _readinto(self, offset: int, view: memoryview) -> None:
        read_into(self.core, offset, view)

    def _write(self, offset: int, view: memoryview, fua: bool) -> None:
        # In place and with every table on disk, the bytes alone need to become durable; else all that leads to them.
        durably = False
        if fua:
            with self.core.lock:
                durably = is_clean(self.core)
        moved = write_from(self.core, offset, view, durably)
        if fua and (moved or not durably):
            commit(self.core)

    def _flush(self) -> None:
        commit(self.core)

    def _discard(self, offset: int, length: int) -> None:
        start, stop = self._whole_clusters(offset, length)
        if start < stop and (self.core.header.version >= 3 or self.core.backing is None):
            unmap(self.core, start, stop - start, False)

    def _write_zeroes(self, offset: int, length: int, unmap_: bool) -> None:
        start, stop = self._whole_clusters(offset, length)
        if self.core.header.version < 3 and (self.core.backing is not None or not unmap_):
            start = stop = offset  # version 2 knows no zero clusters
        if start >= stop:
            zero_bytes(self.core, offset, offset + length, keep=not unmap_)
            return
        zero_bytes(self.core, offset, start, keep=not unmap_)
        unmap(self.core, start, stop - start, not unmap_)
        zero_bytes(self.core, stop, offset + length, keep=not unmap_)

    def _write_zeroes_fast(self, offset: int, length: int, unmap_: bool) -> None:
        if self.core.header.version < 3 and (self.core.backing is not None or not unmap_):
            super()._write_zeroes_fast(offset, length, unmap_)
        self._write_zeroes(offset, length, unmap_)  # what is no whole cluster is at most two of them

    def _whole_clusters(self, offset: int, length: int) -> tuple[int, int]:
        """The whole clusters within a range; the last one of the disk counts as whole, even if the disk ends within it."""
        cluster = self.core.cluster
        stop = offset + length
        return -(-offset // cluster) * cluster, (stop if stop == self.size else stop // cluster * cluster)

    def _extents(self, offset: int, length: int) -> list[Extent]:
        return extents_of(self.core, offset, length)

    def _prefetch(self, offset: int, length: int) -> None:
        with self.core.lock:
            found = list(runs(self.core, offset, length))
        for run in found:
            if run.rests is Rests.DATA:
                self._file.prefetch(run.host, run.length)
            elif run.rests is Rests.NOTHING and self.backing is not None and run.offset < self.backing.size:
                self.backing.prefetch(run.offset, min(run.length, self.backing.size - run.offset))

    def _resize(self, size: int) -> None:
        from .resize import resize  # noqa: PLC0415

        resize(self, size)

    def map(self, offset: int, length: int, depth: int = 0) -> Iterator[Mapped]:
        """What the range rests on, image by image; the lock is not held between the steps."""
        stop = offset + length
        while offset < stop:
            step = min(stop - offset, self.core.tables.per_table << self.core.bits)
            with self.core.lock:
                found = list(runs(self.core, offset, step))
            for run in found:
                inside = 0
                if run.rests is Rests.NOTHING and self.backing is not None:
                    inside = max(0, min(run.length, self.backing.size - run.offset))
                    if inside:
                        yield from map_of(self.backing, run.offset, inside, depth + 1)
                if inside < run.length:
                    yield Mapped(run.offset + inside, run.length - inside, depth, run.rests, run.host if run.rests is Rests.DATA else None)
            offset += step

    def _close(self) -> None:
        self.direct = None
        try:
            if not self._read_only and not self.core.broken:
                with self.core.lock:
                    freed = self.core.refcounts.dirty
                if freed:
                    commit(self.core)  # counts that fell when the last commit was done
                self._file.truncate(self._used())
        finally:
            self._file.close()
            if self.backing is not None:
                self.backing.close()

    def _used(self) -> int:
        """Bytes of the file up to the last cluster in use."""
        return self.core.refcounts.last() << self.core.bits


def whole_map(blocks: Blocks) -> Iterator[Mapped]:
    """What each part of a disk of any format rests on; neighbours that go on like the one before are one."""
    pending: Mapped | None = None
    for part in map_of(blocks, 0, blocks.size, 0) if blocks.size else ():
        if pending is not None and (pending.depth, pending.rests) == (part.depth, part.rests):
            follows = pending.host + pending.length if pending.host is not None else None
            if follows == part.host and part.rests is not Rests.COMPRESSED:
                pending = pending._replace(length=pending.length + part.length)
                continue
        if pending is not None:
            yield pending
        pending = part
    if pending is not None:
        yield pending


def map_of(blocks: Blocks, offset: int, length: int, depth: int) -> Iterator[Mapped]:
    """:meth:`Qcow2Blocks.map` for a backend of any format."""
    if isinstance(blocks, Qcow2Blocks):
        yield from blocks.map(offset, length, depth)
        return
    for extent in blocks.extents(offset, length):
        rests = {"data": Rests.DATA, "zero": Rests.RESERVED, "hole": Rests.NOTHING}[extent.kind.value]
        yield Mapped(extent.offset, extent.length, depth, rests, extent.offset if rests is not Rests.NOTHING else None)
