"""Instructions a frame, counted by callgrind: exact where times are noisy.

    python bench/instructions.py
    python bench/instructions.py --measures F1 --case imix --frames 20000
    python bench/instructions.py --measures F1 --by function

Each measure runs in processes of its own under valgrind, over a capture and over one with half the frames, once and a few times more.  The
differences tell what a frame costs, and what a call costs whatever the number of frames; the start of Python, the making of the switch and the first
pass are in neither.  Inlined code is told apart by the source file that it comes from, so the lines of a measure show what each stage takes; by
function, also by the function of that file that the line stands in.

valgrind's processor has AVX2 and no AVX-512; code that is picked at run time is picked for that.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from inputs import CASES, prepare, scratch
from loops import MEASURES, caller
from rich.console import Console
from rich.table import Table

from vsw import open_capture
from vsw.measure.lab import bench_module

#: Passes over the capture in the two processes.
PASSES = (1, 3)
#: Where a function of a header begins; a pass of the fast lane has its name in brackets.
DEFINED = re.compile(r"static\s.*?\b(?:VSW_LANE\((\w+)\)|(vsw_\w+))\(")
#: Shares below this many instructions a frame are not shown.
SHOWN = 0.05


def child(letter: str, path: str, ports: str, macs: str, policy: str, folder: str, passes: str) -> None:
    """Go over the capture, as often as ``passes`` says and as often as making the measure ready takes."""
    # The hash of the switch's tables is drawn at random, and a few entries more or less in a full bucket's neighbour are ten instructions a frame.
    os.urandom = random.Random(1).randbytes
    with open_capture(path) as capture:
        module = bench_module(int(macs), policy=policy, security=letter == "F2")  # type: ignore[arg-type]
        call = caller(letter, capture, np.load(ports), module, Path(folder))
        for _ in range(int(passes)):
            call()


def pass_over(letter: str, words: list[str], folder: Path, by: str) -> Counter[str]:
    """Instructions of one more pass over the capture, by source file or function (of everything, Python too)."""
    few, many = (counted(letter, words, passes, folder, by) for passes in PASSES)
    return Counter({file: (many[file] - few[file]) // (PASSES[1] - PASSES[0]) for file in few.keys() | many.keys()})


def counted(letter: str, words: list[str], passes: int, folder: Path, by: str) -> Counter[str]:
    """Instructions of a process, by source file or function."""
    out = folder / f"callgrind.{letter}.{passes}"
    options = ["--tool=callgrind", f"--callgrind-out-file={out}", "--compress-strings=no", "--compress-pos=no"]
    call = ["valgrind", *options, sys.executable, __file__, "--child", letter, *words, str(passes)]
    # Threads of a linear algebra library would spin, and be counted.
    still = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, env=os.environ | still, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return costs_of(out, by)


@cache
def functions(file: str) -> tuple[list[int], list[str]]:
    """First lines and names of the functions that are defined in a C header of the package."""
    if not Path(file).is_file() or not file.endswith(".h"):
        return [], []
    found = [(number, match[1] or match[2]) for number, line in enumerate(Path(file).read_text().splitlines(), 1) if (match := DEFINED.match(line))]
    return [number for number, _ in found], [name for _, name in found]


def place(file: str, line: int) -> str:
    """The function that a line of a header stands in, and the header; for other files the file."""
    starts, names = functions(file)
    number = bisect_right(starts, line)
    return f"{names[number - 1]} in {file}" if number else file


def costs_of(path: Path, by: str) -> Counter[str]:
    """Self cost by source file or function, from callgrind's output.  Where there is no file the function's name stands, and the library's."""
    costs: Counter[str] = Counter()
    file = function = library = ""
    called = False
    with path.open(errors="replace") as lines:
        for line in lines:
            if line[0].isdigit() or line[0] in "+-*":
                if called:
                    called = False  # what the callee took is counted there
                    continue
                number, cost = line.split()[:2]
                known = f"{function} in {library}" if not file or file == "???" else place(file, int(number)) if by == "function" else file
                costs[known] += int(cost)
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
    function, separator, file = file.rpartition(" in ")
    parts = Path(file).parts
    return function + separator + ("/".join(parts[parts.index("vsw") :]) if "vsw" in parts else file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measures", default="C,F1,F2,W", help="comma-separated, of: " + ",".join(MEASURES))
    parser.add_argument("--case", default="min64", choices=CASES)
    parser.add_argument("--frames", type=int, default=40_960, help="of the capture (default: %(default)s)")
    parser.add_argument("--policy", default="ip-hash")
    parser.add_argument("--by", default="file", choices=("file", "function"))
    chosen = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed (Debian: apt-get install valgrind)")
    console = Console(width=None if sys.stdout.isatty() else 120)
    with scratch(1 << 28) as folder:
        inputs = []
        for frames in (chosen.frames // 2, chosen.frames):
            made = prepare(CASES[chosen.case], folder, policy=chosen.policy, frames=frames)
            ports = folder / f"ports{frames}.npy"
            np.save(ports, made.traffic.port_in)
            inputs.append([str(made.traffic.path), str(ports), str(made.case.macs), chosen.policy, str(folder)])
        for letter in chosen.measures.split(","):
            half, whole = (pass_over(letter, words, folder, chosen.by) for words in inputs)
            show(console, letter, half, whole, chosen.frames - chosen.frames // 2)


def show(console: Console, letter: str, half: Counter[str], whole: Counter[str], frames: int) -> None:
    more: Counter[str] = Counter()
    for file in half.keys() | whole.keys():
        more[name(file)] += whole[file] - half[file]
    each, call = more.total() / frames, 2 * half.total() - whole.total()
    table = Table(title=f"{letter}: {each:.1f} instructions a frame, {call / 1e6:.2f} millions a call ({MEASURES[letter]})")
    table.add_column("source")
    table.add_column("instructions a frame", justify="right")
    for file, cost in more.most_common():
        if cost / frames >= SHOWN:
            table.add_row(file, f"{cost / frames:.2f}")
    console.print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
