"""A machine's disks, served to its QEMU."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.disk.nbd_client import Client
from vsw.config.models import DiskWords
from vsw.disk.blocks import create_blocks, open_blocks
from vsw.disk.serve.attach import VmDisks, open_disk
from vsw.errors import UsageError

SIZE = 1 << 20


def disk(file: str, **words: object) -> DiskWords:
    return DiskWords.model_validate({"file": file, **words})


def test_each_disk_is_an_export_of_one_socket(tmp_path: Path) -> None:
    create_blocks(tmp_path / "kept.img", SIZE).close()
    words = [disk("new.img", size=2 * SIZE), disk("kept.img", readonly=True)]
    with tempfile.TemporaryDirectory() as short:
        socket = Path(short) / "s"
        with VmDisks("web1", words, tmp_path, socket) as served:
            assert [(one.export, one.socket) for one in served.disks] == [("web1.0", str(socket)), ("web1.1", str(socket))]
            with Client(str(socket)) as first, Client(str(socket)) as second:
                first.go("web1.0")
                second.go("web1.1")
                assert (first.size, second.size) == (2 * SIZE, SIZE)
                assert not first.flags & 2
                assert second.flags & 2
                first.write(SIZE, b"kept")
            with pytest.raises(OSError, match="in use"):
                open_blocks(tmp_path / "new.img")
        assert not socket.exists()
    with open_blocks(tmp_path / "new.img") as blocks:
        assert blocks.read(SIZE, 4) == b"kept"


def test_a_machine_without_disks_needs_no_socket(tmp_path: Path) -> None:
    with VmDisks("web1", [], tmp_path, tmp_path / "s") as served:
        assert served.disks == []
        assert not (tmp_path / "s").exists()


def test_nothing_stays_open_when_one_disk_is_missing(tmp_path: Path) -> None:
    create_blocks(tmp_path / "a.img", SIZE).close()
    with pytest.raises(FileNotFoundError):
        VmDisks("web1", [disk("a.img"), disk("missing.img")], tmp_path, tmp_path / "s")
    open_blocks(tmp_path / "a.img").close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size": 2 * SIZE}, f"the disk has {SIZE + 512} bytes, its configuration says {2 * SIZE}"),
        ({"block_size": 4096}, f"{SIZE + 512} bytes are no multiple of the disk's block size of 4096"),
    ],
)
def test_words_that_do_not_fit_the_file(tmp_path: Path, words: dict[str, object], message: str) -> None:
    create_blocks(tmp_path / "a.img", SIZE + 512).close()
    with pytest.raises(UsageError, match=message):
        open_disk(disk("a.img", **words), tmp_path)
    open_disk(disk("a.img"), tmp_path).close()
