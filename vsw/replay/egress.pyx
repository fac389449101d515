"""Egress captures: what left by each port, one file a port."""

import errno
import os
import resource
import secrets
import shutil

from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc

from vsw.capture.writer cimport VSW_WRITER_PCAP_NANO, VSW_WRITER_PCAPNG, vsw_writer, vsw_writer_format

from vsw.capture.writer import not_written, pcap_header, pcapng_header
from vsw.errors import UsageError
from vsw.replay.names import file_names

cdef extern from "vsw/datapath/state.h" nogil:
    ctypedef struct vsw_burst:
        pass
    ctypedef struct vsw_copy:
        pass
    ctypedef struct vsw_lean:
        pass
    ctypedef struct vsw_sink:
        int (*copy)(vsw_sink *self, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) noexcept nogil
        int (*lean)(vsw_sink *self, const vsw_burst *burst, const vsw_lean *copies) noexcept nogil
        uint32_t failed

cdef extern from "vsw/replay/egress.h" nogil:
    ctypedef struct vsw_egress:
        vsw_sink sink
        vsw_writer *writers
        const uint8_t **headers
        uint32_t *header_bytes
        uint32_t ports
        uint32_t open_most
        int directory
        int error
        uint32_t failed_port
        vsw_writer_format format
        size_t room
    int vsw_egress_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time)
    int vsw_egress_lean(vsw_sink *sink, const vsw_burst *burst, const vsw_lean *copies)
    int vsw_egress_end(vsw_egress *e, uint32_t port)
    void vsw_egress_free(vsw_egress *e)

#: File formats.
FORMATS = ("pcapng", "pcap")
#: Bytes that all buffers have together, and bounds for one.
BUDGET = 16 << 20
LEAST_ROOM = 8 << 10
MOST_ROOM = 1 << 20


cdef class Egress:
    """Writes what leaves by each port of a module to a capture in ``folder``: what ``Switch.forward(egress=...)`` takes.

    The captures are called after the ports, with the format as suffix, and there is one for every port.  ``format`` is ``"pcapng"``, with the
    interface named ``HOST/SWITCH/PORT`` and ``comment`` about the file, or ``"pcap"`` with times in nanoseconds.

    Files are written in a folder ``.vsw-unfinished-PID-RANDOM`` in ``folder`` (which is made if it is not there), and get their names only by
    :meth:`close`, whatever happens before.  Those of an earlier run are replaced.  A context manager: an exception inside discards all.

    Raises :class:`~vsw.errors.UsageError` for an unknown format, OSError where files can't be written.
    """

    cdef vsw_egress egress
    cdef object keep
    cdef readonly str folder
    cdef readonly dict files
    cdef str staging
    cdef bint made_folder

    def __cinit__(self):
        self.egress.directory = -1

    def __init__(self, module, folder, *, format="pcapng", comment="", room=None):
        if format not in FORMATS:
            raise UsageError(f"egress captures are {' or '.join(FORMATS)}, not {format!r}")
        cdef vsw_egress *e = &self.egress
        cdef uint32_t i
        cdef bytes header
        ports = {port.number: port.name for port in module.ports}
        self.folder = os.fspath(folder)
        #: The path of each port's capture, by the port's name, in the order of their numbers.
        names = file_names({number: ports[number] for number in sorted(ports)}, "." + format)
        self.files = {ports[number]: os.path.join(self.folder, name) for number, name in names.items()}
        if format == "pcap":
            one = pcap_header()
            headers = {number: one for number in ports}
        else:
            headers = {number: pcapng_header([(f"{module.name}/{name}", f"left by this port; dialect {module.dialect.name}")], comment)
                       for number, name in ports.items()}
        self.keep = headers
        e.sink.copy = <int (*)(vsw_sink *, const vsw_copy *, const uint8_t *, uint32_t, int64_t) noexcept nogil>vsw_egress_copy
        e.sink.lean = <int (*)(vsw_sink *, const vsw_burst *, const vsw_lean *) noexcept nogil>vsw_egress_lean
        e.format = VSW_WRITER_PCAP_NANO if format == "pcap" else VSW_WRITER_PCAPNG
        e.ports = max(ports, default=-1) + 1
        e.room = room or min(MOST_ROOM, max(LEAST_ROOM, BUDGET // max(1, len(ports))))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        e.open_most = 512 if soft == resource.RLIM_INFINITY else max(1, min(512, soft // 2))
        e.writers = <vsw_writer *>calloc(max(1, e.ports), sizeof(vsw_writer))
        e.headers = <const uint8_t **>calloc(max(1, e.ports), sizeof(uint8_t *))
        e.header_bytes = <uint32_t *>calloc(max(1, e.ports), sizeof(uint32_t))
        if e.writers is NULL or e.headers is NULL or e.header_bytes is NULL:
            raise MemoryError
        for i in range(e.ports):
            e.writers[i].fd = -1
        for number, header in headers.items():
            i = number
            e.headers[i] = <const uint8_t *><const char *>header
            e.header_bytes[i] = len(header)
        self._stage()

    def __dealloc__(self):
        vsw_egress_free(&self.egress)

    def __del__(self):
        self.discard()

    def _stage(self):
        self.made_folder = not os.path.isdir(self.folder)
        os.makedirs(self.folder, exist_ok=True)
        for path in self.files.values():
            if os.path.isdir(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        staging = os.path.join(self.folder, f".vsw-unfinished-{os.getpid()}-{secrets.token_hex(4)}")
        os.mkdir(staging)
        self.staging = staging
        self.egress.directory = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def sink(self):
        """Address of the ``vsw_sink``.  Raises :class:`~vsw.errors.UsageError` once closed or discarded, OSError once a copy could not be written."""
        if self.staging is None:
            raise UsageError(f"the egress captures in {self.folder} are closed: they take no more frames")
        self.check()
        return <uintptr_t>&self.egress.sink

    def check(self):
        """Raise OSError, with the file's name, if a copy could not be written."""
        if self.egress.error:
            path = list(self.files.values())[sorted(self.keep).index(self.egress.failed_port)]
            raise not_written(self.egress.error, path)

    def close(self):
        """Write what is still in memory, and give all files their names.  Raises OSError; the files are gone then."""
        cdef uint32_t port
        cdef int ended
        if self.staging is None:
            return
        try:
            for number in sorted(self.keep):
                port = number
                with nogil:
                    ended = vsw_egress_end(&self.egress, port)
                if not ended:
                    self.check()
            for number, path in zip(sorted(self.keep), self.files.values()):
                os.rename(os.path.join(self.staging, str(number)), path)
            self.made_folder = False
        finally:
            self.discard()

    def discard(self):
        """Remove what was written and has no name yet."""
        if self.egress.directory >= 0:
            os.close(self.egress.directory)
            self.egress.directory = -1
        if self.staging is not None:
            staging, self.staging = self.staging, None
            shutil.rmtree(staging, ignore_errors=True)
            if self.made_folder:
                try:
                    os.rmdir(self.folder)
                except OSError:
                    pass  # somebody else put something there

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
        else:
            self.discard()
