"""A module as everything below the configuration sees it: resolved, numbered, frozen.

:func:`vsw.load` turns a topology into one :class:`Module` for each switch of each host.  Names have become port
numbers, profiles and dialect defaults have been applied, and everything has been checked; nothing that takes a
:class:`Module` validates it again.

MAC addresses are integers (48 bits, the first octet on the wire is the most significant one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vsw.config.dialects import Assignment, Dialect, Learning, Security
from vsw.errors import UsageError

Kind = Literal["vnic", "uplink", "host", "plain"]
VlanMode = Literal["access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel", "private"]
PrivateRole = Literal["promiscuous", "isolated", "community"]
PriorityTags = Literal["no", "if-nonzero", "always"]
Policy = Literal[
    "port-id", "src-mac", "ip-hash", "explicit", "layer2", "layer2+3", "layer3+4", "vlan+srcmac"
]

MAX_PORTS = 4096
ALL_VIDS = frozenset(range(4096))


@dataclass(frozen=True, slots=True)
class Vlan:
    """The VLAN settings of a port.

    ``vid`` is the access VLAN, the native VLAN, or the tunnel's outer VLAN; 0 for a plain trunk.
    ``vids`` is what a trunk or native port carries, already amended (the native VLAN added and 0 removed, unless
    the native VLAN is 0); for the other modes it is empty.  ``cvids`` filters the customer's VID on a tunnel;
    empty means all.  ``ethertype`` is the TPID that a tunnel pushes.  For mode ``private``, ``vid`` is the
    primary VLAN, ``secondary`` the port's own secondary VLAN (0 for a promiscuous port).
    """

    mode: VlanMode
    vid: int = 0
    vids: frozenset[int] = frozenset()
    cvids: frozenset[int] = frozenset()
    ethertype: int = 0x88A8
    role: PrivateRole | None = None
    secondary: int = 0


@dataclass(frozen=True, slots=True)
class Attach:
    """What a live port is attached to: the word for a port type, and what else that type is told."""

    type: str
    words: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """One logical port.

    ``mac`` is the configured address of a vNIC or host interface, ``effective_mac`` the one that its guest uses
    now (the same unless the guest changed it); ``None`` for ports that have none.  ``macs`` are further addresses that
    configuration places behind the port (bridged guests).  ``mtu`` counts the bytes after the Ethernet header and
    the tags.  ``team`` indexes :attr:`Module.teams`: for a port that is no uplink the team that its traffic to
    the outside uses, ``None`` where there is none; for an uplink the (first) team it belongs to.  ``attach`` is for a
    switch that runs; a replay does not look at it.
    """

    number: int
    name: str
    kind: Kind
    vlan: Vlan
    security: Security
    mtu: int = 1500
    mac: int | None = None
    effective_mac: int | None = None
    macs: tuple[int, ...] = ()
    priority_tags: PriorityTags = "no"
    protected: bool = False
    bpdu_guard: bool = False
    bpdu_filter: bool = False
    team: int | None = None
    up: bool = True
    attach: Attach | None = None


@dataclass(frozen=True, slots=True)
class Team:
    """Uplinks that stand for one another.  Members are port numbers, in configured order."""

    name: str
    policy: Policy
    active: tuple[int, ...]
    standby: tuple[int, ...] = ()
    unused: tuple[int, ...] = ()
    assignment: Assignment = "buckets"
    ip_hash_bits: Literal[8, 32] = 32
    failback: bool = True
    lacp: bool = False


@dataclass(frozen=True, slots=True)
class StaticEntry:
    """A MAC address that configuration places on a port; ``vlan`` is ``None`` for any VLAN that the port carries."""

    vlan: int | None
    mac: int
    port: int


@dataclass(frozen=True, slots=True)
class Module:
    """The data plane of one switch on one host.

    ``ports`` are in ascending order of number.  ``static`` holds every static entry: those written down and those that
    follow from the effective MAC and the ``macs`` of every port that is no uplink (an access or tunnel
    port's in its VLAN; a private port's in the primary VLAN; a trunk or native port's in any VLAN).
    ``private`` maps each secondary VLAN to its primary.  ``teams[0]``, if there is one, is the switch's own.
    ``age_ns`` is the ageing time of learned entries in nanoseconds, ``port_limit`` and ``module_limit`` their
    greatest numbers.
    """

    name: str
    dialect: Dialect
    ports: tuple[Port, ...]
    teams: tuple[Team, ...] = ()
    static: tuple[StaticEntry, ...] = ()
    learning: Learning = "none"
    vlan_limit: int = 1
    forward_bpdu: bool = False
    pad: bool = False
    private: tuple[tuple[int, int], ...] = ()
    age_ns: int = 300_000_000_000
    port_limit: int = 4096
    module_limit: int = 8192

    def port(self, name_or_number: str | int) -> Port:
        """The port of that name or number; :class:`KeyError` if there is none."""
        for port in self.ports:
            if name_or_number in (port.name, port.number):
                return port
        raise KeyError(name_or_number)

    def check(self) -> None:
        """Hold what a module made by hand may get wrong against what everything below relies on: numbers that name nothing, or do not fit.

        :class:`~vsw.errors.UsageError` says which.
        """
        numbers = {port.number for port in self.ports}
        if len(numbers) < len(self.ports):
            raise UsageError(f"{self.name}: two ports have the same number")
        if numbers and not 0 <= min(numbers) <= max(numbers) < MAX_PORTS:
            raise UsageError(f"{self.name}: port {min(numbers) if min(numbers) < 0 else max(numbers)}: numbers are 0 to {MAX_PORTS - 1}")
        for port in self.ports:
            if port.team is not None and not 0 <= port.team < len(self.teams):
                raise UsageError(f"{self.name}: port {port.name} is of team {port.team}, and there are {len(self.teams)}")
            self._check_vlan(port)
        for team in self.teams:
            for member in (*team.active, *team.standby, *team.unused):
                if member not in numbers:
                    raise UsageError(f"{self.name}: team {team.name} has a member {member}, and no port has that number")
        for missing in {entry.port for entry in self.static} - numbers:
            raise UsageError(f"{self.name}: a static entry is for port {missing}, and no port has that number")
        vids = {entry.vlan for entry in self.static if entry.vlan is not None}.union(*self.private)
        if not vids <= ALL_VIDS:
            raise UsageError(f"{self.name}: VLAN {min(vids - ALL_VIDS)} of a static entry or a private VLAN: VIDs are 0 to {len(ALL_VIDS) - 1}")

    def _check_vlan(self, port: Port) -> None:
        vlan = port.vlan
        if not {vlan.vid, vlan.secondary} <= ALL_VIDS:
            raise UsageError(f"{self.name}: port {port.name}: VLAN {vlan.vid}, secondary {vlan.secondary}: VIDs are 0 to {len(ALL_VIDS) - 1}")
