"""The contract of block backends (``vsw/disk/blocks/base.py``), over every backend there is. A new one adds a line to ``MAKERS``."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsw.disk.blocks import FORMATS, Blocks, Extent, Fault, FaultyBlocks, Kind, MemoryBlocks, Qcow2Blocks, RawBlocks, create_blocks, open_blocks
from vsw.disk.blocks.base import merge
from vsw.errors import UsageError

SIZE = 1 << 20



def overlay(directory: Path, size: int, base: str) -> Blocks:
    """A disk over a base that is larger and reads as zeroes."""
    with create_blocks(directory / "base", size + 65536, base) as below:
        below.write(0, bytes(4096))
    return Qcow2Blocks.create(directory / "disk", size, backing="base", backing_format=base)


Maker = Callable[[Path, int], Blocks]
MAKERS: dict[str, Maker] = {
    **{f"format {name}": lambda directory, size, name=name: create_blocks(directory / f"disk.{name}", size, name) for name in FORMATS},
    "raw, falloc": lambda directory, size: RawBlocks.create(directory / "disk", size, preallocation="falloc"),
    "raw, full": lambda directory, size: RawBlocks.create(directory / "disk", size, preallocation="full"),
    "qcow2, clusters of 512": lambda directory, size: Qcow2Blocks.create(directory / "disk", size, cluster_size=512, refcount_bits=1),
    "qcow2, metadata": lambda directory, size: Qcow2Blocks.create(directory / "disk", size, cluster_size=4096, preallocation="metadata"),
    "qcow2, falloc": lambda directory, size: Qcow2Blocks.create(directory / "disk", size, preallocation="falloc", refcount_bits=64),
    "qcow2, full": lambda directory, size: Qcow2Blocks.create(directory / "disk", size, preallocation="full", refcount_bits=8),
    "qcow2, version 2": lambda directory, size: Qcow2Blocks.create(directory / "disk", size, version=2),
    "overlay over raw": lambda directory, size: overlay(directory, size, "raw"),
    "overlay over qcow2": lambda directory, size: overlay(directory, size, "qcow2"),
    "memory": lambda _, size: MemoryBlocks(size),
    "fault": lambda _, size: FaultyBlocks(MemoryBlocks(size)),
}


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A directory in memory where there is one: what is tested here is not how long a disk takes to flush."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else None) as directory:
        yield Path(directory)


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest, quick_path: Path) -> Callable[[int], Blocks]:
    return lambda size: MAKERS[request.param](quick_path, size)


@pytest.fixture
def blocks(make: Callable[[int], Blocks]) -> Iterator[Blocks]:
    with make(SIZE) as disk:
        yield disk


def test_a_new_disk_reads_as_zeroes(blocks: Blocks) -> None:
    assert blocks.size == SIZE
    assert blocks.read(0, SIZE) == bytes(SIZE)


@pytest.mark.parametrize("fua", [False, True])
@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 512), (511, 2), (4095, 4098), (SIZE - 1, 1), (0, SIZE), (7, 0)])
def test_what_is_written_is_read(blocks: Blocks, offset: int, length: int, fua: bool) -> None:
    data = os.urandom(length)
    blocks.write(offset, data, fua=fua)
    blocks.flush()
    around = blocks.read(0, SIZE)
    assert around == bytes(offset) + data + bytes(SIZE - offset - length)


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (1 << 63, 512)])
@pytest.mark.parametrize("operation", ["readinto", "write", "discard", "write_zeroes", "extents", "prefetch"])
def test_ranges_beyond_the_disk_are_refused(blocks: Blocks, operation: str, offset: int, length: int) -> None:
    calls: dict[str, Callable[[], object]] = {
        "readinto": lambda: blocks.readinto(offset, bytearray(length)),
        "write": lambda: blocks.write(offset, bytes(length)),
        "discard": lambda: blocks.discard(offset, length),
        "write_zeroes": lambda: blocks.write_zeroes(offset, length, True),
        "extents": lambda: blocks.extents(offset, length),
        "prefetch": lambda: blocks.prefetch(offset, length),
    }
    with pytest.raises(OSError, match="do not lie within") as caught:
        calls[operation]()
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("unmap", [False, True])
@pytest.mark.parametrize(("offset", "length"), [(0, SIZE), (1, 5000), (4096, 8192), (SIZE - 4097, 4097), (100, 0)])
def test_written_zeroes_read_as_zeroes(blocks: Blocks, offset: int, length: int, unmap: bool) -> None:
    blocks.write(0, b"x" * SIZE)
    blocks.write_zeroes(offset, length, unmap)
    assert blocks.read(0, SIZE) == b"x" * offset + bytes(length) + b"x" * (SIZE - offset - length)


def test_unmapping_frees_whole_granules(blocks: Blocks) -> None:
    granule = blocks.granularity
    blocks.write(0, b"x" * (4 * granule))
    blocks.write_zeroes(granule, 2 * granule, True)
    assert Extent(granule, 2 * granule, Kind.HOLE) in blocks.extents(0, 4 * granule)


def test_discarded_bytes_are_old_or_zero(blocks: Blocks) -> None:
    blocks.write(0, b"x" * SIZE)
    blocks.discard(1000, 100_000)
    read = blocks.read(0, SIZE)
    assert read[:1000] == b"x" * 1000
    assert read[101_000:] == b"x" * (SIZE - 101_000)
    assert set(read[1000:101_000]) <= {0, ord("x")}


@pytest.mark.parametrize(("offset", "length"), [(0, SIZE), (5, 100_000), (SIZE - 1, 1), (0, 0)])
def test_extents_cover_the_range_and_tell_the_truth(blocks: Blocks, offset: int, length: int) -> None:
    blocks.write_zeroes(0, SIZE, True)
    blocks.write(40_000, b"data")
    extents = blocks.extents(offset, length)
    at = offset
    for extent in extents:
        assert extent.offset == at
        assert extent.length > 0
        if extent.kind is not Kind.DATA:
            assert not any(blocks.read(extent.offset, extent.length))
        at += extent.length
    assert at == offset + length
    assert all(one.kind is not other.kind for one, other in pairwise(extents))


def test_resizing_keeps_what_fits(make: Callable[[int], Blocks]) -> None:
    with make(SIZE) as blocks:
        blocks.write(0, b"a" * 10_000)
        blocks.resize(8192)
        blocks.resize(3 * SIZE)
        assert blocks.size == 3 * SIZE
        assert blocks.read(0, 3 * SIZE) == b"a" * 8192 + bytes(3 * SIZE - 8192)


def test_a_closed_disk_refuses_everything(make: Callable[[int], Blocks]) -> None:
    blocks = make(SIZE)
    blocks.close()
    blocks.close()
    assert blocks.closed
    assert blocks.direct is None
    for call in (lambda: blocks.read(0, 1), lambda: blocks.write(0, b"x"), blocks.flush, lambda: blocks.resize(1)):
        with pytest.raises(OSError, match="closed") as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_the_compiled_door_shows_the_same_bytes(blocks: Blocks) -> None:
    if blocks.direct is None:
        pytest.skip("this backend has no compiled door")
    blocks.write(0, bytes(65536))
    blocks.write(5, b"through python")
    buffer = bytearray(14)
    assert blocks.direct.readinto(5, buffer) == 0
    assert buffer == b"through python"
    assert blocks.direct.write_from(4090, b"through the door", False) == 0
    assert blocks.read(4090, 16) == b"through the door"
    # "Not this way", for what a backend's door does not do.
    assert blocks.direct.write_from(4090, b"through the door", True) in (0, -errno.EAGAIN)
    assert blocks.direct.flush_all() in (0, -errno.EAGAIN)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "zero", "unmap", "discard", "flush"]),
        st.integers(0, 65536 - 1),
        st.integers(0, 20_000),
        st.integers(1, 255),
    ),
    max_size=25,
)


@pytest.mark.parametrize("maker", list(MAKERS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_any_sequence_agrees_with_a_plain_array(maker: str, operations: list[tuple[str, int, int, int]], quick_path: Path) -> None:
    size = 65536
    model = bytearray(size)
    with tempfile.TemporaryDirectory(dir=quick_path) as directory, MAKERS[maker](Path(directory), size) as blocks:
        for operation, offset, wanted, byte in operations:
            length = min(wanted, size - offset)
            match operation:
                case "write":
                    blocks.write(offset, bytes((byte,)) * length)
                    model[offset : offset + length] = bytes((byte,)) * length
                case "zero" | "unmap":
                    blocks.write_zeroes(offset, length, operation == "unmap")
                    model[offset : offset + length] = bytes(length)
                case "discard":
                    before = model[offset : offset + length]
                    blocks.discard(offset, length)
                    after = blocks.read(offset, length)
                    assert all(new in (0, old) for new, old in zip(after, before, strict=True))
                    model[offset : offset + length] = after
                case _:
                    blocks.flush()
            assert blocks.read(0, size) == model


# What only some backends have.


def test_a_read_only_disk_refuses_changes(tmp_path: Path) -> None:
    create_blocks(tmp_path / "disk", SIZE).close()
    with open_blocks(tmp_path / "disk", read_only=True) as blocks:
        for call in (
            lambda: blocks.write(0, b"x"),
            lambda: blocks.discard(0, 1),
            lambda: blocks.write_zeroes(0, 1, False),
            lambda: blocks.resize(2),
        ):
            with pytest.raises(OSError, match="read-only") as caught:
                call()
            assert caught.value.errno == errno.EROFS
        blocks.flush()
        assert blocks.read(0, 4) == bytes(4)


def test_two_writers_never_meet(tmp_path: Path) -> None:
    with create_blocks(tmp_path / "disk", SIZE):
        for read_only in (False, True):
            with pytest.raises(OSError, match="in use") as caught:
                open_blocks(tmp_path / "disk", read_only=read_only)
            assert caught.value.errno == errno.EWOULDBLOCK
    with open_blocks(tmp_path / "disk", read_only=True), open_blocks(tmp_path / "disk", read_only=True):
        pass


def test_a_file_that_shrinks_is_an_io_error(tmp_path: Path) -> None:
    with create_blocks(tmp_path / "disk", SIZE) as blocks:
        os.truncate(tmp_path / "disk", 1000)
        with pytest.raises(OSError, match="Input/output") as caught:
            blocks.read(0, 4096)
        assert caught.value.errno == errno.EIO
        assert blocks.read(0, 1000) == bytes(1000)


def test_creating_does_not_overwrite_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        create_blocks(tmp_path / "disk", SIZE)
    assert (tmp_path / "disk").read_bytes() == b"precious"
    with pytest.raises(OSError, match=r"too large|Invalid"):
        create_blocks(tmp_path / "other", 1 << 62)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("path", "match"), [("/dev/null", "neither"), ("/proc/self", "directory")])
def test_only_files_and_block_devices_are_disks(path: str, match: str) -> None:
    with pytest.raises(OSError, match=match):
        RawBlocks(path)


def test_unknown_formats_are_named() -> None:
    with pytest.raises(UsageError, match=r"vhdx.*known are qcow2, raw"):
        open_blocks("nowhere", "vhdx")


def test_a_guest_cannot_choose_the_format(tmp_path: Path) -> None:
    with create_blocks(tmp_path / "disk", SIZE) as blocks:
        blocks.write(0, b"QFI\xfb\0\0\0\3")
    with open_blocks(tmp_path / "disk") as blocks:
        assert blocks.format == "raw"


def test_memory_past_two_tebibytes() -> None:
    with MemoryBlocks(5 << 40) as blocks:
        blocks.write((5 << 40) - 512, b"y" * 512)
        assert blocks.read((5 << 40) - 1024, 1024) == bytes(512) + b"y" * 512


def test_direct_io(tmp_path: Path) -> None:
    create_blocks(tmp_path / "disk", SIZE).close()
    try:
        blocks = RawBlocks(tmp_path / "disk", direct_io=True)
    except OSError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    with blocks:
        assert blocks.alignment in (512, 4096)
        data = os.urandom(3 * blocks.alignment)
        blocks.write(blocks.alignment, data)
        assert blocks.read(0, 5 * blocks.alignment) == bytes(blocks.alignment) + data + bytes(blocks.alignment)
        with pytest.raises(OSError, match="multiples of") as caught:
            blocks.write(1, data)
        assert caught.value.errno == errno.EINVAL


# The fault injector.


def test_faults_strike_where_and_as_often_as_told() -> None:
    inner = MemoryBlocks(SIZE)
    with FaultyBlocks(inner, [Fault("write", errno.ENOSPC, start=4096, stop=8192, skip=1, times=2, partial=100)]) as blocks:
        blocks.write(0, b"a" * 512)
        blocks.write(4096, b"a" * 512)
        for _ in range(2):
            with pytest.raises(OSError, match="No space") as caught:
                blocks.write(4096, b"b" * 512)
            assert caught.value.errno == errno.ENOSPC
            assert blocks.read(4096, 512) == b"b" * 100 + b"a" * 412
        blocks.write(4096, b"c" * 512)
        assert blocks.read(4096, 512) == b"c" * 512


@pytest.mark.parametrize("operation", ["read", "write", "flush", "discard", "write_zeroes", "extents", "resize"])
def test_every_operation_can_fail_once(operation: str) -> None:
    with FaultyBlocks(MemoryBlocks(SIZE), [Fault(operation, errno.EIO)]) as blocks:  # type: ignore[arg-type]
        calls: dict[str, Callable[[], object]] = {
            "read": lambda: blocks.read(0, 1),
            "write": lambda: blocks.write(0, b"x"),
            "flush": blocks.flush,
            "discard": lambda: blocks.discard(0, 1),
            "write_zeroes": lambda: blocks.write_zeroes(0, 1, False),
            "extents": lambda: blocks.extents(0, 1),
            "resize": lambda: blocks.resize(SIZE),
        }
        with pytest.raises(OSError, match="injected") as caught:
            calls[operation]()
        assert caught.value.errno == errno.EIO
        calls[operation]()


def test_neighbouring_extents_are_merged() -> None:
    parts = [Extent(0, 5, Kind.HOLE), Extent(5, 5, Kind.HOLE), Extent(10, 1, Kind.DATA), Extent(11, 1, Kind.ZERO)]
    assert merge(parts) == [Extent(0, 10, Kind.HOLE), Extent(10, 1, Kind.DATA), Extent(11, 1, Kind.ZERO)]
