"""What the README says can be done."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.source.tree import ROOT

README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall(README)
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line[2:] for language, text in BLOCKS if language == "console" for line in text.splitlines() if line.startswith("$ vsw ")]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_it_begins_with_the_packages_that_the_makefile_asks_for() -> None:
    _, first = BLOCKS[0]
    assert f"SYSTEM_PACKAGES := {first.strip()}\n" in MAKEFILE


def test_then_come_the_two_commands() -> None:
    _, second = BLOCKS[1]
    assert second.split("\n") == ["make demo", "make test", ""]


def test_its_targets_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)`", README)) <= targets


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("text", PROGRAMS)
def test_its_programs_run(text: str) -> None:
    run([sys.executable, "-W", "error", "-c", text], ROOT)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run(command: str, tmp_path: Path) -> None:
    # In a directory of their own, so that what they write does not stay.
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    run([sys.executable, "-m", *shlex.split(command)], tmp_path)


def run(arguments: list[str], place: Path) -> None:
    """Run a program of the README where a reader would; its output is shown if it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(arguments, cwd=place, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_frames_of_the_example_are_counted_right() -> None:
    import vsw

    with vsw.open_capture(ROOT / "examples" / "two-vlans.pcapng") as trace:
        assert f"{len(trace):,} frames" in README
