"""The forwarding database (fdb.h) and learning (learn.h) against a dictionary: limits, fairness, ageing, order, collisions."""

from __future__ import annotations

import ctypes
import os
import random
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which("cc") or shutil.which("gcc")
NO_PORT = 0xFFFF
ANY_VLAN = 0xFFFF
AGE = 1000
#: Hash multipliers: one that spreads; 1, by which all keys of a VLAN have the same bucket (the upper bits of a key are not the address's); and
#: one under which few buckets are anybody's.
SPREAD, SAME, FEW = 0x9E3779B97F4A7C15, 1, 1 << 13 | 1
LEARNED, MOVED, EVICTED, AGED, ENTRIES, BUCKETS, LISTED = range(7)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("fdb") / "fdb_probe.so"
    source = Path(__file__).with_name("fdb_probe.c")
    command = [str(COMPILER), "-std=gnu11", "-O1", "-Wall", "-Wno-unused-function", "-shared", "-fPIC", f"-I{ROOT}", str(source), "-o", str(target)]
    subprocess.run([*command, *shlex.split(os.environ.get("CFLAGS", ""))], check=True)
    found = ctypes.CDLL(str(target))
    number, pointer, signed = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int64
    for name, result, *arguments in (
        ("new", pointer, number, ctypes.c_uint32, number, ctypes.c_uint32, signed, ctypes.c_uint32, ctypes.c_uint32),
        ("free", None, pointer),
        ("receives", None, pointer, ctypes.c_uint32, ctypes.c_uint32),
        ("add", ctypes.c_int, pointer, ctypes.c_uint32, number, ctypes.c_uint32),
        ("remove", ctypes.c_int, pointer, ctypes.c_uint32, number),
        ("learn", None, pointer, ctypes.c_uint32, number, ctypes.c_uint32, signed),
        ("lookup", ctypes.c_uint32, pointer, ctypes.c_uint32, number, signed),
        ("maybe_local", ctypes.c_uint32, pointer, number),
        ("counter", number, pointer, ctypes.c_uint32),
        ("longest", number, pointer),
        ("learned", ctypes.c_uint32, pointer, pointer, pointer, pointer),
        ("grow", ctypes.c_int, pointer, number, number),
        ("broken", ctypes.c_int, pointer),
    ):
        function = getattr(found, f"probe_{name}")
        function.restype, function.argtypes = result, arguments
    return found


class Table:
    """The C table."""

    def __init__(self, library: ctypes.CDLL, entries: int, learned: int, multiplier: int, ports: int, port_limit: int, module_limit: int) -> None:
        self.library = library
        self.capacity = learned
        self.probe = library.probe_new(entries, learned, multiplier, ports, AGE, port_limit, module_limit)
        assert self.probe

    def __getattr__(self, name: str):
        function = getattr(self.library, f"probe_{name}")
        return lambda *arguments: function(self.probe, *arguments)

    def listed(self) -> list[tuple[int, int, int, int]]:
        """(VLAN, MAC, port, stamp) of learned entries, least recently stamped first."""
        keys = (ctypes.c_uint64 * (self.capacity + 1))()
        ports = (ctypes.c_uint16 * (self.capacity + 1))()
        stamps = (ctypes.c_int64 * (self.capacity + 1))()
        count = self.learned(keys, ports, stamps)
        return [(keys[i] >> 48, keys[i] & (1 << 48) - 1, ports[i], stamps[i]) for i in range(count)]

    def count(self, which: int) -> int:
        return int(self.counter(which))


