"""A wire between two live ports: what comes in by one leaves by the other, and nothing looks at it.

It is how a physical card is given 1:1 to a virtual one: a packet socket at one end, the guest's card at the other, and no switch between.  A thread
of its own does both directions, in bursts and without the GIL; it sleeps in poll while nothing comes.

Bounds: 256 frames a burst; what the other side can't take now waits in that port's backlog, which the port bounds.  Thread-safety: the ports
belong to the wire from :meth:`Wire.start` until :meth:`Wire.close`, which also closes them; their counters may be read at any time.
"""

import os
import select
import threading
import time

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from vsw.datapath.source cimport VSW_BURST, vsw_burst
from vsw.ports.base cimport VSW_SLOTS_SIZE, Port, pthread_mutex_lock, pthread_mutex_unlock, vsw_live, vsw_out, vsw_slots

cdef enum:
    ADDRESSES = 12
    HEADER = 14
    TURNS = 16

#: Seconds between two looks at ports that did not ask for one.
PATIENCE = 10.0


cdef struct vsw_lane:
    vsw_burst burst
    vsw_slots slots
    vsw_out out[256]
    const vsw_out *list[256]


cdef uint32_t _pass(vsw_lane *lane, vsw_live *from_, vsw_live *to, int64_t now) noexcept nogil:
    """One burst; how many frames it had."""
    cdef uint32_t i, count, outs = 0
    from_.now = now
    count = from_.receive(from_, &lane.burst, 0, VSW_BURST, &lane.slots)
    for i in range(count):
        if lane.burst.captured[i] < HEADER:
            continue
        memset(&lane.out[outs], 0, sizeof(vsw_out))
        lane.out[outs].copy.body_at = ADDRESSES
        lane.out[outs].copy.length = lane.burst.captured[i]
        lane.out[outs].data = lane.burst.data[i]
        lane.out[outs].captured = lane.burst.captured[i]
        lane.out[outs].time = now
        lane.list[outs] = &lane.out[outs]
        outs += 1
    if outs or to.blocked:
        pthread_mutex_lock(&to.lock)
        to.now = now
        to.transmit(to, lane.list, outs)
        pthread_mutex_unlock(&to.lock)
    from_.release(from_)
    return count


cdef class Wire:
    """Two ports, joined.  ``near`` and ``far`` are open; the wire closes them."""

    cdef readonly Port near
    cdef readonly Port far
    cdef vsw_lane *_lane
    cdef object _thread, _wake
    cdef bint _ended

    def __cinit__(self):
        self._lane = <vsw_lane *>calloc(1, sizeof(vsw_lane))
        if self._lane == NULL:
            raise MemoryError
        self._lane.slots.base = <uint8_t *>calloc(1, VSW_SLOTS_SIZE)
        if self._lane.slots.base == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._lane != NULL:
            free(self._lane.slots.base)
            free(self._lane)

    def __init__(self, Port near not None, Port far not None):
        self.near = near
        self.far = far
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = None

    def start(self):
        """Begin to pass frames on."""
        self._thread = threading.Thread(target=self._run, name=f"wire {self.near.name}", daemon=True)
        self._thread.start()
        return self

    def close(self):
        """Stop, and close both ports; more than once does nothing."""
        if self._wake is None:
            return
        self._ended = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake)
        self._wake = None
        self.near.close()
        self.far.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.close()

    def _run(self):
        while not self._ended:
            self._service()
            if not self._turn():
                self._sleep()

    def _service(self):
        now = time.monotonic()
        for port in (self.near, self.far):
            if port.attention or (port.retry_at is not None and now >= port.retry_at):
                port.service()

    cdef bint _turn(self):
        """Pass frames on both ways while there are some; whether there were."""
        cdef vsw_live *near = self.near.live
        cdef vsw_live *far = self.far.live
        cdef int64_t now = time.monotonic_ns()
        cdef uint32_t count
        cdef int _turn
        cdef bint some = False
        with nogil:
            for _turn in range(TURNS):
                count = _pass(self._lane, near, far, now)
                count += _pass(self._lane, far, near, now)
                if count == 0:
                    break
                some = True
        return some

    def _sleep(self):
        """Until a frame comes, a backlog may go on, or a port wants to be looked after."""
        cdef Port port
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        ready = False
        until = time.monotonic() + PATIENCE
        for port in (self.near, self.far):
            ready = bool(port.live.arm(port.live)) or ready
            if port.live.rx_fd >= 0:
                poller.register(port.live.rx_fd, select.POLLIN)
            if port.live.blocked and port.live.tx_fd >= 0:
                poller.register(port.live.tx_fd, select.POLLOUT | (select.POLLIN if port.live.tx_fd == port.live.rx_fd else 0))
            if (control := port.control_fd()) >= 0 and control != port.live.rx_fd:
                poller.register(control, select.POLLIN)
            if port.retry_at is not None:
                until = min(until, port.retry_at)
        events = poller.poll(0 if ready else max(0, (until - time.monotonic()) * 1000))
        for port in (self.near, self.far):
            port.live.disarm(port.live)
            if any(fd == port.control_fd() for fd, _ in events):
                port.service()
