"""One iSCSI connection's bytes: framing, digests, sequence numbers, and the compiled way of plain reads and writes (RFC 7143).

``Wire.next`` receives until there is a PDU that Python must see, and answers all READ and WRITE commands before it by itself,
without the GIL, as far as the gates of the SCSI engine let them pass: a batch of commands that arrived together is answered by
one send. What is not plain (any flag, any doubt, any failure) goes up to the session.

Who owns what: one thread calls ``next``; any thread may call the ``send`` methods. A mutex covers the send buffer and the numbers
that every PDU carries (StatSN, ExpCmdSN, MaxCmdSN); it is never held while receiving.

Offsets are those of RFC 7143 section 11; all numbers on the wire are big-endian, digests little-endian.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport errno, EINTR, EAGAIN
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from ..scsi.gate cimport GATE_READ, GATE_SLOW, Gate, transfer


cdef extern from "vsw/disk/serve/crc32c.h":
    void vsw_crc32c_prepare() noexcept nogil
    uint32_t vsw_crc32c(uint32_t crc, const void *data, size_t length) noexcept nogil
    uint32_t vsw_crc32c_portable(uint32_t crc, const uint8_t *data, size_t length) noexcept nogil


cdef extern from *:
    """
    #include <pthread.h>
    #include <stdint.h>
    #include <sys/socket.h>

    static inline uint32_t vsw_get_24(const uint8_t *p) { return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]; }
    static inline uint32_t vsw_get_32(const uint8_t *p) { return (uint32_t)p[0] << 24 | vsw_get_24(p + 1); }
    static inline void vsw_put_24(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 16); p[1] = (uint8_t)(v >> 8); p[2] = (uint8_t)v; }
    static inline void vsw_put_32(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 24); vsw_put_24(p + 1, v); }
    static inline uint32_t vsw_get_digest(const uint8_t *p) {
        return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
    }
    static inline void vsw_put_digest(uint8_t *p, uint32_t v) {
        p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); p[2] = (uint8_t)(v >> 16); p[3] = (uint8_t)(v >> 24);
    }
    """
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes) nogil
    int pthread_mutex_destroy(pthread_mutex_t *mutex) nogil
    int pthread_mutex_lock(pthread_mutex_t *mutex) nogil
    int pthread_mutex_unlock(pthread_mutex_t *mutex) nogil
    ssize_t recv(int fd, void *buffer, size_t length, int flags) nogil
    ssize_t c_send "send"(int fd, const void *buffer, size_t length, int flags) nogil
    int MSG_NOSIGNAL
    uint32_t vsw_get_24(const uint8_t *p) noexcept nogil
    uint32_t vsw_get_32(const uint8_t *p) noexcept nogil
    void vsw_put_24(uint8_t *p, uint32_t v) noexcept nogil
    void vsw_put_32(uint8_t *p, uint32_t v) noexcept nogil
    uint32_t vsw_get_digest(const uint8_t *p) noexcept nogil
    void vsw_put_digest(uint8_t *p, uint32_t v) noexcept nogil


cdef enum:
    HEAD = 48                   # basic header segment
    DIGEST = 4
    LARGEST_AHS = 255 * 4
    # Offsets within the basic header segment.
    FLAGS = 1
    RESPONSE = 2
    STATUS = 3
    AHS_LENGTH = 4
    DATA_LENGTH = 5
    LUN = 8
    TASK_TAG = 16
    TRANSFER_TAG = 20
    EXPECTED_LENGTH = 20
    CMD_SN = 24
    STAT_SN = 24
    EXP_CMD_SN = 28
    MAX_CMD_SN = 32
    CDB = 32
    DATA_SN = 36
    EXP_DATA_SN = 36
    BUFFER_OFFSET = 40
    RESIDUAL = 44
    # Opcodes.
    SCSI_COMMAND = 0x01
    SCSI_RESPONSE = 0x21
    DATA_IN = 0x25
    # Flags.
    FINAL = 0x80
    READS = 0x40
    WRITES = 0x20
    ATTRIBUTE = 0x07
    SIMPLE = 1
    STATUS_HERE = 0x01
    OVERFLOW = 0x04
    UNDERFLOW = 0x02
    # Sizes.
    RECEIVE_BUFFER = 1 << 20
    SEND_BUFFER = 2 << 20
    GATES = 256
    RESERVED_TAG = 0xFFFFFFFF

LARGEST_SEGMENT = 256 << 10
"""Bytes of a data segment that a Wire takes (our MaxRecvDataSegmentLength)."""
cdef enum:
    MOST_DATA = 256 << 10

PDU = 0
"""A PDU for the session: ``header``, ``ahs`` and ``data`` are set."""
CLOSED = 1
"""The peer closed the connection, or it broke."""
IDLE = 2
"""The socket's receive time-out went by without a byte."""
BAD_HEADER = 3
"""A header digest is wrong, or a length is beyond what was agreed: the stream can't be trusted any more."""
BAD_DATA = 4
"""A data digest is wrong; ``header`` is good, the data was dropped."""