class Model:
    """Sections 11 and 12 of the rules, said with dictionaries."""

    def __init__(self, ports: int, port_limit: int, module_limit: int, carried: dict[int, set[int]]) -> None:
        self.ports, self.port_limit, self.module_limit, self.carried = ports, port_limit, module_limit, carried
        self.static: dict[tuple[int, int], int] = {}
        self.learned: dict[tuple[int, int], tuple[int, int]] = {}  # in order of stamping
        self.counts = {LEARNED: 0, MOVED: 0, EVICTED: 0, AGED: 0}

    def of_port(self, port: int) -> list[tuple[int, int]]:
        return [key for key, (home, _) in self.learned.items() if home == port]

    def fixed(self, vlan: int, mac: int) -> int | None:
        port = self.static.get((vlan, mac))
        if port is None:
            port = self.static.get((ANY_VLAN, mac))
            if port is not None and vlan not in self.carried[port]:
                return None
        return port

    def forget_expired(self, key: tuple[int, int], now: int) -> None:
        if key in self.learned and now - self.learned[key][1] >= AGE:
            del self.learned[key]
            self.counts[AGED] += 1

    def evict(self, key: tuple[int, int]) -> None:
        del self.learned[key]
        self.counts[EVICTED] += 1

    def learn(self, vlan: int, mac: int, port: int, now: int) -> None:
        key = (vlan, mac)
        if self.fixed(vlan, mac) is not None:
            return
        self.forget_expired(key, now)
        if not self.port_limit or not self.module_limit:
            return
        known = self.learned.get(key)
        if (known is None or known[0] != port) and len(self.of_port(port)) >= self.port_limit:
            self.evict(self.of_port(port)[0])
        if known is None and len(self.learned) >= self.module_limit:
            oldest = next(iter(self.learned))
            if now - self.learned[oldest][1] < AGE:
                most = max(len(self.of_port(number)) for number in range(self.ports))
                oldest = next(self.of_port(number)[0] for number in range(self.ports) if len(self.of_port(number)) == most)
            self.evict(oldest)
        self.counts[LEARNED] += known is None
        self.counts[MOVED] += known is not None and known[0] != port
        self.learned.pop(key, None)
        self.learned[key] = (port, now)

    def lookup(self, vlan: int, mac: int, now: int) -> int:
        if (vlan, mac) not in self.static:
            self.forget_expired((vlan, mac), now)
            if (vlan, mac) in self.learned:
                return self.learned[vlan, mac][0]
        port = self.fixed(vlan, mac)
        return NO_PORT if port is None else port

    def add(self, vlan: int, mac: int, port: int) -> None:
        self.static[vlan, mac] = port
        self.learned = {key: value for key, value in self.learned.items() if key != (vlan, mac) and self.fixed(*key) is None}


def station(number: int) -> int:
    """An address as loaded, of one station: the group bit is bit 0.  A group address is never learned."""
    return number << 1


LIMITS = [(4096, 8192), (4, 16), (16, 4), (1, 1), (3, 5), (1, 8), (2, 2), (0, 8), (8, 0)]


@pytest.fixture
def tables(library: ctypes.CDLL) -> Iterator[list[Table]]:
    made: list[Table] = []
    yield made
    for table in made:
        library.probe_free(table.probe)


@pytest.mark.parametrize("multiplier", [SPREAD, SAME, FEW])
@pytest.mark.parametrize(("port_limit", "module_limit"), LIMITS)
def test_random_operations_against_dictionaries(library, tables, port_limit: int, module_limit: int, multiplier: int) -> None:
    rng = random.Random(f"{port_limit}/{module_limit}/{multiplier}")
    ports, vlans = 4, (1, 2, 4095)
    learned = min(module_limit, 64)
    table = Table(library, 32, learned, multiplier, ports, port_limit, min(module_limit, 64))
    tables.append(table)
    carried = {port: {vlan for vlan in vlans if rng.random() < 0.7} for port in range(ports)}
    for port, found in carried.items():
        for vlan in found:
            table.receives(port, vlan)
    model = Model(ports, port_limit, min(module_limit, 64), carried)
    macs = [station(rng.randrange(1 << 47)) for _ in range(40)] + [0, station((1 << 47) - 1)]
    fixed = rng.sample(macs, 14)
    now = 0
    for step in range(3000):
        now += rng.choice((0, 0, 0, 1, 10, 100, AGE - 1, AGE) if rng.random() < 0.2 else (0, 1, 5))
        vlan, port = rng.choice(vlans), rng.randrange(ports)
        draw = rng.random()
        if draw < 0.6:
            mac = rng.choice(macs)
            table.learn(vlan, mac, port, now)
            model.learn(vlan, mac, port, now)
        elif draw < 0.9:
            mac = rng.choice(macs)
            assert table.lookup(vlan, mac, now) == model.lookup(vlan, mac, now), step
        elif draw < 0.96:
            vlan, mac = rng.choice((*vlans, ANY_VLAN)), rng.choice(fixed)
            assert table.add(vlan, mac, port) == 1
            model.add(vlan, mac, port)
        else:
            vlan, mac = rng.choice((*vlans, ANY_VLAN)), rng.choice(fixed)
            assert table.remove(vlan, mac) == (model.static.pop((vlan, mac), None) is not None)
        if step % 7 == 0:
            assert table.broken() == 0, step
            assert table.listed() == [(*key, *value) for key, value in model.learned.items()], step
            assert table.count(ENTRIES) == len(model.static) + len(model.learned)
    assert {which: table.count(which) for which in model.counts} == model.counts
    if multiplier == SAME:
        assert table.longest() > 0, "nothing collided"
    assert all(table.maybe_local(mac) for _, mac in model.static)


