"""Random modules, and random frames that are likely to hit something in them.

One generator, driven either by a seed (:func:`generate`, for long runs) or by Hypothesis (:func:`scenarios`, which
shrinks what fails).  Frames take their addresses, VLANs and ports from the module most of the time, so that they get
deep into the rules; the rest is cut, mutated, or from nowhere.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from hypothesis import strategies as st

from vsw.config.dialects import DIALECTS, Security
from vsw.config.module import ALL_VIDS, Module, Port, StaticEntry, Team, Vlan
from vsw.reference.decision import Decision
from vsw.verdicts import Reason

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
BROADCAST = 0xFFFFFFFFFFFF
TPIDS = (0x8100, 0x88A8, 0x9100)
#: Those that pick by the receiver twice as often: only they have a designated uplink.
POLICIES = ("port-id", "src-mac", "explicit", "port-id", "src-mac", "ip-hash", "explicit", "layer2", "layer2+3", "layer3+4", "vlan+srcmac")
MODES = ("access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel", "private")
RESERVED = (
    *(0x0180C2000000, 0x0180C2000002, 0x0180C2000003, 0x0180C200000E, 0x0180C200000F, 0x0180C2000010),
    *(0x01000CCCCCCC, 0x01000CCCCCCD, 0x01000CCCCCC0, 0x01000CCCCCC7, 0x01000CCCCCC8, 0x01000CCDCDCD, 0x01000C000000),
    *(0x00E02B000000, 0x00E02B000004, 0x00E02B000006),
)
GROUPS = (0x01005E000001, 0x01005E7FFFFA, 0x333300000001, 0x3333FF000002, 0x030000000000)

#: Reasons that a dialect has no rule for.
WITHOUT = {
    "vsw": set[Reason](),
    "vss": {Reason.RESERVED_ADDRESS},
    "ovs": {
        Reason.BAD_SOURCE,
        Reason.RESERVED_VID,
        Reason.DEJA_VU,
        Reason.UNKNOWN_UNICAST,
        Reason.UPLINK_TO_UPLINK,
        Reason.EGRESS_VLAN,
    },
}


class Frame(NamedTuple):
    """A frame as it is offered: bytes captured, length on the wire, time (ns), and the ingress port's number."""

    data: bytes
    length: int
    time: int
    port_in: int | None


class Scenario(NamedTuple):
    """A module, what is offered to it, how the ingress port is found, and events as (time, port, up), by time."""

    module: Module
    frames: list[Frame]
    source_mac: bool
    events: list[tuple[int, int, bool]]


class Switching(Protocol):
    """What :func:`play` drives."""

    def forward(self, data: bytes, length: int, time: int, port_in: int | None, source_mac: bool = False) -> Decision: ...
    def set_port(self, number: int, up: bool) -> None: ...


def play(switch: Switching, scenario: Scenario) -> Iterator[Decision]:
    """Each frame's decision in turn; an event is applied before the first frame that is not earlier."""
    due = 0
    for frame in scenario.frames:
        while due < len(scenario.events) and scenario.events[due][0] <= frame.time:
            _, port, up = scenario.events[due]
            switch.set_port(port, up)
            due += 1
        yield switch.forward(frame.data, frame.length, frame.time, frame.port_in, scenario.source_mac)


def generate(seed: int, frames: int, dialect: str) -> Scenario:
    """The scenario of a seed: always the same one."""
    return _scenario(random.Random(f"{dialect}/{seed}"), frames, dialect)


def random_module(rng: random.Random, dialect: str) -> Module:
    """A module of that dialect, drawn with ``rng``."""
    return _Modules(rng, dialect).module()


def scenarios(dialect: str | None = None, most_frames: int = 12) -> st.SearchStrategy[Scenario]:
    """Scenarios that Hypothesis draws and shrinks."""
    return st.builds(
        _scenario,
        st.randoms(use_true_random=False),
        st.integers(1, most_frames),
        st.sampled_from(sorted(DIALECTS)) if dialect is None else st.just(dialect),
    )


def raw_frames() -> st.SearchStrategy[tuple[bytes, int]]:
    """Any bytes at all, and a length on the wire that is not less than what is there."""
    missing = st.sampled_from((0, 0, 0, 1, 4, 40, 1400, 1500, 9000))
    return st.tuples(st.binary(max_size=100), missing).map(lambda drawn: (drawn[0], len(drawn[0]) + drawn[1]))


def _scenario(rng: random.Random, frames: int, dialect: str) -> Scenario:
    made = _Modules(rng, dialect)
    module = made.module()
    source_mac = rng.random() < 0.3
    traffic = _Traffic(rng, module, made.vids, made.outside, source_mac)
    offered = [traffic.frame() for _ in range(frames)]
    return Scenario(module, offered, source_mac, _events(rng, module, offered))


