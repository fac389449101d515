"""Copies a disk from one image to another of any format; goes on where it was interrupted.

Until it is complete, the target lies beside its name as ``.NAME.vsw-partial``, with a journal ``.NAME.vsw-partial.json`` that tells what is being
copied and how far that has reached stable storage. Holes and zeroes of the source are not written: the target is new, and reads as zeroes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError
from .blocks import Blocks, Kind, create_blocks, open_blocks
from .blocks.qcow2.check import Repair, check_image
from .creation import give_name, refuse_existing

PIECE = 4 << 20
"""Bytes that are read at once."""
STRETCH = 256 << 20
"""Bytes of the disk between two entries of the journal."""
GRAIN = 4096
"""Zeroes are left out in units of this many bytes."""


@dataclass(frozen=True)
class Target:
    """What is to be made: ``options`` are those of the format's ``create``."""

    path: Path
    format: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def partial(self) -> Path:
        return self.path.with_name(f".{self.path.name}.vsw-partial")

    @property
    def journal(self) -> Path:
        return self.path.with_name(f".{self.path.name}.vsw-partial.json")


def convert(
    source: Blocks,
    identity: dict[str, Any],
    target: Target,
    *,
    force: bool = False,
    resume: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Copy ``source`` to ``target``; returns the byte at which it began, which is not 0 if it went on.

    ``identity`` (:func:`identify`) says what the source is: an interrupted copy goes on only if it is the same. ``progress`` is called with the
    bytes of the disk that are done. After an error or a signal the partial target stays, for ``resume``. Raises
    :class:`~vsw.errors.ImageError` if there is nothing to resume, or the source has changed.
    """
    refuse_existing(target.path, force)
    plan = {"source": identity, "size": source.size, "format": target.format, "options": target.options}
    start = _resumable(target, plan) if resume else 0
    with _opened(target, source.size, resume) as made:
        _note(target, plan, start)
        for at in range(start, source.size, STRETCH):
            stop = min(at + STRETCH, source.size)
            for done in _copy(source, made, at, stop):
                if progress is not None:
                    progress(done)
            made.flush()
            _note(target, plan, stop)
    give_name(target.partial, target.path, force)
    target.journal.unlink()
    return start


def identify(path: Path, image_format: str, snapshot: str | None, source: Blocks) -> dict[str, Any]:
    """What must not change while an image is copied, in pieces or at once: it and what it rests on."""
    files = [str(path)]
    below = getattr(source, "backing", None)
    while below is not None:
        files.append(below.path)
        below = getattr(below, "backing", None)
    found = [(os.path.realpath(file), Path(file).stat()) for file in files]
    return {
        "format": image_format,
        "snapshot": snapshot,
        "files": [{"path": name, "size": status.st_size, "modified": status.st_mtime_ns, "inode": status.st_ino} for name, status in found],
    }


def _resumable(target: Target, plan: dict[str, Any]) -> int:
    try:
        noted = json.loads(target.journal.read_text())
        done = noted.pop("done")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ImageError(str(target.path), "there is no interrupted copy to go on with (no journal beside it)") from None
    if noted != json.loads(json.dumps(plan)):
        raise ImageError(str(target.path), "the interrupted copy was of another source, or one that has changed since, or with other options")
    if not isinstance(done, int) or not 0 <= done <= plan["size"] or not target.partial.is_file():
        raise ImageError(str(target.path), "the journal of the interrupted copy does not fit to what is there")
    return done


@contextlib.contextmanager
def _opened(target: Target, size: int, resume: bool) -> Iterator[Blocks]:
    if resume:
        if target.format == "qcow2":  # who was killed has leaked what he had allocated last
            check_image(target.partial, Repair.SAFE)
        made = open_blocks(target.partial, target.format)
        if made.size != size:
            made.close()
            raise ImageError(str(target.partial), f"has {made.size} bytes, not {size}")
    else:
        refuse_existing(target.partial, force=True)  # somebody may be at work on it
        target.partial.unlink(missing_ok=True)
        made = create_blocks(target.partial, size, target.format, **target.options)
    with made:
        yield made


def _note(target: Target, plan: dict[str, Any], done: int) -> None:
    """Replace the journal by one that says ``done``, durably."""
    fresh = target.journal.with_suffix(".new")
    with fresh.open("w") as stream:
        json.dump({**plan, "done": done}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(target.journal)


def _copy(source: Blocks, made: Blocks, start: int, stop: int) -> Iterator[int]:
    """Copy a range; gives how far it has come."""
    buffer = memoryview(bytearray(PIECE))
    for extent in source.extents(start, stop - start):
        if extent.kind is not Kind.DATA:
            yield extent.offset + extent.length
            continue
        for at in range(extent.offset, extent.offset + extent.length, PIECE):
            piece = buffer[: min(PIECE, extent.offset + extent.length - at)]
            source.readinto(at, piece)
            for low, high in _data(piece):
                made.write(at + low, piece[low:high])
            yield at + len(piece)


def _data(piece: memoryview) -> Iterator[tuple[int, int]]:
    """The parts of ``piece`` that are not zero, in whole grains."""
    whole = len(piece) // GRAIN * GRAIN
    used = np.frombuffer(piece[:whole], np.uint64).reshape(-1, GRAIN // 8).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], used, [False]]).astype(np.int8))).tolist()
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        yield low * GRAIN, high * GRAIN
    if whole < len(piece) and any(piece[whole:]):
        yield whole, len(piece)
