# batch.pxd: frames in the caller's own arrays, declared for the modules that read them in C.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from vsw.datapath.source cimport FrameReader, FrameSource


cdef class Batch(FrameSource):
    # The arrays as they were given: they keep alive what the views and the pointers of readers point to.
    cdef readonly object buffer
    cdef readonly object offsets
    cdef readonly object lengths
    cdef readonly object wire_lengths
    cdef readonly object time
    cdef readonly object port_in
    cdef const uint8_t[::1] _buffer
    cdef const uint64_t[::1] _offsets
    cdef const uint32_t[::1] _lengths
    cdef const uint32_t[::1] _wire_lengths
    cdef const int64_t[::1] _time
    cdef const uint16_t[::1] _port_in
    cdef uint64_t count
    cdef _acquire(self)
    cdef _check_rows(self)
    cdef Batch _slice(self, object rows)
    cpdef FrameReader reader(self, uint64_t start, uint64_t stop)
