"""Lines of keys: the scanner agrees with the standard library's reader on what there is, and knows where it stands."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsw.config.positions import Path, TooDeepError, check_depth, find_lines

TEXT = '''# a comment = not a key
a = 1
b.c = "x # not a comment"
"quoted.key" = 'it''s' # noqa

[t]
x = """
y = 1
[not.a.table]
"""
z = [ # comment ]
  1,
  [2, 3],
  { k = "}", l = [
    4,
  ] },
]

[t.u."v w"]
d = 1979-05-27 07:32:00
e = \'\'\'
[neither]\'\'\'
[[array]]
n = 1
[[array]]
n = 2
[array.inner]
m = "\\"]"
[[array.list]]
p = 1
[[array.list]]
q = {}
["\\u00e4"]
f = inf
'''.replace("'it''s'", "'its'")

LINES: dict[Path, int] = {
    ("a",): 2,
    ("b",): 3,
    ("b", "c"): 3,
    ("quoted.key",): 4,
    ("t",): 6,
    ("t", "x"): 7,
    ("t", "z"): 11,
    ("t", "z", 0): 12,
    ("t", "z", 1): 13,
    ("t", "z", 1, 0): 13,
    ("t", "z", 1, 1): 13,
    ("t", "z", 2): 14,
    ("t", "z", 2, "k"): 14,
    ("t", "z", 2, "l"): 14,
    ("t", "z", 2, "l", 0): 15,
    ("t", "u"): 19,
    ("t", "u", "v w"): 19,
    ("t", "u", "v w", "d"): 20,
    ("t", "u", "v w", "e"): 21,
    ("array",): 23,
    ("array", 0): 23,
    ("array", 0, "n"): 24,
    ("array", 1): 25,
    ("array", 1, "n"): 26,
    ("array", 1, "inner"): 27,
    ("array", 1, "inner", "m"): 28,
    ("array", 1, "list"): 29,
    ("array", 1, "list", 0): 29,
    ("array", 1, "list", 0, "p"): 30,
    ("array", 1, "list", 1): 31,
    ("array", 1, "list", 1, "q"): 32,
    ("ä",): 33,
    ("ä", "f"): 34,
}


def paths(value: object, path: Path = ()) -> set[Path]:
    """Every key path and array element of a document."""
    found = {path} if path else set()
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, element in inner:
        found |= paths(element, (*path, key))
    return found


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_line(newline: str) -> None:
    text = TEXT.replace("\n", newline)
    assert find_lines(text) == LINES
    assert paths(tomllib.loads(text)) == set(LINES)


KEYS = st.text(alphabet="abcXYZ019_-. \"'\\#=[]{}ä\t", min_size=0, max_size=6)
STRINGS = st.text(alphabet="ab \"'\\#=[]{},\n\tä", max_size=12)
SCALARS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), STRINGS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


def write_string(text: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" if letter in '"\\\n\t' else letter for letter in text) + '"'


class Writer:
    """Writes a document as TOML in ways that a generator picks, and notes on which line each path begins."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def pick(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def key(self, key: str) -> None:
        bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
        literal = "'" not in key
        self.text += self.pick(*([key] if bare else []), *([f"'{key}'"] if literal else []), write_string(key))

    def string(self, text: str) -> None:
        options = [write_string(text), '"""' + self.pick("", "\n") + write_string(text)[1:-1] + '"""']
        if "'" not in text:
            options.append("'''\n" + text + "'''")
            if "\n" not in text:
                options.append(f"'{text}'")
        if '"' not in text and "\\" not in text:
            options.append('"""\n' + text + '"""')
        self.text += self.pick(*options)

    def filler(self) -> None:
        self.text += self.pick("", " ", "\n", " # ] } \"\n", "\n\n\t")

    def value(self, value: object, path: Path) -> None:
        match value:
            case str():
                self.string(value)
            case bool():
                self.text += "true" if value else "false"
            case list():
                self.text += "["
                for index, element in enumerate(value):
                    self.filler()
                    self.note((*path, index))
                    self.value(element, (*path, index))
                    self.filler()
                    self.text += "," if index + 1 < len(value) else self.pick("", ",")
                self.filler()
                self.text += "]"
            case dict():
                self.text += "{"
                for index, (key, element) in enumerate(value.items()):
                    self.text += "," if index else ""
                    self.text += self.pick("", " ")
                    self.note((*path, key))
                    self.key(key)
                    self.text += self.pick("=", " = ")
                    self.value(element, (*path, key))
                self.text += "}"
            case _:
                self.text += repr(value)

    def table(self, table: dict[str, Any], path: Path) -> None:
        headed = {}
        for key, value in table.items():
            if isinstance(value, dict) and self.draw(st.booleans()):
                headed[key] = value
                continue
            if isinstance(value, list) and value and all(isinstance(element, dict) for element in value) and self.draw(st.booleans()):
                headed[key] = value
                continue
            self.text += self.pick("", "\n", "# [comment] = 1\n", "  ")
            self.note((*path, key))
            self.key(key)
            self.text += self.pick("=", " = ", "\t=")
            self.value(value, (*path, key))
            self.text += self.pick("\n", " # ]\n", "\n\n")
        for key, value in headed.items():
            for index, element in enumerate(value if isinstance(value, list) else [value]):
                inner = (*path, key, index) if isinstance(value, list) else (*path, key)
                self.note((*path, key))
                self.note(inner)
                self.text += "[[" if isinstance(value, list) else "["
                for part in [part for part in inner if isinstance(part, str)]:
                    self.text += "" if self.text.endswith("[") else self.pick(".", " . ")
                    self.key(part)
                self.text += "]]\n" if isinstance(value, list) else "]\n"
                self.table(element, inner)


@settings(max_examples=50)
@given(st.data(), st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_document_is_found_as_the_reader_finds_it(data: st.DataObject, document: dict[str, Any]) -> None:
    writer = Writer(data.draw)
    writer.table(document, ())
    assert tomllib.loads(writer.text) == document, "the test writes no TOML"
    assert find_lines(writer.text) == writer.lines
    assert set(writer.lines) == paths(document)


@given(st.text(alphabet="ab=.[]{},'\"#\n \\1", max_size=40))
def test_anything_is_survived(text: str) -> None:
    lines = find_lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines) == paths(document)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a" + ".a" * 31 + " = 1", None), ("\na" + ".a" * 32 + " = 1", 2), ("a = " + "[" * 32 + "]" * 32, None), ("a = " + "[" * 33 + "]" * 33, 1)],
)
def test_depth(text: str, line: int | None) -> None:
    if line is None:
        check_depth(text)
    else:
        with pytest.raises(TooDeepError) as caught:
            check_depth(text)
        assert caught.value.line == line
