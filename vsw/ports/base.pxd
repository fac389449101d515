# base.pxd: a live port, declared: the C structure that the run loop calls, and the class that holds it.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from vsw.datapath.pipeline cimport vsw_copy
from vsw.datapath.source cimport vsw_burst


cdef extern from "vsw/ports/port.h" nogil:
    enum:
        VSW_SLOT_BYTES
        VSW_PORT_DROPS
        VSW_DROP_RX_MALFORMED
        VSW_DROP_RX_LOST
        VSW_DROP_TX_FULL
        VSW_DROP_TX_NO_PEER
        VSW_DROP_TX_TOO_LONG
        VSW_DROP_TX_REFUSED
        VSW_DROP_INJECTED
    size_t VSW_SLOTS_SIZE
    int64_t VSW_NEVER

    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_lock(pthread_mutex_t *lock)
    int pthread_mutex_unlock(pthread_mutex_t *lock)

    ctypedef struct vsw_live_counters:
        uint64_t rx_frames
        uint64_t rx_bytes
        uint64_t tx_frames
        uint64_t tx_bytes
        uint64_t rx_cut_frames
        uint64_t rx_cut_bytes
        uint64_t tx_joined_frames
        uint64_t tx_joined_bytes
        uint64_t *drops

    ctypedef struct vsw_slots:
        uint8_t *base

    ctypedef struct vsw_out:
        vsw_copy copy
        const uint8_t *data
        int64_t time
        uint32_t captured
        uint32_t next

    ctypedef struct vsw_live:
        uint32_t (*receive)(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) noexcept nogil
        void (*release)(vsw_live *self) noexcept nogil
        void (*transmit)(vsw_live *self, const vsw_out *const *out, uint32_t count) noexcept nogil
        uint32_t (*arm)(vsw_live *self) noexcept nogil
        void (*disarm)(vsw_live *self) noexcept nogil
        int rx_fd
        int tx_fd
        uint32_t link
        uint32_t attention
        uint32_t blocked
        uint32_t shortest
        int64_t now
        int64_t due
        vsw_live_counters counters
        pthread_mutex_t lock

    void vsw_live_init(vsw_live *live)


cdef class Port:
    # A subclass allocates `live` (its own structure begins with a vsw_live) in __cinit__ by `_own`, and fills it when it opens.
    cdef vsw_live *live
    cdef readonly str name
    cdef readonly bint closed
    cdef vsw_burst *_burst
    cdef vsw_slots _slots
    cdef public object retry_at
    cdef readonly bint timed
    cdef double _quiet_until
    cdef uint32_t _unsaid
    cdef vsw_live *_own(self, size_t size) except NULL
    cdef _transmit(self, const vsw_out **out, uint32_t count)
    cpdef int control_fd(self)
    cpdef service(self)
    cpdef _close(self)
