"""The control side of a virtqueue: where it lies, when it runs, and what wakes whoever serves it.

A ``Ring`` is made once for each queue of a device and started and stopped as the front end says; the thread that serves it goes through the gate of
``ring.h`` each time it looks, so that ``stop`` returns only when that thread is out.

``Kicks`` gathers what may wake that thread in one epoll instance. The eventfds of the guest's side are watched edge by edge and never read: a
descriptor that somebody else holds too may have been made to block.
"""

from libc.errno cimport errno
from libc.stdlib cimport free
from libc.string cimport memset
from posix.unistd cimport close as close_fd, write

import os

from vsw.virtio.faults import RING_FAULTS, FrontEndError


cdef extern from *:
    """
    #include <stdlib.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    """
    void *aligned_alloc(size_t alignment, size_t size) nogil
    int epoll_create1(int flags) nogil
    int eventfd(unsigned int value, int flags) nogil
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EFD_CLOEXEC, EFD_NONBLOCK
    uint32_t EPOLLIN, EPOLLET
    struct epoll_event:
        uint32_t events
    int epoll_ctl(int epfd, int operation, int fd, epoll_event *event) nogil
    int epoll_wait(int epfd, epoll_event *events, int most, int milliseconds) nogil

cdef extern from "vsw/virtio/memory.h" nogil:
    uint8_t *vsw_user_whole(const vsw_memory *memory, uint64_t address, uint64_t length) noexcept

cdef extern from "vsw/virtio/ring.h" nogil:
    ctypedef struct vsw_used:
        uint16_t index
    ctypedef struct vsw_available:
        pass
    # The fields that only the control side sets.
    ctypedef struct whole_ring "vsw_ring":
        const vsw_memory *memory
        const uint8_t *descriptors
        const vsw_available *available
        vsw_used *used
        uint32_t size
        uint16_t next_available
        uint16_t next_used
        uint16_t called_at
        uint8_t event_idx
        uint8_t indirect
        uint8_t polling
        uint8_t fault
        int call
        int attention
        uint32_t open
    void vsw_ring_shut(vsw_ring *ring) noexcept
    void vsw_ring_open(vsw_ring *ring) noexcept

MOST_ENTRIES = VSW_RING_SIZE_MAX
"""Entries of a ring."""
cdef enum:
    DESCRIPTOR = 16                    # bytes
    USED_ENTRY = 8
    HEAD = 2
    FLAGS_INDEX_EVENT = 6              # bytes of an available or used ring beside its entries
    EVENTS = 16


