# memory.pxd: a guest's memory, declared for the devices that reach into it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "vsw/virtio/memory.h" nogil:
    enum:
        VSW_REGIONS

    ctypedef struct vsw_region:
        uint64_t guest
        uint64_t size
        uint64_t user
        uint8_t *host
        const uint32_t *broken

    ctypedef struct vsw_memory:
        uint32_t count
        vsw_region region[32]

    int vsw_memory_broken(const vsw_memory *memory) noexcept
    uint8_t *vsw_guest(const vsw_memory *memory, uint64_t address, uint64_t *length) noexcept
    uint8_t *vsw_guest_whole(const vsw_memory *memory, uint64_t address, uint64_t length) noexcept
    uint8_t *vsw_user_whole(const vsw_memory *memory, uint64_t address, uint64_t length) noexcept


cdef class Region:
    cdef void *mapped                  # NULL once it is unmapped
    cdef size_t length                 # bytes mapped
    cdef int row                       # of the handler's table, -1
    cdef uint32_t broken
    cdef readonly uint64_t guest
    cdef readonly uint64_t size
    cdef readonly uint64_t user
    cdef readonly tuple place          # device and number of the file, offset
    cdef uint8_t *host


cdef class Memory:
    cdef readonly tuple regions
    cdef vsw_memory table
