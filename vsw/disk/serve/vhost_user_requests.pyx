"""The threads that serve a disk's virtqueues, and how bytes get between a block backend and a guest's buffers.

One thread a ring: it sleeps until the guest kicks, takes a chain, does the request, gives the chain back, and so on in order. Plain reads and writes
need no GIL. A buffer in one piece is read and written where it lies in the guest's memory; a request in many pieces goes through the
worker's own buffer, for one system call instead of many.
"""

from libc.stdlib cimport free, malloc

from ...virtio.ring cimport (
    Kicks, Ring, vsw_chain_read, vsw_chain_take, vsw_chain_write, vsw_ring_enter, vsw_ring_head, vsw_ring_leave, vsw_ring_sleep, vsw_ring_sound,
    vsw_ring_waiting, vsw_ring_wake, vsw_segment, vsw_used_call, vsw_used_publish, vsw_used_put,
)

cdef extern from "vsw/virtio/ring.h" nogil:
    bint vsw_ring_closing(vsw_ring *ring) noexcept

cdef enum:
    ALIGNMENT = 4096        # of the worker's buffer: what O_DIRECT may ask for


cdef extern from *:
    """
    #include <errno.h>
    #include <stdlib.h>
    """
    int ECANCELED
    int posix_memalign(void **memory, size_t alignment, size_t size) nogil


cdef class Requests:
    """What a device does with its requests; subclasses override ``serve``."""

    cdef uint32_t serve(self, uint32_t number, vsw_ring *ring, vsw_chain *chain, unsigned char *bounce) noexcept nogil:
        return 0

    def run(self, Ring ring not None, Kicks kicks not None, uint32_t number):
        """Serve ring ``number`` until :meth:`end`; a thread's whole life."""
        cdef vsw_chain *chain = <vsw_chain *>malloc(sizeof(vsw_chain))
        cdef void *bounce = NULL
        if posix_memalign(&bounce, ALIGNMENT, BOUNCE) != 0:
            bounce = NULL
        if chain == NULL or bounce == NULL:
            free(chain)
            free(bounce)
            raise MemoryError
        with nogil:
            self.work(ring.ring, kicks, number, chain, <unsigned char *>bounce)
        free(chain)
        free(bounce)

    cdef void work(self, vsw_ring *ring, Kicks kicks, uint32_t number, vsw_chain *chain, unsigned char *bounce) noexcept nogil:
        cdef uint32_t written
        cdef bint quiet
        while not self.ending:
            if not vsw_ring_enter(ring):
                kicks.wait(-1)
                continue
            if vsw_ring_waiting(ring) == 0:
                quiet = vsw_ring_sleep(ring)
                vsw_ring_leave(ring)
                if quiet:
                    kicks.wait(-1)
                continue
            vsw_ring_wake(ring)
            if vsw_chain_take(ring, vsw_ring_head(ring, 0), chain):
                written = self.serve(number, ring, chain, bounce)
                if vsw_ring_sound(ring):
                    ring.next_available += 1
                    vsw_used_put(ring, 0, chain.head, written)
                    vsw_used_publish(ring, 1)
                    vsw_used_call(ring)
            vsw_ring_leave(ring)

    def end(self):
        """Let the threads end when they wake next."""
        self.ending = 1


cdef vsw_segment *in_one_piece(vsw_chain *chain, uint32_t first, uint32_t stop, uint64_t *at, uint64_t length) noexcept nogil:
    """The segment in which all of it lies, with ``at`` within it; ``NULL`` if it lies in several."""
    cdef uint32_t i
    for i in range(first, stop):
        if at[0] < chain.segment[i].length:
            return &chain.segment[i] if length <= chain.segment[i].length - at[0] else NULL
        at[0] -= chain.segment[i].length
    return NULL


cdef int read_into_chain(
    Direct door, long long offset, vsw_ring *ring, vsw_chain *chain, uint64_t at, uint64_t length, unsigned char *bounce
) noexcept nogil:
    cdef uint64_t within = at
    cdef uint64_t step
    cdef int code = 0
    cdef vsw_segment *whole = in_one_piece(chain, chain.readable, chain.count, &within, length)
    if whole != NULL and length <= BOUNCE:
        return door.read(offset, whole.data + within, <size_t>length)
    while length and code == 0:
        if vsw_ring_closing(ring):
            return -ECANCELED
        step = length if length < BOUNCE else BOUNCE
        code = door.read(offset, bounce, <size_t>step)
        if code == 0:
            vsw_chain_write(chain, at, bounce, <size_t>step)
        at += step
        offset += <long long>step
        length -= step
    return code


cdef int write_from_chain(
    Direct door, long long offset, vsw_ring *ring, vsw_chain *chain, uint64_t at, uint64_t length, bint fua, unsigned char *bounce
) noexcept nogil:
    cdef uint64_t within = at
    cdef uint64_t step
    cdef int code = 0
    cdef vsw_segment *whole = in_one_piece(chain, 0, chain.readable, &within, length)
    if whole != NULL and length <= BOUNCE:
        return door.write(offset, whole.data + within, <size_t>length, fua)
    while length and code == 0:
        if vsw_ring_closing(ring):
            return -ECANCELED
        step = length if length < BOUNCE else BOUNCE
        vsw_chain_read(chain, at, bounce, <size_t>step)
        code = door.write(offset, bounce, <size_t>step, fua)
        at += step
        offset += <long long>step
        length -= step
    return code
