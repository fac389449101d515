"""What a command reads is there afterwards: an output that is one of the inputs is refused; what can't be written is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.run import CAPTURE, TOPOLOGY, good, run

RULES = '[[rules]]\nname = "web1.0"\nkind = "isolation"\nfrom = "web1.0"\nto = "all"\n'
CASES = {
    "classify": ("classify", "{t}", "--format", "csv", "--out", "{t}"),
    "classify by another name": ("classify", "{t}", "--format", "csv", "--out", "{link}"),
    "infer": ("infer", "{t}", "--out", "{t}"),
    "diff": ("diff", "{lab}", "{lab}", "{t}", "--capture", "{t}"),
    "diff over a topology": ("diff", "{lab}", "{lab}", "{t}", "--capture", "{lab}"),
    "report": ("replay", "{lab}", "{t}", "--report", "{lab}"),
    "columns": ("replay", "{lab}", "{npz}", "--columns", "{npz}"),
    "replay a port's capture": ("replay", "{lab}", "{t}", "--out", "{folder}"),
    "assert": ("assert", "{lab}", "{t}", "{rules}", "--out", "{folder}"),
}


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_an_output_is_no_input(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    names = {"t": "web1.0.pcapng", "link": "link.pcapng", "lab": "lab.toml", "npz": "t.npz", "rules": "rules.toml"}
    files = {key: str(tmp_path / name) for key, name in names.items()}
    shutil.copy(CAPTURE, files["t"])
    shutil.copy(CAPTURE, files["npz"])
    shutil.copy(TOPOLOGY, files["lab"])
    Path(files["rules"]).write_text(RULES)
    Path(files["link"]).symlink_to(files["t"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = run(*(argument.format(**files, folder=tmp_path) for argument in arguments))
    assert (done.returncode, "is read here, and would be replaced" in done.stderr) == (2, True), done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_tags_may_be_written_in_place(tmp_path: Path) -> None:
    one, other = tmp_path / "one.pcapng", tmp_path / "other.pcapng"
    shutil.copy(CAPTURE, one)
    good("tag", "push", "--vid", "9", one, other)
    good("tag", "push", "--vid", "9", one, one)
    assert one.read_bytes() == other.read_bytes() != CAPTURE.read_bytes()


@pytest.mark.parametrize(("name", "message"), [("no/out", "No such file or directory"), ("folder", "Is a directory")])
def test_what_can_not_be_written_is_called_by_its_name(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    for arguments in (("classify", CAPTURE, "--format", "csv"), ("infer", CAPTURE), ("classify", CAPTURE, "--format", "parquet")):
        if "parquet" in arguments:
            pytest.importorskip("pyarrow", reason="needs the extra arrow: pyarrow")
        done = run(*arguments, "--out", tmp_path / name)
        assert (done.returncode, done.stderr) == (1, f"Error: {tmp_path / name}: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
