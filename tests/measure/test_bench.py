"""The benchmarks run, and their yardsticks do what they say; how long anything takes is no matter here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
FRAMES = 3_000


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bench")
    figures = folder / "figures.json"
    options = ["--cases=min64,imix", f"--frames={FRAMES}", "--rounds=1", "--only=cases,workers", f"--scratch={folder}", f"--json={figures}"]
    done = subprocess.run([sys.executable, str(BENCH / "compare.py"), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("vsw-bench-*")), "the benchmarks leave nothing behind"
    return json.loads(figures.read_text())


@pytest.mark.parametrize("case", ["min64", "imix"])
def test_every_measure_meets_the_same_fate(figures: Any, case: str) -> None:
    """The simple switch in C, the ingress port given or found, copies written or not: as many frames delivered, in as many copies."""
    found = figures["cases"][case]
    assert set(found["measures"]) == {"R", "P", "C", "F1", "F2", "W"}
    mixes = found["mix"]
    assert set(mixes) == {"P", "F1", "F2", "W"}
    assert {mix["delivered"] for mix in mixes.values()} == {mixes["F1"]["delivered"]}
    assert {mix["copies_a_frame"] for mix in mixes.values()} == {mixes["F1"]["copies_a_frame"]}
    assert mixes["F1"]["delivered"] >= 0.85
    assert set(mixes["F1"]["dropped"]) == {"unknown_unicast"}
    assert mixes["F1"]["frames"] == FRAMES


def test_ratios_are_taken_within_rounds(figures: Any) -> None:
    for found in figures["cases"].values():
        bare = found["measures"]["R"]["seconds"]
        for measure in found["measures"].values():
            assert measure["ratios"] == sorted(r / own for r, own in zip(bare, measure["seconds"], strict=True))
            assert measure["ns_per_frame"] == pytest.approx(measure["seconds"][0] / FRAMES * 1e9)
