"""Reads the log of libiscsi's ``iscsi-test-cu -d -V``: which tests really passed, were skipped, or failed.

The tool's own summary counts a skipped test as passed. Here a test that says [SKIPPED] anywhere is skipped, one that ends with
FAILED is failed, and the rest passed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SUITE = re.compile(r"^Suite: (\S+)")
TEST = re.compile(r"^  Test: (\S+) \.\.\.(.*)")
VERDICT = re.compile(r"^(passed|FAILED)|[^\]](passed|FAILED)$")


@dataclass(frozen=True)
class Outcome:
    """One test of one run; ``why`` are the log lines that tell of a skip or a failure."""

    name: str
    verdict: str
    why: tuple[str, ...]


def read_log(text: str) -> dict[str, Outcome]:
    """Outcomes by ``Suite.Test``."""
    outcomes: dict[str, Outcome] = {}
    suite = name = ""
    body: list[str] = []

    def finish() -> None:
        if not name:
            return
        whole = "\n".join(body)
        skipped = tuple(line.strip() for line in body if "[SKIPPED]" in line or "[SKIPPING]" in line)
        failed = tuple(line.strip() for line in body if "[FAILED]" in line or re.match(r"\s+\d+\. ", line))
        if re.search(r"(^|\W)FAILED(\s|$)", re.sub(r"\[FAILED\]", "", whole)):
            verdict, why = "failed", failed
        elif skipped:
            verdict, why = "skipped", skipped
        elif re.search(r"passed", whole):
            verdict, why = "passed", ()
        else:
            verdict, why = "failed", ("no verdict in the log: the run ended here",)
        outcomes[name] = Outcome(name, verdict, why)

    for line in text.splitlines():
        if found := SUITE.match(line):
            finish()
            suite, name, body = found[1], "", []
        elif found := TEST.match(line):
            finish()
            name, body = f"{suite}.{found[1]}", [found[2]]
        elif line.startswith("Run Summary:"):
            finish()
            name = ""
        elif name:
            body.append(line)
    finish()
    return outcomes
