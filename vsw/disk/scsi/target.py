"""The target: logical units under numbers, and the I_T nexuses that reach them. This is what a transport talks to.

A transport calls :meth:`Target.connect` once for each session, then ``execute`` for each command, and ``close`` at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from ...errors import UsageError
from .commands import Reply
from .discovery import lun_list, standard_inquiry
from .gate import Gate
from .sense import BUS_DEVICE_RESET, COMMANDS_CLEARED, LUN_UNSUPPORTED, LUNS_CHANGED, NEXUS_LOSS, CheckCondition, Key, Sense, Status
from .unit import LogicalUnit, Presence

LARGEST_LUN = 0x3FFF
NO_UNIT = 0x7F
"""Peripheral qualifier 3 and type 1Fh: no unit can be here."""


class Target:
    """A SCSI target device with one target port.

    ``name`` is its name on the transport (an iSCSI name). Units may come and go while initiators are connected; they learn it by
    REPORTED LUNS DATA HAS CHANGED. Safe to use from several threads.
    """

    def __init__(self, name: str, units: Mapping[int, LogicalUnit] | None = None) -> None:
        self.name = name
        self.units: dict[int, LogicalUnit] = {}
        self._nexuses: list[Nexus] = []
        self._lock = threading.RLock()
        for lun, unit in (units or {}).items():
            self.add(lun, unit)

    def add(self, lun: int, unit: LogicalUnit) -> None:
        """Give ``unit`` the number ``lun`` (0..16383)."""
        with self._lock:
            if not 0 <= lun <= LARGEST_LUN:
                raise UsageError(f"LUN {lun} must be between 0 and {LARGEST_LUN}")
            if lun in self.units:
                raise UsageError(f"LUN {lun} of {self.name} is taken")
            self.units[lun] = unit
            for nexus in self._nexuses:
                nexus.enter(lun, unit)
            self._announce(lun)

    def remove(self, lun: int) -> LogicalUnit:
        """Take the unit away; commands for it are answered with LOGICAL UNIT NOT SUPPORTED from then on."""
        with self._lock:
            unit = self.units.pop(lun, None)
            if unit is None:
                raise UsageError(f"{self.name} has no LUN {lun}")
            for nexus in self._nexuses:
                nexus.leave(lun)
            self._announce(lun)
            return unit

    def _announce(self, but: int) -> None:
        for lun, unit in self.units.items():
            if lun != but and unit.presences:
                with unit.alone():
                    unit.attend(LUNS_CHANGED)

    def connect(
        self,
        transport_id: bytes,
        *,
        relative_port: int = 1,
        target_port: str = "",
        version_descriptors: tuple[int, ...] = (),
        on_abort: Callable[[int], None] = lambda _: None,
    ) -> Nexus:
        """A new I_T nexus.

        ``transport_id`` is the initiator port's TransportID (SPC-4 7.6.4): reservations know it again after a reconnection.
        ``on_abort(lun)`` is called, from any thread, when another nexus aborts this one's tasks at that unit.
        """
        nexus = Nexus(self, (transport_id, relative_port), target_port or self.name, version_descriptors, on_abort)
        with self._lock:
            self._nexuses.append(nexus)
            for lun, unit in self.units.items():
                nexus.enter(lun, unit)
        return nexus

    def nexuses(self) -> list[Nexus]:
        with self._lock:
            return list(self._nexuses)

    def forget(self, nexus: Nexus) -> None:
        with self._lock:
            if nexus in self._nexuses:
                self._nexuses.remove(nexus)
            for lun in list(self.units):
                nexus.leave(lun)


class Nexus:
    """One initiator port's relation to a target; commands of one nexus may run in several threads."""

    def __init__(
        self, target: Target, identity: tuple[bytes, int], target_name: str, version_descriptors: tuple[int, ...], on_abort: Callable[[int], None]
    ) -> None:
        self.target = target
        self.identity = identity
        self.target_name = target_name
        self.version_descriptors = version_descriptors
        self._on_abort = on_abort
        self._presences: dict[int, Presence] = {}

    # What units ask.

    def luns(self) -> list[int]:
        return sorted(self._presences)

    def presence(self, lun: int) -> Presence | None:
        return self._presences.get(lun)

    def abort_tasks(self, presence: Presence) -> None:
        for lun, mine in list(self._presences.items()):
            if mine is presence:
                self._on_abort(lun)

    # What the target does.

    def enter(self, lun: int, unit: LogicalUnit) -> None:
        self._presences[lun] = unit.attach(self)

    def leave(self, lun: int) -> None:
        presence = self._presences.pop(lun, None)
        if presence is not None:
            presence.unit.detach(presence)

    def close(self) -> None:
        """The session is over: an I_T nexus loss."""
        self.target.forget(self)

    # Commands.

    def gate(self, lun: int) -> Gate | None:
        """The compiled way for plain reads and writes, or ``None`` if there is no such unit. It stays valid until the unit leaves."""
        presence = self._presences.get(lun)
        return None if presence is None else presence.gate

    def data_out_length(self, lun: int | None, cdb: bytes) -> int:
        """Bytes that the command takes from the initiator, so that a transport fetches no more."""
        presence = None if lun is None else self._presences.get(lun)
        return 0 if presence is None else presence.unit.data_out_length(cdb)

    def lengthy(self, lun: int | None, cdb: bytes) -> bool:
        """True if a transport should go on with other commands while this one runs."""
        presence = None if lun is None else self._presences.get(lun)
        return presence is not None and presence.unit.lengthy(cdb)

    def unstoppable(self, lun: int | None, cdb: bytes) -> bool:
        """True if aborting the command does not end what it began (SANITIZE): then there is nothing to wait for."""
        presence = None if lun is None else self._presences.get(lun)
        return presence is not None and presence.unit.unstoppable(cdb)

    def execute(self, lun: int | None, cdb: bytes, data_out: bytes | bytearray | memoryview = b"", announced: int | None = None) -> Reply:
        """Do one command at ``lun`` (``None``: an address that no unit can have). See :meth:`LogicalUnit.execute`."""
        presence = None if lun is None else self._presences.get(lun)
        if presence is not None:
            return presence.unit.execute(presence, cdb, data_out, announced)
        return self._absent(cdb)

    def _absent(self, cdb: bytes) -> Reply:
        """What a target answers for a logical unit that it does not have (SPC-4 6.6.2, 6.33)."""
        sense = Sense(Key.ILLEGAL_REQUEST, LUN_UNSUPPORTED)
        match cdb[0] if len(cdb) >= 6 else None:
            case 0x12 if not cdb[1] & 1 and not cdb[2]:
                some = next(iter(self._presences.values()), None)
                answer = bytearray(36 if some is None else standard_inquiry(some.unit, some))
                answer[0] = NO_UNIT
                return Reply(Status.GOOD, bytes(answer[: int.from_bytes(cdb[3:5], "big")]))
            case 0x03:
                return Reply(Status.GOOD, sense.encode(bool(cdb[1] & 1))[: cdb[4]])
            case 0xA0 if len(cdb) >= 12:
                try:
                    return Reply(Status.GOOD, lun_list(self.luns(), cdb))
                except CheckCondition as condition:
                    sense = condition.sense
        return Reply(Status.CHECK_CONDITION, b"", sense.encode(False))

    # Task management. The transport ends its own tasks; these tell the device and the other initiators.

    def clear_tasks(self, lun: int) -> bool:
        """CLEAR TASK SET: every nexus's tasks at the unit end; others get COMMANDS CLEARED BY ANOTHER INITIATOR. False: no such unit."""
        presence = self._presences.get(lun)
        if presence is None:
            return False
        with presence.unit.alone():
            for other in presence.unit.presences:
                if other is not presence:
                    other.nexus.abort_tasks(other)
                    other.attend(COMMANDS_CLEARED)
        return True

    def reset_unit(self, lun: int) -> bool:
        """LOGICAL UNIT RESET. False if there is no such unit."""
        presence = self._presences.get(lun)
        if presence is None:
            return False
        for other in list(presence.unit.presences):
            if other is not presence:
                other.nexus.abort_tasks(other)
        presence.unit.reset(BUS_DEVICE_RESET)
        return True

    def reset_target(self) -> None:
        """TARGET RESET: every unit is reset."""
        for lun in self.luns():
            self.reset_unit(lun)

    def lost(self) -> None:
        """I_T NEXUS LOSS without a new session (I_T NEXUS RESET): what was held without persistence goes."""
        for presence in list(self._presences.values()):
            with presence.unit.alone():
                presence.unit.reservations.nexus_lost(presence)
                presence.prevents = False
                presence.attend(NEXUS_LOSS)
