"""Tags pushed, popped and rewritten: rules, and the frames of a source under one of them in new memory."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from vsw.datapath.source cimport VSW_BURST, VSW_SLACK, FrameReader, FrameSource, vsw_burst, vsw_source

from vsw.errors import UsageError

#: What a frame can come to, by the number of ``vsw_retag_outcome``; all but the first are left as they are.
OUTCOMES = ("changed", "untagged", "other_vid", "malformed", "cut_by_capture")

TPIDS = (0x8100, 0x88A8, 0x9100)
PCP_SHIFT = 13
DEI_SHIFT = 12


def _checked(name, value, most):
    try:
        number = value.__index__()
    except AttributeError:
        raise UsageError(f"{name} is a number from 0 to {most}, not {value!r}") from None
    if not 0 <= number <= most:
        raise UsageError(f"{name} is a number from 0 to {most}, not {number}")
    return number


def _checked_tpid(tpid):
    if tpid not in TPIDS:
        shown = f"{tpid:#06x}" if isinstance(tpid, int) else repr(tpid)
        raise UsageError(f"tpid is one of {', '.join(f'{one:#06x}' for one in TPIDS)}, not {shown}")
    return tpid


cdef class Retag:
    """What to do with the outermost tag of frames: made by :meth:`push`, :meth:`pop` or :meth:`translate`.

    Tags are those with TPID 0x8100, 0x88a8 or 0x9100.  A frame whose Ethernet header is not all there, or (to pop or rewrite it) the tag that it
    announces, is left as it is.
    """

    @staticmethod
    def push(vid, pcp=0, dei=0, tpid=0x8100):
        """Put a tag in front of whatever tags there are."""
        cdef Retag self = Retag.__new__(Retag)
        self.kind = "push"
        self.rule.kind = VSW_RETAG_PUSH
        self.rule.tpid = _checked_tpid(tpid)
        self.rule.set = _checked("vid", vid, VSW_RETAG_VIDS - 1) | _checked("pcp", pcp, 7) << PCP_SHIFT | _checked("dei", dei, 1) << DEI_SHIFT
        return self

    @staticmethod
    def pop(vids=None, pad=False):
        """Take the outermost tag off, if its VID is one of ``vids`` (``None``: any).

        ``pad``: frames that were captured whole and would be shorter than 60 bytes are padded with zeros to that.
        """
        cdef Retag self = Retag.__new__(Retag)
        self.kind = "pop"
        self.rule.kind = VSW_RETAG_POP
        self.rule.pad = bool(pad)
        self.choose(None if vids is None else {vid: 0 for vid in vids})
        return self

    @staticmethod
    def translate(vids=None, pcp=None, dei=None, tpid=None):
        """Rewrite the outermost tag where its VID is a key of ``vids`` (``None``: wherever there is one); what is ``None`` stays as it was."""
        cdef Retag self = Retag.__new__(Retag)
        if not vids and pcp is None and dei is None and tpid is None:
            raise UsageError("translate needs something to change: vids, pcp, dei or tpid")
        self.kind = "translate"
        self.rule.kind = VSW_RETAG_TRANSLATE
        self.rule.tpid = 0 if tpid is None else _checked_tpid(tpid)
        self.rule.keep = (7 << PCP_SHIFT if pcp is None else 0) | (1 << DEI_SHIFT if dei is None else 0)
        self.rule.set = (0 if pcp is None else _checked("pcp", pcp, 7) << PCP_SHIFT) | (0 if dei is None else _checked("dei", dei, 1) << DEI_SHIFT)
        self.choose(vids)
        return self

    def choose(self, vids):
        cdef int vid
        for vid in range(VSW_RETAG_VIDS):
            self.rule.vid[vid] = vid if vids is None else VSW_RETAG_STAYS
        for old, new in (vids or {}).items():
            self.rule.vid[<int>_checked("vid", old, VSW_RETAG_VIDS - 1)] = _checked("vid", new, VSW_RETAG_VIDS - 1)

    def apply(self, FrameSource source not None):
        """The frames of a source under this rule: a :class:`~vsw.Batch` in new memory, in which each byte was written once."""
        cdef vsw_burst burst
        cdef vsw_edit edit
        cdef FrameReader reader
        cdef vsw_source *frames
        cdef uint8_t[::1] buffer
        cdef uint64_t[::1] offsets
        cdef uint32_t[::1] lengths, wire_lengths
        cdef int64_t[::1] time
        cdef const vsw_retag *rule = &self.rule
        cdef uint64_t at = 0, size = 0, rows = len(source), row = 0
        cdef uint32_t count, i
        import numpy as np  # here: who writes a capture again does without
        from vsw.datapath.batch import Batch

        reader = source.reader(0, rows)
        frames = reader.source
        with nogil:
            while True:
                count = frames.next(frames, &burst, VSW_BURST)
                if count == 0:
                    break
                for i in range(count):
                    vsw_retag_frame(rule, burst.data[i], burst.captured[i], burst.length[i], &edit)
                    size += edit.captured
        reader.check()
        made = [np.empty(size + VSW_SLACK, np.uint8), *(np.empty(rows, kind) for kind in (np.uint64, np.uint32, np.uint32, np.int64))]
        buffer, offsets, lengths, wire_lengths, time = made
        reader = source.reader(0, rows)
        frames = reader.source
        with nogil:
            while row < rows:
                count = frames.next(frames, &burst, <uint32_t>min(<uint64_t>VSW_BURST, rows - row))
                if count == 0:
                    break
                for i in range(count):
                    vsw_retag_frame(rule, burst.data[i], burst.captured[i], burst.length[i], &edit)
                    if edit.captured > size - at:    # somebody wrote to the frames meanwhile
                        row = rows + 1
                        break
                    offsets[row] = at
                    lengths[row] = edit.captured
                    wire_lengths[row] = edit.length
                    time[row] = burst.time[i]
                    memcpy(&buffer[at], edit.head, edit.head_len)
                    memcpy(&buffer[at + edit.head_len], burst.data[i] + edit.body_at, burst.captured[i] - edit.body_at)
                    at += edit.captured - edit.pad
                    memset(&buffer[at], 0, edit.pad)
                    at += edit.pad
                    row += 1
            memset(&buffer[at], 0, VSW_SLACK)
        reader.check()
        if row != rows or at != size:
            raise UsageError("the frames changed while they were read")
        return Batch.from_arrays(made[0], made[1], made[2], made[3], time=made[4], port_in=getattr(source, "port_in", None))


def push_tag(source, vid, pcp=0, dei=0, tpid=0x8100):
    """All frames with one more tag in front: a :class:`~vsw.Batch` in new memory.

    Frames that were cut by the capture stay cut at the same place; their length on the wire is 4 bytes more.  A frame without a whole Ethernet
    header is left as it is.  Checksums are not touched.  Raises :class:`~vsw.errors.UsageError` for numbers that no tag can hold.
    """
    return Retag.push(vid, pcp, dei, tpid).apply(source)


def pop_tag(source, vids=None, pad=False):
    """All frames without their outermost tag, if it has one of these VIDs (``None``: any): a :class:`~vsw.Batch` in new memory.

    ``pad``: frames that were captured whole and would be shorter than 60 bytes are padded with zeros to that.  A frame without a tag, or whose
    tag is not all there, is left as it is.
    """
    return Retag.pop(vids, pad).apply(source)


def translate_tag(source, vids=None, pcp=None, dei=None, tpid=None):
    """All frames, with the outermost tag rewritten where its VID is a key of ``vids`` (``None``: wherever there is one): a :class:`~vsw.Batch`.

    ``vids`` maps old VIDs to new ones; ``pcp``, ``dei`` and ``tpid`` are set on the same tags.
    """
    return Retag.translate(vids, pcp, dei, tpid).apply(source)
