"""Real trouble with the file below a disk that is served: what clients of both protocols are told, and that the next request works.

Raw files and qcow2 images alike. Faults that are made up (any ``errno`` at any place) are in ``test_nbd.py``, ``test_scsi_commands.py`` and
``test_qcow2_faults.py``.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.disk import nbd_client as nbd
from tests.disk.initiator import Initiator, read_16, write_16
from tests.disk.nbd_client import Client
from vsw.disk.blocks import FORMATS, Blocks, create_blocks, open_blocks
from vsw.disk.blocks.qcow2.check import check_image
from vsw.disk.serve.serving import Disk, Iscsi, Nbd, Serving, VhostUser
from vsw.errors import UsageError

SIZE = 4 << 20
PIECE = 64 << 10
BLOCK = 512
EIO, ENOSPC = 5, 28
READ_ERROR = (3, 0x11, 0)
SPACE_ALLOCATION_FAILED = (7, 0x27, 7)
TARGET = "iqn.2026-01.example.lab:faults"


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def clients(blocks: Blocks, place: Path, *, read_only: bool = False) -> Iterator[tuple[Client, Initiator]]:
    """An NBD client and an iSCSI initiator of the same disk."""
    with Serving([Disk("d", blocks, "d", read_only=read_only)], Nbd(place / "s"), Iscsi(TARGET, (("127.0.0.1", 0),))) as serving:
        assert serving.iscsi is not None
        with Client(str(place / "s")) as client, Initiator(serving.iscsi.address, TARGET).login() as initiator:
            client.go("d")
            initiator.command(bytes(6))  # takes the first unit attention
            yield client, initiator


@pytest.mark.parametrize("kind", list(FORMATS))
def test_a_read_that_comes_back_short(place: Path, kind: str) -> None:
    """Somebody cuts the file: the kernel gives the part of the request that is there, then nothing."""
    path = place / "disk"
    with create_blocks(path, SIZE, kind) as blocks:
        blocks.write(0, b"a" * SIZE)
    with clients(open_blocks(path, kind, read_only=True), place, read_only=True) as (client, initiator):
        os.truncate(path, path.stat().st_size - 100_000)
        assert client.do(nbd.READ, SIZE - 2 * PIECE, 2 * PIECE).error == EIO
        assert client.read(0, PIECE) == b"a" * PIECE
        count = 2 * PIECE // BLOCK
        assert initiator.command(read_16(SIZE // BLOCK - count, count), read=2 * PIECE).code == READ_ERROR
        assert initiator.command(read_16(0, 8), read=4096).data == b"a" * 4096


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = place / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "vsw-test", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"can't mount a small file system here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def piece(number: int) -> bytes:
    return bytes((number + 1,)) * PIECE


@pytest.mark.parametrize("kind", list(FORMATS))
def test_a_file_system_that_is_full(place: Path, small: Path, kind: str) -> None:
    """Both kinds of clients are told; what was acknowledged is there; what is discarded makes room."""
    blocks = create_blocks(small / "disk", 64 << 20, kind)
    count = PIECE // BLOCK
    with clients(blocks, place) as (client, initiator):
        written = 0
        while (error := client.do(nbd.WRITE, written * PIECE, PIECE, data=piece(written)).error) == 0:
            written += 1
        assert error == ENOSPC
        assert 40 < written <= 64
        assert initiator.command(write_16(written * count, count), write=piece(written)).code == SPACE_ALLOCATION_FAILED
        assert client.do(nbd.FLUSH).error == 0
        for number in range(written):
            assert client.read(number * PIECE, PIECE) == piece(number)
            assert initiator.command(read_16(number * count, count), read=PIECE).data == piece(number)
        assert client.do(nbd.TRIM, 0, 10 * PIECE).error == 0
        assert client.do(nbd.FLUSH).error == 0
        for number in range(written, written + 4):
            client.write(number * PIECE, piece(number))
            assert initiator.command(write_16((number + 4) * count, count), write=piece(number)).status == 0
        assert client.do(nbd.FLUSH).error == 0
    if kind == "qcow2":
        report = check_image(small / "disk")
        assert (report.corruptions, report.leaks) == (0, 0)
    with open_blocks(small / "disk", kind) as again:
        for number in range(10, written + 4):
            assert again.read(number * PIECE, PIECE) == piece(number)


@pytest.mark.parametrize("ways", [{"nbd": Nbd(Path("s"))}, {"iscsi": Iscsi(TARGET, ())}, {"vhost_user": VhostUser(scsi=Path("s"))}, {}], ids=str)
def test_no_disks_are_not_served(ways: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="there is no disk to serve"):
        Serving([], **ways)
