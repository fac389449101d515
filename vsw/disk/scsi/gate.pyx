"""The gate: plain READ and WRITE without the GIL, for as long as nothing stands in their way.

The engine in Python answers everything. For an I_T_L nexus without a pending unit attention, on a ready medium, and without a
reservation in the way, it opens that nexus's gate; a transport may then let READ and WRITE (6, 10, 12, 16) pass straight to the
block backend's compiled door. Whatever the gate does not know, that fails, or that would have to wait for a device goes to the
engine, which does it (again) and says what is wrong: the gate never produces an error of its own.

``Traffic`` keeps the two apart. Each medium access, compiled or not, is counted while it runs; a command that must be alone
(COMPARE AND WRITE, PERSISTENT RESERVE OUT, a reset) closes the unit, waits until the count is zero, and opens it again. So when
PREEMPT has been answered, no write of the preempted initiator is still on its way.
"""

import threading


cdef extern from *:
    """
    #include <stdint.h>
    #include <unistd.h>

    static inline uint64_t vsw_big_16(const uint8_t *p) { return (uint64_t)p[0] << 8 | p[1]; }
    static inline uint64_t vsw_big_32(const uint8_t *p) { return vsw_big_16(p) << 16 | vsw_big_16(p + 2); }
    static inline uint64_t vsw_big_64(const uint8_t *p) { return vsw_big_32(p) << 32 | vsw_big_32(p + 4); }
    static inline long vsw_count(long *counter, long by) { return __atomic_add_fetch(counter, by, __ATOMIC_SEQ_CST); }
    static inline int vsw_load(int *flag) { return __atomic_load_n(flag, __ATOMIC_SEQ_CST); }
    static inline void vsw_store(int *flag, int value) { __atomic_store_n(flag, value, __ATOMIC_SEQ_CST); }
    static inline void vsw_tally(uint64_t *counter, uint64_t by) { __atomic_add_fetch(counter, by, __ATOMIC_RELAXED); }
    """
    uint64_t vsw_big_16(const uint8_t *p) noexcept nogil
    uint64_t vsw_big_32(const uint8_t *p) noexcept nogil
    uint64_t vsw_big_64(const uint8_t *p) noexcept nogil
    long vsw_count(long *counter, long by) noexcept nogil
    int vsw_load(int *flag) noexcept nogil
    void vsw_store(int *flag, int value) noexcept nogil
    void vsw_tally(uint64_t *counter, uint64_t by) noexcept nogil
    int usleep(unsigned int microseconds) nogil

cdef enum:
    READ_6 = 0x08
    WRITE_6 = 0x0A
    READ_10 = 0x28
    WRITE_10 = 0x2A
    READ_16 = 0x88
    WRITE_16 = 0x8A
    READ_12 = 0xA8
    WRITE_12 = 0xAA
    FLAG_DPO = 0x10
    FLAG_FUA = 0x08
    GROUP = 0x1F            # group number bits, which the engine ignores too
    DRAIN_MICROSECONDS = 20


cdef class Traffic:
    """Counts the medium accesses of one logical unit, and lets one caller have the unit for itself."""

    def __init__(self):
        self.turn = threading.Lock()

    cdef bint enter(self) noexcept nogil:
        """Count one access; false (and not counted) while the unit is someone's own."""
        vsw_count(&self.running, 1)
        if vsw_load(&self.closed):
            vsw_count(&self.running, -1)
            return False
        return True

    cdef void leave(self) noexcept nogil:
        vsw_count(&self.running, -1)

    def shared(self):
        """Count one access, after waiting for whoever has the unit for itself; ends with ``done()``."""
        if not self.enter():
            with self.turn:
                self.enter()

    def done(self):
        """One access that ``shared`` counted has ended."""
        self.leave()

    def alone(self):
        """Wait until no access runs and keep new ones out; ends with ``reopen()``. Not for a thread that is in ``shared``."""
        self.turn.acquire()
        vsw_store(&self.closed, 1)
        with nogil:
            while vsw_count(&self.running, 0):
                usleep(DRAIN_MICROSECONDS)

    def reopen(self):
        vsw_store(&self.closed, 0)
        self.turn.release()