vsw_crc32c_prepare()


def crc32c(const uint8_t[::1] data, bint portable=False):
    """CRC-32C of ``data``; ``portable`` takes the tables even where the processor has an instruction for it."""
    cdef uint32_t crc
    cdef size_t length = data.shape[0]
    if length == 0:
        return 0
    with nogil:
        if portable:
            crc = ~vsw_crc32c_portable(~<uint32_t>0, &data[0], length)
        else:
            crc = vsw_crc32c(0, &data[0], length)
    return crc


cdef class Wire:
    """One TCP connection. ``fd`` stays the caller's; ``window`` is how many commands the initiator may have under way."""

    cdef int fd
    cdef uint8_t *receive
    cdef size_t start, stop         # what was received and not yet consumed
    cdef size_t pdu_bytes           # the PDU that Python looks at, consumed by the next call of next()
    cdef uint8_t *out
    cdef size_t out_length
    cdef bint broken                # sending failed
    cdef pthread_mutex_t mutex
    cdef uint32_t stat_sn
    cdef uint32_t expected_cmd_sn
    cdef uint32_t window
    cdef bint header_digests, data_digests
    cdef uint32_t largest_send      # the peer's MaxRecvDataSegmentLength
    cdef uint32_t largest_burst
    cdef bint fast
    cdef void *gates[GATES]
    cdef dict gate_objects
    cdef uint32_t pdu_data
    cdef uint32_t pdu_ahs

    def __cinit__(self, int fd, uint32_t window):
        self.fd = fd
        self.window = window
        self.stat_sn = 1
        self.largest_send = 8192
        self.largest_burst = 262144
        self.gate_objects = {}
        memset(self.gates, 0, sizeof(self.gates))
        pthread_mutex_init(&self.mutex, NULL)
        self.receive = <uint8_t *>malloc(RECEIVE_BUFFER)
        self.out = <uint8_t *>malloc(SEND_BUFFER)
        if self.receive == NULL or self.out == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.receive)
        free(self.out)
        pthread_mutex_destroy(&self.mutex)

    # Settings.

    def agree(self, *, bint header_digests, bint data_digests, uint32_t largest_send, uint32_t largest_burst):
        """What login negotiated; counts from the next PDU on. ``largest_send`` and ``largest_burst`` are at least 512 bytes."""
        self.header_digests = header_digests
        self.data_digests = data_digests
        self.largest_send = max(512, largest_send)
        self.largest_burst = max(512, largest_burst)

    def begin(self, uint32_t cmd_sn):
        """The command number that comes next (from the first login request)."""
        self.expected_cmd_sn = cmd_sn

    def open_gates(self, dict gates):
        """Let plain commands for these LUNs (0..255) pass by themselves; every other LUN, and all with ``{}``, goes to the session."""
        cdef int lun
        cdef Gate gate
        pthread_mutex_lock(&self.mutex)
        memset(self.gates, 0, sizeof(self.gates))
        self.gate_objects = {number: gate for number, gate in gates.items() if 0 <= number < GATES}
        for number, candidate in self.gate_objects.items():
            lun = number
            gate = candidate
            self.gates[lun] = <void *>gate
        self.fast = True
        pthread_mutex_unlock(&self.mutex)

    @property
    def exp_cmd_sn(self):
        return self.expected_cmd_sn

    @property
    def max_cmd_sn(self):
        return <uint32_t>(self.expected_cmd_sn + self.window - 1)

    def accept_command(self):
        """The command with the expected number was taken."""
        pthread_mutex_lock(&self.mutex)
        self.expected_cmd_sn += 1
        pthread_mutex_unlock(&self.mutex)

    # Receiving.

    @property
    def header(self):
        """The 48 bytes of the current PDU's basic header segment, copied."""
        return PyBytes_FromStringAndSize(<char *>self.receive + self.start, HEAD)

    @property
    def ahs(self):
        """The additional header segments, copied."""
        return PyBytes_FromStringAndSize(<char *>self.receive + self.start + HEAD, self.pdu_ahs)

    @property
    def data(self):
        """The data segment without padding: a view that is valid until ``next`` is called."""
        cdef size_t at = self.start + HEAD + self.pdu_ahs + (DIGEST if self.header_digests else 0)
        return PyMemoryView_FromMemory(<char *>self.receive + at, self.pdu_data, 0x100)

    def next(self):
        """Wait for the next PDU that needs the session; one of the event codes above."""
        cdef int event
        with nogil:
            event = self.wait()
        return event

    cdef int wait(self) noexcept nogil:
        cdef int event
        cdef ssize_t got
        self.start += self.pdu_bytes
        self.pdu_bytes = 0
        self.pdu_data = 0
        self.pdu_ahs = 0
        while True:
            pthread_mutex_lock(&self.mutex)
            event = self.work()
            if event < 0:
                self.flush_out()
            if self.broken:
                event = 1
            pthread_mutex_unlock(&self.mutex)
            if event >= 0:
                return event
            if self.start == self.stop:
                self.start = self.stop = 0
            elif self.start and RECEIVE_BUFFER - self.stop < RECEIVE_BUFFER // 2:
                memmove(self.receive, self.receive + self.start, self.stop - self.start)
                self.stop -= self.start
                self.start = 0
            got = recv(self.fd, self.receive + self.stop, RECEIVE_BUFFER - self.stop, 0)
            if got > 0:
                self.stop += got
            elif got == 0:
                return 1
            elif errno == EAGAIN:
                return 2
            elif errno != EINTR:
                return 1

    cdef int work(self) noexcept nogil:
        """Answer what needs no session; -1: more bytes are needed, else an event. The mutex is held."""
        cdef uint8_t *head
        cdef size_t have, size, ahs, data, padded, at
        while True:
            have = self.stop - self.start
            if have < HEAD:
                return -1
            head = self.receive + self.start
            ahs = <size_t>head[AHS_LENGTH] * 4
            data = vsw_get_24(head + DATA_LENGTH)
            padded = (data + 3) & ~<size_t>3
            if data > MOST_DATA:
                return 3
            size = HEAD + ahs + padded
            if self.header_digests:
                size += DIGEST
                if have < HEAD + ahs + DIGEST:
                    return -1
                if vsw_crc32c(0, head, HEAD + ahs) != vsw_get_digest(head + HEAD + ahs):
                    return 3
            if self.data_digests and data:
                size += DIGEST
            if have < size:
                return -1
            self.pdu_bytes = size
            self.pdu_ahs = <uint32_t>ahs
            self.pdu_data = <uint32_t>data
            at = HEAD + ahs + (DIGEST if self.header_digests else 0)
            if self.data_digests and data and vsw_crc32c(0, head + at, padded) != vsw_get_digest(head + at + padded):
                return 4
            if head[0] != SCSI_COMMAND or ahs or not self.fast or not self.answer(head, head + at, <uint32_t>data):
                return 0
            self.start += size
            self.pdu_bytes = 0

    cdef bint answer(self, const uint8_t *head, const uint8_t *data, uint32_t data_length) noexcept nogil:
        """Do a plain READ or WRITE completely; false leaves it, untouched, to the session."""
        cdef transfer what
        cdef int kind
        cdef uint8_t flags = head[FLAGS]
        cdef uint32_t expected = vsw_get_32(head + EXPECTED_LENGTH)
        cdef void *gate
        if not flags & FINAL or flags & ATTRIBUTE > SIMPLE or vsw_get_32(head + CMD_SN) != self.expected_cmd_sn:
            return False
        # Single-level peripheral addressing: the number is the second byte and all others are zero.
        if head[LUN] or vsw_get_24(head + LUN + 2) or vsw_get_24(head + LUN + 5):
            return False
        gate = self.gates[head[LUN + 1]]
        if gate == NULL:
            return False
        kind = (<Gate>gate).decode(head + CDB, &what)
        if kind == GATE_SLOW or what.length != expected:
            return False
        if kind == GATE_READ:
            if flags & (READS | WRITES) != READS or data_length:
                return False
            return self.answer_read(gate, &what, head)
        if flags & (READS | WRITES) != WRITES or data_length != expected:
            return False
        if (<Gate>gate).write(&what, data) != 0:
            return False
        self.expected_cmd_sn += 1
        self.put_status(head + TASK_TAG, 0, 0, 0, NULL, 0)
        return True

    cdef bint answer_read(self, void *gate, const transfer *what, const uint8_t *head) noexcept nogil:
        cdef uint32_t segments = (what.length + self.largest_send - 1) // self.largest_send
        # Every sequence of at most MaxBurstLength bytes may end with a short segment.
        cdef size_t most = what.length + <size_t>(segments + what.length // self.largest_burst + 1) * (HEAD + 2 * DIGEST + 4)
        cdef size_t mark
        cdef uint32_t at = 0, step, left_in_burst = self.largest_burst, number = 0
        cdef transfer piece
        cdef uint8_t *pdu
        cdef uint8_t *body
        cdef bint last
        if most > SEND_BUFFER:
            return False
        if most > SEND_BUFFER - self.out_length:
            self.flush_out()
            if self.broken:
                return False
        mark = self.out_length
        piece.fua = False
        while at < what.length:
            step = min(what.length - at, self.largest_send, left_in_burst)
            last = at + step == what.length
            pdu = self.out + self.out_length
            body = pdu + HEAD + (DIGEST if self.header_digests else 0)
            piece.offset = what.offset + at
            piece.length = step
            if (<Gate>gate).read(&piece, body) != 0:
                self.out_length = mark
                return False
            left_in_burst -= step
            memset(pdu, 0, HEAD)
            pdu[0] = DATA_IN
            pdu[FLAGS] = FINAL | STATUS_HERE if last else FINAL if left_in_burst == 0 else 0
            memcpy(pdu + TASK_TAG, head + TASK_TAG, 4)
            vsw_put_32(pdu + TRANSFER_TAG, RESERVED_TAG)
            vsw_put_32(pdu + DATA_SN, number)
            vsw_put_32(pdu + BUFFER_OFFSET, at)
            if last:
                self.expected_cmd_sn += 1
                vsw_put_32(pdu + STAT_SN, self.stat_sn)
                self.stat_sn += 1
            self.finish(pdu, body, step)
            if left_in_burst == 0:
                left_in_burst = self.largest_burst
            number += 1
            at += step
        return True

    # Sending; the mutex is held in all of these.

    cdef void finish(self, uint8_t *pdu, uint8_t *body, uint32_t length) noexcept nogil:
        """Complete the PDU at the end of the send buffer, whose body stands where it belongs: numbers, length, padding, digests."""
        cdef uint32_t padded = (length + 3) & ~<uint32_t>3
        vsw_put_24(pdu + DATA_LENGTH, length)
        vsw_put_32(pdu + EXP_CMD_SN, self.expected_cmd_sn)
        vsw_put_32(pdu + MAX_CMD_SN, self.expected_cmd_sn + self.window - 1)
        memset(body + length, 0, padded - length)
        if self.header_digests:
            vsw_put_digest(pdu + HEAD, vsw_crc32c(0, pdu, HEAD))
        self.out_length = <size_t>(body - self.out) + padded
        if self.data_digests and length:
            vsw_put_digest(body + padded, vsw_crc32c(0, body, padded))
            self.out_length += DIGEST

    cdef bint room(self, size_t length) noexcept nogil:
        """Make room for a PDU with this much data; false if the connection is broken."""
        if length + HEAD + 2 * DIGEST + 4 > SEND_BUFFER - self.out_length:
            self.flush_out()
        return not self.broken and length + HEAD + 2 * DIGEST + 4 <= SEND_BUFFER - self.out_length

    cdef void put(self, const uint8_t *header, const uint8_t *data, uint32_t length, bint stamp, bint advance) noexcept nogil:
        """Append one PDU; ``stamp`` writes StatSN, ``advance`` counts it on."""
        cdef uint8_t *pdu
        cdef uint8_t *body
        if not self.room(length):
            return
        pdu = self.out + self.out_length
        body = pdu + HEAD + (DIGEST if self.header_digests else 0)
        memcpy(pdu, header, HEAD)
        if length:
            memcpy(body, data, length)
        if stamp:
            vsw_put_32(pdu + STAT_SN, self.stat_sn)
        if advance:
            self.stat_sn += 1
        self.finish(pdu, body, length)

    cdef void put_status(
        self, const uint8_t *tag, uint8_t status, uint8_t residual_flag, uint32_t residual, const uint8_t *sense, uint32_t length
    ) noexcept nogil:
        """Append a SCSI Response."""
        cdef uint8_t header[HEAD]
        memset(header, 0, HEAD)
        header[0] = SCSI_RESPONSE
        header[FLAGS] = FINAL | residual_flag
        header[STATUS] = status
        memcpy(header + TASK_TAG, tag, 4)
        vsw_put_32(header + RESIDUAL, residual)
        self.put(header, sense, length, True, True)

    cdef void flush_out(self) noexcept nogil:
        cdef size_t done = 0
        cdef ssize_t put
        while done < self.out_length and not self.broken:
            put = c_send(self.fd, self.out + done, self.out_length - done, MSG_NOSIGNAL)
            if put > 0:
                done += put
            elif put < 0 and errno == EINTR:
                continue
            else:       # the send time-out counts as broken: a peer that reads nothing holds no thread for ever
                self.broken = True
        self.out_length = 0

    # Sending, for the session. Nothing leaves before flush() or the next receive.

    def send(self, const uint8_t[::1] header, const uint8_t[::1] data=b"", *, bint stamp=True, bint advance=True):
        """Append one PDU: 48 bytes of header (the three numbers and the length are filled in) and its data segment."""
        cdef uint32_t length = <uint32_t>data.shape[0]
        if header.shape[0] != HEAD:
            raise ValueError(f"a basic header segment has {HEAD} bytes, not {header.shape[0]}")
        if length > self.largest_send:
            raise ValueError(f"{length} bytes of data are more than the {self.largest_send} that the initiator takes")
        with nogil:
            pthread_mutex_lock(&self.mutex)
            self.put(&header[0], &data[0] if length else NULL, length, stamp, advance)
            pthread_mutex_unlock(&self.mutex)

    def send_response(self, const uint8_t[::1] tag, int status, const uint8_t[::1] sense, int residual_flag, uint32_t residual):
        """Append a SCSI Response: task tag (4 bytes), status, sense bytes (may be empty), residual flag (0, 2, 4) and count."""
        cdef uint8_t segment[2 + 256]
        cdef uint32_t length = <uint32_t>sense.shape[0]
        if tag.shape[0] != 4 or length > 252:
            raise ValueError("a task tag has 4 bytes, sense data at most 252")
        if length:
            segment[0] = 0
            segment[1] = <uint8_t>length
            memcpy(segment + 2, &sense[0], length)
            length += 2
        with nogil:
            pthread_mutex_lock(&self.mutex)
            self.put_status(&tag[0], <uint8_t>status, <uint8_t>residual_flag, residual, segment, length)
            pthread_mutex_unlock(&self.mutex)

    def send_data(self, const uint8_t[::1] tag, const uint8_t[::1] data, int status, int residual_flag, uint32_t residual):
        """Append Data-In PDUs for all of ``data`` (not empty), the last of which carries the status."""
        cdef uint8_t header[HEAD]
        cdef uint32_t total = <uint32_t>data.shape[0]
        cdef uint32_t at = 0, step, number = 0, left_in_burst
        cdef bint last
        if tag.shape[0] != 4 or total == 0:
            raise ValueError("a task tag has 4 bytes, data at least one")
        with nogil:
            pthread_mutex_lock(&self.mutex)
            left_in_burst = self.largest_burst
            while at < total and not self.broken:
                step = min(total - at, self.largest_send, left_in_burst, <uint32_t>MOST_DATA)
                last = at + step == total
                left_in_burst -= step
                memset(header, 0, HEAD)
                header[0] = DATA_IN
                header[FLAGS] = FINAL | STATUS_HERE | residual_flag if last else FINAL if left_in_burst == 0 else 0
                header[STATUS] = <uint8_t>status if last else 0
                memcpy(header + TASK_TAG, &tag[0], 4)
                vsw_put_32(header + TRANSFER_TAG, RESERVED_TAG)
                vsw_put_32(header + DATA_SN, number)
                vsw_put_32(header + BUFFER_OFFSET, at)
                vsw_put_32(header + RESIDUAL, residual if last else 0)
                self.put(header, &data[at], step, last, last)
                if left_in_burst == 0:
                    left_in_burst = self.largest_burst
                number += 1
                at += step
            pthread_mutex_unlock(&self.mutex)

    def flush(self):
        """Send what was appended; false if the connection is broken."""
        with nogil:
            pthread_mutex_lock(&self.mutex)
            self.flush_out()
            pthread_mutex_unlock(&self.mutex)
        return not self.broken
