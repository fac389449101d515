"""Tables that change while frames are on their way: each burst meets the old configuration or the new one, never a mix.

What was learned and counted stays; a delta leads to what programming the whole leads to.
"""

from __future__ import annotations

import random
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from tests.differential.compare import batch_of, ingress_of
from tests.differential.strategies import Scenario, generate
from tests.golden.build import access, mac, module, of_vnics, port, static, team, trunk, uplink
from vsw import Batch, Switch
from vsw.config.dialects import DIALECTS
from vsw.config.module import Module, StaticEntry
from vsw.datapath.pipeline import Datapath
from vsw.datapath.tables import ANY_VLAN, STATIC, Delta, Entries, Tables, as_loaded_array
from vsw.switch.compile import compile_module
from vsw.switch.result import COLUMNS, Result, new_columns
from vsw.switch.team import TeamState

BURST = 256
#: A multiple of six bursts: the shares of one, two and three workers begin at bursts.
FRAMES = 6 * BURST * 100
ROUNDS = 400


def tables_of(one: Module) -> Tables:
    up = {port.number: port.up for port in one.ports}
    return compile_module(one, {index: TeamState(found, up) for index, found in enumerate(one.teams)}, up)


def before_and_after() -> tuple[Module, Module]:
    """Two configurations that differ in a port's VLAN, its address's entry, a trunk's VLANs, the team and its uplinks, all at once."""

    def made(vlan: int, home: int, carried: str, policy: str, second: bool) -> Module:
        ports = [
            uplink(0, team=0),
            uplink(1, team=0, up=True),
            port(2, access(10), address=2, team=0),
            port(3, access(vlan), address=3, team=0),
            port(4, trunk(carried), address=4, team=0),
            port(5, access(10), address=5, team=0, protected=second),
        ]
        more = static((10, 77, home), (20, 78, 5 if second else 4))
        return module("vsw", ports, teams=(team(policy, (1, 0) if second else (0, 1)),), static=of_vnics(ports) + more)

    return made(10, 2, "10", "src-mac", False), made(20, 5, "10,20", "explicit", True)


def traffic(count: int) -> tuple[Batch, np.ndarray]:
    """Frames of every kind that the change is about, shuffled; the same few frames' bytes are used again and again."""
    rng = random.Random(3)
    frames, ports = [], []
    ten, twenty = bytes.fromhex("8100000a"), bytes.fromhex("81000014")
    for source, number, tag in ((2, 2, b""), (3, 3, b""), (4, 4, ten), (4, 4, twenty), (5, 5, b""), (99, 0, ten)):
        for destination in (2, 3, 4, 5, 77, 78, 1000, 0xFFFFFFFFFFFF):
            target = b"\xff" * 6 if destination == 0xFFFFFFFFFFFF else int(mac(destination) or 0).to_bytes(6)
            frames.append(target + int(mac(source) or 0).to_bytes(6) + tag + b"\x08\x00" + bytes(46))
            ports.append(number)
    lengths = np.array([len(frame) for frame in frames], np.uint32)
    starts = (np.cumsum(lengths) - lengths).astype(np.uint64)
    which = np.array([rng.randrange(len(frames)) for _ in range(count)])
    buffer = np.frombuffer(b"".join(frames) + bytes(64), np.uint8)
    return Batch.from_arrays(buffer, starts[which], lengths[which]), np.array(ports, np.uint16)[which]


def rows(result: Result) -> np.ndarray:
    """One row of numbers a frame: its columns, and a mark of its copies (where they were kept)."""
    columns = [np.asarray(getattr(result, name)).astype(np.int64) for name in COLUMNS]
    if result._copies is not None:
        copies = result.copies
        port, tags, tci = (array.astype(np.int64) for array in (copies["port"], copies["tags"], copies["tag"]["tci"][:, 0]))
        weight = (port + 1) * 1_000_003 + tags * 7919 + tci * 31 + copies["length"]
        columns.append(np.bincount(copies["frame"].astype(np.int64), weights=weight * weight % 999_983, minlength=result.frames).astype(np.int64))
    return np.stack(columns, axis=1)


