"""Every command and every program that the documentation shows, run, and its output compared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.blocks import NOTES, RUN, Block, Page, alike, blocks, commands, matches, notes
from tests.source.tree import ROOT, name

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
#: Fences that hold nothing to run: directives of MyST (in braces) and a grammar; in two other pages also what is typed before there is a `vsw`.
PLAIN = {"", "text"}
CI = (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("path", [path for path in PAGES if any(block.language in RUN for block in blocks(path))], ids=name)
def test_the_page_does_what_it_says(path: Path, tmp_path: Path) -> None:
    page = Page(path, tmp_path)
    wrong = page.run()
    assert not wrong, "\n\n".join(wrong)
    if page.left_out:
        pytest.skip(f"all was run but {'; '.join(page.left_out)}")


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_fences_are_of_a_known_kind(path: Path) -> None:
    assert {block.language for block in blocks(path)} <= RUN | PLAIN
    assert {key for block in blocks(path) for key in notes(block)} <= NOTES
    plain = [block.line for block in blocks(path) if not block.language and path.name != "README.md"]
    assert [line for line in plain if not path.read_text().splitlines()[line - 1].lstrip("`~").startswith("{")] == []


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name)
def test_what_is_typed_first_ci_types_too(path: Path) -> None:
    typed = [line for block in blocks(path) if not block.language for line in block.text.splitlines() if line.startswith("make ")]
    assert typed
    assert all(re.search(rf"^{line}\b", CI, re.MULTILINE) for line in typed)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_what_another_test_runs_it_takes_from_the_page(path: Path) -> None:
    for block in blocks(path):
        if "run by" in notes(block):
            test = ROOT / notes(block)["run by"]
            assert re.match(r"test_\w+\.py$", test.name)
            assert f'borrowed("{name(path)}", __file__)' in test.read_text(), f"{path}:{block.line}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_files_are_read(path: Path) -> None:
    """What is TOML is a topology, which is loaded, or a file that a command of the page is given."""
    typed = "".join(block.text for block in blocks(path) if block.language in {"console", "python"})
    for block in blocks(path):
        file = notes(block).get("file")
        assert file in typed if file else block.language != "toml" or "hosts" in tomllib.loads(block.text), f"{path}:{block.line}"


def test_output_stands_behind_a_program() -> None:
    for path in PAGES:
        found = blocks(path)
        for before, block in zip([None, *found], found, strict=False):
            assert block.language != "output" or (before is not None and before.language == "python"), f"{path}:{block.line}"


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("a\nb\n", "a\nb", True),
        ("in 0.012 s\n", "in 3.5 s\n", True),
        ("12 frames in 0.012 s\n", "13 frames in 0.012 s\n", False),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a\n...\nz\n", "a\nb\nc\n", False),
        ("written to [...], all\n", "written to x*[y], all\n", True),
        ("a *b [c] d?\n", "a *b [c] d?\n", True),
        ("a *b\n", "a xb\n", False),
        ("a\n", "", False),
        ("", "a\n", False),
        ("a   b\n────\n", "a b\n──\n", True),
    ],
)
def test_output_is_compared(expected: str, found: str, same: bool) -> None:
    assert matches(alike(expected), alike(found)) is same


def test_commands_are_told_from_their_output() -> None:
    block = Block(10, "console", "$ one \\\n    more\nprinted\n$ two\n", "")
    assert [(command.line, command.text, command.output) for command in commands(block)] == [(11, "one more", "printed\n"), (14, "two", None)]


def test_what_a_page_gets_wrong_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ echo one\ntwo\n$ false\n```\n\n```python\nprint(1)\n```\n```output\n2\n```\n\n```toml\n[hosts\n```\n\n"
        "<!-- run by: tests/test_other.py -->\n```console\n$ no-such-program\n```\n\n<!-- file: a.txt -->\n```text\nx\n```\n\n"
        "<!-- needs: sh no-such-program -->\n```console\n$ no-such-program\n```\n\n<!-- needs: sh -->\n```console\n$ cat a.txt\nx\n```\n"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    checked = Page(page, folder)
    wrong = checked.run()
    assert checked.left_out == ["page.md:29 needs no-such-program"]
    assert [text.split("\n")[0].split(": ")[0] for text in wrong] == ["page.md:2", "page.md:4", "page.md:7", "page.md:14"]
