"""Numbers of the qcow2 format (QEMU's docs/interop/qcow2.txt), and the bounds within which this package believes an image.

All integers on disk are big-endian. ``cluster`` is an index of host clusters: offset >> cluster_bits.
"""

from __future__ import annotations

MAGIC = b"QFI\xfb"
HEADER_V2 = 72
HEADER_V3 = 104
HEADER_FULL = 112
"""Bytes of a version 3 header with the compression type."""

# Entries of L1 and L2 tables.
COPIED = 1 << 63
"""The reference count of what the entry points to is exactly one: it may be changed in place."""
COMPRESSED = 1 << 62
ZERO = 1
OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00

# Incompatible features.
DIRTY = 1 << 0
CORRUPT = 1 << 1
EXTERNAL_DATA = 1 << 2
COMPRESSION_TYPE = 1 << 3
EXTENDED_L2 = 1 << 4
FEATURES = {0: "dirty", 1: "corrupt", 2: "external data file", 3: "compression type", 4: "extended L2 entries"}
SUPPORTED = DIRTY | CORRUPT | COMPRESSION_TYPE
# Compatible and autoclear features.
LAZY_REFCOUNTS = 1 << 0
BITMAPS = 1 << 0

# Header extensions.
EXTENSION_END = 0
EXTENSION_BACKING_FORMAT = 0xE279_2ACA
EXTENSION_FEATURE_NAMES = 0x6803_F857
EXTENSION_BITMAPS = 0x2385_2875

MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21
MAX_REFCOUNT_ORDER = 6
MAX_L1_BYTES = 32 << 20
"""As QEMU: with clusters of 64 KiB a disk of 2 PiB."""
MAX_REFTABLE_BYTES = 8 << 20
MAX_SNAPSHOTS = 65536
MAX_SNAPSHOT_TABLE = 64 << 20
MAX_SNAPSHOT_EXTRA = 1024
MAX_BACKING_NAME = 1023
MAX_BACKING_DEPTH = 64
MAX_SIZE = (1 << 63) - (1 << 21)
MAX_HOST_OFFSET = 1 << 56

SECTOR = 512


def l1_entries(size: int, cluster_bits: int) -> int:
    """Entries of an L1 table for a disk of ``size`` bytes: one for each cluster full of L2 entries."""
    return -(-size // (1 << (2 * cluster_bits - 3)))