def test_the_oldest_of_the_fullest_port_makes_room_and_the_lowest_number_wins_a_tie(library, tables) -> None:
    table = Table(library, 0, 6, SPREAD, 4, 6, 6)
    tables.append(table)
    for mac, port in ((1, 2), (2, 1), (3, 2), (4, 1), (5, 3)):
        table.learn(1, station(mac), port, 0)
    table.learn(1, station(6), 0, 0)
    table.learn(1, station(7), 3, 0)  # full: ports 1 and 2 have two each, port 1's older one goes
    assert [mac >> 1 for _, mac, _, _ in table.listed()] == [1, 3, 4, 5, 6, 7]
    table.learn(1, station(1), 2, 0)  # seen again: no longer the oldest of its port
    table.learn(1, station(8), 0, 0)  # port 2: 3, 1; port 3: 5, 7
    assert [mac >> 1 for _, mac, _, _ in table.listed()] == [4, 5, 6, 7, 1, 8]


@pytest.mark.parametrize(("later", "found"), [(AGE - 1, 1), (AGE, NO_PORT), (AGE + 1, NO_PORT)])
def test_an_entry_expires_when_its_age_is_reached(library, tables, later: int, found: int) -> None:
    table = Table(library, 0, 4, SPREAD, 2, 4, 4)
    tables.append(table)
    table.learn(1, station(5), 1, 100)
    assert table.lookup(1, station(5), 100 + later) == found
    assert table.count(AGED) == (found == NO_PORT)
    assert table.count(LISTED) == (found != NO_PORT)


def test_an_expired_entry_goes_before_one_of_the_fullest_port(library, tables) -> None:
    table = Table(library, 0, 3, SPREAD, 3, 3, 3)
    tables.append(table)
    table.learn(1, station(1), 2, 0)
    table.learn(1, station(2), 1, 10)
    table.learn(1, station(3), 1, 10)
    table.learn(1, station(4), 0, AGE)
    assert [mac >> 1 for _, mac, _, _ in table.listed()] == [2, 3, 4]
    table.learn(1, station(5), 0, AGE + 9)
    assert [mac >> 1 for _, mac, _, _ in table.listed()] == [3, 4, 5]


@pytest.mark.parametrize("multiplier", [SPREAD, SAME, (1 << 64) - 1])
def test_a_crowded_table_wraps_around_its_end_and_empties_again(library, tables, multiplier: int) -> None:
    table = Table(library, 30, 0, multiplier, 2, 0, 0)
    tables.append(table)
    room = table.count(BUCKETS) * 6
    assert [table.add(1, mac, mac % 2) for mac in range(room)] == [1] * room
    assert table.add(1, room, 1) == 0, "there is no slot left"
    assert table.broken() == 0
    assert [table.lookup(1, mac, 0) for mac in range(room + 1)] == [*(mac % 2 for mac in range(room)), NO_PORT]
    order = list(range(room))
    random.Random(1).shuffle(order)
    for step, mac in enumerate(order):
        assert table.remove(1, mac) == 1
        assert table.lookup(1, mac, 0) == NO_PORT
        if step % 8 == 0:
            assert table.broken() == 0
            assert all(table.lookup(1, other, 0) == other % 2 for other in order[step + 1 :])
    assert (table.count(ENTRIES), table.longest(), table.broken()) == (0, 0, 0)


@pytest.mark.parametrize("multiplier", [SPREAD, SAME])
def test_growth_keeps_entries_and_their_order(library, tables, multiplier: int) -> None:
    table = Table(library, 8, 16, multiplier, 3, 16, 16)
    tables.append(table)
    for mac in range(20):
        table.add(1, 1000 + mac, 2)
    table.add(ANY_VLAN, 77, 1)
    table.receives(1, 9)
    for mac in range(16):
        table.learn(2, station(mac), mac % 3, mac)
    table.learn(2, 0, 1, 16)
    before = table.listed()
    for entries in (100, 1000, 50):
        assert table.grow(entries, multiplier) == 1
        assert table.broken() == 0
        assert table.listed() == before
        assert [table.lookup(1, 1000 + mac, 16) for mac in range(20)] == [2] * 20
        assert (table.lookup(9, 77, 16), table.lookup(8, 77, 16)) == (1, NO_PORT)
        assert table.maybe_local(1000)
    assert table.count(ENTRIES) == 37


def test_a_group_address_is_never_learned(library, tables) -> None:
    table = Table(library, 0, 4, SPREAD, 2, 4, 4)
    tables.append(table)
    table.learn(1, station(5) | 1, 1, 0)
    assert table.listed() == []
