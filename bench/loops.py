"""What is timed: one callable for each measure, each going over the whole capture once."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from inputs import Input
from numpy.typing import NDArray

import vsw
from vsw.config.module import Module
from vsw.replay.egress import Egress

HERE = Path(__file__).parent

#: Letters of the measures, in the order in which a round runs them.
MEASURES = {
    "R": "bare loop: walk the record headers, read 14 bytes a frame",
    "P": "plain loop: a simple switch in C, frame after frame, without the rules",
    "C": "classify: one row a frame",
    "F1": "forward: ingress port given, security off, no columns",
    "F2": "forward: ingress port from the source address, security on, all columns into a result that is reused",
    "W": "F1, and every egress frame written to its port's capture",
}
#: Also timed, for workers: a result that is reused is filled by one thread.
SOURCE_MAC = "S"


def compile_loop(name: str, folder: Path, arguments: int) -> Callable[..., int]:
    """Compile a yardstick with the system's compiler at -O3; its function has the file's name and takes pointers and numbers of 64 bits."""
    library = folder / f"{name}.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O3", "-shared", "-fPIC", "-o", library, HERE / f"{name}.c"], check=True)
    loop = ctypes.CDLL(str(library))[name]
    loop.restype = ctypes.c_uint64
    loop.argtypes = [ctypes.c_uint64] * arguments
    return loop  # type: ignore[no-any-return]


def mapped(path: Path) -> NDArray[np.uint8]:
    """The file in memory, every page of it there before the clock starts."""
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ), np.uint8)


class BareLoop:
    """R."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.loop = compile_loop("bare_loop", folder, 3)
        self.file = mapped(path)
        self.seen = np.zeros(1, np.uint64)

    def __call__(self) -> int:
        return self.loop(self.file.ctypes.data, self.file.size, self.seen.ctypes.data)


