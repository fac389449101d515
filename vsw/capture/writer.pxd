# writer.pxd: writing captures, declared.  Loops without the GIL call vsw_writer_frame on &writer.writer.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from vsw.datapath.source cimport FrameSource, vsw_burst


cdef extern from "vsw/capture/write.h" nogil:
    enum:
        VSW_WRITER_HEAD

    ctypedef enum vsw_writer_format:
        VSW_WRITER_PCAP_MICRO
        VSW_WRITER_PCAP_NANO
        VSW_WRITER_PCAPNG

    ctypedef struct vsw_writer:
        uint8_t *buffer
        size_t filled
        uint64_t frames
        uint64_t bytes
        int fd
        int error
        uint32_t interfaces
        int (*interrupted)(void *owner) noexcept nogil
        void *owner

    int vsw_writer_start(vsw_writer *writer, int fd, vsw_writer_format format)
    int vsw_writer_start_with(vsw_writer *writer, int fd, vsw_writer_format format, size_t room)
    int vsw_writer_flush(vsw_writer *writer)
    int vsw_writer_raw(vsw_writer *writer, const uint8_t *data, size_t count)
    int vsw_writer_frame(vsw_writer *writer, const uint8_t *head, uint32_t head_len, const uint8_t *body, uint32_t body_len,
                         uint32_t orig_len, int64_t time)
    int vsw_writer_frame_on(vsw_writer *writer, uint32_t interface, const uint8_t *head, uint32_t head_len, const uint8_t *body,
                            uint32_t body_len, uint32_t orig_len, int64_t time)
    int vsw_writer_frame_roomy(vsw_writer *writer, uint32_t interface, const uint8_t *head, uint32_t head_len, const uint8_t *body,
                               uint32_t body_len, uint32_t orig_len, int64_t time)
    int vsw_writer_burst(vsw_writer *writer, const vsw_burst *burst, uint32_t count, int interfaces)


cdef class CaptureWriter:
    cdef vsw_writer writer
    cdef readonly str name
    cdef str target                           # the final name, symbolic links resolved
    cdef str temporary                        # the name until it is closed; None for what is not a file
    cdef bint sync
    cdef bint finished
    cdef object exception                     # what a signal's handler raised while a pipe was written

    cdef start(self, path, vsw_writer_format format, bint sync)
    cdef raw(self, bytes data)
    cpdef check(self)
