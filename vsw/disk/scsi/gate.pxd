# The compiled fast path of the engine: plain reads and writes of an I_T_L nexus that nothing stands in the way of.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..blocks.direct cimport Direct


cdef enum:
    GATE_SLOW = 0
    GATE_READ = 1
    GATE_WRITE = 2


cdef struct transfer:
    long long offset        # bytes of the disk
    uint32_t length         # bytes
    bint fua


cdef class Traffic:
    cdef long running       # medium accesses that are going on
    cdef int closed         # 1 while someone needs the unit for itself
    cdef object turn        # held by whoever has the unit for itself

    cdef bint enter(self) noexcept nogil
    cdef void leave(self) noexcept nogil


cdef class Gate:
    cdef Traffic traffic
    cdef Direct door
    cdef uint64_t blocks
    cdef uint32_t block_size
    cdef uint32_t largest   # blocks of one transfer
    cdef int reads          # 1: plain reads may pass
    cdef int writes         # 1: plain writes may pass
    cdef bint always_fua
    cdef uint64_t reads_done, writes_done, bytes_read, bytes_written

    cdef int decode(self, const uint8_t *cdb, transfer *to) noexcept nogil
    cdef int read(self, const transfer *what, void *buffer) noexcept nogil
    cdef int write(self, const transfer *what, const void *buffer) noexcept nogil
