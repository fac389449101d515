"""Reservations: persistent ones (SPC-4 5.13, PERSISTENT RESERVE IN and OUT) and the older RESERVE and RELEASE (SPC-2).

Concept: a registration ties a key to an I_T nexus, which is an initiator port's TransportID and a target port's relative identifier; it
outlives the session. At most one reservation exists, held by one registrant or, for the "all registrants" types, by all.
With APTPL the whole state is in a :class:`ReservationStore` before the command is answered.

Thread-safety: every change happens while the caller has the logical unit alone; ``conflicts`` and ``refuses`` only read.
"""

# ruff: noqa: ARG001  (every handler takes what any of them needs)

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .commands import Access, Command, DataOut, Reply, allocation, command, parameter_list
from .sense import (
    INSUFFICIENT_REGISTRATION,
    INVALID_RELEASE,
    PARAMETER_LENGTH,
    REGISTRATIONS_PREEMPTED,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    CheckCondition,
    Code,
    Key,
    ReservationConflict,
    Status,
    illegal,
    invalid_cdb,
    invalid_parameter,
)

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

Identity = tuple[bytes, int]
MOST_REGISTRATIONS = 1024
PARAMETERS = 24
"""Bytes of PERSISTENT RESERVE OUT's parameter list without TransportIDs."""


class Type(IntEnum):
    """Types of persistent reservation."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8

    @property
    def all_registrants(self) -> bool:
        return self >= Type.WRITE_EXCLUSIVE_ALL_REGISTRANTS

    @property
    def registrants(self) -> bool:
        """Registrants may do what the holder may."""
        return self >= Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY

    @property
    def write_only(self) -> bool:
        """Reading is everyone's."""
        return self in (Type.WRITE_EXCLUSIVE, Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, Type.WRITE_EXCLUSIVE_ALL_REGISTRANTS)


@dataclass(slots=True)
class State:
    """What PERSISTENT RESERVE keeps. ``all_ports`` are the registrations that were made with ALL_TG_PT."""

    generation: int = 0
    keys: dict[Identity, int] = field(default_factory=dict)
    all_ports: set[Identity] = field(default_factory=set)
    holder: Identity | None = None
    type: Type | None = None
    aptpl: bool = False


class ReservationStore(Protocol):
    """Where reservations outlive the process. ``save`` returns only when a crash can't undo it; both raise ``OSError``."""

    def load(self) -> State: ...
    def save(self, state: State) -> None: ...


