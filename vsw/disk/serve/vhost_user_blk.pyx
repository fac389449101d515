"""vhost-user-blk: a disk for a guest's virtio-blk driver, over virtqueues in the guest's memory.

::

    with BlkServer("web1.sock", blocks, serial="web1"):
        ...     # -chardev socket,id=d0,path=web1.sock,reconnect=1 -device vhost-user-blk-pci,chardev=d0

A request is a header (type, sector), data, and a status byte that we write. Reads and writes go to the backend's compiled door without the GIL;
whatever has none, or fails there, goes to the backend's Python methods, which say what is wrong. A guest that has not agreed on FLUSH, or
has switched its write cache off, gets every write with FUA.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ...virtio.ring cimport VSW_RING_SHAPE, vsw_chain, vsw_chain_read, vsw_chain_write, vsw_ring, vsw_ring_fail
from ..blocks.direct cimport Direct
from .vhost_user_requests cimport Requests, read_into_chain, write_from_chain

import logging
import struct

from vsw.errors import UsageError

log = logging.getLogger("vsw.disk.vhost_user")

cdef enum:
    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13
    OK = 0
    IO_ERROR = 1
    UNSUPPORTED = 2
    SECTOR = 512
    HEADER = 16
    ID_BYTES = 20
    RANGE = 16                  # bytes of one range of DISCARD and WRITE_ZEROES
    UNMAP = 1

MOST_RANGES = 32
"""Ranges of one DISCARD or WRITE ZEROES."""
MOST_SECTORS = 1 << 21
"""Sectors of one range: 1 GiB."""
SEGMENTS = 254
"""Buffers of data that a driver should put into one request; a chain may have more."""
RANGES = struct.Struct("<QII")


cdef struct header_t:
    uint32_t kind
    uint32_t reserved
    uint64_t sector


cdef class BlkRequests(Requests):
    """Serves requests on ``blocks``. ``write_through`` is set while the guest wants no write cache."""

    cdef object blocks
    cdef Direct door
    cdef uint64_t size
    cdef bint read_only
    cdef bytes serial
    cdef uint32_t write_through

    def __init__(self, blocks, str serial, bint read_only):
        self.blocks = blocks
        self.door = blocks.direct
        self.size = blocks.size
        self.read_only = read_only
        self.serial = serial.encode()[:ID_BYTES].ljust(ID_BYTES, b"\0")
        self.write_through = 1

    def set_write_through(self, bint wanted):
        self.write_through = wanted

    cdef uint32_t serve(self, uint32_t number, vsw_ring *ring, vsw_chain *chain, unsigned char *bounce) noexcept nogil:
        cdef header_t head
        cdef uint64_t in_bytes, out_bytes, at
        cdef uint8_t status
        cdef uint32_t written = 0
        cdef int code = -1
        if chain.readable_bytes < HEADER or chain.writable_bytes < 1:
            return vsw_ring_fail(ring, VSW_RING_SHAPE)
        vsw_chain_read(chain, 0, &head, HEADER)
        in_bytes = chain.writable_bytes - 1
        out_bytes = chain.readable_bytes - HEADER
        at = head.sector * SECTOR
        if head.kind == IN or head.kind == OUT:
            if head.kind == OUT:
                in_bytes = out_bytes
            if in_bytes % SECTOR or head.sector > self.size // SECTOR or in_bytes > self.size - at or head.kind == OUT and self.read_only:
                status = IO_ERROR
            else:
                if self.door is not None:
                    if head.kind == IN:
                        code = read_into_chain(self.door, <long long>at, ring, chain, 0, in_bytes, bounce)
                    else:
                        code = write_from_chain(self.door, <long long>at, ring, chain, HEADER, in_bytes, self.write_through, bounce)
                if code == 0:
                    status = OK
                else:
                    with gil:
                        status = self.slowly(head.kind, chain, at, in_bytes)
                if head.kind == IN:
                    written = <uint32_t>in_bytes
        elif head.kind == FLUSH:
            with gil:
                status = self.flush()
        elif head.kind == GET_ID:
            status = OK if in_bytes >= ID_BYTES else IO_ERROR
            if status == OK:
                with gil:
                    self.put(chain, self.serial)
                written = ID_BYTES
        elif head.kind == DISCARD or head.kind == WRITE_ZEROES:
            with gil:
                status = self.ranges(head.kind, chain, out_bytes)
        else:
            status = UNSUPPORTED
        vsw_chain_write(chain, chain.writable_bytes - 1, &status, 1)
        return written + 1

    # With the GIL: nothing here raises.

    cdef put(self, vsw_chain *chain, bytes data):
        cdef const uint8_t *begin = data
        vsw_chain_write(chain, 0, begin, len(data))

    cdef bytes take(self, vsw_chain *chain, uint64_t at, size_t length):
        data = bytearray(length)
        vsw_chain_read(chain, at, <char *>data, length)
        return bytes(data)

    cdef uint8_t slowly(self, uint32_t kind, vsw_chain *chain, uint64_t at, uint64_t length):
        cdef uint64_t done = 0
        cdef size_t step
        cdef unsigned char[::1] view
        try:
            while done < length:
                step = min(length - done, <uint64_t>(1 << 20))
                if kind == IN:
                    piece = bytearray(step)
                    self.blocks.readinto(at + done, piece)
                    view = piece
                    vsw_chain_write(chain, done, &view[0], step)
                else:
                    self.blocks.write(at + done, self.take(chain, HEADER + done, step), bool(self.write_through))
                done += step
        except OSError as error:
            return self.failed("read" if kind == IN else "write", error)
        return OK

    cdef uint8_t flush(self):
        try:
            self.blocks.flush()
        except OSError as error:
            return self.failed("flush", error)
        return OK

    cdef uint8_t ranges(self, uint32_t kind, vsw_chain *chain, uint64_t length):
        if length == 0 or length % RANGE or length > MOST_RANGES * RANGE or self.read_only:
            return IO_ERROR
        listed = list(RANGES.iter_unpack(self.take(chain, HEADER, <size_t>length)))
        for sector, count, flags in listed:
            if flags & ~UNMAP or kind == DISCARD and flags:
                return UNSUPPORTED
            if count > MOST_SECTORS or (sector + count) * SECTOR > self.size:
                return IO_ERROR
        try:
            for sector, count, flags in listed:
                if kind == DISCARD:
                    self.blocks.discard(sector * SECTOR, count * SECTOR)
                else:
                    self.blocks.write_zeroes(sector * SECTOR, count * SECTOR, bool(flags & UNMAP))
            if self.write_through:
                self.blocks.flush()
        except OSError as error:
            return self.failed("discard" if kind == DISCARD else "write zeroes", error)
        return OK

    cdef uint8_t failed(self, str what, error):
        log.warning("%s: %s failed: %s", self.serial.rstrip(b"\0").decode(errors="replace"), what, error)
        return IO_ERROR


def check_blocks(blocks, uint32_t block_size):
    """Raise :class:`~vsw.errors.UsageError` for a backend that can't be a virtio disk of that block size."""
    if block_size < SECTOR or block_size & (block_size - 1):
        raise UsageError(f"a virtio disk has blocks of {SECTOR} bytes, or a power of two above that, not {block_size}")
    if blocks.size % block_size:
        raise UsageError(f"a disk of {blocks.size} bytes: a virtio disk has whole blocks, of {block_size} bytes here")
    if SECTOR % blocks.alignment and blocks.alignment > 4096:
        raise UsageError(f"a disk with an alignment of {blocks.alignment} bytes can't be a virtio disk")
