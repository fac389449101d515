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


GENERATED = """\
/* "vsw/a.pyx":7
 *
 * def half(int n):             # <<<<<<<<<<<<<<
 *     if n & 1:
 */
static PyObject *half(int n) {
  /* "vsw/a.pyx":8
 * def half(int n):
 *     if n & 1:             # <<<<<<<<<<<<<<
 *         raise ValueError
 */
  if (n & 1) {
    /* "vsw/a.pyx":9
 *     if n & 1:
 *         raise ValueError             # <<<<<<<<<<<<<<
 *     return n >> 1
 */
    raise();
    goto __pyx_L1_error;
  }
  __pyx_L3:;
  cleanup();
  /* function exit code */
  leave();
}
"""


def test_the_line_that_c_was_made_from_is_found(tmp_path: Path) -> None:
    """What `make coverage` says of a .pyx file rests on it."""
    file = tmp_path / "a.c"
    file.write_text(GENERATED)
    found = runpy.run_path(str(ROOT / "scripts" / "reached.py"))["sources"](file)
    code = {number: found[number] for number, text in enumerate(GENERATED.splitlines(), start=1) if text.endswith((";", "{")) and number in found}
    assert code == {12: ("vsw/a.pyx", 8), 18: ("vsw/a.pyx", 9), 19: ("vsw/a.pyx", 9)}
