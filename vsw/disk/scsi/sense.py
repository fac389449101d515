"""Sense data: how a SCSI device says what is wrong (SPC-4 4.5).

A command handler raises :class:`CheckCondition`; the engine turns it into CHECK CONDITION with sense bytes in the format that
the control mode page asks for (D_SENSE). Nothing of this ever reaches a transport as an exception.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import NamedTuple


class Status(IntEnum):
    """SAM-5 status codes."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    TASK_ABORTED = 0x40


class Key(IntEnum):
    """Sense keys."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


class Code(NamedTuple):
    """Additional sense code and qualifier, with the sentence of SPC-4 table 56."""

    asc: int
    ascq: int
    text: str


NO_ADDITIONAL = Code(0x00, 0x00, "no additional sense information")
BECOMING_READY = Code(0x04, 0x01, "logical unit is in process of becoming ready")
STOPPED = Code(0x04, 0x02, "logical unit not ready, initializing command required")
SANITIZING = Code(0x04, 0x1B, "logical unit not ready, sanitize in progress")
TARGET_UNREACHABLE = Code(0x08, 0x04, "unreachable copy target")
WRITE_ERROR = Code(0x0C, 0x00, "write error")
COPY_TARGET_UNREACHABLE = Code(0x0D, 0x02, "copy target device not reachable")
INVALID_FIELD_UNIT = Code(0x0E, 0x03, "invalid field in command information unit")
READ_ERROR = Code(0x11, 0x00, "unrecovered read error")
PARAMETER_LENGTH = Code(0x1A, 0x00, "parameter list length error")
MISCOMPARE_VERIFY = Code(0x1D, 0x00, "miscompare during verify operation")
INVALID_OPCODE = Code(0x20, 0x00, "invalid command operation code")
LBA_OUT_OF_RANGE = Code(0x21, 0x00, "logical block address out of range")
INVALID_FIELD_CDB = Code(0x24, 0x00, "invalid field in CDB")
LUN_UNSUPPORTED = Code(0x25, 0x00, "logical unit not supported")
INVALID_FIELD_PARAMETER = Code(0x26, 0x00, "invalid field in parameter list")
INVALID_RELEASE = Code(0x26, 0x04, "invalid release of persistent reservation")
TOO_MANY_TARGETS = Code(0x26, 0x06, "too many target descriptors")
UNSUPPORTED_TARGET = Code(0x26, 0x07, "unsupported target descriptor type code")
TOO_MANY_SEGMENTS = Code(0x26, 0x08, "too many segment descriptors")
UNSUPPORTED_SEGMENT = Code(0x26, 0x09, "unsupported segment descriptor type code")
WRITE_PROTECTED = Code(0x27, 0x00, "write protected")
SOFTWARE_WRITE_PROTECTED = Code(0x27, 0x02, "logical unit software write protected")
SPACE_EXHAUSTED = Code(0x27, 0x07, "space allocation failed write protect")
MEDIUM_CHANGED = Code(0x28, 0x00, "not ready to ready change, medium may have changed")
POWER_ON = Code(0x29, 0x00, "power on, reset, or bus device reset occurred")
BUS_DEVICE_RESET = Code(0x29, 0x03, "bus device reset function occurred")
NEXUS_LOSS = Code(0x29, 0x07, "I_T nexus loss occurred")
MODE_CHANGED = Code(0x2A, 0x01, "mode parameters changed")
RESERVATIONS_PREEMPTED = Code(0x2A, 0x03, "reservations preempted")
RESERVATIONS_RELEASED = Code(0x2A, 0x04, "reservations released")
REGISTRATIONS_PREEMPTED = Code(0x2A, 0x05, "registrations preempted")
CAPACITY_CHANGED = Code(0x2A, 0x09, "capacity data has changed")
COMMAND_SEQUENCE = Code(0x2C, 0x00, "command sequence error")
COMMANDS_CLEARED = Code(0x2F, 0x00, "commands cleared by another initiator")
SANITIZE_FAILED = Code(0x31, 0x03, "sanitize command failed")
SAVING_UNSUPPORTED = Code(0x39, 0x00, "saving parameters not supported")
MEDIUM_ABSENT = Code(0x3A, 0x00, "medium not present")
MEDIUM_ABSENT_TRAY_OPEN = Code(0x3A, 0x02, "medium not present, tray open")
LUNS_CHANGED = Code(0x3F, 0x0E, "reported LUNs data has changed")
INTERNAL_FAILURE = Code(0x44, 0x00, "internal target failure")
REMOVAL_PREVENTED = Code(0x53, 0x02, "medium removal prevented")
INSUFFICIENT_RESOURCES = Code(0x55, 0x03, "insufficient resources")
INSUFFICIENT_REGISTRATION = Code(0x55, 0x04, "insufficient registration resources")


class Sense(NamedTuple):
    """One piece of sense data. ``information`` is a 64-bit number (LBA, offset of a miscompare) or ``None``.

    ``field`` is ``(in_cdb, byte, bit or None)``: where an illegal request is wrong. ``progress`` is 0..65535, how far a long
    operation has come.
    """

    key: Key
    code: Code
    information: int | None = None
    field: tuple[bool, int, int | None] | None = None
    progress: int | None = None

    def encode(self, descriptor: bool) -> bytes:
        """The bytes in fixed (``False``: 18 bytes, response code 70h) or descriptor format (72h)."""
        specific = self._specific()
        if descriptor:
            parts = bytearray()
            if self.information is not None:
                parts += bytes((0x00, 0x0A, 0x80, 0)) + self.information.to_bytes(8, "big")
            if specific:
                parts += bytes((0x02, 0x06, 0, 0)) + specific + b"\0"
            return bytes((0x72, self.key, self.code.asc, self.code.ascq, 0, 0, 0, len(parts))) + bytes(parts)
        fixed = bytearray(18)
        fixed[0] = 0x70
        fixed[2] = self.key
        fixed[7] = 10
        fixed[12] = self.code.asc
        fixed[13] = self.code.ascq
        if self.information is not None and self.information < 1 << 32:
            fixed[0] |= 0x80
            fixed[3:7] = self.information.to_bytes(4, "big")
        if specific:
            fixed[15:18] = specific
        return bytes(fixed)

    def _specific(self) -> bytes:
        """The three sense key specific bytes, or none."""
        if self.field is not None:
            in_cdb, byte, bit = self.field
            head = 0x80 | (0x40 if in_cdb else 0) | (0 if bit is None else 0x08 | bit)
            return bytes((head,)) + byte.to_bytes(2, "big")
        if self.progress is not None:
            return b"\x80" + self.progress.to_bytes(2, "big")
        return b""


class CheckCondition(Exception):  # noqa: N818  (the name of the SCSI status)
    """A command ends with CHECK CONDITION and this sense."""

    def __init__(self, key: Key, code: Code, **details: int | tuple[bool, int, int | None]) -> None:
        self.sense = Sense(key, code, **details)  # type: ignore[arg-type]
        super().__init__(f"{key.name.lower().replace('_', ' ')}: {code.text}")


class ReservationConflict(Exception):  # noqa: N818
    """A command ends with RESERVATION CONFLICT."""


def invalid_cdb(byte: int, bit: int | None = None) -> CheckCondition:
    """INVALID FIELD IN CDB at ``byte`` (and ``bit``, 7 = most significant)."""
    return CheckCondition(Key.ILLEGAL_REQUEST, INVALID_FIELD_CDB, field=(True, byte, bit))


def invalid_parameter(byte: int, bit: int | None = None, code: Code = INVALID_FIELD_PARAMETER) -> CheckCondition:
    """INVALID FIELD IN PARAMETER LIST at ``byte`` of the data that was sent."""
    return CheckCondition(Key.ILLEGAL_REQUEST, code, field=(False, byte, bit))


def illegal(code: Code) -> CheckCondition:
    """ILLEGAL REQUEST with ``code``."""
    return CheckCondition(Key.ILLEGAL_REQUEST, code)


def fault(error: OSError, write: bool, lba: int | None = None) -> CheckCondition:
    """What a failure of the block backend is to the guest: space exhausted, write protected, or a medium error."""
    details: dict[str, int] = {} if lba is None else {"information": lba}
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return CheckCondition(Key.DATA_PROTECT, SPACE_EXHAUSTED, **details)
    if error.errno == errno.EROFS:
        return CheckCondition(Key.DATA_PROTECT, WRITE_PROTECTED, **details)
    return CheckCondition(Key.MEDIUM_ERROR, WRITE_ERROR if write else READ_ERROR, **details)
