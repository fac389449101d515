"""Disks for guests over vhost-user: one unix socket a virtio-blk disk, or one a virtio-scsi controller with its targets.

::

    with BlkServer("web1.sock", blocks, serial="web1"):
        ...     # -chardev socket,id=d0,path=web1.sock,reconnect=1 -device vhost-user-blk-pci,chardev=d0
    with ScsiServer("ctl.sock", {0: Target("iqn.2026-01.example.lab:web1", {0: unit})}):
        ...     # -chardev socket,id=s0,path=ctl.sock -device vhost-user-scsi-pci,chardev=s0

The guest's memory must be shared (``-object memory-backend-memfd,share=on``). A server serves from construction until ``close``, front ends one
after another; each request ring has a thread of its own. Blocks and units stay the caller's.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import UsageError
from ...virtio.device import BASE_FEATURES, BASE_PROTOCOL, Device
from ...virtio.messages import ProtocolFeature
from ...virtio.server import VhostUserServer
from ..blocks import Blocks
from ..scsi import Nexus, Target
from .iscsi_session import transport_id
from .vhost_user_blk import MOST_RANGES, MOST_SECTORS, SEGMENTS, BlkRequests, check_blocks
from .vhost_user_requests import Requests
from .vhost_user_scsi import MOST_TARGETS, ScsiRequests

MOST_QUEUES = 16
"""Request rings of a disk or controller."""
SECTOR = 512

# Features of a block device (VIRTIO 1.2, 5.2.3).
SEG_MAX = 1 << 2
READ_ONLY = 1 << 5
BLOCK_SIZE = 1 << 6
FLUSH = 1 << 9
CONFIG_WCE = 1 << 11
MQ = 1 << 12
DISCARD = 1 << 13
WRITE_ZEROES = 1 << 14

CONFIGURATION = struct.Struct("<QIIHBBIBBHIBBHIIIIIB3x")
WRITEBACK_AT = 32
"""Offset of the field that switches the write cache, the only one that a guest may write."""

# Of a SCSI host (VIRTIO 1.2, 5.6.3). Events are not sent, so HOTPLUG is not offered; QEMU agrees on CHANGE whether it was offered or not.
INOUT = 1 << 0
CHANGE = 1 << 2
FIXED_RINGS = 2
"""Rings of a SCSI host that carry no commands: control and events."""


class DiskServer(Device):
    """What both kinds share: a thread for each ring that is served."""

    def __init__(self, path: str | Path, name: str, rings: int, requests: Requests, queues: int, unserved: frozenset[int] = frozenset()) -> None:
        super().__init__(name, rings, queues, apart=True)
        self._requests = requests
        self._closed = False
        self._threads = [
            threading.Thread(target=requests.run, args=(ring, kicks, number), name=f"vsw-disk-{name}-{number}", daemon=True)
            for number, (ring, kicks) in enumerate(zip(self.rings, self.ring_kicks, strict=True))
            if number not in unserved
        ]
        try:
            self._server = VhostUserServer(path, self)
        except BaseException:
            super().close()
            raise
        for thread in self._threads:
            thread.start()

    @property
    def path(self) -> Path:
        """The socket."""
        return self._server.path

    @property
    def connected(self) -> bool:
        """True while a front end is there."""
        return self._server.connected

    def close(self) -> None:
        """Finish the requests that are being done, send the front end away, end the threads, remove the socket."""
        if self._closed:
            return
        self._closed = True
        self._server.close()
        self._requests.end()
        for kicks in self.ring_kicks:
            kicks.wake()
        for thread in self._threads:
            thread.join()
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class BlkServer(DiskServer):
    """``blocks`` as a virtio-blk disk at the unix socket ``path``; ``queues`` rings at most, ``serial`` is what the guest reads (20 bytes of it).

    ``read_only`` refuses changes to a disk that could be written; ``block_size`` (a power of two from 512 on) is what the guest is told to use.
    """

    protocol = BASE_PROTOCOL | int(ProtocolFeature.CONFIG)

    def __init__(
        self, path: str | Path, blocks: Blocks, *, serial: str = "", queues: int = 4, read_only: bool = False, block_size: int = SECTOR
    ) -> None:
        check_blocks(blocks, block_size)
        _check_queues(queues)
        read_only = read_only or blocks.read_only
        self.features = BASE_FEATURES | SEG_MAX | BLOCK_SIZE | FLUSH | CONFIG_WCE | MQ
        self.features |= READ_ONLY if read_only else DISCARD | WRITE_ZEROES
        self._blocks = blocks
        self._block_size = max(block_size, blocks.alignment)
        self._writeback = 1
        self._blk = BlkRequests(blocks, serial, read_only)
        super().__init__(path, serial or "disk", queues, self._blk, queues)

    def configuration(self) -> bytes:
        block = self._block_size
        grain = max(self._blocks.granularity, block) // SECTOR
        ranges = (MOST_SECTORS, MOST_RANGES)
        return CONFIGURATION.pack(
            self._blocks.size // SECTOR, 0, SEGMENTS, 0, 0, 0, block, 0, 0, 0, 0, self._writeback, 0, self.queues, *ranges, grain, *ranges, 1
        )

    def write_configuration(self, offset: int, data: bytes) -> bool:
        if offset != WRITEBACK_AT or len(data) != 1 or data[0] > 1:
            return False
        self._writeback = data[0]
        self._set_cache()
        return True

    def agreed(self, features: int) -> None:  # noqa: ARG002
        self._set_cache()

    def _set_cache(self) -> None:
        """Without FLUSH a guest could never say that it needs its data on the disk; so each write is there when it ends."""
        self._blk.set_write_through(not self.negotiated & FLUSH or not self._writeback)

    def attached(self) -> None:
        self._writeback = 1
        super().attached()


class ScsiServer(DiskServer):
    """A virtio-scsi controller at the unix socket ``path``, with ``targets`` by number (0 to 15); ``queues`` command rings at most.

    Each front end is one initiator port to every target: its nexuses begin when it comes and are lost when it goes.
    """

    def __init__(self, path: str | Path, targets: Mapping[int, Target], *, name: str = "scsi", queues: int = 4) -> None:
        _check_queues(queues)
        wrong = [number for number in targets if not 0 <= number < MOST_TARGETS]
        if wrong or not targets:
            raise UsageError(f"a controller has targets 0 to {MOST_TARGETS - 1}, at least one, not {wrong or 'none'}")
        self.features = BASE_FEATURES | INOUT | CHANGE
        self._targets = dict(targets)
        self._nexuses: dict[int, Nexus] = {}
        self._scsi = ScsiRequests()
        rings = queues + FIXED_RINGS
        super().__init__(path, name, rings, self._scsi, rings, frozenset({1}))

    def attached(self) -> None:
        super().attached()
        identity = transport_id(f"iqn.2026-01.vsw:{self.name}", bytes(6))
        self._nexuses = {number: target.connect(identity, target_port=target.name) for number, target in self._targets.items()}
        self._scsi.attach(self._nexuses)

    def detached(self, reason: str) -> None:
        self._scsi.attach({})
        for nexus in self._nexuses.values():
            nexus.close()
        self._nexuses = {}
        super().detached(reason)


def _check_queues(queues: int) -> None:
    if not 1 <= queues <= MOST_QUEUES:
        raise UsageError(f"queues is 1 to {MOST_QUEUES}, not {queues}")
