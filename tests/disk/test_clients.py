"""Clients that no one here wrote, on disks of ours over NBD and iSCSI: libnbd's tools, fio, QEMU's tools (Debian: libnbd-bin, fio, qemu-utils,
qemu-block-extra). What is missing is skipped.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from vsw.disk.blocks import FORMATS, create_blocks, open_blocks
from vsw.disk.serve.serving import Disk, Iscsi, Nbd, Serving

SIZE = 24 << 20
TARGET = "iqn.2026-01.example.lab:clients"
PACKAGES = {"nbdinfo": "libnbd-bin", "nbdcopy": "libnbd-bin", "fio": "fio", "qemu-io": "qemu-utils", "qemu-img": "qemu-utils"}
BLOCK_DRIVERS = (Path("/usr/lib/x86_64-linux-gnu/qemu"), Path("/usr/lib/qemu"))


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [f"{program} (Debian: {PACKAGES[program]})" for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"missing: {', '.join(missing)}")


def can_iscsi() -> bool:
    return any((folder / "block-iscsi.so").exists() for folder in BLOCK_DRIVERS)


def do(*words: object, code: int = 0) -> str:
    """Run a program that must end with ``code``; what it wrote."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == code, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(params=list(FORMATS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def serving(place: Path, kind: str, name: str = "disk", size: int = SIZE) -> Iterator[tuple[str, str]]:
    """A new disk; its URLs of NBD and of iSCSI."""
    image = place / f"{name}.{kind}"
    blocks = open_blocks(image, kind) if image.exists() else create_blocks(image, size, kind)
    with Serving([Disk(name, blocks, name)], Nbd(place / f"{name}.s"), Iscsi(TARGET, (("127.0.0.1", 0),))) as served:
        nbd, iscsi = served.urls(0)
        yield nbd, iscsi


