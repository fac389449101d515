"""The compiled door of a qcow2 image: reads and writes of clusters whose place is known and stays, without the GIL.

Concept
    A table of ``SLOTS`` guest clusters, each in the one slot that its number selects. Python's slow path enters what it has found (``learn``) and
    removes what is about to change (``forget``), both while it holds the image's lock. A request whose clusters are all known goes
    straight to the file; any other gets -EAGAIN, and the caller takes the slow path.

Why nothing is used after it was freed
    Requests are counted while they run, by the epoch in which they began. ``drain`` begins a new epoch and waits for the requests of the old
    one; it is called between forgetting clusters and giving their hosts to somebody else.

Bounds
    1 MiB of memory an image; at most ``MOST`` separate pieces a request. Writes that must be durable and flushes are not for this door: -EAGAIN.

Thread-safety
    All of it from several threads at once; a mutex is held for the look-up, not for the transfer.
"""

from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from ..direct cimport Direct, FileDirect


cdef extern from *:
    """
    #include <pthread.h>
    #include <unistd.h>
    """
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes) nogil
    int pthread_mutex_destroy(pthread_mutex_t *mutex) nogil
    int pthread_mutex_lock(pthread_mutex_t *mutex) nogil
    int pthread_mutex_unlock(pthread_mutex_t *mutex) nogil
    int usleep(unsigned int microseconds) nogil


cdef enum:
    SLOTS = 1 << 16
    MOST = 64
    WRITABLE = 1
    DRAIN_MICROSECONDS = 50


