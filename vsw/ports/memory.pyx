"""Memory ports: a pair that is joined like the two ends of a cable.

For tests, for measuring the switch without a kernel in between, and for programs that embed a running switch and exchange frames with it
(:meth:`~vsw.ports.base.Port.read` and :meth:`~vsw.ports.base.Port.write` of the other end).
"""

import os

from libc.stdint cimport uint32_t, uint64_t

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport Port, vsw_live, vsw_out, vsw_slots

from vsw.errors import UsageError

cdef extern from "vsw/ports/memory.h" nogil:
    enum:
        VSW_RECORD
    ctypedef struct vsw_wire:
        int *event
        uint32_t open
    ctypedef struct vsw_memory:
        vsw_live live
        vsw_wire *wire
        uint32_t end
    vsw_wire *vsw_wire_new(uint64_t room, uint64_t frames)
    void vsw_wire_leave(vsw_wire *wire)
    uint32_t vsw_memory_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    void vsw_memory_release(vsw_live *self)
    void vsw_memory_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count)
    uint32_t vsw_memory_arm(vsw_live *self)
    void vsw_memory_disarm(vsw_live *self)

#: Bounds of each direction.
FRAMES = 1024
ROOM = 1 << 20


cdef class MemoryPort(Port):
    """One end of a pair; :func:`memory_pair` makes both."""

    type = "memory"
    cdef MemoryPort other

    def __cinit__(self, *arguments, **options):
        cdef vsw_live *live = self._own(sizeof(vsw_memory))
        live.receive = vsw_memory_receive
        live.release = vsw_memory_release
        live.transmit = vsw_memory_transmit
        live.arm = vsw_memory_arm
        live.disarm = vsw_memory_disarm

    def __dealloc__(self):
        cdef vsw_memory *m = <vsw_memory *>self.live
        if not self.closed and m.wire != NULL:
            vsw_wire_leave(m.wire)

    cdef join(self, vsw_wire *wire, uint32_t end, MemoryPort other):
        cdef vsw_memory *m = <vsw_memory *>self.live
        m.wire = wire
        m.end = end
        wire.event[end] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        wire.open += 1
        self.live.rx_fd = wire.event[end]
        self.live.link = 1
        self.other = other

    cpdef _close(self):
        cdef vsw_memory *m = <vsw_memory *>self.live
        self.other.live.link = 0
        self.other.live.attention = 1
        vsw_wire_leave(m.wire)
        m.wire = NULL

    def describe(self):
        return "memory" if self.other is None else f"memory, joined to {self.other.name}"


def memory_pair(str name, str other, *, frames=FRAMES, room=ROOM):
    """Two ports, each the other's peer.

    ``frames`` and ``room`` (bytes, a power of two; a frame takes 8 more than it has) bound what each direction holds: what does not fit is dropped at
    the sender as ``tx_full``.
    """
    cdef MemoryPort one, two
    cdef vsw_wire *wire
    if frames < 1 or room < 2 * VSW_RECORD or room & (room - 1):
        raise UsageError(f"frames is 1 or more, room a power of two from 16 on, not {frames} and {room}")
    one, two = MemoryPort(name), MemoryPort(other)
    wire = vsw_wire_new(room, frames)
    if wire == NULL:
        raise MemoryError
    one.join(wire, 0, two)
    two.join(wire, 1, one)
    return one, two
