"""vhost-user ports against DPDK's own back end: `python bench/vhost.py`.

Needs DPDK's testpmd (Debian: dpdk), which plays the guests (``net_virtio_user``, 64-byte frames, no huge pages) for both, and is the peer
(``net_vhost``). The back ends take turns in one run, each on the same processor, the front end on another one: compare the ratio, not the figures.

- ``receive``: one port; the guest sends as fast as it can. vsw does the whole switch's work on each frame (VLAN, security, table, counters)
  and sends it to a port where nobody is; the peer counts and frees (``rxonly``).
- ``cross``: two ports; frames that the guest's two cards send each other for ever, without a pause. vsw does the same work, the peer hands what
  comes in by one port to the other (``io``).
"""

from __future__ import annotations

import argparse
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import vsw
from vsw.host.loop import Loop
from vsw.ports.vhost_user import VhostUserPort

TESTPMD = "dpdk-testpmd"
BACK, FRONT = 0, 1
"""Processors."""
QUEUE = 1024
BUFFERS = 16384
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:00")
"""Of the front end's cards: what testpmd sends by its port N goes to 02:00:00:00:00:0N, so each card sends to the other."""
TOPOLOGY = f"""
[profiles.strict]
vlan = {{ mode = "access", vid = 10 }}
security = {{ promiscuous = false, mac_changes = false, forged_transmits = false }}

[hosts.bench.switches.br]
dialect = "vsw"
[hosts.bench.switches.br.ports]
p0 = {{ kind = "vnic", profile = "strict", mac = "{MACS[0]}" }}
p1 = {{ kind = "vnic", profile = "strict", mac = "{MACS[1]}" }}
"""
RATE = re.compile(r"([RT])x-pps: +(\d+)")
PORTS = {"receive": 1, "cross": 2}


def serve(place: Path, ports: int) -> None:
    """The switch, until SIGTERM: what the measuring process starts."""
    os.sched_setaffinity(0, {BACK})
    topology = place / "bench.toml"
    topology.write_text(TOPOLOGY)
    switch = vsw.Switch(vsw.load(topology).hosts["bench"].switches["br"])
    loop = Loop(switch._datapath)
    attached = [VhostUserPort(f"p{number}", place / f"{number}.sock") for number in range(ports)]
    for number, port in enumerate(attached):
        loop.attach(number, port)
    loop.start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    loop.stop()
    counted = switch.counters
    (place / "counted").write_text(f"{counted.offered} {counted.delivered}")
    for port in attached:
        port.close()


@contextmanager
def running(words: list[str], ready: str, seconds: float = 120) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has said that it is ready."""
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said = b""
        end = time.monotonic() + seconds
        while ready.encode() not in said:
            assert process.stdout is not None
            if not select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise RuntimeError(f"{words[0]} does not begin:\n{said.decode(errors='replace')}")
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                raise RuntimeError(f"{words[0]} has ended:\n{said.decode(errors='replace')}")
            said += piece
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def testpmd(processor: int, prefix: str, devices: list[str], mode: str, *more: str) -> list[str]:
    """testpmd with its worker on ``processor``."""
    words = [TESTPMD, "-l", f"{BACK},{FRONT}", "--main-lcore", str(FRONT if processor == BACK else BACK), "--no-huge", "-m", "256", "--no-pci"]
    for device in devices:
        words += ["--vdev", device]
    words += ["--file-prefix", prefix, "--", f"--forward-mode={mode}", "--auto-start", "--stats-period=1", "--no-mlockall"]
    return [*words, f"--total-num-mbufs={BUFFERS}", f"--rxd={QUEUE}", f"--txd={QUEUE}", *more]


def measure(kind: str, who: str, place: Path, seconds: int) -> float:
    """Frames a second that the front end sent (receive) or received (cross), the median of its seconds."""
    ports = PORTS[kind]
    sockets = [place / f"{number}.sock" for number in range(ports)]
    prefix = f"vsw{os.getpid()}"
    with ExitStack() as stack:
        if who == "vsw":
            words = [sys.executable, __file__, "--serve", str(place), "--ports", str(ports)]
            stack.enter_context(running(words, "ready"))
        else:
            devices = [f"net_vhost{number},iface={socket},queues=1" for number, socket in enumerate(sockets)]
            mode = "rxonly" if kind == "receive" else "io"
            stack.enter_context(running(testpmd(BACK, f"{prefix}b", devices, mode), "start packet forwarding"))
        devices = [f"net_virtio_user{number},path={socket},queue_size={QUEUE},mac={MACS[number]}" for number, socket in enumerate(sockets)]
        mode, more = ("txonly", []) if kind == "receive" else ("io", ["--tx-first"])
        front = stack.enter_context(running(testpmd(FRONT, f"{prefix}f", devices, mode, *more), "start packet forwarding"))
        rates = list(_rates(front, "T" if kind == "receive" else "R", ports, seconds + 2))[2:]
    for socket in sockets:
        socket.unlink(missing_ok=True)
    if who == "vsw":
        offered, delivered = map(int, (place / "counted").read_text().split())
        if not 0 < offered == delivered:
            raise RuntimeError(f"of {offered:,} frames {delivered:,} went on: this is no measure of switching")
    return statistics.median(rates)


def _rates(front: subprocess.Popen[bytes], direction: str, ports: int, count: int) -> Iterator[float]:
    """What testpmd prints each second, summed over its ports."""
    assert front.stdout is not None
    text = ""
    found: list[int] = []
    while count:
        piece = os.read(front.stdout.fileno(), 65536)
        if not piece:
            raise RuntimeError("the front end has ended")
        text += piece.decode(errors="replace")
        *lines, text = text.split("\n")
        found += [int(match[2]) for line in lines for match in RATE.finditer(line) if match[1] == direction]
        while len(found) >= ports and count:
            yield float(sum(found[:ports]))
            del found[:ports]
            count -= 1


def main() -> None:
    parser = argparse.ArgumentParser(description="vhost-user ports against DPDK's own back end")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--kinds", nargs="*", default=list(PORTS), choices=list(PORTS))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ports", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        serve(given.serve, given.ports)
        return
    if shutil.which(TESTPMD) is None:
        sys.exit(f"{TESTPMD} is missing: apt-get install dpdk")
    with tempfile.TemporaryDirectory(prefix="vsw-bench-") as name:
        for kind in given.kinds:
            rates: dict[str, list[float]] = {"vsw": [], "dpdk": []}
            for number in range(given.rounds):
                for who, measured in rates.items():
                    measured.append(measure(kind, who, Path(name), given.seconds))
                print(f"{kind} {number + 1}: " + ", ".join(f"{who} {measured[-1] / 1e6:.2f} M/s" for who, measured in rates.items()), flush=True)
            ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
            medians = ", ".join(f"{who} {statistics.median(measured) / 1e6:.2f} M/s" for who, measured in rates.items())
            print(f"{kind}: median {medians}, ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


if __name__ == "__main__":
    main()
