# source.pxd: the one way by which frames reach the datapath, declared.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "vsw/datapath/burst.h" nogil:
    enum:
        VSW_BURST
        VSW_SLACK

    ctypedef struct vsw_burst:
        uint32_t count
        uint32_t roomy
        const uint8_t **data
        uint32_t *captured
        uint32_t *length
        int64_t *time
        uint16_t *interface

    ctypedef struct vsw_source:
        uint32_t (*next)(vsw_source *self, vsw_burst *burst, uint32_t limit) noexcept nogil
        uint32_t interfaces
        uint32_t failed
        uint64_t position


cdef class FrameReader:
    # One pass over frames, by one thread.  It keeps whatever memory the frames lie in alive.
    cdef vsw_source *source


cdef class FrameSource:
    # Anything that holds frames: a batch of arrays, a capture file, a slice of either.
    cpdef FrameReader reader(self, uint64_t start, uint64_t stop)
