"""Instructions a frame, counted by callgrind: exact where times are noisy.

    python bench/instructions.py
    python bench/instructions.py --measures F1 --case imix --frames 20000,100000

Each measure runs twice under valgrind, over the first frames of one capture and over more of them; the difference of the two counts divided by
the difference in frames is what a frame costs, with the start of Python, the making of the switch and the first bursts gone from it.  Inlined code is
told apart by the source file that it comes from, so the lines of a measure show what each stage takes.

valgrind's processor has AVX2 and no AVX-512; code that is picked at run time is picked for that.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from inputs import CASES, prepare, scratch
from loops import MEASURES, slice_run
from rich.console import Console
from rich.table import Table

#: Shares below this many instructions a frame are not shown.
SHOWN = 0.05


def child(letter: str, path: str, ports: str, macs: int, policy: str, frames: int) -> None:
    """Run one measure once over the first ``frames`` frames."""
    slice_run(letter, Path(path), np.load(ports), macs, policy, frames)()


def counted(letter: str, words: list[str], frames: int, folder: Path) -> Counter[str]:
    """Instructions by source file (of everything, Python too)."""
    out = folder / f"callgrind.{letter}.{frames}"
    options = ["--tool=callgrind", f"--callgrind-out-file={out}", "--compress-strings=no", "--compress-pos=no"]
    call = ["valgrind", *options, sys.executable, __file__, "--child", letter, *words, str(frames)]
    done = subprocess.run(call, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "0"}, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return by_file(out)


def by_file(path: Path) -> Counter[str]:
    """Self cost by source file, from callgrind's output.  Where there is no file the function's name stands, and the library's."""
    costs: Counter[str] = Counter()
    file = function = library = ""
    called = False
    with path.open(errors="replace") as lines:
        for line in lines:
            if line[0].isdigit() or line[0] in "+-*":
                if called:
                    called = False  # what the callee took is counted there
                    continue
                known = file if file and file != "???" else f"{function} in {library}"
                costs[known] += int(line.split()[1])
            elif line.startswith(("fl=", "fi=", "fe=")):
                file = line[3:].strip()
            elif line.startswith("fn="):
                function = line[3:].strip()
            elif line.startswith("ob="):
                library = Path(line[3:].strip()).name
            elif line.startswith("calls="):
                called = True
    return costs


def name(file: str) -> str:
    """A source file as named in the repository; all files of the package begin with ``vsw/``."""
    parts = Path(file).parts
    return "/".join(parts[parts.index("vsw") :]) if "vsw" in parts else file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measures", default="C,F1,F2", help="comma-separated, of: " + ",".join(MEASURES))
    parser.add_argument("--case", default="min64", choices=CASES)
    parser.add_argument("--frames", default="20480,102400", help="the two numbers of frames (default: %(default)s)")
    parser.add_argument("--policy", default="ip-hash")
    chosen = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed (Debian: apt-get install valgrind)")
    few, many = sorted(int(word) for word in chosen.frames.split(","))
    console = Console(width=None if sys.stdout.isatty() else 120)
    with scratch(1 << 28) as folder:
        made = prepare(CASES[chosen.case], folder, policy=chosen.policy, frames=many)
        ports = folder / "ports.npy"
        np.save(ports, made.traffic.port_in)
        words = [str(made.traffic.path), str(ports), str(made.case.macs), chosen.policy]
        for letter in chosen.measures.split(","):
            first, second = (counted(letter, words, frames, folder) for frames in (few, many))
            show(console, letter, first, second, many - few)


def show(console: Console, letter: str, first: Counter[str], second: Counter[str], frames: int) -> None:
    more: Counter[str] = Counter()
    for file in first.keys() | second.keys():
        more[name(file)] += second[file] - first[file]
    table = Table(title=f"{letter}: {more.total() / frames:.1f} instructions a frame ({MEASURES[letter]})")
    table.add_column("source")
    table.add_column("instructions a frame", justify="right")
    for file, cost in more.most_common():
        if cost / frames >= SHOWN:
            table.add_row(file, f"{cost / frames:.2f}")
    console.print(table)


def arguments_of_child(words: list[str]) -> Any:
    letter, path, ports, macs, policy, frames = words
    return letter, path, ports, int(macs), policy, int(frames)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*arguments_of_child(sys.argv[2:]))
    else:
        main()
