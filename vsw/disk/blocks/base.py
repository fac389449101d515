"""The contract of a block backend.

Stands between the disk engines above (SCSI, NBD) and the files below. The public methods check every argument once, here, and
then call the backend's own ``_`` method: a backend may rely on what is checked, and every backend is tested for free.

Concepts
    A backend is an array of ``size`` bytes. ``offset`` and ``length`` are in bytes and multiples of ``alignment`` (1, or the
    sector size where the file below demands it). An operation is done when its method returns.

Durability
    ``write`` without ``fua`` may rest in a cache that a crash of the host loses; after ``flush`` everything whose method had
    returned before ``flush`` was called survives. ``write(..., fua=True)`` survives by itself. A crash leaves each 512 bytes
    of an unflushed write old or new.

Thread-safety
    Every method may be called from several threads at once, except ``resize`` and ``close``, which the caller must keep apart
    from all others. Operations on ranges that do not overlap do not disturb each other. Of overlapping ones that run at the
    same time the outcome is per 512 bytes one of the two; who needs more must keep them apart.

Errors
    ``OSError`` with ``errno`` set, never anything else: ``EINVAL`` (range or alignment: a caller's mistake), ``EROFS``
    (read-only), ``EBADF`` (closed), ``ENOSPC``, ``EIO`` (also: the file ends before ``size``). After an error the range holds
    old or new data per 512 bytes, and the backend remains usable.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from .direct import Direct

SECTOR = 512
"""Bytes that a crash never tears."""


class Kind(Enum):
    """What an extent rests on."""

    DATA = "data"
    ZERO = "zero"
    """Allocated, and known to read as zeroes."""
    HOLE = "hole"
    """Not allocated; reads as zeroes."""


@dataclass(frozen=True, slots=True)
class Extent:
    """``length`` bytes from ``offset`` that rest on the same ``kind``."""

    offset: int
    length: int
    kind: Kind


def merge(extents: list[Extent]) -> list[Extent]:
    """The same extents in order, with neighbours of one kind joined."""
    merged: list[Extent] = []
    for extent in extents:
        if merged and merged[-1].kind is extent.kind:
            last = merged[-1]
            merged[-1] = Extent(last.offset, last.length + extent.length, last.kind)
        else:
            merged.append(extent)
    return merged


class Blocks(ABC):
    """An array of bytes that outlives the process, or pretends to. The module's text is the contract."""

    format: str
    """The name of the format, as ``FORMATS`` and ``vsw disk info`` print it."""
    alignment: int = 1
    """Offsets and lengths are multiples of this many bytes."""
    granularity: int = 4096
    """``discard`` and ``write_zeroes(unmap=True)`` free whole units of this many bytes; smaller pieces are zeroed in place."""
    atomic: int = 0
    """A write of at most this many bytes survives a crash whole or not at all; 0 if that is not promised for more than a sector."""
    direct: Direct | None = None
    """A compiled door to the same bytes for callers that hold no GIL (``blocks/direct.pxd``), or ``None``. Whoever uses it
    checks range, ``alignment`` and ``read_only`` itself."""

    def __init__(self, *, read_only: bool) -> None:
        self._read_only = read_only
        self._closed = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of the disk; changes only in ``resize``."""

    @property
    def read_only(self) -> bool:
        """True if every change is refused with ``EROFS``."""
        return self._read_only

    @property
    def closed(self) -> bool:
        return self._closed

    # Checks, once for all backends.

    def _check(self, offset: int, length: int) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the disk is closed")
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OSError(errno.EINVAL, f"bytes {offset}..{offset + length} do not lie within a disk of {self.size} bytes")
        if offset % self.alignment or length % self.alignment:
            raise OSError(errno.EINVAL, f"offset {offset} and length {length} must be multiples of {self.alignment} bytes")

    def _check_change(self, offset: int, length: int) -> None:
        self._check(offset, length)
        if self._read_only:
            raise OSError(errno.EROFS, "the disk is read-only")

    # What callers use.

    def readinto(self, offset: int, buffer: bytearray | memoryview) -> None:
        """Fill all of ``buffer`` (any writable, contiguous bytes) from ``offset``; never a short read."""
        view = memoryview(buffer).cast("B")
        self._check(offset, len(view))
        if len(view):
            self._readinto(offset, view)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, copied; for callers off the fast path."""
        buffer = bytearray(length)
        self.readinto(offset, buffer)
        return bytes(buffer)

    def write(self, offset: int, data: bytes | bytearray | memoryview, fua: bool = False) -> None:
        """Write all of ``data``; with ``fua`` it is on stable storage when this returns."""
        view = memoryview(data).cast("B")
        self._check_change(offset, len(view))
        if len(view):
            self._write(offset, view, fua)

    def flush(self) -> None:
        """Bring everything that was written so far to stable storage. On a read-only disk it does nothing."""
        if self._closed:
            raise OSError(errno.EBADF, "the disk is closed")
        if not self._read_only:
            self._flush()

    def discard(self, offset: int, length: int) -> None:
        """Tell that the range is no longer needed: each byte then reads as before or as zero. Never grows the file."""
        self._check_change(offset, length)
        if length:
            self._discard(offset, length)

    def write_zeroes(self, offset: int, length: int, unmap: bool, *, fast: bool = False) -> None:
        """Make the range read as zeroes; with ``unmap`` free its space where possible, without keep (or make) it allocated.

        With ``fast`` the backend fails with ``ENOTSUP`` rather than write the zeroes out one by one.
        """
        self._check_change(offset, length)
        if length:
            (self._write_zeroes_fast if fast else self._write_zeroes)(offset, length, unmap)

    def extents(self, offset: int, length: int) -> list[Extent]:
        """What the range rests on: in order, without gaps, ``length`` bytes in all; neighbours differ in kind."""
        self._check(offset, length)
        if not length:
            return []
        return self._extents(offset, length)

    def prefetch(self, offset: int, length: int) -> None:
        """Tell that the range will be read soon."""
        self._check(offset, length)
        if length:
            self._prefetch(offset, length)

    def resize(self, size: int) -> None:
        """Make the disk ``size`` bytes long: new bytes read as zeroes, cut ones are gone."""
        self._check_change(0, 0)
        if size < 0 or size % self.alignment:
            raise OSError(errno.EINVAL, f"size {size} must be a multiple of {self.alignment} bytes and not negative")
        self._resize(size)

    def close(self) -> None:
        """Flush and let go of the files; a second call does nothing."""
        if not self._closed:
            try:
                self.flush()
            finally:
                self._closed = True
                self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # What a backend writes; arguments are checked, lengths are not zero.

    @abstractmethod
    def _readinto(self, offset: int, view: memoryview) -> None: ...

    @abstractmethod
    def _write(self, offset: int, view: memoryview, fua: bool) -> None: ...

    @abstractmethod
    def _flush(self) -> None: ...

    def _discard(self, offset: int, length: int) -> None:  # noqa: B027
        """To forget nothing is allowed."""

    @abstractmethod
    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None: ...

    def _write_zeroes_fast(self, offset: int, length: int, unmap: bool) -> None:
        """Who has no quick way says so before it changes anything."""
        how = "free" if unmap else "allocated"
        raise OSError(errno.ENOTSUP, f"a disk of format {self.format} has no quick way to {how} zeroes at {offset}..{offset + length}")

    def _extents(self, offset: int, length: int) -> list[Extent]:
        """Who knows nothing of holes has data everywhere."""
        return [Extent(offset, length, Kind.DATA)]

    def _prefetch(self, offset: int, length: int) -> None:  # noqa: B027
        """Advice may be ignored."""

    def _resize(self, size: int) -> None:
        raise OSError(errno.ENOTSUP, f"a disk of format {self.format} can't be resized to {size} bytes")

    @abstractmethod
    def _close(self) -> None: ...
