"""Public names are promised: those of the last release are there, and new ones are written down."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import vsw
from tests.patience import PATIENCE

#: The promised names, one a line.  A name leaves this list only after a deprecation (docs/reference/public-names.md).
PROMISED = (Path(__file__).parent / "public-names.txt").read_text().split()


def test_all_promised_names_are_there_and_no_others() -> None:
    assert list(vsw.__all__) == sorted(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_each_has_a_text(name: str) -> None:
    value = getattr(vsw, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert inspect.getdoc(value)


def test_importing_the_package_imports_nothing_slow() -> None:
    program = "import sys, vsw; print(sorted({'numpy', 'pydantic', 'rich', 'typer', 'dpkt'} & set(sys.modules)), hasattr(vsw, 'no_such_name'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "[] False\n"