cdef class Ring:
    """One virtqueue; not running at first. ``attention`` is an eventfd that is written to when the ring fails; it stays the caller's."""

    def __cinit__(self, int attention=-1):
        self.ring = <vsw_ring *>aligned_alloc(64, (sizeof(vsw_ring) + 63) & ~63)
        if self.ring == NULL:
            raise MemoryError
        memset(self.ring, 0, sizeof(vsw_ring))
        (<whole_ring *>self.ring).call = -1
        (<whole_ring *>self.ring).attention = attention

    def __dealloc__(self):
        free(self.ring)
        free(self.chain)

    def start(
        self, Memory memory not None, uint32_t size, uint64_t descriptors, uint64_t available, uint64_t used, *, bint event_idx, bint indirect
    ):
        """Let the ring run: ``size`` entries, whose three parts lie at the front end's virtual addresses.

        Every device here finishes all chains that it took, and in order, so that the used index in memory says where to go on, also
        where a device before this one died. Raises :class:`~vsw.virtio.faults.FrontEndError`.
        """
        cdef whole_ring *ring = <whole_ring *>self.ring
        if ring.open:
            raise FrontEndError("the ring runs already")
        if size == 0 or size > VSW_RING_SIZE_MAX or size & (size - 1):
            raise FrontEndError(f"a ring of {size} entries: it must be a power of two up to {VSW_RING_SIZE_MAX}")
        ring.descriptors = vsw_user_whole(&memory.table, descriptors, <uint64_t>size * DESCRIPTOR)
        ring.available = <const vsw_available *>vsw_user_whole(&memory.table, available, <uint64_t>size * HEAD + FLAGS_INDEX_EVENT)
        ring.used = <vsw_used *>vsw_user_whole(&memory.table, used, <uint64_t>size * USED_ENTRY + FLAGS_INDEX_EVENT)
        if ring.descriptors == NULL or ring.available == NULL or ring.used == NULL:
            raise FrontEndError(f"a ring's parts at {descriptors:#x}, {available:#x} and {used:#x} do not lie in the guest's memory")
        if <size_t>ring.descriptors % 16 or <size_t>ring.available % 2 or <size_t>ring.used % 4:
            raise FrontEndError(f"a ring's parts at {descriptors:#x}, {available:#x} and {used:#x} are not aligned to 16, 2 and 4 bytes")
        ring.memory = &memory.table
        ring.size = size
        ring.next_used = ring.used.index
        ring.next_available = ring.next_used
        ring.called_at = ring.next_used
        ring.event_idx = event_idx
        ring.indirect = indirect
        ring.polling = 0
        ring.fault = 0
        self.memory = memory
        vsw_ring_open(self.ring)

    def stop(self):
        """Wait until nobody is inside, and let go of the memory. Returns the next available index, ``None`` if the ring did not run."""
        if not (<whole_ring *>self.ring).open:
            return None
        with nogil:
            vsw_ring_shut(self.ring)
        self.memory = None
        (<whole_ring *>self.ring).memory = NULL
        return self.ring.next_available

    def set_call(self, int fd):
        """The eventfd that calls the driver, -1 for none. It stays the caller's; when this returns nobody uses the one before."""
        cdef whole_ring *ring = <whole_ring *>self.ring
        cdef uint32_t runs = ring.open
        with nogil:
            vsw_ring_shut(self.ring)
        ring.call = fd
        if runs:
            vsw_ring_open(self.ring)

    def serve(self, handler, uint32_t most=256, size_t largest=1 << 20):
        """Serve chains that wait, at most ``most``, for devices off the fast path; returns how many.

        ``handler(data, room)`` gets a copy of what the driver wrote (``bytes``, at most ``largest``) and how many bytes it may answer; it returns
        them. It runs behind the gate: a ring that is being stopped waits for it. One thread at a time. A handler that raises leaves its
        chain where it is.
        """
        cdef uint32_t count, done = 0
        cdef size_t length, written
        cdef const unsigned char[::1] view
        if self.chain == NULL:
            self.chain = <vsw_chain *>aligned_alloc(64, (sizeof(vsw_chain) + 63) & ~63)
            if self.chain == NULL:
                raise MemoryError
        if not vsw_ring_enter(self.ring):
            return 0
        try:
            count = min(vsw_ring_waiting(self.ring), most)
            while done < count and vsw_chain_take(self.ring, vsw_ring_head(self.ring, 0), self.chain):
                length = <size_t>min(self.chain.readable_bytes, <uint64_t>largest)
                data = bytearray(length)
                if length:
                    vsw_chain_read(self.chain, 0, <char *>data, length)
                answer = handler(bytes(data), self.chain.writable_bytes)
                written = 0
                if len(answer):
                    view = answer
                    written = vsw_chain_write(self.chain, 0, &view[0], view.shape[0])
                if not vsw_ring_sound(self.ring):
                    break
                vsw_used_put(self.ring, 0, self.chain.head, <uint32_t>written)
                self.ring.next_available += 1
                vsw_used_publish(self.ring, 1)
                vsw_used_call(self.ring)
                done += 1
        finally:
            vsw_ring_leave(self.ring)
        return done

    def sleep(self):
        """Ask for a kick with the next chain; false if one came meanwhile. For whoever uses :meth:`serve`."""
        cdef bint quiet = True
        if vsw_ring_enter(self.ring):
            quiet = vsw_ring_sleep(self.ring)
            vsw_ring_leave(self.ring)
        return quiet

    @property
    def running(self):
        return (<whole_ring *>self.ring).open != 0

    @property
    def size(self):
        """Entries, 0 before the ring was first started."""
        return self.ring.size

    @property
    def done(self):
        """Chains that the device has given back so far."""
        return self.ring.done

    @property
    def calls(self):
        """How often the driver was called."""
        return self.ring.calls

    @property
    def fault(self):
        """A sentence that says why the ring is no longer served; empty if it is well."""
        if self.memory is not None and self.memory.broken:
            return RING_FAULTS[VSW_RING_MEMORY]
        return RING_FAULTS[self.ring.fault]


cdef class Kicks:
    """What may wake a device's thread; ``fd`` can be watched by others too."""

    def __cinit__(self):
        self.fd = self.own = -1
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        self.own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.fd < 0 or self.own < 0:
            raise OSError(errno, f"a device's event descriptors: {os.strerror(errno)}")
        self.add(self.own)

    def __dealloc__(self):
        self.close()

    def close(self):
        """Close the descriptors; nobody may be waiting any more."""
        if self.own >= 0:
            close_fd(self.own)
        if self.fd >= 0:
            close_fd(self.fd)
        self.own = self.fd = -1

    def add(self, int fd):
        """Watch an eventfd. It stays the caller's, who calls :meth:`remove` before closing it."""
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN | EPOLLET
        if epoll_ctl(self.fd, EPOLL_CTL_ADD, fd, &event) != 0:
            raise OSError(errno, f"a kick descriptor can't be watched: {os.strerror(errno)}")

    def remove(self, int fd):
        cdef epoll_event event
        epoll_ctl(self.fd, EPOLL_CTL_DEL, fd, &event)

    def wake(self):
        """Wake whoever waits, from any thread."""
        cdef uint64_t one = 1
        if self.own >= 0:
            write(self.own, &one, sizeof(one))

    cdef void drain(self) noexcept nogil:
        """Forget the kicks that were there; before looking at the rings for the last time."""
        cdef epoll_event events[EVENTS]
        while epoll_wait(self.fd, events, EVENTS, 0) == EVENTS:
            pass

    cdef void wait(self, int milliseconds) noexcept nogil:
        """Wait for a kick (-1: as long as it takes) and forget it."""
        cdef epoll_event events[EVENTS]
        epoll_wait(self.fd, events, EVENTS, milliseconds)

    def pause(self, int milliseconds):
        """Wait for a kick, at most so long (-1: as long as it takes). For whoever uses :meth:`Ring.serve`."""
        with nogil:
            self.wait(milliseconds)
