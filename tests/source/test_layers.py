"""Each folder of the package imports only from the folders below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.source.imports import imports
from tests.source.tree import PACKAGE, files, name, rules

LAYERS: list[str] = rules()["layers"]
APART: dict[str, list[str]] = rules()["apart"]
CODE = files(".py", ".pyi", ".pyx", ".pxd", ".h", ".c")


def layer(path: Path) -> str:
    """The layer a file of the package belongs to; `` `` for the facade."""
    parts = path.relative_to(PACKAGE).parts
    if len(parts) > 1:
        return parts[0]
    return path.stem if path.stem in LAYERS else ""


def complaints(path: Path) -> list[str]:
    """What the file imports and must not."""
    own = layer(path)
    if own == "":
        return []
    below = set(LAYERS[LAYERS.index(own):]) - set(APART.get(own, ()))
    return [
        f"{name(path)}:{line}: {own} must not import {target}"
        for line, target in imports(path)
        if [*target.split("."), ""][1] not in below and target != "vsw.__version__"
    ]


def test_every_folder_has_its_layer() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in CODE if path.parent != PACKAGE}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize("path", CODE, ids=name)
def test_imports_point_downwards(path: Path) -> None:
    assert complaints(path) == []


@pytest.mark.parametrize(
    ("file", "text", "seen"),
    [
        ("config/x.py", "import vsw.switch.compile\n", ["vsw.switch.compile"]),
        ("config/x.py", "def f():\n    from vsw.datapath import api\n", ["vsw.datapath"]),
        ("config/x.py", "from vsw import switch, errors\nimport os\n", ["vsw.switch", "vsw.errors"]),
        ("config/x.py", "from ..switch import compile\nfrom . import dialects\n", ["vsw.switch", "vsw.config"]),
        ("datapath/x.pyx", "from vsw.capture.index cimport Capture, Frame  # both\n", ["vsw.capture.index"]),
        ("datapath/x.pyx", "from vsw cimport capture\ncimport vsw.config.x as y\n", ["vsw.capture", "vsw.config.x"]),
        ("datapath/x.pyx", "from vsw.capture.index cimport (\n    Capture,\n)\n", ["vsw.capture.index"]),
        ("datapath/x.pxd", 'cdef extern from "vsw/capture/x.h" nogil:\n', ["vsw.capture.x"]),
        ("datapath/x.pyx", 'include "../capture/x.pxi"\n', ["vsw.capture.x"]),
        ("datapath/x.h", '#include "vsw/capture/x.h"\n#  include <stdint.h>\n', ["vsw.capture.x"]),
        ("datapath/x.h", '#include "burst.h"\n', ["vsw.datapath.burst"]),
    ],
)  # fmt: skip
def test_the_reader_sees_imports_in_every_language(monkeypatch: pytest.MonkeyPatch, file: str, text: str, seen: list[str]) -> None:
    path = PACKAGE / file
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert [target for _, target in imports(path)] == seen


def test_an_import_that_points_upwards_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: "\nfrom vsw.switch.compile cimport Tables\n")
    assert complaints(PACKAGE / "datapath/x.pyx") == ["vsw/datapath/x.pyx:2: datapath must not import vsw.switch.compile"]
    assert complaints(PACKAGE / "switch/x.pyx") == []
    monkeypatch.setattr(Path, "read_text", lambda self: "import vsw.datapath.burst\n")
    assert complaints(PACKAGE / "reference/x.py") == ["vsw/reference/x.py:1: reference must not import vsw.datapath.burst"]
