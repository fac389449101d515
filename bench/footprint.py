"""Memory and start-up, each in a process of its own.

``python bench/footprint.py forward ...`` is the child whose memory is measured; :func:`memory` starts it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from inputs import Input

import vsw
from vsw.measure.lab import bench_module

SAMPLE_SECONDS = 0.002


def anonymous_kib() -> int:
    """Resident memory of this process that is no file's (``RssAnon``), in KiB."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


class Peak:
    """The greatest ``RssAnon`` while the block runs, sampled by a thread (the switch runs without the GIL)."""

    def __enter__(self) -> Peak:
        self.kib = anonymous_kib()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.stop.wait(SAMPLE_SECONDS):
            self.kib = max(self.kib, anonymous_kib())

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self.kib = max(self.kib, anonymous_kib())


def child(path: str, ports: str, macs: str, columns: str, workers: str) -> None:
    """Forward once; print memory after the imports, with the switch made, and at its peak."""
    imported = anonymous_kib()
    module = bench_module(int(macs))
    switch = vsw.Switch(module)
    ingress = np.load(ports, mmap_mode="r")
    made = anonymous_kib()
    with vsw.open_capture(path) as capture, Peak() as peak:
        result = switch.forward(capture, ingress=ingress, columns=columns == "yes", workers=int(workers))
    print(json.dumps({"frames": int(result.frames), "imported": imported, "made": made, "peak": peak.kib}))


def memory(made: Input, folder: Path, *, columns: bool, workers: int) -> dict[str, int]:
    """Anonymous resident memory in KiB of a process that forwards the capture: ``imported``, ``made`` (with the switch), ``peak``; and ``frames``."""
    ports = folder / "ports.npy"
    np.save(ports, made.traffic.port_in)
    words = [str(made.traffic.path), str(ports), str(made.case.macs), "yes" if columns else "no", str(workers)]
    run = subprocess.run([sys.executable, __file__, "forward", *words], check=True, capture_output=True, text=True)
    return dict(json.loads(run.stdout))


def start_up(times: int = 9) -> list[float]:
    """Seconds that ``vsw --help`` takes, sorted."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "vsw", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)


if __name__ == "__main__":
    child(*sys.argv[2:])
