"""A switch that runs: the same verdicts, copies and counters as a replay, and changes that hold nobody up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.golden.build import access, module, native_untagged, of_vnics, port, team, trunk, uplink
from tests.patience import PATIENCE
from vsw import Batch, Switch
from vsw.config.module import Attach, Module
from vsw.errors import UsageError, VswError
from vsw.host.loop import Loop
from vsw.host.module import LiveModule
from vsw.ports.memory import MemoryPort, memory_pair
from vsw.switch.result import Counters

#: Seconds after which something that should have happened is missed.
PORTS = 6


def topology(dialect: str = "vsw", **more: object) -> Module:
    ports = [
        port(0, access(10), address=1, team=0),
        port(1, access(10), address=2, team=0),
        port(2, access(20), address=3, team=0),
        port(3, trunk("10,20"), address=4, team=0),
        port(4, native_untagged(10, "10,20"), address=5, team=0),
        uplink(5, team=0),
    ]
    more.setdefault("learning", "none")
    return module(dialect, ports, teams=(team("port-id", (5,)),), static=of_vnics(ports), **more)  # type: ignore[arg-type]


def traffic(count: int, seed: int = 1) -> list[tuple[int, bytes]]:
    """Frames and the ports that they come in by: to each other, to all, to nobody; tagged and not, short and broken."""
    luck = random.Random(seed)
    found = []
    for number in range(count):
        way_in = luck.randrange(PORTS)
        source = 0x020000000000 + luck.choice([way_in + 1] * 8 + [1, 77])
        target = luck.choice([0x020000000001 + luck.randrange(5)] * 4 + [0xFFFFFFFFFFFF, 0x01005E000001, 0x0200000000EE, 0x0180C2000000])
        tag = luck.choice([b""] * 3 + [b"\x81\0\0\x0a", b"\x81\0\x20\x14", b"\x81\0\0\0", b"\x81\0\x0f\xff"])
        data = target.to_bytes(6) + source.to_bytes(6) + tag + b"\x88\xb5" + number.to_bytes(4) + bytes(luck.randrange(46, 1500))
        if luck.random() < 0.05:
            data = data[: luck.randrange(14, len(data))]
        found.append((way_in, data))
    return found


class Bench:
    """A live module with a memory port in every port, and somebody at the other ends."""

    def __init__(self, one: Module, workers: int = 1) -> None:
        self.live = LiveModule(one, Path("unused"), workers=workers)
        self.ends: dict[int, MemoryPort] = {}
        self.got: dict[int, list[bytes]] = {}
        for number in [one.number for one in one.ports]:
            self.plug(number)
        self.live.open()

    def plug(self, number: int) -> None:
        inside, self.ends[number] = memory_pair(f"port{number}", f"end{number}", frames=1 << 16, room=1 << 24)
        self.got[number] = []
        self.live.attach(number, inside)

    def take(self) -> None:
        for number, end in self.ends.items():
            while not end.closed and (frames := end.read()):
                self.got[number] += frames

    def until(self, what: object) -> None:
        """Take what arrives until ``what()``."""
        end = time.monotonic() + PATIENCE
        while not what():  # type: ignore[operator]
            self.take()
            assert time.monotonic() < end, "it did not happen"
        self.take()

    @property
    def counters(self) -> Counters:
        return self.live.switch.counters

    def close(self) -> None:
        self.live.close()
        for end in self.ends.values():
            end.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(topology())
    yield made
    made.close()


def same(live: Counters, replayed: Counters) -> None:
    for name in ("offered", "delivered", "consumed", "copies_selected", "copies_out", "learned", "moved"):
        assert getattr(live, name) == getattr(replayed, name), name
    for name in ("dropped", "rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "port_dropped", "port_filtered"):
        assert np.array_equal(getattr(live, name), getattr(replayed, name)), name


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("dialect", ["vsw", "vss", "ovs"])
def test_it_is_the_switch_of_the_replay(dialect: str, workers: int) -> None:
    one = topology(dialect)
    frames = traffic(4000)
    ways = np.array([way for way, _ in frames], np.uint16)
    replayed = Switch(one).forward(Batch.from_frames([data for _, data in frames]), ingress=ways, copies=True)
    bench = Bench(one, workers)
    try:
        for first in range(0, len(frames), 100):
            for number, end in bench.ends.items():
                end.write([data for way, data in frames[first : first + 100] if way == number])
        bench.until(lambda: bench.counters.offered == len(frames))
        bench.until(lambda: sum(map(len, bench.got.values())) == replayed.counters.copies_out)
        same(bench.counters, replayed.counters)
    finally:
        bench.close()
    wanted: dict[int, list[bytes]] = {number: [] for number in bench.ends}
    for _, number, data, _ in replayed.egress():
        wanted[number].append(data)
    assert {number: sorted(got) for number, got in bench.got.items()} == {number: sorted(want) for number, want in wanted.items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_learning_keeps_to_one_order(workers: int) -> None:
    """Where frames change what later frames meet one worker has all ports, whatever was asked for."""
    one = topology("ovs", learning="full")
    frames = traffic(1000)
    switch = Switch(one)
    bench = Bench(one, workers)
    try:
        for number, (way, data) in enumerate(frames):
            switch.forward(Batch.from_frames([data]), ingress=way, columns=False)
            bench.ends[way].write([data])
            bench.until(lambda number=number: bench.live.loop.statistics() and bench.counters.offered == number + 1)
        same(bench.counters, switch.counters)
        assert [entry[:3] for entry in bench.live.switch.learned()] == [entry[:3] for entry in switch.learned()]
        assert sum(statistics["bursts"] > 0 for statistics in bench.live.loop.statistics()) == 1
    finally:
        bench.close()


def frame(target: int, source: int, number: int) -> bytes:
    return (0x020000000000 + target).to_bytes(6) + (0x020000000000 + source).to_bytes(6) + b"\x88\xb5" + number.to_bytes(4) + bytes(42)


@pytest.mark.parametrize("workers", [1, 2])
def test_changes_lose_no_frame_of_those_that_they_do_not_concern(workers: int) -> None:
    bench = Bench(topology(), workers)
    done = threading.Event()
    sent = 0

    def change() -> None:
        other = topology()
        grown = module("vsw", [*other.ports, port(9, access(10), address=9, team=0)], teams=other.teams, learning="none")
        moved = module("vsw", [*other.ports[:2], port(2, access(30), address=3, team=0), *other.ports[3:]], teams=other.teams, learning="none")
        guarded = module(
            "vsw", [*other.ports[:2], port(2, access(20), address=3, team=0, bpdu_guard=True), *other.ports[3:]], teams=other.teams, learning="none"
        )
        for _ in range(10):
            for one in (grown, moved, guarded, other):
                bench.live.apply(one)
                bench.live.set_admin("p3", False)
                bench.live.set_admin("p3", True)
        done.set()

    changer = threading.Thread(target=change)
    try:
        changer.start()
        while not done.is_set():
            if sent - len(bench.got[1]) < 10_000:
                bench.ends[0].write([frame(2, 1, number) for number in range(sent, sent + 64)])
                sent += 64
            bench.take()
        changer.join()
        bench.until(lambda: len(bench.got[1]) == sent)
        assert [data[14:18] for data in bench.got[1]] == [number.to_bytes(4) for number in range(sent)]
        assert sent > 1000
        assert bench.ends[0].counters()["drops"] == {}
    finally:
        bench.close()


def test_numbers_and_counters_stay_with_their_ports(bench: Bench) -> None:
    """A port that is written before others does not push them from their numbers; a number is not given again."""
    bench.ends[0].write([frame(2, 1, 0)])
    bench.until(lambda: len(bench.got[1]) == 1)
    old = topology()
    shifted = [port(one.number + 1, one.vlan, name=one.name, address=one.number + 1) for one in old.ports[:5]]
    ports = [port(0, access(10), name="new", address=50), *shifted]
    changes = bench.live.apply(module("vsw", [*ports, uplink(6, name="up5")], teams=(team("port-id", (6,)),), learning="none"))
    assert changes["added"] == ["new"]
    assert changes["removed"] == []
    numbers = {one.name: one.number for one in bench.live.module.ports}
    assert numbers == {"p0": 0, "p1": 1, "p2": 2, "p3": 3, "p4": 4, "up5": 5, "new": 6}
    assert bench.live.module.teams[0].active == (5,)
    assert int(bench.counters.tx_frames[1]) == 1
    assert bench.live.apply(old)["removed"] == ["new"]
    bench.live.apply(module("vsw", [*old.ports, port(6, access(10), name="newer", address=51)], teams=old.teams, learning="none"))
    assert bench.live.module.port("newer").number == 7


def test_an_uplink_follows_its_link(bench: Bench) -> None:
    assert bench.live.switch.is_up("up5")
    bench.ends[5].close()
    bench.live.service(5)
    assert not bench.live.switch.is_up("up5")
    bench.plug(5)
    assert bench.live.switch.is_up("up5")
    bench.live.set_admin("up5", False)
    bench.live.service(5)
    assert not bench.live.switch.is_up("up5")


def test_a_guest_that_is_away_is_counted_at_its_port(bench: Bench) -> None:
    bench.ends[1].close()
    bench.ends[0].write([frame(2, 1, 0)])
    bench.until(lambda: bench.counters.delivered == 1)
    bench.until(lambda: bench.live.loop.port(1).counters()["drops"] == {"tx_no_peer": 1})  # type: ignore[union-attr]
    assert bench.live.switch.is_up("p1")
    bench.live.loop.detach(1).close()  # type: ignore[union-attr]
    bench.ends[0].write([frame(2, 1, 1)])
    bench.until(lambda: bench.live.loop.nobody(1) == 1)


def test_idle_workers_sleep(bench: Bench) -> None:
    bench.ends[0].write([frame(2, 1, 0)])
    bench.until(lambda: len(bench.got[1]) == 1)
    bench.until(lambda: all(not one["active"] for one in bench.live.loop.statistics()))
    before = bench.live.loop.statistics()
    assert not threading.Event().wait(0.2)
    assert bench.live.loop.statistics() == before, "nothing came, so nothing was looked at"


def test_a_flood_to_many_ports_is_handed_on_in_pieces() -> None:
    """More copies of one burst than the loop holds."""
    ports = [port(number, access(10), address=number + 1) for number in range(100)]
    bench = Bench(module("vsw", ports, learning="none"))
    try:
        bench.ends[0].write([b"\xff" * 6 + frame(1, 1, number)[6:] for number in range(200)])
        bench.until(lambda: sum(map(len, bench.got.values())) == 200 * 99)
        assert all(len(got) == (200 if number else 0) for number, got in bench.got.items())
        assert [data[14:18] for data in bench.got[99]] == [number.to_bytes(4) for number in range(200)]
    finally:
        bench.close()


def test_stopped_and_started_again(bench: Bench) -> None:
    bench.live.loop.stop()
    bench.ends[0].write([frame(2, 1, 0)])
    bench.live.loop.start()
    bench.until(lambda: len(bench.got[1]) == 1)
    bench.live.loop.stop()
    bench.live.loop.stop()
    assert bench.counters.offered == 1


@pytest.mark.parametrize("spin", [float("inf"), float("nan"), -1e-9, 1.1])
def test_how_long_a_port_is_polled_has_bounds(spin: float) -> None:
    with pytest.raises(UsageError, match="a port is polled in vain for 0 to 1 s, not"):
        Loop(Switch(topology()).datapath, spin=spin)


def test_a_configuration_that_is_refused_leaves_the_queues_as_they_were(tmp_path: Path) -> None:
    """What a port is opened with later is the topology's that is in force."""
    one = topology()
    live = LiveModule(one, tmp_path, queues={"p0": 4})
    taken = tmp_path / "taken"
    taken.touch()
    bad = replace(one, ports=(*one.ports, port(6, access(10), attach=Attach("stream", (("path", str(taken)),)))))
    with pytest.raises((OSError, VswError)):
        live.apply(bad, {"p0": 1})
    assert live.queues == {"p0": 4}
    live.apply(replace(one, pad=True), {"p0": 2})
    assert live.queues == {"p0": 2}
    live.apply(one)
    assert live.queues == {"p0": 2}
    live.close()