cdef class Gate:
    """One I_T_L nexus's way past the engine; shut at first."""

    def __init__(self, Traffic traffic):
        self.traffic = traffic

    def aim(self, Direct door, uint64_t blocks, uint32_t block_size, uint32_t largest):
        """Where transfers go; only while the gate is shut and the unit is the caller's own."""
        self.door = door
        self.blocks = blocks
        self.block_size = block_size
        self.largest = largest

    def set(self, bint reads, bint writes, bint always_fua):
        """Open or shut for plain reads and writes; ``always_fua`` if no write cache is wanted."""
        vsw_store(&self.reads, reads and self.door is not None)
        vsw_store(&self.writes, writes and self.door is not None)
        self.always_fua = always_fua

    @property
    def open_for_reads(self):
        return bool(vsw_load(&self.reads))

    @property
    def open_for_writes(self):
        return bool(vsw_load(&self.writes))

    @property
    def counters(self):
        """``(reads, writes, bytes read, bytes written)`` that passed here."""
        return self.reads_done, self.writes_done, self.bytes_read, self.bytes_written

    cdef int decode(self, const uint8_t *cdb, transfer *to) noexcept nogil:
        """What this CDB (16 bytes) asks for, if it is plain and its gate is open, else ``GATE_SLOW``."""
        cdef uint8_t opcode = cdb[0]
        cdef uint64_t lba, count
        cdef int kind
        cdef uint8_t flags = cdb[1]
        cdef uint8_t control
        if opcode == READ_16 or opcode == WRITE_16:
            kind = GATE_READ if opcode == READ_16 else GATE_WRITE
            lba = vsw_big_64(cdb + 2)
            count = vsw_big_32(cdb + 10)
            control = cdb[15] | (cdb[14] & ~GROUP)
        elif opcode == READ_10 or opcode == WRITE_10:
            kind = GATE_READ if opcode == READ_10 else GATE_WRITE
            lba = vsw_big_32(cdb + 2)
            count = vsw_big_16(cdb + 7)
            control = cdb[9] | (cdb[6] & ~GROUP)
        elif opcode == READ_12 or opcode == WRITE_12:
            kind = GATE_READ if opcode == READ_12 else GATE_WRITE
            lba = vsw_big_32(cdb + 2)
            count = vsw_big_32(cdb + 6)
            control = cdb[11] | (cdb[10] & ~GROUP)
        elif opcode == READ_6 or opcode == WRITE_6:
            kind = GATE_READ if opcode == READ_6 else GATE_WRITE
            if flags & 0xE0:
                return GATE_SLOW
            lba = vsw_big_32(cdb) & 0x1FFFFF
            count = cdb[4] if cdb[4] else 256
            control = cdb[5]
            flags = 0
        else:
            return GATE_SLOW
        if control or flags & ~(FLAG_DPO | FLAG_FUA):
            return GATE_SLOW
        if not vsw_load(&self.reads if kind == GATE_READ else &self.writes):
            return GATE_SLOW
        if count == 0 or count > self.largest or lba >= self.blocks or count > self.blocks - lba:
            return GATE_SLOW
        to.offset = <long long>(lba * self.block_size)
        to.length = <uint32_t>(count * self.block_size)
        to.fua = (flags & FLAG_FUA) != 0
        # FUA on a read asks for the medium's own bytes; the page cache has the same ones, so only pending writes matter.
        if kind == GATE_READ and to.fua:
            return GATE_SLOW
        return kind

    cdef int read(self, const transfer *what, void *buffer) noexcept nogil:
        """Transfer; 0, or anything else for "ask the engine"."""
        cdef int code
        if not self.traffic.enter():
            return -1
        # Shut, or the disk was resized, since decode: the engine answers.
        if not vsw_load(&self.reads) or what.offset + what.length > <long long>(self.blocks * self.block_size):
            self.traffic.leave()
            return -1
        code = self.door.read_now(what.offset, buffer, what.length)
        self.traffic.leave()
        if code == 0:
            vsw_tally(&self.reads_done, 1)
            vsw_tally(&self.bytes_read, what.length)
        return code

    cdef int write(self, const transfer *what, const void *buffer) noexcept nogil:
        """Transfer; 0, or anything else for "ask the engine"."""
        cdef int code
        if not self.traffic.enter():
            return -1
        if not vsw_load(&self.writes) or what.offset + what.length > <long long>(self.blocks * self.block_size):
            self.traffic.leave()
            return -1
        code = self.door.write(what.offset, buffer, what.length, what.fua or self.always_fua)
        self.traffic.leave()
        if code == 0:
            vsw_tally(&self.writes_done, 1)
            vsw_tally(&self.bytes_written, what.length)
        return code
