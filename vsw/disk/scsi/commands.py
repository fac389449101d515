"""The table of commands: one line declares opcode, name, CDB usage, and how the engine treats it before its handler runs.

``@command`` adds a handler. The usage bitmap is the one that REPORT SUPPORTED OPERATION CODES prints (SPC-4 6.35): a set bit is
evaluated, and the engine refuses a CDB that sets any other bit, so that the two can't disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

from .sense import Status

CDB_LENGTHS = (6, 10, 10, 0, 16, 12, 0, 0)
"""Bytes of a CDB by the top three bits of its opcode (0: not fixed)."""


class Access(Enum):
    """What a command needs of a reservation (SPC-4 table 65)."""

    FREE = auto()
    """Allowed whoever holds the unit."""
    READ = auto()
    """Conflicts with exclusive access."""
    WRITE = auto()
    """Conflicts with write exclusive and exclusive access."""


class Reply(NamedTuple):
    """What the device answers: a status, data for the initiator, sense bytes (empty unless CHECK CONDITION)."""

    status: Status = Status.GOOD
    data: bytes | bytearray | memoryview = b""
    sense: bytes = b""


class DataOut(NamedTuple):
    """Data from the initiator: what arrived, and how much the transport said there would be."""

    view: memoryview
    announced: int


Later = Callable[[], None]
"""What is left of a command once others may run again; it may raise what a handler may."""
Handler = Callable[["LogicalUnit", "Presence", bytes, DataOut], "Reply | bytes | bytearray | Later | None"]
"""``handler(unit, presence, cdb, data_out)``: ``bytes`` are data with GOOD, ``None`` is GOOD without data."""
OutLength = Callable[["LogicalUnit", bytes], int]
"""How many bytes of data the command takes from the initiator."""
Condition = Callable[["LogicalUnit"], bool]


def nothing(unit: LogicalUnit, cdb: bytes) -> int:  # noqa: ARG001
    """No data-out."""
    return 0


def parameter_list(start: int, size: int) -> OutLength:
    """The length of a parameter list, which the CDB has in ``size`` bytes from ``start``."""
    return lambda _, cdb: int.from_bytes(cdb[start : start + size], "big")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the device server.

    ``attention``: a pending unit attention ends the command. ``ready``: it needs a medium that is spun up. ``alone``: no
    other command of the unit runs meanwhile. ``writes``: it changes the medium. ``lengthy``: it may take seconds, so that
    a transport should not wait for it. ``unstoppable``: aborting the command does not end what it began. ``when``: the unit supports it only then.
    """

    opcode: int
    action: int | None
    name: str
    usage: bytes
    handler: Handler
    access: Access
    attention: bool
    ready: bool
    alone: bool
    writes: bool
    lengthy: bool
    unstoppable: bool
    out: OutLength
    when: Condition


COMMANDS: dict[int, Command | dict[int, Command]] = {}
"""By opcode, and by service action below that where the opcode has them."""


def command(
    usage: str,
    name: str,
    *,
    access: Access = Access.FREE,
    attention: bool = True,
    ready: bool = False,
    alone: bool = False,
    writes: bool = False,
    lengthy: bool = False,
    unstoppable: bool = False,
    out: OutLength = nothing,
    when: Condition = lambda _: True,
    action: int | None = None,
) -> Callable[[Handler], Handler]:
    """Declare a command. ``usage`` is its CDB usage bitmap in hexadecimal, whose first byte is the opcode itself."""
    bitmap = bytearray.fromhex(usage)
    opcode = bitmap[0]
    if action is not None:
        bitmap[1] |= action

    def declare(handler: Handler) -> Handler:
        entry = Command(opcode, action, name, bytes(bitmap), handler, access, attention, ready, alone, writes, lengthy, unstoppable, out, when)
        if action is None:
            COMMANDS[opcode] = entry
        else:
            group = COMMANDS.setdefault(opcode, {})
            assert isinstance(group, dict), f"opcode {opcode:#x} is declared with and without service actions"
            group[action] = entry
        return handler

    return declare


def allocation(cdb: bytes, start: int, size: int, data: bytes | bytearray) -> bytes:
    """``data`` cut to the allocation length that the CDB has in ``size`` bytes from ``start``."""
    return bytes(data[: int.from_bytes(cdb[start : start + size], "big")])
