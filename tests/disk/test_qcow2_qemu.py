"""Images across implementations: what we write QEMU and dissect.hypervisor read, what QEMU writes we read and change."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.disk import qemu
from tests.patience import PATIENCE
from vsw.disk.blocks import Kind, Qcow2Blocks
from vsw.disk.blocks.qcow2.check import check_image
from vsw.disk.blocks.qcow2.snapshots import apply_snapshot, create_snapshot, delete_snapshot, list_snapshots

pytestmark = qemu.needs_qemu_img

SIZE = 5 << 20
CLUSTERS = [1 << bits for bits in range(9, 22)]


def write_some(blocks: Qcow2Blocks, seed: int, model: bytearray) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        offset = chance.randrange(SIZE - 70_000)
        data = chance.randbytes(chance.choice([1, 512, 4096, 70_000]))
        blocks.write(offset, data)
        model[offset : offset + len(data)] = data
    for unmap in (False, True):
        offset = chance.randrange(SIZE - 300_000)
        blocks.write_zeroes(offset, 300_000, unmap)
        model[offset : offset + 300_000] = bytes(300_000)


def clean(path: Path) -> None:
    """By QEMU's check and by ours."""
    assert qemu.check(path) == qemu.CLEAN
    report = check_image(path)
    assert (report.corruptions, report.leaks, report.marks) == (0, 0, 0), report


def same(path: Path, model: bytes) -> None:
    """QEMU and we read ``model``."""
    raw = path.with_name("model.raw")
    raw.write_bytes(model)
    qemu.must("compare", "-f", "raw", "-F", "qcow2", raw, path)
    with Qcow2Blocks(path, read_only=True) as blocks:
        assert blocks.size == len(model)
        assert blocks.read(0, blocks.size) == model


# Ours, read by others.


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_qemu_reads_what_we_write(tmp_path: Path, cluster: int) -> None:
    path = tmp_path / "disk.qcow2"
    model = bytearray(SIZE)
    with Qcow2Blocks.create(path, SIZE, cluster_size=cluster) as blocks:
        write_some(blocks, cluster, model)
        ours = [(extent.offset, extent.length) for extent in blocks.extents(0, SIZE) if extent.kind is Kind.DATA]
    clean(path)
    same(path, model)
    info = json.loads(qemu.must("info", "--output=json", path))
    assert (info["format"], info["virtual-size"], info["cluster-size"]) == ("qcow2", SIZE, cluster)
    theirs = [(part["start"], part["length"]) for part in json.loads(qemu.must("map", "--output=json", path)) if part["data"]]
    assert joined(theirs) == ours
    qemu.must("convert", "-O", "raw", path, tmp_path / "converted")
    assert (tmp_path / "converted").read_bytes() == model


