"""Schemas of what the control side programs: numpy dtypes that mirror ``tables.h`` field by field.

All numbers are little-endian.  MAC addresses are uint64 as a little-endian load of the six bytes on the wire gives them: the first
octet in the lowest byte (:func:`as_loaded`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PORTS = 4096
NO_PORT = 0xFFFF
NO_TEAM = 0xFFFF
VIDS = 4096
VID_WORDS = VIDS // 64
REASONS = 32
BUCKETS = 256
TEAM_MEMBERS = 64
EXPLICIT = 255

PORT = np.dtype(
    [
        ("flags", "<u4"),
        ("max_length", "<u4"),
        ("pvid", "<u2"),
        ("vid_mask", "<u2"),
        ("untagged_vid", "<u2"),
        ("spare", "u1"),
        ("tag_sent", "u1"),
        ("mac", "<u8"),
        ("team", "<u2"),
        ("designated", "<u2"),
        ("tunnel_tpid", "<u2"),
        ("mode", "u1"),
        ("priority_tags", "u1"),
        ("reserved", "u1", 32),
    ]
)
VLAN = np.dtype([("fid", "<u2"), ("flags", "<u2"), ("group", "<u4"), ("promiscuous", "<u4"), ("reserved", "<u4")])
GROUP = np.dtype([("start", "<u4"), ("count", "<u4")])
TEAM = np.dtype(
    [
        ("policy", "u1"),
        ("buckets_used", "u1"),
        ("ip_hash_bits", "u1"),
        ("lacp", "u1"),
        ("usable_count", "<u2"),
        ("first", "<u2"),
        ("first_up", "<u2"),
        ("reserved", "<u2", 3),
        ("usable", "<u2", TEAM_MEMBERS),
        ("buckets", "<u2", BUCKETS),
    ]
)
MODULE = np.dtype(
    [
        ("flags", "<u4"),
        ("ports", "<u2"),
        ("teams", "<u2"),
        ("default_port", "<u2"),
        ("vlan_limit", "<u2"),
        ("tpid", "<u2", 3),
        ("reserved", "<u2"),
        ("age", "<i8"),
        ("port_limit", "<u4"),
        ("module_limit", "<u4"),
    ],
    align=True,
)

# Port flags.
EXISTS, UP, UPLINK, PROTECTED, MAC_CHANGED, CHECK_FORGED, BPDU_GUARD, BPDU_DROP = (1 << bit for bit in range(8))
PROMISCUOUS, LACP, DESIGNATED, LEARN, CHECK_DEJA_VU, SLOW_IN, SLOW_OUT, PADS = (1 << bit for bit in range(8, 16))
# VLAN flags.
VLAN_PROMISCUOUS = 1
# Module flags.
VIRTUAL, CHECK_SOURCE, RESERVE_4095, OVS_TAGS, RESERVED_DROP, RESERVED_OVS, LEARNS, GUARDS, TEAMS_OF_PORTS = (1 << bit for bit in range(9))
# Port modes.
ACCESS, TRUNK, NATIVE_TAGGED, NATIVE_UNTAGGED, TUNNEL, PRIVATE = range(6)
# Flags of an entry's value, above the port's number.
STATIC = 0x8000
MEMBER = 0x4000
#: The same bit of an owner: its address is surely its port's own, or configured there.
HONEST = 0x4000
#: Bits of the port number.
PORT_NUMBER = 0x0FFF
#: In ``Entries.vlan``: an entry for any VLAN that its port carries.
ANY_VLAN = 0xFFFF


@dataclass(frozen=True)
class Entries:
    """Entries of a forwarding database, one row each: ``vlan`` (uint16, the filtering VLAN, or :data:`ANY_VLAN`), ``mac`` (uint64,
    as loaded) and ``port`` (uint16, with flags)."""

    vlan: NDArray[np.uint16]
    mac: NDArray[np.uint64]
    port: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.vlan)

    def keys(self) -> NDArray[np.uint64]:
        """One number for each row, of its VLAN and MAC."""
        return (self.vlan.astype(np.uint64) << np.uint64(48)) | self.mac

    def rows(self, which: NDArray[Any]) -> Entries:
        """The rows that a mask or an index selects."""
        return Entries(self.vlan[which], self.mac[which], self.port[which])

    @classmethod
    def empty(cls) -> Entries:
        return cls(np.empty(0, np.uint16), np.empty(0, np.uint64), np.empty(0, np.uint16))


@dataclass(frozen=True)
class Tables:
    """Everything that :meth:`Datapath.program` takes: one module, compiled.

    Shapes: ``module`` (1,), ``ports`` (P,), ``vlans`` (4096,), ``groups`` (G,), ``members`` uint16, ``teams`` (T,),
    ``accept`` and ``receive`` uint64 (P, 64): bit v of row p.  ``owners`` is what ``source-mac`` looks up: its ``vlan`` is the VID on the
    wire, 0 for none.
    """

    module: NDArray[np.void]
    ports: NDArray[np.void]
    vlans: NDArray[np.void]
    groups: NDArray[np.void]
    members: NDArray[np.uint16]
    teams: NDArray[np.void]
    accept: NDArray[np.uint64]
    receive: NDArray[np.uint64]
    static: Entries
    owners: Entries


@dataclass(frozen=True)
class Delta:
    """Rows for :meth:`Datapath.apply`; what is empty stays as it is.

    ``ports``, ``accept``, ``receive``, ``vlans`` and ``teams`` map the number of a row to the row; ``module``, ``groups`` and
    ``members`` are whole arrays.
    ``remove`` and ``add`` are static entries (``add`` replaces an entry with the same key); ``remove_owners`` and ``add_owners`` likewise.
    Teams and ports may be added up to the bounds of the schema.
    """

    module: NDArray[np.void] | None = None
    ports: dict[int, np.void] = field(default_factory=dict)
    accept: dict[int, NDArray[np.uint64]] = field(default_factory=dict)
    receive: dict[int, NDArray[np.uint64]] = field(default_factory=dict)
    vlans: dict[int, np.void] = field(default_factory=dict)
    teams: dict[int, np.void] = field(default_factory=dict)
    groups: NDArray[np.void] | None = None
    members: NDArray[np.uint16] | None = None
    remove: Entries = field(default_factory=Entries.empty)
    add: Entries = field(default_factory=Entries.empty)
    remove_owners: Entries = field(default_factory=Entries.empty)
    add_owners: Entries = field(default_factory=Entries.empty)

    def into(self, tables: Tables) -> Tables:
        """The tables after rows of ports and teams, or of the module, have changed."""
        ports, teams = tables.ports.copy(), tables.teams.copy()
        for number, row in self.ports.items():
            ports[number] = row
        for number, row in self.teams.items():
            teams[number] = row
        return replace(tables, module=tables.module if self.module is None else self.module, ports=ports, teams=teams)

    @classmethod
    def between(cls, old: Tables, new: Tables) -> Delta:
        """What turns a datapath programmed with ``old`` into one programmed with ``new``."""
        remove, add = changed_entries(old.static, new.static)
        remove_owners, add_owners = changed_entries(old.owners, new.owners)
        groups_differ = not np.array_equal(old.members, new.members) or not np.array_equal(old.groups, new.groups)
        return cls(
            module=None if np.array_equal(old.module, new.module) else new.module,
            ports=_changed_rows(old.ports, new.ports),
            accept=_changed_rows(old.accept, new.accept),
            receive=_changed_rows(old.receive, new.receive),
            vlans=_changed_rows(old.vlans, new.vlans),
            teams=_changed_rows(old.teams, new.teams),
            groups=new.groups if groups_differ else None,
            members=new.members if groups_differ else None,
            remove=remove,
            add=add,
            remove_owners=remove_owners,
            add_owners=add_owners,
        )


def _changed_rows(old: NDArray[Any], new: NDArray[Any]) -> dict[int, Any]:
    """Rows of ``new`` that differ from ``old``; rows that are gone become zeros."""
    if len(new) < len(old):
        grown = np.zeros((len(old), *new.shape[1:]), new.dtype)
        grown[: len(new)] = new
        new = grown
    same = min(len(old), len(new))
    width = new.dtype.itemsize * int(np.prod(new.shape[1:], dtype=np.int64))
    before = np.ascontiguousarray(old[:same]).view(np.uint8).reshape(same, width)
    after = np.ascontiguousarray(new[:same]).view(np.uint8).reshape(same, width)
    changed = [int(row) for row in np.flatnonzero((before != after).any(axis=1))] if same else []
    return {row: new[row] for row in [*changed, *range(same, len(new))]}


def changed_entries(old: Entries, new: Entries) -> tuple[Entries, Entries]:
    """Of two tables: entries whose key is gone, and those that are new or lead elsewhere."""
    old_keys, new_keys = old.keys(), new.keys()
    gone = ~np.isin(old_keys, new_keys)
    order = np.argsort(old_keys, kind="stable")
    if len(old):
        place = np.minimum(np.searchsorted(old_keys[order], new_keys), len(old) - 1)
        found = order[place]
        same = (old_keys[found] == new_keys) & (old.port[found] == new.port)
    else:
        same = np.zeros(len(new), bool)
    return old.rows(gone), new.rows(~same)


def as_loaded(mac: int) -> int:
    """A MAC address (an integer with the first octet on top) as the datapath keeps it."""
    return int.from_bytes(mac.to_bytes(6, "big"), "little")


def as_loaded_array(macs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """:func:`as_loaded` for an array."""
    return macs.byteswap() >> np.uint64(16)
