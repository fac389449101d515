"""How many frames a second a running switch takes from one port to another, by type of port; beside peers where they are there.

``python -m bench.live``; tap and packet need root.  The figures are of one worker and 60-byte frames, in millions a second.  Those who send and
receive at the other ends run on the same machine, in the same process: on a machine with few processors it is they who limit ("ends alone").
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


def switch() -> LiveModule:
    ports = [port(0, access(10), address=1), port(1, access(10), address=2)]
    live = LiveModule(module("vsw", ports, learning="none", static=of_vnics(ports)), Path("unused"))
    live.open()
    return live


def pump(send: Port, stop: threading.Event) -> threading.Thread:
    def work() -> None:
        while not stop.is_set():
            send.write(BURST)
            if send.blocked:
                send.wait(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def rate(count: Callable[[], int], seconds: float) -> float:
    begin, first = time.monotonic(), count()
    time.sleep(seconds)
    return (count() - first) / (time.monotonic() - begin) / 1e6


@contextlib.contextmanager
def between(make: Callable[[str], tuple[Port, Port]]) -> Iterator[tuple[LiveModule, Port, Port]]:
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


def measure(make: Callable[[str], tuple[Port, Port]], seconds: float) -> float:
    with between(make) as (live, left, right):
        stop = threading.Event()

        def drain() -> None:
            while not stop.is_set():
                if not right.read():
                    right.wait(0.05)

        threads = [pump(left, stop), threading.Thread(target=drain)]
        threads[1].start()
        time.sleep(0.2)
        found = rate(lambda: right.counters()["rx_frames"], seconds)
        stop.set()
        for thread in threads:
            thread.join()
        assert live.switch.counters.dropped.sum() == 0
        return found


def memory(name: str) -> tuple[Port, Port]:
    return memory_pair(name, f"{name}-end", frames=1 << 13)


def dgram(folder: Path) -> Callable[[str], tuple[Port, Port]]:
    def make(name: str) -> tuple[Port, Port]:
        ours, theirs = f"{folder}/{name}", f"{folder}/{name}-end"
        return DgramPort(name, path=ours, peer=theirs), DgramPort(f"{name}-end", path=theirs, peer=ours)

    return make


def stream(folder: Path) -> Callable[[str], tuple[Port, Port]]:
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
        stop = threading.Event()

        def drain() -> None:
            while not stop.is_set():
                if not right.read():
                    right.wait(0.05)

        threads = [pump(left, stop), threading.Thread(target=drain)]
        threads[1].start()
        time.sleep(0.2)
        found = rate(lambda: right.counters()["rx_frames"], seconds)
        stop.set()
        for thread in threads:
            thread.join()
        left.close()
        right.close()
        return found

    def close(self) -> None:
        for name in self.made:
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def ends_alone(make: Callable[[str], tuple[Port, Port]], seconds: float) -> float:
    """The two ends of one port, without a switch between them: what whoever measures can do at most."""
    one, other = make("x")
    for end in (one, other, one):
        end.service()
    stop = threading.Event()

    def drain() -> None:
        while not stop.is_set():
            if not one.read():
                one.wait(0.05)

    threads = [pump(other, stop), threading.Thread(target=drain)]
    threads[1].start()
    time.sleep(0.2)
    found = rate(lambda: one.counters()["rx_frames"], seconds)
    stop.set()
    for thread in threads:
        thread.join()
    one.close()
    other.close()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=1.0)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[], float]] = {}
        kinds: dict[str, Callable[[str], tuple[Port, Port]]] = {"memory": memory, "dgram": dgram(Path(folder)), "stream": stream(Path(folder))}
        for word, make in kinds.items():
            ways[f"vsw, {word}"] = lambda make=make: measure(make, given.seconds)  # type: ignore[misc]
            ways[f"ends alone, {word}"] = lambda make=make: ends_alone(make, given.seconds)  # type: ignore[misc]
        if os.geteuid() == 0:
            for word in ("tap", "packet"):
                ways[f"vsw, {word}"] = lambda word=word: with_cables(lambda cables: measure(getattr(cables, word), given.seconds))  # type: ignore[misc]
            ways["Linux bridge, veth"] = lambda: with_cables(lambda cables: cables.bridge(given.seconds))
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                found[name].append(way())
        for name, rates in found.items():
            print(f"{name:24} {statistics.median(rates):6.3f} M/s   ({min(rates):.3f} to {max(rates):.3f})")


def with_cables(work: Callable[[Cables], float]) -> float:
    cables = Cables()
    try:
        return work(cables)
    finally:
        cables.close()


if __name__ == "__main__":
    main()