def joined(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, length in parts:
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((start, length))
    return found


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32, 64])
def test_every_width_of_reference_counts(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "disk.qcow2"
    model = bytearray(SIZE)
    with Qcow2Blocks.create(path, SIZE, cluster_size=4096, refcount_bits=bits, lazy_refcounts=True) as blocks:
        write_some(blocks, bits, model)
    clean(path)
    details = json.loads(qemu.must("info", "--output=json", path))["format-specific"]["data"]
    assert (details["refcount-bits"], details["lazy-refcounts"]) == (bits, True)
    qemu.qemu_io(path, "write -P 9 100k 300k")
    model[100 << 10 : 400 << 10] = bytes((9,)) * (300 << 10)
    clean(path)
    same(path, model)


@pytest.mark.parametrize("preallocation", ["off", "metadata", "falloc", "full"])
def test_preallocated_images(tmp_path: Path, preallocation: str) -> None:
    path = tmp_path / "disk.qcow2"
    Qcow2Blocks.create(path, SIZE, preallocation=preallocation).close()
    clean(path)
    same(path, bytes(SIZE))
    allocated = sum(part["length"] for part in json.loads(qemu.must("map", "--output=json", path)) if part["data"] or "offset" in part)
    assert allocated == (0 if preallocation == "off" else SIZE)
    assert (path.stat().st_blocks * 512 >= SIZE) == (preallocation in ("falloc", "full"))
    qemu.qemu_io(path, "write -P 3 1M 1M")
    clean(path)


def test_our_snapshots_in_qemu(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    model = bytearray(SIZE)
    states = []
    with Qcow2Blocks.create(path, SIZE) as blocks:
        for number in range(3):
            write_some(blocks, number, model)
            create_snapshot(blocks, f"s{number}")
            states.append(bytes(model))
        write_some(blocks, 9, model)
    clean(path)
    found = json.loads(qemu.must("info", "--output=json", path))["snapshots"]
    assert [(one["id"], one["name"]) for one in found] == [("1", "s0"), ("2", "s1"), ("3", "s2")]
    for number in (1, 0, 2):
        qemu.must("snapshot", "-a", f"s{number}", path)
        clean(path)
        same(path, states[number])
    qemu.must("snapshot", "-d", "s1", path)
    clean(path)
    with Qcow2Blocks(path) as blocks:
        delete_snapshot(blocks, "s0")
    clean(path)
    same(path, states[2])


@pytest.mark.parametrize("base", ["raw", "qcow2"])
def test_our_chains_in_qemu(tmp_path: Path, base: str) -> None:
    model = bytearray(SIZE)
    from vsw.disk.blocks import create_blocks

    with create_blocks(tmp_path / "base", SIZE - 100_352, base) as below:
        data = random.Random(1).randbytes(below.size)
        below.write(0, data)
    model[: len(data)] = data
    with Qcow2Blocks.create(tmp_path / "middle", SIZE, backing="base", backing_format=base) as blocks:
        write_some(blocks, 2, model)
    path = tmp_path / "top"
    with Qcow2Blocks.create(path, SIZE, cluster_size=4096, backing="middle", backing_format="qcow2") as blocks:
        write_some(blocks, 3, model)
        blocks.discard(65536, 100_000)
        model[65536 : 65536 + 100_000] = blocks.read(65536, 100_000)
    clean(path)
    same(path, model)
    assert [image["filename"] for image in json.loads(qemu.must("info", "--backing-chain", "--output=json", path))] == [
        str(path), str(tmp_path / "middle"), str(tmp_path / "base"),
    ]  # fmt: skip


@pytest.mark.parametrize("cluster", [512, 4096, 65536, 1 << 21])
def test_dissect_reads_what_we_write(tmp_path: Path, cluster: int) -> None:
    qcow2 = pytest.importorskip("dissect.hypervisor.disk.qcow2", reason="needs dissect.hypervisor (PyPI)")
    path = tmp_path / "disk.qcow2"
    model = bytearray(SIZE)
    with Qcow2Blocks.create(path, SIZE, cluster_size=cluster) as blocks:
        write_some(blocks, cluster, model)
        create_snapshot(blocks, "then")
        then = bytes(model)
        write_some(blocks, cluster + 1, model)
    with path.open("rb") as stream:
        disk = qcow2.QCow2(stream)
        assert disk.open().read(SIZE) == model
        assert [snapshot.name for snapshot in disk.snapshots] == ["then"]
        assert disk.snapshots[0].open().read(SIZE) == then


# Theirs, read and changed by us.


@pytest.mark.parametrize(
    "options",
    [*(f"cluster_size={cluster}" for cluster in CLUSTERS), "compat=0.10", "refcount_bits=1", "refcount_bits=64", "lazy_refcounts=on",
     "preallocation=metadata", "preallocation=full", "cluster_size=2M,preallocation=falloc"],
)  # fmt: skip
def test_we_read_and_change_what_qemu_writes(tmp_path: Path, options: str) -> None:
    path = tmp_path / "disk.qcow2"
    model = bytearray(SIZE)
    qemu.must("create", "-f", "qcow2", "-o", options, path, SIZE)
    qemu.qemu_io(path, "write -P 1 0 700k", "write -P 2 1M 1k", "write -P 3 3000k 1M")
    qemu.qemu_io(path, "write -z 100k 200k", "write -z -u 3100k 300k", "discard 4M 100k")
    model[: 700 << 10] = b"\1" * (700 << 10)
    model[1 << 20 : (1 << 20) + 1024] = b"\2" * 1024
    model[3000 << 10 : 4024 << 10] = b"\3" * (1 << 20)
    for start, length in ((100, 200), (3100, 300)):
        model[start << 10 : (start + length) << 10] = bytes(length << 10)
    clean(path)
    same(path, model)
    with Qcow2Blocks(path) as blocks:
        write_some(blocks, 5, model)
    clean(path)
    same(path, model)


@pytest.mark.parametrize("method", ["zlib", "zstd"])
@pytest.mark.parametrize("cluster", [512, 4096, 65536, 1 << 21])
def test_compressed_images(tmp_path: Path, method: str, cluster: int) -> None:
    chance = random.Random(cluster)
    model = bytearray(b"".join(bytes((chance.randrange(4),)) * 3000 + chance.randbytes(1000) for _ in range(150)))
    model += bytes(-len(model) % 512)
    (tmp_path / "raw").write_bytes(model)
    path = tmp_path / "disk.qcow2"
    qemu.must("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", f"cluster_size={cluster},compression_type={method}", tmp_path / "raw", path)
    report = check_image(path)
    assert report.compressed > 0
    clean(path)
    same(path, model)
    with Qcow2Blocks(path) as blocks:
        create_snapshot(blocks, "packed")
        packed = bytes(model)
        for offset in (0, 5000, 300_000, 590_000):
            data = chance.randbytes(3000)
            blocks.write(offset, data)
            model[offset : offset + 3000] = data
        blocks.write_zeroes(100_000, 200_000, True)
        model[100_000:300_000] = bytes(200_000)
    clean(path)
    same(path, model)
    with Qcow2Blocks(path) as blocks:
        apply_snapshot(blocks, "packed")
        delete_snapshot(blocks, "packed")
    clean(path)
    same(path, packed)


def test_qemus_snapshots(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    qemu.must("create", "-f", "qcow2", path, SIZE)
    states = []
    for number in range(3):
        qemu.qemu_io(path, f"write -P {number + 1} {number}M 1500k")
        qemu.must("snapshot", "-c", f"s{number}", path)
        with Qcow2Blocks(path, read_only=True) as blocks:
            states.append(blocks.read(0, SIZE))
    assert len(set(states)) == 3
    with Qcow2Blocks(path) as blocks:
        assert [snapshot.name for snapshot in list_snapshots(blocks)] == ["s0", "s1", "s2"]
        for number in (0, 2, 1):
            apply_snapshot(blocks, f"s{number}")
            assert blocks.read(0, SIZE) == states[number]
        delete_snapshot(blocks, "s1")
        create_snapshot(blocks, "ours")
        blocks.write(0, b"after")
    for number in (0, 2):
        with Qcow2Blocks(path, read_only=True, snapshot=f"s{number}") as then:
            assert then.read(0, SIZE) == states[number]
    clean(path)
    qemu.must("snapshot", "-a", "ours", path)
    same(path, states[1])


def test_an_image_that_qemu_left_dirty_is_repaired(tmp_path: Path) -> None:
    """With lazy refcounts QEMU writes no counts until it closes the image; here it never does."""
    import subprocess

    path = tmp_path / "disk.qcow2"
    qemu.must("create", "-f", "qcow2", "-o", "lazy_refcounts=on", path, SIZE)
    commands = ["-c", "write -P 5 0 2M", "-c", "flush", "-c", "sigraise 9"]
    done = subprocess.run(["qemu-io", "-f", "qcow2", *commands, str(path)], capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == -9
    before = check_image(path)
    assert before.dirty
    assert before.corruptions > 0  # counts that are too low
    with Qcow2Blocks(path, read_only=True) as blocks:
        assert blocks.read(0, 2 << 20) == b"\5" * (2 << 20)
    with Qcow2Blocks(path) as blocks:
        blocks.write(3 << 20, b"more")
        assert blocks.read(0, 2 << 20) == b"\5" * (2 << 20)
    clean(path)
    assert not check_image(path).dirty


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_an_image_is_used_by_us_or_by_qemu(tmp_path: Path, image_format: str) -> None:
    """QEMU's tools see our locks, and we see theirs."""
    import subprocess

    from vsw.disk.blocks import create_blocks, open_blocks

    path = tmp_path / "disk"
    create_blocks(path, SIZE, image_format).close()
    with open_blocks(path, image_format):
        assert 'Failed to get' in qemu.qemu_img("convert", "-f", image_format, "-O", "raw", path, tmp_path / "copy").stderr
    with open_blocks(path, image_format, read_only=True):
        qemu.must("convert", "-f", image_format, "-O", "raw", path, tmp_path / "copy")
        assert 'Failed to get' in qemu.qemu_img("resize", "-f", image_format, path, "10M").stderr
    arguments = ["qemu-io", "-f", image_format, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("write -P 1 0 512\n")
        guest.stdin.flush()
        while "wrote" not in guest.stdout.readline():
            pass
        for read_only in (False, True):
            with pytest.raises(BlockingIOError, match="in use by QEMU"):
                open_blocks(path, image_format, read_only=read_only)
        guest.stdin.write("quit\n")
    open_blocks(path, image_format).close()


# The same operations on both.


@pytest.mark.parametrize("seed", range(4))
def test_the_same_operations_give_the_same_disk(tmp_path: Path, seed: int) -> None:
    same_operations(tmp_path, seed, 40)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_operations_give_the_same_disk(tmp_path: Path, seed: int) -> None:
    same_operations(tmp_path, seed, 120)


def same_operations(tmp_path: Path, seed: int, count: int) -> None:
    chance = random.Random(seed)
    cluster = chance.choice(CLUSTERS)
    theirs, ours = tmp_path / "theirs.qcow2", tmp_path / "ours.qcow2"
    options: dict[str, Any] = {}
    more = ""
    if chance.random() < 0.5:
        (tmp_path / "base").write_bytes(chance.randbytes(SIZE // 2))
        options = {"backing": "base", "backing_format": "raw"}
        more = f",backing_file={tmp_path / 'base'},backing_fmt=raw"
    qemu.must("create", "-f", "qcow2", "-o", f"cluster_size={cluster}{more}", theirs, SIZE)
    commands = []
    with Qcow2Blocks.create(ours, SIZE, cluster_size=cluster, **options) as blocks:
        for _ in range(count):
            offset = chance.randrange(SIZE // 512) * 512
            length = min(chance.choice([512, 4096, 65536, 400_000 // 512 * 512]), SIZE - offset)
            what = chance.random()
            if what < 0.6:
                byte = chance.randrange(1, 256)
                blocks.write(offset, bytes((byte,)) * length)
                commands.append(f"write -P {byte} {offset} {length}")
            elif what < 0.75:
                blocks.write_zeroes(offset, length, False)
                commands.append(f"write -z {offset} {length}")
            elif what < 0.9:
                blocks.write_zeroes(offset, length, True)
                commands.append(f"write -z -u {offset} {length}")
            else:
                blocks.flush()
                commands.append("flush")
    qemu.qemu_io(theirs, *commands)
    clean(ours)
    clean(theirs)
    qemu.must("compare", "-f", "qcow2", "-F", "qcow2", theirs, ours)
    with Qcow2Blocks(theirs, read_only=True) as one, Qcow2Blocks(ours, read_only=True) as other:
        assert one.read(0, SIZE) == other.read(0, SIZE)
