"""Capture files as frame sources: mapped, indexed while passes go by, sliced without copies."""

import errno
import os
import stat

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, mmap, munmap
from posix.unistd cimport close, dup

from vsw.capture.walk cimport *
from vsw.datapath.source cimport VSW_BURST, FrameReader, FrameSource, vsw_burst

from vsw.capture.frame import ByteRange, Frame
from vsw.errors import CaptureError, UsageError

cdef uint64_t PAGE = os.sysconf("SC_PAGESIZE")
cdef uint32_t CHAIN = 24                      # plausible records in a row before a guessed boundary is believed
cdef uint64_t GUESS_REACH = 4 << 20           # bytes that are searched for one

# The common ones of https://www.tcpdump.org/linktypes.html, for messages.
LINKTYPES = {
    0: "BSD loopback", 6: "Token Ring", 9: "PPP", 50: "PPP in HDLC framing", 101: "raw IP", 104: "Cisco HDLC", 105: "802.11",
    108: "OpenBSD loopback", 113: "Linux cooked", 127: "802.11 with radiotap", 228: "raw IPv4", 229: "raw IPv6", 276: "Linux cooked v2",
}


def linktype_name(number):
    """``1`` -> ``"1 (Ethernet)"``: a link type with its name where it has a common one."""
    name = "Ethernet" if number == 1 else LINKTYPES.get(number)
    return f"{number} ({name})" if name else str(number)


cdef str _message(vsw_walk_error error, uint64_t found, uint64_t wanted):
    if error == VSW_WALK_CUT_HEADER:
        return f"a record's header needs {wanted} bytes, {found} are left"
    if error == VSW_WALK_CUT_RECORD:
        return f"a record needs {wanted} bytes, {found} are left"
    if error == VSW_WALK_CAPTURED:
        return f"a record announces {found} captured bytes, at most {wanted} are expected"
    if error == VSW_WALK_SHRUNK:
        return f"the file had {wanted} bytes when it was opened and has {found} now"
    if error == VSW_WALK_INPUT:
        return f"reading failed: {os.strerror(found)}"
    return "out of memory"