def _events(rng: random.Random, module: Module, frames: list[Frame]) -> list[tuple[int, int, bool]]:
    if rng.random() < 0.55:
        return []
    uplinks = [port.number for port in module.ports if port.kind == "uplink"]
    every = [port.number for port in module.ports]
    events = []
    for _ in range(rng.randrange(1, 9)):
        number = rng.choice(uplinks if uplinks and rng.random() < 0.75 else every)
        time = rng.choice(frames).time + rng.choice((0, 0, 1, -1))
        events.append((time, number, rng.random() < 0.6))
    return sorted(events, key=lambda event: event[0])


class _Modules:
    """Draws a module."""

    def __init__(self, rng: random.Random, dialect: str) -> None:
        self.rng = rng
        self.dialect = DIALECTS[dialect]
        self.ovs = dialect == "ovs"
        pool = [1, 10, 20, 30, 100, 2048, 4094, *((4095, 0) if self.ovs else ())]
        rng.shuffle(pool)
        self.vids = sorted(pool[: rng.choice((1, 2, 2, 3, 4))])
        self.private = {200: 20 if rng.random() < 0.5 else 199, 201: 199, 202: 199} if rng.random() < 0.35 else {}
        self.outside = [0x021122000000 + rng.randrange(1 << 24) for _ in range(rng.randrange(1, 6))]
        self.local: list[int] = []

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def module(self) -> Module:
        rng = self.rng
        count = rng.choice((2, 3, 4, 4, 5, 6, 6, 7, 8, 10, 12))
        numbers = list(range(count))
        if self.chance(0.15):
            numbers = sorted(rng.sample(range(40), count))
        elif self.chance(0.08):
            numbers = [number + rng.choice((200, 255, 1000, 4000)) for number in numbers]
            numbers = sorted(set(numbers))
        rng.shuffle(numbers)
        uplinks = sorted(numbers[: min(rng.choice((0, 1, 1, 2, 2, 3, 4, 5)), len(numbers) - 1)], key=lambda _: rng.random())
        teams = self.teams(uplinks)
        ports = [self.port(number, number in uplinks, teams) for number in sorted(numbers)]
        if self.chance(0.1):
            rng.shuffle(ports)
        limits = rng.choice(((4096, 8192), (4096, 8192), (1, 2), (2, 3), (3, 4), (2, 8192), (4096, 3), (1, 1)))
        return Module(
            name="random",
            dialect=self.dialect,
            ports=tuple(ports),
            teams=teams,
            static=self.static(ports),
            learning=self.dialect.learning if self.chance(0.5) else rng.choice(("none", "outside", "full", "full")),
            vlan_limit=rng.choice((1, 2)) if self.ovs else 1,
            forward_bpdu=self.chance(0.25),
            pad=self.chance(0.3),
            private=tuple(sorted(self.private.items())),
            age_ns=rng.choice((300 * SECOND, 300 * SECOND, 2 * SECOND, 1000, 1)),
            port_limit=limits[0],
            module_limit=limits[1],
        )

    def teams(self, uplinks: list[int]) -> tuple[Team, ...]:
        if not uplinks or self.chance(0.12):
            return ()
        if not self.ovs:
            return tuple(self.team(f"team{place}", uplinks) for place in range(self.rng.choice((1, 1, 1, 2, 3))))
        if len(uplinks) >= 3 and self.chance(0.3):  # bonds of a plain switch have no member in common
            return (self.team("bond0", uplinks[:2]), self.team("bond1", uplinks[2:]))
        return (self.team("bond0", uplinks if self.chance(0.8) else uplinks[:1]),)

    def team(self, name: str, uplinks: list[int]) -> Team:
        rng = self.rng
        members = rng.sample(uplinks, len(uplinks))
        first = rng.randrange(1, len(members) + 1)
        second = rng.randrange(first, len(members) + 1)
        return Team(
            name,
            rng.choice(POLICIES),
            active=tuple(members[:first]),
            standby=tuple(members[first:second]),
            unused=tuple(members[second:]),
            assignment=rng.choice(("modulo", "buckets")),
            ip_hash_bits=rng.choice((8, 32, 32)),
            failback=self.chance(0.6),
            lacp=self.chance(0.25),
        )

    def port(self, number: int, uplink: bool, teams: tuple[Team, ...]) -> Port:
        rng = self.rng
        address = None if uplink or self.chance(0.4 if self.ovs else 0.12) else self.address()
        effective = address
        if address is not None and self.chance(0.1):
            effective = self.address()
        if uplink:
            team = next((place for place, one in enumerate(teams) if number in one.active + one.standby + one.unused), None)
        else:
            team = rng.randrange(len(teams)) if teams and not self.chance(0.04) else None
        return Port(
            number=number,
            name=f"{'up' if uplink else 'vm'}{number}",
            kind="uplink" if uplink else rng.choice(("vnic", "vnic", "vnic", "host", "plain")),
            vlan=self.vlan(uplink),
            security=Security(promiscuous=self.chance(0.12), mac_changes=self.chance(0.6), forged_transmits=self.chance(0.5)),
            mtu=rng.choice((1500, 1500, 1500, 1500, 9000, 68, 100)),
            mac=address,
            effective_mac=effective,
            macs=tuple(self.address() for _ in range(rng.choice((0, 0, 0, 1, 2)))) if not uplink else (),
            priority_tags=rng.choice(("no", "no", "if-nonzero", "always")),
            protected=self.chance(0.2),
            bpdu_guard=self.chance(0.15),
            bpdu_filter=self.chance(0.15),
            team=team,
            up=not self.chance(0.05),
        )

    def address(self) -> int:
        if self.local and self.chance(0.06):
            return self.rng.choice(self.local)  # twice in a module, as long as the VLANs differ
        self.local.append(0x020000000000 + self.rng.randrange(1 << 16) * 0x10101)
        return self.local[-1]

    def some(self, zero: float) -> frozenset[int]:
        found = {vid for vid in (*self.vids, *self.private, *self.private.values()) if self.chance(0.6)}
        return frozenset(found | ({0} if self.chance(zero) else set()))

    def vlan(self, uplink: bool) -> Vlan:
        rng = self.rng
        mode = rng.choices(MODES, (2, 8, 2, 2, 1, 1) if uplink else (8, 4, 2, 2, 3, 5 if self.private else 0))[0]
        vid = rng.choice(self.vids)
        if self.chance(0.04):
            vid = 0
        match mode:
            case "access":
                return Vlan("access", vid)
            case "dot1q-tunnel":
                cvids = self.some(0.5) if self.chance(0.6) else frozenset()
                return Vlan(mode, vid, cvids=cvids, ethertype=rng.choice((0x88A8, 0x8100) if self.ovs else (0x88A8, 0x8100, 0x9100)))
            case "private" if self.private:
                secondary = rng.choice(sorted(self.private))
                role = rng.choice(("promiscuous", "isolated", "community"))
                return Vlan("private", self.private[secondary], role=role, secondary=0 if role == "promiscuous" else secondary)
            case "native-tagged" | "native-untagged":
                carried = ALL_VIDS if self.chance(0.4) else self.some(0.5)
                return Vlan(mode, vid, carried if vid == 0 else (carried | {vid}) - {0})
            case _:
                return Vlan("trunk", 0, ALL_VIDS if self.chance(0.85 if uplink else 0.3) else self.some(0.5))

    def static(self, ports: list[Port]) -> tuple[StaticEntry, ...]:
        rng = self.rng
        entries: dict[tuple[int | None, int], int] = {}
        for port in ports:
            for address in (*(() if port.effective_mac is None else (port.effective_mac,)), *port.macs):
                anywhere = port.vlan.mode in ("trunk", "native-tagged", "native-untagged")
                entries.setdefault((None if anywhere else port.vlan.vid, address), port.number)
        for _ in range(rng.choice((0, 1, 2, 3, 6))):
            vlan = None if self.chance(0.2) else rng.choice((*self.vids, *self.private.values()))
            address = rng.choice(self.outside) if self.chance(0.6) or not self.local else rng.choice(self.local)
            entries.setdefault((vlan, address), rng.choice(ports).number)
        return tuple(StaticEntry(vlan, address, port) for (vlan, address), port in entries.items())


