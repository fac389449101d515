"""Reads and writes of whole ranges without the GIL: the part of a block backend that requests of guests pass through.

One virtual call per request. ``FileDirect`` is pread and pwrite until everything is transferred; ``MemoryDirect`` is memcpy. The
few system calls that Python does not offer (fallocate with a mode) are here too.
"""

from libc.errno cimport errno, EAGAIN, EINTR, EIO, ENOSYS, EOPNOTSUPP
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <linux/falloc.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <sys/types.h>
    #include <sys/uio.h>
    #include <unistd.h>

    #ifndef RWF_DSYNC
    #define RWF_DSYNC 0x00000002
    #endif
    #ifndef RWF_NOWAIT
    #define RWF_NOWAIT 0x00000008
    #endif

    /* Reads what is in the page cache; EAGAIN where the device would have to be asked. */
    static ssize_t vsw_pread_now(int fd, void *buffer, size_t length, off_t offset) {
        struct iovec piece = {buffer, length};
        return preadv2(fd, &piece, 1, offset, RWF_NOWAIT);
    }

    /* pwritev2 with RWF_DSYNC writes and flushes these bytes only; kernels that lack it get write and fdatasync. */
    static ssize_t vsw_pwrite(int fd, const void *buffer, size_t length, off_t offset, int fua, int *flush_after) {
        if (fua && !*flush_after) {
            struct iovec piece = {(void *)buffer, length};
            ssize_t done = pwritev2(fd, &piece, 1, offset, RWF_DSYNC);
            if (done >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return done;
            *flush_after = 1;
        }
        return pwrite(fd, buffer, length, offset);
    }
    """
    ssize_t vsw_pread_now(int fd, void *buffer, size_t length, long long offset) nogil
    ssize_t pread(int fd, void *buffer, size_t length, long long offset) nogil
    ssize_t vsw_pwrite(int fd, const void *buffer, size_t length, long long offset, int fua, int *flush_after) nogil
    int fdatasync(int fd) nogil
    int fallocate(int fd, int mode, long long offset, long long length) nogil
    int posix_memalign(void **memory, size_t alignment, size_t length) nogil
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long long offset) nogil
    int munmap(void *address, size_t length) nogil
    int madvise(void *address, size_t length, int advice) nogil
    void *MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MADV_DONTNEED
    int FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE

MEMORY_GRANULE = 4096
"""Bytes that the memory backend allocates and frees as one."""
cdef enum:
    GRANULE_SHIFT = 12


cdef class Direct:
    cdef int read(self, long long offset, void *buffer, size_t length) noexcept nogil:
        return -EIO

    cdef int read_now(self, long long offset, void *buffer, size_t length) noexcept nogil:
        return self.read(offset, buffer, length)

    cdef int write(self, long long offset, const void *buffer, size_t length, bint fua) noexcept nogil:
        return -EIO

    cdef int flush(self) noexcept nogil:
        return -EIO

    def readinto(self, long long offset, unsigned char[::1] buffer):
        """Fill ``buffer`` from ``offset``; returns 0 or a negative errno."""
        cdef int code
        cdef size_t length = buffer.shape[0]
        if length == 0:
            return 0
        with nogil:
            code = self.read(offset, &buffer[0], length)
        return code

    def write_from(self, long long offset, const unsigned char[::1] data, bint fua):
        """Write ``data`` at ``offset``; returns 0 or a negative errno."""
        cdef int code
        cdef size_t length = data.shape[0]
        if length == 0:
            return 0
        with nogil:
            code = self.write(offset, &data[0], length, fua)
        return code

    def flush_all(self):
        """Flush; returns 0 or a negative errno."""
        cdef int code
        with nogil:
            code = self.flush()
        return code


cdef class FileDirect(Direct):
    """An open file descriptor, which it does not own. ``bounce`` is 0, or the memory alignment that O_DIRECT demands.

    Once a flush has failed, all later ones fail too: the kernel tells of a lost page only once, and drops it.
    """

    def __init__(self, int fd, size_t bounce=0):
        self.fd = fd
        self.bounce = bounce

    cdef int read(self, long long offset, void *buffer, size_t length) noexcept nogil:
        cdef unsigned char *target = <unsigned char *>buffer
        cdef void *aligned = NULL
        cdef size_t done = 0
        cdef ssize_t got
        cdef int code = 0
        if self.bounce and <uintptr_t>buffer % self.bounce:
            code = -posix_memalign(&aligned, self.bounce, length)
            if code:
                return code
            target = <unsigned char *>aligned
        while done < length:
            got = pread(self.fd, target + done, length - done, offset + <long long>done)
            if got < 0:
                if errno == EINTR:
                    continue
                code = -errno
                break
            if got == 0:        # the file ends before the disk does: someone shrank it
                code = -EIO
                break
            done += got
        if aligned != NULL:
            if code == 0:
                memcpy(buffer, aligned, length)
            free(aligned)
        return code

    cdef int read_now(self, long long offset, void *buffer, size_t length) noexcept nogil:
        cdef ssize_t got
        if self.always_waits or self.bounce:
            return self.read(offset, buffer, length)
        got = vsw_pread_now(self.fd, buffer, length, offset)
        if got == <ssize_t>length:
            return 0
        if got < 0 and errno != EAGAIN and errno != EINTR:
            if errno != EOPNOTSUPP and errno != ENOSYS:
                return -errno
            self.always_waits = True
            return self.read(offset, buffer, length)
        return -EAGAIN

    cdef int write(self, long long offset, const void *buffer, size_t length, bint fua) noexcept nogil:
        cdef const unsigned char *source = <const unsigned char *>buffer
        cdef void *aligned = NULL
        cdef size_t done = 0
        cdef ssize_t put
        cdef int code = 0
        cdef int flush_after = 0
        if self.bounce and <uintptr_t>buffer % self.bounce:
            code = -posix_memalign(&aligned, self.bounce, length)
            if code:
                return code
            memcpy(aligned, buffer, length)
            source = <const unsigned char *>aligned
        while done < length:
            put = vsw_pwrite(self.fd, source + done, length - done, offset + <long long>done, fua, &flush_after)
            if put < 0:
                if errno == EINTR:
                    continue
                code = -errno
                if fua:
                    self.lost = errno
                break
            if put == 0:
                code = -EIO
                break
            done += put
        free(aligned)
        if code == 0 and flush_after:
            code = self.flush()
        return code

    cdef int flush(self) noexcept nogil:
        while not self.lost and fdatasync(self.fd) < 0:
            if errno != EINTR:
                self.lost = errno
        return -self.lost

    def punch(self, long long offset, long long length):
        """Free the range, which then reads as zeroes; 0 or a negative errno (``EOPNOTSUPP`` where files have no holes)."""
        cdef int code
        with nogil:
            code = 0 if fallocate(self.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0 else -errno
        return code

    def zero_range(self, long long offset, long long length):
        """Zero the range and keep it allocated; 0 or a negative errno (``EOPNOTSUPP`` where the file system can't)."""
        cdef int code
        with nogil:
            code = 0 if fallocate(self.fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length) == 0 else -errno
        return code


cdef class MemoryDirect(Direct):
    """``size`` bytes of anonymous memory, given out by the kernel page by page as they are written."""

    def __cinit__(self, size_t size):
        cdef void *memory
        cdef size_t granules = (size >> GRANULE_SHIFT) + 1
        self.size = size
        memory = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if memory == MAP_FAILED:
            raise OSError(errno, f"can't map {size} bytes of memory")
        self.memory = <unsigned char *>memory
        memory = mmap(NULL, granules, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if memory == MAP_FAILED:
            raise OSError(errno, f"can't map {granules} bytes of memory")
        self.written = <unsigned char *>memory

    def __dealloc__(self):
        if self.memory != NULL:
            munmap(self.memory, self.size + 1)
        if self.written != NULL:
            munmap(self.written, (self.size >> GRANULE_SHIFT) + 1)

    cdef int read(self, long long offset, void *buffer, size_t length) noexcept nogil:
        # A granule that was never written is zero by definition; reading it would make the kernel map its zero page.
        cdef unsigned char *target = <unsigned char *>buffer
        cdef size_t place = <size_t>offset
        cdef size_t left = length
        cdef size_t step
        while left:
            step = ((<size_t>1 << GRANULE_SHIFT) - (place & ((<size_t>1 << GRANULE_SHIFT) - 1)))
            if step > left:
                step = left
            if self.written[place >> GRANULE_SHIFT]:
                memcpy(target, self.memory + place, step)
            else:
                memset(target, 0, step)
            target += step
            place += step
            left -= step
        return 0

    cdef int write(self, long long offset, const void *buffer, size_t length, bint fua) noexcept nogil:
        cdef size_t first = <size_t>offset >> GRANULE_SHIFT
        cdef size_t last = (<size_t>offset + length - 1) >> GRANULE_SHIFT
        memcpy(self.memory + offset, buffer, length)
        memset(self.written + first, 1, last - first + 1)
        return 0

    cdef int flush(self) noexcept nogil:
        return 0

    def zero(self, size_t offset, size_t length, bint unmap):
        """Zero the range; with ``unmap`` whole granules go back to the kernel, without all of it counts as written."""
        cdef size_t mask = (<size_t>1 << GRANULE_SHIFT) - 1
        cdef size_t start = (offset + mask) & ~mask
        cdef size_t stop = (offset + length) & ~mask
        if offset + length > self.size or length == 0:
            raise ValueError(f"{length} bytes from {offset} do not lie within {self.size} bytes")
        with nogil:
            if start < stop:
                memset(self.memory + offset, 0, start - offset)
                memset(self.memory + stop, 0, offset + length - stop)
                madvise(self.memory + start, stop - start, MADV_DONTNEED)
            else:
                memset(self.memory + offset, 0, length)
            if not unmap:
                memset(self.written + (offset >> GRANULE_SHIFT), 1, ((offset + length - 1) >> GRANULE_SHIFT) - (offset >> GRANULE_SHIFT) + 1)
            elif start < stop:
                memset(self.written + (start >> GRANULE_SHIFT), 0, (stop - start) >> GRANULE_SHIFT)

    def run(self, size_t offset, size_t stop):
        """``(end, written)``: how far the granules from ``offset`` on, up to ``stop``, agree on having been written."""
        cdef size_t granule = offset >> GRANULE_SHIFT
        cdef size_t last
        cdef unsigned char state
        if offset >= stop or stop > self.size:
            raise ValueError(f"{offset}..{stop} does not lie within {self.size} bytes")
        last = (stop - 1) >> GRANULE_SHIFT
        state = self.written[granule]
        with nogil:
            while granule <= last and self.written[granule] == state:
                granule += 1
        return min(granule << GRANULE_SHIFT, stop), bool(state)
