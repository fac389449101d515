"""New images: the least that is a valid one, then what preallocation asks for."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ....errors import UsageError
from ..hostfile import HostFile
from . import layout
from .header import Header
from .refcounts import pack, unpack

Preallocation = Literal["off", "metadata", "falloc", "full"]
PREALLOCATIONS = ("off", "metadata", "falloc", "full")
DEFAULT_CLUSTER = 65536
Progress = Callable[[int], None]


def create_image(
    path: str | os.PathLike[str],
    size: int,
    *,
    cluster_size: int = DEFAULT_CLUSTER,
    refcount_bits: int = 16,
    version: int = 3,
    backing: str | None = None,
    backing_format: str | None = None,
    backing_directories: Sequence[str | os.PathLike[str]] = (),
    preallocation: str = "off",
    lazy_refcounts: bool = False,
    zstd: bool = False,
    progress: Progress | None = None,
) -> None:
    """Create an image of ``size`` bytes (a multiple of 512) at ``path``, which must not exist. On any error nothing is left behind.

    ``backing`` goes into the header as it is, relative to the image's directory, with ``backing_format`` (needed): the new disk shows its bytes.
    ``preallocation``: ``metadata`` gives every cluster its place in a sparse file, ``falloc`` reserves the space too, ``full`` writes it out.
    ``lazy_refcounts`` and ``zstd`` (for what others compress) only set what the header says; here counts are kept accurate all the same.
    ``progress`` is called with the bytes of the disk that were preallocated.
    """
    bits = cluster_size.bit_length() - 1
    order = refcount_bits.bit_length() - 1
    if cluster_size != 1 << bits or not layout.MIN_CLUSTER_BITS <= bits <= layout.MAX_CLUSTER_BITS:
        raise UsageError(f"the cluster size is a power of 2 from 512 to 2 MiB (found {cluster_size})")
    if refcount_bits < 1 or refcount_bits != 1 << order or order > layout.MAX_REFCOUNT_ORDER:
        raise UsageError(f"reference counts have 1, 2, 4, 8, 16, 32 or 64 bits (found {refcount_bits})")
    if version not in (2, 3) or (version == 2 and (refcount_bits != 16 or lazy_refcounts or zstd)):
        raise UsageError("the version is 3, or 2 with reference counts of 16 bits, without lazy_refcounts and zstd")
    if preallocation not in PREALLOCATIONS:
        raise UsageError(f"preallocation is one of {', '.join(PREALLOCATIONS)} (found {preallocation!r})")
    if backing is not None and preallocation != "off":
        raise UsageError("what is preallocated would hide the backing file: one or the other")
    if backing is not None and backing_format not in ("raw", "qcow2"):
        raise UsageError(f"the format of the backing file is needed: raw or qcow2 (found {backing_format!r})")
    if size < 0 or size % layout.SECTOR or size > layout.MAX_SIZE:
        raise UsageError(f"a qcow2 disk has a multiple of 512 bytes, at most {layout.MAX_SIZE} (found {size})")
    if layout.l1_entries(size, bits) * 8 > layout.MAX_L1_BYTES:
        raise UsageError(f"a disk of {size} bytes needs larger clusters than {cluster_size} bytes")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    os.close(fd)
    try:
        file = HostFile(path, read_only=False)
        try:
            _write(file, size, bits, order, version, backing, backing_format, lazy_refcounts, zstd)
        finally:
            file.close()
        if backing is not None or preallocation != "off":
            from .image import Qcow2Blocks  # noqa: PLC0415

            # Opening shows that the backing file is one that will be accepted later too.
            with Qcow2Blocks(path, backing_directories=backing_directories) as image:
                _preallocate(image, preallocation, progress)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def _feature_names() -> bytes:
    names = [(0, bit, name) for bit, name in layout.FEATURES.items()] + [(1, 0, "lazy refcounts"), (2, 0, "bitmaps")]
    return b"".join(struct.pack(">BB46s", kind, bit, name.encode()) for kind, bit, name in names)


def _write(
    file: HostFile, size: int, bits: int, order: int, version: int, backing: str | None, backing_format: str | None, lazy: bool, zstd: bool
) -> None:
    """Header, refcount table, refcount blocks and L1 table, in this order."""
    cluster = 1 << bits
    l1_entries = max(1, layout.l1_entries(size, bits))
    l1_clusters = -(-l1_entries * 8 // cluster)
    per_block = (8 << bits) >> order
    table_clusters = blocks = 1
    while True:  # the counts count themselves
        total = 1 + table_clusters + blocks + l1_clusters
        needed = -(-total // per_block)
        needed_table = -(-needed * 8 // cluster)
        if needed <= blocks and needed_table <= table_clusters:
            break
        blocks, table_clusters = max(blocks, needed), max(table_clusters, needed_table)
    extensions = b""
    if backing_format is not None and backing is not None:
        extensions += _extension(layout.EXTENSION_BACKING_FORMAT, backing_format.encode())
    if version >= 3 and cluster >= 1024:
        extensions += _extension(layout.EXTENSION_FEATURE_NAMES, _feature_names())
    extensions += _extension(layout.EXTENSION_END, b"")
    length = layout.HEADER_FULL if version >= 3 else layout.HEADER_V2
    name = b"" if backing is None else os.fsencode(backing)
    if backing is not None and not name:
        raise UsageError("the name of the backing file is empty")
    if len(name) > layout.MAX_BACKING_NAME or length + len(extensions) + len(name) > cluster:
        raise UsageError(f"the backing file's name of {len(name)} bytes is too long for a cluster of {cluster} bytes, or longer than 1023 bytes")
    header = Header(
        version=version,
        backing_offset=length + len(extensions) if name else 0,
        backing_length=len(name),
        cluster_bits=bits,
        size=size,
        crypt=0,
        l1_size=l1_entries,
        l1_offset=(1 + table_clusters + blocks) << bits,
        refcount_offset=cluster,
        refcount_clusters=table_clusters,
        snapshots=0,
        snapshots_offset=0,
        incompatible=layout.COMPRESSION_TYPE if zstd else 0,
        compatible=layout.LAZY_REFCOUNTS if lazy else 0,
        refcount_order=order,
        length=length,
        compression=1 if zstd else 0,
    )
    file.reserve(0, total << bits)  # so that a full file system is told to a write, not to the flush that would fill the tables
    file.write(cluster, b"".join(((1 + table_clusters + block) << bits).to_bytes(8, "big") for block in range(blocks)))
    for block in range(blocks):
        counts = unpack(bytes(cluster), order)
        counts[: max(0, min(total - block * per_block, per_block))] = 1
        file.write((1 + table_clusters + block) << bits, pack(counts, order))
    file.flush()  # what is no image yet becomes one by its header
    file.write(0, header.pack() + extensions + name)
    file.flush()


def _preallocate(image: object, preallocation: str, progress: Progress | None) -> None:
    from .image import Qcow2Blocks  # noqa: PLC0415
    from .writing import preallocate  # noqa: PLC0415

    assert isinstance(image, Qcow2Blocks)
    step = 1 << 30 if preallocation == "metadata" else 64 << 20
    for start in range(0, image.size if preallocation != "off" else 0, step):
        length = min(step, image.size - start)
        for host, count in preallocate(image.core, start, length):
            if preallocation == "falloc":
                image.core.file.reserve(host, count)
            elif preallocation == "full":
                zeroes = memoryview(bytes(min(count, 1 << 20)))
                for at in range(0, count, len(zeroes)):
                    image.core.file.write(host + at, zeroes[: count - at])
        image.flush()
        if progress is not None:
            progress(start + length)
