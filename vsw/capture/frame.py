"""What a capture gives when it is looked at from Python."""

from __future__ import annotations

from typing import NamedTuple

from vsw.datapath.frame import Frame as Frame


class ByteRange(NamedTuple):
    """A part of a capture's bytes for one worker: records that start at or after ``start_offset`` and before ``stop_offset``.

    Offsets are bytes from the start of the (uncompressed) file.
    """

    start_offset: int
    stop_offset: int


class Interface(NamedTuple):
    """An interface that frames of a capture came in by: name and description (empty if not given), link type, bytes kept of a frame (0: all)."""

    name: str
    description: str
    linktype: int
    snaplen: int
