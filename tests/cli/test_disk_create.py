"""``vsw disk create``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.run import as_json, good, run
from vsw.cli.sizes import parse_size, size_text
from vsw.disk.blocks import RawBlocks, open_blocks
from vsw.errors import UsageError


def test_a_raw_image_is_one_hole(tmp_path: Path) -> None:
    assert good("disk", "create", tmp_path / "web.img", "--size", "10G") == f"{tmp_path}/web.img: raw, 10 GiB\n"
    status = (tmp_path / "web.img").stat()
    assert (status.st_size, status.st_blocks) == (10 << 30, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["web.img"]


def test_json(tmp_path: Path) -> None:
    file = tmp_path / "a.raw"
    assert as_json("disk", "create", file, "--size", "1M") == {"file": str(file), "format": "raw", "size": 1 << 20, "backing": None}


def test_an_overlay_shows_what_it_rests_on(tmp_path: Path) -> None:
    (tmp_path / "base.img").write_bytes(b"b" * 1_048_576)
    file = tmp_path / "web.qcow2"
    shown = as_json("disk", "create", file, "--backing", "base.img", "--backing-format", "raw")
    assert shown == {"file": str(file), "format": "qcow2", "size": 1 << 20, "backing": "base.img"}
    with open_blocks(file, "qcow2") as blocks:
        assert blocks.read(0, 1 << 20) == b"b" * (1 << 20)


def test_a_backing_file_must_be_allowed_and_have_a_format(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "base.img").write_bytes(bytes(4096))
    command = ("disk", "create", tmp_path / "images" / "web.qcow2", "--backing", "../base.img")
    assert run(*command).returncode == 2
    refused = run(*command, "--backing-format", "raw")
    assert refused.returncode == 1
    assert "outside of the allowed directories" in refused.stderr
    assert not list((tmp_path / "images").iterdir())
    good(*command, "--backing-format", "raw", "--allow", tmp_path)


def test_what_exists_is_replaced_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "web.img").write_bytes(b"precious")
    done = run("disk", "create", tmp_path / "web.img", "--size", "1M")
    assert (done.returncode, done.stderr) == (1, f"Error: {tmp_path}/web.img: exists already; --force replaces it\n")
    assert (tmp_path / "web.img").read_bytes() == b"precious"
    good("disk", "create", tmp_path / "web.img", "--size", "1M", "--force")
    assert (tmp_path / "web.img").read_bytes() == bytes(1 << 20)
    assert [path.name for path in tmp_path.iterdir()] == ["web.img"]


def test_an_image_in_use_is_not_replaced(tmp_path: Path) -> None:
    with RawBlocks.create(tmp_path / "web.img", 4096):
        done = run("disk", "create", tmp_path / "web.img", "--size", "1M", "--force")
        assert done.returncode == 1
        assert "in use" in done.stderr
    assert (tmp_path / "web.img").stat().st_size == 4096


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    assert run("disk", "create", tmp_path / "web.img", "--size", "1M", "--format", "vhdx").returncode == 2
    assert run("disk", "create", tmp_path / "web.img", "--size", "1M", "--preallocation", "some").returncode == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("10G", 10 << 30), ("10g", 10 << 30), ("1.5T", 3 << 39), ("4KiB", 4096), ("4 MB", 4 << 20), ("0.5k", 512)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1X", "0.3", "1.0001K", "8E", "9" * 30, "1e3", "١G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="--size is"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (512, "512 B"), (1536, "1.5 KiB"), (10 << 30, "10 GiB"), ((1 << 63) - 1, "8 EiB")])
def test_sizes_are_worded(size: int, text: str) -> None:
    assert size_text(size) == text