def content(place: Path, seed: int = 1) -> Path:
    """A raw image with holes, long runs and single odd sectors."""
    path = place / f"content{seed}"
    chance = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for _ in range(30):
            file.seek(chance.randrange(SIZE // 512 - 300) * 512)
            file.write(chance.randbytes(512 * chance.choice((1, 8, 128, 300))))
    return path


@needs("nbdinfo")
def test_nbdinfo(place: Path, kind: str) -> None:
    with serving(place, kind) as (url, _):
        told = json.loads(do("nbdinfo", "--json", url))
        assert told["protocol"] == "newstyle-fixed"
        assert told["structured"] is True
        export = told["exports"][0]
        wanted = {f"can_{what}" for what in ("cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero")}
        assert {key for key, value in export.items() if value is True} == wanted
        assert (export["export-size"], export["contexts"], export["is_read_only"]) == (SIZE, ["base:allocation"], False)
        assert [(piece["length"], piece["type"]) for piece in json.loads(do("nbdinfo", "--map", "--json", url))] == [(SIZE, 3)]
        assert do("nbdinfo", "--list", url).count("export=") == 1


@needs("nbdinfo", "nbdcopy")
@pytest.mark.parametrize("options", [(), ("--connections=4", "--requests=64"), ("--synchronous",), ("--allocated",)], ids=" ".join)
def test_nbdcopy_there_and_back(place: Path, kind: str, options: tuple[str, ...]) -> None:
    source = content(place)
    with serving(place, kind) as (url, _):
        do("nbdcopy", *options, "--flush", source, url)
        do("nbdcopy", *options, url, place / "back")
        assert (place / "back").read_bytes() == source.read_bytes()
        with serving(place, kind, "other") as (other, _):
            do("nbdcopy", *options, url, other)
            do("nbdcopy", other, place / "back2")
    assert (place / "back2").read_bytes() == source.read_bytes()


@needs("fio")
@pytest.mark.parametrize("connections", [1, 3])
def test_fio_with_verification(place: Path, kind: str, connections: int) -> None:
    """Random writes of random sizes with flushes between them, then every block is read and its checksum compared."""
    with serving(place, kind) as (url, _):
        part = SIZE // connections // 65536 * 65536
        words = ["fio", "--ioengine=nbd", f"--uri={url}", "--rw=randwrite", "--bsrange=512-65536", "--iodepth=32", "--verify=crc32c"]
        words += ["--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--randrepeat=1", "--fsync=64", "--output-format=json"]
        for job in range(connections):
            words += [f"--name=job{job}", f"--offset={job * part}", f"--size={part}"]
        told = do(*words)
        jobs = json.loads(told[told.index("{") :])["jobs"]
        assert [job["error"] for job in jobs] == [0] * connections
        assert sum(job["write"]["total_ios"] for job in jobs) > 200
        assert sum(job["read"]["total_ios"] for job in jobs) == sum(job["write"]["total_ios"] for job in jobs)


@needs("qemu-io")
@pytest.mark.parametrize("transport", ["nbd", "iscsi"])
def test_qemu_io(place: Path, kind: str, transport: str) -> None:
    with serving(place, kind) as (nbd, iscsi):
        if transport == "iscsi" and not can_iscsi():
            pytest.skip("QEMU's block driver for iSCSI is missing (Debian: qemu-block-extra)")
        script = [
            "write -P 7 1M 4M", "write -f -P 8 2M 64k", "write -z -u 3M 1M", "write -z 4M 4k", "discard 5M 64k", "flush",
            "read -P 7 1M 1M", "read -P 8 2M 64k", "read -P 7 2112k 960k", "read -P 0 3M 1M", "read -P 0 4M 4k", "read -P 7 4100k 1020k",
            "write -P 9 512 512", "read -P 9 512 512", f"write -P 5 {SIZE - 512} 512", f"read -P 5 {SIZE - 512} 512",
        ]  # fmt: skip
        told = do("qemu-io", "-f", "raw", *(word for line in script for word in ("-c", line)), nbd if transport == "nbd" else iscsi)
        assert "Pattern verification failed" not in told
        assert told.count("wrote ") == 6
        assert told.count("read ") == 8


@needs("qemu-img")
@pytest.mark.parametrize("transport", ["nbd", "iscsi"])
def test_qemu_img_compares_and_converts(place: Path, kind: str, transport: str) -> None:
    source = content(place)
    with serving(place, kind) as (nbd, iscsi):
        if transport == "iscsi" and not can_iscsi():
            pytest.skip("QEMU's block driver for iSCSI is missing (Debian: qemu-block-extra)")
        url = nbd if transport == "nbd" else iscsi
        do("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, url)
        assert "Images are identical" in do("qemu-img", "compare", "-f", "raw", "-F", "raw", source, url)
        other = content(place, 2)
        do("qemu-img", "compare", "-f", "raw", "-F", "raw", other, url, code=1)
        extents = json.loads(do("qemu-img", "map", "--output=json", "-f", "raw", url))
        assert sum(extent["length"] for extent in extents) == SIZE
        assert any(extent["zero"] for extent in extents)
        do("qemu-img", "convert", "-f", "raw", "-O", "raw", url, place / "back")
    assert (place / "back").read_bytes() == source.read_bytes()
    assert "Images are identical" in do("qemu-img", "compare", "-f", kind, "-F", "raw", place / f"disk.{kind}", source)


@needs("qemu-img")
def test_the_two_transports_show_the_same_disk(place: Path, kind: str) -> None:
    if not can_iscsi():
        pytest.skip("QEMU's block driver for iSCSI is missing (Debian: qemu-block-extra)")
    with serving(place, kind) as (nbd, iscsi):
        do("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", content(place), nbd)
        assert "Images are identical" in do("qemu-img", "compare", "-f", "raw", "-F", "raw", nbd, iscsi)


@needs("nbdinfo", "nbdcopy", "qemu-io")
def test_a_read_only_disk(place: Path) -> None:
    with serving(place, "raw") as (url, _):
        do("nbdcopy", content(place), url)
    with Serving([Disk("kept", open_blocks(place / "disk.raw", read_only=True), "kept", read_only=True)], Nbd(place / "k")) as served:
        url = served.urls(0)[0]
        assert json.loads(do("nbdinfo", "--json", url))["exports"][0]["is_read_only"] is True
        do("nbdcopy", url, place / "back")
        do("nbdcopy", place / "back", url, code=1)
        do("qemu-io", "-f", "raw", "-c", "write 0 512", url, code=1)
        do("qemu-io", "-r", "-f", "raw", "-c", "read 0 512", url)
    assert (place / "back").read_bytes() == (place / "content1").read_bytes()