class FileStore:
    """A JSON file, replaced as a whole: written beside it, synced, renamed, directory synced. Without APTPL there is no file.

    A file that can't be understood raises ``ValueError``: to start without the reservations it had would let two hosts write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def load(self) -> State:
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            return State()
        try:
            return decode_state(json.loads(text))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.path}: not a reservation file of version 1: {error}") from error

    def save(self, state: State) -> None:
        if not state.aptpl:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
                self._sync_directory()
            return
        beside = self.path.with_name(self.path.name + ".new")
        with beside.open("w", encoding="ascii") as file:
            json.dump(encode_state(state), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
        self._sync_directory()

    def _sync_directory(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def encode_state(state: State) -> dict[str, object]:
    """The state as JSON values."""
    return {
        "version": 1,
        "generation": state.generation,
        "type": state.type,
        "registrations": [
            {
                "transport_id": transport.hex(),
                "port": port,
                "key": f"{key:016x}",
                "all_ports": (transport, port) in state.all_ports,
                "holder": (transport, port) == state.holder,
            }
            for (transport, port), key in state.keys.items()
        ],
    }


def decode_state(values: dict[str, object]) -> State:
    """The state from JSON values; ``ValueError``, ``KeyError`` or ``TypeError`` if they are not ours."""
    if values["version"] != 1:
        raise ValueError(f"version {values['version']!r}")
    registrations = values["registrations"]
    if not isinstance(registrations, list) or not isinstance(values["generation"], int):
        raise TypeError("registrations must be a list, generation a number")
    state = State(generation=values["generation"], aptpl=True)
    for entry in registrations:
        identity = (bytes.fromhex(entry["transport_id"]), int(entry["port"]))
        state.keys[identity] = int(entry["key"], 16)
        if entry["all_ports"]:
            state.all_ports.add(identity)
        if entry["holder"]:
            state.holder = identity
    if values["type"] is not None:
        state.type = Type(int(str(values["type"])))
        if not state.keys or (state.holder is None and not state.type.all_registrants):
            raise ValueError("a reservation without a holder")
    return state


class Reservations:
    """The reservations of one logical unit."""

    def __init__(self, store: ReservationStore | None = None) -> None:
        self.store = store
        self.state = store.load() if store is not None else State()
        self.legacy: Presence | None = None
        """Who holds the unit by RESERVE."""

    # Questions.

    def key(self, identity: Identity) -> int | None:
        return self.state.keys.get(identity)

    def holds(self, identity: Identity) -> bool:
        """True if this nexus is a holder of the persistent reservation."""
        state = self.state
        if state.type is None:
            return False
        return identity in state.keys if state.type.all_registrants else identity == state.holder

    def conflicts(self, presence: Presence, write: bool) -> bool:
        """True if a medium access of this nexus meets a reservation of another."""
        if self.legacy is not None:
            return self.legacy is not presence
        kind = self.state.type
        if kind is None or self.holds(presence.identity):
            return False
        if kind.registrants and presence.identity in self.state.keys:
            return False
        return write or not kind.write_only

    def refuses(self, presence: Presence, entry: Command) -> bool:
        """True if the command ends with RESERVATION CONFLICT."""
        if self.legacy is not None and self.legacy is not presence:
            return entry.opcode not in LEGACY_FREE
        match entry.access:
            case Access.FREE:
                return False
            case Access.READ:
                return self.conflicts(presence, write=False)
            case _:
                return self.conflicts(presence, write=True)

    # Events.

    def nexus_lost(self, presence: Presence) -> None:
        if self.legacy is presence:
            self.legacy = None

    def reset(self) -> None:
        """Persistent reservations survive a reset, the older kind does not."""
        self.legacy = None

    # Changes.

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """Change ``state`` inside: on an error nothing is changed, on success it is stored before the command is answered."""
        before = copy.deepcopy(self.state)
        try:
            yield self.state
            if self.store is not None and (self.state.aptpl or before.aptpl):
                self.store.save(self.state)
        except OSError as error:
            self.state = before
            raise CheckCondition(Key.ILLEGAL_REQUEST, INSUFFICIENT_REGISTRATION) from error
        except BaseException:
            self.state = before
            raise

    def remove(self, unit: LogicalUnit, identity: Identity, but: Presence | None) -> None:
        """Unregister; a reservation that loses its (last) holder is released."""
        state = self.state
        held = self.holds(identity)
        del state.keys[identity]
        state.all_ports.discard(identity)
        kind = state.type
        if held and kind is not None and (not kind.all_registrants or not state.keys):
            self.release(unit, but)

    def release(self, unit: LogicalUnit, but: Presence | None) -> None:
        """End the reservation; registrants learn it where the type let them in."""
        kind = self.state.type
        self.state.holder = None
        self.state.type = None
        if kind is not None and kind.registrants:
            self.tell(unit, RESERVATIONS_RELEASED, but)

    def tell(self, unit: LogicalUnit, code: Code, but: Presence | None, whom: set[Identity] | None = None) -> None:
        """A unit attention for the nexuses ``whom`` (default: all registered ones) except ``but``."""
        whom = set(self.state.keys) if whom is None else whom
        for presence in unit.presences:
            if presence is not but and presence.identity in whom:
                presence.attend(code)


LEGACY_FREE = frozenset((0x03, 0x12, 0x17, 0x57, 0xA0))
"""REQUEST SENSE, INQUIRY, RELEASE(6), RELEASE(10), REPORT LUNS: allowed beside another's RESERVE (SPC-2 5.5.1)."""


# RESERVE and RELEASE.


def _reserve(unit: LogicalUnit, presence: Presence) -> None:
    if unit.reservations.state.keys:
        raise ReservationConflict
    unit.reservations.legacy = presence


