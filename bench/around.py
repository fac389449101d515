"""What stands around the replay, measured: ``vsw tag`` against tcprewrite, classification against tshark, dpkt, scapy, ``vsw diff`` against a replay.

All that is compared is run in turn, round after round, and each figure is the best of its rounds, so that a machine that is busy for a while is busy
for all.  Figures are processor time (of the process and of those that it starts, user and system), which another program's load changes less than the
clock on the wall.  Files lie in memory (``/dev/shm``), or in ``--folder``: a disk's file system keeps them in larger pieces of
memory.  Where a peer is a program whole processes are compared, their start included: the number of frames makes it small.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import dpkt
import numpy as np
from inputs import scratch

import vsw
from vsw.measure.lab import bench_module
from vsw.measure.traffic import Mix, write_capture

ROUNDS = 3
TSHARK_FIELDS = [
    "eth.dst", "eth.src", "vlan.id", "eth.type", "frame.len", "frame.cap_len", "ip.src", "ip.dst", "ip.proto", "tcp.srcport", "tcp.dstport",
    "udp.srcport", "udp.dstport",
]  # fmt: skip


def processor_time() -> float:
    """Seconds of this process and of its children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


class Runner:
    """Things to time, in turn: name -> (call, frames that one call goes over, a file that it writes)."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[Callable[[], object], int, Path | None]] = {}
        self.best: dict[str, float] = {}

    def add(self, name: str, call: Callable[[], object], frames: int, written: Path | None = None) -> None:
        """One more.  What it writes is removed after each time: else the next one would be charged with giving back its memory."""
        self.calls[name] = (call, frames, written)

    def run(self, rounds: int) -> None:
        """All of them, ``rounds`` times; each once before, to warm up."""
        for warm in (True, *[False] * rounds):
            for name, (call, frames, written) in self.calls.items():
                begin = processor_time()
                call()
                seconds = (processor_time() - begin) / frames
                if written is not None:
                    written.unlink()
                if not warm:
                    self.best[name] = min(seconds, self.best.get(name, seconds))

    def show(self, title: str, ours: str, targets: dict[str, float]) -> None:
        """A line for each, with how many times its time ours is."""
        print(f"\n{title}")
        for name, seconds in self.best.items():
            ratio = seconds / self.best[ours]
            target = f"  (to reach: {targets[name]:g})" if name in targets else ""
            print(f"  {name:34} {seconds * 1e9:12.1f} ns a frame" + ("" if name == ours else f"  {ratio:10.2f} times ours{target}"))


def process(*arguments: object) -> Callable[[], object]:
    """Run a program to its end."""
    return lambda: subprocess.run([str(argument) for argument in arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def tag(folder: Path, frames: int, rounds: int) -> None:
    """``vsw tag push`` and ``pop`` against ``tcprewrite``; ``cp``, which changes nothing, is as good as any can be."""
    for sizes in ("64", "imix"):
        path, out = folder / f"tag-{sizes}.pcap", folder / "out.pcap"
        write_capture(bench_module(1000), path, Mix(frames, sizes))
        runner = Runner()
        for kind, options, peer in (
            ("push", ["--vid", 10], ["--enet-vlan=add", "--enet-vlan-tag=10", "--enet-vlan-cfi=0", "--enet-vlan-pri=0"]),
            ("pop", [], ["--enet-vlan=del"]),
        ):
            runner.add(f"vsw tag {kind}", process(sys.executable, "-m", "vsw", "tag", kind, *options, path, out), frames, out)
            if shutil.which("tcprewrite"):
                runner.add(f"tcprewrite {kind}", process("tcprewrite", *peer, f"--infile={path}", f"--outfile={out}"), frames, out)
        runner.add("cp", process("cp", path, out), frames, out)
        runner.run(rounds)
        for kind in ("push", "pop"):
            one = Runner()
            one.best = {name: seconds for name, seconds in runner.best.items() if name.endswith((kind, "cp"))}
            one.show(f"tag {kind}, {sizes} bytes, {frames:,} frames, whole processes", f"vsw tag {kind}", {f"tcprewrite {kind}": 5})
        path.unlink()


def dpkt_rows(path: Path, frames: int) -> Callable[[], object]:
    """dpkt's reader and objects: addresses, VLAN, type, IP addresses, protocol and ports of each frame."""

    def loop() -> list[object]:
        rows: list[object] = []
        with path.open("rb") as file:
            for number, (_, data) in enumerate(dpkt.pcap.Reader(file)):
                if number == frames:
                    break
                frame = dpkt.ethernet.Ethernet(data)
                tags = getattr(frame, "vlan_tags", None)
                ip = frame.data
                inner = getattr(ip, "data", None)
                rows.append(
                    (frame.dst, frame.src, tags[0].id if tags else None, frame.type, getattr(ip, "src", None), getattr(ip, "dst", None),
                     getattr(ip, "p", None), getattr(inner, "sport", None), getattr(inner, "dport", None))
                )  # fmt: skip
        return rows

    return loop


