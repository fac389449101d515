"""Compressed clusters: raw deflate or zstd, never more than a cluster comes out."""

from __future__ import annotations

import errno
import zlib
from collections import OrderedDict

import zstandard

DEFLATE, ZSTD = 0, 1


def inflate(data: bytes, cluster: int, method: int, path: str) -> bytes:
    """The ``cluster`` bytes that ``data`` (with anything behind it) holds. Raises ``OSError`` with ``EIO`` if it does not."""
    try:
        whole = _zstd(data, cluster) if method == ZSTD else zlib.decompressobj(-15).decompress(data, cluster)
    except (zlib.error, zstandard.ZstdError) as error:
        raise OSError(errno.EIO, f"{path}: a compressed cluster can't be read: {error}") from None
    if len(whole) != cluster:
        raise OSError(errno.EIO, f"{path}: a compressed cluster has {len(whole)} bytes, not {cluster}")
    return whole


def _zstd(data: bytes, most: int) -> bytes:
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data, read_across_frames=False)
    whole = b""
    while len(whole) < most and (piece := reader.read(most - len(whole))):
        whole += piece
    return whole


def deflate(data: bytes | memoryview) -> bytes:
    """Raw deflate with the window of 4 KiB that QEMU uses."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -12)
    return packer.compress(data) + packer.flush()


class InflatedCache:
    """The compressed clusters that were read last, inflated: a cluster is often read in several pieces."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def get(self, key: int) -> bytes | None:
        return self._held.get(key)

    def put(self, key: int, data: bytes) -> None:
        self._held[key] = data
        while len(self._held) > self._most:
            try:
                self._held.popitem(last=False)
            except KeyError:  # another thread emptied it
                return

    def clear(self) -> None:
        self._held.clear()
