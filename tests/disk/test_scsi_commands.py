"""The SCSI engine, command by command: status, sense and effect (SPC-4, SBC-3)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.disk.scsi_helpers import BLOCKS, bench, information, sense_code
from vsw.disk.blocks import Fault, FaultyBlocks, MemoryBlocks, create_blocks
from vsw.disk.scsi import CONTROLLERS, LogicalUnit, Status, Target
from vsw.disk.scsi.commands import COMMANDS, Command
from vsw.disk.scsi.discovery import decode_lun, encode_lun
from vsw.errors import UsageError

A, B = b"a" * 512, b"b" * 512
INVALID_CDB, INVALID_PARAMETER, LENGTH = (5, 0x24, 0), (5, 0x26, 0), (5, 0x1A, 0)
OUT_OF_RANGE, OPCODE, PROTECTED = (5, 0x21, 0), (5, 0x20, 0), (7, 0x27, 0)
UNIT_INFORMATION = (5, 0x0E, 3)


def every_command() -> list[Command]:
    return [entry for group in COMMANDS.values() for entry in (group.values() if isinstance(group, dict) else (group,))]


# One line a case: (id, CDB, data-out, what comes back: GOOD, CONDITION MET or a sense code).
CASES = [
    ("test unit ready", "000000000000", b"", 0),
    ("unknown opcode", "ff0000000000", b"", OPCODE),
    ("no such service action", "9e1f" + "00" * 14, b"", INVALID_CDB),
    ("reserved bit", "000100000000", b"", INVALID_CDB),
    ("naca", "000000000004", b"", INVALID_CDB),
    ("read 6", "080000000100", b"", 0),
    ("read 6 past the end", "080007ff0200", b"", OUT_OF_RANGE),
    ("read 10, none at the end", "28000000080000000000", b"", 0),
    ("read 10, none past the end", "28000000080100000000", b"", OUT_OF_RANGE),
    ("read 10 with protection", "28200000000000000100", b"", INVALID_CDB),
    ("read 10 fua", "28080000000000000100", b"", 0),
    ("read 12", "a80000000000000000010000", b"", 0),
    ("read 16", "8800" + "00" * 8 + "00000001" + "0000", b"", 0),
    ("read 16 at 2^63", "8800" + "8000000000000000" + "00000001" + "0000", b"", OUT_OF_RANGE),
    ("write 6", "0a0000000100", A, 0),
    ("write 10", "2a000000000000000100", A, 0),
    ("write 10, half a block", "2a000000000000000100", A[:256], UNIT_INFORMATION),
    ("write 10, protection", "2a200000000000000100", A, INVALID_CDB),
    ("write 12 dpo fua", "aa1800000000000000010000", A, 0),
    ("write and verify 10", "2e000000000000000100", A, 0),
    ("write and verify 10 bytchk", "2e020000000000000100", A, 0),
    ("write and verify 10 bytchk 3", "2e060000000000000100", A, INVALID_CDB),
    ("verify 10", "2f000000000000000100", b"", 0),
    ("verify 10 bytchk", "2f020000000000000100", bytes(512), 0),
    ("verify 10 bytchk differs", "2f020000000000000100", A, (14, 0x1D, 0)),
    ("verify 10 bytchk 2", "2f040000000000000100", A, INVALID_CDB),
    ("verify 10 one block against all", "2f060000000000000400", bytes(512), 0),
    ("compare and write equal", "8900" + "00" * 8 + "000000" + "01" + "0000", bytes(512) + A, 0),
    ("compare and write differs", "8900" + "00" * 8 + "000000" + "01" + "0000", A + B, (14, 0x1D, 0)),
    ("compare and write short", "8900" + "00" * 8 + "000000" + "01" + "0000", A, INVALID_CDB),
    ("compare and write too long", "8900" + "00" * 8 + "000000" + "ff" + "0000", bytes(512 * 510), INVALID_CDB),
    ("orwrite", "8b00" + "00" * 8 + "00000001" + "0000", A, 0),
    ("write atomic", "9c00" + "00" * 8 + "0000" + "0002" + "0000", A + B, 0),
    ("write atomic short", "9c00" + "00" * 8 + "0000" + "0002" + "0000", A, UNIT_INFORMATION),
    ("prefetch 10", "34000000000000000100", b"", 4),
    ("prefetch 16 past the end", "9000" + "0000000000000800" + "00000001" + "0000", b"", OUT_OF_RANGE),
    ("synchronize cache 10", "35000000000000000000", b"", 0),
    ("synchronize cache 16", "9100" + "00" * 14, b"", 0),
    ("synchronize cache past the end", "35000000090000000000", b"", OUT_OF_RANGE),
    ("write same 10", "41000000000000000800", A, 0),
    ("write same 10 to the end", "41000000000000000000", A, 0),
    ("write same 10 wrong data", "41000000000000000800", A + A, UNIT_INFORMATION),
    ("write same 10 anchor", "41100000000000000800", A, INVALID_CDB),
    ("write same 16 without data", "9301" + "00" * 8 + "00000008" + "0000", b"", 0),
    ("write same 16 past the end", "9300" + "00" * 8 + "00000801" + "0000", A, OUT_OF_RANGE),
    ("unmap nothing", "42000000000000000000", b"", 0),
    ("unmap", "42000000000000001800", bytes.fromhex("0016001000000000" + "00" * 8 + "00000008" + "00" * 4), 0),
    ("unmap short list", "42000000000000001800", bytes(10), LENGTH),
    ("unmap past the end", "42000000000000001800", bytes.fromhex("0016001000000000" + "00" * 8 + "00000801" + "00" * 4), OUT_OF_RANGE),
    ("get lba status past the end", "9e12" + "0000000000000800" + "00000018" + "0000", b"", OUT_OF_RANGE),
    ("read capacity 10 with pmi", "25000000000000000100", b"", INVALID_CDB),
    ("mode sense, no such page", "1a003e00ff00", b"", INVALID_CDB),
    ("mode sense, saved values", "1a00c800ff00", b"", (5, 0x39, 0)),
    ("mode sense, subpage", "1a000801ff00", b"", INVALID_CDB),
    ("mode select without PF", "150000000400", bytes(4), INVALID_CDB),
    ("mode select, saving", "151100000400", bytes(4), INVALID_CDB),
    ("mode select, fixed bit", "151000001000", bytes(4) + bytes.fromhex("0a0a01100000000000000000"), INVALID_PARAMETER),
    ("mode select, short page", "151000000600", bytes(4) + bytes.fromhex("0a0a"), LENGTH),
    ("start", "1b0000000100", b"", 0),
    ("eject a fixed disk", "1b0000000200", b"", INVALID_CDB),
    ("prevent", "1e0000000100", b"", 0),
    ("read defect data 10", "3700180000000000ff00", b"", 0),
    ("read defect data 12", "b7180000000000000008" + "0000", b"", 0),
    ("report luns, short", "a000000000000000000f0000", b"", INVALID_CDB),
    ("report luns, select 3", "a00003000000000000ff0000", b"", INVALID_CDB),
    ("inquiry page without evpd", "120080000000", b"", INVALID_CDB),
    ("inquiry unknown page", "1201c0000000", b"", INVALID_CDB),
    ("opcodes, one with actions asked without", "a30c019e000000000fff0000", b"", INVALID_CDB),
    ("sanitize, count 0", "480100000000" + "00" + "0005" + "00", b"\0\0\0\1\0", INVALID_PARAMETER),
    ("sanitize, crypto erase", "480300000000" + "00" + "0000" + "00", b"", INVALID_CDB),
    ("format unit", "040000000000", b"", 0),
]


@pytest.mark.parametrize(("cdb", "data", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_status_and_sense(cdb: str, data: bytes, expected: int | tuple[int, int, int]) -> None:
    lab = bench()
    reply = lab.do(cdb, data)
    if isinstance(expected, tuple):
        assert sense_code(reply) == expected
    else:
        assert (reply.status, reply.sense) == (expected, b"")
    assert lab.do("000000000000").status == Status.GOOD


@pytest.mark.parametrize("entry", every_command(), ids=lambda entry: entry.name)
def test_a_read_only_medium_refuses_exactly_what_writes(entry: Command) -> None:
    lab = bench(read_only=True)
    cdb = bytearray(len(entry.usage))
    cdb[0] = entry.opcode
    cdb[1] = entry.action or 0
    reply = lab.do(bytes(cdb))
    assert (reply.status == 2 and sense_code(reply) == PROTECTED) is entry.writes


@pytest.mark.parametrize("entry", every_command(), ids=lambda entry: entry.name)
def test_the_usage_bitmap_is_what_is_checked_and_reported(entry: Command) -> None:
    lab = bench()
    action = "0000" if entry.action is None else f"{entry.action:04x}"
    option = "01" if entry.action is None else "02"
    reported = bytes(lab.do(f"a30c{option}{entry.opcode:02x}{action}000000ff0000").data)
    assert reported[1] & 7 == 3
    assert reported[4 : 4 + len(entry.usage)] == entry.usage
    for index in range(1, len(entry.usage)):
        for bit in range(8):
            if index == 1 and bit < 5 and entry.action is not None:
                continue
            cdb = bytearray(len(entry.usage))
            cdb[0] = entry.opcode
            cdb[1] = entry.action or 0
            cdb[index] |= 1 << bit
            if not entry.usage[index] >> bit & 1:
                reply = lab.do(bytes(cdb))
                assert sense_code(reply) == INVALID_CDB
                assert reply.sense[15:18] == bytes((0xC8 | bit, 0, index))


@settings(max_examples=400, deadline=None)
@given(
    opcode=st.sampled_from(sorted(COMMANDS)),
    rest=st.binary(min_size=15, max_size=15),
    data=st.binary(max_size=64),
    size=st.sampled_from((512, 4096)),
)
def test_no_command_raises(opcode: int, rest: bytes, data: bytes, size: int) -> None:
    lab = bench(block_size=size, removable=True)
    cdb = bytes((opcode,)) + rest
    assert 0 <= lab.unit.data_out_length(cdb) < 1 << 32
    for length in (len(cdb), 10, 6, 1):
        reply = lab.do(cdb[:length], data, announced=len(data))
        assert reply.status in Status
        assert (reply.status == Status.CHECK_CONDITION) is bool(reply.sense)


@settings(max_examples=300, deadline=None)
@given(
    entry=st.sampled_from([entry for entry in every_command() if entry.out.__name__ != "nothing"]),
    bits=st.binary(min_size=16, max_size=16),
    data=st.binary(max_size=200),
)
def test_no_parameter_list_raises(entry: Command, bits: bytes, data: bytes) -> None:
    lab = bench()
    cdb = bytearray(byte & usage for byte, usage in zip(bits, entry.usage, strict=False))
    cdb[0] = entry.opcode
    if entry.action is not None:
        cdb[1] = cdb[1] & 0xE0 | entry.action
    assert lab.do(bytes(cdb), data, announced=len(data)).status in Status


# Effects.


@pytest.mark.parametrize("size", [512, 4096])
def test_blocks_are_bytes_of_the_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(3 * size)
    with create_blocks(tmp_path / "disk", 64 * size) as blocks:
        lab = bench(blocks, block_size=size)
        assert lab.do("2a00000000050000" + "0300", data).status == 0
        assert bytes(lab.do("28000000000400000500").data) == bytes(size) + data + bytes(size)
        assert lab.do("35" + "00" * 9).status == 0
    assert (tmp_path / "disk").read_bytes() == bytes(5 * size) + data + bytes(56 * size)


def test_past_two_tebibytes() -> None:
    lab = bench(MemoryBlocks(3 << 40))
    last = (3 << 40) // 512 - 1
    assert lab.do("25" + "00" * 9).data[:4] == b"\xff" * 4
    capacity = lab.do("9e10" + "00" * 8 + "00000020" + "0000").data
    assert int.from_bytes(capacity[:8], "big") == last
    assert lab.do(b"\x8a\0" + last.to_bytes(8, "big") + b"\0\0\0\1\0\0", A).status == 0
    assert bytes(lab.do(b"\x88\0" + last.to_bytes(8, "big") + b"\0\0\0\1\0\0").data) == A
    reply = lab.do(b"\x88\0" + last.to_bytes(8, "big") + b"\0\0\0\2\0\0")
    assert sense_code(reply) == OUT_OF_RANGE
    assert information(reply) is None  # 33 bits do not fit into fixed format
    assert lab.do("151000001000", bytes(4) + bytes.fromhex("0a0a04100000000000000000")[:2] + bytes.fromhex("04100000 0000ffff0000")).status == 0
    reply = lab.do(b"\x88\0" + last.to_bytes(8, "big") + b"\0\0\0\2\0\0")
    assert reply.sense[0] == 0x72
    assert reply.sense[8:20] == b"\0\x0a\x80\0" + (last + 1).to_bytes(8, "big")


def test_a_miscompare_tells_the_first_byte_that_differs() -> None:
    lab = bench()
    data = bytearray(2 * 512)
    data[700] = 1
    reply = lab.do("2f020000000000000200", bytes(data))
    assert (sense_code(reply), information(reply)) == ((14, 0x1D, 0), 700)


def test_compare_and_write_writes_only_if_all_is_equal() -> None:
    lab = bench()
    lab.do("2a000000000000000200", A + B)
    cdb = "8900" + "00" * 8 + "000000" + "02" + "0000"
    assert sense_code(lab.do(cdb, A + A + B + B))[0] == 14
    assert bytes(lab.do("28000000000000000200").data) == A + B
    assert lab.do(cdb, A + B + B + A).status == 0
    assert bytes(lab.do("28000000000000000200").data) == B + A


def test_orwrite() -> None:
    lab = bench()
    lab.do("2a000000000000000100", b"\x0f" * 512)
    assert lab.do("8b00" + "00" * 8 + "00000001" + "0000", b"\x30" * 512).status == 0
    assert bytes(lab.do("28000000000000000100").data) == b"\x3f" * 512


def test_unmapped_blocks_read_as_zeroes_and_are_reported(tmp_path: Path) -> None:
    with create_blocks(tmp_path / "disk", 1 << 20) as blocks:
        lab = bench(blocks)
        lab.do("2a000000000000080000", A * 2048)
        lab.do("42000000000000001800", bytes.fromhex("0016001000000000" + "0000000000000010" + "00000020" + "00" * 4))
        assert bytes(lab.do("28000000001000002000").data) == bytes(32 * 512)
        status = bytes(lab.do("9e12" + "00" * 8 + "00000100" + "0000").data)
        found = [
            (int.from_bytes(status[at : at + 8], "big"), int.from_bytes(status[at + 8 : at + 12], "big"), status[at + 12])
            for at in range(8, len(status), 16)
        ]
        assert found == [(0, 16, 0), (16, 32, 1), (48, 2000, 0)]


def test_write_same_without_unmap_keeps_blocks_mapped() -> None:
    lab = bench()
    lab.do("9301" + "00" * 8 + "00000010" + "0000")
    assert lab.do("9e12" + "00" * 8 + "00000018" + "0000").data[20] == 0
    lab.do("9309" + "00" * 8 + "00000010" + "0000")
    assert lab.do("9e12" + "00" * 8 + "00000018" + "0000").data[20] == 1


def test_write_same_with_unmap_still_writes_data_that_are_not_zero() -> None:
    lab = bench()
    assert lab.do("41080000000000000400", A).status == 0
    assert bytes(lab.do("28000000000000000400").data) == A * 4


def test_a_provisioned_unit_offers_no_unmapping() -> None:
    lab = bench(thin=False)
    assert sense_code(lab.do("42000000000000000000")) == OPCODE
    assert sense_code(lab.do("41080000000000000400", A)) == INVALID_CDB
    assert lab.do("9e10" + "00" * 8 + "00000020" + "0000").data[14] == 0


def test_extended_copy_between_two_units() -> None:
    source, destination = LogicalUnit(MemoryBlocks(1 << 20), serial="one"), LogicalUnit(MemoryBlocks(1 << 20), serial="two")
    nexus = Target("iqn.2026-01.example.lab:two", {0: source, 5: destination}).connect(b"x")
    nexus.execute(0, bytes(6))
    source.blocks.write(8 * 512, os.urandom(4 * 512))

    def descriptor(unit: LogicalUnit) -> bytes:
        return bytes((0xE4, 0, 0, 0, 1, 3, 0, 8)) + unit.identifier + bytes(12) + b"\0\0\x02\0"

    segment = bytes((2, 0, 0, 24)) + b"\0\0\0\1" + b"\0\0\0\4" + (8).to_bytes(8, "big") + (100).to_bytes(8, "big")
    body = descriptor(source) + descriptor(destination) + segment
    listing = bytes((7, 0, 0, 64)) + bytes(4) + len(segment).to_bytes(4, "big") + bytes(4) + body
    reply = nexus.execute(0, b"\x83\0" + bytes(8) + len(listing).to_bytes(4, "big") + b"\0\0", listing)
    assert reply.status == 0
    assert destination.blocks.read(100 * 512, 4 * 512) == source.blocks.read(8 * 512, 4 * 512)
    assert nexus.execute(0, bytes.fromhex("840007") + bytes(7) + b"\0\0\0\xff\0\0").data[4] == 1


# Mode pages.


def test_write_cache_off_makes_every_write_durable() -> None:
    durable: list[bool] = []

    class Noting(MemoryBlocks):
        def _write(self, offset: int, view: memoryview, fua: bool) -> None:
            durable.append(fua)
            super()._write(offset, view, fua)

    blocks = Noting(1 << 20)
    lab = bench(blocks)
    write = "2a000000000000000100"
    lab.do(write, A)
    page = bytearray(lab.do("1a080800ff00").data[4:])
    page[2] &= ~4
    assert lab.do("151000001800", bytes(4) + bytes(page)).status == 0
    lab.do(write, A)
    lab.do("2a080000000000000100", A)
    assert durable == [False, True, True]


def test_software_write_protect_and_who_learns_of_it() -> None:
    lab = bench(hosts=2)
    page = bytearray(lab.do("1a080a00ff00").data[4:])
    page[4] |= 8
    assert lab.do("151000001000", bytes(4) + bytes(page)).status == 0
    assert sense_code(lab.do("2a000000000000000100", A)) == (7, 0x27, 2)
    assert lab.do("1a080a00ff00").data[2] & 0x80
    assert sense_code(lab.do("000000000000", host=1)) == (6, 0x2A, 1)
    lab.nexuses[0].reset_unit(0)
    assert sense_code(lab.do("000000000000")) == (6, 0x29, 3)
    assert lab.do("2a000000000000000100", A).status == 0


# Unit attentions, sense, readiness.


def test_the_first_command_of_a_nexus_reports_power_on_once() -> None:
    lab = bench(hosts=0)
    lab.connect(quiet=False)
    assert lab.do("120000006000").status == 0
    assert lab.do("a00000000000000000ff0000").status == 0
    assert sense_code(lab.do("28000000000000000100")) == (6, 0x29, 0)
    assert lab.do("28000000000000000100").status == 0


def test_request_sense_takes_the_unit_attention() -> None:
    lab = bench(hosts=0)
    lab.connect(quiet=False)
    assert bytes(lab.do("03000000ff00").data)[2:14:10] == bytes((6, 0x29))
    assert bytes(lab.do("03010000ff00").data) == bytes.fromhex("7200000000000000")
    assert lab.do("000000000000").status == 0


def test_ejecting_loading_and_preventing() -> None:
    lab = bench(removable=True, hosts=2)
    assert lab.do("1e0000000100", host=1).status == 0
    assert sense_code(lab.do("1b0000000200")) == (5, 0x53, 2)
    assert lab.do("1e0000000000", host=1).status == 0
    assert lab.do("1b0000000200").status == 0
    for cdb in ("000000000000", "28000000000000000100", "25" + "00" * 9, "35" + "00" * 9):
        assert sense_code(lab.do(cdb)) == (2, 0x3A, 2)
    assert lab.do("120000006000").status == 0
    assert lab.do("1b0000000300").status == 0
    assert sense_code(lab.do("000000000000", host=1)) == (6, 0x28, 0)
    assert lab.do("28000000000000000100").status == 0


def test_the_lock_of_a_lost_nexus_is_gone() -> None:
    lab = bench(removable=True, hosts=2)
    lab.do("1e0000000100", host=1)
    lab.nexuses[1].close()
    assert lab.do("1b0000000200").status == 0


def test_resizing_is_announced() -> None:
    lab = bench()
    lab.unit.blocks.resize(2 * BLOCKS * 512)
    lab.unit.resized()
    assert sense_code(lab.do("000000000000")) == (6, 0x2A, 9)
    assert int.from_bytes(lab.do("25" + "00" * 9).data[:4], "big") == 2 * BLOCKS - 1


def test_sanitize_makes_the_unit_not_ready_until_it_ends() -> None:
    blocks = FaultyBlocks(MemoryBlocks(4 << 20))
    lab = bench(blocks)
    seen = []

    def write(offset: int, view: memoryview, fua: bool) -> None:
        seen.append(lab.do("000000000000"))
        blocks.inner.write(offset, view, fua)

    blocks._write = write  # type: ignore[method-assign]
    assert lab.do("480100000000" + "00" + "0006" + "00", b"\1\0\0\2\xab\xcd").status == 0
    assert {sense_code(reply) for reply in seen} == {(2, 0x04, 0x1B)}
    assert lab.do("000000000000").status == 0
    assert blocks.read(0, 4 << 20) == b"\xab\xcd" * (2 << 20)


def test_a_failed_sanitize_keeps_the_medium_shut_until_told() -> None:
    lab = bench(FaultyBlocks(MemoryBlocks(4 << 20), [Fault("write_zeroes", errno.EIO)]))
    erase = "4802" + "00" * 8
    assert sense_code(lab.do(erase)) == (3, 0x31, 3)
    assert sense_code(lab.do("28000000000000000100")) == (3, 0x31, 3)
    assert lab.do("481f" + "00" * 8).status == 0
    assert lab.do("28000000000000000100").status == 0


# Faults of the backend are sense data, and the next command works.

FAULTS = [
    ("read", errno.EIO, "28000000000300000100", b"", (3, 0x11, 0), 3),
    ("write", errno.EIO, "2a000000000300000100", A, (3, 0x0C, 0), 3),
    ("write", errno.ENOSPC, "2a000000000300000100", A, (7, 0x27, 7), 3),
    ("write", errno.EROFS, "2a000000000300000100", A, (7, 0x27, 0), 3),
    ("flush", errno.EIO, "35" + "00" * 9, b"", (3, 0x0C, 0), None),
    ("flush", errno.ENOSPC, "35" + "00" * 9, b"", (7, 0x27, 7), None),
    ("write_zeroes", errno.EIO, "41000000000300000800", bytes(512), (3, 0x0C, 0), 3),
    ("extents", errno.EIO, "9e12" + "00" * 8 + "00000018" + "0000", b"", (3, 0x11, 0), 0),
    ("read", errno.EIO, "8900" + "00" * 8 + "000000" + "01" + "0000", bytes(512) + A, (3, 0x11, 0), 0),
]


@pytest.mark.parametrize(("operation", "code", "cdb", "data", "sense", "lba"), FAULTS)
def test_backend_faults_become_sense(operation: str, code: int, cdb: str, data: bytes, sense: tuple[int, int, int], lba: int | None) -> None:
    blocks = FaultyBlocks(MemoryBlocks(1 << 20), [Fault(operation, code)])  # type: ignore[arg-type]
    lab = bench(blocks)
    reply = lab.do(cdb, data)
    assert (sense_code(reply), information(reply)) == (sense, lba)
    assert lab.do(cdb, data).status == 0


# Units and targets.


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"block_size": 1024}, "allowed are 512, 4096"),
        ({"physical_block_size": 768}, "power of two"),
        ({"serial": ""}, "1 to 20"),
        ({"serial": "é"}, "ASCII"),
        ({"block_size": 4096, "size": 1001 * 512}, "whole number of blocks"),
        ({"size": 0}, "or none"),
    ],
)
def test_impossible_units_are_refused(options: dict[str, object], match: str) -> None:
    size = options.pop("size", 1 << 20)
    with pytest.raises(UsageError, match=match):
        LogicalUnit(MemoryBlocks(size), **{"serial": "x"} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("lun", [0, 1, 255, 256, 16383])
def test_unit_numbers_travel(lun: int) -> None:
    assert decode_lun(encode_lun(lun)) == lun


@pytest.mark.parametrize("field", ["8000000000000000", "0000010000000000", "c101000000000000", "0100000000000000"])
def test_strange_unit_numbers_name_no_unit(field: str) -> None:
    assert decode_lun(bytes.fromhex(field)) is None


def test_units_come_and_go() -> None:
    lab = bench()
    other = LogicalUnit(MemoryBlocks(1 << 20), serial="other")
    lab.target.add(300, other)
    assert sense_code(lab.do("000000000000")) == (6, 0x3F, 0x0E)
    listed = bytes(lab.do("a00000000000000000ff0000").data)
    assert listed == b"\0\0\0\x10" + bytes(4) + bytes(8) + bytes.fromhex("412c000000000000")
    nexus = lab.nexuses[0]
    assert sense_code(nexus.execute(300, bytes(6))) == (6, 0x29, 0)
    assert lab.target.remove(300) is other
    assert sense_code(nexus.execute(300, bytes(6))) == (5, 0x25, 0)
    assert nexus.execute(300, bytes.fromhex("120000006000")).data[0] == 0x7F
    assert nexus.execute(None, bytes.fromhex("03000000ff00")).data[12] == 0x25
    with pytest.raises(UsageError, match="taken"):
        lab.target.add(0, other)


def test_two_units_never_share_an_identifier() -> None:
    names = [f"disk{number}" for number in range(50)]
    units = [LogicalUnit(MemoryBlocks(512), serial=name) for name in names]
    assert len({unit.identifier for unit in units}) == 50
    assert all(unit.identifier[0] >> 4 == 3 for unit in units)
    again = LogicalUnit(MemoryBlocks(4096), serial="disk7")
    assert again.identifier == units[7].identifier


def test_controllers_are_consistent() -> None:
    assert {"lsilogic", "pvscsi", "virtio-scsi", "ide", "ahci"} <= set(CONTROLLERS)
    for name, model in CONTROLLERS.items():
        assert model.name == name
        assert model.disks >= 1
        assert model.qemu or model.vmware
        assert model.guests
        assert model.scsi is (model.bus in ("parallel SCSI", "SAS", "SCSI"))
