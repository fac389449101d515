#!/usr/bin/env python3
"""The compiled switch against the reference, at length: random topologies and frames of every dialect.

    scripts/differential.py [--seeds N] [--first N] [--frames N] [--dialect NAME ...]

Each seed is one topology with ``--frames`` random frames.  Every tenth seed brings moreover a topology with clean traffic (thousands of frames,
nearly all of them forwarded: the fast lane), every hundredth one with thousands of random frames.  Each scenario goes through the datapath by
several ways (fast lane and exact path, bursts of 1, 7 and 256, one to three workers); verdicts, copies, egress bytes and counters must be the
reference's.  Real captures (those of $VSW_CAPTURES or ../shared/captures) go through several fixed topologies, ports given and found by source.

Prints the counts, and that every drop reason occurred.  Exit code: 0 if all agree and every reason occurred, 1 if not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.differential import captures  # noqa: E402
from tests.differential.clean import generate_clean  # noqa: E402
from tests.differential.compare import EVERY_WAY, TWO_WAYS, Way, compare, run_reference  # noqa: E402
from tests.differential.strategies import WITHOUT, Scenario, generate  # noqa: E402
from vsw.config.dialects import DIALECTS  # noqa: E402
from vsw.datapath.source import FrameSource  # noqa: E402
from vsw.verdicts import Reason, Verdict  # noqa: E402

MANY = 2000
#: Failures that are shown in full; all are counted.
SHOWN = 5


def plan(seed: int, frames: int, dialect: str) -> Iterator[tuple[str, Scenario, tuple[Way, ...]]]:
    """What a seed stands for: the call that makes the scenario again, the scenario, and the ways to take it."""
    ways = EVERY_WAY if seed % 8 == 0 else TWO_WAYS
    yield f"generate({seed}, {frames}, {dialect!r})", generate(seed, frames, dialect), ways
    if seed % 10 == 0:
        yield f"generate_clean({seed}, {MANY}, {dialect!r})", generate_clean(seed, MANY, dialect), EVERY_WAY
    if seed % 100 == 0:
        yield f"generate({-1 - seed}, {MANY}, {dialect!r})", generate(-1 - seed, MANY, dialect), EVERY_WAY


def from_captures(dialect: str) -> Iterator[tuple[str, Scenario, FrameSource]]:
    """Every capture through every topology."""
    for path in captures.CAPTURES:
        capture = captures.opened(path)
        if capture is None:
            continue
        frames = captures.frames_of(capture)
        for name in captures.TOPOLOGIES:
            for ingress in captures.INGRESS:
                yield f"{path.name}, topology {name}, ingress {ingress}", captures.scenario(frames, name, dialect, ingress), capture


class Tally:
    """What was seen of one dialect."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.scenarios = self.frames = self.copies = self.runs = self.failures = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.dropped: Counter[Reason] = Counter()
        self.filtered: Counter[Reason] = Counter()

    def take(self, label: str, scenario: Scenario, ways: tuple[Way, ...], frames: FrameSource | None = None) -> None:
        decisions, counters = run_reference(scenario)
        self.scenarios += 1
        self.runs += len(ways)
        self.frames += len(decisions)
        for decision in decisions:
            self.copies += len(decision.copies)
            self.verdicts[decision.verdict] += 1
            if decision.verdict is Verdict.DROPPED:
                self.dropped[decision.reason] += 1
            self.filtered.update(reason for _, reason in decision.filtered)
        found = compare(scenario, decisions, counters, frames, ways)
        if found:
            self.failures += 1
            if self.failures <= SHOWN:
                print(f"\n{label}: they disagree\n  " + "\n  ".join(found[:6]), flush=True)

    def missing(self) -> set[Reason]:
        return set(Reason) - {Reason.NONE} - WITHOUT[self.dialect] - set(self.dropped)

    def report(self, seconds: float) -> None:
        verdicts = ", ".join(f"{self.verdicts[verdict]:,} {verdict.name.lower()}" for verdict in Verdict)
        size = f"{self.scenarios:,} topologies, {self.frames:,} frames ({verdicts}), {self.copies:,} copies, {self.runs:,} runs"
        print(f"\n{self.dialect}: {size}, {seconds:.0f} s")
        for title, counts in (("dropped", self.dropped), ("filtered", self.filtered)):
            print(f"  {title}: " + ", ".join(f"{reason.name.lower()} {counts[reason]:,}" for reason in sorted(counts)))
        without = ", ".join(sorted(reason.name.lower() for reason in WITHOUT[self.dialect]))
        print(f"  no rule of this dialect gives: {without or 'nothing; it has them all'}")
        missing = self.missing()
        if missing:
            print("  DID NOT OCCUR: " + ", ".join(sorted(reason.name.lower() for reason in missing)))
        print(f"  {self.failures} scenarios disagree" if self.failures else "  all agree", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the compiled switch with the reference at length.")
    parser.add_argument("--seeds", type=int, default=1000, help="topologies of each dialect (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--frames", type=int, default=100, help="frames of each topology (default: 100)")
    parser.add_argument("--dialect", action="append", choices=sorted(DIALECTS), help="may be given several times (default: all)")
    options = parser.parse_args()
    if options.seeds < 1 or options.frames < 1 or options.first < 0:
        parser.error("--seeds and --frames are at least 1, --first at least 0")
    failed = False
    for dialect in options.dialect or sorted(DIALECTS):
        tally = Tally(dialect)
        begin = time.perf_counter()
        for done, seed in enumerate(range(options.first, options.first + options.seeds), start=1):
            for label, scenario, ways in plan(seed, options.frames, dialect):
                tally.take(label, scenario, ways)
            if done % 50 == 0:
                print(f"\r{dialect}: {done:,} of {options.seeds:,} seeds", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        before = tally.frames
        for label, scenario, source in from_captures(dialect):
            tally.take(label, scenario, EVERY_WAY, source)
        read = tally.frames - before
        print(f"{dialect}: {read:,} frames of captures from {captures.FOLDER}" if read else f"{dialect}: no captures in {captures.FOLDER}")
        tally.report(time.perf_counter() - begin)
        failed = failed or bool(tally.failures or tally.missing())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
