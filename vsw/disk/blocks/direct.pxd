# The compiled door to a backend's bytes, for callers that hold no GIL (iSCSI's and NBD's request loops).
#
# Every method returns 0 or a negative errno, transfers all bytes or fails, and may run in several threads at once.
# -EAGAIN means "not this way": the caller asks the Python backend instead, which says what is wrong or does it slowly.
# The caller has checked range, alignment and read-only; the backend's close() must not run meanwhile.

cdef class Direct:
    cdef int read(self, long long offset, void *buffer, size_t length) noexcept nogil
    # The same, but -EAGAIN rather than waiting for a device: for callers that have other requests to look after.
    cdef int read_now(self, long long offset, void *buffer, size_t length) noexcept nogil
    cdef int write(self, long long offset, const void *buffer, size_t length, bint fua) noexcept nogil
    cdef int flush(self) noexcept nogil


cdef class FileDirect(Direct):
    cdef int fd
    cdef size_t bounce      # 0, or the memory alignment that O_DIRECT demands
    cdef int lost           # the errno of a flush that failed
    cdef bint always_waits  # the file system can't say whether a read would wait


cdef class MemoryDirect(Direct):
    cdef unsigned char *memory
    cdef size_t size
    cdef unsigned char *written     # one byte for each granule of memory: 1 once written
