"""A raw file (or block device) as a disk: byte N of the disk is byte N of the file.

Holes of the file are the disk's unallocated blocks: discarding punches them, ``extents`` asks the file system for them. A file
is locked (``flock``) while it is open, exclusively by a writer and shared by readers, so that two writers never meet.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from .base import Blocks, Extent, Kind, merge
from .direct import FileDirect
from .hostfile import UNSUPPORTED, open_storage, raise_errno

DIRECT_MEMORY = 4096
"""Memory alignment for O_DIRECT: the page, which satisfies every device."""
ZEROES = memoryview(bytes(1 << 20))

Preallocation = Literal["off", "falloc", "full"]


class RawBlocks(Blocks):
    """The file at ``path``.

    ``direct_io`` bypasses the page cache (O_DIRECT): ``alignment`` is then the device's sector. ``lock=False`` leaves the
    file unlocked, for a cluster file system whose locks are elsewhere. Raises ``OSError``: ``EWOULDBLOCK`` if another writer has it.
    """

    format = "raw"

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False, direct_io: bool = False, lock: bool = True) -> None:
        super().__init__(read_only=read_only)
        self.path = os.fspath(path)
        self._fd, status = open_storage(self.path, read_only=read_only, flags=os.O_DIRECT if direct_io else 0, lock=lock)
        try:
            self._adopt(status, direct_io)
        except BaseException:
            os.close(self._fd)
            raise

    def _adopt(self, status: os.stat_result, direct_io: bool) -> None:
        self._size = os.lseek(self._fd, 0, os.SEEK_END)
        if stat.S_ISREG(status.st_mode):
            self.granularity = max(status.st_blksize, 512)
        if direct_io:
            self.alignment = self._sector()
            if self._size % self.alignment:
                raise OSError(errno.EINVAL, f"{self.path}: its {self._size} bytes are no multiple of the sector of {self.alignment} bytes")
        self._file = FileDirect(self._fd, DIRECT_MEMORY if direct_io else 0)
        self.direct = self._file

    def _sector(self) -> int:
        """The smallest read that O_DIRECT allows here."""
        with mmap.mmap(-1, DIRECT_MEMORY) as page:
            for size in (512, DIRECT_MEMORY):
                with contextlib.suppress(OSError), memoryview(page) as whole, whole[:size] as piece:
                    os.preadv(self._fd, [piece], 0)
                    return size
        raise OSError(errno.EINVAL, f"{self.path}: the file system offers no direct I/O")

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        size: int,
        *,
        preallocation: Preallocation = "off",
        direct_io: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Create a file of ``size`` bytes that reads as zeroes; ``path`` must not exist.

        ``preallocation``: ``off`` makes one hole, ``falloc`` reserves the space, ``full`` writes it out, and calls
        ``progress`` with the bytes done. On any error nothing is left behind.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, size)
            if size and preallocation == "falloc":
                os.posix_fallocate(fd, 0, size)
            elif preallocation == "full":
                for start in range(0, size, len(ZEROES)):
                    raise_errno(FileDirect(fd).write_from(start, ZEROES[: size - start], False), os.fspath(path))
                    if progress is not None:
                        progress(min(start + len(ZEROES), size))
            os.fsync(fd)
        except BaseException:
            Path(path).unlink()
            raise
        finally:
            os.close(fd)
        return cls(path, direct_io=direct_io)

    @property
    def size(self) -> int:
        return self._size

    def _readinto(self, offset: int, view: memoryview) -> None:
        raise_errno(self._file.readinto(offset, view), self.path)

    def _write(self, offset: int, view: memoryview, fua: bool) -> None:
        raise_errno(self._file.write_from(offset, view, fua), self.path)

    def _flush(self) -> None:
        raise_errno(self._file.flush_all(), self.path)

    def _discard(self, offset: int, length: int) -> None:
        code = self._file.punch(offset, length)
        if code not in UNSUPPORTED:
            raise_errno(code, self.path)

    def _write_zeroes_fast(self, offset: int, length: int, unmap: bool) -> None:
        if not self._zero(offset, length, unmap):
            super()._write_zeroes_fast(offset, length, unmap)

    def _zero(self, offset: int, length: int, unmap: bool) -> bool:
        """Let the file system do it; false where it has no holes or zero ranges."""
        code = self._file.punch(offset, length) if unmap else self._file.zero_range(offset, length)
        if code in UNSUPPORTED:
            return False
        raise_errno(code, self.path)
        return True

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        # Without the file system's help, zeroes are written like any other bytes.
        if self._zero(offset, length, unmap):
            return
        stop = offset + length
        while offset < stop:
            piece = ZEROES[: stop - offset]
            self._write(offset, piece, False)
            offset += len(piece)

    def _extents(self, offset: int, length: int) -> list[Extent]:
        found = []
        stop = offset + length
        while offset < stop:
            data = self._seek(offset, os.SEEK_DATA, stop)
            if data > offset:
                found.append(Extent(offset, data - offset, Kind.HOLE))
                offset = data
            if offset < stop:
                hole = self._seek(offset, os.SEEK_HOLE, stop)
                found.append(Extent(offset, hole - offset, Kind.DATA))
                offset = hole
        return merge(found)

    def _seek(self, offset: int, whence: int, stop: int) -> int:
        """Where the next data or hole begins, at most ``stop``."""
        try:
            return min(os.lseek(self._fd, offset, whence), stop)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data after offset; or the file shrank, and reading will tell
                return stop
            if error.errno == errno.EINVAL:  # no notion of holes here: all is data
                return offset if whence == os.SEEK_DATA else stop
            raise

    def _prefetch(self, offset: int, length: int) -> None:
        os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def _resize(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        os.fsync(self._fd)
        self._size = size

    def _close(self) -> None:
        self.direct = None
        os.close(self._fd)
