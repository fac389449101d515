"""Copies that left a switch: recorded as descriptions, put together as bytes on request."""

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from vsw.datapath.pipeline cimport vsw_copy, vsw_sink
from vsw.datapath.source cimport FrameReader, FrameSource, vsw_burst, vsw_source

cdef extern from "vsw/switch/copies.h" nogil:
    enum:
        VSW_HEAD
    ctypedef struct vsw_recorder:
        vsw_sink sink
        vsw_copy *copies
        uint64_t count
    int vsw_recorder_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time)
    uint32_t vsw_copy_head(const vsw_copy *copy, const uint8_t *data, uint8_t *head)

#: One row a copy.  ``frame`` counts within the run; ``length`` is in bytes on the wire; ``tags`` says how many of ``tag`` (TPID, TCI; host order)
#: the copy carries before the frame's bytes from ``body_at`` on; ``pad`` zeros follow.
COPY = np.dtype(
    [
        ("frame", "<u8"),
        ("length", "<u4"),
        ("port", "<u2"),
        ("tags", "u1"),
        ("body_at", "u1"),
        ("tag", [("tpid", "<u2"), ("tci", "<u2")], 3),
        ("pad", "u1"),
        ("reserved", "u1", 3),
    ]
)


cdef class Recorder:
    """A sink that keeps every copy's description."""

    cdef vsw_recorder *recorder

    def __cinit__(self):
        self.recorder = <vsw_recorder *>calloc(1, sizeof(vsw_recorder))
        if self.recorder == NULL:
            raise MemoryError
        self.recorder.sink.copy = <int (*)(vsw_sink *, const vsw_copy *, const uint8_t *, uint32_t, int64_t) noexcept nogil>vsw_recorder_copy

    def __dealloc__(self):
        if self.recorder != NULL:
            free(self.recorder.copies)
            free(self.recorder)

    @property
    def sink(self):
        """Address of the ``vsw_sink``."""
        return <uintptr_t>&self.recorder.sink

    def check(self):
        """Raise if the sink could not take a copy."""
        if self.recorder.sink.failed:
            raise MemoryError("no memory for more copies")

    def take(self):
        """The copies so far, as an array of :data:`COPY`; the recorder is empty afterwards."""
        cdef uint64_t count = self.recorder.count
        array = np.empty(count, COPY)
        if count:
            memcpy(<void *><uintptr_t>array.ctypes.data, self.recorder.copies, count * sizeof(vsw_copy))
        self.recorder.count = 0
        return array


cdef bytes _assemble(const vsw_copy *copy, const uint8_t *data, uint32_t captured):
    cdef uint8_t head[VSW_HEAD]
    cdef uint32_t length = vsw_copy_head(copy, data, head)
    return head[:length] + (<const char *>data)[copy.body_at:captured] + bytes(copy.pad)


def copy_bytes(FrameSource frames, copies):
    """Yield ``(frame, port, bytes, length)`` for rows of :data:`COPY` in ascending order of ``frame``.

    ``bytes`` are those that were captured, as they leave the port; ``length`` is the copy's length on the wire.  ``frame`` counts from the
    source's first frame.
    """
    cdef vsw_burst burst
    cdef FrameReader reader
    cdef vsw_source *source
    cdef uint64_t first, done
    cdef const vsw_copy *rows
    cdef uint64_t i = 0
    cdef uint32_t at
    copies = np.ascontiguousarray(copies, COPY)
    if not len(copies):
        return
    rows = <const vsw_copy *><uintptr_t>copies.ctypes.data
    first = rows[0].frame
    reader = frames.reader(first, <uint64_t>-1)
    source = reader.source
    done = first
    while i < <uint64_t>len(copies):
        burst.count = source.next(source, &burst, 256)
        if not burst.count:
            reader.check()
            return
        while i < <uint64_t>len(copies) and rows[i].frame < done + burst.count:
            at = <uint32_t>(rows[i].frame - done)
            piece = _assemble(&rows[i], burst.data[at], burst.captured[at])
            yield int(rows[i].frame), int(rows[i].port), piece, int(rows[i].length)
            i += 1
        done += burst.count
