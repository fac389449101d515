"""Commands that stand within sentences and tables of the documentation: they exist, and take the options that they are shown with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import VSW
from tests.docs.test_blocks import PAGES
from tests.source.tree import ROOT, name

FENCES = re.compile(r"^(```+|~~~+).*?^\1$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
MAKEFILE = (ROOT / "Makefile").read_text()


def shown(text: str, first: str) -> list[str]:
    """What stands in backquotes, outside of fences, and begins with that word."""
    return [command for command in INLINE.findall(FENCES.sub("", text)) if command.split()[0] == first and command != first]


def wrong_with(command: str) -> str:
    """Why there is no such command; empty if there is."""
    # `a | b` offers a choice for the word before it, and what follows `>` is the shell's.
    words = command.split(" > ", maxsplit=1)[0].replace(" | ", "|").split()[1:]
    found: Any = VSW
    while words and hasattr(found, "commands"):
        choice = words.pop(0).rstrip(",").split("|")
        if choice[0].startswith("-"):
            words.insert(0, choice[0])
            break
        if absent := [word for word in choice if word not in found.commands]:
            return "" if choice in (["COMMAND"], ["..."]) else f"no command {', '.join(absent)}"
        found = found.commands[choice[0]]
    options = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    given = [word.strip("[]").split("=")[0] for word in words if re.match(r"\[?--?[a-z]", word)]
    return "".join(f"no option {option} " for option in given if option not in options)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_within_sentences(path: Path) -> None:
    text = path.read_text()
    assert {command: wrong for command in shown(text, "vsw") if (wrong := wrong_with(command))} == {}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_targets_within_sentences(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
    named = {command.split()[1] for command in shown(path.read_text(), "make")}
    assert named <= targets


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("vsw replay lab.toml --at 5s:p=down", ""),
        ("vsw tag push | pop | translate IN OUT", ""),
        ("vsw infer trace.pcap > lab.toml", ""),
        ("vsw disk serve FILE --vhost-user-scsi=a", ""),
        ("vsw replya lab.toml", "no command replya"),
        ("vsw disk crate a.img", "no command crate"),
        ("vsw replay lab.toml --fast", "no option --fast "),
    ],
)
def test_what_is_wrong_is_seen(command: str, wrong: str) -> None:
    assert wrong_with(command) == wrong
