"""House rules for .pyx and .pxd files that cython-lint does not know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.source.tree import PACKAGE, files, name

CYTHON = files(".pyx", ".pxd")
# A cdef or cpdef function that runs without the GIL and may raise.
RAISING_KERNEL = r"^\s*cp?def\b(?!.*\bnoexcept\b).*\)\s*(?:except\b[^:]*)?nogil\s*:"


def lines(path: Path, pattern: str) -> list[str]:
    """Lines of the file, without their comments, in which the pattern occurs."""
    return [
        f"{name(path)}:{number}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(pattern, line.split("#")[0])
    ]


@pytest.mark.parametrize("path", CYTHON, ids=name)
@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        pytest.param(r"\bcimport\s+numpy\b|\bfrom\s+numpy\S*\s+cimport\b", "typed memoryviews need no NumPy headers", id="numpy"),
        pytest.param(r"^\s*except\s*:", "a bare except swallows KeyboardInterrupt", id="except"),
        pytest.param(RAISING_KERNEL, "a kernel without noexcept re-takes the GIL", id="noexcept"),
    ],
)
def test_lines(path: Path, pattern: str, why: str) -> None:
    assert lines(path, pattern) == [], why


@pytest.mark.parametrize("path", CYTHON, ids=name)
def test_directives_stand_in_setup_only(path: Path) -> None:
    assert not re.search(r"^#\s*(?:cython|distutils)\s*:", path.read_text(), re.MULTILINE)
    assert lines(path, r"@cython\.|\bcimport\s+cython\b") == []


@pytest.mark.parametrize("path", files(".pyx"), ids=name)
def test_a_module_says_what_it_is(path: Path) -> None:
    head = path.read_text().lstrip()
    assert head.startswith(('"""', "#")), "the head says what the file is and where it stands"


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("cdef int f(int a) nogil:", True),
        ("cdef uint32_t f(Burst *b,) except -1 nogil:", True),
        ("cdef int f(int a) noexcept nogil:", False),
        ("cdef extern from \"x.h\" nogil:", False),
        ("    with nogil:", False),
    ],
)  # fmt: skip
def test_the_noexcept_rule_tells_kernels(text: str, hit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert bool(lines(PACKAGE / "x.pyx", RAISING_KERNEL)) == hit
