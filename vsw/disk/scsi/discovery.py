"""What a disk says of itself: INQUIRY and its VPD pages, capacity, readiness, supported commands (SPC-4 6, SBC-3 5)."""

# ruff: noqa: ARG001  (every handler takes what any of them needs)

from __future__ import annotations

from typing import TYPE_CHECKING

from .commands import COMMANDS, Access, Command, DataOut, allocation, command
from .copying import third_party_page
from .limits import LARGEST_COMPARE, LARGEST_TRANSFER, LARGEST_UNMAP, LARGEST_WRITE_SAME, UNMAP_DESCRIPTORS
from .sense import LBA_OUT_OF_RANGE, NO_ADDITIONAL, CheckCondition, Key, Sense, invalid_cdb

if TYPE_CHECKING:
    from .unit import LogicalUnit, Presence

SAM_5, SPC_4, SBC_3 = 0x00A0, 0x0460, 0x04C0
"""Version descriptors without a version claim of their own."""
ASCII, BINARY, UTF_8 = 2, 1, 3
OF_UNIT, OF_PORT = 0x00, 0x10
TIMEOUT_SECONDS = 30
LONG_TIMEOUT_SECONDS = 300


def _padded(text: str, size: int) -> bytes:
    return text.encode("ascii").ljust(size)[:size]