class PlainLoop:
    """P, for modules that consist of access ports, trunks and one team of two uplinks."""

    MEMBERS = 64
    RING = 1 << 16
    VLANS = 4096
    TABLES = np.dtype(
        [(name, "u8") for name in ("access", "uplink", "carries", "keys", "values", "mask", "members", "counts")]
        + [("team", "u2", 2), ("padding", "u4")]
        + [(name, "u8") for name in ("rx", "tx", "bytes", "ring", "dropped", "copies")]
    )

    def __init__(self, path: Path, folder: Path, module: Module, ports: NDArray[np.uint16]) -> None:
        self.loop = compile_loop("plain_loop", folder, 4)
        self.file = mapped(path)
        self.ports = ports
        self.tables = np.zeros(1, self.TABLES)
        self.arrays = self._arrays(module)
        for name, array in self.arrays.items():
            self.tables[name] = array.ctypes.data
        self.tables["mask"] = len(self.arrays["keys"]) - 1
        self.tables["team"] = module.teams[0].active

    def _arrays(self, module: Module) -> dict[str, NDArray[Any]]:
        rows = max(port.number for port in module.ports) + 1
        access, uplink = np.zeros(rows, np.uint16), np.zeros(rows, np.uint8)
        carries = np.zeros((rows, self.VLANS), np.uint8)
        members, counts = np.zeros((self.VLANS, self.MEMBERS), np.uint16), np.zeros(self.VLANS, np.uint16)
        for port in module.ports:
            access[port.number], uplink[port.number] = port.vlan.vid, port.kind == "uplink"
            for vlan in port.vlan.vids or {port.vlan.vid}:
                carries[port.number, vlan] = 1
                if port.kind != "uplink":
                    members[vlan, counts[vlan]] = port.number
                    counts[vlan] += 1
        slots = 1 << (4 * len(module.static)).bit_length()
        keys, values = [0] * slots, [0] * slots
        for entry in module.static:
            vlan = min(module.ports[entry.port].vlan.vids) if entry.vlan is None else entry.vlan
            key = int.from_bytes(entry.mac.to_bytes(6), "little") | vlan << 48
            slot = (key * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 32 & slots - 1
            while keys[slot]:
                slot = slot + 1 & slots - 1
            keys[slot], values[slot] = key, entry.port
        zeros = {name: np.zeros(rows, np.uint64) for name in ("rx", "tx", "bytes")}
        ring = np.zeros((self.RING, 2), np.uint64)
        tables = {"access": access, "uplink": uplink, "carries": carries, "members": members, "counts": counts, "ring": ring}
        return tables | zeros | {"keys": np.array(keys, np.uint64), "values": np.array(values, np.uint16)}

    def __call__(self) -> int:
        self.tables["dropped"] = self.tables["copies"] = 0
        return self.loop(self.file.ctypes.data, self.file.size, self.ports.ctypes.data, self.tables.ctypes.data)

    def summary(self) -> dict[str, Any]:
        dropped, copies = int(self.tables["dropped"][0]), int(self.tables["copies"][0])
        return {"delivered": len(self.ports) - dropped, "consumed": 0, "dropped": {"any reason": dropped}, "copies": copies}


@dataclass(frozen=True)
class Measured:
    """The callables by letter, the summaries of untimed runs (what became of the frames), and what is to be done before each call, untimed."""

    run: dict[str, Callable[[], object]]
    summaries: dict[str, dict[str, Any]]
    before: dict[str, Callable[[], object]]


def caller(
    letter: str, capture: vsw.Capture, ports: NDArray[np.uint16], module: Module, folder: Path, workers: int = 1
) -> Callable[[], Any]:
    """What ``letter`` times, over a capture that is open.  ``ports`` is the ingress port of each of its frames; ``folder`` is for egress captures."""
    if letter == "C":
        rows = vsw.classify(capture)
        return lambda: vsw.classify(capture, out=rows)
    switch = vsw.Switch(module)
    if letter == "F1":
        return lambda: switch.forward(capture, ingress=ports, columns=False, workers=workers)
    if letter == "F2":
        result = switch.forward(capture, ingress="source-mac")
        return lambda: switch.forward(capture, ingress="source-mac", out=result)
    if letter == "S":
        return lambda: switch.forward(capture, ingress="source-mac", columns=False, workers=workers)
    if letter == "W":
        return lambda: write_egress(switch, capture, ports, folder / "egress")
    raise AssertionError(letter)


def write_egress(switch: vsw.Switch, capture: vsw.Capture, ports: NDArray[np.uint16], folder: Path) -> vsw.Result:
    """Forward, and write each port's copies to a pcap capture of its own in ``folder``."""
    with Egress(switch.module, folder, format="pcap") as egress:
        return switch.forward(capture, ingress=ports, columns=False, egress=egress)


@contextmanager
def measures(made: Input, folder: Path, letters: list[str], workers: int = 1) -> Iterator[Measured]:
    """Prepare the measures that ``letters`` names.  Each has gone over the whole capture once, so all mappings are warm."""
    run: dict[str, Callable[[], Any]] = {}
    clear = partial(shutil.rmtree, folder / "egress", ignore_errors=True)  # W writes new files: removing those of the round before is not its work
    summaries: dict[str, dict[str, Any]] = {}
    with vsw.open_capture(made.traffic.path) as capture:
        for letter in letters:
            if letter == "R":
                bare = run["R"] = BareLoop(made.traffic.path, folder)
                assert bare() == made.traffic.frames
                continue
            if letter == "P":
                plain = run["P"] = PlainLoop(made.traffic.path, folder, made.off, made.traffic.port_in)
                assert plain() == made.traffic.frames
                summaries["P"] = plain.summary()
                continue
            module = made.on if letter in ("F2", "S") else made.off
            run[letter] = caller(letter, capture, made.traffic.port_in, module, folder, workers)
            found = run[letter]()
            if letter != "C":
                summaries[letter] = found.summary()
        yield Measured(run, summaries, {"W": clear})
        clear()