def scapy_rows(path: Path, frames: int) -> Callable[[], object]:
    """The same from scapy's reader and packets."""
    from scapy.layers.inet import IP, TCP, UDP  # noqa: PLC0415  (an optional peer)
    from scapy.layers.l2 import Dot1Q, Ether  # noqa: PLC0415
    from scapy.utils import RawPcapReader  # noqa: PLC0415

    def loop() -> list[object]:
        rows: list[object] = []
        with RawPcapReader(str(path)) as reader:
            for number, (data, _) in enumerate(reader):
                if number == frames:
                    break
                frame = Ether(data)
                ip = frame.getlayer(IP)
                ports = frame.getlayer(TCP) or frame.getlayer(UDP)
                rows.append(
                    (frame.dst, frame.src, frame[Dot1Q].vlan if Dot1Q in frame else None, frame.type, ip and ip.src, ip and ip.dst, ip and ip.proto,
                     ports and ports.sport, ports and ports.dport)
                )  # fmt: skip
        return rows

    return loop


def classify(folder: Path, frames: int, rounds: int) -> None:
    """:func:`vsw.classify` against whatever else tells the same of each frame."""
    path, part = folder / "classify.pcap", folder / "part.pcap"
    frames = min(frames, 1_000_000)
    write_capture(bench_module(1000), path, Mix(frames, "imix"))
    few = min(frames, 100_000)
    with vsw.open_capture(path) as capture, vsw.PcapWriter(part) as writer:
        writer.write_all(capture[:few])
    out = np.empty(frames, vsw.ROW)

    def ours() -> None:
        with vsw.open_capture(path) as capture:
            vsw.classify(capture, out=out)

    runner = Runner()
    runner.add("vsw.classify", ours, frames)
    if shutil.which("tshark"):
        fields = [word for name in TSHARK_FIELDS for word in ("-e", name)]
        runner.add(f"tshark ({few:,} frames)", process("tshark", "-n", "-r", part, "-T", "fields", *fields), few)
    runner.add("dpkt (20,000 frames)", dpkt_rows(path, 20_000), 20_000)
    if find_spec("scapy"):
        runner.add("scapy (3,000 frames)", scapy_rows(path, 3_000), 3_000)
    runner.run(rounds)
    runner.show(
        f"classification, imix, {frames:,} frames", "vsw.classify",
        {f"tshark ({few:,} frames)": 100, "dpkt (20,000 frames)": 200, "scapy (3,000 frames)": 1000},
    )  # fmt: skip


LAB = """
[hosts.h.nics]
vmnic0 = {}
vmnic1 = {}
[hosts.h.switches.s]
team = { policy = "layer3+4", active = ["vmnic0", "vmnic1"] }
"""


def diff(folder: Path, frames: int, rounds: int) -> None:
    """``vsw diff`` against one ``vsw replay``: whole commands, as people run them; a VM in ten changes its VLAN."""
    for name in ("before", "after"):
        vlans = [99 if name == "after" and i % 10 == 0 else i % 20 + 1 for i in range(100)]
        vms = "".join(f'[vms.vm{i}]\nhost = "h"\nnics = [{{ switch = "s", profile = "v{vid}" }}]\n' for i, vid in enumerate(vlans))
        profiles = "".join(f'[profiles.v{vid}]\nvlan = {{ mode = "access", vid = {vid} }}\n' for vid in (*range(1, 21), 99))
        (folder / f"{name}.toml").write_text(LAB + profiles + vms)
    path = folder / "diff.pcap"
    write_capture(vsw.load(folder / "before.toml").module(), path, Mix(frames, "imix"))
    runner = Runner()
    command = (sys.executable, "-m", "vsw")
    one = ("--ingress", "source-mac", path)
    runner.add("vsw replay", process(*command, "replay", folder / "before.toml", *one), frames)
    runner.add("vsw diff", process(*command, "diff", folder / "before.toml", folder / "after.toml", *one), frames)
    runner.run(rounds)
    runner.show(f"diff, imix, {frames:,} frames, whole processes (to reach: at most 2.5)", "vsw replay", {})


PARTS = {"tag": tag, "classify": classify, "diff": diff}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="what to measure; all")
    parser.add_argument("--frames", type=int, default=8_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, help="where files are written; in memory")
    options = parser.parse_args()
    with scratch(options.frames * 400, options.folder) as folder:
        for name in options.parts or PARTS:
            PARTS[name](folder, options.frames, options.rounds)


if __name__ == "__main__":
    main()
