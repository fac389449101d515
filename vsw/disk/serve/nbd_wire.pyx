"""One NBD connection's bytes after the handshake: framing, and the compiled way of plain reads and writes.

``Wire.next`` receives until there is something that Python must see, and answers reads and writes before it by itself, without
the GIL, through the backend's compiled door: requests that arrived together are answered by few sends. Whatever carries a flag, is out of
range, fails, or would wait for a device goes up to the session, which does it in its pool of threads.

One thread owns a Wire; it alone receives and sends. Other threads say ``wake`` when they have finished something, which ends a ``next``
that waits, so that a peer which reads slowly holds up its own connection and no thread of the pool.

Numbers on the wire are big-endian; the layout is that of the NBD protocol document ("Transmission phase").
"""

from libc.errno cimport errno, EINTR
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from ..blocks.direct cimport Direct


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <poll.h>
    #include <stdint.h>
    #include <sys/eventfd.h>
    #include <sys/socket.h>
    #include <unistd.h>

    static inline uint32_t vsw_nbd_get_32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
    static inline uint64_t vsw_nbd_get_64(const uint8_t *p) { return (uint64_t)vsw_nbd_get_32(p) << 32 | vsw_nbd_get_32(p + 4); }
    static inline void vsw_nbd_put_16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
    static inline void vsw_nbd_put_32(uint8_t *p, uint32_t v) { vsw_nbd_put_16(p, (uint16_t)(v >> 16)); vsw_nbd_put_16(p + 2, (uint16_t)v); }
    static inline void vsw_nbd_put_64(uint8_t *p, uint64_t v) { vsw_nbd_put_32(p, (uint32_t)(v >> 32)); vsw_nbd_put_32(p + 4, (uint32_t)v); }

    /* Waits until the socket can be read or someone woke us: bit 0 and bit 1; negative errno. The waking is taken. */
    static int vsw_nbd_wait(int fd, int wake) {
        struct pollfd both[2] = {{fd, POLLIN, 0}, {wake, POLLIN, 0}};
        uint64_t times;
        if (poll(both, 2, -1) < 0) return -errno;
        if (both[1].revents && read(wake, &times, sizeof times) < 0 && errno != EAGAIN) return -errno;
        return (both[0].revents ? 1 : 0) | (both[1].revents ? 2 : 0);
    }
    static int vsw_nbd_wake(int wake) {
        uint64_t once = 1;
        return write(wake, &once, sizeof once) < 0 ? -errno : 0;
    }
    """
    uint32_t vsw_nbd_get_32(const uint8_t *p) noexcept nogil
    uint64_t vsw_nbd_get_64(const uint8_t *p) noexcept nogil
    void vsw_nbd_put_16(uint8_t *p, uint16_t v) noexcept nogil
    void vsw_nbd_put_32(uint8_t *p, uint32_t v) noexcept nogil
    void vsw_nbd_put_64(uint8_t *p, uint64_t v) noexcept nogil
    int vsw_nbd_wait(int fd, int wake) noexcept nogil
    int vsw_nbd_wake(int wake) noexcept nogil
    int eventfd(unsigned int initial, int flags) nogil
    int EFD_CLOEXEC, EFD_NONBLOCK
    int close(int fd) nogil
    ssize_t recv(int fd, void *buffer, size_t length, int flags) nogil
    ssize_t c_send "send"(int fd, const void *buffer, size_t length, int flags) nogil
    int MSG_NOSIGNAL


cdef enum:
    HEAD = 28                   # a request
    # Offsets within a request.
    FLAGS = 4
    TYPE = 6
    COOKIE = 8
    OFFSET = 16
    LENGTH = 24
    SIMPLE_HEAD = 16            # a simple reply
    CHUNK_HEAD = 28             # a structured reply chunk of data: its head and the offset
    COMMAND_READ = 0
    COMMAND_WRITE = 1
    FLAG_DF = 4
    CHUNK_DONE = 1
    CHUNK_DATA = 1
    REQUEST_MAGIC = 0x25609513
    SIMPLE_MAGIC = 0x67446698
    CHUNK_MAGIC = 0x668E33EF
    # Sizes.
    MOST_INLINE = 1 << 20       # bytes of a read or write that pass without the session
    RECEIVE_BUFFER = (1 << 20) + 4096
    SEND_BUFFER = (1 << 20) + (256 << 10)
    SEND_EARLY = 64 << 10       # so much waits at most for the requests behind it
    SEND_AFTER = 16             # requests

REQUEST = 0
"""A request for the session: ``command``, ``flags``, ``cookie``, ``offset`` and ``length`` are set; a write's data is for ``take``."""
CLOSED = 1
"""The peer closed the connection, or it broke."""
WOKEN = 2
"""Another thread called ``wake``."""
BAD_REQUEST = 3
"""What came is no request: the stream can't be trusted any more."""