@contextmanager
def meanwhile(change: Callable[[int], object]) -> Iterator[None]:
    """Another thread that changes something all the time."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                change(number)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


def until_both_were_met(run: Callable[[], Result], old: np.ndarray, new: np.ndarray, burst: int = BURST) -> None:
    """Runs until one run met both configurations; in every burst all frames met the same one."""
    differ = (old != new).any(axis=1)
    assert differ.mean() > 0.2, "the frames hardly show which configuration they met"
    for _ in range(ROUNDS):
        found = rows(run())
        is_old, is_new = (found == old).all(axis=1), (found == new).all(axis=1)
        assert (is_old | is_new).all(), "a frame met neither configuration"
        bursts = (~is_old).reshape(-1, burst).any(axis=1), (~is_new).reshape(-1, burst).any(axis=1)
        assert not (bursts[0] & bursts[1]).any(), "a burst met both configurations"
        if (is_old & differ).any() and (is_new & differ).any():
            return
    pytest.fail(f"no run of {ROUNDS} met both configurations")


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("options", [{"exact": True}, {}, {"copies": True}], ids=["exact", "fast", "copies"])
def test_tables_are_swapped_between_bursts(workers: int, options: dict[str, bool]) -> None:
    old, new = before_and_after()
    batch, ports = traffic(FRAMES)
    wanted = [rows(Switch(one).forward(batch, ingress=ports, **options)) for one in (old, new)]
    switch = Switch(old)
    tables = tables_of(old), tables_of(new)

    def change(number: int) -> None:
        if number % 3:
            switch.datapath.program(tables[number % 2])
        else:  # rows instead of the whole; what was there before is in `tables` of the step before
            switch.datapath.apply(Delta.between(tables[(number - 1) % 2], tables[number % 2]))

    with meanwhile(change):
        until_both_were_met(lambda: switch.forward(batch, ingress=ports, workers=workers, **options), *wanted)


def test_a_switch_is_reconfigured_during_a_run() -> None:
    old, new = before_and_after()
    batch, ports = traffic(FRAMES)
    wanted = [rows(Switch(one).forward(batch, ingress=ports)) for one in (old, new)]
    switch = Switch(old)
    with meanwhile(lambda number: switch.reconfigure((old, new)[number % 2])):
        until_both_were_met(lambda: switch.forward(batch, ingress=ports, workers=2), *wanted)
    assert switch.counters.offered % FRAMES == 0


def test_an_uplink_goes_down_and_up_during_a_run() -> None:
    one, _ = before_and_after()
    batch, ports = traffic(FRAMES)
    down = replace(one, ports=tuple(replace(port, up=port.number != 1) for port in one.ports))
    wanted = [rows(Switch(state).forward(batch, ingress=ports)) for state in (one, down)]
    differ = (wanted[0] != wanted[1]).any(axis=1)
    switch = Switch(one)
    with meanwhile(lambda number: switch.set_port(1, number % 2 == 0)):
        for _ in range(ROUNDS):
            found = rows(switch.forward(batch, ingress=ports))
            is_up, is_down = (found == wanted[0]).all(axis=1), (found == wanted[1]).all(axis=1)
            assert (is_up | is_down).all()
            if (is_up & differ).any() and (is_down & differ).any():
                return
    pytest.fail(f"no run of {ROUNDS} met both states")


# ---------------------------------------------------------------------------------------------------- deltas


def pairs(dialect: str, count: int) -> Iterator[tuple[int, Scenario, Scenario]]:
    """Scenarios whose modules learn in the same way, so that a delta leads from one to the other."""
    for seed in range(count):
        first, second = generate(seed, 60, dialect), generate(5000 + seed, 60, dialect)
        one = first.module
        two = replace(second.module, learning=one.learning, age_ns=one.age_ns, port_limit=one.port_limit, module_limit=one.module_limit)
        yield seed, first, second._replace(module=two)


def run(datapath: Datapath, scenario: Scenario) -> list[list[int]]:
    batch = batch_of(scenario)
    out = new_columns(len(batch))
    if scenario.source_mac:
        datapath.run(batch, out=out, source_mac=True)
    else:
        datapath.run(batch, out=out, ingress=ingress_of(scenario))
    return [out[name].tolist() for name in COLUMNS]


def counted(datapath: Datapath) -> dict[str, list[int]]:
    return {name: np.asarray(value).tolist() for name, value in datapath.counters().items()}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_delta_leads_to_what_programming_leads_to(dialect: str) -> None:
    """Learned entries, counters, and every frame's fate afterwards, whatever the two configurations are."""
    for seed, first, second in pairs(dialect, 40):
        old, new = tables_of(first.module), tables_of(second.module)
        changed, programmed = Datapath(old), Datapath(old)
        for datapath in (changed, programmed):
            run(datapath, first)
        changed.apply(Delta.between(old, new))
        programmed.program(new)
        assert changed.learned() == programmed.learned(), seed
        assert changed.entries == programmed.entries, seed
        assert run(changed, second) == run(programmed, second), seed
        assert run(changed, first) == run(programmed, first), seed
        assert counted(changed) == counted(programmed), seed


