"""``vsw disk info | check | convert | snapshot | resize | map``."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import ROOT, as_json, environment, good, run
from vsw.disk import convert as converting
from vsw.disk.blocks import Qcow2Blocks, RawBlocks, create_blocks, open_blocks
from vsw.disk.blocks.qcow2.check import check_image

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk of 10 MiB with data in its second MiB."""
    path = tmp_path / "web.qcow2"
    with create_blocks(path, 10 * MIB, "qcow2") as blocks:
        blocks.write(MIB, b"d" * MIB)
    return path


def test_info(image: Path) -> None:
    found = as_json("disk", "info", image)
    assert found.pop("occupied") < 2 * MIB
    assert found.pop("file_size") >= 1 * MIB
    assert found == {
        "file": str(image), "format": "qcow2", "size": 10 * MIB, "version": 3, "cluster_size": 65536, "refcount_bits": 16, "compression": "deflate",
        "lazy_refcounts": False, "dirty": False, "corrupt": False, "backing": None, "backing_format": None, "snapshots": [],
    }  # fmt: skip
    good("disk", "snapshot", "create", image, "before")
    text = good("disk", "info", image)
    assert "size:            10 MiB (10,485,760 bytes)\n" in text
    assert "1 before, 10 MiB" in text


def test_info_while_the_image_is_in_use(image: Path) -> None:
    with Qcow2Blocks(image):
        assert as_json("disk", "info", image)["size"] == 10 * MIB


def test_info_of_a_raw_image(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(bytes(4096))
    assert as_json("disk", "info", tmp_path / "a.img")["format"] == "raw"


def test_a_raw_image_that_looks_like_qcow2_is_warned_about_and_stays_raw(image: Path, tmp_path: Path) -> None:
    disguised = tmp_path / "web.img"
    image.rename(disguised)
    done = run("disk", "info", "--json", disguised)
    assert "begins like qcow2, and is taken for raw" in done.stderr
    assert json.loads(done.stdout)["format"] == "raw"
    assert as_json("disk", "info", disguised, "--format", "qcow2")["size"] == 10 * MIB


def test_check_finds_leaks_and_frees_them(image: Path) -> None:
    assert good("disk", "check", image).startswith(f"{image}: no errors\n16 of 160 clusters of 64 KiB have a place (10.0 %); 0 are compressed\n")
    with Qcow2Blocks(image) as blocks, blocks.core.lock:
        blocks.core.refcounts.take(3)
    found = as_json("disk", "check", image)
    assert (found["corruptions"], found["leaks"]) == (0, 3)
    repaired = as_json("disk", "check", image, "--repair")
    assert (repaired["leaks"], repaired["repaired"]["leaks"]) == (0, 3)
    assert as_json("disk", "check", image)["leaks"] == 0


def test_check_says_how_far_it_is(tmp_path: Path) -> None:
    """A table of 512-byte clusters has 64 entries: 32 KiB of the disk; repairing looks twice."""
    with create_blocks(tmp_path / "a.qcow2", MIB, "qcow2", cluster_size=512) as blocks:
        for at in range(5):
            blocks.write(at * 32768, b"x" * 512)
    told: list[tuple[int, int]] = []
    assert check_image(tmp_path / "a.qcow2", progress=lambda done, total: told.append((done, total))).sound
    assert told == [(done, 5) for done in range(1, 6)]


def test_check_tells_corruption_by_its_exit_code(image: Path) -> None:
    with Qcow2Blocks(image) as blocks, blocks.core.lock:
        table = blocks.core.tables.get(0)
        assert table is not None
        table.cells[0] = 1 << 40 | 1 << 63
        blocks.core.tables.touch(0, table, 0, 1)
    done = run("disk", "check", image)
    assert done.returncode == 1
    assert "do not point to guest data within the file" in done.stderr
    assert run("disk", "check", image, "--repair").returncode == 1
    good("disk", "check", image, "--repair", "--drop")
    good("disk", "check", image)
    with Qcow2Blocks(image) as blocks:
        assert blocks.read(MIB, MIB) == b"d" * MIB
    assert run("disk", "check", image, "--drop").returncode == 2


def test_check_has_nothing_to_say_of_raw_images(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(4096))
    assert "no structure" in good("disk", "check", tmp_path / "a.raw")


@pytest.mark.parametrize(("source", "target"), [("web.qcow2", "b.raw"), ("web.qcow2", "b.qcow2"), ("a.img", "b.qcow2"), ("a.img", "b.img")])
def test_convert(image: Path, tmp_path: Path, source: str, target: str) -> None:
    content = bytes(MIB) + b"d" * MIB + bytes(8 * MIB)
    (tmp_path / "a.img").write_bytes(content)
    found = as_json("disk", "convert", tmp_path / source, tmp_path / target)
    assert (found["size"], found["resumed_from"]) == (10 * MIB, 0)
    with open_blocks(tmp_path / target, found["format"]) as blocks:
        assert blocks.read(0, 10 * MIB) == content
    assert (tmp_path / target).stat().st_blocks * 512 < 2 * MIB  # zeroes were left out
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert "exists already" in run("disk", "convert", tmp_path / source, tmp_path / target).stderr
    good("disk", "convert", tmp_path / source, tmp_path / target, "--force")


@pytest.mark.parametrize("target", ["b.qcow2", "b.img"])
def test_an_interrupted_copy_goes_on(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    with Qcow2Blocks(image) as blocks:
        for at in range(10):
            blocks.write(at * MIB, bytes((at + 1,)) * MIB)
        content = blocks.read(0, 10 * MIB)
    monkeypatch.setattr(converting, "STRETCH", 2 * MIB)
    copied = []
    original = converting._copy

    def breaking(source: object, made: object, start: int, stop: int) -> object:
        copied.append(start)
        yield from original(source, made, start, stop)  # type: ignore[arg-type]
        if len(copied) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(converting, "_copy", breaking)
    assert run("disk", "convert", image, tmp_path / target).returncode == 130
    assert not (tmp_path / target).exists()
    changed = run("disk", "convert", image, tmp_path / target, "--resume", "--preallocation", "full")
    assert "with other options" in changed.stderr
    assert as_json("disk", "convert", image, tmp_path / target, "--resume")["resumed_from"] == 4 * MIB
    assert copied == [0, 2 * MIB, 4 * MIB, 4 * MIB, 6 * MIB, 8 * MIB]
    with open_blocks(tmp_path / target, "qcow2" if target.endswith("qcow2") else "raw") as blocks:
        assert blocks.read(0, 10 * MIB) == content
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target, "web.qcow2"])


