"""One row a frame: what a frame is, without a switch."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from vsw.datapath.source cimport VSW_BURST, FrameReader, FrameSource, vsw_burst, vsw_source

import numpy as np

from vsw.datapath.rows import ROW
from vsw.errors import UsageError


cdef extern from "vsw/datapath/classifier/classify.h" nogil:
    int vsw_classify_has_vectors()
    void vsw_classify_burst(uint64_t *out, const vsw_burst *burst, int vectors, int past_caches)
    void vsw_row_fence()
    enum:
        VSW_ROW_WORDS


# Whether the straight way in vectors is taken; tests compare both ways.
VECTORS = bool(vsw_classify_has_vectors())

# A result larger than this is written past the caches: it would push out the frames, and be pushed out itself before anyone reads it.
cdef enum:
    CACHED_BYTES = 1 << 20
    STREAM_ALIGNMENT = 16


def classify(FrameSource source not None, *, out=None):
    """Addresses, tags, EtherType, IP, ports, flow hash and flags of each frame: array of :data:`vsw.ROW`, one row a frame.

    ``out`` (that dtype, contiguous, at least one row a frame) is written to and returned, cut to the number of frames; reuse it: fresh
    memory costs more than classifying.

    Up to two tags are read, with TPID 0x8100, 0x88a8 or 0x9100.  IPv4 and IPv6 are read, with up to eight IPv6 extension headers (hop-by-hop,
    routing, destination, fragment, authentication); tunnels are not opened.  A header counts if its bytes were captured: what lies behind them is
    never read, and the flags ``CUT`` and ``MALFORMED`` of :class:`~vsw.RowFlag` say that one was missed.  Checksums are not checked, nor
    are lengths that IP headers give compared with the frame's.  What could not be read is 0.

    ``flow_hash`` is the same for both directions of a flow, the same on every machine, and may be cut to any of its bits.  It covers both
    IP addresses, the protocol and both ports; no ports for protocols without and for fragments, so that all parts of a packet agree;
    for frames without a readable IP header both MAC addresses and the EtherType.  Tags do not count.

    Releases the GIL; any number of threads may call it for the same source, each with its own ``out``.
    Raises :class:`~vsw.errors.UsageError` if ``out`` does not fit, and whatever the source raises when it can't be read on.
    """
    cdef vsw_burst burst
    cdef FrameReader reader
    cdef vsw_source *frames
    cdef uint8_t[::1] octets
    cdef uint64_t *row
    cdef uint64_t at = 0, room
    cdef uint32_t count, beyond = 0
    cdef int past_caches, vectors = VECTORS

    if out is None:
        out = np.empty(len(source), ROW)
    elif not isinstance(out, np.ndarray) or out.dtype != ROW or out.ndim != 1 or not out.flags.c_contiguous:
        raise UsageError("out must be a contiguous array of dtype vsw.ROW with one dimension")
    elif not out.flags.writeable:
        raise UsageError("out must be writable, not read-only")
    room = len(out)
    octets = out.view(np.uint8)
    row = <uint64_t *> &octets[0] if room else NULL
    past_caches = room * ROW.itemsize > CACHED_BYTES and out.ctypes.data % STREAM_ALIGNMENT == 0
    # Frames are not counted before: that would be a pass of its own.
    reader = source.reader(0, <uint64_t> -1)
    frames = reader.source
    with nogil:
        while True:
            count = frames.next(frames, &burst, VSW_BURST)
            if count == 0:
                break
            if count > room - at:
                beyond = 1
                break
            vsw_classify_burst(row, &burst, vectors, past_caches)
            row += count * VSW_ROW_WORDS
            at += count
        vsw_row_fence()
    if beyond:
        raise UsageError(f"out must have one row a frame: it has {room}, and there are more frames")
    reader.check()
    return out[:at]