class _Traffic:
    """Draws frames for a module."""

    def __init__(self, rng: random.Random, module: Module, vids: list[int], outside: list[int], source_mac: bool) -> None:
        self.rng = rng
        self.module = module
        self.source_mac = source_mac
        self.outside = outside
        self.time = START
        self.numbers = [port.number for port in module.ports]
        self.by_number = {port.number: port for port in module.ports}
        self.addresses: dict[int, list[int]] = {number: [] for number in self.numbers}
        for port in module.ports:
            self.addresses[port.number] += [mac for mac in (port.effective_mac, port.mac, *port.macs) if mac is not None]
        for entry in module.static:
            self.addresses[entry.port].append(entry.mac)
        self.known = [mac for found in self.addresses.values() for mac in found] or [0x020000000001]
        self.vids = [*vids, *(vid for pair in module.private for vid in pair)]
        self.seen = [self.known[0]]
        self.flows = [(rng.randbytes(4), rng.randbytes(4), rng.randbytes(16), rng.randbytes(16), rng.randbytes(4)) for _ in range(4)]

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def frame(self) -> Frame:
        rng = self.rng
        age = self.module.age_ns
        self.time += rng.choice((0, 1, 400, 1000, 1_000_000, SECOND, -1, -2 * SECOND, age - 1, age, age // 2))
        port = self.by_number[rng.choice(self.numbers)]
        port_in: int | None = None
        if not self.source_mac:
            port_in = port.number
            if self.chance(0.02):
                port_in = rng.choice((None, 5000, 65534, next(number for number in range(5000) if number not in self.by_number)))
        destination, kind, payload = self.towards(port)
        source = self.source(port)
        if self.chance(0.02):
            source = destination
        self.seen.append(source)
        data = destination.to_bytes(6, "big") + source.to_bytes(6, "big") + self.tags(port, destination) + kind + payload
        length = len(data)
        if length < 60 and self.chance(0.7):
            data += rng.choice((bytes(60), b"\x5a" * 60))[: 60 - length]
            length = 60
        if self.chance(0.06):
            length = port.mtu + 14 + rng.choice((-4, -1, 0, 1, 3, 4, 5, 8, 9, 12, 100, 3000))
            length = max(length, len(data))
            if self.chance(0.4):
                data = data.ljust(length, b"\xa5")
        return self.spoilt(data, length, port_in)

    def spoilt(self, data: bytes, length: int, port_in: int | None) -> Frame:
        rng = self.rng
        if self.chance(0.05):
            place = rng.randrange(len(data))
            data = data[:place] + bytes((data[place] ^ 1 << rng.randrange(8),)) + data[place + 1 :]
        if self.chance(0.07):
            data = data[: rng.randrange(min(len(data), 90))]  # the capture's snap length; the frame was longer
        elif self.chance(0.04):
            data = data[: rng.randrange(min(len(data), 40))]  # a runt
            length = len(data)
        return Frame(data, length, self.time, port_in)

    # ---------------------------------------------------------------------------------------------- addresses and tags

    def source(self, port: Port) -> int:
        rng = self.rng
        draw = rng.random()
        own = self.addresses[port.number]
        if draw < (0.3 if port.kind == "uplink" else 0.75) and own:
            return rng.choice(own)
        if draw < 0.82:
            return rng.choice(self.outside)
        if draw < 0.92:
            return rng.choice(self.known)
        if draw < 0.94:
            return rng.choice((0, BROADCAST, 0x0180C2000000, 0x030000000001))
        return 0x021122000000 + rng.randrange(1 << 24)

    def towards(self, port: Port) -> tuple[int, bytes, bytes]:
        """Destination, type, and what follows it."""
        rng = self.rng
        draw = rng.random()
        if draw < (0.1 if port.kind == "uplink" else 0.02):
            return 0x0180C2000002, b"\x88\x09", rng.choice((b"\x01", b"\x01", b"\x02", b"")) + rng.randbytes(30)
        if 0.1 < draw < 0.13:
            length = rng.choice((b"\x00\x26", b"\x00\x27", b"\x81\x00"))
            return rng.choice((0x0180C2000000, 0x01000CCCCCCD)), length, b"\x42\x42\x03" + bytes(35)
        if 0.13 < draw < 0.17:
            return rng.choice(RESERVED), *self.payload()
        if 0.17 < draw < 0.25:
            return BROADCAST, *self.payload()
        if 0.25 < draw < 0.3:
            return rng.choice(GROUPS), *self.payload()
        if 0.3 < draw < 0.315:
            return 0, *self.payload()
        if 0.32 < draw < 0.39:
            return rng.choice(self.outside), *self.payload()
        if 0.39 < draw < 0.5:
            return rng.choice(self.seen[-12:]), *self.payload()
        if 0.5 < draw < 0.55:
            return 0x021122000000 + rng.randrange(1 << 24), *self.payload()
        known = rng.choice(self.known)
        if known in self.addresses[port.number]:
            known = rng.choice(self.known)
        return known, *self.payload()

    def tags(self, port: Port, destination: int) -> bytes:
        rng = self.rng
        vlan = port.vlan
        depth = rng.choices((0, 1, 2, 3), (6, 12, 3, 1))[0]
        if (vlan.mode in ("access", "private") and not self.source_mac) or destination == 0x0180C2000002:
            depth = 0 if self.chance(0.75) else depth
        found = b""
        for level in range(depth):
            if self.chance(0.12):
                vid = 0
            elif level == 0 and self.source_mac and vlan.vid and self.chance(0.5):
                vid = vlan.secondary or vlan.vid
            elif level == 0 and self.chance(0.6) and 0 < len(vlan.vids or vlan.cvids) < 20:
                vid = rng.choice(sorted(vlan.vids or vlan.cvids))
            else:
                vid = rng.choice((*self.vids, *self.vids, *self.vids, vlan.vid, 4095, 7))
            pcp = rng.choice((0, 0, 0, 5, 7, 1))
            tpid = rng.choices((*TPIDS, 0x0800), (14, 3, 2, 0.2))[0]
            found += struct.pack("!HH", tpid, pcp << 13 | self.chance(0.15) << 12 | vid)
        return found

    # -------------------------------------------------------------------------------------------------------- payloads

    def payload(self) -> tuple[bytes, bytes]:
        """A type (or length), and what follows it."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.45:
            return b"\x08\x00", self.ipv4(*self.upper())
        if draw < 0.7:
            return b"\x86\xdd", self.ipv6(*self.upper())
        if draw < 0.82:
            return b"\x08\x06", bytes.fromhex("0001080006040001") + rng.randbytes(20)
        if draw < 0.86:
            announced = rng.choice((b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x08\x00"))
            return rng.choice((b"\x00\x26", b"\x05\xff", b"\x06\x00")), b"\xaa\xaa\x03\x00\x00\x00" + announced + rng.randbytes(30)
        if draw < 0.9:
            return b"\x00\x26", b"\xe0\xe0\x03" + rng.randbytes(35)
        if draw < 0.93:
            return rng.choice((b"\x08\x00", b"\x86\xdd")), rng.randbytes(rng.randrange(60))
        return rng.choice((b"\x88\x47", b"\x88\x64", b"\x88\x09", b"\x88\xcc", b"\x00\x00", b"\xff\xff")), rng.randbytes(rng.randrange(50))

    def upper(self) -> tuple[int, bytes]:
        """A protocol and its header."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.3:
            return 6, self.rng.choice(self.flows)[4] + bytes(16)
        if draw < 0.5:
            return 17, self.rng.choice(self.flows)[4] + bytes(4)
        if draw < 0.78:
            protocol = rng.choice((1, 58))
            icmp_type = rng.choice((0, 8, 13, 14, 128, 129, 3, 4, 5, 11, 12, 1, 2, 133, 255))
            identifier = rng.choice((bytes(2), rng.randbytes(2)))
            return protocol, bytes((icmp_type, rng.randrange(4))) + bytes(2) + identifier + bytes(2) + self.inside()
        if draw < 0.95:
            return rng.choice((33, 50, 51, 132, 136, 0, 43, 60, 44, 4, 41, 47, 59)), rng.randbytes(rng.choice((3, 4, 7, 8, 16)))
        return rng.randrange(256), rng.randbytes(rng.randrange(24))

    def inside(self) -> bytes:
        """What an ICMP error tells about: another packet, often cut."""
        rng = self.rng
        protocol = rng.choice((6, 17, 1, 58))
        header = (b"\x08\0\0\0" if protocol == 1 else rng.randbytes(4)) + rng.randbytes(4)
        packet = self.ipv4(protocol, header) if self.chance(0.5) else self.ipv6(protocol, header)
        return packet[: rng.randrange(len(packet))] if self.chance(0.3) else packet

    def ipv4(self, protocol: int, upper: bytes) -> bytes:
        rng = self.rng
        words = rng.choices((5, 6, 15, 4, 0), (20, 2, 1, 1, 1))[0]
        fragment = rng.choices((0, 0x4000, 0x2000, 0x2001, 0x0100, 0x8000), (12, 6, 1, 1, 1, 1))[0]
        source, destination, _, _, _ = rng.choice(self.flows)
        version = 4 if self.chance(0.98) else 6
        header = struct.pack("!BBHHHBBH", version << 4 | words, 0, 20 + len(upper), 1, fragment, 64, protocol, 0) + source + destination
        return header + bytes(max(0, words - 5) * 4) + upper

    def ipv6(self, protocol: int, upper: bytes) -> bytes:
        rng = self.rng
        _, _, source, destination, _ = rng.choice(self.flows)
        if self.chance(0.1):
            upper = struct.pack("!BB", protocol, 0) + bytes(6) + upper
            protocol = rng.choice((0, 43, 44, 60))
        return struct.pack("!IHBB", 6 << 28, len(upper), protocol, 64) + source + destination + upper
