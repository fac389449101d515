"""The switch as other compiled programs call it: no Python between a frame and its copies.

:class:`Entry` is made in Python and called from C; ``entry.pxd`` and ``entry.h`` declare it, docs/reference/c-level.md shows a program.
"""

from libc.stdint cimport INT64_MAX, int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from vsw.datapath.pipeline cimport Datapath, Worker, vsw_columns, vsw_copy, vsw_run_call, vsw_sink, vsw_worker
from vsw.datapath.source cimport VSW_BURST, FrameReader, vsw_burst, vsw_source

from vsw.errors import UsageError

cdef extern from "vsw/switch/entry_state.h" nogil:
    ctypedef struct vsw_entry:
        vsw_source source
        vsw_sink sink
        vsw_worker *worker
        vsw_run_call run
        const uint32_t *closed
        uint32_t roomy
        vsw_leave leave
        void *context
        uint16_t *ports
        uint8_t *verdict
        uint8_t *reason
        uint8_t *normalised
        uint16_t *port_in
        uint16_t *vlan
        int16_t *egress_port
    uint32_t vsw_entry_next(vsw_source *source, vsw_burst *burst, uint32_t limit)
    int vsw_entry_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time)
    void vsw_entry_point(vsw_entry *e, const vsw_offer *offers, uint32_t first, uint32_t count, uint64_t frame)
    void vsw_entry_fates(const vsw_entry *e, vsw_fate *fates, uint32_t count)


cdef class Entry:
    """A way into a switch for one thread of a compiled program.

    ``roomy`` promises that 64 bytes before and after every frame that is offered may be read; forwarding is faster then.  What frames change
    (learned addresses) and what is counted are the switch's.  Of a switch that learns or guards ports against BPDUs there can be one entry at a
    time, and while it is open runs of :meth:`Switch.forward <vsw.Switch.forward>` wait: such frames have one order.  :meth:`close` it, or use it
    as a context manager.

    Raises :class:`~vsw.errors.UsageError` where another entry has such a switch for itself.
    """

    def __cinit__(self):
        self.state = calloc(1, sizeof(vsw_entry))
        if self.state == NULL:
            raise MemoryError

    def __init__(self, switch, roomy=False):
        cdef vsw_entry *entry = <vsw_entry *>self.state
        cdef Worker worker
        cdef Datapath datapath = switch.datapath
        if datapath.stateful:
            lock = datapath.alone()
            if not lock.acquire(blocking=False):
                raise UsageError(f"{switch.module.name} is in use: its frames change what later ones meet, so they have one way in")
            self.lock = lock
        self.switch = switch
        worker = datapath.worker()
        self.worker = worker
        entry.roomy = bool(roomy)
        entry.source.next = <uint32_t (*)(vsw_source *, vsw_burst *, uint32_t) noexcept nogil>vsw_entry_next
        entry.sink.copy = <int (*)(vsw_sink *, const vsw_copy *, const uint8_t *, uint32_t, int64_t) noexcept nogil>vsw_entry_copy
        worker.start(FrameReader.__new__(FrameReader))
        entry.worker = worker.worker
        entry.run = worker.call
        entry.closed = &datapath.closed

    def __dealloc__(self):
        free(self.state)

    cdef uint32_t forward(self, const vsw_offer *offers, uint32_t count, vsw_fate *fates, vsw_leave leave, void *context) noexcept nogil:
        # Returns how many frames were done: `count`, or up to the one whose copy `leave` did not take; 0 once closed.  `fates` and `leave` may be
        # NULL.
        cdef vsw_entry *entry = <vsw_entry *>self.state
        cdef vsw_worker *w = entry.worker
        cdef uint32_t done = 0, share, got
        cdef uint64_t before
        if w == NULL:
            return 0
        entry.leave = leave
        entry.context = context
        w.sink = &entry.sink if leave != NULL else NULL
        while done < count:
            share = count - done if count - done < VSW_BURST else VSW_BURST
            before = w.frame
            vsw_entry_point(entry, offers, done, share, before)
            w.burst.count = 0
            w.ingress = entry.ports
            _rows(entry, &w.columns, fates != NULL)
            entry.run(w, &entry.source, entry.closed, share, VSW_BURST, INT64_MAX)
            got = <uint32_t>(w.frame - before)
            if fates != NULL:
                vsw_entry_fates(entry, fates + done, got)
            done += got
            if got < share:
                break
        return done

    @property
    def is_open(self):
        """Whether frames can still be offered."""
        return self.worker is not None

    def close(self):
        """Hand the counters over to the switch, and let others in.  No frame may be offered afterwards."""
        if self.worker is None:
            return
        self.switch.datapath.retire(self.worker)
        self.worker = None
        (<vsw_entry *>self.state).worker = NULL
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()


cdef void _rows(vsw_entry *entry, vsw_columns *columns, bint wanted) noexcept nogil:
    columns.verdict = entry.verdict if wanted else NULL
    columns.reason = entry.reason
    columns.port_in = entry.port_in
    columns.egress_port = entry.egress_port
    columns.vlan = entry.vlan
    columns.normalised = entry.normalised
