"""Collecting what is wrong with a topology, so that all of it is reported together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date, time

from vsw.config.positions import Path, find_lines
from vsw.config.values import MAX_NAME, did_you_mean
from vsw.errors import ConfigError, Problem

#: More are not listed: whoever sees a hundred mends those first.
MAX_PROBLEMS = 100

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_MAX_BITS = 64


class Report:
    """The problems of one file; each place is told each thing once."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.more = 0
        self._found: dict[tuple[Path, str], object] = {}

    def add(self, path: Path, message: str, value: object = None) -> None:
        """At ``path``, say what was allowed; ``value`` is what was found, ``None`` if that says nothing."""
        if self.full:
            self.more += (path, message) not in self._found
        else:
            self._found.setdefault((path, message), value)

    @property
    def full(self) -> bool:
        """Whether further problems are counted only; what makes their messages good is then not worth its time."""
        return len(self._found) >= MAX_PROBLEMS

    def hint(self, found: object, known: Iterable[str]) -> str:
        """:func:`~vsw.config.values.did_you_mean`, which takes its time, while there is room for the answer."""
        return "" if self.full else did_you_mean(found, known)

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_if_any(self) -> None:
        """Raise :class:`~vsw.errors.ConfigError` in the order of lines, if there is anything to report."""
        if not self._found:
            return
        lines = find_lines(self.text)
        problems = [
            Problem(self.file, nearest_line(lines, path), format_path(path), clip(value), message)
            for (path, message), value in self._found.items()
        ]
        problems.sort(key=lambda problem: problem.line or 0)
        if self.more:
            problems.append(Problem(self.file, None, "", None, f"and {self.more} more problems"))
        raise ConfigError(problems)


def nearest_line(lines: dict[Path, int], path: Path) -> int | None:
    """The line of ``path``, or of the nearest table around it that is written down."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def format_path(path: Path) -> str:
    """``vms.web1.nics[0].mac``; keys that are not bare are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if len(part) <= MAX_NAME else part[:MAX_NAME] + "..."
            text += ("." if text else "") + (shown if _BARE.match(shown) else json.dumps(shown, ensure_ascii=not shown.isprintable()))
    return text


def clip(value: object) -> object:
    """A value that is short enough to be printed."""
    if isinstance(value, dict):
        return None if not value else f"a table of {len(value)} keys" if len(value) > 1 else "a table of 1 key"
    if isinstance(value, list | tuple | set | frozenset):
        return list(value) if len(value) <= 8 and all(isinstance(v, int | str) and v == clip(v) for v in value) else f"{len(value)} values"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > MAX_NAME:
        return value[:MAX_NAME] + "..."
    return value
