"""What holds for every text file of the project."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.source.tree import PACKAGE, ROOT, files, name, texts

THIS = Path(__file__)
TEXTS = [path for path in texts() if path != THIS]
PYTHON = [path for path in TEXTS if path.suffix == ".py"]

# Directories of one person's or one machine's own; the project knows only paths that every system has, and relative ones.
PLACES = re.compile(r"(?<![\w.:/>)}$-])/(?:home|Users|root|mnt|work|workspace|builds|data)/\w")
# Where packages come from is the business of the machine that installs them.
REGISTRY = re.compile(
    r"(?:index-url|find-links|trusted-host|INDEX_URL|FIND_LINKS)\s*[=: ]\s*[\"']?(?:https?|file):|^\s*deb\s+(?:\[[^]]*\]\s*)?https?:",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_no_file_knows_the_machine_that_it_was_written_on(path: Path) -> None:
    text = path.read_text()
    assert [match[0] for match in PLACES.finditer(text)] == []
    assert [match[0] for match in REGISTRY.finditer(text)] == []


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_text_is_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\r" not in text
    assert not text or text.endswith("\n")
    assert not text.endswith("\n\n")
    assert [number for number, line in enumerate(text.splitlines(), start=1) if line != line.rstrip()] == []


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix in {".py", ".sh", ".toml", ""} or path.suffix == ".pyx"], ids=name)
def test_built_for_every_machine(path: Path) -> None:
    assert not re.search(r"[\"'\s=]-(?:march|mcpu|mtune)=\w", path.read_text())


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_python(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None] == []
    if tree.body:
        assert ast.get_docstring(tree), "the head says what the file is"


@pytest.mark.parametrize("path", [path for path in files(".py", under=ROOT / "tests") if path.name.startswith("test_")], ids=name)
def test_tests_do_not_sleep(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if ast.unparse(call.func).split(".")[-1] == "sleep"] == []


@pytest.mark.parametrize("path", [path for path in files(".py") if path.name != "__init__.py"], ids=name)
def test_typed_code_is_checked(path: Path) -> None:
    assert "# type: ignore\n" not in path.read_text(), "say which error is ignored"


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
