"""The logical unit: one disk, its state towards each initiator, and the way of a command through the device server.

A command passes, in this order: known opcode, no reserved bit set, pending unit attention, reservation, medium ready, medium writable, handler.
(SAM-5 5.8 and SPC-4 leave the order of the first two open; a reservation conflict comes after a unit attention.)

Thread-safety: ``execute`` may be called from any number of threads, one command at a time for each nexus. Commands that change what others see
(``alone`` in the table) run while no other command of the unit runs; see ``gate.pyx``.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ...errors import UsageError
from ..blocks import Blocks
from .commands import CDB_LENGTHS, COMMANDS, Access, Command, DataOut, Later, Reply
from .gate import Gate, Traffic
from .limits import LARGEST_ATOMIC, LARGEST_TRANSFER
from .modes import ModePages
from .reservations import Reservations, ReservationStore
from .sense import (
    CAPACITY_CHANGED,
    INVALID_OPCODE,
    MEDIUM_ABSENT,
    MEDIUM_ABSENT_TRAY_OPEN,
    MEDIUM_CHANGED,
    POWER_ON,
    SANITIZE_FAILED,
    SANITIZING,
    SOFTWARE_WRITE_PROTECTED,
    WRITE_PROTECTED,
    CheckCondition,
    Code,
    Key,
    ReservationConflict,
    Sense,
    Status,
    fault,
    illegal,
    invalid_cdb,
)

BLOCK_SIZES = (512, 4096)
ATTENTIONS = 16
"""Unit attentions that wait for one nexus; older ones give way, the newest tells enough."""


class Nexus(Protocol):
    """What a logical unit knows of an I_T nexus; :class:`vsw.disk.scsi.target.Nexus` is one."""

    identity: tuple[bytes, int]
    """The initiator port's TransportID (SPC-4 7.6.4) and the relative identifier of the target port."""
    target_name: str
    """The SCSI name of the target port."""
    version_descriptors: tuple[int, ...]
    """Standards of the transport, for INQUIRY."""

    def luns(self) -> list[int]:
        """Logical unit numbers of the target, ascending."""

    def presence(self, lun: int) -> Presence | None:
        """This nexus's presence at one of them."""

    def abort_tasks(self, presence: Presence) -> None:
        """Another initiator's command aborts what this nexus has under way at the unit."""


class Presence:
    """One I_T_L nexus: what the logical unit keeps about one initiator port behind one target port."""

    __slots__ = ("attentions", "gate", "identity", "nexus", "prevents", "unit")

    def __init__(self, unit: LogicalUnit, nexus: Nexus) -> None:
        self.unit = unit
        self.nexus = nexus
        self.identity = nexus.identity
        self.attentions: deque[Code] = deque([POWER_ON], maxlen=ATTENTIONS)
        self.prevents = False
        self.gate = Gate(unit.traffic)

    def attend(self, code: Code) -> None:
        """Queue a unit attention, once."""
        if code not in self.attentions:
            self.attentions.append(code)


