"""Capture writers: pcap and pcapng files that appear under their name only when they are complete."""

import errno
import os
import stat
import struct

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from posix.unistd cimport close

from vsw.capture.capture cimport HeldBurst
from vsw.capture.walk cimport VSW_CAPTURED_MAX, VSW_LINKTYPE_ETHERNET, VSW_PCAP_MAJOR, VSW_PCAP_MICRO, VSW_PCAP_MINOR, VSW_PCAP_NANO
from vsw.datapath.source cimport VSW_BURST, FrameReader, FrameSource

from vsw.errors import UsageError

NANOSECONDS = 9                               # if_tsresol of what PcapngWriter writes


cdef int _interrupted(void *owner) noexcept with gil:
    try:
        PyErr_CheckSignals()
    except BaseException as raised:
        (<CaptureWriter>owner).exception = raised
        return 1
    return 0


cdef class CaptureWriter:
    """What :class:`PcapWriter` and :class:`PcapngWriter` share.

    A file is written as ``NAME.unfinished-PID-RANDOM`` in its directory and gets its name when it is closed without an error; otherwise the
    temporary file is removed.  A pipe or a device is written as it is, ``"-"`` is standard output.

    A writer is a context manager: an exception inside discards the file.
    """

    def __cinit__(self):
        self.writer.fd = -1

    def __dealloc__(self):
        free(self.writer.buffer)
        if self.writer.fd >= 0:
            close(self.writer.fd)

    def __del__(self):
        self.discard()

    cdef start(self, path, vsw_writer_format format, bint sync):
        cdef int descriptor
        self.name = os.fsdecode(path)
        self.sync = sync
        if self.name == "-":
            self.name = "<stdout>"
            descriptor = os.dup(1)
        else:
            try:
                regular = stat.S_ISREG(os.stat(self.name).st_mode)
            except FileNotFoundError:
                regular = True
            if regular:
                self.target = os.path.realpath(self.name)
                self.temporary = f"{self.target}.unfinished-{os.getpid()}-{os.urandom(4).hex()}"
                descriptor = self.create()
            else:
                descriptor = os.open(self.name, os.O_WRONLY | os.O_CLOEXEC)
        if vsw_writer_start(&self.writer, descriptor, format):
            raise MemoryError
        self.writer.interrupted = _interrupted
        self.writer.owner = <void *>self

    def create(self):
        try:
            return os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            self.temporary = None
            raise type(error)(error.errno, error.strerror, self.name) from None

    cdef raw(self, bytes data):
        vsw_writer_raw(&self.writer, <const uint8_t *><const char *>data, len(data))
        self.check()

    cpdef check(self):
        """Raise OSError, with the file's name, if writing has failed so far (no space left, an I/O error, a closed pipe)."""
        if self.exception is not None:
            raise self.exception
        if self.writer.error:
            raise not_written(self.writer.error, self.name)

    def write(self, data, time, length=None, interface=0):
        """Write one frame: captured bytes, nanoseconds since the epoch, bytes on the wire (default: those captured), interface."""
        cdef Py_buffer view
        cdef uint32_t wire, number = interface
        cdef int64_t when = time
        if self.finished:
            raise UsageError(f"{self.name} is closed")
        if number >= max(1, self.writer.interfaces):
            raise UsageError(f"{self.name} has {max(1, self.writer.interfaces)} interfaces (found {interface})")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if view.len > VSW_CAPTURED_MAX:
                raise UsageError(f"a frame has at most {VSW_CAPTURED_MAX} captured bytes (found {view.len})")
            wire = view.len if length is None else max(length, view.len)
            with nogil:
                vsw_writer_frame_on(&self.writer, number, NULL, 0, <const uint8_t *>view.buf, <uint32_t>view.len, wire, when)
        finally:
            PyBuffer_Release(&view)
        self.check()

    def write_all(self, FrameSource source):
        """Write all frames of a source (a capture, a batch), without the GIL; returns how many.

        In a pcapng file frames keep the number of their interface, which must be one of the writer's.
        """
        cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
        cdef FrameReader reader = source.reader(0, <uint64_t>-1)
        cdef uint64_t before = self.writer.frames
        cdef uint32_t count = 1, i, beyond = 0
        if self.finished:
            raise UsageError(f"{self.name} is closed")
        with nogil:
            while count and not self.writer.error and not beyond:
                count = reader.source.next(reader.source, held.burst, VSW_BURST)
                if self.writer.interfaces and reader.source.interfaces:
                    for i in range(count):
                        if held.burst.interface[i] >= self.writer.interfaces:
                            beyond = 1 + held.burst.interface[i]
                            count = i
                            break
                vsw_writer_burst(&self.writer, held.burst, count, self.writer.interfaces and reader.source.interfaces)
        self.check()
        if beyond:
            raise UsageError(f"a frame's interface is {beyond - 1}, and {self.name} has {self.writer.interfaces}")
        reader.check()
        return self.writer.frames - before

    @property
    def frames(self):
        """Frames written so far."""
        return self.writer.frames

    def close(self):
        """Write what is still in memory and give the file its name.  Raises OSError; the file is gone then."""
        if self.finished:
            return
        with nogil:
            vsw_writer_flush(&self.writer)
        try:
            self.check()
            if self.temporary is not None:
                if self.sync:
                    os.fsync(self.writer.fd)
                self.shut()
                os.rename(self.temporary, self.target)
                self.temporary = None
            self.finished = True
        except OSError as error:
            raise type(error)(error.errno, error.strerror, self.name) from error
        finally:
            self.discard()

    def shut(self):
        # Network file systems tell about a full disk here.
        descriptor, self.writer.fd = self.writer.fd, -1
        os.close(descriptor)

    def discard(self):
        """Close without giving the file its name: what was written is removed."""
        self.finished = True
        if self.writer.fd >= 0:
            close(self.writer.fd)
            self.writer.fd = -1
        if self.temporary is not None:
            temporary, self.temporary = self.temporary, None
            try:
                os.unlink(temporary)
            except FileNotFoundError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
        else:
            self.discard()


