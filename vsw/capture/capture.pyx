"""Capture files as frame sources: mapped, indexed while passes go by, sliced without copies."""

import operator
import os
import stat
from array import array
from threading import Lock

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, mmap, munmap
from posix.unistd cimport close

from vsw.capture.walk cimport (
    VSW_BLOCK_LENGTH, VSW_BLOCK_SECTION, VSW_BLOCK_TRAILER, VSW_CHECKPOINT, VSW_INTERFACE_OPTIONS, VSW_LINKTYPE_ETHERNET, VSW_NO_END,
    VSW_OPTION_COMMENT, VSW_OPTION_DESCRIPTION, VSW_OPTION_NAME, VSW_PCAP_FCS_PRESENT, VSW_PCAP_FCS_SHIFT, VSW_PCAP_HEADER,
    VSW_PCAP_LINKTYPE, VSW_PCAP_LINKTYPE_BITS, VSW_PCAP_MAJOR, VSW_PCAP_MICRO, VSW_PCAP_MINOR, VSW_PCAP_MODIFIED, VSW_PCAP_NANO,
    VSW_PCAP_SNAPLEN, VSW_PCAP_VERSION, VSW_SECTION_MAGIC, VSW_SECTION_OPTIONS, VSW_SECTION_ORDER, VSW_WALK_BLOCK_LENGTH, VSW_WALK_BLOCK_LONG,
    VSW_WALK_BLOCK_TRAILER, VSW_WALK_BODY, VSW_WALK_CAPTURED, VSW_WALK_CUT_HEADER, VSW_WALK_CUT_RECORD, VSW_WALK_INPUT, VSW_WALK_INTERFACE,
    VSW_WALK_INTERFACES, VSW_WALK_INTERRUPTED, VSW_WALK_LINKTYPE, VSW_WALK_MEMORY, VSW_WALK_OK, VSW_WALK_OPTION, VSW_WALK_SECTION_ORDER,
    VSW_WALK_SECTION_VERSION, VSW_WALK_SHRUNK, VSW_WALK_TAIL, VSW_WINDOW_SHIFT, vsw_checkpoint, vsw_index, vsw_index_find,
    vsw_index_find_offset, vsw_index_free, vsw_index_known, vsw_index_lock, vsw_index_start, vsw_index_unlock, vsw_interface, vsw_load16,
    vsw_load32, vsw_pcap_plausible, vsw_pcap_scan_fcs, vsw_pcap_scan_micro, vsw_pcap_scan_nano, vsw_pcap_scan_swapped_micro,
    vsw_pcap_scan_swapped_nano, vsw_pcapng_option, vsw_pcapng_scan, vsw_stream_read, vsw_stream_refill, vsw_stream_start, vsw_stream_window,
    vsw_walk, vsw_walk_next, vsw_walk_offset, vsw_walk_skip,
)
from vsw.datapath.source cimport VSW_BURST, FrameReader, FrameSource, vsw_burst

from vsw.capture import spool as spooling
from vsw.capture.frame import ByteRange, Frame, Interface
from vsw.errors import CaptureError, UsageError

cdef uint64_t PAGE = os.sysconf("SC_PAGESIZE")
cdef uint32_t CHAIN = 24                      # plausible records in a row before a guessed boundary is believed
cdef uint64_t GUESS_REACH = 4 << 20           # bytes that are searched for one

# The common ones of https://www.tcpdump.org/linktypes.html, for messages.
LINKTYPES = {
    0: "BSD loopback", 1: "Ethernet", 6: "Token Ring", 9: "PPP", 50: "PPP in HDLC framing", 101: "raw IP", 104: "Cisco HDLC", 105: "802.11",
    108: "OpenBSD loopback", 113: "Linux cooked", 127: "802.11 with radiotap", 228: "raw IPv4", 229: "raw IPv6", 276: "Linux cooked v2",
}
MAGICS = "pcap, pcapng, gzip or zstd"


def linktype_name(number):
    """``1`` -> ``"1 (Ethernet)"``: a link type with its name where it is a common one."""
    return f"{number} ({LINKTYPES[number]})" if number in LINKTYPES else str(number)


cdef int _interrupted(void *owner) noexcept with gil:
    # Called while a pipe is read and a signal came: its handler (KeyboardInterrupt, for one) runs here; what it raises ends the pass.
    if owner is NULL:
        return 1                              # no pass yet: whoever reads looks for itself
    try:
        PyErr_CheckSignals()
    except BaseException as raised:
        (<CaptureReader>owner).exception = raised
        return 1
    return 0


