"""The host file (or block device) of an image: bytes at offsets, and the few operations whose order decides what a crash leaves.

Whatever an image format changes on the host passes through here, one method for each kind of change, so that a test can record
or refuse it. A file is locked (``flock``) while it is open, exclusively by a writer and shared by readers, so that two writers never meet.

Thread-safety: every method may be called from several threads at once; ``grow``, ``truncate`` and ``close`` one at a time.
Errors: ``OSError`` that names the file; ``EIO`` if it ends before what is read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Sequence

from .direct import FileDirect


def raise_errno(code: int, what: str) -> None:
    """Raise the ``OSError`` for a negative errno of the compiled layer; do nothing for 0."""
    if code < 0:
        raise OSError(-code, f"{what}: {os.strerror(-code)}")


UNSUPPORTED = (-errno.EOPNOTSUPP, -errno.ENOSYS, -errno.EINVAL)
"""What the kernel answers where files have no holes."""


# QEMU tells others what it does with an image, and what it does not want of them, by shared locks on single bytes of the file (open file
# description locks): byte 100 + P if it uses permission P, byte 200 + P if nobody else may.
_USES, _FORBIDS = 100, 200
_READ, _WRITE, _RESIZE = 0, 1, 3
_FLOCK = struct.Struct("hhqqi")


def _lock_as_qemu(fd: int, path: str, read_only: bool) -> None:
    """Say to QEMU's tools and guests that the file is in use; raise ``EWOULDBLOCK`` if they use it in a way that does not go together."""
    uses = (_READ,) if read_only else (_READ, _WRITE, _RESIZE)
    forbids = (_WRITE, _RESIZE)
    mine = [*(_USES + permission for permission in uses), *(_FORBIDS + permission for permission in forbids)]
    theirs = [*(_FORBIDS + permission for permission in uses), *(_USES + permission for permission in forbids)]
    for byte in mine:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise OSError(errno.EWOULDBLOCK, f"{path}: in use by another program") from None
            return  # a file system without such locks
    for byte in theirs:
        # Would anybody's shared lock stand in the way of an exclusive one?
        kind, *_ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)))
        if kind != fcntl.F_UNLCK:
            raise OSError(errno.EWOULDBLOCK, f"{path}: in use by QEMU, or by another program that locks images as it does")


def open_storage(path: str, *, read_only: bool, flags: int = 0, lock: bool = True) -> tuple[int, os.stat_result]:
    """A descriptor of a regular file or block device, locked. Raises ``OSError``: ``EWOULDBLOCK`` if another writer has it."""
    # Opening a FIFO would wait for its other end, opening a tape would wind it: O_NONBLOCK keeps from that, and means nothing to files.
    fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    try:
        status = os.fstat(fd)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise OSError(errno.EINVAL, f"{path}: neither a regular file nor a block device")
        if lock:
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(errno.EWOULDBLOCK, f"{path}: in use by another process, or by another disk of this one") from None
            _lock_as_qemu(fd, path, read_only)
    except BaseException:
        os.close(fd)
        raise
    return fd, status


class HostFile:
    """The open file at ``path``; ``size`` is its length in bytes as far as this process knows."""

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool, lock: bool = True) -> None:
        self.path = os.fspath(path)
        self.read_only = read_only
        self.fd, status = open_storage(self.path, read_only=read_only, lock=lock)
        self.identity = (status.st_dev, status.st_ino)
        """Tells files apart, whatever their names."""
        self.fixed = stat.S_ISBLK(status.st_mode)
        """A device, whose length is what it is."""
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.direct = FileDirect(self.fd)

    def readinto(self, offset: int, view: memoryview) -> None:
        """Fill all of ``view``."""
        raise_errno(self.direct.readinto(offset, view), self.path)

    def read(self, offset: int, length: int) -> bytearray:
        """``length`` bytes, all of which the file must have."""
        buffer = bytearray(length)
        self.readinto(offset, memoryview(buffer))
        return buffer

    def read_most(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes: fewer where the file ends."""
        length = min(length, self.size - offset)
        return os.pread(self.fd, length, offset) if length > 0 else b""

    def write(self, offset: int, data: bytes | bytearray | memoryview, fua: bool = False) -> None:
        """Write all of ``data``; with ``fua`` it is on stable storage afterwards."""
        raise_errno(self.direct.write_from(offset, data, fua), self.path)

    def writev(self, offset: int, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        """Write the pieces one behind the other, in one call if the kernel takes them all."""
        if len(pieces) == 1:
            self.write(offset, pieces[0])
            return
        total = sum(len(piece) for piece in pieces)
        try:
            done = os.pwritev(self.fd, pieces, offset)
        except OSError as error:
            raise OSError(error.errno, f"{self.path}: {error.strerror}") from None
        if done < total:
            self.write(offset + done, memoryview(b"".join(pieces))[done:])

    def flush(self) -> None:
        """Bring everything that was written to stable storage. Once this has failed, it fails for ever: the kernel tells of a lost page once."""
        raise_errno(self.direct.flush_all(), self.path)

    def punch(self, offset: int, length: int) -> None:
        """Give the range's space back where the file system can: it then reads as zeroes, or as before."""
        code = self.direct.punch(offset, length)
        if code not in UNSUPPORTED:
            raise_errno(code, self.path)

    def grow(self, size: int) -> None:
        """Make the file at least ``size`` bytes long; what is new reads as zeroes. Raises ``ENOSPC`` for a device that is shorter."""
        if size <= self.size:
            return
        if self.fixed:
            raise OSError(errno.ENOSPC, f"{self.path}: the device ends at {self.size} bytes")
        self._truncate(size)

    def truncate(self, size: int) -> None:
        """Cut a file that is longer than ``size`` bytes."""
        if size < self.size and not self.fixed:
            self._truncate(size)

    def _truncate(self, size: int) -> None:
        try:
            os.ftruncate(self.fd, size)
        except OSError as error:
            raise OSError(error.errno, f"{self.path}: {error.strerror} (for {size} bytes)") from None
        self.size = size

    def reserve(self, offset: int, length: int) -> None:
        """Take the range's space from the file system now; the file grows if it has to."""
        if self.fixed:
            self.grow(offset + length)
            return
        try:
            os.posix_fallocate(self.fd, offset, length)
        except OSError as error:
            raise OSError(error.errno, f"{self.path}: {error.strerror}") from None
        self.size = max(self.size, offset + length)

    def occupied(self) -> int:
        """Bytes that the file takes on its file system."""
        return os.fstat(self.fd).st_blocks * 512

    def is_hole(self, offset: int, length: int) -> bool:
        """True if the whole range is known to be a hole of the file, or to lie behind its end."""
        if offset >= self.size:
            return True
        try:
            return os.lseek(self.fd, offset, os.SEEK_DATA) >= offset + length
        except OSError as error:
            return error.errno == errno.ENXIO

    def prefetch(self, offset: int, length: int) -> None:
        os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        os.close(self.fd)
