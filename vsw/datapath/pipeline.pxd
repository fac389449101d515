# pipeline.pxd: the datapath's C structures and its extension types, declared for other Cython modules (writers of egress captures, live ports).
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from vsw.datapath.source cimport FrameReader, vsw_burst, vsw_source


cdef extern from "vsw/datapath/pipeline.h" nogil:
    ctypedef struct vsw_tag:
        uint16_t tpid
        uint16_t tci

    ctypedef struct vsw_copy:
        uint64_t frame
        uint32_t length
        uint16_t port
        uint8_t tags
        uint8_t body_at
        vsw_tag *tag
        uint8_t pad

    ctypedef struct vsw_sink:
        int (*copy)(vsw_sink *self, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) noexcept nogil
        uint32_t failed

    ctypedef struct vsw_module:
        uint32_t flags
        uint16_t ports
        uint16_t teams
        uint16_t default_port
        uint32_t module_limit

    ctypedef struct vsw_port:
        uint32_t flags

    ctypedef struct vsw_vlan:
        uint16_t fid

    ctypedef struct vsw_group:
        uint32_t start

    ctypedef struct vsw_team:
        uint16_t first

    ctypedef struct vsw_hot_in:
        uint32_t word

    ctypedef struct vsw_tables:
        vsw_module module
        vsw_port *ports
        const vsw_vlan *vlans
        const vsw_group *groups
        const uint16_t *members
        vsw_team *teams
        const uint64_t *accept
        const uint64_t *receive
        vsw_hot_in *hot_in
        uint32_t *hot_out
        uint16_t *hot_vlans

    ctypedef struct vsw_learned:
        uint64_t key
        int64_t stamp
        uint32_t older
        uint32_t newer
        uint16_t port
        uint16_t used

    ctypedef struct vsw_learned_list:
        uint32_t oldest
        uint32_t newest
        uint32_t count

    ctypedef struct vsw_fdb:
        uint64_t bucket_count
        uint64_t entries
        uint32_t any_count
        uint32_t learned_capacity
        vsw_learned *learned
        vsw_learned_list all
        uint32_t *slot_pool

    ctypedef struct vsw_counters:
        uint64_t *rx
        uint64_t *tx
        uint64_t *rx_frames
        uint64_t *rx_bytes
        uint64_t *tx_frames
        uint64_t *tx_bytes
        uint64_t *dropped
        uint64_t *filtered
        uint64_t *reasons
        uint64_t offered
        uint64_t delivered
        uint64_t consumed
        uint64_t copies_selected
        uint64_t copies_out
        uint64_t time_backwards
        uint64_t normalised
        uint64_t learned
        uint64_t moved
        uint64_t evicted
        uint64_t aged

    ctypedef struct vsw_columns:
        uint8_t *verdict
        uint8_t *reason
        uint16_t *port_in
        int16_t *egress_port
        uint16_t *vlan
        uint8_t *normalised

    ctypedef struct vsw_worker:
        const vsw_tables *tables
        vsw_fdb *fdb
        const vsw_fdb *owners
        vsw_counters counters
        vsw_columns columns
        const uint16_t *ingress
        const uint16_t *interface_ports
        uint32_t interface_count
        uint32_t interfaces
        uint32_t port
        vsw_sink *sink
        uint64_t frame
        int64_t now
        int64_t first_time
        uint32_t started
        uint32_t inside
        uint32_t exact
        const void *lane
        vsw_burst burst


# vsw_run of this module, for callers in C (see vsw/switch/entry.pyx): a run without Python.  Packed counters stay packed until somebody asks.
ctypedef int (*vsw_run_call)(vsw_worker *w, vsw_source *s, const uint32_t *closed, uint64_t limit, uint32_t burst, int64_t until) noexcept nogil


cdef class Worker:
    # One thread's share of a datapath: its burst, its counters.
    cdef vsw_worker *worker
    cdef vsw_run_call call
    cdef readonly Datapath datapath
    cdef object arrays          # the counters' memory, as numpy arrays by name
    cdef object keep            # what the worker's pointers lead to
    cdef object rows
    cdef FrameReader reader
    cpdef int run(self, uint64_t limit, int64_t until, uint32_t burst) except -1
    cdef reserve(self, uint32_t ports)


cdef class Datapath:
    cdef vsw_tables tables
    cdef vsw_fdb fdb
    cdef vsw_fdb owners
    cdef uint32_t closed
    cdef object current         # the Tables whose arrays `tables` points into
    cdef object writer_lock     # one writer at a time; also over `workers`
    cdef object run_lock        # a stateful run is alone
    cdef list workers
    cdef list idle
    cdef object hot             # the arrays behind the hot tables
    cdef object retired         # counters of workers that are gone
    cdef readonly bint stateful
    cdef readonly bint programmed
    cdef bint has_owners
    cdef _close(self)
    cdef _open(self)
    cdef _own(self, object tables)
    cdef _point(self)
    cdef _reserve(self)
