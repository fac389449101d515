# ring.pxd: the device's side of a split virtqueue, declared for the devices that serve one.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from vsw.virtio.memory cimport Memory, vsw_memory


cdef extern from "vsw/virtio/ring.h" nogil:
    enum:
        VSW_CHAIN
        VSW_RING_SIZE_MAX
        VSW_RING_WELL
        VSW_RING_RUNAWAY
        VSW_RING_SHAPE
        VSW_RING_MEMORY

    ctypedef struct vsw_ring:
        const vsw_memory *memory
        uint32_t size
        uint16_t next_available
        uint16_t next_used
        uint8_t fault
        uint64_t calls
        uint64_t done

    ctypedef struct vsw_segment:
        uint8_t *data
        uint32_t length

    ctypedef struct vsw_chain:
        uint32_t head
        uint32_t count
        uint32_t readable
        uint64_t readable_bytes
        uint64_t writable_bytes
        vsw_segment *segment

    bint vsw_ring_enter(vsw_ring *ring) noexcept
    void vsw_ring_leave(vsw_ring *ring) noexcept
    uint32_t vsw_ring_fail(vsw_ring *ring, uint8_t fault) noexcept
    bint vsw_ring_sound(vsw_ring *ring) noexcept
    uint32_t vsw_ring_waiting(vsw_ring *ring) noexcept
    uint16_t vsw_ring_head(const vsw_ring *ring, uint32_t ahead) noexcept
    bint vsw_chain_take(vsw_ring *ring, uint32_t head, vsw_chain *chain) noexcept
    size_t vsw_chain_read(const vsw_chain *chain, uint64_t at, void *into, size_t most) noexcept
    size_t vsw_chain_write(const vsw_chain *chain, uint64_t at, const void *source, size_t length) noexcept
    void vsw_used_put(vsw_ring *ring, uint32_t ahead, uint32_t head, uint32_t length) noexcept
    void vsw_used_publish(vsw_ring *ring, uint32_t count) noexcept
    void vsw_used_call(vsw_ring *ring) noexcept
    void vsw_ring_wake(vsw_ring *ring) noexcept
    bint vsw_ring_sleep(vsw_ring *ring) noexcept


cdef class Ring:
    cdef vsw_ring *ring
    cdef object memory                 # keeps the mapping while the ring runs
    cdef vsw_chain *chain              # of serve(), made when it is first called


cdef class Kicks:
    cdef readonly int fd               # an epoll instance: readable when a driver kicked or wake() was called
    cdef int own                       # the eventfd of wake()

    cdef void drain(self) noexcept nogil
    cdef void wait(self, int milliseconds) noexcept nogil