@pytest.mark.parametrize("dialect", DIALECTS)
def test_there_and_back_again(dialect: str) -> None:
    for seed, first, second in pairs(dialect, 25):
        if first.module.learning != "none" or any(port.bpdu_guard for port in first.module.ports):
            continue
        old, new = tables_of(first.module), tables_of(second.module)
        datapath = Datapath(old)
        wanted = run(Datapath(old), first)
        datapath.apply(Delta.between(old, new))
        datapath.apply(Delta.between(new, old))
        assert run(datapath, first) == wanted, seed


def test_a_delta_between_equal_tables_is_empty() -> None:
    tables = tables_of(generate(3, 1, "vsw").module)
    delta = Delta.between(tables, tables_of(generate(3, 1, "vsw").module))
    assert delta.module is None
    assert delta.groups is None
    assert [delta.ports, delta.accept, delta.receive, delta.vlans, delta.teams] == [{}, {}, {}, {}, {}]
    assert len(delta.add) == len(delta.remove) == len(delta.add_owners) == len(delta.remove_owners) == 0


# ------------------------------------------------------------------------------------------------ many entries


def entries_of(numbers: np.ndarray, port: int) -> Entries:
    count = len(numbers)
    macs = as_loaded_array(np.uint64(0x020000000000) + numbers.astype(np.uint64))
    return Entries(np.full(count, 10, np.uint16), macs, np.full(count, port | STATIC, np.uint16))


def plain() -> Module:
    return module("ovs", [port(number, access(10)) for number in range(4)], learning="none")


def to(numbers: list[int], source: int = 0xABCDEF) -> Batch:
    rest = (0x06 << 40 | source).to_bytes(6) + b"\x08\x00" + bytes(46)
    return Batch.from_frames([(0x020000000000 + number).to_bytes(6) + rest for number in numbers])


def sent_to(datapath: Datapath, numbers: list[int]) -> list[int]:
    out = new_columns(len(numbers))
    datapath.run(to(numbers), out=out, port=0)
    return [int(port) for port in out["egress_port"]]


