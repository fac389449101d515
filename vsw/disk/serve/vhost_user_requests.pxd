# Requests of guests in virtqueues: what vhost-user-blk and vhost-user-scsi share.

from libc.stdint cimport uint32_t, uint64_t

from ...virtio.ring cimport Kicks, vsw_chain, vsw_ring
from ..blocks.direct cimport Direct


cdef enum:
    BOUNCE = 1 << 20        # bytes of a worker's own buffer


cdef class Requests:
    cdef uint32_t ending
    # Do one request, whose segments are checked, and say how many bytes were written into the chain. `bounce` has BOUNCE bytes.
    cdef uint32_t serve(self, uint32_t number, vsw_ring *ring, vsw_chain *chain, unsigned char *bounce) noexcept nogil
    cdef void work(self, vsw_ring *ring, Kicks kicks, uint32_t number, vsw_chain *chain, unsigned char *bounce) noexcept nogil


# Move `length` bytes of the disk from byte `offset` on into (or out of) a chain's segments, from byte `at` of what is to be written (read) there.
# 0 or a negative errno; -ECANCELED when the ring is being stopped.
cdef int read_into_chain(Direct door, long long offset, vsw_ring *ring, vsw_chain *chain, uint64_t at, uint64_t length,
                         unsigned char *bounce) noexcept nogil
cdef int write_from_chain(Direct door, long long offset, vsw_ring *ring, vsw_chain *chain, uint64_t at, uint64_t length, bint fua,
                          unsigned char *bounce) noexcept nogil
