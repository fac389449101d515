"""What is built beyond Linux includes nothing of Linux's own, unless it asks first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.source.tree import PACKAGE, ROOT, files, name

SETUP = (ROOT / "setup.py").read_text()
LINUX_ONLY = set(re.findall(r'"(\w+)"', re.search(r"LINUX_ONLY = \(([^)]*)\)", SETUP)[1]))  # type: ignore[index]
PORTABLE = [path for path in files(".pyx", ".pxd", ".h") if path.relative_to(PACKAGE).parts[0] not in LINUX_ONLY]
FOREIGN = re.compile(
    r"<linux/|[<\"]linux/|sys/epoll|sys/eventfd|\bMADV_(?:HUGEPAGE|POPULATE)\w*|\bMAP_POPULATE|\bmemfd_create|\b(?:send|recv)mmsg|\bfallocate|\baccept4"
)
REACHES = re.compile(r'(?:from|cimport|include|extern from)\s+"?vsw[./](\w+)')


@pytest.mark.parametrize("path", PORTABLE, ids=name)
def test_uses_posix_only(path: Path) -> None:
    text = re.sub(r"/\*.*?\*/|//[^\n]*|#(?!\s*(?:ifdef|if|include|endif))[^\n]*", "", path.read_text(), flags=re.DOTALL)
    guarded = re.sub(r"#ifdef (\w+)\n.*?#endif", "", text, flags=re.DOTALL)
    assert FOREIGN.findall(guarded) == []


@pytest.mark.parametrize("path", PORTABLE, ids=name)
def test_needs_nothing_that_is_left_out_elsewhere(path: Path) -> None:
    assert set(REACHES.findall(path.read_text())) & LINUX_ONLY == set()


def test_what_is_left_out_exists() -> None:
    assert {path.name for path in PACKAGE.iterdir()} >= LINUX_ONLY
    assert (PACKAGE / "datapath" / "fdb.h") in PORTABLE
