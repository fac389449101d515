#!/usr/bin/env python3
"""What ran of a tree that was built with VSW_COVERAGE=1: lines of Python and Cython files, lines and branches of the C headers.

    scripts/reached.py TREE [--missed] [--least LINES BRANCHES]

TREE/coverage.json is what coverage.py says of the .py files; the rest is what gcov counted.  ``--missed`` lists what did not run; ``--least`` ends
with 1 where less than so many per cent of the lines of .py and .pyx files ran, or of the headers' branches.

A header is compiled into several extensions, and for several instruction sets: a line ran if it ran in one of them, and so did a branch.  A line of
a .pyx file ran if any of the C that Cython made of it did; Cython notes in the C which line that is.  Tracing the lines of a .pyx instead would take
the GIL where the code has given it up, and wait for ever where another thread holds it and waits for a mutex.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

#: Of a generated file: the comment before the C of a line, the line itself in that comment, and where its C ends at the latest.
SOURCE = re.compile(r'\s*/\* "(vsw/[\w/]+\.pyx)":(\d+)$')
WORDS = re.compile(r" \* (.*?)\s+# <<<<<<+$")
END = re.compile(r"\s*/\* function exit code \*/$|\s*__pyx_L\d+\w*:;|\}$")
#: Declares, or names what was declared, and makes C all the same.
DECLARES = re.compile(r"\s*(?:@|cdef\s+(?:class|struct|union|enum|extern|packed|readonly|public)\b|cp?def\s.*:$|def\s.*|class\s)")

#: What is added up, by the endings of names.
KINDS = {".py": {".py"}, ".pyx": {".pyx"}, ".py and .pyx": {".py", ".pyx"}, "C headers": {".h"}}

Lines = dict[int, int]


class Counts:
    """Executions: by line, and by (line, number) of each branch."""

    def __init__(self) -> None:
        self.lines: Lines = defaultdict(int)
        self.branches: dict[tuple[int, int], int] = defaultdict(int)


@cache
def sources(generated: Path) -> dict[int, tuple[str, int]]:
    """(file, line) that Cython made each line of a C file from."""
    found: dict[int, tuple[str, int]] = {}
    source, declares = None, False
    for number, text in enumerate(generated.read_text().splitlines(), start=1):
        if marked := SOURCE.match(text):
            source = (marked[1], int(marked[2]))
        elif words := WORDS.match(text):
            declares = bool(DECLARES.match(words[1]))
        elif END.match(text):
            source = None
        if source is not None and not declares:
            found[number] = source
    return found


def counted(tree: Path) -> dict[str, Counts]:
    """Of the headers and the .pyx files, by name."""
    found: dict[str, Counts] = defaultdict(Counts)
    for data in sorted(tree.rglob("*.gcda")):
        for file in _reports(data):
            path = Path(file["file"])
            path = (path if path.is_absolute() else tree / path).resolve()
            if not path.is_relative_to(tree / "vsw"):
                continue
            if path.suffix == ".h":
                counts = found[str(path.relative_to(tree))]
                for line in file["lines"]:
                    counts.lines[line["line_number"]] += line["count"]
                    for number, branch in enumerate(line["branches"]):
                        counts.branches[line["line_number"], number] += branch["count"]
            elif path.suffix == ".c":
                made_of = sources(path)
                for line in file["lines"]:
                    if line["line_number"] in made_of:
                        name, number = made_of[line["line_number"]]
                        found[name].lines[number] += line["count"]
    return found


def _reports(data: Path) -> Iterable[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["gcov", "--json-format", "--branch-probabilities", str(data)], cwd=folder, check=True, capture_output=True)
        for report in Path(folder).glob("*.gcov.json.gz"):
            yield from json.loads(gzip.decompress(report.read_bytes()))["files"]


def python(tree: Path) -> dict[str, Counts]:
    found: dict[str, Counts] = defaultdict(Counts)
    for name, file in json.loads((tree / "coverage.json").read_text())["files"].items():
        found[name].lines.update(dict.fromkeys(file["executed_lines"], 1) | dict.fromkeys(file["missing_lines"], 0))
    return found


def percent(counts: list[int]) -> float:
    return 100 * sum(count > 0 for count in counts) / max(1, len(counts))


def share(counts: Iterable[int]) -> str:
    every = list(counts)
    return f"{sum(count > 0 for count in every):6} of {len(every):6} {percent(every):6.1f} %"


def row(name: str, files: Iterable[Counts]) -> str:
    every = list(files)
    branches = [count for file in every for count in file.branches.values()]
    return f"{name:44} {share(count for file in every for count in file.lines.values())} {share(branches) if branches else '':>24}".rstrip()


def spans(numbers: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tree", type=Path)
    options.add_argument("--missed", action="store_true")
    options.add_argument("--least", type=float, nargs=2, default=(0.0, 0.0), metavar=("LINES", "BRANCHES"))
    given = options.parse_args()
    tree = given.tree.resolve()
    found = counted(tree) | python(tree)
    if not any(name.endswith(".h") for name in found):
        sys.exit("no counts: was the tree built with VSW_COVERAGE=1, and did anything run?")
    print(f"{'':44} {'lines':>24} {'branches':>24}")
    for name, counts in sorted(found.items()):
        print(row(name, [counts]))
        if given.missed:
            if missed := [line for line, count in counts.lines.items() if not count]:
                print("    lines:", spans(missed))
            if missed := sorted({line for (line, _), count in counts.branches.items() if not count and counts.lines[line]}):
                print("    branches of:", spans(missed))
    kinds = {what: [counts for name, counts in found.items() if Path(name).suffix in suffixes] for what, suffixes in KINDS.items()}
    for what, files in kinds.items():
        print(row(what, files))
    lines = percent([count for file in kinds[".py and .pyx"] for count in file.lines.values()])
    branches = percent([count for file in kinds["C headers"] for count in file.branches.values()])
    if lines < given.least[0] or branches < given.least[1]:
        sys.exit(f"{lines:.2f} % of lines and {branches:.2f} % of branches ran, not {given.least[0]:g} % and {given.least[1]:g} %")


if __name__ == "__main__":
    main()