def _release(unit: LogicalUnit, presence: Presence) -> None:
    if unit.reservations.state.keys:
        raise ReservationConflict
    if unit.reservations.legacy is presence:
        unit.reservations.legacy = None


@command("160000000000", "RESERVE(6)", alone=True)
def reserve_6(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _reserve(unit, presence)


@command("170000000000", "RELEASE(6)", alone=True)
def release_6(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _release(unit, presence)


@command("56000000000000000000", "RESERVE(10)", alone=True)
def reserve_10(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _reserve(unit, presence)


@command("57000000000000000000", "RELEASE(10)", alone=True)
def release_10(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _release(unit, presence)


# PERSISTENT RESERVE IN.


@command("5e0000000000 00ffff00", "PERSISTENT RESERVE IN, READ KEYS", action=0)
def read_keys(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    state = unit.reservations.state
    keys = b"".join(key.to_bytes(8, "big") for key in state.keys.values())
    return allocation(cdb, 7, 2, state.generation.to_bytes(4, "big") + len(keys).to_bytes(4, "big") + keys)


@command("5e0000000000 00ffff00", "PERSISTENT RESERVE IN, READ RESERVATION", action=1)
def read_reservation(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    state = unit.reservations.state
    body = b""
    if state.type is not None:
        key = 0 if state.type.all_registrants or state.holder is None else state.keys[state.holder]
        body = key.to_bytes(8, "big") + bytes(5) + bytes((state.type, 0, 0))
    return allocation(cdb, 7, 2, state.generation.to_bytes(4, "big") + len(body).to_bytes(4, "big") + body)


@command("5e0000000000 00ffff00", "PERSISTENT RESERVE IN, REPORT CAPABILITIES", action=2)
def report_capabilities(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    stored = unit.reservations.store is not None
    features = 0x08 | 0x04 | (0x01 if stored else 0)  # SIP_C, ATP_C, PTPL_C
    active = 0x80 | (0x01 if unit.reservations.state.aptpl else 0)  # TMV, PTPL_A
    types = bytes((0x80 | 0x40 | 0x20 | 0x08 | 0x02, 0x01))
    return allocation(cdb, 7, 2, (8).to_bytes(2, "big") + bytes((features, active)) + types + bytes(2))


@command("5e0000000000 00ffff00", "PERSISTENT RESERVE IN, READ FULL STATUS", action=3)
def read_full_status(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    reservations = unit.reservations
    state = reservations.state
    body = bytearray()
    for (transport, port), key in state.keys.items():
        holds = reservations.holds((transport, port))
        flags = (0x02 if (transport, port) in state.all_ports else 0) | (0x01 if holds else 0)
        kind = int(state.type) if holds and state.type is not None else 0
        body += key.to_bytes(8, "big") + bytes(4) + bytes((flags, kind)) + bytes(4)
        body += port.to_bytes(2, "big") + len(transport).to_bytes(4, "big") + transport
    return allocation(cdb, 7, 2, state.generation.to_bytes(4, "big") + len(body).to_bytes(4, "big") + body)


# PERSISTENT RESERVE OUT.


@dataclass(frozen=True, slots=True)
class Parameters:
    """PERSISTENT RESERVE OUT's CDB and parameter list."""

    key: int
    action_key: int
    specify_initiators: bool
    all_ports: bool
    aptpl: bool
    kind: int
    scope: int
    data: bytes


def _parameters(cdb: bytes, data: DataOut) -> Parameters:
    wanted = int.from_bytes(cdb[5:9], "big")
    listing = bytes(data.view[:wanted])
    if wanted < PARAMETERS or len(listing) < wanted:
        raise illegal(PARAMETER_LENGTH)
    flags = listing[20]
    if not flags & 0x08 and wanted != PARAMETERS:
        raise illegal(PARAMETER_LENGTH)
    return Parameters(
        int.from_bytes(listing[0:8], "big"),
        int.from_bytes(listing[8:16], "big"),
        bool(flags & 0x08),
        bool(flags & 0x04),
        bool(flags & 0x01),
        cdb[2] & 0x0F,
        cdb[2] >> 4,
        listing,
    )


def _kind(given: Parameters) -> Type:
    if given.scope:
        raise invalid_cdb(2, 7)
    try:
        return Type(given.kind)
    except ValueError:
        raise invalid_cdb(2, 3) from None


def _registered(unit: LogicalUnit, presence: Presence, given: Parameters) -> None:
    """The caller must be registered with the key it names."""
    if unit.reservations.key(presence.identity) != given.key:
        raise ReservationConflict


def transport_ids(data: bytes, start: int) -> list[bytes]:
    """The TransportIDs of a list, checked: iSCSI's have their length inside, others have 24 bytes."""
    found = []
    at = start
    while at < len(data):
        if len(data) - at < 24:
            raise invalid_parameter(at)
        size = 4 + int.from_bytes(data[at + 2 : at + 4], "big") if data[at] & 0x0F == 5 else 24
        if size < 24 or at + size > len(data):
            raise invalid_parameter(at + 2)
        found.append(data[at : at + size])
        at += size
    return found


def _enrol(unit: LogicalUnit, presence: Presence, given: Parameters) -> None:
    """REGISTER once the key is known to be right."""
    reservations = unit.reservations
    if given.aptpl and reservations.store is None:
        raise invalid_parameter(20, 0)
    with reservations.change() as state:
        known = presence.identity in state.keys
        if given.specify_initiators:
            if known:
                raise invalid_parameter(20, 3)
            if len(given.data) < PARAMETERS + 4 or len(given.data) != PARAMETERS + 4 + int.from_bytes(given.data[24:28], "big"):
                raise illegal(PARAMETER_LENGTH)
            others = [(transport, presence.identity[1]) for transport in transport_ids(given.data, PARAMETERS + 4)]
        else:
            others = []
        if given.action_key == 0:
            if known:
                reservations.remove(unit, presence.identity, presence)
        else:
            for identity in (presence.identity, *others):
                state.keys[identity] = given.action_key
                if given.all_ports:
                    state.all_ports.add(identity)
            if len(state.keys) > MOST_REGISTRATIONS:
                raise CheckCondition(Key.ILLEGAL_REQUEST, INSUFFICIENT_REGISTRATION)
        state.aptpl = given.aptpl
        state.generation = state.generation + 1 & 0xFFFFFFFF


OUT = "5f 00 00 00 00 ff ff ff ff 00"
OUT_TYPED = "5f 00 ff 00 00 ff ff ff ff 00"


@command(OUT, "PERSISTENT RESERVE OUT, REGISTER", action=0, alone=True, out=parameter_list(5, 4))
def register(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    given = _parameters(cdb, data)
    key = unit.reservations.key(presence.identity)
    if given.key != (0 if key is None else key):
        raise ReservationConflict
    _enrol(unit, presence, given)


@command(OUT, "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", action=6, alone=True, out=parameter_list(5, 4))
def register_and_ignore(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    given = _parameters(cdb, data)
    if given.specify_initiators:
        raise invalid_parameter(20, 3)
    _enrol(unit, presence, given)


@command(OUT_TYPED, "PERSISTENT RESERVE OUT, RESERVE", action=1, alone=True, out=parameter_list(5, 4))
def reserve(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    given = _parameters(cdb, data)
    _registered(unit, presence, given)
    kind = _kind(given)
    reservations = unit.reservations
    if reservations.state.type is not None:
        if not reservations.holds(presence.identity) or reservations.state.type is not kind:
            raise ReservationConflict
        return
    with reservations.change() as state:
        state.holder = presence.identity
        state.type = kind


@command(OUT_TYPED, "PERSISTENT RESERVE OUT, RELEASE", action=2, alone=True, out=parameter_list(5, 4))
def release(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    given = _parameters(cdb, data)
    _registered(unit, presence, given)
    reservations = unit.reservations
    if not reservations.holds(presence.identity):
        return
    if given.scope or given.kind != reservations.state.type:
        raise illegal(INVALID_RELEASE)
    with reservations.change():
        reservations.release(unit, presence)


@command(OUT, "PERSISTENT RESERVE OUT, CLEAR", action=3, alone=True, out=parameter_list(5, 4))
def clear(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    given = _parameters(cdb, data)
    _registered(unit, presence, given)
    reservations = unit.reservations
    with reservations.change() as state:
        whom = set(state.keys)
        state.keys.clear()
        state.all_ports.clear()
        state.holder = state.type = None
        state.generation = state.generation + 1 & 0xFFFFFFFF
    reservations.tell(unit, RESERVATIONS_PREEMPTED, presence, whom)


def _preempt(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> set[Identity]:
    """PREEMPT; the nexuses whose registrations it removed."""
    given = _parameters(cdb, data)
    _registered(unit, presence, given)
    reservations = unit.reservations
    with reservations.change() as state:
        held = state.type
        victims = {identity for identity, key in state.keys.items() if key == given.action_key and identity != presence.identity}
        takes = False
        if held is not None and held.all_registrants and given.action_key == 0:
            victims = set(state.keys) - {presence.identity}
            takes = True
        elif given.action_key == 0:
            raise invalid_parameter(8)
        elif held is not None and not held.all_registrants and state.holder is not None and state.keys[state.holder] == given.action_key:
            takes = True
        elif given.action_key not in state.keys.values():
            raise ReservationConflict
        kind = _kind(given) if takes else held
        for identity in victims:
            del state.keys[identity]
            state.all_ports.discard(identity)
        if takes:
            state.holder, state.type = presence.identity, kind
        elif held is not None and held.all_registrants and state.holder in victims:
            state.holder = presence.identity
        state.generation = state.generation + 1 & 0xFFFFFFFF
    reservations.tell(unit, REGISTRATIONS_PREEMPTED, presence, victims)
    if takes and held is not None and kind is not held and held.registrants:
        reservations.tell(unit, RESERVATIONS_RELEASED, presence)
    return victims


@command(OUT_TYPED, "PERSISTENT RESERVE OUT, PREEMPT", action=4, alone=True, out=parameter_list(5, 4))
def preempt(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    _preempt(unit, presence, cdb, data)


@command(OUT_TYPED, "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", action=5, alone=True, out=parameter_list(5, 4))
def preempt_and_abort(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    victims = _preempt(unit, presence, cdb, data)
    for other in unit.presences:
        if other.identity in victims:
            other.nexus.abort_tasks(other)


@command("5f 00 00 00 00 ff ff ff ff 00", "PERSISTENT RESERVE OUT, REGISTER AND MOVE", action=7, alone=True, out=parameter_list(5, 4))
def register_and_move(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> Reply | None:
    reservations = unit.reservations
    wanted = int.from_bytes(cdb[5:9], "big")
    listing = bytes(data.view[:wanted])
    if wanted < PARAMETERS or len(listing) < wanted or PARAMETERS + int.from_bytes(listing[20:24], "big") != wanted:
        raise illegal(PARAMETER_LENGTH)
    if reservations.key(presence.identity) != int.from_bytes(listing[0:8], "big"):
        raise ReservationConflict
    kind = reservations.state.type
    if kind is None or kind.all_registrants or not reservations.holds(presence.identity):
        return Reply(Status.RESERVATION_CONFLICT)
    action_key = int.from_bytes(listing[8:16], "big")
    if action_key == 0:
        raise invalid_parameter(8)
    receivers = transport_ids(listing, PARAMETERS)
    if len(receivers) != 1:
        raise invalid_parameter(20)
    target = (receivers[0], int.from_bytes(listing[18:20], "big"))
    if target == presence.identity:
        raise invalid_parameter(24)
    aptpl = bool(listing[17] & 1)
    if aptpl and reservations.store is None:
        raise invalid_parameter(17, 0)
    with reservations.change() as state:
        state.keys[target] = action_key
        state.holder = target
        if listing[17] & 2:
            del state.keys[presence.identity]
            state.all_ports.discard(presence.identity)
        state.aptpl = aptpl
        state.generation = state.generation + 1 & 0xFFFFFFFF
    return None
