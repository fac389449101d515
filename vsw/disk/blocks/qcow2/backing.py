"""Backing files: which file an image's header may make us open, and as what.

A header is what its author wanted it to be. So a backing file is opened read-only, must be a regular file or block device within a directory that
the caller allows (after all symbolic links; the directory of the image that was asked for, and those below it, always are), and is of the format
that the header (or the caller) names: it is never guessed from bytes that a guest may have written. A chain is at most ``MAX_BACKING_DEPTH``
images deep and comes to no file twice.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import ImageError
from ..base import Blocks
from . import layout
from .header import Header

_PROTOCOL = re.compile(r"[A-Za-z0-9+.-]+:")


@dataclass(frozen=True, slots=True)
class Chain:
    """What the images above allow: directories, and the files that were met."""

    directories: tuple[str, ...]
    met: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, path: str, directories: Sequence[str | os.PathLike[str]]) -> Chain:
        """For the image at ``path``, which the user named."""
        own = os.path.realpath(Path(path).parent)
        return cls((own, *(os.path.realpath(directory) for directory in directories)), ())


def resolve(path: str, name: str) -> str:
    """Where the backing file ``name`` of the image at ``path`` lies: relative to the image's directory, after symbolic links."""
    plain = name.removeprefix("file:")
    if _PROTOCOL.match(plain):
        raise ImageError(path, f"the backing file {name!r} is not a file of this host, which is all that is supported")
    return os.path.realpath(Path(path).parent / plain)


def open_backing(path: str, header: Header, chain: Chain, backing_format: str | None) -> Blocks:
    """The backing file of the image at ``path``, opened read-only. ``backing_format`` is for images that do not name it."""
    from .image import Qcow2Blocks  # noqa: PLC0415  # each image may need the next

    assert header.backing is not None
    where = resolve(path, header.backing)
    if not any(Path(where).is_relative_to(directory) for directory in chain.directories):
        raise ImageError(path, f"its backing file {where} is outside of the allowed directories {', '.join(chain.directories)}")
    kind = header.backing_format or backing_format
    if kind is None:
        raise ImageError(path, f"does not say what format its backing file {header.backing!r} has; say it (raw or qcow2), it is not guessed")
    if kind not in ("raw", "qcow2"):
        raise ImageError(path, f"its backing file has format {kind!r}; raw and qcow2 are supported")
    try:
        status = Path(where).stat()
    except OSError as error:
        raise ImageError(path, f"its backing file {where} can't be opened: {error.strerror}") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise ImageError(path, f"its backing file {where} is neither a regular file nor a block device")
    met = (*chain.met, (status.st_dev, status.st_ino))
    if len(set(met)) < len(met):
        raise ImageError(path, f"its backing file {where} is one of the images that rest on it")
    if len(met) > layout.MAX_BACKING_DEPTH:
        raise ImageError(path, f"its chain of backing files is longer than {layout.MAX_BACKING_DEPTH}")
    if kind == "raw":
        from ..raw import RawBlocks  # noqa: PLC0415

        return RawBlocks(where, read_only=True)
    return Qcow2Blocks(where, read_only=True, chain=Chain(chain.directories, met))