@command("12 01 ff ff ff 00", "INQUIRY", attention=False)
def inquiry(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    page = cdb[2]
    if cdb[1] & 1:
        make = VPD_PAGES.get(page)
        if make is None:
            raise invalid_cdb(2)
        body = make(unit, presence)
        return allocation(cdb, 3, 2, bytes((0, page)) + len(body).to_bytes(2, "big") + body)
    if page:
        raise invalid_cdb(2)
    return allocation(cdb, 3, 2, standard_inquiry(unit, presence))


def standard_inquiry(unit: LogicalUnit, presence: Presence) -> bytes:
    """The 96 bytes of standard INQUIRY data."""
    answer = bytearray(96)
    answer[1] = 0x80 if unit.removable else 0
    answer[2] = 0x06  # SPC-4
    answer[3] = 0x12  # hierarchical LUNs, response format 2
    answer[4] = 96 - 5
    answer[5] = 0x08  # third-party copy
    answer[7] = 0x02  # command queueing
    answer[8:16] = _padded(unit.vendor, 8)
    answer[16:32] = _padded(unit.product, 16)
    answer[32:36] = _padded(unit.revision, 4)
    for index, version in enumerate((SAM_5, SPC_4, SBC_3, *presence.nexus.version_descriptors)[:8]):
        answer[58 + 2 * index : 60 + 2 * index] = version.to_bytes(2, "big")
    return bytes(answer)


def _supported_pages(unit: LogicalUnit, presence: Presence) -> bytes:
    return bytes(sorted(VPD_PAGES))


def _serial(unit: LogicalUnit, presence: Presence) -> bytes:
    return unit.serial.encode("ascii")


def designator(code_set: int, association: int, kind: int, value: bytes, protocol: int | None = None) -> bytes:
    """One designation descriptor (SPC-4 7.8.6)."""
    first = code_set | (0 if protocol is None else protocol << 4)
    return bytes((first, (0 if protocol is None else 0x80) | association | kind, 0, len(value))) + value


def _identification(unit: LogicalUnit, presence: Presence) -> bytes:
    iscsi = 5
    name = presence.nexus.target_name.encode("utf-8") + b"\0"
    name += bytes(-len(name) % 4)
    return (
        b"".join(designator(code_set, OF_UNIT, kind, value) for code_set, kind, value in unit.designators())
        + designator(BINARY, OF_PORT, 4, presence.identity[1].to_bytes(4, "big"), iscsi)
        + designator(BINARY, OF_PORT, 5, (1).to_bytes(4, "big"), iscsi)
        + designator(UTF_8, OF_PORT, 8, name, iscsi)
    )


def _limits(unit: LogicalUnit, presence: Presence) -> bytes:
    size = unit.block_size
    page = bytearray(60)

    def put(at: int, width: int, value: int) -> None:
        page[at - 4 : at - 4 + width] = value.to_bytes(width, "big")

    put(5, 1, LARGEST_COMPARE)
    put(6, 2, max(unit.physical_block_size // size, 1))
    put(8, 4, LARGEST_TRANSFER // size)
    put(12, 4, (1 << 20) // size)
    put(16, 4, LARGEST_TRANSFER // size)
    if unit.thin:
        put(20, 4, LARGEST_UNMAP)
        put(24, 4, UNMAP_DESCRIPTORS)
        put(28, 4, max(unit.blocks.granularity // size, 1))
        put(32, 4, 0x80000000)  # granules begin at block 0
    put(36, 8, LARGEST_WRITE_SAME)
    if unit.atomic_blocks:
        put(44, 4, unit.atomic_blocks)
    return bytes(page)


def _characteristics(unit: LogicalUnit, presence: Presence) -> bytes:
    # WABEREQ: blocks that were erased by SANITIZE can be read at once
    return (7200 if unit.rotational else 1).to_bytes(2, "big") + bytes((0, 0x40 if unit.thin else 0)) + bytes(56)


def _provisioning(unit: LogicalUnit, presence: Presence) -> bytes:
    if not unit.thin:
        return bytes(4)
    return bytes((0, 0x80 | 0x40 | 0x20 | 0x04, 2, 0))  # LBPU, LBPWS, LBPWS10, LBPRZ; thin


VPD_PAGES = {
    0x00: _supported_pages,
    0x80: _serial,
    0x83: _identification,
    0x8F: lambda *_: third_party_page(),
    0xB0: _limits,
    0xB1: _characteristics,
    0xB2: _provisioning,
}


@command("00 00 00 00 00 00", "TEST UNIT READY", ready=True)
def test_unit_ready(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> None:
    """GOOD: whatever stands in the way was found before."""


@command("03 01 00 00 ff 00", "REQUEST SENSE", attention=False)
def request_sense(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    code = unit.take_attention(presence)
    if code is not None:
        sense = Sense(Key.UNIT_ATTENTION, code)
    else:
        sense = unit.unready() or Sense(Key.NO_SENSE, NO_ADDITIONAL)
    return allocation(cdb, 4, 1, sense.encode(bool(cdb[1] & 1)))


@command("25 00 00 00 00 00 00 00 00 00", "READ CAPACITY(10)", ready=True)
def read_capacity_10(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    return min(unit.count - 1, 0xFFFFFFFF).to_bytes(4, "big") + unit.block_size.to_bytes(4, "big")


@command("9e 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00", "READ CAPACITY(16)", action=0x10, ready=True)
def read_capacity_16(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    exponent = (unit.physical_block_size // unit.block_size).bit_length() - 1
    thin = 0x80 | 0x40 if unit.thin else 0  # LBPME, LBPRZ
    answer = (unit.count - 1).to_bytes(8, "big") + unit.block_size.to_bytes(4, "big") + bytes((0, exponent, thin, 0)) + bytes(16)
    return allocation(cdb, 10, 4, answer)


@command("a0 00 ff 00 00 00 ff ff ff ff 00 00", "REPORT LUNS", attention=False)
def report_luns(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    return lun_list(presence.nexus.luns(), cdb)


def lun_list(luns: list[int], cdb: bytes) -> bytes:
    """REPORT LUNS data; SELECT REPORT 1 asks for well known logical units, of which there are none."""
    select = cdb[2]
    if select > 2:
        raise invalid_cdb(2)
    if int.from_bytes(cdb[6:10], "big") < 16:
        raise invalid_cdb(6)
    listed = b"".join(encode_lun(lun) for lun in luns) if select != 1 else b""
    return allocation(cdb, 6, 4, len(listed).to_bytes(4, "big") + bytes(4) + listed)


def encode_lun(lun: int) -> bytes:
    """Eight bytes: peripheral addressing up to 255, flat addressing above (SAM-5 4.7.7)."""
    return (lun if lun < 256 else 0x4000 | lun).to_bytes(2, "big") + bytes(6)


def decode_lun(field: bytes) -> int | None:
    """The number in eight bytes, or ``None`` for addresses that this target does not use."""
    method = field[0] >> 6
    if any(field[2:8]) or method > 1 or (method == 0 and field[0]):
        return None
    return int.from_bytes(field[:2], "big") & 0x3FFF


# Supported commands.


def _timeouts(entry: Command) -> bytes:
    seconds = LONG_TIMEOUT_SECONDS if entry.lengthy else TIMEOUT_SECONDS
    return (10).to_bytes(2, "big") + bytes(6) + seconds.to_bytes(4, "big")


@command("a3 00 87 ff ff ff ff ff ff ff 00 00", "REPORT SUPPORTED OPERATION CODES", action=0x0C)
def report_supported_opcodes(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    timeouts = bool(cdb[2] & 0x80)
    option = cdb[2] & 0x07
    opcode, action = cdb[3], int.from_bytes(cdb[4:6], "big")
    if option == 0:
        return allocation(cdb, 6, 4, _all_commands(unit, timeouts))
    group = COMMANDS.get(opcode)
    if (option == 1 and isinstance(group, dict)) or (option == 2 and isinstance(group, Command)) or option > 3:
        raise invalid_cdb(2, 2)
    entry = unit.find(opcode, action) if isinstance(group, dict) or option != 3 or action == 0 else None
    if entry is None:
        return allocation(cdb, 6, 4, bytes((0, 0x01, 0, 0)))
    head = bytes((0, (0x80 if timeouts else 0) | 0x03)) + len(entry.usage).to_bytes(2, "big")
    return allocation(cdb, 6, 4, head + entry.usage + (_timeouts(entry) if timeouts else b""))


def _all_commands(unit: LogicalUnit, timeouts: bool) -> bytes:
    listed = bytearray()
    for opcode in sorted(COMMANDS):
        group = COMMANDS[opcode]
        entries = group.values() if isinstance(group, dict) else (group,)
        for entry in entries:
            if entry.when(unit):
                flags = (0x02 if timeouts else 0) | (0 if entry.action is None else 0x01)
                listed += bytes((opcode, 0)) + (entry.action or 0).to_bytes(2, "big") + bytes((0, flags)) + len(entry.usage).to_bytes(2, "big")
                listed += _timeouts(entry) if timeouts else b""
    return len(listed).to_bytes(4, "big") + bytes(listed)


@command("a3 00 80 00 00 00 ff ff ff ff 00 00", "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", action=0x0D)
def report_task_management(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    # ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET
    functions = bytes((0x80 | 0x40 | 0x10 | 0x08 | 0x02, 0, 0, 0))
    return allocation(cdb, 6, 4, bytes((functions[0], functions[1], 0, 12)) + bytes(12) if cdb[2] & 0x80 else functions)


# A file has no defects to report.


@command("37 00 1f 00 00 00 00 ff ff 00", "READ DEFECT DATA(10)", access=Access.READ, ready=True)
def read_defect_data_10(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    return allocation(cdb, 7, 2, bytes((0, cdb[2] & 0x1F, 0, 0)))


@command("b7 1f ff ff ff ff ff ff ff ff 00 00", "READ DEFECT DATA(12)", access=Access.READ, ready=True)
def read_defect_data_12(unit: LogicalUnit, presence: Presence, cdb: bytes, data: DataOut) -> bytes:
    if any(cdb[2:6]):  # an index past the end of an empty list
        raise CheckCondition(Key.ILLEGAL_REQUEST, LBA_OUT_OF_RANGE)
    return allocation(cdb, 6, 4, bytes((0, cdb[1] & 0x1F)) + bytes(6))
