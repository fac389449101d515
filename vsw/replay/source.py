"""Captures as the one source of frames that a job reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType

from vsw.capture import Capture, Frame, merge, open_capture
from vsw.capture.merge import Merged
from vsw.datapath.source import FrameReader, FrameSource
from vsw.errors import CaptureError


class Source:
    """One capture, or several merged by time.  ``frames`` is what :meth:`~vsw.Switch.forward` takes.

    ``size`` is the number of bytes that ``forward`` reports as progress by its end; 0 where that is not known.  A context manager.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], strict: bool = True) -> None:
        self.paths = [os.fspath(path) for path in paths]
        with ExitStack() as stack:
            self.captures: list[Capture] = [stack.enter_context(open_capture(path, strict=strict)) for path in self.paths]
            self._stack = stack.pop_all()
        self.frames: Capture | Merged = self.captures[0] if len(self.captures) == 1 else merge(self.captures)
        self.size = self.captures[0].size if len(self.captures) == 1 else 0

    def keep(self) -> None:
        """See to it that frames can be read more than once: a pipe is read to its end."""
        for path, capture in zip(self.paths, self.captures, strict=True):
            if path == "-" or not Path(path).is_file():
                len(capture)

    def first_time(self) -> int | None:
        """The time of the first frame (ns); None if there is none."""
        times = []
        for capture in self.captures:
            try:
                times.append(capture.frame(0).time)
            except IndexError:
                continue
        return min(times, default=None)

    def names(self) -> list[str]:
        """Names of the interfaces of all captures, as far as they have been read."""
        return [name for capture in self.captures for name in capture.interface_names(complete=False)]

    def problems(self) -> list[CaptureError]:
        """What ended captures early that are not strict."""
        return [capture.problem for capture in self.captures if capture.problem is not None]

    def part(self, start: int, stop: int) -> Part:
        """Frames ``start`` (included) to ``stop`` (excluded) as a source."""
        return Part(self.frames, start, stop)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


class Part(FrameSource):
    """Some of the frames of a source that can be read more than once."""

    def __init__(self, frames: Capture | Merged, start: int, stop: int) -> None:
        self.frames = frames
        self.start = start
        self.stop = stop

    def reader(self, start: int, stop: int) -> FrameReader:
        return self.frames.reader(min(self.start + start, self.stop), min(self.start + stop, self.stop))

    def interface_names(self) -> list[str]:
        return self.frames.interface_names()

    def __len__(self) -> int:
        return max(0, min(self.stop, len(self.frames)) - self.start)

    def __iter__(self) -> Iterator[Frame]:
        if isinstance(self.frames, Capture):
            return iter(self.frames[self.start : self.stop])
        return islice(self.frames, self.start, self.stop)
