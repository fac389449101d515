"""The header of a qcow2 image: read with suspicion, changed in place by one write within a sector.

Everything that decides where the metadata lies (size, L1 table, refcount table, snapshot table, feature bits) is within the first 512
bytes, which a crash never tears: a new table takes effect by one write of the header.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ....errors import ImageError
from ..hostfile import HostFile
from . import layout

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_FEATURE = struct.Struct(">BB46s")


@dataclass(frozen=True, slots=True)
class Header:
    """The fields, under plain names. Offsets and lengths are in bytes, ``refcount_clusters`` in clusters, ``l1_size`` in entries."""

    version: int
    backing_offset: int
    backing_length: int
    cluster_bits: int
    size: int
    crypt: int
    l1_size: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = layout.HEADER_V2
    compression: int = 0
    backing: str | None = None
    """The name of the backing file, as it stands in the image."""
    backing_format: str | None = None
    extensions: dict[int, bytes] = field(default_factory=dict)

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def refcount_bits(self) -> int:
        return 1 << self.refcount_order

    def pack(self) -> bytes:
        """The fixed part: what ``write_header`` puts at offset 0."""
        names = [f.name for f in fields(self)][:12]
        packed = _V2.pack(layout.MAGIC, self.version, *(getattr(self, name) for name in names[1:]))
        if self.version >= 3:
            packed += _V3.pack(self.incompatible, self.compatible, self.autoclear, self.refcount_order, self.length)
            if self.length >= layout.HEADER_FULL:
                packed += bytes((self.compression,)) + bytes(7)
        return packed


def change_header(file: HostFile, header: Header, **changes: Any) -> Header:
    """Write the header with ``changes``, by one write that no crash tears; returns it. The caller orders it by flushes."""
    changed = replace(header, **changes)
    file.write(0, changed.pack())
    return changed


def read_header(file: HostFile) -> Header:
    """The header of ``file``. Raises :class:`~vsw.errors.ImageError` if it is none, contradicts itself, or needs what is not supported."""
    raw = file.read_most(0, 1 << layout.MAX_CLUSTER_BITS)
    if len(raw) < layout.HEADER_V2 or raw[:4] != layout.MAGIC:
        raise ImageError(file.path, "is no qcow2 image: it does not begin with the bytes 51 46 49 FB")
    _, version, *rest = _V2.unpack_from(raw)
    values = dict(zip([f.name for f in fields(Header)][1:12], rest, strict=True))
    if version not in (2, 3):
        raise ImageError(file.path, f"qcow2 version {version} is not supported; 2 and 3 are")
    bits = values["cluster_bits"]
    if not layout.MIN_CLUSTER_BITS <= bits <= layout.MAX_CLUSTER_BITS:
        raise ImageError(file.path, f"clusters of 2**{bits} bytes are not supported; 2**9 to 2**21 are")
    raw = raw[: 1 << bits]
    if version == 3:
        if len(raw) < layout.HEADER_V3:
            raise ImageError(file.path, f"a version 3 header needs {layout.HEADER_V3} bytes, the file has {len(raw)}")
        incompatible, compatible, autoclear, order, length = _V3.unpack_from(raw, layout.HEADER_V2)
        if not layout.HEADER_V3 <= length <= len(raw) or length % 8:
            raise ImageError(file.path, f"a header of {length} bytes does not fit into a cluster of {1 << bits} bytes, or is no multiple of 8")
        values |= {
            "incompatible": incompatible,
            "compatible": compatible,
            "autoclear": autoclear,
            "refcount_order": order,
            "length": length,
            "compression": raw[layout.HEADER_V3] if length > layout.HEADER_V3 else 0,
        }
    else:
        values["length"] = layout.HEADER_V2
    header = Header(version, **values)
    header = _with_extensions(file.path, header, raw)
    _refuse_unsupported(file.path, header)
    _check(file, header)
    return _with_backing(file.path, header, raw)


def _with_extensions(path: str, header: Header, raw: bytes) -> Header:
    extensions: dict[int, bytes] = {}
    end = header.backing_offset if 0 < header.backing_offset <= len(raw) else len(raw)
    at = header.length
    while at + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(raw, at)
        at += _EXTENSION.size
        if kind == layout.EXTENSION_END:
            break
        if at + length > end:
            raise ImageError(path, f"header extension {kind:#010x} of {length} bytes does not fit into the {end - at} bytes that are left")
        extensions[kind] = raw[at : at + length]
        at += -(-length // 8) * 8
    name = extensions.get(layout.EXTENSION_BACKING_FORMAT)
    return replace(header, extensions=extensions, backing_format=name.decode("ascii", "replace") if name is not None else None)


def _refuse_unsupported(path: str, header: Header) -> None:
    if header.crypt:
        raise ImageError(path, f"is encrypted ({({1: 'AES', 2: 'LUKS'}).get(header.crypt, f'method {header.crypt}')}), which is not supported")
    unknown = header.incompatible & ~layout.SUPPORTED
    if unknown:
        names = dict(layout.FEATURES)
        table = header.extensions.get(layout.EXTENSION_FEATURE_NAMES, b"")
        for at in range(0, len(table) // _FEATURE.size * _FEATURE.size, _FEATURE.size):
            kind, bit, name = _FEATURE.unpack_from(table, at)
            if kind == 0 and bit not in names:
                names[bit] = name.rstrip(b"\0").decode("ascii", "replace")
        wanted = ", ".join(names.get(bit, f"incompatible feature bit {bit}") for bit in range(64) if unknown >> bit & 1)
        raise ImageError(path, f"needs a feature that is not supported: {wanted}")
    if header.refcount_order > layout.MAX_REFCOUNT_ORDER:
        raise ImageError(path, f"reference counts of 2**{header.refcount_order} bits are not supported; 1 to 64 bits are")
    if header.compression > 1 or bool(header.compression) != bool(header.incompatible & layout.COMPRESSION_TYPE):
        raise ImageError(path, f"compression type {header.compression} is not supported, or its feature bit contradicts it; deflate and zstd are")


def _check(file: HostFile, header: Header) -> None:
    path, size = file.path, header.cluster_size
    if header.size > layout.MAX_SIZE:
        raise ImageError(path, f"a disk of {header.size} bytes is not supported; at most {layout.MAX_SIZE} bytes are")
    needed = layout.l1_entries(header.size, header.cluster_bits)
    if header.l1_size < needed:
        raise ImageError(path, f"an L1 table of {header.l1_size} entries is too short for {header.size} bytes; {needed} are needed")
    if header.l1_size * 8 > layout.MAX_L1_BYTES:
        raise ImageError(path, f"an L1 table of {header.l1_size} entries is too long; at most {layout.MAX_L1_BYTES // 8} are supported")
    if header.refcount_clusters * size > max(layout.MAX_REFTABLE_BYTES, size):
        raise ImageError(path, f"a refcount table of {header.refcount_clusters} clusters is too long; at most 8 MiB are supported")
    if header.snapshots > layout.MAX_SNAPSHOTS:
        raise ImageError(path, f"{header.snapshots} snapshots are too many; at most {layout.MAX_SNAPSHOTS} are supported")
    tables = [
        ("L1 table", header.l1_offset, header.l1_size * 8),
        ("refcount table", header.refcount_offset, header.refcount_clusters * size),
        ("snapshot table", header.snapshots_offset, header.snapshots),
    ]
    for name, offset, length in tables:
        if length and (offset % size or not size <= offset <= file.size - min(length, 8)):
            raise ImageError(path, f"the {name} at {offset} is not at the start of a cluster between the header and the end at {file.size}")
    if header.refcount_clusters == 0:
        raise ImageError(path, "has no refcount table")


def _with_backing(path: str, header: Header, raw: bytes) -> Header:
    if not header.backing_offset:
        return header
    stop = header.backing_offset + header.backing_length
    if not 0 < header.backing_length <= layout.MAX_BACKING_NAME or header.backing_offset < header.length or stop > len(raw):
        where = f"{header.backing_length} bytes at {header.backing_offset}"
        raise ImageError(path, f"the name of the backing file ({where}) has no or more than 1023 bytes, or is not within the first cluster")
    name = raw[header.backing_offset : stop]
    if b"\0" in name:
        raise ImageError(path, "the name of the backing file has a zero byte in it")
    return replace(header, backing=name.decode("utf-8", "surrogateescape"))
