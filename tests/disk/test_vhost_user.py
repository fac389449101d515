"""Disks over virtqueues: every request of virtio-blk and virtio-scsi by a driver of our own, and requests that can't be."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.virtio.front_end import DriverRing, FrontEnd
from vsw.disk.blocks import Blocks, MemoryBlocks, create_blocks
from vsw.disk.blocks.fault import Fault, FaultyBlocks
from vsw.disk.scsi import LogicalUnit, Target
from vsw.disk.serve.vhost_user import CONFIG_WCE, FLUSH, READ_ONLY, BlkServer, ScsiServer
from vsw.errors import UsageError
from vsw.virtio.device import BASE_FEATURES
from vsw.virtio.messages import INDEX_NUMBER, Request

IN, OUT, FLUSH_IT, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IO_ERROR, UNSUPPORTED = 0, 1, 2
SIZE = 4 << 20


class Disk:
    """The driver of a virtio-blk disk."""

    def __init__(self, path: Path, wanted: int | None = None, rings: int = 1) -> None:
        self.front = FrontEnd(path, 32 << 20)
        self.front.negotiate(wanted)
        self.front.share()
        self.front.start(rings, 128)
        self.front.settle()
        self.mark = self.front.used

    def request(self, kind: int, sector: int = 0, out: list[bytes] | None = None, rooms: list[int] | None = None, ring: int = 0) -> tuple[int, bytes]:
        """Status, and what was written into the rooms."""
        self.front.used = self.mark
        rooms = rooms or []
        chain = [struct.pack("<IIQ", kind, 0, sector), *(out or []), *rooms, 1]
        return self._done(self.front.rings[ring], chain, rooms)

    def _done(self, ring: DriverRing, chain: list[bytes | int], rooms: list[int]) -> tuple[int, bytes]:
        _, places = ring.post(chain)
        ((_, written),) = ring.wait()
        memory = self.front.memory
        data = b"".join(memory[place : place + room] for place, room in zip(places[-1 - len(rooms) : -1], rooms, strict=True))
        assert written == (len(data) if data else 0) + 1 or written <= len(data) + 1
        return memory[places[-1]], data

    def read(self, sector: int, length: int) -> bytes:
        status, data = self.request(IN, sector, rooms=[length])
        assert status == OK
        return data

    def write(self, sector: int, data: bytes) -> None:
        assert self.request(OUT, sector, [data])[0] == OK

    def close(self) -> None:
        self.front.close()


class Slow(MemoryBlocks):
    """A backend without a compiled door."""

    def __init__(self, size: int, **options: bool) -> None:
        super().__init__(size, **options)
        self.direct = None
        self.calls: list[tuple[str, bool]] = []

    def _write(self, offset: int, view: memoryview, fua: bool) -> None:
        self.calls.append(("write", fua))
        super()._write(offset, view, fua)

    def _flush(self) -> None:
        self.calls.append(("flush", False))


@pytest.fixture(params=["memory", "slow", "file", "direct-io", "qcow2"])
def blocks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blocks]:
    match request.param:
        case "memory":
            made: Blocks = MemoryBlocks(SIZE)
        case "slow":
            made = Slow(SIZE)
        case "qcow2":
            made = create_blocks(tmp_path / "disk.qcow2", SIZE, "qcow2")
        case _:
            try:
                made = create_blocks(tmp_path / "disk.img", SIZE, "raw", direct_io=request.param == "direct-io")
            except OSError as error:
                pytest.skip(f"no direct I/O here: {error}")
    with made:
        yield made


@pytest.fixture
def disk(blocks: Blocks, tmp_path: Path) -> Iterator[Disk]:
    with BlkServer(tmp_path / "d.sock", blocks, serial="disk-7") as server:
        made = Disk(server.path)
        yield made
        made.close()


def test_what_the_guest_sees(disk: Disk, blocks: Blocks) -> None:
    space = disk.front.config(60)
    assert struct.unpack_from("<Q", space) == (SIZE // 512,)
    assert struct.unpack_from("<I", space, 12) == (254,)
    assert struct.unpack_from("<I", space, 20) == (max(512, blocks.alignment),)
    assert space[32] == 1
    assert struct.unpack_from("<H", space, 34) == (4,)
    assert disk.request(GET_ID, rooms=[20]) == (OK, b"disk-7".ljust(20, b"\0"))


def test_random_requests_match_a_model(disk: Disk, blocks: Blocks) -> None:
    luck = random.Random(3)
    model = bytearray(SIZE)
    step = max(512, blocks.alignment) // 512
    for _ in range(120):
        count = luck.choice([1, 2, 7, 8, 64, 256]) * step
        sector = luck.randrange(0, (SIZE // 512 - count) // step) * step
        span = slice(sector * 512, (sector + count) * 512)
        cuts = sorted(luck.sample(range(1, count * 512), min(luck.randrange(4), count * 512 - 1)))
        edges = list(zip([0, *cuts], [*cuts, count * 512], strict=True))
        match luck.randrange(5):
            case 0 | 1:
                model[span] = data = luck.randbytes(count * 512)
                assert disk.request(OUT, sector, [data[start:stop] for start, stop in edges])[0] == OK
            case 2 | 3:
                assert disk.request(IN, sector, rooms=[stop - start for start, stop in edges]) == (OK, bytes(model[span]))
            case 4:
                assert disk.request(WRITE_ZEROES, 0, [struct.pack("<QII", sector, count, luck.randrange(2))])[0] == OK
                model[span] = bytes(count * 512)
    assert disk.request(FLUSH_IT)[0] == OK
    assert blocks.read(0, SIZE) == model


def test_a_large_request(disk: Disk, blocks: Blocks) -> None:
    data = random.Random(1).randbytes(3 << 20)
    assert disk.request(OUT, 8, [data])[0] == OK
    assert disk.request(IN, 8, rooms=[1 << 20, 2 << 20]) == (OK, data)


def test_discard(disk: Disk, blocks: Blocks) -> None:
    disk.write(0, b"x" * 65536 * 4)
    assert disk.request(DISCARD, 0, [struct.pack("<QII", 128, 128, 0) + struct.pack("<QII", 384, 128, 0)])[0] == OK
    assert disk.read(0, 65536) == b"x" * 65536
    assert set(disk.read(128, 65536)) in ({0}, {ord("x")})


BEYOND = SIZE // 512
RANGE = "<QII"
WRONG = {
    "read beyond the end": (IN, BEYOND, None, [512], IO_ERROR),
    "read across the end": (IN, BEYOND - 1, None, [1024], IO_ERROR),
    "read of half a sector": (IN, 0, None, [256], IO_ERROR),
    "sector that wraps": (IN, 0xFFFF_FFFF_FFFF_FFFF, None, [512], IO_ERROR),
    "sector that wraps to zero": (IN, 1 << 55, None, [512], IO_ERROR),
    "write beyond the end": (OUT, BEYOND, [bytes(512)], None, IO_ERROR),
    "write of half a sector": (OUT, 0, [bytes(500)], None, IO_ERROR),
    "no such request": (77, 0, None, [512], UNSUPPORTED),
    "identity without room": (GET_ID, 0, None, [19], IO_ERROR),
    "discard of nothing": (DISCARD, 0, None, None, IO_ERROR),
    "discard of half a range": (DISCARD, 0, [bytes(15)], None, IO_ERROR),
    "discard with unmap": (DISCARD, 0, [struct.pack(RANGE, 0, 8, 1)], None, UNSUPPORTED),
    "discard with reserved bits": (DISCARD, 0, [struct.pack(RANGE, 0, 8, 4)], None, UNSUPPORTED),
    "discard beyond the end": (DISCARD, 0, [struct.pack(RANGE, BEYOND - 1, 8, 0)], None, IO_ERROR),
    "discard that wraps": (DISCARD, 0, [struct.pack(RANGE, 0xFFFF_FFFF_FFFF_FFFF, 8, 0)], None, IO_ERROR),
    "too many ranges": (WRITE_ZEROES, 0, [struct.pack(RANGE, 0, 8, 0) * 33], None, IO_ERROR),
    "zeroes beyond the end": (WRITE_ZEROES, 0, [struct.pack(RANGE, BEYOND, 1, 0)], None, IO_ERROR),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "sector", "out", "rooms", "status"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_done_is_an_error_and_the_next_one_works(
    tmp_path: Path, kind: int, sector: int, out: list[bytes] | None, rooms: list[int] | None, status: int
) -> None:
    with MemoryBlocks(SIZE) as blocks, BlkServer(tmp_path / "d.sock", blocks) as server:
        disk = Disk(server.path)
        assert disk.request(kind, sector, out, rooms)[0] == status
        disk.write(0, b"well" * 128)
        assert disk.read(0, 512) == b"well" * 128
        disk.close()


@pytest.mark.parametrize("chain", [[bytes(16)], [1], [bytes(15), 1], [b""]], ids=["no status", "no header", "short header", "nothing"])
def test_a_chain_that_is_no_request_stops_its_ring(tmp_path: Path, chain: list[bytes | int]) -> None:
    with MemoryBlocks(SIZE) as blocks, BlkServer(tmp_path / "d.sock", blocks) as server:
        disk = Disk(server.path, rings=2)
        disk.front.rings[0].post(chain)
        assert disk.front.rings[0].failed()
        assert "too small or of the wrong kind" in server.rings[0].fault
        assert disk.request(IN, 0, rooms=[512], ring=1) == (OK, bytes(512))
        disk.close()


def test_a_read_only_disk(tmp_path: Path) -> None:
    with MemoryBlocks(SIZE, read_only=True) as blocks, BlkServer(tmp_path / "d.sock", blocks) as server:
        disk = Disk(server.path)
        assert disk.front.features & READ_ONLY
        assert disk.request(OUT, 0, [bytes(512)])[0] == IO_ERROR
        assert disk.request(WRITE_ZEROES, 0, [struct.pack(RANGE, 0, 8, 0)])[0] == IO_ERROR
        assert disk.request(FLUSH_IT)[0] == OK
        assert disk.read(0, 512) == bytes(512)
        disk.close()


def test_without_a_cache_each_write_is_there_when_it_ends(tmp_path: Path) -> None:
    with Slow(SIZE) as blocks, BlkServer(tmp_path / "d.sock", blocks) as server:
        cached = BASE_FEATURES | FLUSH | CONFIG_WCE
        for wanted, switch, fua in ((None, None, False), (BASE_FEATURES, None, True), (None, 0, True), (cached, 1, False)):
            disk = Disk(server.path, wanted)
            if switch is not None:
                disk.front.write_config(32, bytes([switch]))
                assert disk.front.config(33)[32] == switch
            blocks.calls.clear()
            disk.write(0, bytes(512))
            assert blocks.calls == [("write", fua)]
            disk.close()


def test_faults_of_the_device_are_errors_and_the_next_request_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FaultyBlocks(MemoryBlocks(SIZE)) as blocks, BlkServer(tmp_path / "d.sock", blocks, serial="faulty") as server:
        disk = Disk(server.path)
        blocks.faults = [Fault("read", errno.EIO, times=1), Fault("write", errno.ENOSPC, times=1), Fault("flush", errno.EIO, times=1)]
        assert disk.request(IN, 0, rooms=[512])[0] == IO_ERROR
        assert disk.request(OUT, 0, [bytes(512)])[0] == IO_ERROR
        assert disk.request(FLUSH_IT)[0] == IO_ERROR
        assert "faulty: read failed" in caplog.text
        assert "faulty: write failed" in caplog.text
        disk.write(0, b"ab" * 256)
        assert disk.read(0, 512) == b"ab" * 256
        assert disk.request(FLUSH_IT)[0] == OK
        disk.close()


def test_rings_are_served_side_by_side(tmp_path: Path) -> None:
    with MemoryBlocks(SIZE) as blocks, BlkServer(tmp_path / "d.sock", blocks, queues=4) as server:
        disk = Disk(server.path, rings=4)
        for turn in range(32):
            for ring in range(4):
                assert disk.request(OUT, ring * 64 + turn, [bytes([ring, turn]) * 256], ring=ring)[0] == OK
        for ring in range(4):
            assert disk.read(ring * 64, 32 * 512) == b"".join(bytes([ring, turn]) * 256 for turn in range(32))
        disk.close()


def test_two_lives_with_memory_of_their_own(tmp_path: Path) -> None:
    """As SeaBIOS and then the kernel: rings stop, come again elsewhere, with a new table of memory on the same connection."""
    with MemoryBlocks(SIZE) as blocks, BlkServer(tmp_path / "d.sock", blocks) as server:
        disk = Disk(server.path)
        disk.write(5, b"bios" * 128)
        assert INDEX_NUMBER.unpack(disk.front.ask(Request.GET_VRING_BASE, INDEX_NUMBER.pack(0, 0))) == (0, 1)
        assert not server.rings[0].running
        disk.front.rings[0].close()
        disk.front.rings.clear()
        disk.front.share()
        disk.front.start(1, 64)
        disk.mark = disk.front.used
        assert disk.read(5, 512) == b"bios" * 128
        disk.close()


def test_memory_that_goes_during_requests(tmp_path: Path) -> None:
    with MemoryBlocks(SIZE) as blocks, BlkServer(tmp_path / "d.sock", blocks) as server:
        disk = Disk(server.path)
        for sector in range(0, 64, 8):
            disk.front.rings[0].post([struct.pack("<IIQ", IN, 0, sector), 4096, 1], kick=False)
        os.ftruncate(disk.front.fd, 4096)
        os.eventfd_write(disk.front.rings[0].kick, 1)
        assert disk.front.gone()
        disk.close()
        again = Disk(server.path)
        assert again.read(0, 512) == bytes(512)
        again.close()


def test_arguments(tmp_path: Path) -> None:
    with MemoryBlocks(513) as odd, pytest.raises(UsageError, match="a disk of 513 bytes"):
        BlkServer(tmp_path / "d.sock", odd)
    with MemoryBlocks(512) as blocks, pytest.raises(UsageError, match="queues is 1 to 16, not 17"):
        BlkServer(tmp_path / "d.sock", blocks, queues=17)
    with pytest.raises(UsageError, match="at least one, not none"):
        ScsiServer(tmp_path / "d.sock", {})


# SCSI.

CHECK, BAD_TARGET, OVERRUN = 2, 3, 1


class Host:
    """The driver of a virtio-scsi controller."""

    def __init__(self, path: Path) -> None:
        self.front = FrontEnd(path, 32 << 20)
        self.front.negotiate()
        self.front.share()
        self.front.start(3, 64)
        self.front.settle()
        self.mark = self.front.used

    def command(
        self, cdb: str | bytes, out: list[bytes] | None = None, rooms: list[int] | None = None, target: int = 0, lun: int = 0, address: bytes = b""
    ) -> tuple[int, int, bytes, bytes]:
        """Response, status, sense, data."""
        self.front.used = self.mark
        raw = bytes.fromhex(cdb) if isinstance(cdb, str) else cdb
        address = address or bytes((1, target, 0x40 | lun >> 8, lun & 0xFF, 0, 0, 0, 0))
        head = address + bytes(11) + raw.ljust(32, b"\0")
        ring = self.front.rings[2]
        _, places = ring.post([head, *(out or []), 108, *(rooms or [])])
        ((_, written),) = ring.wait()
        answer = self.front.memory[places[1 + len(out or [])] :][:108]
        sense_length, _, _, status, response = struct.unpack_from("<IIHBB", answer)
        data = b"".join(self.front.memory[place : place + room] for place, room in zip(places[2 + len(out or []) :], rooms or [], strict=True))
        return response, status, answer[12 : 12 + sense_length], data[: written - 108]

    def quiet(self, lun: int = 0) -> None:
        """Take the first unit attention."""
        assert self.command(bytes(6), lun=lun)[1] == CHECK
        assert self.command(bytes(6), lun=lun)[:2] == (0, 0)

    def manage(self, function: int, lun: int = 0, target: int = 0) -> int:
        ring = self.front.rings[0]
        _, places = ring.post([struct.pack("<II", 0, function) + bytes((1, target, 0x40, lun, 0, 0, 0, 0)) + bytes(8), 1])
        ring.wait()
        return self.front.memory[places[1]]

    def close(self) -> None:
        self.front.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    units = {0: LogicalUnit(MemoryBlocks(SIZE), serial="zero"), 5: LogicalUnit(MemoryBlocks(SIZE), serial="five")}
    with ScsiServer(tmp_path / "s.sock", {0: Target("iqn.2026-01.example.lab:disk", units)}) as server:
        made = Host(server.path)
        yield made
        made.close()


def test_absent_targets_and_units(host: Host) -> None:
    assert host.command("120000002400", rooms=[36], target=1)[0] == BAD_TARGET
    assert host.command("120000002400", rooms=[36], target=255)[0] == BAD_TARGET
    response, status, _, data = host.command("120000002400", rooms=[36], lun=3)
    assert (response, status, data[0]) == (0, 0, 0x7F)
    assert host.command("120000002400", rooms=[36], address=bytes((1, 0, 0x80, 0, 0, 0, 0, 0)))[3][0] == 0x7F
    assert host.command("120000002400", rooms=[36], address=bytes((2, 0, 0, 0, 0, 0, 0, 0)))[0] == BAD_TARGET
    _, _, _, luns = host.command("a00000000000000000400000", rooms=[64])
    assert luns == struct.pack(">II", 16, 0) + bytes(8) + bytes((0, 5, 0, 0, 0, 0, 0, 0))


def test_reads_and_writes_by_the_gate_and_by_the_engine(host: Host) -> None:
    host.quiet()
    host.quiet(5)
    luck = random.Random(5)
    for lun in (0, 5):
        model = bytearray(SIZE)
        for _ in range(60):
            count = luck.choice([1, 3, 8, 256])
            lba = luck.randrange(SIZE // 512 - count)
            span = slice(lba * 512, (lba + count) * 512)
            cuts = sorted(luck.sample(range(1, count * 512), luck.randrange(3)))
            edges = list(zip([0, *cuts], [*cuts, count * 512], strict=True))
            dpo = luck.choice([0, 0x10, 0x08])       # FUA on a read goes by the engine
            if luck.randrange(2):
                model[span] = data = luck.randbytes(count * 512)
                cdb = struct.pack(">BBIBHB", 0x2A, dpo, lba, 0, count, 0)
                assert host.command(cdb, [data[start:stop] for start, stop in edges], lun=lun)[:2] == (0, 0)
            else:
                cdb = struct.pack(">BBIBHB", 0x28, dpo, lba, 0, count, 0)
                assert host.command(cdb, rooms=[stop - start for start, stop in edges], lun=lun) == (0, 0, b"", bytes(model[span]))
        assert host.command("35000000000000000000", lun=lun)[:2] == (0, 0)


def test_residuals_sense_and_overrun(host: Host) -> None:
    host.quiet()
    response, status, sense, _ = host.command("28000000200000000100", rooms=[512])     # one block past the end
    assert (response, status, sense[2] & 15, sense[12]) == (0, CHECK, 5, 0x21)
    response, _, _, data = host.command("1200000024 00".replace(" ", ""), rooms=[96])
    assert (response, len(data)) == (0, 36)
    assert host.command("28000000000000000200", rooms=[512])[0] == OVERRUN
    assert host.command(bytes((0xEE,)) + bytes(15))[1] == CHECK


def test_task_management(host: Host) -> None:
    host.quiet()
    assert host.manage(0) == 0
    assert host.manage(6) == 0
    assert host.manage(1, lun=9) == 12
    assert host.manage(5, target=3) == BAD_TARGET
    assert host.manage(99) == 11
    assert host.manage(5) == 0          # a reset of the unit, of which the next command tells
    assert host.command(bytes(6))[2][12:14] == bytes((0x29, 0x03))
    assert host.manage(4) == 10
    assert host.command(bytes(6))[2][12] == 0x29


def test_what_is_no_command_stops_its_ring(host: Host) -> None:
    host.front.rings[2].post([bytes(50), 108])
    assert host.front.rings[2].failed()
    assert host.manage(6) == 0


def test_a_front_end_that_comes_again_is_the_same_initiator(tmp_path: Path) -> None:
    """A persistent reservation outlives the guest; another guest's controller meets it."""
    target = Target("iqn.2026-01.example.lab:disk", {0: LogicalUnit(MemoryBlocks(SIZE), serial="zero")})
    with ScsiServer(tmp_path / "a.sock", {0: target}, name="a") as first, ScsiServer(tmp_path / "b.sock", {0: target}, name="b") as second:
        one, two = Host(first.path), Host(second.path)
        for host in (one, two):
            host.quiet()
        assert one.command("5f000000000000001800", [bytes(8) + bytes.fromhex("0000000000000abc") + bytes(8)])[:2] == (0, 0)      # register
        assert one.command("5f010300000000001800", [bytes.fromhex("0000000000000abc") + bytes(16)])[:2] == (0, 0)               # exclusive access
        assert two.command("28000000000000000100", rooms=[512])[1] == 0x18
        one.close()
        again = Host(first.path)
        again.quiet()
        assert again.command("28000000000000000100", rooms=[512])[:2] == (0, 0)
        assert two.command("28000000000000000100", rooms=[512])[1] == 0x18
        again.close()
        two.close()
