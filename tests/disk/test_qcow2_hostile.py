"""Images that were made to harm: they never crash, hang, allocate without bound or lead out of the allowed directories."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import ROOT, environment
from tests.disk import qemu
from tests.disk.hostile import make_images
from vsw.disk.blocks import Qcow2Blocks, create_blocks
from vsw.disk.blocks.qcow2 import layout
from vsw.disk.blocks.qcow2.check import Repair, check_image
from vsw.disk.blocks.qcow2.snapshots import create_snapshot
from vsw.errors import ImageError

SIZE = 1 << 20


def put(path: Path, offset: int, form: str, *values: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(struct.pack(f">{form}", *values))


def number(path: Path, offset: int, width: int = 8) -> int:
    return int.from_bytes(path.read_bytes()[offset : offset + width], "big")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    with Qcow2Blocks.create(path, SIZE) as blocks:
        blocks.write(0, b"guest" * 20_000)
    return path


@pytest.mark.parametrize(("first", "last"), [(0, 40)])
def test_random_changes_to_metadata_are_survived(tmp_path: Path, first: int, last: int) -> None:
    survive(tmp_path, first, last)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 3000, 400))
def test_many_random_changes_to_metadata_are_survived(tmp_path: Path, first: int) -> None:
    survive(tmp_path, first, first + 400)


def survive(tmp_path: Path, first: int, last: int) -> None:
    """A process with 1 GiB of memory and a bounded time gets through all mutants."""
    make_images(tmp_path)
    program = [sys.executable, "-m", "tests.disk.hostile", str(tmp_path), str(first), str(last)]
    done = subprocess.run(program, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
    assert f"{last - first} mutants" in done.stdout


@pytest.mark.parametrize(
    ("offset", "form", "value", "message"),
    [
        (0, "I", 0x514649FC, "is no qcow2 image"),
        (4, "I", 4, "version 4 is not supported"),
        (20, "I", 8, r"clusters of 2\*\*8 bytes"),
        (20, "I", 0xFFFFFFFF, r"clusters of 2\*\*4294967295 bytes"),
        (24, "Q", (1 << 63) - 1, "at most"),
        (24, "Q", (1 << 64) - 1, "at most"),
        (24, "Q", 1 << 62, "too short"),
        (32, "I", 1, "is encrypted .AES."),
        (32, "I", 2, "is encrypted .LUKS."),
        (36, "I", 0, "L1 table of 0 entries is too short"),
        (36, "I", 0xFFFFFFFF, "too long"),
        (40, "Q", 0, "L1 table at 0"),
        (40, "Q", 1 << 63, "L1 table"),
        (40, "Q", 65537, "L1 table"),
        (48, "Q", (1 << 64) - 65536, "refcount table"),
        (56, "I", 0, "has no refcount table"),
        (56, "I", 0xFFFFFFFF, "too long"),
        (60, "I", 0xFFFFFFFF, "snapshots are too many"),
        (60, "I", 1, "snapshot table at 0"),
        (72, "Q", 1 << 2, "external data file"),
        (72, "Q", 1 << 4, "extended L2 entries"),
        (72, "Q", 1 << 63 | 1 << 9, "incompatible feature bit 9, incompatible feature bit 63"),
        (72, "Q", 1 << 3, "compression type 0"),
        (96, "I", 7, "reference counts of"),
        (100, "I", 103, "a header of 103 bytes"),
        (100, "I", 1 << 31, "a header of"),
        (104, "B", 9, "compression type 9"),
        (116, "I", 0xFFFFFFF0, "header extension"),
    ],
)
def test_headers_that_cannot_be_right(image: Path, offset: int, form: str, value: int, message: str) -> None:
    put(image, offset, form, value)
    for read_only in (True, False):
        with pytest.raises(ImageError, match=message):
            Qcow2Blocks(image, read_only=read_only)


def test_an_unknown_feature_is_refused_by_the_name_that_the_image_gives_it(image: Path) -> None:
    data = image.read_bytes()
    at = data.index(struct.pack(">BB", 0, 4) + b"extended L2 entries")
    put(image, at, "BB", 0, 21)
    with image.open("r+b") as stream:
        stream.seek(at + 2)
        stream.write(b"quantum clusters".ljust(46, b"\0"))
    put(image, 72, "Q", 1 << 21)
    with pytest.raises(ImageError, match="a feature that is not supported: quantum clusters"):
        Qcow2Blocks(image)


@pytest.mark.parametrize("length", [0, 4, 71, 72, 103, 104, 600])
def test_files_that_are_cut(image: Path, length: int) -> None:
    os.truncate(image, length)
    with pytest.raises(ImageError):
        Qcow2Blocks(image)


# What is written must not hit metadata.


@pytest.mark.parametrize("target", ["header", "refcount table", "refcount block", "L1 table", "L2 table", "snapshot table", "snapshot's L1 table"])
def test_guest_data_never_overwrites_metadata(image: Path, target: str) -> None:
    with Qcow2Blocks(image) as blocks:
        create_snapshot(blocks, "s", when=0.0)
        blocks.write(0, b"new" * 20_000)
    l1 = number(image, 40)
    l2 = number(image, l1) & layout.OFFSET_MASK
    places = {
        "header": 0,
        "refcount table": number(image, 48),
        "refcount block": number(image, number(image, 48)),
        "L1 table": l1,
        "L2 table": l2,
        "snapshot table": number(image, 64),
        "snapshot's L1 table": number(image, number(image, 64)),
    }
    put(image, l2, "Q", places[target] | layout.COPIED)
    before = image.read_bytes()
    blocks = Qcow2Blocks(image)
    if target == "header":  # an entry without an offset maps nothing
        blocks.write(0, b"fine")
        blocks.close()
        return
    with pytest.raises(OSError, match="overwrite metadata") as caught:
        blocks.write(0, b"evil" * 100)
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="not changed any more"):
        blocks.write(500_000, b"fine")
    blocks.read(500_000, 1000)
    with pytest.raises(OSError, match="not changed any more"):
        blocks.close()
    after = image.read_bytes()
    assert number(image, 72) == layout.CORRUPT
    assert before[112:] == after[112:]
    with pytest.raises(ImageError, match="marked corrupt"):
        Qcow2Blocks(image)
    Qcow2Blocks(image, read_only=True).close()
    report = check_image(image, Repair.ALL)
    assert report.sound
    with Qcow2Blocks(image) as mended:
        assert mended.read(0, 4) == bytes(4)
        mended.write(0, b"good")


def test_metadata_that_is_not_counted_is_not_given_out(image: Path) -> None:
    block = number(image, number(image, 48))
    put(image, block + 2 * (number(image, 40) >> 16), "H", 0)  # the L1 table's cluster
    blocks = Qcow2Blocks(image)
    with pytest.raises(OSError, match=r"metadata, .* is not counted"):
        blocks.write(500_000, b"x" * 200_000)
    with pytest.raises(OSError, match="not changed any more"):
        blocks.close()
    assert number(image, 72) & layout.CORRUPT


@pytest.mark.parametrize("entry", [1 << 40, 0x1200, (1 << 55) | (1 << 63)])
def test_tables_that_point_to_nowhere(image: Path, entry: int) -> None:
    put(image, number(image, number(image, 40)) & layout.OFFSET_MASK, "Q", entry)
    with Qcow2Blocks(image, read_only=True) as blocks:
        with pytest.raises(OSError, match="not a whole cluster within the file") as caught:
            blocks.read(0, 10)
        assert caught.value.errno == errno.EIO
        assert blocks.read(65536, 5) == (b"guest" * 20_000)[65536:65541]  # the next cluster is fine
    assert number(image, 72) == 0  # who only reads marks nothing


def test_an_l2_table_outside_of_the_file(image: Path) -> None:
    put(image, number(image, 40), "Q", 1 << 50 | 1 << 63)
    with Qcow2Blocks(image, read_only=True) as blocks, pytest.raises(OSError, match="an L2 table at"):
        blocks.read(0, 10)


def test_a_compressed_bomb_is_bounded(tmp_path: Path) -> None:
    """Compressed data that would become 8 MiB where a cluster of 4 KiB is expected."""
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = packer.compress(bytes(8 << 20)) + packer.flush()
    path = tmp_path / "disk.qcow2"
    with Qcow2Blocks.create(path, SIZE, cluster_size=65536) as blocks:
        blocks.write(0, bomb[:65536])
    l2 = number(path, number(path, 40)) & layout.OFFSET_MASK
    host = number(path, l2) & layout.OFFSET_MASK
    put(path, l2, "Q", 1 << 62 | 127 << 54 | host)
    with Qcow2Blocks(path, read_only=True) as blocks:
        assert blocks.read(0, 65536) == bytes(65536)
    put(path, l2, "Q", 1 << 62 | 127 << 54 | host + 65536 + 512)
    with Qcow2Blocks(path, read_only=True) as blocks, pytest.raises(OSError, match="compressed"):
        blocks.read(0, 1)


# Backing files.


def overlay(path: Path, name: str, kind: str | None = "raw", size: int = SIZE) -> Path:
    """An image whose header names ``name``, whatever that is."""
    raw = name.encode()
    with Qcow2Blocks.create(path, size):
        pass
    extension = b"" if kind is None else struct.pack(">II", layout.EXTENSION_BACKING_FORMAT, len(kind)) + kind.encode().ljust(8, b"\0")
    with path.open("r+b") as stream:
        stream.seek(112)
        stream.write(extension + bytes(8))
        stream.seek(4096)
        stream.write(raw)
        stream.seek(8)
        stream.write(struct.pack(">QI", 4096, len(raw)))
    return path


def test_backing_paths_that_leave_the_allowed_directories(tmp_path: Path) -> None:
    inside = tmp_path / "images"
    (inside / "below").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 4096)
    (inside / "link").symlink_to(secret)
    (inside / "fine").write_bytes(b"f" * 4096)
    (inside / "below" / "fine").write_bytes(b"g" * 4096)
    for name in ("../secret", str(secret), "link", "below/../../secret", "/etc/passwd", "file:../secret", "/proc/self/environ"):
        with pytest.raises(ImageError, match="outside of the allowed directories"):
            Qcow2Blocks(overlay(inside / f"a{abs(hash(name))}", name))
    for name, byte in (("fine", b"f"), ("below/fine", b"g"), (str(inside / "fine"), b"f"), ("file:fine", b"f"), ("./below/../fine", b"f")):
        with Qcow2Blocks(overlay(inside / f"b{abs(hash(name))}", name)) as blocks:
            assert blocks.read(0, 1) == byte
    with Qcow2Blocks(overlay(inside / "c", "../secret"), backing_directories=[tmp_path]) as blocks:
        assert blocks.read(0, 1) == b"s"


@pytest.mark.parametrize("name", ["nbd://127.0.0.1/x", 'json:{"driver":"file"}', "http://example.lab/x", "ssh:x", "fat:rw:x", "C:/x"])
def test_backing_files_are_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="not a file of this host"):
        Qcow2Blocks(overlay(tmp_path / "disk", name))


def test_a_backing_file_that_would_make_us_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ImageError, match="neither a regular file nor a block device"):
        Qcow2Blocks(overlay(tmp_path / "disk", "fifo"))


def test_the_format_of_a_backing_file_is_never_guessed(tmp_path: Path) -> None:
    Qcow2Blocks.create(tmp_path / "base", SIZE).close()
    path = overlay(tmp_path / "disk", "base", kind=None)
    with pytest.raises(ImageError, match="does not say what format"):
        Qcow2Blocks(path)
    with Qcow2Blocks(path, backing_format="qcow2") as blocks:
        assert blocks.read(0, 4) == bytes(4)
    with Qcow2Blocks(path, backing_format="raw") as blocks:
        assert blocks.read(0, 4) == layout.MAGIC
    with pytest.raises(ImageError, match="has format 'vmdk'"):
        Qcow2Blocks(overlay(tmp_path / "other", "base", kind="vmdk"))


def test_backing_loops_and_long_chains(tmp_path: Path) -> None:
    overlay(tmp_path / "a", "b", "qcow2")
    overlay(tmp_path / "b", "a", "qcow2")
    overlay(tmp_path / "self", "self", "qcow2")
    (tmp_path / "alias").hardlink_to(tmp_path / "self")
    for name in ("a", "b", "self", "alias"):
        for read_only in (True, False):
            with pytest.raises(ImageError, match=r"one of the images that rest on it"):
                Qcow2Blocks(tmp_path / name, read_only=read_only)
    for level in range(70):
        overlay(tmp_path / f"l{level}", f"l{level + 1}", "qcow2", 65536)
    with pytest.raises(ImageError, match="longer than 64"):
        Qcow2Blocks(tmp_path / "l0")
    Qcow2Blocks.create(tmp_path / "l50", 65536).close() if not (tmp_path / "l50").exists() else None
    (tmp_path / "l50").unlink()
    Qcow2Blocks.create(tmp_path / "l50", 65536).close()
    with Qcow2Blocks(tmp_path / "l0") as blocks:
        assert blocks.read(0, 10) == bytes(10)


def test_a_missing_backing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone can't be opened: No such file"):
        Qcow2Blocks(overlay(tmp_path / "disk", "gone"))
    with Qcow2Blocks(tmp_path / "disk", backing=False) as blocks:
        assert blocks.read_only


# Features that only a reader can live with.


@qemu.needs_qemu_img
def test_persistent_bitmaps_are_counted_and_not_made_stale(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    qemu.must("create", "-f", "qcow2", path, "10M")
    qemu.must("bitmap", "--add", path, "b0")
    qemu.qemu_io(path, "write -P 7 0 1M")
    report = check_image(path)
    assert (report.corruptions, report.leaks) == (0, 0)
    with pytest.raises(ImageError, match="persistent bitmaps"):
        Qcow2Blocks(path)
    with Qcow2Blocks(path, read_only=True) as blocks:
        assert blocks.read(0, 3) == b"\7\7\7"


@qemu.needs_qemu_img
@pytest.mark.parametrize(
    ("options", "message"), [("extended_l2=on", "extended L2 entries"), ("data_file=data.raw,data_file_raw=on", "external data file")]
)
def test_features_of_qemu_that_are_refused(tmp_path: Path, options: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    qemu.must("create", "-f", "qcow2", "-o", options, tmp_path / "disk.qcow2", "10M")
    with pytest.raises(ImageError, match=message):
        Qcow2Blocks(tmp_path / "disk.qcow2")


def test_past_two_tebibytes(tmp_path: Path) -> None:
    with create_blocks(tmp_path / "big", 5 << 40, "qcow2") as blocks:
        blocks.write((5 << 40) - 512, b"y" * 512)
        assert blocks.read((5 << 40) - 1024, 1024) == bytes(512) + b"y" * 512
    with Qcow2Blocks.create(tmp_path / "bigger", 1 << 59, cluster_size=1 << 21) as blocks:
        blocks.write((1 << 59) - 512, b"y" * 512)
        assert blocks.read((1 << 59) - 1024, 1024) == bytes(512) + b"y" * 512
    assert (tmp_path / "bigger").stat().st_blocks * 512 < 64 << 20


def options_of(**options: Any) -> Any:
    return options


@pytest.mark.parametrize(
    "options",
    [
        options_of(cluster_size=256), options_of(cluster_size=1 << 22), options_of(cluster_size=1000), options_of(refcount_bits=3),
        options_of(refcount_bits=128), options_of(version=4), options_of(version=2, refcount_bits=8), options_of(preallocation="some"),
        options_of(backing="x"), options_of(backing="x", backing_format="vmdk"), options_of(backing="x" * 2000, backing_format="raw"),
        options_of(backing="x", backing_format="raw", preallocation="full"),
    ],
)  # fmt: skip
def test_what_cannot_be_created(tmp_path: Path, options: Any) -> None:
    from vsw.errors import UsageError

    with pytest.raises(UsageError):
        Qcow2Blocks.create(tmp_path / "disk", SIZE, **options)
    for size in (-512, 100, 1 << 63):
        with pytest.raises(UsageError):
            Qcow2Blocks.create(tmp_path / "disk", size)
    with pytest.raises(UsageError, match="larger clusters"):
        Qcow2Blocks.create(tmp_path / "disk", 1 << 45, cluster_size=512)
    assert not list(tmp_path.iterdir())
