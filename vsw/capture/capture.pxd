# capture.pxd: capture files as frame sources, declared.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from vsw.capture.walk cimport vsw_checkpoint, vsw_index, vsw_mapping, vsw_stream, vsw_walk
from vsw.datapath.source cimport FrameReader, FrameSource, vsw_burst


cdef class CaptureFile:
    # The bytes of one capture and what is known about them.  Captures (slices of each other) and readers share it; it goes with the last.
    cdef vsw_mapping mapping
    cdef vsw_index index
    cdef vsw_stream stream                    # a pipe: nothing is mapped, until it is spooled
    cdef int descriptor                       # of what is mapped
    cdef uint8_t *region
    cdef uint64_t region_size
    cdef uint32_t (*scan)(vsw_walk *self, vsw_burst *burst, uint32_t limit) noexcept nogil
    cdef readonly str name
    cdef readonly str format
    cdef readonly bint strict
    cdef readonly bint swapped
    cdef readonly uint32_t scale
    cdef readonly uint32_t snaplen
    cdef readonly uint32_t fcs
    cdef object tail                          # what ended a spooled stream before the capture did: a message, or None
    cdef object peaks                         # greatest time of each VSW_CHECKPOINT frames: a memoryview of int64, or None
    cdef object spooling                      # a lock
    cdef uint8_t *kept                        # a pipe's interface descriptions
    cdef bint pcapng
    cdef bint taken                           # a pipe is being read

    cdef map(self, int descriptor, bint may_shrink)
    cdef sniff(self)
    cdef pcap(self, const uint8_t *base, uint64_t size, bint swapped)
    cdef spool(self)
    cdef message(self, int error, uint64_t found, uint64_t wanted)
    cdef error(self, uint64_t offset, message, uint64_t frames)
    cdef CaptureReader at_frame(self, uint64_t start, uint64_t stop)
    cdef CaptureReader at_checkpoint(self, vsw_checkpoint *checkpoint)
    cdef CaptureReader at_stream(self, uint64_t start, uint64_t stop)
    cdef CaptureReader in_windows(self)
    cdef CaptureReader over(self, vsw_stream *stream)
    cdef uint64_t known(self, uint64_t upto)
    cdef interface(self, uint32_t number)


cdef class CaptureReader(FrameReader):
    cdef CaptureFile file
    cdef vsw_walk walk
    cdef vsw_stream window                    # of a pass that reads a file instead of mapping it
    cdef object exception                     # what a signal's handler raised while a pipe was read


cdef class Capture(FrameSource):
    cdef CaptureFile file
    cdef uint64_t first                       # number of this capture's frame 0 in the file
    cdef uint64_t last                        # frames of the file from here on don't belong to it; VSW_NO_END: to the end

    cdef CaptureFile opened(self)
    cdef CaptureFile mapped(self)
    cdef uint64_t boundary_indexed(self, uint64_t at)
    cdef uint64_t boundary_guessed(self, uint64_t at)


cdef class HeldBurst:
    # Memory for a burst that a Python object holds.
    cdef vsw_burst *burst


cdef frame_of(vsw_burst *burst, uint32_t i, bint interfaces)
