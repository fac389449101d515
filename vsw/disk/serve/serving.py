"""Several disks served at once, over NBD, iSCSI and vhost-user: what ``vsw disk serve`` does, as a library call.

Every disk is an NBD export under its name, a logical unit of one target, numbered from 0, which iSCSI initiators and the guest behind a
vhost-user-scsi controller reach, and a virtio-blk disk on a socket of its own. All reach the same disk: what one client wrote, every other reads.
SCSI reservations bind SCSI initiators only, NBD and virtio-blk know nothing of them; so do not give one disk to both
kinds of client at once unless a cluster file system, or only one writer, is what keeps it whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import UsageError
from ..blocks import Blocks
from ..scsi import FileStore, LogicalUnit, Target
from .iscsi import Exported, IscsiServer
from .iscsi_login import Chap
from .nbd import Export, NbdServer, nbd_url
from .vhost_user import BlkServer, ScsiServer

TARGET_PREFIX = "iqn.2026-01.lab.vsw:"
SHORTEST_SECRET = 12
"""Bytes: RFC 7143 9.2.1 wants 96 bits where nothing else protects the exchange."""


@dataclass(frozen=True, slots=True)
class Disk:
    """An open disk and what clients see of it.

    ``name`` is its NBD export, ``serial`` its serial number (1 to 20 ASCII characters), which with ``name`` must be the disk's own; ``file`` is for
    descriptions. ``store`` is where persistent reservations are kept, if anywhere. The other words are those of :class:`LogicalUnit`.
    """

    name: str
    blocks: Blocks
    serial: str
    file: str = ""
    read_only: bool = False
    block_size: int = 512
    removable: bool = False
    store: Path | None = None


@dataclass(frozen=True, slots=True)
class Nbd:
    """Where NBD is served: a unix socket, TCP addresses, or both."""

    unix: Path | None = None
    tcp: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Iscsi:
    """Where iSCSI is served, under which target name, and to whom."""

    target: str
    tcp: tuple[tuple[str, int], ...]
    chap: Chap | None = None
    mutual: Chap | None = None


@dataclass(frozen=True, slots=True)
class VhostUser:
    """Unix sockets for guests: one a disk (``blk``, for the first disks, in their order), and one of a controller with all of them (``scsi``)."""

    blk: tuple[Path, ...] = ()
    scsi: Path | None = None


class Serving:
    """Serves ``disks`` until ``close``, which ends the servers, then flushes and closes the disks; on an error nothing stays open or served.

    ``OSError`` if a place is taken, :class:`~vsw.errors.UsageError` if words do not fit.
    """

    def __init__(
        self, disks: Sequence[Disk], nbd: Nbd | None = None, iscsi: Iscsi | None = None, vhost_user: VhostUser | None = None
    ) -> None:
        self.disks = list(disks)
        self.nbd: NbdServer | None = None
        self.iscsi: IscsiServer | None = None
        self.blk: list[BlkServer] = []
        """The virtio-blk servers of the first disks."""
        self.scsi: ScsiServer | None = None
        self.target = "" if iscsi is None else iscsi.target
        with contextlib.ExitStack() as stack:
            for disk in self.disks:
                stack.enter_context(disk.blocks)
            if not self.disks:
                raise UsageError("there is no disk to serve")
            if nbd is None and iscsi is None and (vhost_user is None or vhost_user == VhostUser()):
                raise UsageError("disks are served over NBD, iSCSI or vhost-user, not over none of them")
            if vhost_user is not None and len(vhost_user.blk) > len(self.disks):
                raise UsageError(f"{len(vhost_user.blk)} sockets for virtio-blk, but {len(self.disks)} disks")
            over_scsi = None if vhost_user is None else vhost_user.scsi
            if iscsi is not None or over_scsi is not None:
                name = self.target or target_name(self.disks[0].name)
                target = Target(name, {lun: _unit(disk) for lun, disk in enumerate(self.disks)})
            if iscsi is not None:
                self.iscsi = stack.enter_context(IscsiServer([Exported(target, iscsi.chap, iscsi.mutual)], iscsi.tcp))
            if nbd is not None:
                exports = [Export(disk.name, disk.blocks, disk.file, disk.read_only) for disk in self.disks]
                self.nbd = stack.enter_context(NbdServer(exports, unix=nbd.unix, tcp=nbd.tcp))
            if over_scsi is not None:
                # The guest is known again, and its reservations with it, by the name of the first disk.
                self.scsi = stack.enter_context(ScsiServer(over_scsi, {0: target}, name=self.disks[0].name))
            if vhost_user is not None:
                for disk, path in zip(self.disks, vhost_user.blk, strict=False):
                    server = BlkServer(path, disk.blocks, serial=disk.serial, read_only=disk.read_only, block_size=disk.block_size)
                    self.blk.append(stack.enter_context(server))
            # What was opened last ends first: servers before disks.
            self._ending = stack.pop_all()

    def urls(self, lun: int) -> list[str]:
        """The URLs of one disk."""
        found = []
        if self.nbd is not None:
            found += [nbd_url(address, self.disks[lun].name) for address in self.nbd.addresses]
        if self.iscsi is not None:
            found += [f"iscsi://{address}/{self.target}/{lun}" for address in self.iscsi.portals]
        return found

    def clients(self) -> list[tuple[str, str, str]]:
        """Who is connected: ``(protocol, peer, what it uses)``."""
        found = [] if self.nbd is None else [("nbd", session.peer, session.export_name or "") for session in self.nbd.sessions]
        if self.iscsi is not None:
            found += [("iscsi", f"{initiator} at {address}", target) for initiator, address, target in self.iscsi.sessions]
        found += [("vhost-user-blk", str(one.path), disk.name) for disk, one in zip(self.disks, self.blk, strict=False) if one.connected]
        if self.scsi is not None and self.scsi.connected:
            found.append(("vhost-user-scsi", str(self.scsi.path), self.target or target_name(self.disks[0].name)))
        return sorted(found)

    def close(self) -> None:
        """Stop serving; the first disk that can't be flushed raises its ``OSError`` after all are closed."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _unit(disk: Disk) -> LogicalUnit:
    store = None if disk.store is None else FileStore(disk.store)
    return LogicalUnit(
        disk.blocks, serial=disk.serial, block_size=disk.block_size, read_only=disk.read_only, removable=disk.removable, store=store
    )


