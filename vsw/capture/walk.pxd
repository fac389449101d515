# walk.pxd: passes over captures, declared.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from vsw.datapath.source cimport vsw_burst, vsw_source


cdef extern from "vsw/capture/walk.h" nogil:
    enum:
        VSW_CAPTURED_MAX
        VSW_CHECKPOINT
        VSW_WINDOW_SHIFT
        VSW_LINKTYPE_ETHERNET
    uint64_t VSW_NO_END

    ctypedef enum vsw_walk_error:
        VSW_WALK_OK
        VSW_WALK_CUT_HEADER
        VSW_WALK_CUT_RECORD
        VSW_WALK_CAPTURED
        VSW_WALK_SHRUNK
        VSW_WALK_INPUT
        VSW_WALK_INTERRUPTED
        VSW_WALK_TAIL
        VSW_WALK_BLOCK_LENGTH
        VSW_WALK_BLOCK_LONG
        VSW_WALK_BLOCK_TRAILER
        VSW_WALK_BODY
        VSW_WALK_SECTION_ORDER
        VSW_WALK_SECTION_VERSION
        VSW_WALK_INTERFACE
        VSW_WALK_INTERFACES
        VSW_WALK_LINKTYPE
        VSW_WALK_OPTION
        VSW_WALK_MEMORY

    ctypedef struct vsw_interface:
        uint64_t block
        int64_t offset
        uint64_t multiply
        uint64_t divide
        uint32_t shift
        uint32_t snaplen
        uint16_t linktype
        uint8_t fcs
        uint8_t swapped

    ctypedef struct vsw_checkpoint:
        uint64_t offset
        uint64_t skipped
        uint64_t longer
        uint32_t section
        uint32_t interfaces
        uint32_t swapped

    ctypedef struct vsw_index:
        vsw_checkpoint *checkpoints
        uint64_t count
        uint32_t complete
        uint64_t frames
        uint64_t skipped
        uint64_t longer
        vsw_walk_error error
        uint64_t error_at
        uint64_t error_found
        uint64_t error_wanted
        vsw_interface *interfaces
        uint32_t interface_count

    ctypedef struct vsw_mapping:
        const uint8_t *base
        uint64_t size
        int fd
        uint8_t *windows

    ctypedef struct vsw_walk:
        vsw_source source
        uint32_t (*scan)(vsw_walk *self, vsw_burst *burst, uint32_t limit) noexcept nogil
        uint32_t (*refill)(vsw_walk *self) noexcept nogil
        void *owner
        const uint8_t *at
        const uint8_t *end
        const uint8_t *stop
        const uint8_t *base
        uint64_t base_offset
        const uint8_t *window
        vsw_mapping *mapping
        vsw_index *index
        uint64_t frame
        uint64_t left
        uint64_t skipped
        uint64_t longer
        uint32_t guess
        uint32_t tolerant
        uint32_t done
        uint32_t tail
        uint32_t swapped
        uint32_t fcs
        uint32_t scale
        vsw_walk_error error
        uint64_t error_at
        uint64_t error_found
        uint64_t error_wanted
        vsw_interface *interfaces
        uint32_t interface_count
        uint32_t interface_room
        uint32_t section
        uint8_t **kept
        uint64_t kept_bytes

    uint16_t vsw_load16(const uint8_t *source, int swapped)
    uint32_t vsw_load32(const uint8_t *source, int swapped)
    uint32_t vsw_walk_next(vsw_source *source, vsw_burst *burst, uint32_t limit)
    uint64_t vsw_walk_offset(const vsw_walk *walk, const uint8_t *at)
    uint64_t vsw_walk_skip(vsw_walk *walk, uint64_t count)
    int vsw_index_start(vsw_index *index, const vsw_checkpoint *first)
    void vsw_index_free(vsw_index *index)
    uint64_t vsw_index_find(vsw_index *index, uint64_t frame, vsw_checkpoint *found)
    uint64_t vsw_index_find_offset(vsw_index *index, uint64_t offset, vsw_checkpoint *found)
    uint64_t vsw_index_known(vsw_index *index, uint32_t *complete)
    void vsw_index_lock(vsw_index *index)
    void vsw_index_unlock(vsw_index *index)


cdef extern from "vsw/capture/pcap.h" nogil:
    enum:
        VSW_PCAP_HEADER
        VSW_PCAP_VERSION
        VSW_PCAP_SNAPLEN
        VSW_PCAP_LINKTYPE
        VSW_PCAP_MAJOR
        VSW_PCAP_MINOR
        VSW_PCAP_RECORD
        VSW_PCAP_FCS_SHIFT
    uint32_t VSW_PCAP_MICRO
    uint32_t VSW_PCAP_NANO
    uint32_t VSW_PCAP_MODIFIED
    uint32_t VSW_PCAP_LINKTYPE_BITS
    uint32_t VSW_PCAP_FCS_PRESENT

    uint32_t vsw_pcap_scan_micro(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
    uint32_t vsw_pcap_scan_nano(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
    uint32_t vsw_pcap_scan_swapped_micro(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
    uint32_t vsw_pcap_scan_swapped_nano(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
    uint32_t vsw_pcap_scan_fcs(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
    int vsw_pcap_plausible(const uint8_t *at, const uint8_t *end, uint32_t chain, int swapped, uint32_t scale)


cdef extern from "vsw/capture/pcapng.h" nogil:
    enum:
        VSW_SECTION_ORDER
        VSW_BLOCK_LENGTH
        VSW_BLOCK_TRAILER
        VSW_SECTION_OPTIONS
        VSW_INTERFACE_OPTIONS
        VSW_OPTION_COMMENT
        VSW_OPTION_NAME
        VSW_OPTION_DESCRIPTION

    uint32_t VSW_BLOCK_SECTION
    uint32_t VSW_SECTION_MAGIC

    uint32_t vsw_pcapng_scan(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
    int vsw_pcapng_option(const uint8_t **at, const uint8_t *end, int swapped, uint32_t *code, uint32_t *length, const uint8_t **value)


cdef extern from "vsw/capture/stream.h" nogil:
    ctypedef struct vsw_stream:
        int fd
        uint64_t place
        uint64_t size
        uint8_t *memory
        size_t room
        size_t filled
        int (*interrupted)(void *owner) noexcept nogil
        void *owner

    int vsw_stream_start(vsw_stream *stream, int fd, uint64_t size)
    uint8_t *vsw_stream_window(const vsw_stream *stream)
    ssize_t vsw_stream_read(vsw_stream *stream)
    uint32_t vsw_stream_refill(vsw_walk *walk)
