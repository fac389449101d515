#!/usr/bin/env python3
"""Lines and branches of the C headers that ran, from what gcov counted in every extension that includes them.

    scripts/headers.py TREE [--missed]

A header is compiled into several extensions, and for several instruction sets: a line ran if it ran in one of them, and so did a branch.
``--missed`` lists the lines that did not.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path


def counted(tree: Path) -> tuple[dict[str, dict[int, int]], dict[str, dict[tuple[int, int], int]]]:
    """Executions by header and line, and by header, line and number of the branch."""
    lines: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    branches: dict[str, dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))
    for data in sorted(tree.rglob("*.gcda")):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["gcov", "--json-format", "--branch-probabilities", str(data)], cwd=folder, check=True, capture_output=True)
            for report in Path(folder).glob("*.gcov.json.gz"):
                for file in json.loads(gzip.decompress(report.read_bytes()))["files"]:
                    path = Path(file["file"])
                    path = path if path.is_absolute() else tree / path
                    if path.suffix != ".h" or not path.resolve().is_relative_to(tree / "vsw"):
                        continue
                    name = str(path.resolve().relative_to(tree))
                    for line in file["lines"]:
                        lines[name][line["line_number"]] += line["count"]
                        for number, branch in enumerate(line["branches"]):
                            branches[name][line["line_number"], number] += branch["count"]
    return lines, branches


def share(counts: list[int]) -> str:
    return f"{sum(count > 0 for count in counts):6} of {len(counts):6} {100 * sum(count > 0 for count in counts) / max(1, len(counts)):6.1f} %"


def main() -> None:
    tree = Path(sys.argv[1]).resolve()
    lines, branches = counted(tree)
    if not lines:
        sys.exit("no counts: was the tree built with VSW_COVERAGE=1, and did anything run?")
    print(f"{'header':44} {'lines':>24} {'branches':>24}")
    for name in sorted(lines):
        print(f"{name:44} {share(list(lines[name].values()))} {share(list(branches[name].values()))}")
        if "--missed" in sys.argv:
            print("   ", " ".join(str(number) for number, count in sorted(lines[name].items()) if not count))
    every = [count for counts in lines.values() for count in counts.values()]
    print(f"{'all headers':44} {share(every)} {share([count for counts in branches.values() for count in counts.values()])}")


if __name__ == "__main__":
    main()