class LogicalUnit:
    """A SCSI disk over ``blocks``.

    ``block_size`` is 512 or 4096 bytes and divides the size of ``blocks``; ``physical_block_size`` tells the guest what to align to.
    ``thin`` offers UNMAP and WRITE SAME with UNMAP. ``read_only`` (or a read-only backend) is a write-protected medium. ``removable`` allows
    ejecting. ``serial`` (up to 20 ASCII characters) and the identifiers made of it must stay the same for the life of the disk.
    ``store`` keeps persistent reservations that ask for it (APTPL) over a restart.
    """

    vendor = "VSW"
    product = "VIRTUAL-DISK"
    revision = "0001"

    def __init__(
        self,
        blocks: Blocks,
        *,
        serial: str,
        block_size: int = 512,
        physical_block_size: int = 4096,
        thin: bool = True,
        read_only: bool = False,
        removable: bool = False,
        rotational: bool = False,
        store: ReservationStore | None = None,
    ) -> None:
        if block_size not in BLOCK_SIZES:
            raise UsageError(f"block size {block_size}: allowed are {', '.join(map(str, BLOCK_SIZES))}")
        if physical_block_size % block_size or (physical_block_size // block_size).bit_count() != 1:
            raise UsageError(f"physical block size {physical_block_size} must be the block size {block_size} times a power of two")
        if blocks.size % block_size or blocks.size == 0:
            raise UsageError(f"a disk of {blocks.size} bytes has no whole number of blocks of {block_size} bytes, or none")
        if block_size % blocks.alignment:
            raise UsageError(f"blocks of {block_size} bytes need a backend that is aligned to them; its sector has {blocks.alignment} bytes")
        if not 1 <= len(serial) <= 20 or not serial.isascii() or not serial.isprintable():
            raise UsageError(f"serial number {serial!r} must be 1 to 20 printable ASCII characters")
        self.blocks = blocks
        self.serial = serial
        self.block_size: int = block_size
        self.physical_block_size: int = physical_block_size
        self.thin: bool = thin
        self.write_protected = read_only or blocks.read_only
        self.removable = removable
        self.rotational = rotational
        self.modes = ModePages()
        self.traffic = Traffic()
        self.reservations = Reservations(store)
        self.presences: list[Presence] = []
        self.loaded = True
        self.sanitizing: float | None = None
        """How far a sanitize operation has come, 0..1, or ``None``."""
        self.sanitize_failed = False
        self.copy_results: dict[tuple[tuple[bytes, int], int], tuple[int, int]] = {}
        """By nexus and list identifier: status and segments of the copies that ended last."""
        self._lock = threading.Lock()

    # Identity.

    @property
    def count(self) -> int:
        """Blocks of the disk."""
        return self.blocks.size // self.block_size

    @property
    def identifier(self) -> bytes:
        """Eight bytes, NAA 3h (locally assigned): a hash of vendor and serial."""
        digest = bytearray(hashlib.sha256(f"{self.vendor}\0{self.product}\0{self.serial}".encode()).digest()[:8])
        digest[0] = 0x30 | digest[0] & 0x0F
        return bytes(digest)

    def designators(self) -> list[tuple[int, int, bytes]]:
        """How others name this unit: ``(code set, designator type, value)``, as in VPD page 83h."""
        vendor_and_serial = self.vendor.ljust(8) + self.serial
        return [(1, 3, self.identifier), (2, 1, vendor_and_serial.encode("ascii"))]

    @property
    def protected(self) -> bool:
        """True while the medium can't be written."""
        return self.write_protected or self.modes.software_write_protect

    @property
    def atomic_blocks(self) -> int:
        """Blocks that the backend writes whole or not at all, whatever happens; 0 if not even one."""
        return min(self.blocks.atomic, LARGEST_ATOMIC, self.blocks.size) // self.block_size

    # Initiators come and go.

    def attach(self, nexus: Nexus) -> Presence:
        """A new I_T_L nexus, which begins with POWER ON OCCURRED pending."""
        presence = Presence(self, nexus)
        with self.alone():
            self.presences.append(presence)
        return presence

    def detach(self, presence: Presence) -> None:
        """I_T nexus loss: what the initiator held without persistence is released."""
        with self.alone():
            presence.gate.set(False, False, False)
            if presence in self.presences:
                self.presences.remove(presence)
            self.reservations.nexus_lost(presence)

    # Exclusion and the gates.

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No command of this unit runs but the caller's; the gates are set anew at the end."""
        self.traffic.alone()
        try:
            yield
        finally:
            self._aim_gates()
            self.traffic.reopen()

    @contextmanager
    def shared(self) -> Iterator[None]:
        self.traffic.shared()
        try:
            yield
        finally:
            self.traffic.done()

    def _aim_gates(self) -> None:
        usable = self.unready() is None and not self.blocks.closed
        door = self.blocks.direct if usable else None
        count = 0 if self.blocks.closed else self.count
        for presence in self.presences:
            presence.gate.aim(door, count, self.block_size, LARGEST_TRANSFER // self.block_size)
            self._set_gate(presence, usable)

    def _set_gate(self, presence: Presence, usable: bool) -> None:
        passable = usable and not presence.attentions
        reads = passable and not self.reservations.conflicts(presence, write=False)
        writes = passable and not self.protected and not self.reservations.conflicts(presence, write=True)
        presence.gate.set(reads, writes, not self.modes.write_cache)

    def attend(self, code: Code, but: Presence | None = None) -> None:
        """Queue a unit attention for every nexus except ``but``; the caller has the unit alone."""
        for presence in self.presences:
            if presence is not but:
                presence.attend(code)

    # The way of a command.

    def data_out_length(self, cdb: bytes) -> int:
        """Bytes that this command takes from the initiator; 0 for commands that are refused anyway. At most 8 MiB and some."""
        try:
            entry, cdb = self._look_up(cdb)
            return entry.out(self, cdb)
        except CheckCondition:
            return 0

    def lengthy(self, cdb: bytes) -> bool:
        """True if the command may take seconds, so that a transport should go on with others meanwhile."""
        entry = self.find(cdb[0], cdb[1] & 0x1F) if len(cdb) > 1 else None
        return entry is not None and entry.lengthy

    def unstoppable(self, cdb: bytes) -> bool:
        """True if the command goes on even when it is aborted, so that nobody need wait for its end."""
        entry = self.find(cdb[0], cdb[1] & 0x1F) if len(cdb) > 1 else None
        return entry is not None and entry.unstoppable

    def execute(self, presence: Presence, cdb: bytes, data_out: bytes | bytearray | memoryview = b"", announced: int | None = None) -> Reply:
        """Do one command. Never raises for what a guest or a failing disk can cause.

        ``announced`` is how many bytes of data-out the transport was told of, if that differs from what it brings (it need not
        fetch more than ``data_out_length``).
        """
        view = memoryview(data_out).cast("B")
        data = DataOut(view, len(view) if announced is None else announced)
        try:
            entry, cdb = self._look_up(cdb)
            with self.alone() if entry.alone else self.shared():
                reply = self._run(entry, presence, cdb, data)
            if callable(reply):
                reply = reply()
        except ReservationConflict:
            return Reply(Status.RESERVATION_CONFLICT)
        except CheckCondition as condition:
            return self.check(condition.sense)
        if reply is None:
            return Reply()
        return reply if isinstance(reply, Reply) else Reply(Status.GOOD, reply)

    def check(self, sense: Sense) -> Reply:
        """CHECK CONDITION in the sense format that the control mode page asks for."""
        return Reply(Status.CHECK_CONDITION, b"", sense.encode(self.modes.descriptor_sense))

    def find(self, opcode: int, action: int | None) -> Command | None:
        """The command that this unit supports under these codes."""
        entry = COMMANDS.get(opcode)
        if isinstance(entry, dict):
            entry = None if action is None else entry.get(action)
        return entry if entry is not None and entry.when(self) else None

    def _look_up(self, cdb: bytes) -> tuple[Command, bytes]:
        if not cdb:
            raise illegal(INVALID_OPCODE)
        opcode = cdb[0]
        length = CDB_LENGTHS[opcode >> 5]
        if length == 0 or len(cdb) < length:
            raise illegal(INVALID_OPCODE)
        group = COMMANDS.get(opcode)
        entry = self.find(opcode, cdb[1] & 0x1F)
        if entry is None:
            if isinstance(group, dict):
                raise invalid_cdb(1, 4)
            raise illegal(INVALID_OPCODE)
        cdb = bytes(cdb[:length])
        for index, (byte, allowed) in enumerate(zip(cdb, entry.usage, strict=True)):
            if index and byte & ~allowed:
                raise invalid_cdb(index, (byte & ~allowed).bit_length() - 1)
        return entry, cdb

    def _run(self, entry: Command, presence: Presence, cdb: bytes, data_out: DataOut) -> Reply | bytes | bytearray | Later | None:
        if entry.attention and presence.attentions:
            code = self.take_attention(presence)
            if code is not None:
                raise CheckCondition(Key.UNIT_ATTENTION, code)
        if self.reservations.refuses(presence, entry):
            raise ReservationConflict
        if entry.ready and (sense := self.unready()):
            raise CheckCondition(sense.key, sense.code, **({"progress": sense.progress} if sense.progress is not None else {}))
        if entry.writes and self.protected:
            raise CheckCondition(Key.DATA_PROTECT, WRITE_PROTECTED if self.write_protected else SOFTWARE_WRITE_PROTECTED)
        try:
            return entry.handler(self, presence, cdb, data_out)
        except OSError as error:
            raise fault(error, entry.access is Access.WRITE) from error

    def take_attention(self, presence: Presence) -> Code | None:
        """The oldest pending unit attention; the gate may open after the last."""
        with self._lock:
            code = presence.attentions.popleft() if presence.attentions else None
            if not presence.attentions:
                # A command that needs the unit alone keeps this one out, so nothing that the gate depends on changes meanwhile.
                self._set_gate(presence, self.unready() is None)
        return code

    def unready(self) -> Sense | None:
        """Why medium access is impossible now, or ``None``."""
        if self.sanitizing is not None:
            return Sense(Key.NOT_READY, SANITIZING, progress=min(int(self.sanitizing * 65536), 65535))
        if not self.loaded:
            return Sense(Key.NOT_READY, MEDIUM_ABSENT_TRAY_OPEN if self.removable else MEDIUM_ABSENT)
        if self.sanitize_failed:
            return Sense(Key.MEDIUM_ERROR, SANITIZE_FAILED)
        return None

    # What happens to the unit from outside.

    def reset(self, code: Code) -> None:
        """A logical unit reset (or one that contains it); ``code`` is the unit attention that every nexus then gets."""
        with self.alone():
            self.reservations.reset()
            self.modes.reset()
            for presence in self.presences:
                presence.prevents = False
                presence.attentions.clear()
                presence.attend(code)

    def resized(self) -> None:
        """The backend has another size now: initiators are told to read the capacity again."""
        with self.alone():
            if self.blocks.size % self.block_size:
                raise UsageError(f"a disk of {self.blocks.size} bytes has no whole number of blocks of {self.block_size} bytes")
            self.attend(CAPACITY_CHANGED)

    def medium_changed(self, but: Presence) -> None:
        """The medium was put in: for every other nexus a change from not ready to ready. The caller has the unit alone."""
        self.attend(MEDIUM_CHANGED, but)


# Each of these declares its commands.
from . import copying, discovery, medium, operation, provisioning  # noqa: E402, F401
