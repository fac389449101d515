"""The files of the checkout that the source tests look at, and the rules that pyproject.toml states."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "vsw"

# Where the project's own text lies.  A list, not git: the suite also runs from a source distribution.
PLACES = ("vsw", "tests", "bench", "docs", "examples", "scripts", ".ci")
TEXT = {".py", ".pyx", ".pxd", ".pyi", ".h", ".c", ".md", ".toml", ".sh", ".in", ".cfg", ".txt", ""}
# Beside the project's own files: git's in a worktree, and what setuptools puts into a source distribution.
FOREIGN = {".git", "PKG-INFO", "setup.cfg"}


def rules() -> dict[str, Any]:
    """The table ``tool.vsw.source`` of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["tool"]["vsw"]["source"]
    return table


def files(*suffixes: str, under: Path = PACKAGE) -> list[Path]:
    """Files of the given suffixes below a folder, sorted; without what Cython generates."""
    return [
        path
        for path in sorted(under.rglob("*"))
        if path.suffix in suffixes
        and path.is_file()
        and "__pycache__" not in path.parts
        and not (path.suffix == ".c" and path.with_suffix(".pyx").exists())
    ]


def texts() -> list[Path]:
    """Every text file that the project wrote."""
    found = [path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in TEXT and path.name not in FOREIGN]
    for place in PLACES:
        found += files(*TEXT, under=ROOT / place)
    return found


def name(path: Path) -> str:
    """The path as a test's id shows it."""
    return str(path.relative_to(ROOT))
