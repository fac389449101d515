"""Measure the switch against a bare loop over the same capture, and against other programs.

    python bench/compare.py                      # everything: some minutes on a quiet machine
    python bench/compare.py --cases min64 --frames 500000 --rounds 3 --only cases
    python bench/compare.py --json figures.json

One process, pinned to one core.  The measures take turns: a round runs each of them once, and the ratio to the bare loop is taken
within a round, so that a slow spell of the machine hits both.  Printed are medians over the rounds.  docs/benchmarks.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import footprint
import numpy as np
import ovs_dpdk
from inputs import CASES, Input, prepare, scratch
from loops import MEASURES, SOURCE_MAC, measures
from one_frame import one_frame
from peers import Peer, python_peers
from rich.console import Console
from rich.table import Table

SECTIONS = ("cases", "workers", "one-frame", "start-up", "memory", "peers")
#: Room that the captures need at most.
SCRATCH_BYTES = 2 << 30
WORKERS_TARGET = 1.7
ONE_FRAME_TARGET_NS = 2_000
START_UP_TARGET_S = 0.3
MEMORY_TARGET_MIB = 64
MEMORY_TARGET_BYTES_A_FRAME = 16


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated, of: %(default)s")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma-separated, of: %(default)s")
    parser.add_argument("--measures", default=",".join(MEASURES), help="comma-separated, of: %(default)s (R always runs)")
    parser.add_argument("--frames", type=int, help="frames of each capture (default: each case's own number, 1 to 4 millions)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policy", default="ip-hash", help="of the team (default: %(default)s)")
    parser.add_argument("--core", type=int, help="the core to stay on (default: the last one)")
    parser.add_argument("--scratch", type=Path, help="where captures are written (default: /dev/shm if it has room)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    chosen = parser.parse_args()
    for given, known, name in ((chosen.cases, CASES, "case"), (chosen.only, SECTIONS, "section"), (chosen.measures, MEASURES, "measure")):
        if unknown := set(given.split(",")) - set(known):
            parser.error(f"unknown {name} {', '.join(sorted(unknown))}")
    return chosen


@contextmanager
def on_cores(cores: set[int]) -> Any:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def interleaved(
    run: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float], before: dict[str, Callable[[], object]] | None = None
) -> dict[str, list[float]]:
    """Seconds of each callable in each round; what ``before`` has under its name is done first, and not timed."""
    times: dict[str, list[float]] = {name: [] for name in run}
    for _ in range(rounds):
        for name, call in run.items():
            if before and name in before:
                before[name]()
            gc.collect()
            start = clock()
            call()
            times[name].append(clock() - start)
    return times


def mix_of(made: Input, summary: dict[str, Any]) -> dict[str, Any]:
    frames = made.traffic.frames
    return {
        "frames": frames,
        "captured_bytes": made.traffic.bytes,
        "offered": made.traffic.shares,
        "delivered": summary["delivered"] / frames,
        "consumed": summary["consumed"] / frames,
        "dropped": {reason: count / frames for reason, count in summary["dropped"].items() if count},
        "copies_a_frame": summary["copies"] / frames,
    }


def run_case(made: Input, folder: Path, letters: list[str], rounds: int, console: Console) -> dict[str, Any]:
    with measures(made, folder, letters) as measured:
        # Processor time: the work is on one core and waits for nothing, so what other processes take of the core is left out.
        times = interleaved(measured.run, rounds, time.process_time, measured.before)
        summaries = measured.summaries
    frames = made.traffic.frames
    figures: dict[str, Any] = {"mix": {letter: mix_of(made, summary) for letter, summary in summaries.items()}, "measures": {}}
    table = Table(title=f"{made.case.name}: {frames:,} frames, {made.traffic.bytes / frames:.0f} bytes captured each, {made.case.macs:,} MACs")
    for column in ("", "ns/frame", "M frames/s", "ratio to R", "lowest..highest", "wanted", "what"):
        table.add_column(column, justify="left" if column in ("", "what") else "right")
    for letter, spent in times.items():
        ratios = sorted(bare / own for bare, own in zip(times["R"], spent, strict=True))
        ratio, each = statistics.median(ratios), statistics.median(spent) / frames * 1e9
        target = made.case.targets.get(letter)
        figures["measures"][letter] = {"ns_per_frame": each, "ratio_to_bare_loop": ratio, "ratios": ratios, "seconds": spent, "target": target}
        colour = "" if target is None else "[green]" if ratio >= target else "[red]"
        spread = f"{ratios[0]:.2f}..{ratios[-1]:.2f}"
        table.add_row(letter, f"{each:.1f}", f"{1e3 / each:.1f}", f"{colour}{ratio:.2f}", spread, f"{target or ''}", MEASURES[letter])
    console.print(table)
    for letter, mix in figures["mix"].items():
        dropped = ", ".join(f"{reason} {share:.1%}" for reason, share in mix["dropped"].items()) or "none"
        console.print(f"  {letter}: delivered {mix['delivered']:.1%}, dropped: {dropped}; {mix['copies_a_frame']:.2f} copies a frame")
    shares = ", ".join(f"{name} {share:.1%}" for name, share in made.traffic.shares.items())
    console.print(f"  offered: {shares}\n")
    return figures


def run_workers(made: Input, folder: Path, rounds: int, console: Console) -> dict[str, Any] | None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        console.print("workers: skipped, this process may use one core only\n")
        return None
    figures: dict[str, Any] = {}
    for letter in ("F1", SOURCE_MAC):
        with measures(made, folder, [letter]) as one, measures(made, folder, [letter], workers=2) as two:
            both = {"1": one.run[letter], "2": two.run[letter]}
            times = interleaved(both, rounds, time.perf_counter)
            work = interleaved(both, rounds, time.process_time)
        ratio = statistics.median(single / double for single, double in zip(times["1"], times["2"], strict=True))
        more = statistics.median(double / single for single, double in zip(work["1"], work["2"], strict=True))
        each = {workers: statistics.median(spent) / made.traffic.frames * 1e9 for workers, spent in times.items()}
        figures[letter] = {"ns_per_frame": each, "speedup": ratio, "processor_time": more, "target": WORKERS_TARGET, "cores": len(cores)}
        change = f"{each['1']:.1f} -> {each['2']:.1f} ns/frame"
        console.print(f"{letter}, 2 workers on {len(cores)} cores: {ratio:.2f} times one ({change}; wanted {WORKERS_TARGET})")
        console.print(f"{letter}, 2 workers: {more:.2f} times the processor time of one, whatever else the machine does")
    console.print()
    return figures


def run_memory(made: Input, folder: Path, console: Console) -> list[dict[str, Any]]:
    figures = []
    table = Table(title=f"Resident memory that is no file's, MiB ({made.traffic.frames:,} frames, {made.case.macs:,} MACs)")
    for column in ("columns", "workers", "after imports", "switch made", "peak", "for the run, bytes a frame", "wanted: peak at most"):
        table.add_column(column, justify="right")
    for columns in (False, True):
        for workers in (1, 2):
            found: dict[str, Any] = footprint.memory(made, folder, columns=columns, workers=workers)
            limit = MEMORY_TARGET_MIB + (MEMORY_TARGET_BYTES_A_FRAME * found["frames"] / (1 << 20) if columns else 0)
            found |= {"columns": columns, "workers": workers, "target_kib": int(limit * 1024)}
            figures.append(found)
            imported, switch, peak = (found[key] / 1024 for key in ("imported", "made", "peak"))
            each = (found["peak"] - found["made"]) * 1024 / max(1, found["frames"])
            table.add_row("yes" if columns else "no", str(workers), f"{imported:.1f}", f"{switch:.1f}", f"{peak:.1f}", f"{each:.1f}", f"{limit:.0f}")
    console.print(table)
    console.print()
    return figures


def run_peers(made: Input, folder: Path, core: int, console: Console) -> list[dict[str, Any]]:
    with on_cores({core}):
        peers: list[Peer] = list(python_peers(made))
    if (reason := ovs_dpdk.missing()) is not None:
        console.print(f"skipped: {reason}")
    else:
        for number, each in enumerate((ovs_dpdk.FEW, ovs_dpdk.MANY)):
            place = folder / f"ovs{number}"
            place.mkdir()
            peers.append(ovs_dpdk.open_vswitch(made.case.macs, made.case.sizes, each, place))
    table = Table(title=f"Peers on the traffic of {made.case.name}")
    for column in ("", "ns/frame", "M frames/s", "what it includes"):
        table.add_column(column, justify="left" if column in ("", "what it includes") else "right")
    for peer in peers:
        each_ns = peer.seconds / peer.frames * 1e9
        table.add_row(peer.name, f"{each_ns:.1f}", f"{1e3 / each_ns:.3f}", peer.includes)
    console.print(table)
    console.print()
    return [{"name": peer.name, "ns_per_frame": peer.seconds / peer.frames * 1e9, "frames": peer.frames, "includes": peer.includes} for peer in peers]


def machine() -> dict[str, Any]:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    compiler = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {
        "cpu": model,
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": compiler,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    chosen = arguments()
    sections = chosen.only.split(",")
    letters = [letter for letter in MEASURES if letter == "R" or letter in chosen.measures.split(",")]
    console = Console(width=None if sys.stdout.isatty() else 160)
    everywhere = os.sched_getaffinity(0)
    core = max(everywhere) if chosen.core is None else chosen.core
    figures: dict[str, Any] = {"machine": machine(), "core": core, "rounds": chosen.rounds, "seed": chosen.seed, "policy": chosen.policy, "cases": {}}
    console.print(", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    console.print(f"one core ({core}), {chosen.rounds} rounds, medians; team policy {chosen.policy}, seed {chosen.seed}\n")
    first: Input | None = None
    with scratch(SCRATCH_BYTES, chosen.scratch) as folder:
        for name in chosen.cases.split(","):
            made = prepare(CASES[name], folder, policy=chosen.policy, seed=chosen.seed, frames=chosen.frames)
            if "cases" in sections:
                with on_cores({core}):
                    figures["cases"][name] = run_case(made, folder, letters, chosen.rounds, console)
            if first is None:
                first = made
            else:
                made.traffic.path.unlink()
        assert first is not None
        if "workers" in sections:
            figures["workers"] = run_workers(first, folder, chosen.rounds, console)
        if "one-frame" in sections:
            with on_cores({core}):
                figures["one_frame_ns"] = one_frame()
            for name, spent in figures["one_frame_ns"].items():
                console.print(f"one frame from Python, {name}: {spent:.0f} ns (wanted: below {ONE_FRAME_TARGET_NS})")
            console.print()
        if "start-up" in sections:
            spent = footprint.start_up()
            figures["start_up_seconds"] = spent
            middle, fastest, wanted = statistics.median(spent) * 1e3, spent[0] * 1e3, START_UP_TARGET_S * 1e3
            console.print(f"vsw --help: {middle:.0f} ms, fastest {fastest:.0f} (wanted: {wanted:.0f})\n")
        if "memory" in sections:
            figures["memory_kib"] = run_memory(first, folder, console)
        if "peers" in sections:
            figures["peers"] = run_peers(first, folder, core, console)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
