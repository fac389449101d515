"""A live port, as Python holds it.

The run loop calls the C structure behind it (``port.h`` has the contract).  What is slow or rare is here: opening, closing, waiting for a peer.
:meth:`Port.read` and :meth:`Port.write` go by the same C functions, for tests and for programs that hold a port without a loop.

Thread-safety: the methods of a port in a loop are called by the loop's owner only, while the loop is quiet; counters may be read at any time.
"""

import logging
import select
import time

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from vsw.datapath.source cimport VSW_BURST, vsw_burst

from vsw.errors import UsageError
from vsw.ports.reasons import PortDrop

cdef extern from "vsw/datapath/state.h" nogil:
    enum:
        VSW_MAX_TAGS

cdef enum:
    ADDRESSES = 12
    HEADER = 14
    TAG = 4


LOG = logging.getLogger("vsw.ports")


cdef class Port:
    """What all types of live ports share.

    ``name`` is what messages call it (``host/switch/port`` in a running switch).  A port is open when its constructor returns, or the constructor
    raises OSError or :class:`~vsw.errors.UsageError` that names the thing and the remedy.  A context manager: it closes the port.

    ``retry_at`` (seconds of ``time.monotonic()``, or None) is when :meth:`service` wants to be called though nothing happened.  ``timed``: the port
    uses ``due`` of its C structure.
    """

    #: The word for this type in a topology (``attach = { type = ... }``).
    type = "port"

    def __cinit__(self, *arguments, **options):
        self.live = NULL
        self._burst = NULL
        self._slots.base = NULL

    def __init__(self, str name):
        self.name = name

    def __dealloc__(self):
        free(self._burst)
        free(self._slots.base)
        free(self.live)

    cdef vsw_live *_own(self, size_t size) except NULL:
        self.live = <vsw_live *>calloc(1, size)
        if self.live == NULL:
            raise MemoryError
        vsw_live_init(self.live)
        return self.live

    # ---- what a type may override ----

    cpdef int control_fd(self):
        """A descriptor that is readable when :meth:`service` has something to do (somebody connects ...), or -1.  Asked again after each service."""
        return -1

    cpdef service(self):
        """Look after what workers can't: accept, connect again, read a protocol's messages.  Never blocks; the loop is quiet meanwhile."""
        self.live.attention = 0
        self.retry_at = None

    cpdef _close(self):
        """Give back descriptors and memory; called once."""

    def describe(self):
        """What the port is attached to, in a few words."""
        return self.type

    def log(self, message):
        """Say what happened at the port in the log ``vsw.ports``: once a second at most, whatever the other side does."""
        now = time.monotonic()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} messages before this one were left out)" if self._unsaid else ""
        self._quiet_until = now + 1
        self._unsaid = 0
        LOG.warning("%s: %s%s", self.name, message, more)

    # ---- for everybody ----

    def close(self):
        """Close the port; more than once does nothing."""
        if not self.closed:
            self.closed = True
            self._close()
            self.live.rx_fd = self.live.tx_fd = -1
            self.live.link = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def __repr__(self):
        return f"<{type(self).__name__} {self.name}: {self.describe()}{', closed' if self.closed else ''}>"

    @property
    def link(self):
        """Whether somebody is on the other side."""
        return bool(self.live.link)

    @property
    def attention(self):
        """Whether :meth:`service` is wanted."""
        return bool(self.live.attention)

    @property
    def blocked(self):
        """Whether copies wait in the backlog for the other side."""
        return bool(self.live.blocked)

    @property
    def shortest(self):
        """Bytes to which frames are padded that leave here."""
        return self.live.shortest

    def counters(self):
        """What the port itself counts: ``rx_frames``, ``rx_bytes``, ``tx_frames``, ``tx_bytes``; ``drops`` {reason: frames}, without zeros.

        ``rx_cut_frames``, ``rx_cut_bytes``, ``tx_joined_frames``, ``tx_joined_bytes``: what a guest counts less, whose segments were cut, and which
        was given such.
        """
        cdef vsw_live_counters *n = &self.live.counters
        drops = {reason.name.lower(): n.drops[<int>reason] for reason in PortDrop if n.drops[<int>reason]}
        return {
            "rx_frames": n.rx_frames,
            "rx_bytes": n.rx_bytes,
            "tx_frames": n.tx_frames,
            "tx_bytes": n.tx_bytes,
            "rx_cut_frames": n.rx_cut_frames,
            "rx_cut_bytes": n.rx_cut_bytes,
            "tx_joined_frames": n.tx_joined_frames,
            "tx_joined_bytes": n.tx_joined_bytes,
            "drops": drops,
        }

    def queues(self):
        """What each queue pair of the other side's card has carried, where it has such: ``{"sent": ..., "received": ...}`` as its guest sees it."""
        return []

    def _check_open(self):
        if self.closed:
            raise UsageError(f"{self.name} is closed")

    def read(self, uint32_t limit=VSW_BURST):
        """Frames that have come in, at most ``limit`` (1 to 256): a list of bytes, empty if there are none now."""
        cdef uint32_t count, i
        self._check_open()
        if not 1 <= limit <= VSW_BURST:
            raise UsageError(f"limit is 1 to {VSW_BURST}, not {limit}")
        if self._burst == NULL:
            self._burst = <vsw_burst *>calloc(1, sizeof(vsw_burst))
            self._slots.base = <uint8_t *>calloc(1, VSW_SLOTS_SIZE)
            if self._burst == NULL or self._slots.base == NULL:
                raise MemoryError
        self.live.now = time.monotonic_ns()
        with nogil:
            self.live.disarm(self.live)
            count = self.live.receive(self.live, self._burst, 0, limit, &self._slots)
        frames = [(<const char *>self._burst.data[i])[:self._burst.captured[i]] for i in range(count)]
        self.live.release(self.live)
        return frames

    def write(self, frames, tags=(), uint8_t body_at=ADDRESSES):
        """Send frames (bytes-like, at least 14 bytes each): addresses, ``tags`` (pairs of TPID and TCI, at most 3), and bytes from ``body_at`` on.

        With no frames: try again to send what waits in the backlog.
        """
        cdef vsw_out out[VSW_BURST]
        cdef const vsw_out *pointers[VSW_BURST]
        cdef const uint8_t[::1] view
        cdef uint32_t count = 0
        self._check_open()
        held = [bytes(frame) for frame in frames]
        if len(tags) > VSW_MAX_TAGS:
            raise UsageError(f"a copy has at most {VSW_MAX_TAGS} tags, not {len(tags)}")
        for frame in held:
            if len(frame) < max(HEADER, body_at):
                raise UsageError(f"a frame has {max(HEADER, body_at)} bytes or more, not {len(frame)}")
        if not held:
            self._transmit(NULL, 0)
        for frame in held:
            view = frame
            memset(&out[count], 0, sizeof(vsw_out))
            out[count].copy.body_at = body_at
            out[count].copy.length = <uint32_t>(len(frame) - body_at + ADDRESSES + TAG * len(tags))
            out[count].copy.tags = <uint8_t>len(tags)
            for i, (tpid, tci) in enumerate(tags):
                out[count].copy.tag[<int>i].tpid = tpid
                out[count].copy.tag[<int>i].tci = tci
            out[count].data = &view[0]
            out[count].captured = <uint32_t>len(frame)
            out[count].time = time.monotonic_ns()
            pointers[count] = &out[count]
            count += 1
            if count == VSW_BURST:
                self._transmit(pointers, count)
                count = 0
        if count:
            self._transmit(pointers, count)

    cdef _transmit(self, const vsw_out **out, uint32_t count):
        self.live.now = time.monotonic_ns()
        with nogil:
            pthread_mutex_lock(&self.live.lock)
            self.live.transmit(self.live, out, count)
            pthread_mutex_unlock(&self.live.lock)

    def wait(self, timeout):
        """Sleep until a frame comes, the backlog may go on or :meth:`service` is wanted, at most ``timeout`` seconds; whether something happened."""
        self._check_open()
        if self.live.arm(self.live):
            return True
        poller = select.poll()
        if self.live.rx_fd >= 0:
            poller.register(self.live.rx_fd, select.POLLIN)
        if self.live.blocked and self.live.tx_fd >= 0:
            poller.register(self.live.tx_fd, select.POLLOUT | (select.POLLIN if self.live.tx_fd == self.live.rx_fd else 0))
        if self.control_fd() >= 0:
            poller.register(self.control_fd(), select.POLLIN)
        return bool(poller.poll(timeout * 1000))
