"""Captures of a running switch: a port that writes down what comes in by the port inside, as pcapng, to a file or a FIFO.

The interface is called ``host/switch/port``: a replay through the same topology knows where each frame came in.
"""

import errno
import os
import select
import stat
import threading

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport Port, vsw_live, vsw_slots
from vsw.ports.wrap cimport Wrapper, vsw_wrap

from vsw.capture.writer import pcapng_header

cdef extern from "unistd.h" nogil:
    ssize_t c_write "write"(int fd, const void *bytes, size_t count)

cdef extern from "errno.h" nogil:
    int c_errno "errno"

cdef extern from "vsw/ports/capture_port.h" nogil:
    uint64_t VSW_CAPTURE_ROOM
    ctypedef struct vsw_capture_port:
        vsw_wrap wrap
        uint8_t *bytes
        uint64_t head
        uint64_t tail
        uint64_t frames
        uint64_t missed
    uint32_t vsw_capture_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    const uint8_t *vsw_capture_waiting(const vsw_capture_port *c, uint64_t *count)
    void vsw_capture_written(vsw_capture_port *c, uint64_t count)

#: Seconds between two looks at what waits to be written, and at whether a FIFO has a reader.
TICK = 0.02
#: Seconds that a reader of a FIFO is given at the end.
PATIENCE = 2.0


cdef class CapturePort(Wrapper):
    """A port that is ``inner``, and writes what comes in to ``path``.

    A file is there from the beginning, and can be read while it grows.  A FIFO is written when somebody reads it: each reader gets a capture of its
    own from then on, and what comes while nobody reads is left out.  ``missed`` counts frames that came faster than they were read: the switch never
    waits.

    ``problem`` is why writing has ended (disk full ...), or None.
    """

    type = "capture"
    cdef readonly str path
    cdef readonly object problem
    cdef object thread
    cdef object ending
    cdef bytes header
    cdef bint fifo
    cdef int fd

    def __cinit__(self, *arguments, **options):
        self._own(sizeof(vsw_capture_port))
        self.fd = -1

    def __init__(self, Port inner, path):
        super().__init__(inner.name)
        cdef vsw_capture_port *c = <vsw_capture_port *>self.live
        self.path = os.fspath(path)
        self.header = pcapng_header([(inner.name, "what came in by this port")], "vsw run")
        c.bytes = <uint8_t *>malloc(VSW_CAPTURE_ROOM)
        if c.bytes == NULL:
            raise MemoryError
        try:
            self.fifo = stat.S_ISFIFO(os.stat(self.path).st_mode)
        except FileNotFoundError:
            self.fifo = False
        if not self.fifo:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(self.fd, self.header)
            except OSError as error:
                os.close(self.fd)
                raise type(error)(error.errno, error.strerror, self.path) from None
        self.wrap(inner)
        self.live.receive = vsw_capture_receive
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._work, name="vsw-capture", daemon=True)
        self.thread.start()

    def __dealloc__(self):
        free((<vsw_capture_port *>self.live).bytes)

    @property
    def frames(self):
        """Frames that were taken down."""
        return (<vsw_capture_port *>self.live).frames

    @property
    def missed(self):
        """Frames that were left out."""
        return (<vsw_capture_port *>self.live).missed

    def _work(self):
        while not self.ending.is_set():
            self._rest()
            self._turn()
        for _ in range(<int>(PATIENCE / TICK)):
            if self._turn() or self.problem is not None:
                break
            threading.Event().wait(TICK)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _rest(self):
        """Wait a moment; the end of a FIFO's reader is noticed at once, before another can come and find the middle of a record."""
        if self.fd < 0 or not self.fifo:
            self.ending.wait(TICK)
            return
        poller = select.poll()
        poller.register(self.fd, 0)
        if poller.poll(TICK * 1000):
            self._failed(errno.EPIPE)

    def _turn(self):
        """Write what waits; whether nothing waits any more."""
        cdef vsw_capture_port *c = <vsw_capture_port *>self.live
        cdef const uint8_t *waiting
        cdef uint64_t count
        cdef ssize_t put
        cdef int error
        if self.fd < 0 and not self._open():
            # Nobody reads: what waits is old when somebody does.
            self._discard()
            return True
        while True:
            waiting = vsw_capture_waiting(c, &count)
            if waiting == NULL:
                return True
            with nogil:
                put = c_write(self.fd, waiting, count)
                error = c_errno
            if put >= 0:
                vsw_capture_written(c, put)
            elif error == errno.EAGAIN:
                return False
            elif error != errno.EINTR:
                self._failed(error)
                return False

    def _discard(self):
        """What waits ends with a whole record; the next one begins a capture."""
        cdef vsw_capture_port *c = <vsw_capture_port *>self.live
        cdef uint64_t count
        while vsw_capture_waiting(c, &count) != NULL:
            vsw_capture_written(c, count)

    def _open(self):
        if not self.fifo or self.problem is not None:
            return False
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                self.problem = error.strerror
                self.log(f"{self.path}: {error.strerror}")
            return False
        os.write(fd, self.header)
        self.fd = fd
        return True

    def _failed(self, error):
        cdef vsw_capture_port *c = <vsw_capture_port *>self.live
        os.close(self.fd)
        self.fd = -1
        if self.fifo and error == errno.EPIPE:
            self._discard()
            return
        self.problem = os.strerror(error)
        self.log(f"{self.path}: capturing has ended after {c.frames} frames: {self.problem}")

    cpdef _close(self):
        Wrapper._close(self)
        self.ending.set()
        self.thread.join()

    def describe(self):
        return f"{self.inner.describe()}, captured to {self.path}"