cdef class _File:
    # The bytes of one capture and what is known about them.  Captures (slices of each other) and readers share it; the mapping goes with the last.
    cdef vsw_mapping mapping
    cdef vsw_index index
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
    cdef readonly object tail                 # what ended the stream before the capture did: a message, or None
    cdef bint pcapng

    def __cinit__(self):
        self.mapping.fd = -1

    def __dealloc__(self):
        vsw_index_free(&self.index)
        free(self.mapping.windows)
        if self.region is not NULL:
            munmap(self.region, self.region_size)
        if self.mapping.fd >= 0:
            close(self.mapping.fd)

    def __init__(self, int descriptor, str name, bint strict, object tail=None):
        self.name = name
        self.strict = strict
        self.tail = tail
        self.mapping.fd = dup(descriptor)
        if self.mapping.fd < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), name)
        size = os.fstat(self.mapping.fd).st_size
        if size == 0:
            raise self.error(0, tail or "the file is empty, expected the header of a pcap or pcapng file")
        self.map(size)
        self.sniff()

    cdef map(self, uint64_t size):
        # A page of zeros on both sides of the file makes every burst roomy.
        cdef uint64_t pages = (size + PAGE - 1) // PAGE * PAGE
        cdef void *region = mmap(NULL, pages + 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if region == MAP_FAILED:
            raise MemoryError(f"{self.name}: can't map {size} bytes")
        self.region = <uint8_t *>region
        self.region_size = pages + 2 * PAGE
        if mmap(self.region + PAGE, size, PROT_READ, MAP_SHARED | MAP_FIXED, self.mapping.fd, 0) == MAP_FAILED:
            raise self.error(0, "the file can't be mapped into memory")
        self.mapping.base = self.region + PAGE
        self.mapping.size = size
        self.mapping.windows = <uint8_t *>calloc((size >> VSW_WINDOW_SHIFT) + 1, 1)
        if self.mapping.windows is NULL:
            raise MemoryError

    cdef sniff(self):
        cdef const uint8_t *base = self.mapping.base
        cdef uint64_t size = self.mapping.size
        if size < 4:
            raise self.error(0, f"a capture begins with 4 bytes of magic, {size} are there")
        cdef uint32_t magic = vsw_load32(base, 0), swapped = vsw_load32(base, 1)
        if magic in (VSW_PCAP_MICRO, VSW_PCAP_NANO) or swapped in (VSW_PCAP_MICRO, VSW_PCAP_NANO):
            self.pcap(magic not in (VSW_PCAP_MICRO, VSW_PCAP_NANO))
        elif magic == VSW_PCAP_MODIFIED or swapped == VSW_PCAP_MODIFIED:
            raise self.error(0, f"magic {VSW_PCAP_MODIFIED:#010x}: the modified pcap format is not read; convert it (editcap -F pcap)")
        else:
            raise self.error(0, f"magic {(<const char *>base)[:4].hex(' ')} is none of pcap, pcapng, gzip, zstd")

    cdef pcap(self, bint swapped):
        cdef const uint8_t *base = self.mapping.base
        cdef vsw_checkpoint first
        if self.mapping.size < VSW_PCAP_HEADER:
            raise self.error(0, f"a pcap file's header needs {VSW_PCAP_HEADER} bytes, {self.mapping.size} are there")
        cdef uint32_t major = vsw_load16(base + VSW_PCAP_VERSION, swapped), minor = vsw_load16(base + VSW_PCAP_VERSION + 2, swapped)
        cdef bint nano = vsw_load32(base, swapped) == VSW_PCAP_NANO
        cdef uint32_t link = vsw_load32(base + VSW_PCAP_LINKTYPE, swapped)
        if major != VSW_PCAP_MAJOR or minor != 4:
            raise self.error(VSW_PCAP_VERSION, f"version {major}.{minor} is not supported, expected 2.4")
        if link & VSW_PCAP_LINKTYPE_BITS != VSW_LINKTYPE_ETHERNET:
            raise self.error(VSW_PCAP_LINKTYPE, f"link type {linktype_name(link & VSW_PCAP_LINKTYPE_BITS)}, expected 1 (Ethernet)")
        self.format = "pcap"
        self.swapped = swapped
        self.scale = 1 if nano else 1000
        self.snaplen = vsw_load32(base + VSW_PCAP_SNAPLEN, swapped)
        self.fcs = 2 * (link >> VSW_PCAP_FCS_SHIFT) if link & VSW_PCAP_FCS_PRESENT else 0
        if self.fcs:
            self.scan = vsw_pcap_scan_fcs
        elif swapped:
            self.scan = vsw_pcap_scan_swapped_nano if nano else vsw_pcap_scan_swapped_micro
        else:
            self.scan = vsw_pcap_scan_nano if nano else vsw_pcap_scan_micro
        memset(&first, 0, sizeof(first))
        first.offset = VSW_PCAP_HEADER
        first.swapped = swapped
        if vsw_index_start(&self.index, &first):
            raise MemoryError

    cdef error(self, uint64_t offset, str message, uint64_t frames=0):
        return CaptureError(self.name, offset, message, frames)

    cdef CaptureReader at_frame(self, uint64_t start, uint64_t stop):
        # A reader whose next frame is `start`; the pass ends before frame `stop`.
        cdef vsw_checkpoint checkpoint
        cdef uint64_t number = vsw_index_find(&self.index, start, &checkpoint)
        cdef CaptureReader reader = self.at_checkpoint(&checkpoint)
        cdef uint64_t behind = start - number * VSW_CHECKPOINT
        reader.walk.index = &self.index
        reader.walk.frame = number * VSW_CHECKPOINT
        if behind:
            with nogil:
                vsw_walk_skip(&reader.walk, behind)
        reader.walk.left = stop - start if stop > start else 0
        return reader

    cdef CaptureReader at_checkpoint(self, vsw_checkpoint *checkpoint):
        cdef CaptureReader reader = CaptureReader.__new__(CaptureReader)
        cdef vsw_walk *walk = &reader.walk
        cdef uint64_t size = self.mapping.size
        reader.file = self
        if self.mapping.fd >= 0:
            size = min(size, <uint64_t>os.fstat(self.mapping.fd).st_size)
        walk.source.next = vsw_walk_next
        walk.scan = self.scan
        walk.base = self.mapping.base
        walk.at = walk.base + checkpoint.offset
        walk.end = walk.base + size
        walk.stop = <const uint8_t *>VSW_NO_END
        walk.window = walk.base
        walk.mapping = &self.mapping
        walk.left = VSW_NO_END
        walk.skipped = checkpoint.skipped
        walk.longer = checkpoint.longer
        walk.tolerant = not self.strict
        walk.fcs = self.fcs
        walk.swapped = checkpoint.swapped
        walk.section = checkpoint.section
        walk.section_end = checkpoint.section_end
        if not self.pcapng:
            walk.section = self.scale          # vsw_pcap_scan_fcs reads its factor here
        walk.source.position = checkpoint.offset
        return reader

    cdef uint64_t known(self, uint64_t upto):
        # How many of the first `upto` frames there are; extends the index as far as that needs.
        cdef uint32_t complete
        cdef uint64_t frames = vsw_index_known(&self.index, &complete)
        if complete or upto <= frames:
            return min(frames, upto)
        cdef CaptureReader reader = self.at_frame(frames, VSW_NO_END)
        with nogil:
            frames += vsw_walk_skip(&reader.walk, upto - frames)
        return frames


cdef class CaptureReader(FrameReader):
    """One pass over a capture, by one thread.  Made by :meth:`Capture.reader` and :meth:`Capture.reader_bytes`."""
    cdef _File file
    cdef vsw_walk walk

    def __cinit__(self):
        self.source = &self.walk.source

    def __dealloc__(self):
        free(self.walk.interfaces)

    @property
    def stopped_at(self):
        """Offset in bytes of the first record that the pass did not deliver."""
        return vsw_walk_offset(&self.walk, self.walk.at)

    @property
    def problem(self):
        """The :class:`~vsw.errors.CaptureError` that ended the pass, or ``None``.  Never raised here."""
        if self.walk.error == VSW_WALK_OK:
            return None
        return self.file.error(self.walk.error_at, _message(self.walk.error, self.walk.error_found, self.walk.error_wanted), self.walk.frame)

    def frames(self):
        """The rest of the pass as a list of :class:`Frame`.  Does not raise what ended it: see :meth:`check`."""
        cdef _Burst held = _Burst.__new__(_Burst)
        cdef uint32_t count, i
        frames = []
        while True:
            with nogil:
                count = self.source.next(self.source, held.burst, VSW_BURST)
            if not count:
                return frames
            for i in range(count):
                frames.append(_frame(held.burst, i, self.source.interfaces != 0))

    def check(self):
        """Raise the :class:`~vsw.errors.CaptureError` that ended the pass, if the capture is strict."""
        if self.walk.source.failed:
            raise self.problem


cdef class Capture(FrameSource):
    """Frames of a capture file, or of a part of it.  Made by :func:`open_capture`; slices share the file with it.

    Several threads may read one capture, each with a reader of its own.
    """
    cdef _File file
    cdef uint64_t first                       # number of this capture's frame 0 in the file
    cdef uint64_t last                        # frames of the file from here on don't belong to it; VSW_NO_END: to the end

    cdef _File opened(self):
        if self.file is None:
            raise UsageError("the capture is closed")
        return self.file

    cpdef FrameReader reader(self, uint64_t start, uint64_t stop):
        """A pass over frames ``start`` (included) to ``stop`` (excluded; 2**64 - 1 for "to the end"): a :class:`CaptureReader`."""
        cdef uint64_t room = self.last - self.first
        start = min(start, room)
        stop = min(stop, room)
        return self.opened().at_frame(self.first + start, VSW_NO_END if stop == VSW_NO_END else self.first + stop)

    def __len__(self):
        # A file that is damaged has as many frames as can be read; the pass that comes to the damage raises.
        return self.opened().known(self.last) - min(self.first, self.opened().known(self.last))

    def __getitem__(self, key):
        """``capture[i]`` is a :class:`Frame`; ``capture[a:b]`` a capture of the frames ``a`` to ``b - 1``, without a copy."""
        cdef Capture part
        if not isinstance(key, slice):
            return self.frame(key)
        if key.step is not None and key.step != 1:
            raise UsageError(f"a capture can be sliced with step 1 only (found {key.step!r})")
        start, stop = key.start, key.stop
        if (start is not None and start < 0) or (stop is not None and stop < 0):
            start, stop, _ = key.indices(len(self))
        start = start or 0
        part = Capture.__new__(Capture)
        part.file = self.opened()
        part.first = min(self.first + start, self.last)
        part.last = self.last if stop is None else min(self.last, self.first + max(start, stop))
        return part

    def frame(self, index):
        """Frame number ``index`` (negative: from the end) as a :class:`Frame`.  Raises IndexError."""
        cdef vsw_burst burst
        cdef CaptureReader reader
        cdef uint32_t count
        number = index.__index__()
        if number < 0:
            number += len(self)
        if number >= 0:
            reader = self.reader(number, number + 1)
            with nogil:
                count = reader.source.next(reader.source, &burst, 1)
            if count:
                return _frame(&burst, 0, reader.source.interfaces != 0)
        raise IndexError(f"no frame {index} in {self.opened().name}")

    def __iter__(self):
        cdef CaptureReader reader = self.reader(0, VSW_NO_END)
        cdef _Burst held = _Burst.__new__(_Burst)
        cdef uint32_t count, i
        while True:
            with nogil:
                count = reader.source.next(reader.source, held.burst, VSW_BURST)
            if not count:
                break
            for i in range(count):
                yield _frame(held.burst, i, reader.source.interfaces != 0)
        reader.check()

    def reader_bytes(self, uint64_t start_offset, uint64_t stop_offset):
        """A pass over the records that start at ``start_offset`` (which must be where a record starts) and before ``stop_offset``.

        The reader's ``stopped_at`` says where it ended: exactly at ``stop_offset`` if that is the boundary of a record.
        """
        cdef _File file = self.opened()
        cdef vsw_checkpoint checkpoint
        cdef CaptureReader reader
        if start_offset > file.mapping.size or start_offset < file.index.checkpoints[0].offset:
            raise UsageError(f"{file.name}: no record can start at byte {start_offset} of {file.mapping.size}")
        memset(&checkpoint, 0, sizeof(checkpoint))
        checkpoint.offset = start_offset
        checkpoint.swapped = file.swapped
        reader = file.at_checkpoint(&checkpoint)
        reader.walk.stop = reader.walk.base + max(start_offset, min(stop_offset, file.mapping.size))
        return reader

    def ranges(self, count):
        """At most ``count`` parts of the file's bytes of about equal size: a list of :class:`ByteRange`, contiguous, in order.

        Unless the index is complete, the boundaries within a pcap file are guessed: read each part with :meth:`reader_bytes` and compare
        its ``stopped_at`` with the next part's start; where they differ, read that part again from ``stopped_at``.  Only for captures that
        are a whole file.
        """
        cdef _File file = self.opened()
        cdef uint64_t start, at, last, size = file.mapping.size
        cdef uint32_t complete
        if self.first or self.last != VSW_NO_END:
            raise UsageError("a slice of a capture has no byte ranges; take those of the whole file")
        if count < 1:
            raise UsageError(f"a capture is divided into 1 part or more (found {count})")
        vsw_index_known(&file.index, &complete)
        start = file.index.checkpoints[0].offset
        bounds = [start]
        last = start
        for part in range(1, count):
            at = start + (size - start) * part // count
            at = self.boundary_indexed(at) if complete else self.boundary_guessed(at)
            if last < at < size:
                bounds.append(at)
                last = at
        bounds.append(size)
        return [ByteRange(bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1)]

    cdef uint64_t boundary_indexed(self, uint64_t at):
        cdef vsw_index *index = &self.file.index
        cdef uint64_t low = 0, high = index.count, middle
        while low < high:
            middle = (low + high) // 2
            if index.checkpoints[middle].offset < at:
                low = middle + 1
            else:
                high = middle
        return index.checkpoints[low].offset if low < index.count else self.file.mapping.size

    cdef uint64_t boundary_guessed(self, uint64_t at):
        cdef const uint8_t *base = self.file.mapping.base
        cdef uint64_t size = self.file.mapping.size, reach
        cdef uint32_t scale = self.file.scale
        cdef int swapped = self.file.swapped
        reach = min(at + GUESS_REACH, size)
        with nogil:
            while at < reach:
                if vsw_pcap_plausible(base + at, base + size, CHAIN, swapped, scale):
                    break
                at += 1
        return at if at < reach else size

    def interface_names(self):
        """Names of the interfaces that frames came in by, by index (empty strings where there is no name)."""
        return [""]

    def close(self):
        """Let go of the file.  Readers and slices that are still in use keep it."""
        self.file = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __repr__(self):
        if self.file is None:
            return "<Capture, closed>"
        part = "" if not self.first and self.last == VSW_NO_END else f" from frame {self.first}"
        return f"<Capture {self.file.name!r} ({self.file.format}, {self.file.mapping.size} bytes){part}>"

    @property
    def name(self):
        """The file's name as it was given."""
        return self.opened().name

    @property
    def format(self):
        """``"pcap"`` or ``"pcapng"``."""
        return self.opened().format

    @property
    def size(self):
        """Bytes of the file, uncompressed."""
        return self.opened().mapping.size

    @property
    def longer_captured(self):
        """Frames with more bytes captured than their length says (they count as that long).  Reads the file to its end."""
        self.opened().known(VSW_NO_END)
        return self.opened().index.longer

    @property
    def strict(self):
        """Whether a pass that comes to damage raises."""
        return bool(self.opened().strict)

    @property
    def problem(self):
        """What ended the readable part of the file (a :class:`~vsw.errors.CaptureError`), once a pass came to it; else ``None``."""
        cdef _File file = self.opened()
        if not file.index.complete or file.index.error == VSW_WALK_OK:
            return None
        return file.error(file.index.error_at, _message(file.index.error, file.index.error_found, file.index.error_wanted), file.index.frames)


cdef class _Burst:
    # Memory for a burst that a generator holds.
    cdef vsw_burst *burst

    def __cinit__(self):
        self.burst = <vsw_burst *>malloc(sizeof(vsw_burst))
        if self.burst is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.burst)


cdef _frame(vsw_burst *burst, uint32_t i, bint interfaces):
    return Frame((<const char *>burst.data[i])[:burst.captured[i]], burst.length[i], burst.time[i], burst.interface[i] if interfaces else 0)


def open_capture(path, strict=True):
    """Open a capture file: pcap, with times in micro- or nanoseconds, in either byte order.

    ``strict`` says what a pass does that comes to damage, with all frames before it delivered: raise :class:`~vsw.errors.CaptureError`,
    or end and leave the error in :attr:`Capture.problem`.

    Raises :class:`~vsw.errors.CaptureError` if the file can't be opened or is no capture of Ethernet frames.
    """
    cdef Capture capture = Capture.__new__(Capture)
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CaptureError(name, 0, f"can't be opened: {error.strerror}") from error
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise CaptureError(name, 0, "is a directory, expected a capture file")
        capture.file = _File(descriptor, name, strict)
    finally:
        os.close(descriptor)
    capture.last = VSW_NO_END
    return capture