def test_a_million_entries_and_one_more(record_property: Callable[[str, object], None]) -> None:
    """What it takes is reported (``--junit-xml``), not judged: it says as much about the machine."""
    million = np.arange(1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    datapath = Datapath(replace(tables_of(plain()), static=entries_of(million, 1)))
    record_property("program_seconds", time.perf_counter() - begin)
    record_property("resident_kilobytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert datapath.entries == 1_000_000
    some = [0, 1, 999_999, *random.Random(1).sample(range(1_000_000), 2000)]
    assert sent_to(datapath, some) == [1] * len(some)
    assert sent_to(datapath, [1_000_000]) == [-2]
    begin = time.perf_counter()
    datapath.apply(Delta(add=entries_of(np.array([1_000_000]), 2)))
    record_property("one_entry_seconds", time.perf_counter() - begin)
    assert (datapath.entries, sent_to(datapath, [1_000_000, 5])) == (1_000_001, [2, 1])
    datapath.apply(Delta(remove=entries_of(million[::2], 1), add=entries_of(np.array([7]), 3)))
    assert datapath.entries == 500_001
    assert sent_to(datapath, [6, 7, 8, 9, 999_999, 1_000_000]) == [-2, 3, -2, 1, 1, 2]


def test_an_entry_is_added_while_frames_run() -> None:
    """Each frame is flooded until its entry is there, and never again after that."""
    datapath = Datapath(tables_of(plain()))
    batch = to([5] * 256 * 40)
    columns = [new_columns(len(batch)) for _ in range(2)]
    seen: set[int] = set()
    with meanwhile(lambda number: datapath.apply(Delta(add=entries_of(np.array([number % 4000 + 5]), 1 + number % 3)))):
        for number in range(300):
            out = columns[number % 2]
            assert datapath.run(batch, out=out, port=0) == len(batch)
            found = out["egress_port"].reshape(-1, 256)
            assert (found == found[:, :1]).all(), "a burst met the table before and after"
            seen.update(found[:, 0].tolist())
            if number and found[0, 0] != -2:
                assert (found[:, 0] != -2).all()
    assert seen - {-2}


@pytest.mark.parametrize("step", [1, 7, 5000])
def test_a_table_grows_and_shrinks(step: int) -> None:
    datapath = Datapath(tables_of(plain()))
    total = 10 * step if step > 1000 else 300 * step
    for first in range(0, total, step):
        datapath.apply(Delta(add=entries_of(np.arange(first, first + step), 1 + first // step % 3)))
    assert datapath.entries == total
    some = list(range(0, total, max(1, total // 977)))
    assert sent_to(datapath, some) == [1 + number // step % 3 for number in some]
    datapath.apply(Delta(remove=entries_of(np.arange(0, total, 3), 0)))
    assert sent_to(datapath, some) == [-2 if number % 3 == 0 else 1 + number // step % 3 for number in some]
    datapath.apply(Delta(remove=entries_of(np.arange(total), 0)))
    assert datapath.entries == 0
    assert sent_to(datapath, some[:50]) == [-2] * 50


def learning(**more: int) -> Module:
    return module("ovs", [port(number, access(10)) for number in range(4)], learning="full", **more)


def teach(datapath: Datapath, numbers: list[int], port: int) -> None:
    for number in numbers:
        datapath.run(to([9_999_999], source=number << 8), port=port)


def known(datapath: Datapath) -> list[tuple[int, int]]:
    return [(int.from_bytes(address.to_bytes(6, "little")) >> 8 & 0xFFFF, port) for _, address, port, _ in datapath.learned()]


def test_what_was_learned_and_counted_survives_new_tables() -> None:
    tables = tables_of(learning())
    datapath = Datapath(tables)
    teach(datapath, [1, 2, 3, 4], 1)
    teach(datapath, [5, 2], 2)
    assert known(datapath) == [(1, 1), (3, 1), (4, 1), (5, 2), (2, 2)]
    counters = counted(datapath)
    datapath.program(tables)
    assert known(datapath) == [(1, 1), (3, 1), (4, 1), (5, 2), (2, 2)]
    assert counted(datapath) == counters
    datapath.program(tables_of(learning(port_limit=2)))
    assert known(datapath) == [(3, 1), (4, 1), (5, 2), (2, 2)], "the least recently stamped entry of a port goes"
    datapath.program(tables_of(learning(module_limit=3)))
    assert known(datapath) == [(4, 1), (5, 2), (2, 2)]
    assert datapath.flush(port=2) == 2
    assert known(datapath) == [(4, 1)]
    assert datapath.flush() == 1
    assert known(datapath) == []
    assert datapath.entries == 0
    assert counted(datapath) == counters


def test_new_tables_take_what_they_claim_and_those_that_learn_nothing_keep_nothing() -> None:
    datapath = Datapath(tables_of(learning()))
    teach(datapath, [1, 2, 3], 1)
    addresses = [0x06 << 40 | number << 8 for number in range(4)]
    static = (StaticEntry(10, addresses[1], 2), StaticEntry(None, addresses[3], 2))
    datapath.program(tables_of(replace(learning(), static=static)))
    assert known(datapath) == [(2, 1)]
    datapath.program(tables_of(plain()))
    assert known(datapath) == []
    datapath.program(tables_of(learning()))
    assert known(datapath) == []
    teach(datapath, [1, 3], 1)
    assert known(datapath) == [(1, 1), (3, 1)]


def test_an_address_that_is_configured_is_no_longer_learned() -> None:
    datapath = Datapath(tables_of(learning()))
    teach(datapath, [1, 2, 3], 1)

    def entry(number: int, vlan: int) -> Entries:
        found = as_loaded_array(np.array([0x06 << 40 | number << 8], np.uint64))
        return Entries(np.array([vlan], np.uint16), found, np.array([2 | STATIC], np.uint16))

    datapath.apply(Delta(add=entry(1, 10)))
    assert known(datapath) == [(2, 1), (3, 1)]
    datapath.apply(Delta(add=entry(3, ANY_VLAN)))
    assert known(datapath) == [(2, 1)]
    teach(datapath, [1, 3], 1)
    assert known(datapath) == [(2, 1)]
    datapath.apply(Delta(remove=entry(1, 10)))
    teach(datapath, [1, 3], 1)
    assert known(datapath) == [(2, 1), (1, 1)]
