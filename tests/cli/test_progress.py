"""The progress bar: on standard error, where somebody sees it, and never in the way."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest

from tests.cli.run import CAPTURE, TOPOLOGY, good
from vsw.cli import progress as module
from vsw.cli.progress import progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    shown = Terminal()
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=shown))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return shown


def test_without_a_terminal_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=StringIO()))
    with progress("Replaying", 100) as step:
        assert step is None


def test_short_work_shows_nothing(terminal: Terminal) -> None:
    with progress("Replaying", 100) as step:
        assert step is not None
        step(50, 7)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("total", "shown"), [(2000, "50%"), (0, "1,234 frames")])
def test_long_work_shows_how_far_it_is(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, total: int, shown: str) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0)
    with progress("Replaying [x]", total) as step:
        assert step is not None
        step(500, 12)
        step(1000, 1234)
    assert "Replaying [x]" in terminal.getvalue()
    assert shown in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")


def test_the_tables_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0)
    assert "2,963 frames" in good("replay", TOPOLOGY, CAPTURE)
