"""What wrapping ports do to frames: faults as told, traces, captures that others can read while they grow."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vsw
from tests.host.test_loop import PATIENCE, Bench, frame, topology
from vsw.errors import UsageError
from vsw.ports.capture_port import CapturePort
from vsw.ports.fault import FaultPort
from vsw.ports.memory import memory_pair
from vsw.ports.trace import TracePort


class Pair:
    def __init__(self, **faults: float) -> None:
        inner, self.end = memory_pair("port", "end", frames=1 << 16, room=1 << 24)
        self.port = FaultPort(inner, **faults)

    def through(self, frames: list[bytes], out: bool) -> list[bytes]:
        """What arrives of them on the other side, after the longest delay."""
        near, far = (self.port, self.end) if out else (self.end, self.port)
        near.write(frames)
        got: list[bytes] = []
        end = time.monotonic() + 0.3
        while True:
            # Whatever the machine did meanwhile: after the longest delay everything is read once more.
            late = time.monotonic() >= end
            self.port.write([])
            some = far.read()
            got += some
            if late and not some:
                return got

    def close(self) -> None:
        self.port.close()
        self.end.close()


def frames(count: int) -> list[bytes]:
    return [frame(2, 1, number) for number in range(count)]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made: list[Pair] = []
    yield made
    for one in made:
        one.close()


@pytest.mark.parametrize("out", [False, True])
def test_loss(pairs: list[Pair], out: bool) -> None:
    pairs += [Pair(loss=0.3, seed=7), Pair(loss=0.3, seed=7), Pair(loss=0.3, seed=8)]
    got = [pair.through(frames(1000), out) for pair in pairs]
    assert got[0] == got[1] != got[2]
    assert [data for data in frames(1000) if data in set(got[0])] == got[0]
    assert 600 < len(got[0]) < 800
    assert pairs[0].port.counters()["drops"] == {"injected": 1000 - len(got[0])}
    assert Pair(loss=1).through(frames(10), out) == []


@pytest.mark.parametrize("out", [False, True])
def test_duplicates_corruption_and_order(pairs: list[Pair], out: bool) -> None:
    pairs += [Pair(duplicate=1.0), Pair(corrupt=1.0), Pair(reorder=0.2, reorder_by=0.01), Pair(delay=0.02, jitter=0.02)]
    sent = frames(200)
    assert pairs[0].through(sent, out) == [data for data in sent for _ in range(2)]
    spoilt = pairs[1].through(sent, out)
    flipped = [bin(int.from_bytes(a) ^ int.from_bytes(b)).count("1") for a, b in zip(sent, spoilt, strict=True)]
    assert flipped == [1] * 200
    for pair in pairs[2:]:
        late = pair.through(sent, out)
        assert late != sent
        assert sorted(late) == sent


def test_delay_in_a_loop() -> None:
    """A worker that sleeps wakes when a delayed frame is due."""
    bench = Bench(topology())
    try:
        inside, bench.ends[1] = memory_pair("inside", "end")
        bench.live.attach(1, FaultPort(inside, delay=0.05))
        begin = time.monotonic()
        bench.ends[0].write([frame(2, 1, 0)])
        bench.until(lambda: len(bench.got[1]) == 1)
        bench.ends[1].write([frame(1, 2, 0)])
        bench.until(lambda: len(bench.got[0]) == 1)
        assert time.monotonic() - begin >= 0.1
    finally:
        bench.close()


def test_what_waits_when_it_closes_is_counted() -> None:
    inner, end = memory_pair("port", "end")
    port = FaultPort(inner, delay=60)
    port.write(frames(5))
    end.write(frames(3))
    assert port.read() == []
    port.close()
    end.close()
    assert port.counters()["drops"] == {"injected": 8}


@pytest.mark.parametrize(("words", "message"), [({"loss": 1.5}, "loss is a probability from 0 to 1"), ({"delay": -1}, "delay is 0 to 3600")])
def test_bad_faults(words: dict[str, float], message: str) -> None:
    inner, _ = memory_pair("port", "end")
    with pytest.raises(UsageError, match=message):
        FaultPort(inner, **words)


def test_a_trace_has_the_last_frames_of_each_direction() -> None:
    inner, end = memory_pair("port", "end")
    with TracePort(inner) as port:
        end.write(frames(3))
        port.read()
        port.write([frame(9, 8, 1) + bytes(200)], tags=((0x8100, 5),))
        events = port.events()
        assert [(way, length) for _, way, length, _ in events] == [("in", 60)] * 3 + [("out", 264)]
        assert [data for _, _, _, data in events[:3]] == frames(3)
        assert events[3][3] == (frame(9, 8, 1)[:12] + b"\x81\0\0\5" + frame(9, 8, 1)[12:] + bytes(200))[:128]
        for _ in range(300):
            port.write(frames(1))
            end.read()
        assert len(port.events()) == 3 + 256


def captured(path: Path) -> list[bytes]:
    with vsw.open_capture(path) as trace:
        return [bytes(one.data) for one in trace]


def test_a_capture_is_what_came_in(tmp_path: Path) -> None:
    luck = random.Random(1)
    sent = [frame(2, 1, number) + luck.randbytes(number % 9) for number in range(2000)]
    inner, end = memory_pair("h/s/p", "end", frames=1 << 12)
    before = time.time_ns()
    port = CapturePort(inner, tmp_path / "p.pcapng")
    for first in range(0, 2000, 200):
        end.write(sent[first : first + 200])
        while port.read():
            pass
    port.write([frame(1, 2, 0)])
    port.close()
    assert captured(tmp_path / "p.pcapng") == sent
    assert (port.frames, port.missed, port.problem) == (2000, 0, None)
    with vsw.open_capture(tmp_path / "p.pcapng") as trace:
        assert trace.interface_names() == ["h/s/p"]
        assert before <= trace[0].time <= trace[1999].time <= time.time_ns()


def test_tcpdump_reads_a_fifo_while_it_runs(tmp_path: Path) -> None:
    """And another reader after the first has gone; whoever does not read holds up nothing."""
    if shutil.which("tcpdump") is None:
        pytest.skip("needs tcpdump")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    inner, end = memory_pair("h/s/p", "end", frames=1 << 12, room=1 << 22)
    port = CapturePort(inner, fifo)
    for number in range(3):
        words = ["tcpdump", "-n", "-e", "-c", "5", "-r", str(fifo)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
            while reader.poll() is None:
                end.write([frame(2, 1, number)])
                assert port.read() == [frame(2, 1, number)]
                threading.Event().wait(0.01)
            out, err = reader.communicate(timeout=PATIENCE)
        assert out.count("02:00:00:00:00:01 > 02:00:00:00:00:02") == 5, err
    port.close()


def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    inner, end = memory_pair("h/s/p", "end", frames=1 << 12, room=1 << 22)
    port = CapturePort(inner, fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sent = 0
    finish = time.monotonic() + PATIENCE
    while not port.missed:
        end.write([frame(2, 1, number) + bytes(4000) for number in range(100)])
        got = 0
        while got < 100:
            got += len(port.read())
        sent += 100
        assert time.monotonic() < finish
    assert port.frames + port.missed == sent
    os.close(reader)
    port.close()


def test_a_full_disk_ends_the_capture_and_not_the_port(tmp_path: Path) -> None:
    inner, end = memory_pair("h/s/p", "end")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        CapturePort(inner, "/dev/full")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        port = CapturePort(inner, tmp_path / "p.pcapng")
        finish = time.monotonic() + PATIENCE
        while port.problem is None:
            end.write(frames(10))
            assert port.read() == frames(10)
            assert time.monotonic() < finish
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert port.problem == "File too large"
    end.write(frames(10))
    assert port.read() == frames(10)
    port.close()
    end.close()
