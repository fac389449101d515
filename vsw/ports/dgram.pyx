"""QEMU's ``-netdev dgram`` over unix sockets: every network card that QEMU has can be attached so."""

import errno
import os
import socket
import time

from libc.stdint cimport uint32_t
from libc.stdlib cimport free

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport VSW_DROP_TX_NO_PEER, Port, vsw_live, vsw_out, vsw_slots

from vsw.ports.sockets import claim, name_of

cdef extern from "vsw/ports/dgram.h" nogil:
    ctypedef struct vsw_backlog:
        void *bytes
    ctypedef struct vsw_dgram:
        vsw_live live
        vsw_backlog backlog
    int vsw_backlog_init(vsw_backlog *b)
    void vsw_backlog_drop(vsw_backlog *b, vsw_live *live, uint32_t reason)
    uint32_t vsw_dgram_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    void vsw_dgram_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count)

#: Seconds between two attempts to reach a peer that is not there.
RETRY = 0.25
#: Bytes that the kernel may hold for us in each direction; it takes less where it must.
BUFFER = 4 << 20


cdef class DgramPort(Port):
    """A port at ``path``, which the guest sends to; it listens at ``peer`` itself (QEMU: ``remote.path=path,local.path=peer``).

    The guest may come later, go, and come back.
    Raises :class:`~vsw.errors.UsageError` if another process uses ``path``, OSError if it can't be made.
    """

    type = "dgram"
    cdef readonly str path
    cdef readonly str peer
    cdef object bound
    cdef object connected

    def __cinit__(self, *arguments, **options):
        cdef vsw_live *live = self._own(sizeof(vsw_dgram))
        live.receive = vsw_dgram_receive
        live.transmit = vsw_dgram_transmit

    def __init__(self, str name, *, str path, peer=None):
        super().__init__(name)
        self.path = path
        self.peer = f"{path}.peer" if peer is None else peer
        name_of(self.peer)
        if not vsw_backlog_init(&(<vsw_dgram *>self.live).backlog):
            raise MemoryError
        self.bound = claim(path, socket.SOCK_DGRAM)
        _enlarge(self.bound, socket.SO_RCVBUF)
        self.live.rx_fd = self.bound.fileno()
        self.service()

    def __dealloc__(self):
        free((<vsw_dgram *>self.live).backlog.bytes)

    cpdef service(self):
        """Look whether the guest is there."""
        self.live.attention = 0
        self.retry_at = None
        if self.live.link:
            return
        self._disconnect()
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            one.connect(self.peer)
        except OSError as error:
            one.close()
            self.retry_at = time.monotonic() + RETRY
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                self.log(f"can't reach {self.peer}: {error.strerror}")
            return
        _enlarge(one, socket.SO_SNDBUF)
        self.connected = one
        self.live.tx_fd = one.fileno()
        self.live.link = 1

    cdef _disconnect(self):
        if self.connected is not None:
            self.connected.close()
            self.connected = None
            self.live.tx_fd = -1

    cpdef _close(self):
        vsw_backlog_drop(&(<vsw_dgram *>self.live).backlog, self.live, VSW_DROP_TX_NO_PEER)
        self._disconnect()
        self.bound.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass  # somebody tidied up

    def describe(self):
        return f"dgram {self.path}, guest at {self.peer}"


def _enlarge(one, option):
    try:
        one.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    except OSError:
        pass  # what the kernel grants will do
