"""Turns what can't be mapped as it is (compressed files, pipes, file objects) into a temporary file that can.

The temporary file has no name: it is gone when the capture is.  It lies in ``$TMPDIR``, else ``/var/tmp`` (which is a disk where ``/tmp`` may be
memory), so that what is in memory stays bounded however long the capture is.
"""

from __future__ import annotations

import os
import select
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import zstandard

CHUNK = 1 << 20
#: Bytes given to a decompressor at a time: what comes out of them is at most a thousand times, for zstd thirty thousand times as much.
STEP = {"gzip": 16 << 10, "zstd": 2 << 10}
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # after a byte 0x50 to 0x5F


class Broken(Exception):  # noqa: N818  (what happened to the stream)
    """A source can't be read on; the message says why."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def compression(head: bytes) -> str | None:
    """``"gzip"`` or ``"zstd"`` if a stream that begins with ``head`` (4 bytes) is compressed with it."""
    if head.startswith(GZIP):
        return "gzip"
    if head.startswith(ZSTD) or (head[1:4] == ZSTD_SKIPPABLE and head[0] & 0xF0 == 0x50):
        return "zstd"
    return None


def temporary() -> IO[bytes]:
    """A new temporary file without a name."""
    directory = os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
    return tempfile.TemporaryFile(dir=directory, prefix="vsw-")


def pieces(descriptor: int, before: bytes = b"") -> Iterator[bytes]:
    """``before``, then all that can be read from a pipe."""
    if before:
        yield before
    while piece := _read(os.read, descriptor, CHUNK):
        yield piece


def file_pieces(descriptor: int) -> Iterator[bytes]:
    """All of a file, whatever its position is, which stays as it is."""
    at = 0
    while piece := _read(os.pread, descriptor, CHUNK, at):
        yield piece
        at += len(piece)


def _read(call: Callable[..., bytes], descriptor: int, *arguments: int) -> bytes:
    while True:
        try:
            return call(descriptor, *arguments)
        except BlockingIOError:
            select.select([descriptor], [], [])
        except OSError as error:
            raise Broken(f"reading failed: {error.strerror}") from error


def copy(source: Iterator[bytes], target: IO[bytes]) -> str | None:
    """As :func:`expand`, of what is not compressed."""
    try:
        for piece in source:
            target.write(piece)
    except Broken as broken:
        return str(broken)
    return None


def expand(source: Iterator[bytes], kind: str, target: IO[bytes]) -> str | None:
    """Decompress ``source`` into ``target``: any number of gzip members or zstd frames.

    Returns ``None``, or what was wrong with the stream; all that came out before is in ``target`` then.
    """
    try:
        return _expand(source, kind, target)
    except Broken as broken:
        return str(broken)


def _expand(source: Iterator[bytes], kind: str, target: IO[bytes]) -> str | None:
    new: Callable[[], _Decompressor] = _gzip if kind == "gzip" else _zstd
    member: _Decompressor | None = None
    taken = 0
    step = STEP[kind]
    for data in (piece[at : at + step] for piece in source for at in range(0, len(piece), step)):
        left = data
        while left:
            if member is None:
                if kind == "gzip" and not left.strip(b"\0"):
                    break  # the padding of a tape or a block device
                member = new()
            try:
                target.write(member.decompress(left))
            except (zlib.error, zstandard.ZstdError) as error:
                return f"the {kind} stream is corrupt near its byte {taken + len(data) - len(left)}: {error}"
            left = b""
            if member.eof:
                left, member = member.unused_data, None
        taken += len(data)
    if member is not None:
        return f"the {kind} stream ends at its byte {taken}, in the middle"
    return None


def _gzip() -> _Decompressor:
    return zlib.decompressobj(wbits=31)


def _zstd() -> _Decompressor:
    return zstandard.ZstdDecompressor().decompressobj()
