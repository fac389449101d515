"""Open vSwitch's userspace datapath with DPDK, given the same kind of module and of traffic.

What it includes: DPDK's pcap device hands each port its frames from memory, again and again (``infinite_rx``: one copy a frame), Open vSwitch takes
them in batches of 32, looks them up in its flow caches, pops or pushes the tag, and the devices drop what they are to send.  The bridge is ``NORMAL``
with the module's addresses as static entries and the uplinks as a bond (``balance-slb``); the first seconds, in which the flows are
set up, are not counted.  One thread does it (``pmd-cpu-mask``).  DPDK holds 32 ports, so there are 7 VLANs of 4 vNICs.  The daemons are private
to this run: own directory, sockets and database; no huge pages.

It needs Debian's openvswitch-switch-dpdk and DPDK's drivers for pcap files, and root (for DPDK's memory).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers import Peer

from vsw.config.module import Module
from vsw.measure.lab import bench_module
from vsw.measure.packets import FILE_HEADER, RECORD_HEADER_BYTES
from vsw.measure.traffic import Mix, chunks

DAEMON = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
DRIVERS = ("librte_net_pcap.so", "librte_bus_vdev.so", "librte_mempool_ring.so")
PACKAGES = "openvswitch-switch-dpdk librte-net-pcap23 librte-bus-vdev23 librte-mempool-ring23"
BRIDGE = "br0"
VNICS, VLANS = 28, 7
#: Receive queues of an uplink: a queue is polled as often as any other, and a third of the traffic comes from the two uplinks.
UPLINK_QUEUES = 7
#: Frames of a queue: few, so that all flows fit the first cache, and many.
FEW, MANY = 32, 512
#: Enough of them that each queue finds its frames.
FRAMES_DRAWN = 200_000
WARM_SECONDS = 20
MEASURED_SECONDS = 5
START_SECONDS = 30


def missing() -> str | None:
    """Why this peer can't run here, or ``None``."""
    drivers = {path.name.split(".so")[0] + ".so" for path in Path("/usr/lib").glob("*/dpdk/pmds-*/librte_*.so*")}
    if not DAEMON.exists() or not SCHEMA.exists() or not set(DRIVERS) <= drivers or shutil.which("ovs-vsctl") is None:
        return f"Open vSwitch with DPDK is not installed (Debian: apt-get install {PACKAGES})"
    return None if os.geteuid() == 0 else "Open vSwitch with DPDK needs root"


