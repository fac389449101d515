"""Scripts and targets that are run seldom: what they lean on is still there."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.source.tree import ROOT, name, texts

SHELL = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]
PAGES = [path for path in texts() if path.suffix == ".md" and path.name != "CHANGELOG.md"]
# `make` and what follows it, in backquotes or at the beginning of a line.
NAMED = re.compile(r"(?:`|^)make ((?:[a-z][a-z0-9-]*(?: |(?=[`\n])))+)", re.MULTILINE)
MUTANTS: tuple[Any, ...] = runpy.run_path(str(ROOT / "scripts" / "mutants.py"))["MUTANTS"]


@pytest.mark.parametrize("path", SHELL, ids=name)
def test_shell_scripts_are_read_by_bash(path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    assert subprocess.run([bash, "-n", str(path)], capture_output=True, text=True, check=False).stderr == ""
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n# ")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_seeded_mistake_has_its_place(mutant: Any) -> None:
    """The code moves on; `make mutants`, which takes an hour, must not be where one hears of it."""
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_target_that_a_page_names_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for words in NAMED.findall(path.read_text()) for word in words.split()} <= targets