cdef class CaptureFile:

    def __cinit__(self):
        self.mapping.fd = self.descriptor = self.stream.fd = -1

    def __dealloc__(self):
        vsw_index_free(&self.index)
        free(self.mapping.windows)
        free(self.stream.memory)
        free(self.kept)
        if self.region is not NULL:
            munmap(self.region, self.region_size)
        if self.descriptor >= 0:
            close(self.descriptor)
        if self.stream.fd >= 0:
            close(self.stream.fd)

    def __init__(self, int descriptor, str name, bint strict):
        """Takes ownership of the descriptor."""
        self.name = name
        self.strict = strict
        self.spooling = Lock()
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            self.descriptor = descriptor
            head = os.pread(descriptor, 4, 0)
            if status.st_size == 0:
                raise self.error(0, f"the file is empty, expected {MAGICS}", 0)
            kind = spooling.compression(head)
            if kind is None:
                self.map(descriptor, True)
            else:
                self.expand(spooling.file_pieces(descriptor), kind)
        else:
            if vsw_stream_start(&self.stream, descriptor, 0):
                raise MemoryError
            self.fill(VSW_PCAP_HEADER)
            head = (<const char *>vsw_stream_window(&self.stream))[:min(self.stream.filled, <size_t>4)]
            if not head:
                raise self.error(0, f"the stream is empty, expected {MAGICS}", 0)
            kind = spooling.compression(head)
            if kind is not None:
                self.expand(self.rest(), kind)
        self.sniff()
        if self.region is not NULL:
            self.probe()

    def fill(self, uint64_t least):
        # Reads a pipe until the window holds that many bytes, or the pipe is at its end.
        cdef Py_ssize_t got = 1
        self.stream.interrupted = _interrupted
        while self.stream.filled < least and got > 0:
            with nogil:
                got = vsw_stream_read(&self.stream)
            if got < 0 and errno == EINTR:
                PyErr_CheckSignals()
                got = 1
            elif got < 0:
                raise self.error(self.stream.filled, f"reading failed: {os.strerror(errno)}", 0)

    def rest(self):
        # All of a pipe, as pieces of bytes.
        before = (<const char *>vsw_stream_window(&self.stream))[:self.stream.filled]
        return spooling.pieces(self.stream.fd, before)

    def expand(self, source, kind):
        with spooling.temporary() as target:
            self.tail = spooling.copy(source, target) if kind is None else spooling.expand(source, kind, target)
            target.flush()
            if os.fstat(target.fileno()).st_size == 0:
                raise self.error(0, self.tail or f"the {kind} stream is empty, expected a pcap or pcapng file in it", 0)
            before, self.descriptor = self.descriptor, os.dup(target.fileno())
            if before >= 0:
                os.close(before)
            self.map(self.descriptor, False)

    cdef spool(self):
        # A pipe that is asked for more than one pass from its start becomes a temporary file.
        if self.region is not NULL:
            return
        with self.spooling:
            if self.region is not NULL:
                return
            if self.taken:
                raise UsageError(f"{self.name}: a pipe can be read once, and a pass over it has begun")
            self.taken = True
            self.expand(self.rest(), None)

    cdef map(self, int descriptor, bint may_shrink):
        # A page of zeros on both sides of the file makes every burst roomy.
        cdef uint64_t size = os.fstat(descriptor).st_size
        cdef uint64_t pages = (size + PAGE - 1) // PAGE * PAGE
        cdef void *region = mmap(NULL, pages + 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if region == MAP_FAILED:
            raise MemoryError(f"{self.name}: can't map {size} bytes")
        self.region = <uint8_t *>region
        self.region_size = pages + 2 * PAGE
        if mmap(self.region + PAGE, size, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, 0) == MAP_FAILED:
            raise self.error(0, "the file can't be mapped into memory", 0)
        self.mapping.windows = <uint8_t *>calloc((size >> VSW_WINDOW_SHIFT) + 1, 1)
        if self.mapping.windows is NULL:
            raise MemoryError
        self.mapping.base = self.region + PAGE
        self.mapping.size = size
        self.mapping.fd = descriptor if may_shrink else -1

    cdef sniff(self):
        cdef const uint8_t *base = self.mapping.base
        cdef uint64_t size = self.mapping.size
        cdef vsw_checkpoint first
        if self.region is NULL:
            base = vsw_stream_window(&self.stream)
            size = self.stream.filled
        if size < 4:
            raise self.error(0, f"a capture begins with 4 bytes of magic ({MAGICS}), {size} are there", 0)
        cdef uint32_t magic = vsw_load32(base, 0), swapped = vsw_load32(base, 1)
        memset(&first, 0, sizeof(first))
        if magic == VSW_BLOCK_SECTION:
            if size < VSW_SECTION_ORDER + 4:
                raise self.error(0, f"a pcapng section's header needs 28 bytes, {size} are there", 0)
            self.format = "pcapng"
            self.pcapng = True
            self.swapped = vsw_load32(base + VSW_SECTION_ORDER, 1) == VSW_SECTION_MAGIC
            self.scan = vsw_pcapng_scan
        elif magic in (VSW_PCAP_MICRO, VSW_PCAP_NANO) or swapped in (VSW_PCAP_MICRO, VSW_PCAP_NANO):
            self.pcap(base, size, magic not in (VSW_PCAP_MICRO, VSW_PCAP_NANO))
            first.offset = VSW_PCAP_HEADER
        elif VSW_PCAP_MODIFIED in (magic, swapped):
            raise self.error(0, f"magic {VSW_PCAP_MODIFIED:#010x}: the modified pcap format is not read; convert it (editcap -F pcap)", 0)
        else:
            raise self.error(0, f"the file begins with {(<const char *>base)[:4].hex(' ')}, expected {MAGICS}", 0)
        first.swapped = self.swapped
        if vsw_index_start(&self.index, &first):
            raise MemoryError

    cdef pcap(self, const uint8_t *base, uint64_t size, bint swapped):
        if size < VSW_PCAP_HEADER:
            raise self.error(0, f"a pcap file's header needs {VSW_PCAP_HEADER} bytes, {size} are there", 0)
        cdef uint32_t major = vsw_load16(base + VSW_PCAP_VERSION, swapped), minor = vsw_load16(base + VSW_PCAP_VERSION + 2, swapped)
        cdef bint nano = vsw_load32(base, swapped) == VSW_PCAP_NANO
        cdef uint32_t link = vsw_load32(base + VSW_PCAP_LINKTYPE, swapped)
        if major != VSW_PCAP_MAJOR or minor != VSW_PCAP_MINOR:
            raise self.error(VSW_PCAP_VERSION, f"version {major}.{minor} is not supported, expected {VSW_PCAP_MAJOR}.{VSW_PCAP_MINOR}", 0)
        if link & VSW_PCAP_LINKTYPE_BITS != VSW_LINKTYPE_ETHERNET:
            raise self.error(VSW_PCAP_LINKTYPE, f"link type {linktype_name(link & VSW_PCAP_LINKTYPE_BITS)}, expected 1 (Ethernet)", 0)
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

    def probe(self):
        # A pcapng file is refused when it is opened if no frame can come of it: no section header, or an interface that is not Ethernet.
        cdef vsw_burst burst
        cdef CaptureReader reader
        if not self.pcapng:
            return
        reader = self.at_frame(0, 1)
        with nogil:
            vsw_walk_next(&reader.walk.source, &burst, 1)
        if reader.walk.error != VSW_WALK_OK and (reader.walk.error_at < 28 or reader.walk.error == VSW_WALK_LINKTYPE):
            raise reader.problem

    cdef message(self, int error, uint64_t found, uint64_t wanted):
        if error == VSW_WALK_CUT_HEADER:
            return f"a {'block' if self.pcapng else 'record'}'s header needs {wanted} bytes, {found} are left"
        if error == VSW_WALK_CUT_RECORD:
            return f"the {'block' if self.pcapng else 'record'} needs {wanted} bytes, {found} are left"
        if error == VSW_WALK_CAPTURED:
            return f"the record announces {found} captured bytes, expected at most {wanted}"
        if error == VSW_WALK_SHRUNK:
            return f"the file had {wanted} bytes when it was opened and has {found} now"
        if error == VSW_WALK_INPUT:
            return f"reading failed: {os.strerror(found)}"
        if error == VSW_WALK_INTERRUPTED:
            return "reading was interrupted"
        if error == VSW_WALK_TAIL:
            return self.tail
        if error == VSW_WALK_BLOCK_LENGTH:
            return f"the block announces a length of {found} bytes, expected a multiple of 4 and at least {wanted}"
        if error == VSW_WALK_BLOCK_LONG:
            return f"the block announces a length of {found} bytes, expected at most {wanted}"
        if error == VSW_WALK_BLOCK_TRAILER:
            return f"the block's length is {wanted} before and {found} after it, expected the same number"
        if error == VSW_WALK_BODY:
            return f"the block announces {wanted} captured bytes and has room for {found}"
        if error == VSW_WALK_SECTION_ORDER:
            return f"the section's byte-order magic is {found:#010x}, expected {wanted:#010x} in one of the byte orders"
        if error == VSW_WALK_SECTION_VERSION:
            return f"the section's version is {found >> 16}.{found & 0xFFFF}, expected 1.0"
        if error == VSW_WALK_INTERFACE:
            return f"the frame came in by interface {found}, and the section has described {wanted} so far"
        if error == VSW_WALK_INTERFACES:
            return f"the file describes more than {wanted} interfaces"
        if error == VSW_WALK_LINKTYPE:
            return f"the frame's interface has link type {linktype_name(found)}, expected {linktype_name(wanted)}"
        if error == VSW_WALK_OPTION:
            return f"an option needs {wanted} bytes, {found} are there"
        assert error == VSW_WALK_MEMORY
        return "out of memory"

    cdef error(self, uint64_t offset, message, uint64_t frames):
        return CaptureError(self.name, offset, message, frames)

    cdef CaptureReader at_frame(self, uint64_t start, uint64_t stop):
        # A reader whose next frame is `start`; the pass ends before frame `stop`.
        cdef vsw_checkpoint checkpoint
        cdef CaptureReader reader
        cdef uint64_t number, behind
        if self.region is NULL:
            return self.at_stream(start, stop)
        number = vsw_index_find(&self.index, start, &checkpoint)
        reader = self.at_checkpoint(&checkpoint)
        behind = start - number * VSW_CHECKPOINT
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
        walk.tail = self.tail is not None
        walk.fcs = self.fcs
        walk.scale = self.scale
        walk.swapped = checkpoint.swapped
        walk.section = checkpoint.section
        walk.source.interfaces = max(1, checkpoint.interfaces) if self.pcapng else 0
        walk.source.position = checkpoint.offset
        if checkpoint.interfaces:
            walk.interfaces = <vsw_interface *>malloc(checkpoint.interfaces * sizeof(vsw_interface))
            if walk.interfaces is NULL:
                raise MemoryError
            vsw_index_lock(&self.index)
            memcpy(walk.interfaces, self.index.interfaces, checkpoint.interfaces * sizeof(vsw_interface))
            vsw_index_unlock(&self.index)
            walk.interface_count = walk.interface_room = checkpoint.interfaces
        return reader

    cdef CaptureReader at_stream(self, uint64_t start, uint64_t stop):
        cdef CaptureReader reader
        if self.taken:
            raise UsageError(f"{self.name}: a pipe can be read once, and a pass over it has begun")
        self.taken = True
        reader = self.over(&self.stream)
        reader.walk.kept = &self.kept
        self.stream.interrupted = _interrupted
        self.stream.owner = <void *>reader
        if start:
            with nogil:
                vsw_walk_skip(&reader.walk, start)
        reader.walk.left = stop - start if stop > start else 0
        return reader

    cdef CaptureReader in_windows(self):
        # A pass over all of a file, or of a pipe, whose bytes lie in memory of ours until the next burst.
        cdef CaptureReader reader
        cdef uint64_t header = self.index.checkpoints[0].offset
        cdef vsw_stream stream
        if self.region is NULL:
            return self.at_stream(0, VSW_NO_END)
        if vsw_stream_start(&stream, self.descriptor, self.mapping.size):
            raise MemoryError
        try:
            while stream.filled < header:
                if vsw_stream_read(&stream) <= 0:
                    raise self.error(stream.filled, self.message(VSW_WALK_SHRUNK, stream.filled, stream.size), 0)
            reader = self.over(&stream)
        except BaseException:
            free(stream.memory)
            raise
        reader.window = stream
        reader.walk.owner = &reader.window
        return reader

    cdef CaptureReader over(self, vsw_stream *stream):
        # A pass from the beginning, over what the stream brings.
        cdef CaptureReader reader = self.at_checkpoint(self.index.checkpoints)
        cdef vsw_walk *walk = &reader.walk
        walk.mapping = NULL
        walk.index = &self.index
        walk.base = vsw_stream_window(stream)
        walk.at = walk.base + self.index.checkpoints[0].offset
        walk.end = walk.base + stream.filled
        walk.refill = vsw_stream_refill
        walk.owner = stream
        return reader

    cdef uint64_t known(self, uint64_t upto):
        # How many of the first `upto` frames there are; extends the index as far as that needs.
        cdef uint32_t complete
        cdef uint64_t frames = vsw_index_known(&self.index, &complete)
        cdef CaptureReader reader
        if complete or upto <= frames:
            return min(frames, upto)
        self.spool()
        reader = self.at_frame(frames, VSW_NO_END)
        with nogil:
            frames += vsw_walk_skip(&reader.walk, upto - frames)
        return frames

    cdef interface(self, uint32_t number):
        # Called with number < index.interface_count.
        cdef vsw_interface found
        cdef const uint8_t *block
        vsw_index_lock(&self.index)
        found = self.index.interfaces[number]
        block = (self.mapping.base if self.kept is NULL else self.kept) + found.block
        data = (<const char *>block)[:vsw_load32(block + VSW_BLOCK_LENGTH, found.swapped)]
        vsw_index_unlock(&self.index)
        values = _texts(data, VSW_INTERFACE_OPTIONS, found.swapped)
        return Interface(values.get(VSW_OPTION_NAME, ""), values.get(VSW_OPTION_DESCRIPTION, ""), found.linktype, found.snaplen)


cdef dict _texts(const uint8_t *block, uint32_t options, int swapped):
    # The options of a block whose length has been checked, as text: {code: first value}.
    cdef const uint8_t *at = block + options
    cdef const uint8_t *end = block + vsw_load32(block + VSW_BLOCK_LENGTH, swapped) - VSW_BLOCK_TRAILER
    cdef const uint8_t *value = NULL
    cdef uint32_t code = 0, length = 0
    texts = {}
    while vsw_pcapng_option(&at, end, swapped, &code, &length, &value) > 0:
        texts.setdefault(code, (<const char *>value)[:length].rstrip(b"\0").decode("utf-8", "replace"))
    return texts


cdef class CaptureReader(FrameReader):
    """One pass over a capture, by one thread.  Made by :meth:`Capture.reader` and :meth:`Capture.reader_bytes`."""

    def __cinit__(self):
        self.source = &self.walk.source

    def __dealloc__(self):
        free(self.walk.interfaces)
        free(self.window.memory)
        if self.file is not None and self.file.stream.owner is <void *>self:
            self.file.stream.owner = NULL

    @property
    def stopped_at(self):
        """Offset in bytes of the first record that the pass did not deliver."""
        return vsw_walk_offset(&self.walk, self.walk.at)

    @property
    def skipped(self):
        """Frames of interfaces that are not Ethernet, before the point that the pass has reached (in a tolerant capture)."""
        return self.walk.skipped

    @property
    def problem(self):
        """The :class:`~vsw.errors.CaptureError` that ended the pass, or ``None``.  Never raised here."""
        if self.walk.error == VSW_WALK_OK:
            return None
        return self.file.error(
            self.walk.error_at, self.file.message(self.walk.error, self.walk.error_found, self.walk.error_wanted), self.walk.frame
        )

    def frames(self):
        """The rest of the pass as a list of :class:`Frame`.  Does not raise what ended it: see :meth:`check`."""
        cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
        cdef uint32_t count, i
        frames = []
        while True:
            with nogil:
                count = self.source.next(self.source, held.burst, VSW_BURST)
            if not count:
                return frames
            for i in range(count):
                frames.append(frame_of(held.burst, i, self.source.interfaces != 0))

    def check(self):
        """Raise the :class:`~vsw.errors.CaptureError` that ended the pass, if the capture is strict; or what a signal's handler raised."""
        if self.exception is not None:
            raise self.exception
        if self.walk.source.failed:
            raise self.problem


def each_frame(FrameReader reader):
    """Yield the frames of a pass, and raise what stopped it."""
    cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
    cdef uint32_t count, i
    while True:
        with nogil:
            count = reader.source.next(reader.source, held.burst, VSW_BURST)
        if not count:
            break
        for i in range(count):
            yield frame_of(held.burst, i, reader.source.interfaces != 0)
    reader.check()


cdef class Capture(FrameSource):
    """Frames of a capture file, or of a part of it.  Made by :func:`open_capture`; slices share the file with it.

    Several threads may read one capture, each with a reader of its own.  A file that somebody shortens while it is read ends the pass with an
    error where that is noticed (once in 4 MiB); pages that are cut off between two looks can still kill the process (SIGBUS).

    A pipe is read as its bytes arrive, once.  What needs more than one pass from its start (``len()``, ``capture[-1]``, ``capture.frame(i)``)
    reads it to its end into a temporary file first.
    """

    cdef CaptureFile opened(self):
        if self.file is None:
            raise UsageError("the capture is closed")
        return self.file

    cdef CaptureFile mapped(self):
        self.opened().spool()
        return self.file

    cpdef FrameReader reader(self, uint64_t start, uint64_t stop):
        """A pass over frames ``start`` (included) to ``stop`` (excluded; 2**64 - 1 for "to the end"): a :class:`CaptureReader`."""
        cdef uint64_t room = self.last - self.first
        start = min(start, room)
        stop = min(stop, room)
        return self.opened().at_frame(self.first + start, VSW_NO_END if stop == VSW_NO_END else self.first + stop)

    def __len__(self):
        # A file that is damaged has as many frames as can be read; the pass that comes to the damage raises.
        cdef uint64_t known = self.opened().known(self.last)
        return known - min(self.first, known)

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
        start = min(start or 0, self.last - self.first)
        part = Capture.__new__(Capture)
        part.file = self.opened()
        part.first = self.first + start
        part.last = self.last if stop is None else min(self.last, self.first + max(start, stop))
        return part

    def frame(self, index):
        """Frame number ``index`` (negative: from the end) as a :class:`Frame`.  Raises IndexError, TypeError for what is no number."""
        cdef vsw_burst burst
        cdef CaptureReader reader
        cdef uint32_t count
        number = operator.index(index)
        self.mapped()
        if number < 0:
            number += len(self)
        if 0 <= number < VSW_NO_END:
            reader = self.reader(number, number + 1)
            with nogil:
                count = reader.source.next(reader.source, &burst, 1)
            if count:
                return frame_of(&burst, 0, reader.source.interfaces != 0)
        raise IndexError(f"no frame {index} in {self.file.name}")

    def __iter__(self):
        yield from each_frame(self.reader(0, VSW_NO_END))

    def times(self):
        """The times of all frames: an array (int64, nanoseconds since the epoch).  Raises like a pass."""
        cdef FrameReader reader
        cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
        cdef uint64_t at = 0, room = len(self)
        cdef uint32_t count = 0
        cdef int64_t[::1] times
        import numpy  # here: the package's other uses of a capture do without

        result = numpy.empty(room, numpy.int64)
        times = result
        reader = self.reader(0, VSW_NO_END)
        with nogil:
            while at < room:
                count = reader.source.next(reader.source, held.burst, <uint32_t>min(room - at, <uint64_t>VSW_BURST))
                if not count:
                    break
                memcpy(&times[at], held.burst.time, count * sizeof(int64_t))
                at += count
        if at == room:
            with nogil:
                reader.source.next(reader.source, held.burst, 1)
        reader.check()
        return result

    def interface_numbers(self):
        """The interface of each frame: an array (uint16, indexes into :meth:`interface_names`).  Raises like a pass."""
        cdef FrameReader reader
        cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
        cdef uint64_t at = 0, room = len(self)
        cdef uint32_t count = 0
        cdef uint16_t[::1] numbers
        import numpy  # as above

        result = numpy.zeros(room, numpy.uint16)
        numbers = result
        reader = self.reader(0, room)
        with nogil:
            while at < room:
                count = reader.source.next(reader.source, held.burst, <uint32_t>min(room - at, <uint64_t>VSW_BURST))
                if not count:
                    break
                if reader.source.interfaces:
                    memcpy(&numbers[at], held.burst.interface, count * sizeof(uint16_t))
                at += count
        reader.check()
        return result

    def find_time(self, int64_t time):
        """Index of the first frame with a time of at least ``time`` (nanoseconds since the epoch); ``len()`` if there is none.

        The first call reads the file to its end; later ones look at a few thousand frames.  Times need not be in order.
        """
        cdef CaptureFile file = self.mapped()
        cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
        cdef uint64_t at = self.first, length = len(self)
        cdef uint32_t count, i
        cdef CaptureReader reader
        cdef const int64_t[::1] peaks
        if file.peaks is None:
            file.peaks = _peaks(file)
        peaks = file.peaks
        while at < self.first + length:
            if peaks[at // VSW_CHECKPOINT] >= time:
                reader = file.at_frame(at, min(self.first + length, (at // VSW_CHECKPOINT + 1) * VSW_CHECKPOINT))
                while True:
                    count = reader.source.next(reader.source, held.burst, VSW_BURST)
                    if not count:
                        break
                    for i in range(count):
                        if held.burst.time[i] >= time:
                            return at + i - self.first
                    at += count
            else:
                at = (at // VSW_CHECKPOINT + 1) * VSW_CHECKPOINT
        return length

    def reader_bytes(self, uint64_t start_offset, uint64_t stop_offset):
        """A pass over the records that start at ``start_offset`` (which must be where a record starts) and before ``stop_offset``.

        The reader's ``stopped_at`` says where it ended: exactly at ``stop_offset`` if that is the boundary of a record.  In a pcapng file
        ``start_offset`` must be one that :meth:`ranges` gave.
        """
        cdef CaptureFile file = self.mapped()
        cdef vsw_checkpoint checkpoint
        cdef CaptureReader reader
        if start_offset > file.mapping.size or start_offset < file.index.checkpoints[0].offset:
            raise UsageError(f"{file.name}: no record can start at byte {start_offset} of {file.mapping.size}")
        memset(&checkpoint, 0, sizeof(checkpoint))
        checkpoint.offset = start_offset
        checkpoint.swapped = file.swapped
        if file.pcapng and vsw_index_find_offset(&file.index, start_offset, &checkpoint) == VSW_NO_END:
            raise UsageError(f"{file.name}: byte {start_offset} is not where a range of this pcapng file starts")
        checkpoint.skipped = 0
        checkpoint.longer = 0
        reader = file.at_checkpoint(&checkpoint)
        if stop_offset < file.mapping.size:
            reader.walk.stop = reader.walk.base + max(start_offset, stop_offset)
        return reader

    def ranges(self, count):
        """At most ``count`` parts of the file's bytes of about equal size: a list of :class:`ByteRange`, contiguous, in order.

        Unless the index is complete, the boundaries within a pcap file are guessed: read each part with :meth:`reader_bytes` and compare
        its ``stopped_at`` with the next part's start; where they differ, read that part again from ``stopped_at``.  The index of a pcapng
        file is completed first, since its records can't be read without what came before them.  Only for captures that are a whole file.
        """
        cdef CaptureFile file = self.mapped()
        cdef uint64_t start, at, last, size = file.mapping.size
        cdef uint32_t complete
        if self.first or self.last != VSW_NO_END:
            raise UsageError("a slice of a capture has no byte ranges; take those of the whole file")
        if count < 1:
            raise UsageError(f"a capture is divided into 1 part or more (found {count})")
        if file.pcapng:
            file.known(VSW_NO_END)
        vsw_index_known(&file.index, &complete)
        last = start = file.index.checkpoints[0].offset
        bounds = [start]
        for part in range(1, count):
            at = start + (size - start) * part // count
            at = self.boundary_indexed(at) if complete else self.boundary_guessed(at)
            if last < at < size:
                bounds.append(at)
                last = at
        bounds.append(size)
        return [ByteRange(bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1)]

    cdef uint64_t boundary_indexed(self, uint64_t at):
        # The first checkpoint at or after a byte.
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
        # The first byte after this one at which a row of records seems to begin.
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

    def interfaces(self, complete=True):
        """The interfaces that frames came in by: a list of :class:`Interface`, in the order of the frames' ``interface``.

        Those of a pcapng file may be described anywhere in it, so ``complete`` reads it to its end; without it the list holds those that
        passes have met so far.  A pcap file has one, without a name.
        """
        cdef CaptureFile file = self.opened()
        if not file.pcapng:
            return [Interface("", "", VSW_LINKTYPE_ETHERNET, file.snaplen)]
        if complete:
            file.known(VSW_NO_END)
        return [file.interface(i) for i in range(file.index.interface_count)]

    def interface_names(self, complete=True):
        """Names of the interfaces that frames came in by, by index (empty strings where there is no name); see :meth:`interfaces`."""
        return [interface.name for interface in self.interfaces(complete)] or [""]

    @property
    def comment(self):
        """The comment of a pcapng file's first section; empty if there is none."""
        cdef CaptureFile file = self.mapped()
        if not file.pcapng:
            return ""
        return _texts(file.mapping.base, VSW_SECTION_OPTIONS, file.swapped).get(VSW_OPTION_COMMENT, "")

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
        size = "a pipe" if self.file.region is NULL else f"{self.file.mapping.size} bytes"
        part = f" from frame {self.first}" if self.first else ""
        return f"<Capture {self.file.name!r} ({self.file.format}, {size}){part}>"

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
        """Bytes of the file, uncompressed; 0 for a pipe that has not been read."""
        return self.opened().mapping.size

    @property
    def strict(self):
        """Whether a pass that comes to damage raises."""
        return bool(self.opened().strict)

    @property
    def problem(self):
        """What ended the readable part of the file (a :class:`~vsw.errors.CaptureError`), once a pass came to it; else ``None``."""
        cdef CaptureFile file = self.opened()
        cdef vsw_index *index = &file.index
        if not index.complete or index.error == VSW_WALK_OK:
            return None
        return file.error(index.error_at, file.message(index.error, index.error_found, index.error_wanted), index.frames)

    @property
    def longer_captured(self):
        """Frames of the file with more bytes captured than their length says (they count as that long).  Reads the file to its end."""
        self.opened().known(VSW_NO_END)
        return self.file.index.longer

    @property
    def skipped(self):
        """Frames of the file that a tolerant capture passed over because their interface is not Ethernet.  Reads the file to its end."""
        self.opened().known(VSW_NO_END)
        return self.file.index.skipped


cdef _peaks(CaptureFile file):
    # The greatest time of each VSW_CHECKPOINT frames of the file.
    cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
    cdef CaptureReader reader = file.at_frame(0, VSW_NO_END)
    cdef uint64_t frame = 0
    cdef uint32_t count, i
    cdef int64_t peak = 0
    peaks = array("q")
    while True:
        with nogil:
            count = reader.source.next(reader.source, held.burst, VSW_BURST)
            for i in range(count):
                if (i == 0 and frame % VSW_CHECKPOINT == 0) or held.burst.time[i] > peak:
                    peak = held.burst.time[i]
        if count and frame % VSW_CHECKPOINT == 0:
            peaks.append(peak)
        elif count:
            peaks[frame // VSW_CHECKPOINT] = peak
        else:
            return memoryview(peaks)
        frame += count


cdef class HeldBurst:

    def __cinit__(self):
        self.burst = <vsw_burst *>malloc(sizeof(vsw_burst))
        if self.burst is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.burst)


cdef frame_of(vsw_burst *burst, uint32_t i, bint interfaces):
    return Frame((<const char *>burst.data[i])[:burst.captured[i]], burst.length[i], burst.time[i], burst.interface[i] if interfaces else 0)


cdef _descriptor(path):
    # (descriptor of our own, name)
    if isinstance(path, (str, bytes, os.PathLike)):
        name = os.fsdecode(path)
        if name == "-":
            return os.dup(0), "<stdin>"
        try:
            return os.open(name, os.O_RDONLY | os.O_CLOEXEC), name
        except OSError as error:
            raise CaptureError(name, 0, f"can't be opened: {error.strerror}") from error
    name = str(getattr(path, "name", path))
    try:
        return os.dup(path.fileno()), name
    except (AttributeError, OSError):
        if not hasattr(path, "read"):
            raise UsageError(f"a capture is a path or a binary file, not {path!r}") from None
    with spooling.temporary() as copy:
        while piece := path.read(spooling.CHUNK):
            copy.write(piece)
        copy.flush()
        return os.dup(copy.fileno()), name


def open_capture(path, strict=True):
    """Open a capture of Ethernet frames: pcap or pcapng, as it is or compressed with gzip or zstd; a file or a pipe.

    ``path`` is a path, ``"-"`` for standard input, or a binary file.  A file is mapped; a pipe is read as its bytes arrive; what is compressed
    is first expanded into a temporary file without a name.

    ``strict`` says what a pass does that comes to damage, with all frames before it delivered: raise :class:`~vsw.errors.CaptureError`, or end
    and leave the error in :attr:`Capture.problem`.  Likewise at a frame of an interface that is not Ethernet: raise, or pass over it and
    count it in :attr:`Capture.skipped`.

    A frame check sequence at the frames' end (announced by a pcap file's link type, a pcapng interface's ``if_fcslen`` or a packet's flags) is
    taken off.  A frame with more bytes captured than its length says counts as that long.  A frame without a time (simple packet block) has
    time 0.

    Raises :class:`~vsw.errors.CaptureError` if the file can't be opened or is no capture of Ethernet frames.
    """
    cdef Capture capture = Capture.__new__(Capture)
    descriptor, name = _descriptor(path)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        os.close(descriptor)
        raise CaptureError(name, 0, "is a directory, expected a capture file")
    capture.file = CaptureFile(descriptor, name, strict)
    capture.last = VSW_NO_END
    return capture
