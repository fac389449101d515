"""What a running switch takes from one port to another, by type of port: frames a second, how long a frame takes, what it costs when nothing comes.

``python -m bench.live``; tap and packet need root.  One worker, 60-byte frames.  Those who send and receive at the other ends are Python on the same
machine, in the same process: it is mostly they who limit, so each figure stands beside that of the "ends alone", without a switch between them.

- rates: millions of frames a second.
- latency: one frame on its way at a time, from before it is written to after it was read, in microseconds.  The reader polls.  ``apart``: a
  millisecond passes before the next, so that the worker sleeps and has to be woken; ``at once``: it does not, and the worker polls.
- idle: processor time of the whole process while the switch runs and nothing comes, and while 100 frames a second do, in % of a core.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.golden.build import access, module, of_vnics, port
from vsw.host.module import LiveModule
from vsw.ports.base import Port
from vsw.ports.dgram import DgramPort
from vsw.ports.memory import memory_pair
from vsw.ports.packet import PacketPort
from vsw.ports.stream import StreamPort
from vsw.ports.tap import TapPort

FRAME = (0x020000000002).to_bytes(6) + (0x020000000001).to_bytes(6) + b"\x88\xb5" + bytes(46)
BURST = [FRAME] * 256
Make = Callable[[str], tuple[Port, Port]]


def switch() -> LiveModule:
    ports = [port(0, access(10), address=1), port(1, access(10), address=2)]
    live = LiveModule(module("vsw", ports, learning="none", static=of_vnics(ports)), Path("unused"))
    live.open()
    return live


def carried(send: Port, receive: Port, seconds: float) -> float:
    """Millions of frames a second that arrive at ``receive`` while ``send`` sends as fast as it may."""
    stop = threading.Event()

    def pump() -> None:
        while not stop.is_set():
            send.write(BURST)
            if send.blocked:
                send.wait(0.1)

    def drain() -> None:
        while not stop.is_set():
            if not receive.read():
                receive.wait(0.05)

    threads = [threading.Thread(target=pump), threading.Thread(target=drain)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    begin, first = time.monotonic(), receive.counters()["rx_frames"]
    time.sleep(seconds)
    found = (receive.counters()["rx_frames"] - first) / (time.monotonic() - begin) / 1e6
    stop.set()
    for thread in threads:
        thread.join()
    return float(found)


def delays(send: Port, receive: Port, seconds: float, pause: float) -> list[float]:
    """Microseconds that each frame took."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter_ns()
        send.write([FRAME])
        while not receive.read():
            pass
        found.append((time.perf_counter_ns() - begin) / 1e3)
        if pause:
            time.sleep(pause)
    return found


def cost(send: Port, receive: Port, seconds: float, frames: int) -> float:
    """Processor time, in % of a core, while ``frames`` a second go through."""
    begin, used = time.monotonic(), time.process_time()
    while time.monotonic() < begin + seconds:
        if not frames:
            time.sleep(seconds)
            continue
        send.write([FRAME])
        receive.read()
        time.sleep(1 / frames)
    return 100 * (time.process_time() - used) / (time.monotonic() - begin)


@contextlib.contextmanager
def between(make: Make) -> Iterator[tuple[LiveModule, Port, Port]]:
    """A switch with a port of the type on either side, and those who sit at the other ends."""
    live = switch()
    inside, left = make("a")
    other, right = make("b")
    live.attach(0, inside)
    live.attach(1, other)
    for end in (left, right):
        while not end.link:
            end.service()
    for number in (0, 1):
        while not live.loop.port(number).link:  # type: ignore[union-attr]
            live.service(number)
    try:
        yield live, left, right
    finally:
        live.close()
        left.close()
        right.close()


def measure(make: Make, what: Callable[[Port, Port], Any]) -> Any:
    """What is found between the ends of two ports of a switch."""
    with between(make) as (live, left, right):
        found = what(left, right)
        assert live.switch.counters.dropped.sum() == 0
        return found


def ends_alone(make: Make, what: Callable[[Port, Port], Any]) -> Any:
    """The same between the two ends of one port: what whoever measures can do at most."""
    one, other = make("x")
    for end in (one, other, one):
        end.service()
    found = what(other, one)
    one.close()
    other.close()
    return found


def memory(name: str) -> tuple[Port, Port]:
    return memory_pair(name, f"{name}-end", frames=1 << 13)


def dgram(folder: Path) -> Make:
    def make(name: str) -> tuple[Port, Port]:
        ours, theirs = f"{folder}/{name}", f"{folder}/{name}-end"
        return DgramPort(name, path=ours, peer=theirs), DgramPort(f"{name}-end", path=theirs, peer=ours)

    return make


