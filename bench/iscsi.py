"""vsw's iSCSI target against tgt (Debian: tgt, libiscsi-bin; needs root), both over the same file, in turns within one run.

The client is ``iscsi-perf``, which reads. The file is in the page cache: what is compared is the way of a request, not a disk. Run it as
``python bench/iscsi.py``; ``--seconds`` is the length of each of the ``--rounds`` turns.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vsw.disk.blocks import open_blocks
from vsw.disk.scsi import LogicalUnit, Target
from vsw.disk.serve.iscsi import Exported, IscsiServer

SIZE = 256 << 20
CONTROL_PORT = "17"
"""tgtd's own management port, so that one that runs already is left alone."""
NAME = "iqn.2026-01.example.lab:bench"
CASES = {
    "4 KiB random, depth 32": ("-m", "32", "-b", "8", "-r"),
    "4 KiB random, depth 1": ("-m", "1", "-b", "8", "-r"),
    "1 MiB sequential, depth 8": ("-m", "8", "-b", "2048"),
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def tgt(path: Path) -> Iterator[str]:
    """tgt in a process of its own; its URL."""
    port = free_port()
    daemon = subprocess.Popen(["tgtd", "-f", "-C", CONTROL_PORT, "--iscsi", f"portal=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    admin = ["tgtadm", "-C", CONTROL_PORT, "--lld", "iscsi"]
    try:
        for _ in range(100):
            if subprocess.run([*admin, "--op", "show", "--mode", "target"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        for words in (
            ["new", "--mode", "target", "--tid", "1", "-T", NAME],
            ["new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(path)],
            ["bind", "--mode", "target", "--tid", "1", "-I", "ALL"],
        ):
            subprocess.run([*admin, "--op", *words], check=True)
        yield f"iscsi://127.0.0.1:{port}/{NAME}/1"
    finally:
        daemon.kill()
        daemon.wait()


def serve(path: str) -> None:
    """vsw's side, in a process of its own: prints its port and serves until its input ends."""
    with open_blocks(path, lock=False) as blocks:
        target = Target(NAME, {1: LogicalUnit(blocks, serial="bench")})
        with IscsiServer([Exported(target)], [("127.0.0.1", 0)]) as server:
            print(server.address[1], flush=True)
            sys.stdin.read()


@contextmanager
def vsw(path: Path) -> Iterator[str]:
    with subprocess.Popen([sys.executable, __file__, "--serve", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"iscsi://127.0.0.1:{int(process.stdout.readline())}/{NAME}/1"
        process.communicate()


def measure(url: str, case: tuple[str, ...], seconds: int) -> int:
    """Requests a second, as iscsi-perf gives them at its end."""
    done = subprocess.run(["iscsi-perf", *case, "-t", str(seconds), url], capture_output=True, text=True, timeout=seconds + 30, check=True)
    return int(re.findall(r"iops average (\d+)", done.stdout)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    missing = [tool for tool in ("tgtd", "tgtadm", "iscsi-perf") if shutil.which(tool) is None]
    if missing:
        parser.exit(1, f"missing: {', '.join(missing)} (Debian: tgt, libiscsi-bin)\n")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "disk"
        path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
        with tgt(path) as theirs, vsw(path) as ours:
            print(f"{'':28}{'vsw':>10}{'tgt':>10}   vsw / tgt (median of {arguments.rounds} turns)")
            for name, case in CASES.items():
                turns = [(measure(ours, case, arguments.seconds), measure(theirs, case, arguments.seconds)) for _ in range(arguments.rounds)]
                mine, other = (statistics.median(side) for side in zip(*turns, strict=True))
                ratio = statistics.median(one / two for one, two in turns)
                print(f"{name:28}{mine:10.0f}{other:10.0f}   {ratio:.2f}  ({min(a / b for a, b in turns):.2f} to {max(a / b for a, b in turns):.2f})")


if __name__ == "__main__":
    main()
