# The compiled door of a qcow2 image: see door.pyx.

from libc.stdint cimport int64_t, uint64_t

from ..direct cimport Direct, FileDirect

cdef struct Slot:
    uint64_t guest      # guest cluster + 1; 0: empty
    uint64_t host       # host offset; bit 0: may be written in place

cdef struct Piece:
    int64_t host
    size_t length

cdef class Qcow2Direct(Direct):
    cdef FileDirect file
    cdef void *mutex
    cdef Slot *slots
    cdef int bits
    cdef int epoch
    cdef int running[2]     # requests on their way, by the epoch in which they began
    cdef void done(self, int epoch) noexcept nogil
    cdef int transfer(self, int64_t offset, unsigned char *buffer, size_t length, bint now) noexcept nogil
    cdef int find(self, int64_t offset, size_t length, bint writing, Piece *pieces) noexcept nogil