def stream(folder: Path) -> Make:
    def make(name: str) -> tuple[Port, Port]:
        path = f"{folder}/{name}-stream"
        return StreamPort(name, path=path), StreamPort(f"{name}-end", path=path, role="client")

    return make


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Cables:
    """Interfaces of this run, which go with it."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def quiet(self, name: str) -> None:
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        ip("link", "set", name, "up")

    def veth(self, name: str) -> tuple[str, str]:
        one, other = f"vswb{os.getpid() % 10000}{name}", f"vswb{os.getpid() % 10000}{name}e"
        ip("link", "add", one, "type", "veth", "peer", "name", other)
        self.made.append(one)
        for end in (one, other):
            self.quiet(end)
        return one, other

    def packet(self, name: str) -> tuple[Port, Port]:
        one, other = self.veth(name)
        return PacketPort(name, interface=one), PacketPort(f"{name}-end", interface=other)

    def tap(self, name: str) -> tuple[Port, Port]:
        device = f"vswb{os.getpid() % 10000}{name}"
        ip("tuntap", "add", "dev", device, "mode", "tap")
        self.made.append(device)
        self.quiet(device)
        return TapPort(name, device=device), PacketPort(f"{name}-end", interface=device)

    def fresh(self, kind: str) -> Make:
        """Makes ports at interfaces that no measurement before has used."""

        def make(name: str) -> tuple[Port, Port]:
            found: tuple[Port, Port] = getattr(self, kind)(f"{name}{len(self.made)}")
            return found

        return make

    def bridge(self, seconds: float) -> float:
        """The Linux bridge between two such cables, driven by the same ends."""
        bridge = f"vswb{os.getpid() % 10000}br"
        ip("link", "add", bridge, "type", "bridge")
        self.made.append(bridge)
        self.quiet(bridge)
        ends = []
        for name in ("c", "d"):
            one, other = self.veth(name)
            ip("link", "set", one, "master", bridge)
            ends.append(PacketPort(name, interface=other))
        left, right = ends
        right.write([FRAME[6:12] + FRAME[:6] + FRAME[12:]])  # the bridge learns
        found = carried(left, right, seconds)
        left.close()
        right.close()
        return found

    def close(self) -> None:
        for name in self.made:
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def percentile(found: list[float], share: float) -> float:
    return sorted(found)[min(len(found) - 1, int(len(found) * share))]


def line(name: str, text: str) -> None:
    print(f"{name:24} {text}", flush=True)


def rates(kinds: dict[str, Make], seconds: float, rounds: int) -> None:
    ways: dict[str, Callable[[], float]] = {}
    for word, make in kinds.items():
        for name, where in (("vsw", measure), ("ends alone", ends_alone)):
            ways[f"{name}, {word}"] = lambda where=where, make=make: where(make, lambda one, other: carried(one, other, seconds))  # type: ignore[misc]
    if "packet" in kinds:
        ways["Linux bridge, veth"] = lambda: with_cables(lambda cables: cables.bridge(seconds))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    for name, each in found.items():
        line(name, f"{statistics.median(each):6.3f} M/s   ({min(each):.3f} to {max(each):.3f})")


def latency(kinds: dict[str, Make], seconds: float, rounds: int) -> None:
    for word, make in kinds.items():
        for name, pause in (("apart", 1e-3), ("at once", 0.0)):
            found: dict[str, list[float]] = {"vsw": [], "ends alone": []}
            for _ in range(rounds):
                for who, where in (("vsw", measure), ("ends alone", ends_alone)):
                    found[who] += where(make, lambda one, other, pause=pause: delays(one, other, seconds, pause))
            for who, each in found.items():
                text = f"p50 {percentile(each, 0.5):7.1f} us   p99 {percentile(each, 0.99):7.1f} us   ({len(each):,} frames)"
                line(f"{who}, {word}, {name}", text)


def idle(kinds: dict[str, Make], seconds: float, rounds: int) -> None:
    for word, make in kinds.items():
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, frames in (("nothing", 0), ("100 frames/s", 100)):
                found.setdefault(name, []).append(measure(make, lambda one, other, frames=frames: cost(one, other, seconds, frames)))
        line(f"vsw, {word}", ", ".join(f"{name}: {statistics.median(each):.2f} %" for name, each in found.items()))


def main() -> None:
    arguments = argparse.ArgumentParser(description="live ports: rates, latency, idle cost")
    arguments.add_argument("--seconds", type=float, default=1.0)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--what", nargs="*", default=["rates", "latency", "idle"], choices=["rates", "latency", "idle"])
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds: dict[str, Make] = {"memory": memory, "dgram": dgram(Path(folder)), "stream": stream(Path(folder))}
        cables = Cables()
        try:
            if os.geteuid() == 0:
                kinds["tap"], kinds["packet"] = cables.fresh("tap"), cables.fresh("packet")
            for what in given.what:
                {"rates": rates, "latency": latency, "idle": idle}[what](kinds, given.seconds, given.rounds)
        finally:
            cables.close()


def with_cables(work: Callable[[Cables], float]) -> float:
    cables = Cables()
    try:
        return work(cables)
    finally:
        cables.close()


if __name__ == "__main__":
    main()
