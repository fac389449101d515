# retag.pxd: pushing, popping and rewriting tags, declared for the modules that do it while they write.
from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef extern from "vsw/datapath/wire/retag.h" nogil:
    enum:
        VSW_RETAG_OUTCOMES
        VSW_RETAG_STAYS
        VSW_RETAG_VIDS

    ctypedef enum vsw_retag_kind:
        VSW_RETAG_PUSH
        VSW_RETAG_POP
        VSW_RETAG_TRANSLATE

    ctypedef struct vsw_retag:
        vsw_retag_kind kind
        uint32_t pad
        uint16_t tpid
        uint16_t keep
        uint16_t set
        uint16_t vid[VSW_RETAG_VIDS]

    ctypedef struct vsw_edit:
        uint8_t *head
        uint32_t head_len
        uint32_t body_at
        uint32_t pad
        uint32_t captured
        uint32_t length

    int vsw_retag_frame(const vsw_retag *rule, const uint8_t *data, uint32_t captured, uint32_t length, vsw_edit *edit)


cdef class Retag:
    # A rule; it never changes, so that any number of threads may use it.
    cdef vsw_retag rule
    cdef readonly str kind
