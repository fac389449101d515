"""Where in a TOML text each key and each array element stands.

The standard library's reader gives values without positions.  :func:`scan` walks over a text that may still be wrong: it
records what it understands and stops where it no longer does, which is where (or after) the reader complains.  It also bounds
nesting before the reader runs, whose time grows with the square of the number of parts of a dotted key.
"""

from __future__ import annotations

import re

MAX_DEPTH = 32

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_FILLER = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\r\n]+")
# The alternatives begin with different characters, so that a string without an end is given up in linear time.  (Possessive
# quantifiers would say so, but Python before 3.11.5 matches them wrongly.)
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\(?:.|\n)|"(?!""))*"{3,5}'),
    re.compile(r"'''(?:[^']|'(?!''))*'{3,5}"),
    re.compile(r'"((?:[^"\\\n]|\\.)*)"'),
    re.compile(r"'([^'\n]*)'"),
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


class TooDeepError(Exception):
    """Keys or values are nested deeper than :data:`MAX_DEPTH`; ``line`` is where."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(f"nested deeper than {MAX_DEPTH} levels")


class _EndError(Exception):
    """The text is not TOML from here on."""


class Scanner:
    """One walk over one text."""

    def __init__(self, text: str, record: bool) -> None:
        self.text = text
        self.record = record
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._counted_to = 0
        self._line = 1

    def line(self) -> int:
        """The line of the current position (1-based)."""
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._line

    def run(self) -> None:
        """Walk as far as the text is understood."""
        table: Path = ()
        arrays: dict[Path, int] = {}
        try:
            while True:
                self._skip(_FILLER)
                if self.at >= len(self.text):
                    return
                if self.text[self.at] == "[":
                    table = self._header(arrays)
                else:
                    self._pair(table)
        except _EndError:
            return

    def _header(self, arrays: dict[Path, int]) -> Path:
        start = self.at
        double = self.text.startswith("[[", start)
        self.at += 2 if double else 1
        keys = self._key()
        self._expect("]]" if double else "]")
        end, self.at = self.at, start
        path: Path = ()
        for depth, key in enumerate(keys, 1):
            path = (*path, key)
            if depth == len(keys) and double:
                arrays[path] = arrays.get(path, -1) + 1
                self._note(path)
            if path in arrays:
                path = (*path, arrays[path])
            self._note(path)
        self.at = end
        return path

    def _pair(self, table: Path) -> None:
        path = table
        start = self.at
        keys = self._key()
        end, self.at = self.at, start
        for key in keys:
            path = (*path, key)
            self._note(path)
        self.at = end
        self._expect("=")
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            keys.append(self._part())
            if len(keys) > MAX_DEPTH:
                raise TooDeepError(self.line())
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def _part(self) -> str:
        if match := _BARE.match(self.text, self.at):
            self.at = match.end()
            return match[0]
        for pattern in _STRINGS[2:]:
            if match := pattern.match(self.text, self.at):
                self.at = match.end()
                return match[1] if match[0][0] == "'" else _ESCAPE.sub(_unescape, match[1])
        raise _EndError

    def _value(self, path: Path) -> None:
        """A value, without recursion: the stack holds (closing bracket, path, index of the next element)."""
        stack: list[tuple[str, Path, int]] = []
        while True:
            opened = self.text[self.at : self.at + 1]
            if opened in {"[", "{"} and opened:
                self.at += 1
                stack.append(("]" if opened == "[" else "}", path, 0))
                if len(stack) > MAX_DEPTH:
                    raise TooDeepError(self.line())
            else:
                self._scalar()
            while True:
                if not stack:
                    return
                closing, outer, index = stack[-1]
                self._skip(_FILLER)
                if self.text.startswith(",", self.at):
                    self.at += 1
                    self._skip(_FILLER)
                if not self.text.startswith(closing, self.at):
                    break
                self.at += 1
                stack.pop()
            stack[-1] = (closing, outer, index + 1)
            path = self._inner_key(outer) if closing == "}" else (*outer, index)
            if closing == "]":
                self._note(path)

    def _inner_key(self, outer: Path) -> Path:
        start = self.at
        keys = self._key()
        end, self.at = self.at, start
        for key in keys:
            outer = (*outer, key)
            self._note(outer)
        self.at = end
        self._expect("=")
        self._skip(_BLANK)
        return outer

    def _scalar(self) -> None:
        for pattern in (*_STRINGS, _SCALAR):
            if match := pattern.match(self.text, self.at):
                self.at = match.end()
                return
        raise _EndError

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def _expect(self, token: str) -> None:
        if not self.text.startswith(token, self.at):
            raise _EndError
        self.at += len(token)

    def _note(self, path: Path) -> None:
        if self.record:
            self.lines.setdefault(path, self.line())


def _unescape(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    if not digits:
        return _ESCAPES.get(match[3], match[3])
    code = int(digits, 16)
    return chr(code) if code <= 0x10FFFF else "\ufffd"


def check_depth(text: str) -> None:
    """Raise :class:`TooDeepError` if keys or values are nested too deeply."""
    Scanner(text, record=False).run()


def find_lines(text: str) -> dict[Path, int]:
    """The line (1-based) of each key path and array element; of a table that is written in pieces, the first."""
    scanner = Scanner(text, record=True)
    scanner.run()
    return scanner.lines
