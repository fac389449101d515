"""The run loop, as Python holds it: workers that switch between live ports, without the GIL.

The loop itself is ``loop.h``.  It is the source and the sink of the datapath's own workers: a live switch has the pipeline, the tables and the
counters of a replay.
"""

import os
import threading

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from vsw.datapath.pipeline cimport Datapath, vsw_copy, vsw_sink
from vsw.datapath.source cimport FrameReader, vsw_burst, vsw_source
from vsw.ports.base cimport VSW_SLOTS_SIZE, Port, vsw_live, vsw_slots

from vsw.datapath.pipeline import FOREVER
from vsw.errors import UsageError

cdef extern from "vsw/host/loop.h" nogil:
    uint32_t VSW_MAX_PORTS
    uint32_t VSW_LOOP_END
    uint64_t VSW_WAKE
    enum:
        EPOLLIN
        EPOLL_CTL_ADD
    ctypedef struct vsw_member:
        vsw_live *live
        vsw_looper *home
        uint32_t watched
        uint64_t nobody
    ctypedef struct vsw_loop:
        vsw_member *members
        uint32_t closed
        uint32_t stop
        int service
        int64_t spin
    ctypedef struct vsw_looper:
        vsw_source source
        vsw_sink sink
        vsw_loop *loop
        vsw_slots slots
        uint32_t inside
        int epoll
        int wake
        uint32_t active_count
        uint32_t timed_count
        uint64_t bursts
        uint64_t sleeps
        uint16_t *timed
        uint32_t *first
    void vsw_loop_epoll(const vsw_looper *l, int operation, int fd, uint32_t events, uint64_t data)
    void vsw_loop_watch(vsw_loop *loop, uint32_t number)
    void vsw_loop_unwatch(vsw_loop *loop, uint32_t number)
    void vsw_loop_forget(vsw_loop *loop, uint32_t number)
    void vsw_loop_write(int event)
    int64_t vsw_loop_clock()
    int vsw_loop_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time)
    uint32_t vsw_loop_next(vsw_source *source, vsw_burst *b, uint32_t limit)
    void vsw_gate_close(uint32_t *closed)
    void vsw_gate_wait(const uint32_t *inside)
    void vsw_gate_open(uint32_t *closed)

#: Seconds for which a port is polled in vain, at least; and the most that this may be.
SPIN = 20e-6
WIDEST_SPIN = 1.0
_ALL = (1 << 64) - 1


def vsw_clock():
    """The clock of live frames: nanoseconds of the monotonic clock."""
    return vsw_loop_clock()


cdef class Looper(FrameReader):
    """One worker's share of the loop: what its datapath worker reads from and writes to."""

    cdef vsw_looper *looper

    def __cinit__(self):
        self.looper = <vsw_looper *>calloc(1, sizeof(vsw_looper))
        if self.looper == NULL:
            raise MemoryError
        self.looper.epoll = self.looper.wake = -1

    cdef begin(self, vsw_loop *loop):
        cdef vsw_looper *one = self.looper
        cdef uint32_t i
        one.loop = loop
        one.slots.base = <uint8_t *>calloc(1, VSW_SLOTS_SIZE)
        if one.slots.base == NULL:
            raise MemoryError
        one.source.next = vsw_loop_next
        one.source.interfaces = 1
        one.sink.copy = vsw_loop_copy
        for i in range(VSW_MAX_PORTS):
            one.first[i] = VSW_LOOP_END
        one.epoll = os_epoll()
        one.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        vsw_loop_epoll(one, EPOLL_CTL_ADD, one.wake, EPOLLIN, VSW_WAKE)
        self.source = &one.source

    def __dealloc__(self):
        if self.looper == NULL:
            return
        if self.looper.epoll >= 0:
            close(self.looper.epoll)
        if self.looper.wake >= 0:
            close(self.looper.wake)
        free(self.looper.slots.base)
        free(self.looper)

    def check(self):
        """A live source does not fail."""


cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef extern from "sys/epoll.h" nogil:
    int EPOLL_CLOEXEC
    int epoll_create1(int flags)


cdef int os_epoll() except -1:
    cdef int fd = epoll_create1(EPOLL_CLOEXEC)
    if fd < 0:
        raise OSError("no descriptor is left for the run loop: raise the limit of open files (ulimit -n)")
    return fd


class Quiet:
    """A context: no worker is between receiving frames and sending them."""

    def __init__(self, loop):
        self._loop = loop

    def __enter__(self):
        self._loop._close()

    def __exit__(self, kind, value, trace):
        self._loop._open()


cdef class Loop:
    """Live ports around a datapath, served by ``workers`` threads.

    :meth:`start` and :meth:`stop` may be called again and again; ports may be attached and detached at any time.  ``spin`` is how long a port is
    polled in vain before it is left to notifications, in seconds; up to eight times that where frames come soon afterwards.  ``service_fd`` is
    readable when a port wants :meth:`service`.

    Thread-safety: all methods may be called from any thread but the workers.
    """

    cdef vsw_loop loop
    cdef readonly Datapath datapath
    cdef list loopers
    cdef list workers
    cdef list threads
    cdef dict ports
    cdef object lock
    cdef object identity
    cdef uint32_t depth                 # of contexts that are open
    cdef readonly bint running
    #: What ended a worker that was not told to end: an exception, or None.
    cdef readonly object failure

    def __cinit__(self, *arguments, **options):
        self.loop.service = -1
        self.loop.members = <vsw_member *>calloc(VSW_MAX_PORTS, sizeof(vsw_member))
        if self.loop.members == NULL:
            raise MemoryError

    def __init__(self, Datapath datapath, *, int workers=1, double spin=SPIN):
        if not 1 <= workers <= 256:
            raise UsageError(f"a loop has 1 to 256 workers, not {workers}")
        if not 0 <= spin <= WIDEST_SPIN:
            raise UsageError(f"a port is polled in vain for 0 to {WIDEST_SPIN:g} s, not {spin:g} s")
        self.datapath = datapath
        self.lock = threading.RLock()
        self.ports = {}
        self.identity = np.arange(VSW_MAX_PORTS, dtype=np.uint16)
        self.loop.service = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.loop.spin = <int64_t>(spin * 1e9)
        self.loopers = []
        self.workers = []
        self.threads = []
        for _ in range(workers):
            self._add_looper()

    cdef _add_looper(self):
        cdef Looper looper = Looper.__new__(Looper)
        looper.begin(&self.loop)
        self.loopers.append(looper)

    def __dealloc__(self):
        if self.loop.service >= 0:
            close(self.loop.service)
        free(self.loop.members)

    # ---- quiet ----

    def quiet(self):
        """A context manager: while it is open no worker touches a port; frames wait where they are."""
        return Quiet(self)

    def _close(self):
        cdef Looper looper
        cdef uint32_t *inside
        self.lock.acquire()
        self.depth += 1
        if self.depth > 1:
            return
        vsw_gate_close(&self.loop.closed)
        for looper in self.loopers:
            inside = &looper.looper.inside
            with nogil:
                vsw_gate_wait(inside)

    def _open(self):
        self.depth -= 1
        if self.depth == 0:
            vsw_gate_open(&self.loop.closed)
        self.lock.release()

    # ---- ports ----

    def attach(self, int number, Port port):
        """Attach an open port to the switch's port of that number; what was attached there is detached and returned (None: nothing was)."""
        if not 0 <= number < VSW_MAX_PORTS:
            raise UsageError(f"a port's number is 0 to {VSW_MAX_PORTS - 1}, not {number}")
        with self.quiet():
            previous = self.detach(number)
            self.ports[number] = port
            self.loop.members[number].live = port.live
            self._settle(number, self._least())
        return previous

    def detach(self, int number):
        """Detach and return what is attached to the switch's port of that number (None: nothing is); it stays open."""
        with self.quiet():
            port = self.ports.pop(number, None)
            if port is not None:
                vsw_loop_forget(&self.loop, number)
                self.loop.members[number].live = NULL
        return port

    cdef _settle(self, int number, Looper looper):
        """Give the port a home; the loop is quiet."""
        cdef vsw_member *m = self.loop.members + number
        cdef Port port = self.ports[number]
        vsw_loop_forget(&self.loop, number)
        m.home = looper.looper
        if port.timed:
            looper.looper.timed[looper.looper.timed_count] = number
            looper.looper.timed_count += 1
        vsw_loop_watch(&self.loop, number)

    cdef Looper _least(self):
        """The looper that has the fewest ports; the first one if frames have to be taken in one order."""
        cdef Looper looper, least = self.loopers[0]
        cdef uint32_t i, homes
        if self.datapath.stateful or len(self.loopers) == 1:
            return least
        counts = []
        for looper in self.loopers:
            homes = 0
            for i in range(VSW_MAX_PORTS):
                homes += self.loop.members[i].home == looper.looper
            counts.append(homes)
        return self.loopers[counts.index(min(counts))]

    def gather(self):
        """Bring all ports to one worker where frames change what later frames meet, or spread them again; after the tables have changed."""
        with self.quiet():
            for number in list(self.ports):
                vsw_loop_forget(&self.loop, number)
            for number in list(self.ports):
                self._settle(number, self._least())

    def port(self, int number):
        """What is attached to the switch's port of that number, or None."""
        return self.ports.get(number)

    def attached(self):
        """All of it: {number: port}, a copy."""
        with self.lock:
            return dict(self.ports)

    def nobody(self, int number):
        """Copies that the switch had for a port to which nothing is attached."""
        return self.loop.members[number].nobody

    @property
    def service_fd(self):
        """Readable when some port wants :meth:`service`."""
        return self.loop.service

    def service(self, int number):
        """Call :meth:`~vsw.ports.base.Port.service` of what is attached there; the loop is quiet meanwhile.  Whether its link changed."""
        with self.quiet():
            port = self.ports.get(number)
            if port is None:
                return False
            before = port.link
            vsw_loop_unwatch(&self.loop, number)
            try:
                port.service()
            finally:
                vsw_loop_watch(&self.loop, number)
            return port.link != before

    # ---- workers ----

    def start(self):
        """Start the workers."""
        cdef Looper looper
        with self.lock:
            if self.running:
                return
            self.running = True
            self.failure = None
            self.loop.stop = 0
            for index, looper in enumerate(self.loopers):
                worker = self.datapath.worker()
                worker.start(looper, interface_ports=self.identity, sink=<uintptr_t>&looper.looper.sink)
                thread = threading.Thread(target=self._work, args=(worker,), name=f"vsw-worker-{index}", daemon=True)
                self.workers.append(worker)
                self.threads.append(thread)
            for thread in self.threads:
                thread.start()

    def _work(self, worker):
        try:
            while not self.loop.stop:
                worker.run(_ALL, FOREVER, 256)
        except BaseException as error:
            # Whoever looks after the loop is told.
            self.failure = error
            vsw_loop_write(self.loop.service)

    def stop(self):
        """Stop the workers; frames that they have taken are finished, others wait where they are."""
        cdef Looper looper
        with self.lock:
            if not self.running:
                return
            self.running = False
            self.loop.stop = 1
            for looper in self.loopers:
                vsw_loop_write(looper.looper.wake)
            threads, self.threads = self.threads, []
            workers, self.workers = self.workers, []
        for thread in threads:
            thread.join()
        for worker in workers:
            self.datapath.retire(worker)

    def __len__(self):
        return len(self.loopers)

    def statistics(self):
        """For each worker: ``bursts``, ``sleeps``, ``active`` (ports that it polls now)."""
        cdef Looper looper
        found = []
        for looper in self.loopers:
            found.append({"bursts": looper.looper.bursts, "sleeps": looper.looper.sleeps, "active": looper.looper.active_count})
        return found
