"""The SCSI engine and the iSCSI target against libiscsi's conformance suite, on named logical units.

Once with raw files and once with qcow2 images below the units. Long (minutes, most of it the tool's own sleeping):
``make disk-conformance``, or ``pytest -m long`` on this file. The quick tests check what reads the log and the list of allowed failures.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.disk.conformance import Outcome, read_log
from vsw.disk.blocks import Blocks, Fault, FaultyBlocks, MemoryBlocks, create_blocks
from vsw.disk.scsi import FileStore, LogicalUnit, Target
from vsw.disk.serve.iscsi import Exported, IscsiServer

TOOL = shutil.which("iscsi-test-cu")
WANTED = 190
"""Of 230 tests, how many must really pass on at least one unit."""
ALLOWED = Path(__file__).with_name("conformance_allowed.toml")
SIZE = 64 << 20
READING = (
    "Inquiry", "Mandatory", "ModeSense6", "Prefetch10", "Prefetch16", "Read6", "Read10", "Read12", "Read16", "ReadCapacity10",
    "ReadCapacity16", "ReadOnly", "ReportSupportedOpcodes", "TestUnitReady", "PrinReadKeys", "ProutRegister", "iSCSIcmdsn",
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """A named logical unit, and which tests are run on it."""

    name: str
    tests: tuple[str, ...] = ("ALL",)
    options: dict[str, Any] = field(default_factory=dict)
    second_path: bool = True
    sanitize: bool = True

    def blocks(self, directory: Path, image_format: str) -> Blocks:
        path = directory / f"{self.name}.{image_format}"
        if self.name == "memory":
            return MemoryBlocks(SIZE)
        if self.name == "slow":
            return FaultyBlocks(create_blocks(path, SIZE, image_format), [Fault("write", 0, times=None, delay=0.3)])
        return create_blocks(path, (3 << 40) + 4096 if self.name == "large" else SIZE, image_format)


UNITS = (
    Unit("thin"),
    Unit("provisioned", options={"thin": False}),
    Unit("removable", options={"removable": True}),
    Unit("read-only", READING, {"read_only": True}),
    Unit("memory", options={"physical_block_size": 512}),
    # Overwriting 3 TiB would take hours.
    Unit("large", options={"block_size": 4096}, sanitize=False),
    # The tool wants to see a sanitize operation that is still going on after five seconds.
    Unit("slow", ("ALL.Sanitize.Reset",), second_path=False),
)


def allowed() -> dict[tuple[str, str], str]:
    """Reasons by (test, unit)."""
    entries = tomllib.loads(ALLOWED.read_text(encoding="utf-8"))["failure"]
    return {(entry["test"], unit): entry["reason"] for entry in entries for unit in entry["units"]}


def run(unit: Unit, directory: Path, image_format: str) -> dict[str, Outcome]:
    """All of a unit's tests; the log stays in ``directory``."""
    assert TOOL is not None
    with unit.blocks(directory, image_format) as blocks:
        device = LogicalUnit(blocks, serial=unit.name, store=FileStore(directory / f"{unit.name}.reservations"), **unit.options)
        target = Target(f"iqn.2026-01.example.lab:{unit.name}", {0: device})
        outcomes: dict[str, Outcome] = {}
        with IscsiServer([Exported(target)], [("127.0.0.1", 0)]) as server:
            url = f"iscsi://127.0.0.1:{server.address[1]}/{target.name}/0"
            for tests in unit.tests:
                selected = tests if tests.startswith("ALL") else f"ALL.{tests}"
                call = [TOOL, "-d", "-V", *(["-S"] if unit.sanitize else []), f"--test={selected}", url, *([url] if unit.second_path else [])]
                done = subprocess.run(call, capture_output=True, timeout=400, check=False)
                log = done.stdout.decode(errors="replace")
                (directory / f"{unit.name}.{tests}.log").write_text(log)
                assert "Run Summary" in log, f"{unit.name}: the tool ended with {done.returncode} before its summary"
                outcomes |= read_log(log)
    return outcomes


@pytest.mark.long
@pytest.mark.e2e
@pytest.mark.skipif(TOOL is None, reason="needs iscsi-test-cu (Debian: libiscsi-bin)")
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_conformance(tmp_path: Path, image_format: str) -> None:
    units = [unit for unit in UNITS if image_format == "raw" or unit.name != "memory"]
    names = [unit.name for unit in units]
    reasons = {key: reason for key, reason in allowed().items() if key[1] in names}
    with ThreadPoolExecutor(len(units)) as pool:
        results = dict(zip(names, pool.map(lambda unit: run(unit, tmp_path, image_format), units), strict=True))
    print(f"\nover {image_format}:")
    for name, outcomes in results.items():
        print(name, dict(Counter(outcome.verdict for outcome in outcomes.values())))
    found = [(unit, outcome) for unit, outcomes in results.items() for outcome in outcomes.values()]
    failed = {(outcome.name, unit): outcome.why[:3] for unit, outcome in found if outcome.verdict == "failed"}
    passed = {outcome.name for _, outcome in found if outcome.verdict == "passed"}
    every = {outcome.name for _, outcome in found}
    print(f"{len(passed)} of {len(every)} passed on at least one unit; never: {sorted(every - passed)}")
    assert len(every) == 230
    assert {key: why for key, why in failed.items() if key not in reasons} == {}
    assert {key for key in reasons if key not in failed} == set()
    assert len(passed) >= WANTED


def test_allowed_failures_name_units_and_reasons() -> None:
    names = {unit.name for unit in UNITS}
    for (test, unit), reason in allowed().items():
        assert test.count(".") == 1
        assert unit in names
        assert len(reason) > 40


LOG = """\
Suite: Read10
  Test: Simple ...
    [OK] READ10 returned SUCCESS
passed
  Test: Async ...    [SKIPPED] needs more
passed
  Test: DpoFua ...
    [FAILED] READ10 was wrong
FAILED
    1. test_read10.c:3  - CU_ASSERT_EQUAL(_r,0)
Suite: Write10
  Test: Simple ...passed    Send PRIN/READ_KEYS
  Test: Broken ...
    Send WRITE10
"""


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        ("Read10.Simple", "passed"),
        ("Read10.Async", "skipped"),
        ("Read10.DpoFua", "failed"),
        ("Write10.Simple", "passed"),
        ("Write10.Broken", "failed"),
    ],
)
def test_reading_the_log(test: str, verdict: str) -> None:
    assert read_log(LOG)[test].verdict == verdict
