"""QEMU's ``-netdev stream`` over unix sockets, as its server or as its client."""

import errno
import os
import socket
import time

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from vsw.datapath.source cimport VSW_SLACK, vsw_burst
from vsw.ports.base cimport Port, vsw_live, vsw_out, vsw_slots

from vsw.errors import UsageError
from vsw.ports.sockets import claim, name_of

cdef extern from "vsw/ports/stream.h" nogil:
    enum:
        VSW_STREAM_LONGEST
    size_t VSW_STREAM_ROOM
    ctypedef struct vsw_backlog:
        void *bytes
    ctypedef struct vsw_stream:
        vsw_live live
        vsw_backlog backlog
        uint8_t *bytes
        uint32_t announced
        int error
    int vsw_backlog_init(vsw_backlog *b)
    void vsw_stream_reset(vsw_stream *s)
    uint32_t vsw_stream_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    void vsw_stream_release(vsw_live *self)
    void vsw_stream_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count)

#: Seconds between two attempts to reach a server that is not there.
RETRY = 0.25
ROLES = ("server", "client")


cdef class StreamPort(Port):
    """A port at ``path``: as ``server`` it waits there for one guest at a time (QEMU: ``server=off``), as ``client`` it connects (``server=on``).

    A connection that ends is waited for, or tried again.  A peer that announces a frame longer than 69,632 bytes is disconnected.
    Raises :class:`~vsw.errors.UsageError` if another process uses ``path``, OSError if it can't be made.
    """

    type = "stream"
    cdef readonly str path
    cdef readonly str role
    cdef object listener
    cdef object connection

    def __cinit__(self, *arguments, **options):
        cdef vsw_live *live = self._own(sizeof(vsw_stream))
        live.receive = vsw_stream_receive
        live.release = vsw_stream_release
        live.transmit = vsw_stream_transmit

    def __init__(self, str name, *, str path, str role="server"):
        super().__init__(name)
        cdef vsw_stream *s = <vsw_stream *>self.live
        if role not in ROLES:
            raise UsageError(f"role is {' or '.join(ROLES)}, not {role!r}")
        self.path = name_of(path)
        self.role = role
        s.bytes = <uint8_t *>calloc(1, VSW_STREAM_ROOM + 2 * VSW_SLACK)
        if s.bytes == NULL or not vsw_backlog_init(&s.backlog):
            raise MemoryError
        if role == "server":
            self.listener = claim(path, socket.SOCK_STREAM)
            self.listener.listen(16)
        self.service()

    def __dealloc__(self):
        cdef vsw_stream *s = <vsw_stream *>self.live
        free(s.bytes)
        free(s.backlog.bytes)

    cpdef int control_fd(self):
        return self.listener.fileno() if self.listener is not None and self.connection is None else -1

    cpdef service(self):
        """Take leave of a peer that has gone, and look for the next."""
        self.live.attention = 0
        self.retry_at = None
        if self.live.link:
            return
        self._hang_up()
        if self.listener is not None:
            try:
                found, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
        else:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                found.connect(self.path)
            except OSError as error:
                found.close()
                self.retry_at = time.monotonic() + RETRY
                if error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
                    self.log(f"can't connect to {self.path}: {error.strerror}")
                return
        found.setblocking(False)
        self.connection = found
        self.live.rx_fd = self.live.tx_fd = found.fileno()
        self.live.link = 1

    cdef _hang_up(self):
        cdef vsw_stream *s = <vsw_stream *>self.live
        if self.connection is None:
            return
        if s.announced:
            self.log(f"the peer announced a frame of {s.announced} bytes, at most {VSW_STREAM_LONGEST} are possible: disconnected")
        elif s.error:
            self.log(f"the connection broke: {os.strerror(s.error)}")
        else:
            self.log("the peer closed the connection")
        vsw_stream_reset(s)
        self.connection.close()
        self.connection = None
        self.live.rx_fd = self.live.tx_fd = -1

    cpdef _close(self):
        vsw_stream_reset(<vsw_stream *>self.live)
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        if self.listener is not None:
            self.listener.close()
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass  # somebody tidied up

    def describe(self):
        return f"stream {self.path}, {self.role}"
