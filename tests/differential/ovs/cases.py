"""Random modules of dialect ``ovs`` and random frames for them, each from a seed, and frames in words for failures.

Small pools of VLANs and addresses make frames meet: a VLAN that two ports share, a destination that an earlier frame taught.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence

from tests.differential.ovs.driver import Offered
from vsw.config.dialects import DIALECTS
from vsw.config.module import ALL_VIDS, Module, Policy, Port, PriorityTags, StaticEntry, Team, Vlan, VlanMode

OVS = DIALECTS["ovs"]
MTU = 65000
C_TAG, S_TAG, LEGACY_TAG = 0x8100, 0x88A8, 0x9100
DEI = 0x1000
SNAP = bytes.fromhex("aaaa03000000")

MODES: tuple[VlanMode, ...] = ("access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel")
PRIORITY_TAGS: tuple[PriorityTags, ...] = ("no", "if-nonzero", "always")
VIDS = (0, 1, 2, 10, 20, 100, 2047, 4094, 4095)
# IPv4, ARP, IPv6, MPLS, PPPoE, LLDP, connectivity faults, slow protocols, the least type, the greatest length, two lengths.
TYPES = (0x0800, 0x0806, 0x86DD, 0x8847, 0x8864, 0x88CC, 0x8902, 0x8809, 0x0600, 0x05FF, 0x0026, 0x0000)

HOSTS = tuple(0x020000000001 + place for place in range(6))  # sources, and destinations where learning is wanted
SERVERS = tuple(0x0200000000A1 + place for place in range(4))  # destinations, with static entries or unknown
GROUPS = (0xFFFFFFFFFFFF, 0x01005E000001, 0x333300000001, 0x0180C2000010, 0x01000CCCCCCF, 0x01000CCCCCC8)
RESERVED = (
    *range(0x0180C2000000, 0x0180C2000010),
    0x01000CCCCCCC,
    0x01000CCCCCCD,
    0x01000CCDCDCD,
    *range(0x01000CCCCCC0, 0x01000CCCCCC8),
    0x01000C000000,
    0x00E02B000000,
    0x00E02B000004,
    0x00E02B000006,
)
# Next to the ranges: all forwarded.
NEAR_RESERVED = (0x0180C2000010, 0x0180C2000020, 0x0180C2000021, 0x01000CCCCCC8, 0x01000CCCCCCB, 0x01000CCCCCCE, 0x01000CCDCDCC, 0x00E02B000001)


def module(seed: int, *, bond: Policy | None = None, members: int | None = None) -> Module:
    """A random module; with ``bond`` (a policy) its last ports are a team of two or three, or of ``members``."""
    chance = random.Random(f"module {seed}")
    pool = sorted(chance.sample(VIDS, chance.randint(2, 4)))
    count = chance.randint(3, 7)
    ports = [random_port(chance, number, pool) for number in range(count)]
    teams: tuple[Team, ...] = ()
    if bond is not None:
        shared = random_port(chance, 0, pool)
        numbers = range(count, count + (members or chance.randint(2, 3)))
        ports += [
            Port(
                number,
                f"u{number}",
                "uplink",
                shared.vlan,
                OVS.security,
                mtu=MTU,
                priority_tags=shared.priority_tags,
                protected=shared.protected,
                team=0,
            )
            for number in numbers
        ]
        order = tuple(chance.sample(numbers, len(numbers)))
        teams = (Team("bond0", bond, order),)
    static = {}
    for mac in (*SERVERS[:3], HOSTS[0]):
        for _ in range(chance.choice((0, 1, 1, 2))):
            static[(chance.choice(pool), mac)] = chance.choice(ports).number
    return Module(
        name=f"br-{seed}",
        dialect=OVS,
        ports=tuple(ports),
        teams=teams,
        static=tuple(StaticEntry(vlan, mac, port) for (vlan, mac), port in sorted(static.items())),
        learning="full",
        vlan_limit=chance.choice((1, 2)),
        forward_bpdu=chance.random() < 0.25,
    )


def random_port(chance: random.Random, number: int, pool: Sequence[int]) -> Port:
    return Port(
        number,
        f"p{number}",
        "plain",
        random_vlan(chance, pool),
        OVS.security,
        mtu=MTU,
        priority_tags=chance.choice(PRIORITY_TAGS),
        protected=chance.random() < 0.25,
    )


def random_vlan(chance: random.Random, pool: Sequence[int]) -> Vlan:
    mode = chance.choice(MODES)
    vid = chance.choice(pool)
    some = frozenset(chance.sample(pool, chance.randint(1, len(pool))))
    if mode == "access":
        return Vlan(mode, vid)
    if mode == "trunk":
        return Vlan(mode, 0, chance.choice((ALL_VIDS, some)))
    if mode == "dot1q-tunnel":
        customers = frozenset(chance.sample((0, *VIDS[1:5], 4095), chance.randint(1, 4)))
        return Vlan(mode, vid, cvids=chance.choice((frozenset(), customers)), ethertype=chance.choice((C_TAG, S_TAG)))
    vids = chance.choice((ALL_VIDS, some))
    return Vlan(mode, vid, (vids | {vid}) - {0} if vid else vids)


def frames_in_order(seed: int, of: Module, count: int) -> list[Offered]:
    """Frames whose sources are the destinations of others: what the switch learns shows."""
    chance = random.Random(f"in order {seed}")
    frames = []
    for _ in range(count):
        source = pick(chance, (10, HOSTS), (1, SERVERS), (1, (0,)), (1, GROUPS))
        destination = pick(chance, (8, HOSTS), (4, SERVERS), (3, GROUPS), (2, RESERVED), (1, NEAR_RESERVED), (1, (0,)), (1, (source,)))
        frames.append(frame(chance, of, destination, source))
    return frames


def frames_in_any_order(seed: int, of: Module, count: int) -> list[Offered]:
    """Frames no destination of which is a source that another frame teaches: static entries alone decide."""
    chance = random.Random(f"any order {seed}")
    with_zero = chance.random() < 0.5  # zero is either a source here or a destination
    sources: tuple[int, ...] = (*HOSTS, 0) if with_zero else HOSTS
    destinations: tuple[int, ...] = SERVERS if with_zero else (*SERVERS, 0)
    frames = []
    for place in range(count):
        if chance.random() < 0.03:
            alone = 0x02000000F000 + place
            frames.append(frame(chance, of, alone, alone))
            continue
        source = pick(chance, (10, sources), (1, GROUPS))
        destination = pick(chance, (8, destinations), (3, GROUPS), (2, RESERVED), (1, NEAR_RESERVED))
        frames.append(frame(chance, of, destination, source))
    return frames


def frames_that_stay(seed: int, of: Module, count: int) -> list[Offered]:
    """Frames whose source never comes in by another port, a bond being one: what a balancing bond of Open vSwitch drops otherwise."""
    chance = random.Random(f"stay {seed}")
    members = {number: min(team.active) for team in of.teams for number in team.active}
    own = {port.number: 0x020000000100 + members.get(port.number, port.number) for port in of.ports}
    frames = []
    for _ in range(count):
        port = chance.choice(of.ports)
        source = pick(chance, (10, (own[port.number],)), (1, GROUPS))
        destination = pick(chance, (8, sorted(set(own.values()))), (3, SERVERS), (4, GROUPS), (1, RESERVED), (1, (source,)))
        frames.append(frame(chance, of, destination, source, port))
    return frames


def pick(chance: random.Random, *weighted: tuple[int, Sequence[int]]) -> int:
    (pool,) = chance.choices([values for _, values in weighted], [weight for weight, _ in weighted])
    return chance.choice(pool)


def frame(chance: random.Random, of: Module, destination: int, source: int, port: Port | None = None) -> Offered:
    """A random frame of 14 bytes or more that comes in by ``port``, or a random one."""
    port = port or chance.choice(of.ports)
    carried = sorted({other.vlan.vid for other in of.ports} | {0})
    tags = b""
    for _ in range(chance.choices((0, 1, 2, 3), (5, 8, 4, 1))[0]):
        tpid = chance.choices((C_TAG, S_TAG, LEGACY_TAG), (6, 3, 1))[0]
        pcp = chance.choice((0, 0, chance.randrange(8)))
        vid = chance.choices((chance.choice(carried), 0, chance.choice(VIDS), chance.randrange(4096)), (8, 3, 3, 1))[0]
        tags += struct.pack("!HH", tpid, pcp << 13 | (chance.random() < 0.2) << 12 | vid)
    addresses = destination.to_bytes(6, "big") + source.to_bytes(6, "big")
    ethertype = chance.choice(TYPES)
    payload = chance.randbytes(chance.choice((30, 46, 46, 47, 100, 1000 if chance.random() < 0.1 else 60)))
    if ethertype <= 0x0600 and chance.random() < 0.5:  # from 0x0600 on it is a type, and SNAP nothing but payload
        payload = SNAP + struct.pack("!H", chance.choice((0x0800, C_TAG, S_TAG, LEGACY_TAG))) + payload
    data = addresses + tags + struct.pack("!H", ethertype) + payload
    if chance.random() < 0.1:  # cut about the end of the tags, or anywhere up to the end of a SNAP header
        end = 14 + len(tags)
        data = data[: max(14, chance.choice((end - 2, end - 1, end, chance.randint(14, end + 10))))]
    return Offered(port.number, data)


def tags_at_front(data: bytes, tpids: Sequence[int] = (C_TAG, S_TAG)) -> Iterator[int]:
    """Offsets of the tags that stand one after the other behind the addresses, a type after each."""
    offset = 12
    while len(data) >= offset + 6 and int.from_bytes(data[offset : offset + 2], "big") in tpids:
        yield offset
        offset += 4


def without_dei(data: bytes) -> bytes:
    """The frame with the DEI bits of its first two tags cleared (no more stand before a copy's payload)."""
    changed = bytearray(data)
    for offset in list(tags_at_front(data))[:2]:
        changed[offset + 2] &= 0xFF ^ (DEI >> 8)
    return bytes(changed)


def words(data: bytes) -> str:
    """A frame in one line: addresses, tags, type, length."""
    text = [f"{data[6:12].hex(':')} > {data[:6].hex(':')}"]
    offset = 12
    for offset in tags_at_front(data, (C_TAG, S_TAG, LEGACY_TAG)):
        tci = int.from_bytes(data[offset + 2 : offset + 4], "big")
        text.append(f"[{data[offset : offset + 2].hex()} vid {tci & 0xFFF} pcp {tci >> 13}{' dei' if tci & DEI else ''}]")
    if len(text) > 1:
        offset += 4
    text.append(f"type {data[offset : offset + 2].hex()}")
    if data[offset + 2 : offset + 8] == SNAP:
        text.append(f"SNAP {data[offset + 8 : offset + 10].hex()}")
    return " ".join([*text, f"{len(data)} bytes"])
