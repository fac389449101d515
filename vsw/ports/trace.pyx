"""The tracer: a port that remembers the last frames that went through the port inside."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport Port, vsw_live, vsw_out, vsw_slots
from vsw.ports.wrap cimport Wrapper, vsw_wrap

cdef extern from "vsw/ports/trace.h" nogil:
    enum:
        VSW_TRACE_KEPT
        VSW_TRACE_BYTES
    ctypedef struct vsw_traced:
        int64_t time
        uint32_t length
        uint32_t bytes
        uint8_t *data
    ctypedef struct vsw_trace:
        vsw_wrap wrap
        uint64_t *count
        vsw_traced kept[2][256]
    uint32_t vsw_trace_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    void vsw_trace_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count)

#: Frames that are kept of each direction, and bytes of each.
KEPT, BYTES = VSW_TRACE_KEPT, VSW_TRACE_BYTES


cdef class TracePort(Wrapper):
    """A port that is ``inner``, and whose :meth:`events` tells what went through it lately."""

    type = "trace"

    def __cinit__(self, *arguments, **options):
        self._own(sizeof(vsw_trace))

    def __init__(self, Port inner):
        super().__init__(inner.name)
        self.wrap(inner)
        self.live.receive = vsw_trace_receive
        self.live.transmit = vsw_trace_transmit

    def events(self):
        """The last 256 frames of each direction, the oldest first: (ns of the monotonic clock, "in" or "out", length, first 128 bytes).

        While the port is in a loop the loop has to be quiet.
        """
        cdef vsw_trace *t = <vsw_trace *>self.live
        cdef vsw_traced *one
        cdef uint64_t i, count
        cdef int way
        found = []
        for way in range(2):
            count = t.count[way]
            for i in range(count - min(count, <uint64_t>VSW_TRACE_KEPT), count):
                one = &t.kept[way][i % VSW_TRACE_KEPT]
                found.append((one.time, "in" if way == 0 else "out", one.length, (<const char *>one.data)[:one.bytes]))
        return sorted(found, key=lambda event: event[0])