@dataclass(frozen=True)
class Daemons:
    """Running daemons; ``folder`` holds their sockets and database."""

    folder: Path
    environment: dict[str, str]

    def vsctl(self, *words: str) -> None:
        self._run("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", *words)

    def appctl(self, *words: str) -> str:
        return self._run("ovs-appctl", "-t", str(self.folder / "switch.ctl"), *words)

    def _run(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)[:200]}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def daemons(folder: Path) -> Iterator[Daemons]:
    """Start them; end them, and only them, at the end."""
    environment = dict(os.environ) | {key: str(folder) for key in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")}
    there = Daemons(folder, environment)
    children: list[subprocess.Popen[bytes]] = []

    def start(name: str, program: str, *words: str, until: Path) -> None:
        log = folder / f"{name}.log"
        quiet = ["-vconsole:off", "-vsyslog:off", f"--log-file={log}"]
        with log.with_suffix(".out").open("wb") as out:
            call = [program, *words, *quiet]
            children.append(subprocess.Popen(call, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        deadline = time.monotonic() + START_SECONDS
        while not until.exists():
            if children[-1].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text()[-2000:] if log.exists() else ''}")
            time.sleep(0.01)

    try:
        subprocess.run(["ovsdb-tool", "create", str(folder / "conf.db"), str(SCHEMA)], check=True, env=environment)
        sockets = [f"--remote=punix:{folder}/db.sock", f"--unixctl={folder}/db.ctl"]
        start("db", "ovsdb-server", str(folder / "conf.db"), *sockets, until=folder / "db.sock")
        there.vsctl("--no-wait", "init")
        core = max(os.sched_getaffinity(0))
        settings = {
            "dpdk-init": "true",
            "dpdk-extra": "--no-huge --legacy-mem --no-shconf --no-telemetry -m 3072",
            "dpdk-lcore-mask": f"{1 << min(os.sched_getaffinity(0)):#x}",
            "pmd-cpu-mask": f"{1 << core:#x}",
        }
        there.vsctl("--no-wait", "set", "Open_vSwitch", ".", *[f'other_config:{key}="{value}"' for key, value in settings.items()])
        start("switch", str(DAEMON), f"unix:{folder}/db.sock", f"--unixctl={folder}/switch.ctl", until=folder / "switch.ctl")
        yield there
    finally:
        for child in reversed(children):
            child.terminate()
        for child in reversed(children):
            try:
                child.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def split(module: Module, sizes: str, each: int, folder: Path) -> dict[int, list[Path]]:
    """Traffic of the module by ingress port, a file of ``each`` frames for each receive queue."""
    uplinks = set(module.teams[0].active)
    held: dict[int, list[bytes]] = {port.number: [] for port in module.ports}
    for chunk in chunks(module, Mix(FRAMES_DRAWN, sizes)):
        starts = chunk.offsets - RECORD_HEADER_BYTES
        ends = chunk.offsets + chunk.lengths
        for number, start, end in zip(chunk.port_in.tolist(), starts.tolist(), ends.tolist(), strict=True):
            held[number].append(chunk.buffer[start:end].tobytes())
    files: dict[int, list[Path]] = {}
    for number, records in held.items():
        parts = UPLINK_QUEUES if number in uplinks else 1
        files[number] = [folder / f"{number}-{part}.pcap" for part in range(parts)]
        for part, path in enumerate(files[number]):
            path.write_bytes(FILE_HEADER + b"".join(records[part::parts][:each]))
    return files


def configure(there: Daemons, module: Module, files: dict[int, list[Path]]) -> None:
    """The module as a bridge of the userspace datapath."""
    room = 4 * len(module.static) + 4096
    there.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev", f"other-config:mac-table-size={room}")
    team = module.teams[0]
    names = {port.number: port.name for port in module.ports}
    words = ["add-bond", BRIDGE, team.name, *(names[number] for number in team.active), "bond_mode=balance-slb"]
    for port in module.ports:
        vlan = port.vlan
        if port.number not in team.active:
            words += ["--", "add-port", BRIDGE, port.name, f"tag={vlan.vid}" if vlan.mode == "access" else f"trunks={','.join(map(str, vlan.vids))}"]
        queues = files[port.number]
        device = f"net_pcap{port.number}," + ",".join(f"rx_pcap={path}" for path in queues) + ",infinite_rx=1"
        words += ["--", "set", "Interface", port.name, "type=dpdk", f'options:dpdk-devargs="{device}"', f"options:n_rxq={len(queues)}"]
    there.vsctl(*words)
    for entry in module.static:
        vlan = next(iter(module.port(entry.port).vlan.vids)) if entry.vlan is None else entry.vlan
        mac = ":".join(f"{octet:02x}" for octet in entry.mac.to_bytes(6))
        there.appctl("fdb/add", BRIDGE, names[entry.port], str(vlan), mac)


def counted(there: Daemons) -> tuple[int, float]:
    """Frames received since the counters were cleared, and the share of its time that the thread was busy."""
    shown = there.appctl("dpif-netdev/pmd-stats-show").split("main thread")[0]
    found = {key: int(value) for key, value in re.findall(r"(packets received|idle cycles|processing cycles): (\d+)", shown)}
    return found["packets received"], found["processing cycles"] / max(1, found["processing cycles"] + found["idle cycles"])


def open_vswitch(macs: int, sizes: str, each: int, folder: Path) -> Peer:
    """Run it, let its caches warm, and count for some seconds."""
    module = bench_module(macs, vnics=VNICS, vlans=VLANS)
    files = split(module, sizes, each, folder)
    frames = sum(len(queues) for queues in files.values()) * each
    with daemons(folder) as there:
        configure(there, module, files)
        time.sleep(WARM_SECONDS)
        there.appctl("dpif-netdev/pmd-stats-clear")
        start = time.perf_counter()
        time.sleep(MEASURED_SECONDS)
        received, busy = counted(there)
        seconds = (time.perf_counter() - start) * busy
    includes = f"NORMAL, {macs:,} static addresses, balance-slb, {frames:,} frames again and again, warm caches"
    return Peer("Open vSwitch with DPDK", includes, received, seconds)
