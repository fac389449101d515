"""Some of a source's frames as a source: what changed, what fails, what is left of it while it is made smaller."""

import numpy as np

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from vsw.datapath.source cimport FrameReader, FrameSource, vsw_burst, vsw_source

from vsw.capture.capture import each_frame
from vsw.errors import UsageError


cdef struct selecting:
    vsw_source base                    # first: whoever reads sees only this
    vsw_source *inner
    const int64_t *wanted              # numbers of frames, ascending
    uint64_t left
    uint64_t at                        # number of the inner source's next frame


cdef uint32_t next_selected(vsw_source *base, vsw_burst *burst, uint32_t limit) noexcept nogil:
    # One burst of the inner source at a time, so that frames stay where they are until the next call.
    cdef selecting *self = <selecting *>base
    cdef uint32_t count, kept, i
    while self.left:
        count = self.inner.next(self.inner, burst, limit)
        base.failed = self.inner.failed
        base.position = self.inner.position
        base.interfaces = self.inner.interfaces
        if not count:
            return 0
        kept = 0
        while self.left and <uint64_t>self.wanted[0] < self.at + count:
            i = <uint32_t>(<uint64_t>self.wanted[0] - self.at)
            burst.data[kept] = burst.data[i]
            burst.captured[kept] = burst.captured[i]
            burst.length[kept] = burst.length[i]
            burst.time[kept] = burst.time[i]
            if base.interfaces:
                burst.interface[kept] = burst.interface[i]
            kept += 1
            self.wanted += 1
            self.left -= 1
        self.at += count
        if kept:
            burst.count = kept
            return kept
    burst.count = 0
    return 0


cdef class SelectedReader(FrameReader):

    cdef selecting selecting
    cdef FrameReader inner
    cdef object frames

    def check(self):
        self.inner.check()


cdef class Selected(FrameSource):
    """Those frames of a source (which can be read more than once) whose numbers are in ``frames`` (int64, ascending)."""

    cdef FrameSource source
    cdef object frames

    def __init__(self, FrameSource source not None, frames):
        frames = np.ascontiguousarray(frames, np.int64)
        if len(frames) and (frames[0] < 0 or (np.diff(frames) <= 0).any()):
            raise UsageError("numbers of frames must ascend from 0 or more")
        self.source = source
        self.frames = frames

    cpdef FrameReader reader(self, uint64_t start, uint64_t stop):
        """A pass over frames ``start`` (included) to ``stop`` (excluded; 2**64 - 1 for "to the end") of those selected."""
        cdef SelectedReader reader = SelectedReader.__new__(SelectedReader)
        cdef const int64_t[::1] wanted = self.frames
        cdef uint64_t count = wanted.shape[0]
        start = min(start, count)
        stop = max(start, min(stop, count))
        memset(&reader.selecting, 0, sizeof(reader.selecting))
        reader.frames = self.frames
        reader.selecting.base.next = next_selected
        reader.selecting.left = stop - start
        if stop > start:
            reader.selecting.wanted = &wanted[start]
            reader.selecting.at = wanted[start]
        reader.inner = self.source.reader(reader.selecting.at, <uint64_t>-1)
        reader.selecting.inner = reader.inner.source
        reader.selecting.base.interfaces = reader.inner.source.interfaces
        reader.source = &reader.selecting.base
        return reader

    def interface_names(self):
        """Those of the source."""
        return self.source.interface_names()

    def __len__(self):
        return len(self.frames)

    def __iter__(self):
        yield from each_frame(self.reader(0, <uint64_t>-1))
