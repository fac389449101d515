# entry.pxd: the switch for other Cython programs; docs/reference/c-level.md has the whole story.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t


cdef extern from "vsw/switch/entry.h" nogil:
    ctypedef struct vsw_offer:
        const uint8_t *data
        uint32_t captured
        uint32_t length
        int64_t time
        uint16_t port

    ctypedef struct vsw_fate:
        uint8_t verdict
        uint8_t reason
        uint16_t vlan
        int16_t egress_port

    ctypedef struct vsw_leaving:
        uint32_t offer
        uint16_t port
        uint16_t head_bytes
        const uint8_t *head
        const uint8_t *body
        uint32_t body_bytes
        uint32_t pad
        uint32_t length

    ctypedef int (*vsw_leave)(void *context, const vsw_leaving *leaving) noexcept nogil


cdef class Entry:
    # What is behind it is no business of those who call it, so that they need not be built again when it changes.
    cdef object switch
    cdef object worker
    cdef object lock
    cdef void *state
    cdef uint32_t forward(self, const vsw_offer *offers, uint32_t count, vsw_fate *fates, vsw_leave leave, void *context) noexcept nogil
