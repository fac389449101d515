"""Frames in the caller's own numpy arrays, switched where they lie.

A batch stands beside a capture at the entrance of the datapath: both are sources of bursts.  Nothing is copied, neither frames nor
descriptors, so the border must be safe on its own: every row is checked against the buffer once when the batch is made, and readers check what
they have loaded again, because an array that the caller still holds may have changed since.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from vsw.datapath.source cimport VSW_SLACK, FrameReader, FrameSource, vsw_burst, vsw_source

import numpy as np

from vsw.datapath.frame import Frame
from vsw.errors import UsageError


cdef struct array_source:
    vsw_source base                    # first: the datapath sees only this
    const uint8_t *buffer
    uint64_t size
    const uint64_t *offsets
    const uint32_t *lengths
    const uint32_t *wire_lengths
    const int64_t *time                # NULL: all frames have time 0
    uint64_t at
    uint64_t stop


cdef uint32_t next_burst(vsw_source *base, vsw_burst *burst, uint32_t limit) noexcept nogil:
    cdef array_source *self = <array_source *> base
    cdef uint64_t left = self.stop - self.at
    cdef uint32_t count = limit if limit < left else <uint32_t> left
    cdef const uint64_t *offsets = self.offsets + self.at
    cdef const uint32_t *lengths = self.lengths + self.at
    cdef const uint32_t *wire_lengths = self.wire_lengths + self.at
    cdef uint64_t offset, end, last = 0, negative = 0
    cdef uint32_t i, captured, length

    for i in range(count):
        offset = offsets[i]
        captured = lengths[i]
        length = wire_lengths[i]
        end = offset + captured
        last = end if end > last else last
        # Bit 63 gathers whether an offset is beyond any buffer, or a length below what was captured.
        negative |= offset | (<uint64_t> length - captured)
        # As a number: whether it points into the buffer is known only below.
        burst.data[i] = <const uint8_t *> (<uintptr_t> self.buffer + offset)
        burst.captured[i] = captured
        burst.length[i] = length
    if last > self.size or negative >> 63:    # the arrays have changed since the batch was made
        base.failed = 1
        burst.count = 0
        return 0
    if self.time != NULL:
        for i in range(count):
            burst.time[i] = self.time[self.at + i]
    else:
        memset(burst.time, 0, count * sizeof(int64_t))
    burst.count = count
    burst.roomy = last + VSW_SLACK <= self.size
    base.position = last if last > base.position else base.position
    self.at += count
    return count


cdef class ArrayReader(FrameReader):
    """One pass over a batch."""

    cdef Batch batch
    cdef array_source arrays

    def check(self):
        if self.arrays.base.failed:
            first = int(self.arrays.at)
            raise UsageError(f"the batch's arrays were changed while in use: one of the rows from {first} on no longer lies in the buffer")


cdef object checked_array(object given, str name, tuple dtypes):
    """The array itself (or one over the same memory, if another object with a buffer was given), after its type and shape were checked."""
    try:
        array = given if isinstance(given, np.ndarray) else np.asarray(memoryview(given))
    except TypeError:
        raise UsageError(f"{name} must be an array of {' or '.join(dtypes)}, not {type(given).__name__}") from None
    if array.dtype not in [np.dtype(dtype) for dtype in dtypes]:
        raise UsageError(f"{name} must have dtype {' or '.join(dtypes)} in the host's byte order, not {array.dtype}")
    if array.ndim != 1:
        raise UsageError(f"{name} must have one dimension, not {array.ndim} (shape {array.shape})")
    if not array.flags.c_contiguous:
        raise UsageError(f"{name} must be contiguous; numpy.ascontiguousarray makes a copy that is")
    return array


cdef object checked_column(object given, str name, tuple dtypes, object count):
    array = checked_array(given, name, dtypes)
    if len(array) != count:
        raise UsageError(f"{name} must have one row a frame: {count} rows, not {len(array)}")
    return array


cdef class Batch(FrameSource):
    """Frames that lie in arrays; accepted wherever a capture is.

    Made by :meth:`from_arrays` or :meth:`from_frames`.  ``len()`` is the number of frames; ``batch[10:20]`` is a batch over the same memory;
    ``batch[i]`` and iteration give :class:`~vsw.datapath.frame.Frame` objects, with a copy of the bytes.

    ``buffer``, ``offsets``, ``lengths``, ``wire_lengths``, ``time`` and ``port_in`` are the arrays that it was made from (``time`` and ``port_in``
    may be ``None``; ``wire_lengths`` is ``lengths`` where there were none).

    A batch never changes: several threads may read it at once, each with a reader of its own.  The arrays must not be written to meanwhile.
    If they are, frames have whatever bytes a reader finds; a row that no longer lies in the buffer ends that pass with an error.
    """

    def __init__(self):
        raise TypeError("a batch is made by Batch.from_arrays or Batch.from_frames")

    @staticmethod
    def from_arrays(buffer, offsets, lengths, wire_lengths=None, time=None, port_in=None):
        """A batch over the caller's arrays; nothing is copied, read-only arrays will do.

        ``buffer`` (uint8, contiguous): the bytes of all frames, in any order, with anything between them; ``bytes``, ``mmap`` and the like too.
        ``offsets`` (uint64 or int64, bytes): where each frame's destination address is.  ``lengths`` (uint32, bytes): how much of each frame is
        there.  ``wire_lengths`` (uint32, bytes, at least ``lengths``): what it had on the wire, without FCS; the same where not given.
        ``time`` (int64, nanoseconds since the epoch): 0 where not given.  ``port_in`` (uint16): number of the port that each frame came in by.

        Raises :class:`~vsw.errors.UsageError`, which names the argument, and the first row that does not lie in the buffer.
        """
        cdef Batch self = Batch.__new__(Batch)
        self.buffer = checked_array(buffer, "buffer", ("uint8",))
        self.offsets = checked_array(offsets, "offsets", ("uint64", "int64"))
        count = len(self.offsets)
        self.lengths = checked_column(lengths, "lengths", ("uint32",), count)
        self.wire_lengths = self.lengths
        if wire_lengths is not None:
            self.wire_lengths = checked_column(wire_lengths, "wire_lengths", ("uint32",), count)
        if time is not None:
            self.time = checked_column(time, "time", ("int64",), count)
        if port_in is not None:
            self.port_in = checked_column(port_in, "port_in", ("uint16",), count)
        self._acquire()
        self._check_rows()
        return self

    @staticmethod
    def from_frames(frames, time=None):
        """A batch of frames that are given as bytes-like objects; they are copied, once, behind one another.

        ``frames``: any iterable.  ``time``: one timestamp a frame, in nanoseconds since the epoch, or ``None`` for 0.
        """
        frames = [memoryview(frame).cast("B") for frame in frames]
        lengths = np.fromiter((len(frame) for frame in frames), np.uint32, len(frames))
        ends = np.cumsum(lengths, dtype=np.uint64)
        # Room behind the last frame: stages may then load whole words from every frame of the batch.
        buffer = np.frombuffer(b"".join([*frames, bytes(VSW_SLACK)]), np.uint8)
        if time is not None:
            time = np.fromiter(time, np.int64)
        return Batch.from_arrays(buffer, ends - lengths, lengths, time=time)

    cdef _acquire(self):
        self.count = len(self.offsets)
        self._buffer = self.buffer
        self._offsets = self.offsets.view(np.uint64)    # a negative offset becomes a huge one: outside every buffer
        self._lengths = self.lengths
        self._wire_lengths = self.wire_lengths
        self._time = self.time
        self._port_in = self.port_in

    cdef _check_rows(self):
        cdef uint64_t size = self._buffer.shape[0]
        cdef uint64_t i, offset, length, first = self.count
        cdef const uint64_t[::1] offsets = self._offsets
        cdef const uint32_t[::1] lengths = self._lengths
        cdef const uint32_t[::1] wire_lengths = self._wire_lengths

        with nogil:
            for i in range(self.count):
                offset = offsets[i]
                length = lengths[i]
                if offset > size or length > size - offset or wire_lengths[i] < length:
                    first = i
                    break
        if first == self.count:
            return
        start, captured, on_wire = self.offsets[first], self.lengths[first], self.wire_lengths[first]
        if on_wire < captured:
            raise UsageError(f"wire_lengths: row {first}: a frame of {on_wire} bytes can't have {captured} captured (lengths)")
        raise UsageError(f"offsets, lengths: row {first}: {captured} bytes at {start} do not lie in a buffer of {size} bytes")

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(self.count)
            if step != 1:
                raise UsageError(f"a batch is sliced with step 1, not {step}: the slice is a view")
            return self._slice(slice(start, max(start, stop)))
        try:
            i = range(self.count)[index]
        except IndexError:
            raise IndexError(f"frame {index} of a batch of {self.count}") from None
        start = int(self.offsets[i])
        data = self.buffer[start:start + int(self.lengths[i])].tobytes()
        return Frame(data, int(self.wire_lengths[i]), 0 if self.time is None else int(self.time[i]), 0)

    def __iter__(self):
        return (self[i] for i in range(self.count))

    def __repr__(self):
        return f"<Batch of {self.count} frames in a buffer of {self._buffer.shape[0]} bytes>"

    cdef Batch _slice(self, object rows):
        cdef Batch part = Batch.__new__(Batch)
        part.buffer = self.buffer
        part.offsets = self.offsets[rows]
        part.lengths = self.lengths[rows]
        part.wire_lengths = self.wire_lengths[rows]
        part.time = None if self.time is None else self.time[rows]
        part.port_in = None if self.port_in is None else self.port_in[rows]
        part._acquire()
        return part

    cpdef FrameReader reader(self, uint64_t start, uint64_t stop):
        cdef ArrayReader reader = ArrayReader.__new__(ArrayReader)
        cdef array_source *arrays = &reader.arrays
        arrays.base.next = next_burst
        arrays.stop = min(stop, self.count)
        arrays.at = min(start, arrays.stop)
        arrays.size = self._buffer.shape[0]
        if self.count:
            arrays.offsets = &self._offsets[0]
            arrays.lengths = &self._lengths[0]
            arrays.wire_lengths = &self._wire_lengths[0]
            if self.time is not None:
                arrays.time = &self._time[0]
            if arrays.size:            # a batch of empty frames may lie in an empty buffer
                arrays.buffer = &self._buffer[0]
        reader.source = &arrays.base
        reader.batch = self
        return reader