cdef class Qcow2Direct(Direct):
    def __cinit__(self, FileDirect file, int bits):
        self.file = file
        self.bits = bits
        self.mutex = malloc(sizeof(pthread_mutex_t))
        self.slots = <Slot *>calloc(SLOTS, sizeof(Slot))
        if self.mutex == NULL or self.slots == NULL:
            raise MemoryError
        pthread_mutex_init(<pthread_mutex_t *>self.mutex, NULL)

    def __dealloc__(self):
        if self.mutex != NULL:
            pthread_mutex_destroy(<pthread_mutex_t *>self.mutex)
        free(self.mutex)
        free(self.slots)

    # What the slow path says.

    def learn(self, uint64_t guest, uint64_t count, uint64_t host, bint writable):
        """``count`` guest clusters from ``guest`` on lie in a row from host offset ``host`` on; ``writable``: they are unshared."""
        cdef uint64_t number
        cdef Slot *slot
        cdef pthread_mutex_t *mutex = <pthread_mutex_t *>self.mutex
        if count > MOST:
            count = MOST
        with nogil:
            pthread_mutex_lock(mutex)
            for number in range(count):
                slot = &self.slots[(guest + number) & (SLOTS - 1)]
                if slot.guest == guest + number + 1 and not writable and slot.host == ((host + (number << self.bits)) | WRITABLE):
                    continue
                slot.guest = guest + number + 1
                slot.host = (host + (number << self.bits)) | (WRITABLE if writable else 0)
            pthread_mutex_unlock(mutex)

    def forget(self, uint64_t guest, uint64_t count):
        """``count`` guest clusters from ``guest`` on are about to change."""
        cdef uint64_t number
        cdef Slot *slot
        cdef pthread_mutex_t *mutex = <pthread_mutex_t *>self.mutex
        if count > SLOTS:
            self.forget_all()
            return
        with nogil:
            pthread_mutex_lock(mutex)
            for number in range(count):
                slot = &self.slots[(guest + number) & (SLOTS - 1)]
                if slot.guest == guest + number + 1:
                    slot.guest = 0
            pthread_mutex_unlock(mutex)

    def forget_all(self):
        cdef pthread_mutex_t *mutex = <pthread_mutex_t *>self.mutex
        with nogil:
            pthread_mutex_lock(mutex)
            memset(self.slots, 0, SLOTS * sizeof(Slot))
            pthread_mutex_unlock(mutex)

    def drain(self):
        """Wait until every request that began before has ended. One caller at a time."""
        cdef pthread_mutex_t *mutex = <pthread_mutex_t *>self.mutex
        cdef int old, left
        with nogil:
            pthread_mutex_lock(mutex)
            old = self.epoch
            self.epoch = 1 - old    # what ran in that epoch before was waited for by the last drain
            left = self.running[old]
            pthread_mutex_unlock(mutex)
            while left:
                usleep(DRAIN_MICROSECONDS)
                pthread_mutex_lock(mutex)
                left = self.running[old]
                pthread_mutex_unlock(mutex)

    # Requests.

    cdef int find(self, int64_t offset, size_t length, bint writing, Piece *pieces) noexcept nogil:
        # The host pieces of a range, their number << 1 | the epoch that the request is counted in; or -EAGAIN, and it is not counted.
        cdef pthread_mutex_t *mutex = <pthread_mutex_t *>self.mutex
        cdef int64_t cluster = <int64_t>1 << self.bits
        cdef int64_t inside, host
        cdef uint64_t guest
        cdef size_t step
        cdef Slot *slot
        cdef int count = 0
        pthread_mutex_lock(mutex)
        while length:
            guest = <uint64_t>(offset >> self.bits)
            inside = offset & (cluster - 1)
            slot = &self.slots[guest & (SLOTS - 1)]
            if slot.guest != guest + 1 or (writing and not slot.host & WRITABLE):
                pthread_mutex_unlock(mutex)
                return -EAGAIN
            host = <int64_t>(slot.host & ~<uint64_t>WRITABLE) + inside
            step = <size_t>(cluster - inside)
            if step > length:
                step = length
            if count and pieces[count - 1].host + <int64_t>pieces[count - 1].length == host:
                pieces[count - 1].length += step
            elif count == MOST:
                pthread_mutex_unlock(mutex)
                return -EAGAIN
            else:
                pieces[count].host = host
                pieces[count].length = step
                count += 1
            offset += <int64_t>step
            length -= step
        self.running[self.epoch] += 1
        count = count << 1 | self.epoch
        pthread_mutex_unlock(mutex)
        return count

    cdef void done(self, int epoch) noexcept nogil:
        cdef pthread_mutex_t *mutex = <pthread_mutex_t *>self.mutex
        pthread_mutex_lock(mutex)
        self.running[epoch] -= 1
        pthread_mutex_unlock(mutex)

    cdef int read(self, long long offset, void *buffer, size_t length) noexcept nogil:
        return self.transfer(offset, <unsigned char *>buffer, length, False)

    cdef int read_now(self, long long offset, void *buffer, size_t length) noexcept nogil:
        return self.transfer(offset, <unsigned char *>buffer, length, True)

    cdef int transfer(self, int64_t offset, unsigned char *buffer, size_t length, bint now) noexcept nogil:
        cdef Piece pieces[MOST]
        cdef int found = self.find(offset, length, False, pieces)
        cdef int number
        cdef int code = 0
        if found < 0:
            return found
        for number in range(found >> 1):
            if now:
                code = self.file.read_now(pieces[number].host, buffer, pieces[number].length)
            else:
                code = self.file.read(pieces[number].host, buffer, pieces[number].length)
            if code:
                break
            buffer += pieces[number].length
        self.done(found & 1)
        return code

    cdef int write(self, long long offset, const void *buffer, size_t length, bint fua) noexcept nogil:
        cdef Piece pieces[MOST]
        cdef const unsigned char *source = <const unsigned char *>buffer
        cdef int found, number
        cdef int code = 0
        if fua:
            return -EAGAIN
        found = self.find(offset, length, True, pieces)
        if found < 0:
            return found
        for number in range(found >> 1):
            code = self.file.write(pieces[number].host, source, pieces[number].length, False)
            if code:
                break
            source += pieces[number].length
        self.done(found & 1)
        return code

    cdef int flush(self) noexcept nogil:
        return -EAGAIN
