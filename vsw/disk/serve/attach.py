"""A virtual machine's disks, served to its QEMU: each is an NBD export on one unix socket.

::

    with VmDisks("web1", lab.topology.vms["web1"].disks, folder, "web1.sock") as served:
        for disk in served.disks:
            print(disk.words.controller, disk.socket, disk.export)     # virtio-scsi web1.sock web1.0

What QEMU needs of a disk is where it is served: ``-blockdev driver=nbd,server.type=unix,server.path=SOCKET,export=EXPORT,discard=unmap`` and
whether it is read-only; what it hangs behind which card (``words.controller``, ``words.block_size``) is its launcher's business
(:mod:`vsw.vm.qemu`). Which cards there are, and how many disks each takes: :mod:`vsw.disk.scsi.controllers`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ...config.models import DiskWords
from ...errors import UsageError
from ..blocks import Blocks, create_blocks, open_blocks
from ..creation import coming_into_being, format_by_name
from .nbd import Export, NbdServer


@dataclass(frozen=True, slots=True)
class ServedDisk:
    """One disk of a machine, and where it is served."""

    words: DiskWords
    blocks: Blocks
    socket: str
    """The unix socket's path, absolute."""
    export: str
    """The NBD export's name: the machine's name and the disk's place, as in ``web1.0``."""


class VmDisks:
    """The disks of machine ``vm``, open and served on the unix socket ``socket`` until ``close``, which flushes them.

    ``folder`` is where relative file names begin. A file that is missing is created where its ``size`` is given. ``OSError`` if a file can't be
    opened or somebody else has it, or if another process serves on that socket; :class:`~vsw.errors.UsageError` if the words do not fit the file.
    """

    def __init__(self, vm: str, disks: Sequence[DiskWords], folder: str | os.PathLike[str], socket: str | os.PathLike[str]) -> None:
        path = str(Path(socket).absolute())
        self.disks: list[ServedDisk] = []
        self._ending = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            for number, words in enumerate(disks):
                blocks = stack.enter_context(open_disk(words, folder))
                self.disks.append(ServedDisk(words, blocks, path, f"{vm}.{number}"))
            exports = [Export(disk.export, disk.blocks, disk.words.file, disk.words.readonly) for disk in self.disks]
            if exports:
                stack.enter_context(NbdServer(exports, unix=path))
            # What was opened last ends first: the server before its disks.
            self._ending = stack.pop_all()

    def close(self) -> None:
        """Stop serving, flush and close the disks. The machine should have ended before."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_disk(words: DiskWords, folder: str | os.PathLike[str] = ".") -> Blocks:
    """Open the file of a topology's disk, relative names from ``folder``; create it if it is missing and its size is given."""
    path = Path(folder) / words.file
    chosen = words.format or format_by_name(path)
    if words.size is not None and not words.readonly and not os.path.lexists(path):
        with coming_into_being(path) as temporary:
            create_blocks(temporary, words.size, chosen).close()
    blocks = open_blocks(path, chosen, read_only=words.readonly)
    try:
        if words.size is not None and blocks.size != words.size:
            raise UsageError(f"{path}: the disk has {blocks.size} bytes, its configuration says {words.size}")
        if blocks.size % words.block_size:
            raise UsageError(f"{path}: {blocks.size} bytes are no multiple of the disk's block size of {words.block_size}")
    except BaseException:
        blocks.close()
        raise
    return blocks
