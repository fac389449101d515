"""Another Cython project, built outside the tree against the package, calls the switch from C."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vsw
from tests.docs.blocks import borrowed
from tests.patience import PATIENCE
from tests.source.tree import ROOT
from vsw.switch.entry import Entry

PROJECT = ROOT / "examples" / "embedding"
TOPOLOGY = ROOT / "examples" / "two-vlans.toml"
LEARNS = ROOT / "examples" / "plain-switch.toml"

PROGRAM = """
import sys, numpy as np, vsw
from embedding import flood
lab, port, source, count, roomy = sys.argv[1], sys.argv[2], int(sys.argv[3], 16), int(sys.argv[4]), bool(sys.argv[5:])
module = vsw.load(lab).module()
switch, other = vsw.Switch(module), vsw.Switch(module)
delivered, copies = flood(switch, port, source, count, roomy)
print(delivered, copies)
# The same frames from Python end the same way, and both switches have counted the same.
frame = b"\\xff" * 6 + source.to_bytes(6, "big") + b"\\x08\\0" + bytes(46)
result = other.forward(vsw.Batch.from_frames([frame] * count, time=[0] * count), ingress=port, copies=True)
found = {}
for _, number, data, _ in result.egress():
    had = found.get(number, (0, 0))
    found[number] = (had[0] + 1, had[1] + len(data))
assert copies == found, (copies, found)
assert delivered == result.counters.delivered
for name in ("offered", "delivered", "copies_out", "learned"):
    assert getattr(switch.counters, name) == getattr(other.counters, name), name
for name in ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes"):
    assert np.array_equal(getattr(switch.counters, name), getattr(other.counters, name)), name
assert switch.learned() == other.learned()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc") and not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    if os.environ.get("VSW_SANITIZED"):
        pytest.skip("the project would be built without the sanitizer")
    folder = tmp_path_factory.mktemp("embedding")
    for file in PROJECT.iterdir():
        if file.suffix in {".py", ".pyx"}:
            shutil.copy(file, folder)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], folder)
    return folder


def run(arguments: list[str], folder: Path) -> str:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("roomy", [[], ["roomy"]], ids=["", "roomy"])
def test_frames_are_forwarded_from_c(project: Path, roomy: list[str]) -> None:
    out = run([sys.executable, "-c", PROGRAM, str(TOPOLOGY), "web1.0", "005056001001", "1000", *roomy], project)
    # To the other web server, to the router with a tag, and to the outside, with a tag, by one card.
    assert out == "1000 {0: (1000, 64000), 3: (1000, 60000), 6: (1000, 64000)}\n"


def test_the_page_prints_what_it_says(project: Path) -> None:
    [(program, output)] = borrowed("docs/reference/c-level.md", __file__)
    (project / "examples").symlink_to(ROOT / "examples")
    assert run([sys.executable, "-c", program.text], project) == output != ""


def test_a_switch_that_learns(project: Path) -> None:
    out = run([sys.executable, "-c", PROGRAM, str(LEARNS), "p1", "020000000099", "300"], project)
    assert out.startswith("300 {")


def test_the_headers_are_in_the_include_folder() -> None:
    assert (Path(vsw.get_include()) / "vsw" / "switch" / "entry.h").is_file()
    assert (Path(vsw.get_include()) / "vsw" / "switch" / "entry.pxd").is_file()


def test_the_promised_header_needs_no_other(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    program = tmp_path / "user.c"
    program.write_text('#include "vsw/switch/entry.h"\nint main(void) { vsw_fate fate = {0}; return fate.verdict; }\n')
    run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{vsw.get_include()}", "-o", "user", "user.c"], tmp_path)
    text = (ROOT / "vsw" / "switch" / "entry.h").read_text()
    assert [line for line in text.splitlines() if line.startswith("#include")] == ["#include <stdint.h>"]


def test_where_frames_have_one_order_there_is_one_way_in() -> None:
    switch = vsw.Switch(vsw.load(LEARNS).module())
    with Entry(switch) as entry:
        with pytest.raises(vsw.UsageError, match="lab/br0 is in use"):
            Entry(switch)
        assert entry.is_open
    assert not entry.is_open
    entry.close()
    Entry(switch).close()


def test_where_they_have_not_there_may_be_several() -> None:
    switch = vsw.Switch(vsw.load(TOPOLOGY).module())
    with Entry(switch), Entry(switch, roomy=True):
        pass
