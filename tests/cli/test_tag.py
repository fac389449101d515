"""vsw tag: what it prints, and what it writes where."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import vsw
from tests.cli.run import CAPTURE, command, environment, good, run


def tags(path: Path) -> list[tuple[int, int, int]]:
    with vsw.open_capture(path) as capture:
        rows = vsw.classify(capture)
    return sorted({(int(row["outer_tpid"]), int(row["outer_tci"]), int(row["tags"])) for row in rows})


def test_push(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    assert good("tag", "push", "--vid", 100, "--pcp", 3, "--dei", 1, "--tpid", "0x88a8", CAPTURE, out) == f"{out}: 2,963 frames, 2,963 tagged\n"
    assert {(tpid, tci) for tpid, tci, _ in tags(out)} == {(0x88A8, 3 << 13 | 1 << 12 | 100)}


def test_pop_what_was_pushed(tmp_path: Path) -> None:
    pushed, popped = tmp_path / "pushed.pcapng", tmp_path / "popped.pcapng"
    good("tag", "push", "--vid", 7, CAPTURE, pushed)
    good("tag", "pop", "--vid", 7, pushed, popped)
    assert popped.read_bytes() == CAPTURE.read_bytes()


def test_pop_says_what_it_left(tmp_path: Path) -> None:
    found = json.loads(good("tag", "pop", "--vid", 20, "--pad", "--json", CAPTURE, tmp_path / "out"))
    with vsw.open_capture(CAPTURE) as capture:
        rows = vsw.classify(capture)
    vids = rows["outer_tci"] & 0xFFF
    tagged = rows["tags"] > 0
    assert found == {
        "frames": len(rows),
        "changed": int((tagged & (vids == 20)).sum()),
        "left": {"untagged": int((~tagged).sum()), "other_vid": int((tagged & (vids != 20)).sum())},
        "padded": int((tagged & (vids == 20) & (rows["length"] < 64) & (rows["captured"] == rows["length"])).sum()),
        "shortened": 0,
        "check_sequences": 0,
        "problems": [],
    }


def test_translate(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    good("tag", "translate", "--vid", "10:110", "--vid", "20:120", "--pcp", 5, CAPTURE, out)
    assert {(tpid, tci & 0xFFF) for tpid, tci, count in tags(out) if count} == {(0x8100, 110), (0x8100, 120), (0x8100, 30)}


def test_from_a_pipe_to_a_pipe(tmp_path: Path) -> None:
    good("tag", "push", "--vid", 1, CAPTURE, tmp_path / "out")
    arguments = command("tag", "push", "--vid", 1, "-", "-")
    done = subprocess.run(arguments, input=CAPTURE.read_bytes(), env=environment(), capture_output=True, check=True)
    assert done.stderr == b"-: 2,963 frames, 2,963 tagged\n"
    assert done.stdout == (tmp_path / "out").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["push", CAPTURE, "out"], 2, "Missing option '--vid'"),
        (["push", "--vid", 1, "--tpid", "0x1234", CAPTURE, "out"], 2, "tpid is one of 0x8100, 0x88a8, 0x9100, not 0x1234"),
        (["push", "--vid", 1, "--tpid", "x", CAPTURE, "out"], 2, "--tpid is 0x8100, 0x88a8 or 0x9100 (found 'x')"),
        (["translate", CAPTURE, "out"], 2, "translate needs something to change"),
        (["translate", "--vid", "10", CAPTURE, "out"], 2, "--vid is OLD:NEW"),
        (["translate", "--vid", "10:1", "--vid", "10:2", CAPTURE, "out"], 2, "one is named twice"),
        (["pop", "none.pcap", "out"], 1, "none.pcap"),
        (["pop", CAPTURE, "none/out"], 1, "No such file or directory"),
    ],
)
def test_mistakes(arguments: list[object], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("tag", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark (Debian: tshark)")
def test_wireshark_reads_it(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    good("tag", "push", "--vid", 100, "--pcp", 3, CAPTURE, out)
    names = ("vlan.id", "vlan.priority", "frame.time_epoch", "frame.interface_name", "ip.checksum.status")
    fields = ["-T", "fields", *(word for name in names for word in ("-e", name))]
    options = ["-o", "ip.check_checksum:TRUE", "-E", "occurrence=f"]
    before, after = (
        subprocess.run(["tshark", "-r", str(path), *options, *fields], capture_output=True, check=True, text=True).stdout.splitlines()
        for path in (CAPTURE, out)
    )
    assert len(after) == 2963
    assert {tuple(line.split("\t")[:2]) for line in after} == {("100", "3")}
    assert [line.split("\t")[2:] for line in after] == [line.split("\t")[2:] for line in before]
