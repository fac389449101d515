"""What became of each frame, kept small: what ``Switch.forward(egress=...)`` takes when two runs are to be compared."""

from hashlib import blake2b

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

cdef extern from "vsw/datapath/state.h" nogil:
    ctypedef struct vsw_copy:
        pass
    ctypedef struct vsw_sink:
        int (*copy)(vsw_sink *self, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) noexcept nogil
        uint32_t failed

cdef extern from "vsw/replay/fates.h" nogil:
    ctypedef struct vsw_fates_row:
        pass
    ctypedef struct vsw_fates:
        vsw_sink sink
        vsw_fates_row *rows
        uint64_t first
        uint64_t room
        const uint64_t *names
    int vsw_fates_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time)

#: One row a frame: hashes of the ports that its copies left by (by name) and of the copies with their bytes, and how many there were.
FATE = np.dtype([("ports", "<u8"), ("copies", "<u8"), ("count", "<u4"), ("reserved", "<u4")])


cdef class Fates:
    """Fates of a run, ``frames`` frames at a time; ``names`` are the module's ports by number.  ``rows`` is an array of :data:`FATE`.

    Thread-safety: belongs to one thread at a time.
    """

    cdef vsw_fates fates
    cdef object names
    cdef readonly object rows

    def __init__(self, frames, names):
        hashes = np.zeros(max(names, default=-1) + 2, np.uint64)
        for number, name in names.items():
            hashes[number] = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
        self.names = hashes
        self.rows = np.zeros(frames, FATE)
        self.fates.sink.copy = <int (*)(vsw_sink *, const vsw_copy *, const uint8_t *, uint32_t, int64_t) noexcept nogil>vsw_fates_copy
        self.fates.rows = <vsw_fates_row *><uintptr_t>self.rows.ctypes.data
        self.fates.room = frames
        self.fates.names = <const uint64_t *><uintptr_t>hashes.ctypes.data

    @property
    def sink(self):
        """Address of the ``vsw_sink``."""
        return <uintptr_t>&self.fates.sink

    def next(self, uint64_t count):
        """Clear the rows of these ``count`` frames for those that follow."""
        if count > self.fates.room:
            raise ValueError(f"there are {self.fates.room} rows (found {count})")
        memset(self.fates.rows, 0, count * sizeof(vsw_fates_row))
        self.fates.first += count

    def check(self):
        """Raise if a frame came that has no row."""
        if self.fates.sink.failed:
            raise ValueError(f"a frame behind the {self.fates.room} from {self.fates.first} on: nobody called next()")
