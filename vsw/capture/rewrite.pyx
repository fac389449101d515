"""A capture file written again with other tags: everything that a tag does not concern stays as it was, to the byte."""

from dataclasses import dataclass

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from vsw.capture.capture cimport Capture, CaptureFile, CaptureReader, HeldBurst
from vsw.capture.walk cimport VSW_NO_END, vsw_stream, vsw_walk
from vsw.capture.writer cimport VSW_WRITER_PCAP_NANO, CaptureWriter, vsw_writer
from vsw.datapath.retag cimport VSW_RETAG_OUTCOMES, VSW_RETAG_PUSH, Retag, vsw_retag
from vsw.datapath.source cimport VSW_BURST, vsw_burst

from vsw.datapath.retag import OUTCOMES
from vsw.errors import UsageError

cdef extern from "vsw/capture/rewrite.h" nogil:
    ctypedef struct vsw_rewrite:
        vsw_writer *writer
        const vsw_retag *rule
        vsw_stream *stream
        uint32_t pcapng
        uint32_t swapped
        uint32_t grow
        uint64_t outcomes[VSW_RETAG_OUTCOMES]
        uint64_t padded
        uint64_t shortened
        uint64_t fcs
    void vsw_rewrite_start(vsw_rewrite *r, const uint8_t *at)
    void vsw_rewrite_pcap_header(vsw_rewrite *r, const uint8_t *base)
    int vsw_rewrite_burst(vsw_rewrite *r, const vsw_burst *burst)
    void vsw_rewrite_rest(vsw_rewrite *r, const uint8_t *stop)
    uint32_t vsw_rewrite_refill(vsw_walk *walk)

cdef uint32_t BURSTS = 2048                   # between two looks at progress and signals
cdef uint32_t GROWS = 4                       # bytes of a tag


@dataclass(frozen=True)
class Rewritten:
    """What :func:`rewrite` did.

    ``frames`` of the file; ``outcomes`` {name: frames}: those that were ``changed``, and why others were left as they are (``untagged``,
    ``other_vid``, ``malformed``, ``cut_by_capture``); ``padded`` to 60 bytes; ``shortened``: frames of 256 KiB that lost captured bytes to their
    tag, since no reader takes a longer record; ``check_sequences`` (FCS) that were right and were made anew.
    """

    frames: int
    outcomes: dict[str, int]
    padded: int
    shortened: int
    check_sequences: int


cdef class _Rewriter(CaptureWriter):
    # A writer of bytes as they are: the file's own header comes from the capture.

    def __init__(self, path, sync):
        self.start(path, VSW_WRITER_PCAP_NANO, sync)


def rewrite(Capture capture not None, path, Retag rule not None, *, sync=False, progress=None):
    """Write a capture to ``path`` with the outermost tags of its frames changed by ``rule``; returns :class:`Rewritten`.

    The format stays, pcap or pcapng, with its byte order, resolution of times, interfaces, comments, name resolution, statistics and all other
    blocks and options.  A frame that was cut by the snap length stays cut at the same byte; its length on the wire changes with the tag, and where
    tags are pushed the snap lengths that the file announces grow by 4.  A frame check sequence that was right is made anew, one that was wrong
    stays wrong; hash options of changed packets are left out; a section's length becomes "not known".  Checksums inside the frame are not touched.
    A compressed capture is written uncompressed.  A pipe is written as it comes.

    The file appears under its name when all is written.  ``sync``: it is on the disk before.  ``progress`` is called with (bytes done, frames done).
    Raises :class:`~vsw.errors.CaptureError` where a strict capture can't be read on, :class:`~vsw.errors.UsageError` for a part of a capture,
    OSError where the file can't be written.
    """
    cdef HeldBurst held = HeldBurst.__new__(HeldBurst)
    cdef CaptureFile file
    cdef CaptureReader reader
    cdef _Rewriter writer
    cdef vsw_rewrite made
    cdef uint32_t count = 1, _
    cdef uint64_t frames = 0
    if capture.first or capture.last != VSW_NO_END:
        raise UsageError("a part of a capture can't be written again; give the whole capture")
    file = capture.opened()
    reader = file.in_windows()
    writer = _Rewriter(path, sync)
    with writer:
        memset(&made, 0, sizeof(made))
        made.writer = &writer.writer
        made.rule = &rule.rule
        made.pcapng = file.pcapng
        made.swapped = file.swapped
        made.stream = <vsw_stream *>reader.walk.owner
        made.grow = GROWS if rule.rule.kind == VSW_RETAG_PUSH else 0
        if not file.pcapng:
            vsw_rewrite_pcap_header(&made, reader.walk.base)
        vsw_rewrite_start(&made, reader.walk.at)
        reader.walk.refill = vsw_rewrite_refill
        reader.walk.owner = &made
        while count:
            with nogil:
                for _ in range(BURSTS):
                    count = reader.source.next(reader.source, held.burst, VSW_BURST)
                    if not count or not vsw_rewrite_burst(&made, held.burst):
                        break
                    frames += count
            PyErr_CheckSignals()
            writer.check()
            if progress is not None:
                progress(reader.source.position, frames)
        reader.check()
        with nogil:
            vsw_rewrite_rest(&made, reader.walk.at)
        writer.check()
    return Rewritten(
        frames=frames,
        outcomes={name: int(made.outcomes[i]) for i, name in enumerate(OUTCOMES)},
        padded=made.padded,
        shortened=made.shortened,
        check_sequences=made.fcs,
    )