cdef class PcapWriter(CaptureWriter):
    """Writes a pcap file, with times in nanoseconds, or in microseconds as every old tool reads them.

    ``sync``: have the file on the disk before it gets its name.
    """

    def __init__(self, path, nanosecond=True, sync=False):
        self.start(path, VSW_WRITER_PCAP_NANO if nanosecond else VSW_WRITER_PCAP_MICRO, sync)
        self.raw(pcap_header(nanosecond))


cdef class PcapngWriter(CaptureWriter):
    """Writes a pcapng file of one section, with times in nanoseconds.

    ``interfaces``: for each a name, or a pair of name and description; frames refer to them by number.  ``comment``: about the file.
    ``sync``: have the file on the disk before it gets its name.
    """

    def __init__(self, path, interfaces=("",), comment="", sync=False):
        interfaces = list(interfaces)
        if not interfaces:
            raise UsageError("a pcapng file needs an interface")
        header = pcapng_header(interfaces, comment)
        self.start(path, VSW_WRITER_PCAPNG, sync)
        self.writer.interfaces = len(interfaces)
        self.raw(header)


def not_written(number, name):
    """The OSError of a writer's ``error``."""
    text = "pcap has no times after February 2106, pcapng has" if number == errno.EOVERFLOW else os.strerror(number)
    return OSError(number, text, name)


def pcap_header(nanosecond=True):
    """The bytes that a pcap file begins with."""
    magic = VSW_PCAP_NANO if nanosecond else VSW_PCAP_MICRO
    return struct.pack("<IHHiIII", magic, VSW_PCAP_MAJOR, VSW_PCAP_MINOR, 0, 0, VSW_CAPTURED_MAX, VSW_LINKTYPE_ETHERNET)


def pcapng_header(interfaces, comment=""):
    """The blocks that a pcapng file begins with: its section, and each interface (see :class:`PcapngWriter`)."""
    blocks = [_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), [(1, comment), (4, "vsw")])]
    for interface in interfaces:
        name, description = (interface, "") if isinstance(interface, str) else interface
        blocks.append(_block(1, struct.pack("<HHI", VSW_LINKTYPE_ETHERNET, 0, 0), [(2, name), (3, description), (9, bytes([NANOSECONDS]))]))
    return b"".join(blocks)


cdef bytes _block(kind, body, options):
    # A block with those of the options that are not empty.
    parts = [body]
    for code, value in options:
        value = value.encode() if isinstance(value, str) else value
        if len(value) > 0xFFFF:
            raise UsageError(f"a text in a pcapng file has at most 65535 bytes (found {len(value)})")
        if value:
            parts.append(struct.pack("<HH", code, len(value)) + value + bytes((4 - len(value) % 4) % 4))
    parts.append(bytes(4))
    whole = b"".join(parts)
    total = struct.pack("<I", len(whole) + 12)
    return struct.pack("<I", kind) + total + whole + total
