"""What the kernel takes to write egress captures, without a switch: nanoseconds a page of 4,096 bytes, processor time.

    python bench/write_cost.py
    python bench/write_cost.py --scratch /tmp --sizes 65536,1048576

As many files as the benchmark's switch has ports are written by turns, in pieces of one size, then written over, then removed: new pages have to be
found and linked into the file, pages that are there cost the copying and the call alone.  One core, the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from itertools import pairwise
from pathlib import Path

from inputs import scratch
from rich.console import Console
from rich.table import Table

PAGE = 4096
FILES = 66


def one_round(folder: Path, size: int, total: int) -> tuple[float, float, float]:
    """Seconds of processor time: writing new files, writing them over, removing them.  Every file has the same number of pieces."""
    piece = os.urandom(size)
    turns = range(max(1, total // FILES // size))
    files = [os.open(folder / str(number), os.O_WRONLY | os.O_CREAT, 0o666) for number in range(FILES)]
    spent = [time.process_time()]
    try:
        for _ in range(2):
            for turn in turns:
                for file in files:
                    os.pwrite(file, piece, turn * size)
            spent.append(time.process_time())
    finally:
        for file in files:
            os.close(file)
        for number in range(FILES):
            (folder / str(number)).unlink()
    spent.append(time.process_time())
    new, over, removed = (after - before for before, after in pairwise(spent))
    return new, over, removed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, help="where files are written (default: /dev/shm if it has room)")
    parser.add_argument("--sizes", default="16384,131072,1048576", help="bytes of one write, comma-separated (default: %(default)s)")
    parser.add_argument("--total", type=int, default=128 << 20, help="bytes of all files together (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with scratch(2 * chosen.total, chosen.scratch) as folder:
        table = Table(title=f"{FILES} files in {folder.parent}, ns a page of {PAGE:,} bytes, median of {chosen.rounds}")
        for column in ("bytes a write", "written new", "written over", "removed"):
            table.add_column(column, justify="right")
        for size in map(int, chosen.sizes.split(",")):
            pages = max(1, chosen.total // FILES // size) * FILES * size / PAGE
            rounds = [one_round(folder, size, chosen.total) for _ in range(chosen.rounds)]
            table.add_row(f"{size:,}", *(f"{statistics.median(spent) / pages * 1e9:,.0f}" for spent in zip(*rounds, strict=True)))
        Console().print(table)


if __name__ == "__main__":
    main()