cdef class Wire:
    """One stream socket. ``fd`` stays the caller's, ``door`` is the backend's, or ``None`` to have every request go to the session.

    ``size`` is the export's in bytes, ``alignment`` what offsets and lengths must be a multiple of (a power of two).
    """

    cdef int fd, wake_fd
    cdef uint8_t *receive
    cdef size_t start, stop         # what was received and not yet consumed
    cdef uint8_t *out
    cdef size_t out_length
    cdef uint32_t out_replies
    cdef bint broken                # sending failed
    cdef bint structured, read_only
    cdef Direct door
    cdef uint64_t size
    cdef uint64_t unaligned         # mask
    cdef readonly uint16_t flags
    cdef readonly uint16_t command
    cdef readonly uint64_t cookie
    cdef readonly uint64_t offset
    cdef readonly uint32_t length
    cdef public int others          # requests that other threads have; while there are any, next() can be woken
    cdef uint64_t reads_done, writes_done, bytes_read, bytes_written

    def __cinit__(self, int fd, Direct door, uint64_t size, uint32_t alignment, bint read_only, bint structured):
        self.wake_fd = -1
        self.fd = fd
        self.door = door
        self.size = size
        self.unaligned = alignment - 1
        self.read_only = read_only
        self.structured = structured
        self.receive = <uint8_t *>malloc(RECEIVE_BUFFER)
        self.out = <uint8_t *>malloc(SEND_BUFFER)
        if self.receive == NULL or self.out == NULL:
            raise MemoryError()
        self.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.wake_fd < 0:
            raise OSError(errno, "no event descriptor for a connection")

    def __dealloc__(self):
        free(self.receive)
        free(self.out)
        if self.wake_fd >= 0:
            close(self.wake_fd)

    @property
    def counters(self):
        """``(reads, writes, bytes read, bytes written)`` that were answered here."""
        return self.reads_done, self.writes_done, self.bytes_read, self.bytes_written

    # Receiving.

    def wake(self):
        """End a ``next`` that waits, or the one that waits next; from any thread, as long as one keeps the Wire."""
        vsw_nbd_wake(self.wake_fd)

    def next(self):
        """Wait for what needs the session; one of the event codes above."""
        cdef int event
        with nogil:
            event = self.wait()
        return event

    def rest(self):
        """Wait for ``wake`` alone; false if the connection is broken meanwhile."""
        cdef int event
        with nogil:
            self.flush_out()
            # The socket's hang-up is not waited for: what runs must end anyhow.
            event = vsw_nbd_wait(-1, self.wake_fd)
        return not self.broken and (event >= 0 or event == -EINTR)

    cdef int wait(self) noexcept nogil:
        cdef int event
        cdef ssize_t got
        cdef size_t room
        while True:
            event = self.work()
            if event >= 0:
                return event
            self.flush_out()
            if self.broken:
                return 1
            if self.others:
                event = vsw_nbd_wait(self.fd, self.wake_fd)
                if event == -EINTR:
                    continue
                if event < 0:
                    return 1
                if event & 2:
                    return 2
            if self.start == self.stop:
                self.start = self.stop = 0
            elif self.start and (RECEIVE_BUFFER - self.stop < RECEIVE_BUFFER // 2):
                memmove(self.receive, self.receive + self.start, self.stop - self.start)
                self.stop -= self.start
                self.start = 0
            room = RECEIVE_BUFFER - self.stop
            got = recv(self.fd, self.receive + self.stop, room, 0)
            if got > 0:
                self.stop += got
            elif got == 0 or errno != EINTR:
                return 1

    cdef int work(self) noexcept nogil:
        """Answer what needs no session; -1: more bytes are needed, else an event."""
        cdef uint8_t *head
        cdef size_t have
        cdef bint plain
        while True:
            if self.out_length >= SEND_EARLY or self.out_replies >= SEND_AFTER:
                self.flush_out()
            if self.broken:
                return 1
            have = self.stop - self.start
            if have < HEAD:
                return -1
            head = self.receive + self.start
            if vsw_nbd_get_32(head) != REQUEST_MAGIC:
                return 3
            self.flags = <uint16_t>(head[FLAGS] << 8 | head[FLAGS + 1])
            self.command = <uint16_t>(head[TYPE] << 8 | head[TYPE + 1])
            self.cookie = vsw_nbd_get_64(head + COOKIE)
            self.offset = vsw_nbd_get_64(head + OFFSET)
            self.length = vsw_nbd_get_32(head + LENGTH)
            plain = self.door is not None and 0 < self.length <= MOST_INLINE and not (self.offset | self.length) & self.unaligned
            plain = plain and self.offset <= self.size and self.length <= self.size - self.offset
            if plain and self.command == COMMAND_READ and (self.flags == 0 or (self.flags == FLAG_DF and self.structured)):
                if self.answer_read(head):
                    self.start += HEAD
                    continue
            elif plain and self.command == COMMAND_WRITE and self.flags == 0 and not self.read_only:
                if have < HEAD + self.length:
                    return -1
                if self.door.write(<long long>self.offset, head + HEAD, self.length, False) == 0:
                    self.writes_done += 1
                    self.bytes_written += self.length
                    self.put_simple(head)
                    self.start += HEAD + self.length
                    continue
            if self.broken:
                return 1
            self.start += HEAD
            return 0

    cdef bint answer_read(self, const uint8_t *head) noexcept nogil:
        """Read into the send buffer; false leaves the request, untouched, to the session."""
        cdef size_t before = CHUNK_HEAD if self.structured else SIMPLE_HEAD
        cdef uint8_t *reply
        if not self.room(before + self.length):
            return False
        reply = self.out + self.out_length
        if self.door.read_now(<long long>self.offset, reply + before, self.length) != 0:
            return False
        if self.structured:
            vsw_nbd_put_32(reply, CHUNK_MAGIC)
            vsw_nbd_put_16(reply + 4, CHUNK_DONE)
            vsw_nbd_put_16(reply + 6, CHUNK_DATA)
            memcpy(reply + 8, head + COOKIE, 8)
            vsw_nbd_put_32(reply + 16, 8 + self.length)
            vsw_nbd_put_64(reply + 20, self.offset)
            self.out_length += before + self.length
            self.out_replies += 1
        else:
            self.out_length += self.length
            self.put_head(reply, head)
        self.reads_done += 1
        self.bytes_read += self.length
        return True

    cdef void put_head(self, uint8_t *reply, const uint8_t *head) noexcept nogil:
        vsw_nbd_put_32(reply, SIMPLE_MAGIC)
        vsw_nbd_put_32(reply + 4, 0)
        memcpy(reply + 8, head + COOKIE, 8)
        self.out_length += SIMPLE_HEAD
        self.out_replies += 1

    cdef void put_simple(self, const uint8_t *head) noexcept nogil:
        if self.room(SIMPLE_HEAD):
            self.put_head(self.out + self.out_length, head)

    cdef bint room(self, size_t length) noexcept nogil:
        """Make room for ``length`` bytes in the send buffer; false if the connection is broken."""
        if length > SEND_BUFFER - self.out_length:
            self.flush_out()
        return not self.broken

    cdef void flush_out(self) noexcept nogil:
        self.push(self.out, self.out_length)
        self.out_length = 0
        self.out_replies = 0

    cdef void push(self, const uint8_t *data, size_t length) noexcept nogil:
        cdef size_t done = 0
        cdef ssize_t put
        while done < length and not self.broken:
            put = c_send(self.fd, data + done, length - done, MSG_NOSIGNAL)
            if put > 0:
                done += put
            elif put < 0 and errno == EINTR:
                continue
            else:       # the send time-out counts as broken: a peer that reads nothing holds no thread for ever
                self.broken = True

    # For the session.

    def take(self, uint8_t[::1] into):
        """Receive the next bytes of the stream (a write's data) into all of ``into``; false if the connection ends before."""
        cdef size_t length = into.shape[0]
        cdef size_t here = min(length, self.stop - self.start)
        cdef ssize_t got
        if length == 0:
            return True
        with nogil:
            memcpy(&into[0], self.receive + self.start, here)
            self.start += here
            if here < length:
                self.flush_out()
            while here < length and not self.broken:
                got = recv(self.fd, &into[here], length - here, 0)
                if got > 0:
                    here += got
                elif got == 0 or errno != EINTR:
                    self.broken = True
        return not self.broken

    def send(self, const uint8_t[::1] head, const uint8_t[::1] data=b""):
        """Append a reply: its head (at least one byte) and what follows. Nothing need leave before the next ``next``."""
        cdef size_t length = data.shape[0]
        cdef size_t before = head.shape[0]
        if before == 0 or before > SEND_BUFFER:
            raise ValueError(f"the head of a reply has 1 to {SEND_BUFFER} bytes, not {before}")
        with nogil:
            if self.room(before):
                memcpy(self.out + self.out_length, &head[0], before)
                self.out_length += before
                self.out_replies += 1
            if length and length <= SEND_BUFFER - self.out_length:
                memcpy(self.out + self.out_length, &data[0], length)
                self.out_length += length
            elif length:
                self.flush_out()
                self.push(&data[0], length)

    def flush(self):
        """Send what was appended; false if the connection is broken."""
        with nogil:
            self.flush_out()
        return not self.broken
