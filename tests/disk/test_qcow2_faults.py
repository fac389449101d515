"""What goes wrong below an image is told as what it is, up to the sense data; the next command works, and nothing is inconsistent."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.crash import scratch
from tests.disk.scsi_helpers import Bench, bench, sense_code
from vsw.disk.blocks import Qcow2Blocks
from vsw.disk.blocks.hostfile import HostFile
from vsw.disk.blocks.qcow2.check import check_image

SIZE = 4 << 20
MEDIUM_ERROR_READ = (3, 0x11, 0)
MEDIUM_ERROR_WRITE = (3, 0x0C, 0)
SPACE_ALLOCATION_FAILED = (7, 0x27, 7)
WRITE_10, READ_10, SYNCHRONIZE_CACHE = 0x2A, 0x28, "35 00 00000000 00 0000 00"


class FaultyFile(HostFile):
    """A host file that fails on purpose: the ``skip``-th change from now on, and ``times`` in all, with ``code``; half of a failing write is done."""

    code = 0
    skip = 0
    times = 0

    def fail(self, code: int, skip: int = 0, times: int = 1) -> None:
        self.code, self.skip, self.times = code, skip, times

    def _strike(self) -> bool:
        if not self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True

    def write(self, offset: int, data: bytes | bytearray | memoryview, fua: bool = False) -> None:
        if self._strike():
            super().write(offset, memoryview(data)[: len(data) // 2])
            raise OSError(self.code, os.strerror(self.code))
        super().write(offset, data, fua)

    def writev(self, offset: int, pieces: list[bytes | bytearray | memoryview]) -> None:  # type: ignore[override]
        self.write(offset, b"".join(pieces))


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=scratch()) as directory:
        yield Path(directory) / "disk.qcow2"


def faulty(path: Path, **options: int) -> tuple[Qcow2Blocks, FaultyFile]:
    Qcow2Blocks.create(path, SIZE, **options).close()
    file = FaultyFile(path, read_only=False)
    return Qcow2Blocks(path, file=file), file


def transfer(disk: Bench, operation: int, lba: int, blocks: int, data: bytes = b"") -> object:
    return disk.do(bytes((operation, 0)) + lba.to_bytes(4, "big") + bytes(1) + blocks.to_bytes(2, "big") + bytes(1), data)


@pytest.mark.parametrize(("code", "sense"), [(errno.ENOSPC, SPACE_ALLOCATION_FAILED), (errno.EIO, MEDIUM_ERROR_WRITE), (errno.EDQUOT, None)])
def test_a_write_that_fails_is_sense_data_and_the_next_one_works(path: Path, code: int, sense: tuple[int, int, int] | None) -> None:
    blocks, file = faulty(path)
    disk = bench(blocks)
    assert transfer(disk, WRITE_10, 0, 8, b"o" * 4096).status == 0  # type: ignore[attr-defined]
    for lba in (0, 1000):  # in place, and to a new place
        file.fail(code)
        reply = transfer(disk, WRITE_10, lba, 8, b"n" * 4096)
        if sense is None:
            assert reply.status == 2  # type: ignore[attr-defined]
        else:
            assert sense_code(reply) == sense  # type: ignore[arg-type]
        assert transfer(disk, WRITE_10, lba, 8, b"n" * 4096).status == 0  # type: ignore[attr-defined]
        assert transfer(disk, READ_10, lba, 8).data == b"n" * 4096  # type: ignore[attr-defined]
    assert disk.do(SYNCHRONIZE_CACHE).status == 0
    blocks.close()
    report = check_image(path)
    assert (report.corruptions, report.leaks) == (0, 0)


@pytest.mark.parametrize("skip", range(6))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_commit_that_fails_anywhere_can_be_repeated(path: Path, code: int, skip: int) -> None:
    """Each write of the metadata fails once; the flush says so, the next one brings everything to disk."""
    blocks, file = faulty(path, cluster_size=512, refcount_bits=64)
    model = bytearray(SIZE)
    struck = 0
    for number in range(4):
        data = bytes((number + 1,)) * 60_000
        blocks.write(number * 100_000, data)
        model[number * 100_000 : number * 100_000 + 60_000] = data
        file.fail(code, skip)
        try:
            blocks.flush()
        except OSError as error:
            struck += 1
            if error.errno != code:
                raise
        file.times = 0
        assert blocks.read(0, SIZE) == model
        blocks.flush()
        report = check_image_of(path)
        assert report.corruptions == 0, report.messages
    assert struck
    blocks.close()
    report = check_image(path)
    assert (report.corruptions, report.leaks, report.marks) == (0, 0, 0), report
    with Qcow2Blocks(path) as again:
        assert again.read(0, SIZE) == model


def check_image_of(path: Path):  # type: ignore[no-untyped-def]
    """Check an image that this test has open."""
    from vsw.disk.blocks.qcow2.check import check_file

    file = HostFile(path, read_only=True, lock=False)
    try:
        return check_file(file)
    finally:
        file.close()


def test_a_file_that_shrinks_is_a_medium_error_and_the_rest_is_readable(path: Path) -> None:
    with Qcow2Blocks.create(path, SIZE) as blocks:
        blocks.write(0, b"a" * SIZE)
    blocks = Qcow2Blocks(path, read_only=True)
    disk = bench(blocks)
    os.truncate(path, path.stat().st_size - 100_000)
    assert sense_code(transfer(disk, READ_10, SIZE // 512 - 8, 8)) == MEDIUM_ERROR_READ  # type: ignore[arg-type]
    assert transfer(disk, READ_10, 0, 8).data == b"a" * 4096  # type: ignore[attr-defined]
    blocks.close()


def test_a_shrunk_file_is_told_when_it_is_opened(path: Path) -> None:
    with Qcow2Blocks.create(path, SIZE) as blocks:
        blocks.write(0, b"a" * SIZE)
    os.truncate(path, path.stat().st_size - 100_000)
    with Qcow2Blocks(path, read_only=True) as blocks:
        with pytest.raises(OSError, match="not a whole cluster within the file") as caught:
            blocks.read(SIZE - 4096, 4096)
        assert caught.value.errno == errno.EIO
        assert blocks.read(0, 4096) == b"a" * 4096
    assert check_image(path).corruptions > 0


def test_a_backing_file_that_shrinks(path: Path) -> None:
    base = path.with_name("base")
    base.write_bytes(b"b" * SIZE)
    with Qcow2Blocks.create(path, SIZE, backing="base", backing_format="raw") as blocks:
        os.truncate(base, 100_000)
        with pytest.raises(OSError, match="Input/output") as caught:
            blocks.read(200_000, 512)
        assert caught.value.errno == errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            blocks.write(200_000, b"n" * 512)  # what surrounds it can't be read
        blocks.write(196_608, b"n" * 65536)  # a whole cluster needs nothing from below
        assert blocks.read(200_000, 512) == b"n" * 512
    report = check_image(path)
    assert (report.corruptions, report.leaks) == (0, 0)


def test_a_flush_that_failed_fails_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, file = faulty(path)

    def lost() -> None:
        raise OSError(errno.EIO, "injected: Input/output error")

    monkeypatch.setattr(file, "flush", lost)
    blocks.write(0, b"x")
    for _ in range(2):
        with pytest.raises(OSError, match="injected"):
            blocks.flush()
    with pytest.raises(OSError, match="injected"):
        blocks.write(0, b"x", fua=True)
    assert blocks.read(0, 1) == b"x"
    with pytest.raises(OSError, match="injected"):
        blocks.close()


def test_threads_that_share_clusters(path: Path) -> None:
    """Writes that do not overlap but share clusters, flushes and discards elsewhere; nobody disturbs another."""
    with Qcow2Blocks.create(path, SIZE, cluster_size=65536) as blocks:
        failures: list[BaseException] = []

        def work(thread: int) -> None:
            try:
                for round_ in range(6):
                    for at in range(thread * 512, 1 << 20, 4 * 512):
                        blocks.write(at, bytes((16 * thread + round_,)) * 512, fua=at % 40 == 0)
                    blocks.write(2 * SIZE // 4 + thread * 65536, bytes((thread + 1,)) * 65536)
                    blocks.discard(2 * SIZE // 4 + thread * 65536, 65536)
                    blocks.flush()
                    for at in range(thread * 512, 1 << 20, 4 * 512):
                        if blocks.read(at, 512) != bytes((16 * thread + round_,)) * 512:
                            raise AssertionError(f"thread {thread}, round {round_}, offset {at}")
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
    report = check_image(path)
    assert (report.corruptions, report.leaks, report.marks) == (0, 0, 0), report


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 4 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "vsw-test", str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"can't mount a small file system here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_file_system_that_is_full(small: Path) -> None:
    """The guest is told; what it has written is there; what it discards makes room."""
    path = small / "disk.qcow2"
    blocks = Qcow2Blocks.create(path, 64 << 20)
    disk = bench(blocks)
    written = 0
    while (reply := transfer(disk, WRITE_10, written * 128, 128, bytes((written + 1,)) * 65536)).status == 0:  # type: ignore[attr-defined]
        written += 1
    assert 40 < written < 64
    assert sense_code(reply) == SPACE_ALLOCATION_FAILED  # type: ignore[arg-type]
    assert disk.do(SYNCHRONIZE_CACHE).status == 0
    for number in range(written):
        assert transfer(disk, READ_10, number * 128, 128).data == bytes((number + 1,)) * 65536  # type: ignore[attr-defined]
    blocks.discard(0, 10 * 65536)
    assert disk.do(SYNCHRONIZE_CACHE).status == 0
    for number in range(written, written + 8):
        assert transfer(disk, WRITE_10, number * 128, 128, bytes((number + 1,)) * 65536).status == 0  # type: ignore[attr-defined]
    blocks.close()
    report = check_image(path)
    assert (report.corruptions, report.leaks) == (0, 0), report


def test_scsi_past_two_tebibytes(path: Path) -> None:
    """The last block of a disk of 5 TiB, written, unmapped and asked about; the file stays small."""
    size = 5 << 40
    last = size // 512 - 1
    blocks = Qcow2Blocks.create(path, size)
    disk = bench(blocks)
    capacity = disk.do("9e10 0000000000000000 00000020 0000").data
    assert int.from_bytes(capacity[:8], "big") == last
    lba = last.to_bytes(8, "big").hex()
    assert disk.do(f"8a00 {lba} 00000001 0000", b"L" * 512).status == 0
    assert disk.do(f"8800 {lba} 00000001 0000").data == b"L" * 512
    start = (last - 127).to_bytes(8, "big").hex()
    assert disk.do(f"8800 {start} 00000080 0000").data == bytes(127 * 512) + b"L" * 512
    status = disk.do(f"9e12 {start} 00000018 0000").data
    assert (int.from_bytes(status[8:16], "big"), status[20]) == (last - 127, 0)  # mapped
    assert disk.do("4200 00000000 00 0018 00", bytes.fromhex(f"0016 0010 00000000 {start} 00000080 00000000")).status == 0
    assert disk.do(f"8800 {lba} 00000001 0000").data == bytes(512)
    assert disk.do(f"9e12 {start} 00000018 0000").data[20] == 1  # deallocated
    blocks.close()
    assert path.stat().st_blocks * 512 < 1 << 20
    assert check_image(path).sound
