"""Several frame sources as one, in the order of their times."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from vsw.capture.capture cimport CaptureReader, HeldBurst
from vsw.datapath.source cimport VSW_BURST, FrameReader, FrameSource, vsw_burst, vsw_source

from vsw.capture.capture import each_frame
from vsw.errors import UsageError


cdef extern from "vsw/capture/merge.h" nogil:
    ctypedef struct vsw_merge_part:
        vsw_source *source
        vsw_burst *burst
        uint32_t at
        uint32_t count
        uint32_t shift
        uint32_t stays

    ctypedef struct vsw_merge:
        vsw_source source
        vsw_merge_part *parts
        uint32_t count
        uint32_t ready
        uint64_t left

    uint32_t vsw_merge_next(vsw_source *source, vsw_burst *burst, uint32_t limit)


cdef class MergedReader(FrameReader):
    """One pass over merged sources, by one thread.  ``source.position`` counts frames."""
    cdef vsw_merge merge
    cdef list readers
    cdef list bursts

    def __cinit__(self):
        self.source = &self.merge.source

    def __dealloc__(self):
        free(self.merge.parts)

    cdef start(self, list sources, list shifts):
        cdef FrameReader reader
        cdef HeldBurst held
        cdef uint32_t i
        self.readers = []
        self.bursts = []
        self.merge.source.next = vsw_merge_next
        self.merge.count = len(sources)
        self.merge.left = <uint64_t>-1
        self.merge.parts = <vsw_merge_part *>calloc(max(1, self.merge.count), sizeof(vsw_merge_part))
        if self.merge.parts is NULL:
            raise MemoryError
        for i in range(self.merge.count):
            reader = (<FrameSource>sources[i]).reader(0, <uint64_t>-1)
            held = HeldBurst.__new__(HeldBurst)
            self.readers.append(reader)
            self.bursts.append(held)
            self.merge.parts[i].source = reader.source
            self.merge.parts[i].burst = held.burst
            self.merge.parts[i].shift = shifts[i]
            self.merge.parts[i].stays = isinstance(reader, CaptureReader) and (<CaptureReader>reader).walk.refill is NULL
        self.merge.source.interfaces = 1

    def check(self):
        """Raise what stopped one of the sources."""
        for reader in self.readers:
            reader.check()


cdef class Merged(FrameSource):
    """Frames of several sources in the order of their times.  Made by :func:`merge`."""
    cdef list sources
    cdef list names
    cdef list shifts

    def __init__(self, sources):
        self.sources = list(sources)
        self.names = []
        self.shifts = []
        for source in self.sources:
            self.shifts.append(len(self.names))
            self.names += source.interface_names()
        if len(self.names) > 0xFFFF:
            raise UsageError(f"the sources have {len(self.names)} interfaces together, at most 65535 can be told apart")

    cpdef FrameReader reader(self, uint64_t start, uint64_t stop):
        """A pass over frames ``start`` (included) to ``stop`` (excluded; 2**64 - 1 for "to the end")."""
        cdef MergedReader reader = MergedReader.__new__(MergedReader)
        cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
        cdef uint64_t passed = 0
        cdef uint32_t count = 1
        reader.start(self.sources, self.shifts)
        with nogil:
            while passed < start and count:
                count = vsw_merge_next(reader.source, held.burst, <uint32_t>min(start - passed, <uint64_t>VSW_BURST))
                passed += count
        reader.merge.left = stop - start if stop > start else 0
        return reader

    def __len__(self):
        return sum(len(source) for source in self.sources)

    def __iter__(self):
        yield from each_frame(self.reader(0, <uint64_t>-1))

    def interface_names(self):
        """Names of the interfaces of all sources, those of the first source first."""
        return list(self.names)


def merge(captures):
    """Frames of several captures (or other sources), ordered by time; of equal times those of the first capture come first.

    Within a capture the order stays as it is, also where its times go backwards.  Interfaces are numbered in one row: those of the first
    capture, of the second, and so on; the captures are read to their end for that if they are pcapng files.  A capture that can't be read on
    ends the whole.  Raises :class:`~vsw.errors.UsageError` for more than 65535 interfaces.
    """
    return Merged(captures)
