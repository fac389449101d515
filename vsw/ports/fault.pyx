"""The fault injector: a port that loses, repeats, delays, reorders and corrupts what goes through it."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport Port, vsw_live, vsw_out, vsw_slots
from vsw.ports.wrap cimport Wrapper, vsw_wrap

from vsw.errors import UsageError

cdef extern from "vsw/ports/fault.h" nogil:
    double VSW_CERTAIN
    ctypedef struct vsw_faults:
        uint64_t loss
        uint64_t duplicate
        uint64_t corrupt
        uint64_t reorder
        int64_t delay
        int64_t jitter
        int64_t reorder_by
    ctypedef struct vsw_fault_way:
        uint64_t dice
    ctypedef struct vsw_fault:
        vsw_wrap wrap
        vsw_faults faults
        vsw_fault_way way_in "in"
        vsw_fault_way out
    uint32_t vsw_fault_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    void vsw_fault_release(vsw_live *self)
    uint32_t vsw_fault_arm(vsw_live *self)
    void vsw_fault_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count)
    void vsw_fault_end(vsw_fault *f)


cdef class FaultPort(Wrapper):
    """A port that is ``inner`` with a bad cable, both ways.

    ``loss``, ``duplicate``, ``corrupt`` (one bit) and ``reorder`` are probabilities of a frame, 0 to 1.  ``delay`` and ``jitter`` (added evenly, 0 to
    that) are in seconds; a reordered frame waits ``reorder_by`` seconds longer.  The same ``seed`` does the same to the same frames.
    What is lost is counted as ``injected``.  Frames of different delays overtake one another.
    """

    type = "fault"

    def __cinit__(self, *arguments, **options):
        self._own(sizeof(vsw_fault))

    def __init__(self, Port inner, *, loss=0.0, duplicate=0.0, corrupt=0.0, reorder=0.0, delay=0.0, jitter=0.0, reorder_by=0.001, uint64_t seed=0):
        super().__init__(inner.name)
        cdef vsw_fault *f = <vsw_fault *>self.live
        for name, chance in (("loss", loss), ("duplicate", duplicate), ("corrupt", corrupt), ("reorder", reorder)):
            if not 0 <= chance <= 1:
                raise UsageError(f"{name} is a probability from 0 to 1, not {chance}")
        for name, seconds in (("delay", delay), ("jitter", jitter), ("reorder_by", reorder_by)):
            if not 0 <= seconds <= 3600:
                raise UsageError(f"{name} is 0 to 3600 seconds, not {seconds}")
        self.wrap(inner)
        f.faults.loss = <uint64_t>(loss * VSW_CERTAIN)
        f.faults.duplicate = <uint64_t>(duplicate * VSW_CERTAIN)
        f.faults.corrupt = <uint64_t>(corrupt * VSW_CERTAIN)
        f.faults.reorder = <uint64_t>(reorder * VSW_CERTAIN)
        f.faults.delay = <int64_t>(delay * 1e9)
        f.faults.jitter = <int64_t>(jitter * 1e9)
        f.faults.reorder_by = <int64_t>(reorder_by * 1e9)
        f.way_in.dice = 2 * seed
        f.out.dice = 2 * seed + 1
        self.live.receive = vsw_fault_receive
        self.live.release = vsw_fault_release
        self.live.arm = vsw_fault_arm
        self.live.transmit = vsw_fault_transmit
        self.timed = True

    def __dealloc__(self):
        if not self.closed:
            vsw_fault_end(<vsw_fault *>self.live)

    cpdef _close(self):
        vsw_fault_end(<vsw_fault *>self.live)
        Wrapper._close(self)
