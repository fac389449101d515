"""Reads what a source file imports, whatever language it is in: Python, Cython, C."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.source.tree import ROOT

FROM = re.compile(r"^\s*from\s+(?P<module>[.\w]+)\s+c?import\s+(?P<names>\([^)]*\)|.*)", re.MULTILINE)
IMPORT = re.compile(r"^\s*c?import\s+(?P<names>[\w., ]+)", re.MULTILINE)
EXTERN = re.compile(r'^\s*cdef\s+extern\s+from\s+"(?P<file>[^"]+)"', re.MULTILINE)
INCLUDE = re.compile(r'^\s*(?:#\s*)?include\s+"(?P<file>[^"]+)"', re.MULTILINE)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) for everything of vsw that the file imports, cimports or includes."""
    text = path.read_text()
    found = _python(path, text) if path.suffix in {".py", ".pyi"} else _cython(path, text)
    for line, target in found:
        if target == "vsw" or target.startswith("vsw."):
            yield line, target


def _python(path: Path, text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, target) for target in _from(path, "." * node.level + (node.module or ""), [alias.name for alias in node.names]))


def _cython(path: Path, text: str) -> Iterator[tuple[int, str]]:
    def line(match: re.Match[str]) -> int:
        return text.count("\n", 0, match.start(match.lastgroup or 0)) + 1

    for match in FROM.finditer(text):
        names = [word.split()[0] for word in match["names"].split("#")[0].strip("() \n").replace("\n", " ").split(",") if word.strip()]
        yield from ((line(match), target) for target in _from(path, match["module"], names))
    for match in IMPORT.finditer(text):
        yield from ((line(match), word.split()[0]) for word in match["names"].split(",") if word.strip())
    for match in (*EXTERN.finditer(text), *INCLUDE.finditer(text)):
        # Headers of the package are named from the top, or relative to the file.
        target = ((ROOT if match["file"].startswith("vsw/") else path.parent) / match["file"]).resolve()
        if target.is_relative_to(ROOT):
            yield line(match), ".".join(target.relative_to(ROOT).with_suffix("").parts)


def _from(path: Path, module: str, names: list[str]) -> Iterator[str]:
    dots = len(module) - len(module.lstrip("."))
    if dots:
        base = path.relative_to(ROOT).parts[:-dots]
        module = ".".join((*base, module[dots:])) if module[dots:] else ".".join(base)
    # `from vsw import config` names a folder, `from vsw.config import load` names something in one.
    yield from (f"{module}.{word}" for word in names) if module == "vsw" else (module,)
