"""A guest's memory, mapped: regions that the front end hands over as open files.

A ``Region`` maps its file for as long as it lives; a ``Memory`` is a table of regions and never changes, so that whoever holds one may read it
without a lock. A region that is added or taken away is a new ``Memory`` over the same regions.

The file belongs to the guest's side and may be cut short while it is mapped: see ``bus_error.h``. ``Memory.broken`` then says so.
"""

from libc.errno cimport errno
from libc.stdint cimport uintptr_t

import os

from vsw.virtio.faults import FrontEndError


cdef extern from *:
    """
    #include <sys/mman.h>
    #include <sys/vfs.h>
    #ifndef MADV_DONTDUMP
    #define MADV_DONTDUMP 16
    #endif
    """
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long long offset) nogil
    int munmap(void *address, size_t length) nogil
    int madvise(void *address, size_t length, int advice) nogil
    void *MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_NORESERVE, MADV_DONTDUMP
    ctypedef struct statfs_t "struct statfs":
        long f_type
    int fstatfs(int fd, statfs_t *into) nogil

cdef extern from "vsw/virtio/bus_error.h" nogil:
    int vsw_catch_bus_errors() noexcept
    int vsw_watch(uintptr_t start, uintptr_t end, uint32_t *broken) noexcept
    void vsw_unwatch(int row) noexcept

MOST_REGIONS = VSW_REGIONS
"""Regions of one guest's memory."""
MOST_BYTES = 1 << 44
"""Bytes of one region. Mapping costs no memory, but a process has only so many addresses."""
cdef enum:
    FUSE_MAGIC = 0x65735546            # a file system whose server can let any access to its pages wait for ever
cdef uint64_t LAST = 0xFFFFFFFFFFFFFFFF


cdef class Region:
    """``size`` bytes of the open file ``fd`` from ``offset`` on, which the guest has at ``guest`` and the front end at ``user``.

    ``fd`` stays the caller's, who may close it at once. Raises :class:`~vsw.virtio.faults.FrontEndError` with the numbers that do not fit.
    """

    def __cinit__(self, int fd, uint64_t guest, uint64_t size, uint64_t user, uint64_t offset):
        cdef void *mapped
        cdef statfs_t system
        cdef uint64_t page, skipped
        self.row = -1
        if size == 0 or size > MOST_BYTES or guest > LAST - size or user > LAST - size or offset > MOST_BYTES:
            raise FrontEndError(f"a memory region of {size} bytes at guest {guest:#x}, user {user:#x}, offset {offset:#x} is not possible")
        try:
            state = os.fstat(fd)
        except OSError as error:
            raise FrontEndError(f"a memory region's file can't be used: {error.strerror}") from None
        if offset + size > <uint64_t>state.st_size:
            raise FrontEndError(f"a memory region ends at byte {offset + size} of its file, which has {state.st_size}")
        if fstatfs(fd, &system) == 0 and system.f_type == FUSE_MAGIC:
            raise FrontEndError("a memory region's file lies on FUSE: its pages could be withheld for ever")
        # Huge pages are mapped as wholes; the file's block size says how large they are.
        page = max(<uint64_t>4096, <uint64_t>state.st_blksize)
        if page & (page - 1):
            page = 4096
        skipped = offset & (page - 1)
        self.length = <size_t>((skipped + size + page - 1) & ~(page - 1))
        mapped = mmap(NULL, self.length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, <long long>(offset - skipped))
        if mapped == MAP_FAILED:
            raise FrontEndError(f"a memory region of {size} bytes can't be mapped: {os.strerror(errno)}")
        self.mapped = mapped
        self.guest = guest
        self.size = size
        self.user = user
        self.place = (state.st_dev, state.st_ino, offset)
        self.host = <uint8_t *>mapped + skipped
        madvise(mapped, self.length, MADV_DONTDUMP)
        if vsw_catch_bus_errors() != 0:
            raise FrontEndError(f"the handler for bus errors can't be installed: {os.strerror(errno)}")
        self.row = vsw_watch(<uintptr_t>mapped, <uintptr_t>mapped + self.length, &self.broken)
        if self.row < 0:
            raise FrontEndError("there are too many memory regions in this process")

    def same(self, Region other):
        """Whether both are the same piece of the same file at the same addresses."""
        return (self.guest, self.size, self.user, self.place) == (other.guest, other.size, other.user, other.place)

    def __dealloc__(self):
        if self.row >= 0:
            vsw_unwatch(self.row)
        if self.mapped != NULL:
            munmap(self.mapped, self.length)


cdef class Memory:
    """The regions of one guest. Unmapped when the last reference to a region goes: rings hold one for as long as they run."""

    def __init__(self, regions):
        cdef Region region
        cdef uint32_t i
        self.regions = tuple(regions)
        if len(self.regions) > VSW_REGIONS:
            raise FrontEndError(f"{len(self.regions)} memory regions are more than {VSW_REGIONS}")
        ordered = sorted(self.regions, key=lambda region: region.guest)
        for i in range(1, len(ordered)):
            if ordered[i].guest < ordered[i - 1].guest + ordered[i - 1].size:
                raise FrontEndError(f"memory regions at guest {ordered[i - 1].guest:#x} and {ordered[i].guest:#x} overlap")
        # The largest first: most buffers lie there.
        for i, region in enumerate(sorted(self.regions, key=lambda region: -region.size)):
            self.table.region[i].guest = region.guest
            self.table.region[i].size = region.size
            self.table.region[i].user = region.user
            self.table.region[i].host = region.host
            self.table.region[i].broken = &region.broken
        self.table.count = <uint32_t>len(self.regions)

    @property
    def broken(self):
        """True once a file behind a region was cut short: its pages then read as zeroes, and the guest no longer sees what is written."""
        return vsw_memory_broken(&self.table) != 0
