"""Header-only C: guards, heads, and how bytes of a frame are read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.source.tree import PACKAGE, ROOT, files, name, rules

HEADERS = files(".h")
# Where per-frame decisions are made.
FRAME_CODE = [path for path in files(".h", ".pyx", ".pxd") if {"wire", "stages", "hashes"} & set(path.relative_to(ROOT).parts)]
LONG: dict[str, str] = rules()["long"]
LINES: int = rules()["lines"]

GUARD = re.compile(r"^#ifndef (VSW_\w+_H)\n#define \1\n", re.MULTILINE)
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
# A function's head, at the beginning of a line.
FUNCTION = re.compile(r"^(?:static|__attribute__)[^;{}=\n]*?\b(vsw_\w+)\(", re.MULTILINE)
POINTER_CAST = re.compile(r"\(\s*(?:const\s+)?(?:u?int(?:16|32|64)_t|unsigned(?: \w+)?|short|int|long)\s*\*\s*\)")
# The offset of the EtherType, the length of an Ethernet header, the bits of a VID: they have names.
BARE = re.compile(r"\b(?:12|14|0x0?[fF]{3})\b")


def code(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without comments and strings (and without `#` comments, which C does not have)."""
    blanked = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), path.read_text())
    if path.suffix != ".h":
        blanked = re.sub(r"#[^\n]*", "", blanked)
    return list(enumerate(blanked.splitlines(), start=1))


@pytest.mark.parametrize("path", HEADERS, ids=name)
def test_a_header_says_what_it_is_and_guards_itself(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"/* {path.name}: "), "the head is a comment: /* NAME.h: what it is"
    guard = GUARD.search(text)
    assert guard, "include guard: #ifndef VSW_..._H, #define VSW_..._H"
    assert text.rstrip().endswith(("#endif", f"#endif /* {guard[1]} */"))


def test_every_function_is_called() -> None:
    said = Counter(word for path in files(".h", ".pyx", ".pxd") for _, line in code(path) for word in re.findall(r"\bvsw_\w+", line))
    functions = [(path, function) for path in HEADERS for function in FUNCTION.findall(path.read_text())]
    assert len(functions) > 100
    assert [f"{name(path)}: {function}" for path, function in functions if said[function] < 2] == []


def test_guards_are_unique() -> None:
    guards = Counter(match[1] for path in HEADERS if (match := GUARD.search(path.read_text())))
    assert [guard for guard, count in guards.items() if count > 1] == []


@pytest.mark.parametrize("path", [path for path in HEADERS if "wire" in path.relative_to(ROOT).parts], ids=name)
def test_bytes_are_not_read_through_cast_pointers(path: Path) -> None:
    assert [f"{name(path)}:{number}: {line.strip()}" for number, line in code(path) if POINTER_CAST.search(line)] == []


@pytest.mark.parametrize("path", FRAME_CODE, ids=name)
def test_offsets_and_masks_have_names(path: Path) -> None:
    named = re.compile(r"^\s*(?:#\s*define\s|\w+\s*=\s*\S+,?\s*$)")
    assert [f"{name(path)}:{number}: {line.strip()}" for number, line in code(path) if BARE.search(line) and not named.match(line)] == []


@pytest.mark.parametrize("path", FRAME_CODE, ids=name)
def test_a_stage_fits_on_a_few_screens(path: Path) -> None:
    long = len(path.read_text().splitlines()) > LINES
    assert long == (name(path) in LONG), f"more than {LINES} lines need a reason in pyproject.toml, others none"


def test_reasons_for_long_files_are_about_files() -> None:
    assert all((ROOT / path).is_file() and (ROOT / path).is_relative_to(PACKAGE) and reason for path, reason in LONG.items())
