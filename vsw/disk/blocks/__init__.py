"""Block backends: what the bytes of a virtual disk rest on.

A backend is one file with a subclass of :class:`Blocks` and one line in :data:`FORMATS`; the contract suite
(``tests/disk/test_blocks_contract.py``) runs over that registry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...errors import UsageError
from .base import Blocks, Extent, Kind
from .fault import Fault, FaultyBlocks
from .memory import MemoryBlocks
from .qcow2 import Qcow2Blocks
from .qcow2.layout import MAGIC
from .raw import RawBlocks

__all__ = [
    "FORMATS",
    "Blocks",
    "Extent",
    "Fault",
    "FaultyBlocks",
    "Format",
    "Kind",
    "MemoryBlocks",
    "Qcow2Blocks",
    "RawBlocks",
    "create_blocks",
    "open_blocks",
]


@dataclass(frozen=True, slots=True)
class Format:
    """How one image format is opened and created.

    ``open(path, read_only=..., **options)`` and ``create(path, size, **options)`` both return an open backend. ``probe(head)``
    says whether an image that begins with these bytes (up to 4096) is of this format; the last format of the registry, raw,
    accepts everything.
    """

    name: str
    open: Callable[..., Blocks]
    create: Callable[..., Blocks]
    probe: Callable[[bytes], bool]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "qcow2": Format("qcow2", Qcow2Blocks, Qcow2Blocks.create, lambda head: head.startswith(MAGIC)),
        "raw": Format("raw", RawBlocks, RawBlocks.create, lambda _: True),
    }
)


def _format(name: str) -> Format:
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(f"image format {name!r} is not known; known are {', '.join(FORMATS)}") from None


def open_blocks(path: str | os.PathLike[str], format: str = "raw", *, read_only: bool = False, **options: Any) -> Blocks:
    """Open the image at ``path``.

    ``format`` is a key of :data:`FORMATS` and is never guessed from what the guest may have written: a raw disk whose guest
    wrote another format's header stays a raw disk. Raises :class:`~vsw.errors.UsageError` for an unknown format, ``OSError``
    if the file can't be opened or is locked by another writer.
    """
    return _format(format).open(path, read_only=read_only, **options)


def create_blocks(path: str | os.PathLike[str], size: int, format: str = "raw", **options: Any) -> Blocks:
    """Create an image of ``size`` bytes at ``path``, which must not exist, and open it for writing."""
    return _format(format).create(path, size, **options)
