"""Images come into being whole: written under another name, and given their own when they are complete.

Who is killed meanwhile leaves at most a file ``.NAME.vsw-unfinished-...`` beside it. A file that exists is replaced only where the caller
says so, and never while a disk of vsw has it open.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import ImageError
from .blocks.raw import RawBlocks

UNFINISHED = "vsw-unfinished"
FORMATS_BY_SUFFIX = {".qcow2": "qcow2", ".qcow": "qcow2", ".raw": "raw", ".img": "raw"}


def format_by_name(path: str | os.PathLike[str]) -> str:
    """The format that the end of the name stands for; raw if it says nothing."""
    return FORMATS_BY_SUFFIX.get(Path(path).suffix.lower(), "raw")


def refuse_existing(path: Path, force: bool) -> None:
    """Raise :class:`~vsw.errors.ImageError` if ``path`` exists, unless ``force`` and nobody uses it. Block devices are never replaced."""
    if not os.path.lexists(path):
        return
    if not force:
        raise ImageError(str(path), "exists already; --force replaces it")
    if not path.is_file():
        raise ImageError(str(path), "is no regular file, and is not replaced")
    RawBlocks(path, read_only=not os.access(path, os.W_OK)).close()


@contextlib.contextmanager
def coming_into_being(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Gives the name to create the image under; on leaving without an exception it is moved to ``path``, durably.

    Raises :class:`~vsw.errors.ImageError` if ``path`` exists and ``force`` is not set, also when it appeared meanwhile.
    """
    target = Path(path)
    refuse_existing(target, force)
    temporary = target.with_name(f".{target.name}.{UNFINISHED}-{secrets.token_hex(4)}")
    try:
        yield temporary
        give_name(temporary, target, force)
    finally:
        temporary.unlink(missing_ok=True)


def give_name(temporary: Path, target: Path, force: bool) -> None:
    """Move a complete file to its name, durably."""
    _sync(temporary)
    if force:
        temporary.replace(target)
    else:
        try:
            target.hardlink_to(temporary)  # unlike a rename, refuses to replace what appeared meanwhile
        except FileExistsError:
            raise ImageError(str(target), "appeared while it was being created") from None
        except OSError:  # a file system without links
            refuse_existing(target, force)
            temporary.replace(target)
        else:
            temporary.unlink()
    _sync(target.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