@pytest.mark.parametrize("target", ["b.qcow2", "b.img"])
def test_a_copy_that_was_killed_goes_on(tmp_path: Path, target: str) -> None:
    """SIGKILL while it writes, again and again; each time it goes on from what had reached the disk, and in the end all is there."""
    chance = random.Random(target)
    content = b"".join(chance.randbytes(MIB // 4) + bytes(MIB // 4) + chance.randbytes(MIB // 2) for _ in range(12))
    (tmp_path / "a.img").write_bytes(content)
    kind = "qcow2" if target.endswith("qcow2") else "raw"
    journal = tmp_path / f".{target}.vsw-partial.json"
    reached = 0
    for resume in range(4):
        words = [tmp_path / "a.img", "raw", tmp_path / target, kind, 64 << 10, min(resume, 1)]
        program = [sys.executable, str(ROOT / "tests" / "disk" / "interrupted.py"), *map(str, words)]
        until = reached + chance.randrange(1, 3 * MIB)
        with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment(), cwd=ROOT) as process:
            assert process.stdout is not None
            next(line for line in process.stdout if int(line) >= min(until, len(content) - MIB))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / target).exists()
        noted = json.loads(journal.read_text())["done"]
        assert reached <= noted < len(content)
        reached = noted
    assert reached >= MIB
    assert as_json("disk", "convert", tmp_path / "a.img", tmp_path / target, "--resume")["resumed_from"] == reached
    if kind == "qcow2":
        assert check_image(tmp_path / target).leaks == 0
    with open_blocks(tmp_path / target, kind) as blocks:
        assert blocks.read(0, blocks.size) == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.img", target]


