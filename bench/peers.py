"""Other ways to switch the same capture.

The Python loops do the least that deserves the name: parse the frame, take VLAN and destination, look the pair up in a dict of the module's
addresses, count.  They go over fewer frames; a figure per frame does not depend on that.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import dpkt
from inputs import Input

from vsw.config.module import Module

FILE_HEADER = 24
RECORD_HEADER = struct.Struct("<4I")
ADDRESSES_AND_TYPE = struct.Struct(">6s6sHHH")
DOT1Q = 0x8100
VID = 0x0FFF


@dataclass(frozen=True)
class Peer:
    """A figure for another program: seconds for so many frames, and what that includes."""

    name: str
    includes: str
    frames: int
    seconds: float


def _table(module: Module) -> dict[tuple[int | None, bytes], int]:
    return {(entry.vlan, entry.mac.to_bytes(6)): entry.port for entry in module.static}


def struct_loop(made: Input, frames: int) -> int:
    """mmap, struct and a dict."""
    table, access = _table(made.off), {port.number: port.vlan.vid for port in made.off.ports}
    ports = made.traffic.port_in[:frames].tolist()
    hits = 0
    with made.traffic.path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        at = FILE_HEADER
        for port in ports:
            captured = RECORD_HEADER.unpack_from(data, at)[2]
            at += RECORD_HEADER.size
            dst, _, kind, tci, _ = ADDRESSES_AND_TYPE.unpack_from(data, at)
            vlan = tci & VID if kind == DOT1Q else access[port]
            hits += (vlan, dst) in table or (None, dst) in table
            at += captured
    return hits


def dpkt_loop(made: Input, frames: int) -> int:
    """dpkt's reader and its Ethernet, IP and TCP or UDP objects."""
    table, access = _table(made.off), {port.number: port.vlan.vid for port in made.off.ports}
    hits = 0
    with made.traffic.path.open("rb") as file:
        for port, (_, data) in zip(made.traffic.port_in[:frames].tolist(), dpkt.pcap.Reader(file), strict=False):
            frame = dpkt.ethernet.Ethernet(data)
            vlan = frame.vlan_tags[0].id if getattr(frame, "vlan_tags", None) else access[port]
            hits += (vlan, frame.dst) in table or (None, frame.dst) in table
    return hits


def scapy_loop(made: Input, frames: int) -> int:
    """scapy's reader and packets."""
    from scapy.layers.l2 import Dot1Q, Ether  # noqa: PLC0415  (an optional peer)
    from scapy.utils import RawPcapReader  # noqa: PLC0415

    table, access = _table(made.off), {port.number: port.vlan.vid for port in made.off.ports}
    hits = 0
    with RawPcapReader(str(made.traffic.path)) as reader:
        for port, (data, _) in zip(made.traffic.port_in[:frames].tolist(), reader, strict=False):
            frame = Ether(data)
            vlan = frame[Dot1Q].vlan if Dot1Q in frame else access[port]
            dst = bytes.fromhex(frame.dst.replace(":", ""))
            hits += (vlan, dst) in table or (None, dst) in table
    return hits


LOOPS: dict[str, tuple[Callable[[Input, int], int], int]] = {
    "Python struct": (struct_loop, 100_000),
    "dpkt": (dpkt_loop, 20_000),
    "scapy": (scapy_loop, 3_000),
}


def python_peers(made: Input) -> Iterator[Peer]:
    """Time the Python loops, each the best of three runs over its frames.  They must agree on how many destinations are known."""
    for name, (loop, most) in LOOPS.items():
        if name == "scapy" and find_spec("scapy") is None:
            continue
        frames = min(most, made.traffic.frames)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            hits = loop(made, frames)
            times.append(time.perf_counter() - start)
        if hits != struct_loop(made, frames):
            raise AssertionError(f"{name} finds {hits} known destinations, the struct loop another number")
        yield Peer(name, f"{loop.__doc__ or ''} {frames:,} frames".strip(), frames, min(times))