def target_name(name: str) -> str:
    """An iSCSI name for a disk's or machine's name: characters that iSCSI names lack become hyphens."""
    return TARGET_PREFIX + re.sub(r"[^a-z0-9.:-]", "-", name.lower())[:100]


def serial_of(name: str) -> str:
    """A serial number made of a name: its last 20 characters that serial numbers may have."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[-20:] or "disk"


def read_secrets(path: str | os.PathLike[str]) -> tuple[Chap, Chap | None]:
    """CHAP names and secrets from a TOML file: a table ``chap`` with ``name`` and ``secret``, and ``mutual`` likewise if there is to be any.

    The file must not be readable by others. No message shows a secret.
    """
    name = os.fspath(path)
    mode = Path(name).stat().st_mode
    if mode & 0o077:
        raise UsageError(f"{name}: secrets that others may read are none; chmod 600 {name}")
    try:
        tables = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(f"{name}: not a TOML file in UTF-8") from None
    unknown = sorted(set(tables) - {"chap", "mutual"})
    if unknown or "chap" not in tables:
        raise UsageError(f"{name}: a table [chap] is needed, [mutual] may follow (found {', '.join(tables) or 'neither'})")
    found = {key: _chap(name, key, table) for key, table in tables.items()}
    return found["chap"], found.get("mutual")


def _chap(file: str, key: str, table: object) -> Chap:
    if not isinstance(table, dict) or set(table) != {"name", "secret"} or not all(isinstance(value, str) and value for value in table.values()):
        raise UsageError(f"{file}: [{key}] holds a name and a secret, both texts that are not empty")
    if len(table["secret"].encode()) < SHORTEST_SECRET:
        raise UsageError(f"{file}: the secret of [{key}] is shorter than {SHORTEST_SECRET} bytes")
    return Chap(table["name"], table["secret"])
