"""The page of ideas names commands, keys and tests that exist."""

from __future__ import annotations

import re

import pytest
import typer.main

from tests.cli.run import good
from tests.source.tree import ROOT
from vsw.cli.app import application

PAGE = ROOT / "docs" / "learn" / "ideas.md"
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]


def test_there_is_a_row_for_each_idea() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 30)]
    assert all(len(row) == 5 and row[1] and row[2] and row[4] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_it_names_exists(row: list[str]) -> None:
    for path in re.findall(r"`((?:tests|examples)/[\w./-]+)`", " ".join(row)):
        assert (ROOT / path).is_file(), path
    group = typer.main.get_command(application())
    for command in re.findall(r"`vsw ([a-z -]+)", row[2]):
        found = group
        for word in command.split():
            if not hasattr(found, "commands"):
                break
            assert word in found.commands, command
            found = found.commands[word]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_can_be_seen_is_seen(row: list[str]) -> None:
    for command in re.findall(r"`vsw (check examples/[^`]+)`", row[2]):
        assert "no problems" in good(*command.split())
    tutorial = (ROOT / "docs" / "learn" / "tutorial.md").read_text()
    for steps in re.findall(r"tutorial steps? ([0-9]+(?: and [0-9]+)?)", row[2]):
        assert all(f"\n## {step}. " in tutorial for step in steps.split(" and "))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_no_test_holds_is_not_said_to_be_there(row: list[str]) -> None:
    assert row[3] or "not there" in row[4] or "lacks" in row[4]
