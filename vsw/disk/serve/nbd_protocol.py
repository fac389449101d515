"""The words of the NBD protocol: numbers on the wire, and which of them an ``errno`` becomes.

Source: the NBD protocol document (fixed newstyle negotiation, structured replies, metadata contexts). All numbers are big-endian.
"""

from __future__ import annotations

import errno
import struct
from enum import IntEnum, IntFlag

MAGIC = b"NBDMAGIC"
OPTION_MAGIC = b"IHAVEOPT"
OPTION_REPLY_MAGIC = 0x0003E889045565A9
SIMPLE_REPLY_MAGIC = 0x67446698
CHUNK_MAGIC = 0x668E33EF

LARGEST_PAYLOAD = 32 << 20
"""Bytes of one read or write; the export's block size information says so too."""
LONGEST_NAME = 4096
"""Bytes of an export's name or description, and of a query."""


class ServerFlag(IntFlag):
    """What the server says first."""

    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Option(IntEnum):
    """What the client may ask before transmission."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    STARTTLS = 5
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class OptionReply(IntEnum):
    """What the server answers to an option."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    ERR_UNSUP = 0x80000001
    ERR_POLICY = 0x80000002
    ERR_INVALID = 0x80000003
    ERR_UNKNOWN = 0x80000006
    ERR_SHUTDOWN = 0x80000007
    ERR_BLOCK_SIZE_REQD = 0x80000008
    ERR_TOO_BIG = 0x80000009


class Info(IntEnum):
    """What INFO and GO can tell of an export."""

    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


class ExportFlag(IntFlag):
    """What an export can do (transmission flags)."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    FLUSH = 1 << 2
    FUA = 1 << 3
    TRIM = 1 << 5
    WRITE_ZEROES = 1 << 6
    DF = 1 << 7
    MULTI_CONN = 1 << 8
    CACHE = 1 << 10
    FAST_ZERO = 1 << 11


class Command(IntEnum):
    """Request types."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    CACHE = 5
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


class Flag(IntFlag):
    """Flags of a request."""

    FUA = 1 << 0
    NO_HOLE = 1 << 1
    DF = 1 << 2
    REQ_ONE = 1 << 3
    FAST_ZERO = 1 << 4


class Chunk(IntEnum):
    """Types of a structured reply's chunk."""

    NONE = 0
    OFFSET_DATA = 1
    BLOCK_STATUS = 5
    ERROR = 0x8001


DONE = 1
"""The flag of a structured reply's last chunk."""

ALLOCATION = "base:allocation"
"""The metadata context that is offered."""
ALLOCATION_ID = 1
STATE_HOLE = 1
STATE_ZERO = 2

SIMPLE_REPLY = struct.Struct(">IIQ")
CHUNK_HEAD = struct.Struct(">IHHQI")
OPTION_REPLY = struct.Struct(">QIII")

EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108
"""The errors that NBD knows, as numbers on the wire."""

_ERRORS = {
    errno.EPERM: EPERM,
    errno.EROFS: EPERM,
    errno.EACCES: EPERM,
    errno.ENOMEM: ENOMEM,
    errno.EINVAL: EINVAL,
    errno.ENOSPC: ENOSPC,
    errno.EDQUOT: ENOSPC,
    errno.EFBIG: ENOSPC,
    errno.EOPNOTSUPP: ENOTSUP,
    errno.ENOTSUP: ENOTSUP,
}


def wire_errno(code: int | None) -> int:
    """The NBD error for an ``errno`` of a backend; what NBD has no word for is ``EIO``."""
    return EIO if code is None else _ERRORS.get(code, EIO)
