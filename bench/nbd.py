"""vsw's NBD server against nbdkit's file plugin and qemu-nbd (Debian: nbdkit, qemu-utils, fio), each over a file of its own with the same bytes.

The client is ``fio ioengine=nbd``; turns go round within one run, so that a noisy machine is noisy for all. The files are in the page cache:
what is compared is the way of a request, not a disk. Run it as ``python bench/nbd.py``; ``--seconds`` is the length of each of the ``--rounds``
turns. The last line is what each costs with a client that is idle. Look at the ratios; figures of another machine, or of another hour, mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CASES = {
    "4 KiB random read, depth 32": ("randread", "4k", 32),
    "4 KiB random write, depth 32": ("randwrite", "4k", 32),
    "4 KiB random read, depth 1": ("randread", "4k", 1),
    "1 MiB sequential read, depth 8": ("read", "1m", 8),
    "1 MiB sequential write, depth 8": ("write", "1m", 8),
}
SERVERS = {
    "vsw": lambda disk, socket: [sys.executable, "-m", "vsw", "disk", "serve", disk, "--format", "raw", "--socket", socket],
    "nbdkit file": lambda disk, socket: ["nbdkit", "-f", "-U", socket, "file", disk],
    "qemu-nbd": lambda disk, socket: ["qemu-nbd", "-f", "raw", "-k", socket, "-t", "-e", "8", "--cache=writeback", "--discard=unmap", disk],
}


GREETING, EXPORT_REPLY = 18, 10
"""Bytes of what a server says first, and of its answer to the option that ends the negotiation."""
FIRST_EXPORT = struct.pack(">I8sII", 0b11, b"IHAVEOPT", 1, 0)
"""A client's whole side of the shortest negotiation: fixed newstyle without zeroes, the export that has no name."""


@contextmanager
def served(name: str, directory: Path, size: int) -> Iterator[tuple[str, int]]:
    """One server in a process of its own, which accepts connections; its URL and process."""
    number = list(SERVERS).index(name)
    disk, socket = directory / f"disk{number}", directory / f"socket{number}"
    with disk.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    process = subprocess.Popen(SERVERS[name](str(disk), str(socket)), stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise SystemExit(f"{name} ended with status {process.returncode}")
            time.sleep(0.05)
        yield f"nbd+unix:///?socket={socket}", process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(url: str, pid: int, seconds: int) -> float:
    """What a server costs that has a client without requests: percent of a processor."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(url.partition("socket=")[2])
        client.recv(GREETING, socket.MSG_WAITALL)
        client.sendall(FIRST_EXPORT)
        client.recv(EXPORT_REPLY, socket.MSG_WAITALL)
        before = run_seconds(pid)
        time.sleep(seconds)
        return (run_seconds(pid) - before) / seconds * 100


def run_seconds(pid: int) -> float:
    """What its threads have run so far; those that have ended do not count."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def measure(url: str, pid: int, case: tuple[str, str, int], size: int, seconds: int) -> tuple[float, float]:
    """Requests a second, as fio counts them, and the server's processor time for one, in microseconds."""
    kind, block, depth = case
    words = ["fio", "--name=x", "--ioengine=nbd", f"--uri={url}", f"--rw={kind}", f"--bs={block}", f"--iodepth={depth}", f"--size={size}"]
    words += [f"--runtime={seconds}", "--time_based=1", "--randrepeat=0", "--norandommap=1", "--thread", "--output-format=json"]
    before = cpu_seconds(pid)
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=True)
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    found = job["read" if "read" in kind else "write"]
    return float(found["iops"]), (cpu_seconds(pid) - before) / found["total_ios"] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256, help="MiB of each file")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--place", type=Path, default=None, help="folder for the files; default: the system's for temporary files")
    arguments = parser.parse_args()
    missing = [tool for tool in ("fio", "nbdkit", "qemu-nbd") if shutil.which(tool) is None]
    if missing:
        parser.exit(1, f"missing: {', '.join(missing)} (Debian: fio, nbdkit, qemu-utils)\n")
    size = arguments.size << 20
    with tempfile.TemporaryDirectory(dir=arguments.place) as folder, ExitStack() as stack:
        urls = {server: stack.enter_context(served(server, Path(folder), size)) for server in SERVERS}
        print(f"{'requests a second (server CPU, us)':34}" + "".join(f"{server:>18}" for server in urls) + "   vsw / each (median of the turns)")
        for title, case in ((title, case) for title, case in CASES.items() if arguments.only in title):
            turns = [{name: measure(url, pid, case, size, arguments.seconds) for name, (url, pid) in urls.items()} for _ in range(arguments.rounds)]
            rates = {name: statistics.median(turn[name][0] for turn in turns) for name in urls}
            costs = {name: statistics.median(turn[name][1] for turn in turns) for name in urls}
            ratios = [statistics.median(turn["vsw"][0] / turn[name][0] for turn in turns) for name in urls if name != "vsw"]
            figures = "".join(f"{rates[name]:10.0f} ({costs[name]:5.1f})" for name in urls)
            print(f"{title:34}{figures}   {'  '.join(f'{ratio:.2f}' for ratio in ratios)}", flush=True)
        if "idle" in arguments.only or not arguments.only:
            rests = {name: idle(url, pid, arguments.seconds * arguments.rounds) for name, (url, pid) in urls.items()}
            print(f"{'idle, one connection':34}" + "".join(f"{f'{rest:.4f} %':>18}" for rest in rests.values()) + "   of a processor")


if __name__ == "__main__":
    main()