def test_what_was_not_interrupted_or_has_changed_is_not_resumed(image: Path, tmp_path: Path) -> None:
    assert "no interrupted copy" in run("disk", "convert", image, tmp_path / "b.img", "--resume").stderr
    (tmp_path / ".b.img.vsw-partial").write_bytes(bytes(10 * MIB))
    (tmp_path / ".b.img.vsw-partial.json").write_text('{"done": 4096}')
    assert "one that has changed since" in run("disk", "convert", image, tmp_path / "b.img", "--resume").stderr
    (tmp_path / ".b.img.vsw-partial.json").write_text("[]")
    assert "no interrupted copy" in run("disk", "convert", image, tmp_path / "b.img", "--resume").stderr


def test_snapshots(image: Path, tmp_path: Path) -> None:
    good("disk", "snapshot", "create", image, "before")
    with Qcow2Blocks(image) as blocks:
        blocks.write(0, b"after" * 1000)
    assert [one["name"] for one in as_json("disk", "snapshot", "list", image)["snapshots"]] == ["before"]
    assert "before" in good("disk", "snapshot", "list", image)
    assert "already" in run("disk", "snapshot", "create", image, "before").stderr
    good("disk", "convert", "--snapshot", "before", image, tmp_path / "old.img")
    with RawBlocks(tmp_path / "old.img") as blocks:
        assert blocks.read(0, 2 * MIB) == bytes(MIB) + b"d" * MIB
    assert as_json("disk", "snapshot", "apply", image, "before") == {"file": str(image), "snapshot": "before", "done": "applied", "size": 10 * MIB}
    with Qcow2Blocks(image) as blocks:
        assert blocks.read(0, 5000) == bytes(5000)
    good("disk", "snapshot", "delete", image, "before")
    assert "no snapshot is called 'before'; there are: none" in run("disk", "snapshot", "delete", image, "before").stderr
    good("disk", "check", image)


@pytest.mark.parametrize("name", ["web.qcow2", "a.img"])
def test_resize(image: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.img").write_bytes(bytes(10 * MIB))
    assert as_json("disk", "resize", tmp_path / name, "+5M")["size"] == 15 * MIB
    assert run("disk", "resize", tmp_path / name, "2M").returncode == 2
    good("disk", "resize", tmp_path / name, "2M", "--shrink")
    assert as_json("disk", "info", tmp_path / name)["size"] == 2 * MIB


def test_map(image: Path, tmp_path: Path) -> None:
    parts = as_json("disk", "map", image)["map"]
    assert [(one["offset"], one["length"], one["depth"], one["rests_on"]) for one in parts] == [
        (0, MIB, 0, "nothing"), (MIB, MIB, 0, "data"), (2 * MIB, 8 * MIB, 0, "nothing"),
    ]  # fmt: skip
    assert image.read_bytes()[parts[1]["host"]: parts[1]["host"] + MIB] == b"d" * MIB
    good("disk", "create", tmp_path / "over.qcow2", "--backing", "web.qcow2", "--backing-format", "qcow2")
    assert [one["depth"] for one in as_json("disk", "map", tmp_path / "over.qcow2")["map"]] == [1, 1, 1]
    assert "data at " in good("disk", "map", tmp_path / "over.qcow2")


@pytest.mark.parametrize("command", [["info"], ["check"], ["map"], ["resize", "1M"], ["snapshot", "list"], ["convert", "x.raw"]])
def test_what_is_no_image_is_told(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "bad.qcow2").write_bytes(b"QFI\xfb" + bytes(200))
    words = command[:2] if command[0] == "snapshot" else command[:1]
    done = run("disk", *words, tmp_path / "bad.qcow2", *[tmp_path / word if word == "x.raw" else word for word in command[len(words):]])
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path}/bad.qcow2: qcow2 version 0 is not supported; 2 and 3 are\n"
    absent = run("disk", *words, tmp_path / "none.qcow2", *[tmp_path / word if word == "x.raw" else word for word in command[len(words):]])
    assert absent.returncode == 1
    assert "No such file" in absent.stderr
