"""The example notebook runs, and gives what it shows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.source.tree import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def shown(cell: Any) -> list[tuple[str, str]]:
    """What a cell printed and what it gave, but for what was said on standard error."""
    found = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and output["name"] == "stdout":
            found.append(("printed", "".join(output["text"])))
        elif output["output_type"] == "execute_result":
            found.append(("value", "".join(output["data"]["text/plain"])))
        elif output["output_type"] == "error":
            found.append(("error", "\n".join(output["traceback"])))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_gives_what_it_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra `notebook`: nbclient, nbformat, ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra `notebook`")
    pytest.importorskip("ipykernel", reason="needs the extra `notebook`")
    if os.environ.get("VSW_SANITIZED"):
        pytest.skip("a kernel is a process of its own, and says things on its way")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(path, as_version=4)
    expected = [shown(cell) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    nbclient.NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    assert [shown(cell) for cell in notebook.cells if cell.cell_type == "code"] == expected
    assert any(expected)
