"""Persistent reservations and RESERVE/RELEASE: who may do what, who learns what, what survives (SPC-4 5.13)."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from tests.disk.scsi_helpers import Bench, bench, initiator_id, sense_code
from vsw.disk.blocks import MemoryBlocks
from vsw.disk.scsi import FileStore, LogicalUnit, Status, Target
from vsw.disk.scsi.commands import Reply
from vsw.disk.scsi.reservations import State

CONFLICT, GOOD = Status.RESERVATION_CONFLICT, Status.GOOD
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, IGNORE, MOVE = range(8)
WE, EA, WERO, EARO, WEAR, EAAR = 1, 3, 5, 6, 7, 8
READ, WRITE, TUR = "28000000000000000100", "2a000000000000000100", "000000000000"


def out(
    lab: Bench, host: int, action: int, key: int = 0, new: int = 0, kind: int = 0, *, aptpl: bool = False, extra: bytes = b"", flags: int = 0
) -> Reply:
    """PERSISTENT RESERVE OUT."""
    listing = key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes(4) + bytes((flags | aptpl, 0, 0, 0)) + extra
    return lab.do(bytes((0x5F, action, kind, 0, 0)) + len(listing).to_bytes(4, "big") + b"\0", listing, host)


def keys(lab: Bench) -> list[int]:
    data = bytes(lab.do("5e000000000000ffff00", host=len(lab.nexuses) // 3 * 2).data)  # one that has no unit attention
    return [int.from_bytes(data[at : at + 8], "big") for at in range(8, len(data), 8)]


def reservation(lab: Bench) -> tuple[int, int] | None:
    """Key and type."""
    data = bytes(lab.do("5e010000000000ffff00", host=len(lab.nexuses) // 3 * 2).data)
    return (int.from_bytes(data[8:16], "big"), data[21]) if len(data) > 8 else None


def three(**options: object) -> Bench:
    """Hosts 0 and 1 registered with keys 10 and 11; host 2 not."""
    lab = bench(hosts=3, **options)
    for host in (0, 1):
        assert out(lab, host, REGISTER, 0, 10 + host).status == GOOD
    return lab


# type: (registered reads, registered writes, stranger reads, stranger writes)
RIGHTS = {
    WE: (True, False, True, False),
    EA: (False, False, False, False),
    WERO: (True, True, True, False),
    EARO: (True, True, False, False),
    WEAR: (True, True, True, False),
    EAAR: (True, True, False, False),
}


@pytest.mark.parametrize("kind", RIGHTS)
def test_who_may_read_and_write(kind: int) -> None:
    lab = three()
    assert out(lab, 0, RESERVE, 10, kind=kind).status == GOOD
    may = [lab.do(cdb, bytes(512), host).status == GOOD for host in (1, 2) for cdb in (READ, WRITE)]
    assert tuple(may) == RIGHTS[kind]
    for cdb in (READ, WRITE):
        assert lab.do(cdb, bytes(512), 0).status == GOOD
    for host in range(3):  # never a question of reservations
        for cdb in (TUR, "120000006000", "03000000ff00", "25" + "00" * 9, "5e000000000000ffff00"):
            assert lab.do(cdb, host=host).status == GOOD


@pytest.mark.parametrize("kind", RIGHTS)
def test_the_compiled_way_obeys_as_well(kind: int) -> None:
    lab = three()
    gates = [nexus.presence(0).gate for nexus in lab.nexuses]  # type: ignore[union-attr]
    assert [(gate.open_for_reads, gate.open_for_writes) for gate in gates] == [(True, True)] * 3
    out(lab, 0, RESERVE, 10, kind=kind)
    opened = [(gate.open_for_reads, gate.open_for_writes) for gate in gates]
    assert opened == [(True, True), RIGHTS[kind][:2], RIGHTS[kind][2:]]


def test_registering() -> None:
    lab = bench(hosts=2)
    assert out(lab, 0, REGISTER, 5, 6).status == CONFLICT  # not registered, so the key must be 0
    assert out(lab, 0, REGISTER, 0, 6).status == GOOD
    assert out(lab, 0, REGISTER, 0, 7).status == CONFLICT
    assert out(lab, 0, REGISTER, 6, 7).status == GOOD
    assert out(lab, 1, IGNORE, 99, 8).status == GOOD
    assert keys(lab) == [7, 8]
    assert out(lab, 0, REGISTER, 7, 0).status == GOOD
    assert keys(lab) == [8]
    assert lab.do("5e000000000000000800").data[:4] == b"\0\0\0\4"  # generation


@pytest.mark.parametrize(("kind", "told"), [(WE, False), (EA, False), (WERO, True), (EARO, True)])
def test_unregistering_the_holder_releases(kind: int, told: bool) -> None:
    lab = three()
    out(lab, 0, RESERVE, 10, kind=kind)
    assert out(lab, 0, REGISTER, 10, 0).status == GOOD
    assert reservation(lab) is None
    reply = lab.do(TUR, host=1)
    assert (reply.status == 2 and sense_code(reply) == (6, 0x2A, 4)) is told
    assert lab.do(TUR, host=2).status == GOOD


def test_all_registrants_hold_until_the_last_is_gone() -> None:
    lab = three()
    out(lab, 0, RESERVE, 10, kind=WEAR)
    assert reservation(lab) == (0, WEAR)
    out(lab, 0, REGISTER, 10, 0)
    assert reservation(lab) == (0, WEAR)
    out(lab, 1, REGISTER, 11, 0)
    assert reservation(lab) is None


def test_reserving_and_releasing() -> None:
    lab = three()
    assert out(lab, 2, RESERVE, 0, kind=WE).status == CONFLICT
    assert sense_code(out(lab, 0, RESERVE, 10, kind=2)) == (5, 0x24, 0)
    assert out(lab, 0, RESERVE, 10, kind=WE).status == GOOD
    assert out(lab, 0, RESERVE, 10, kind=WE).status == GOOD
    assert out(lab, 0, RESERVE, 10, kind=EA).status == CONFLICT
    assert out(lab, 1, RESERVE, 11, kind=WE).status == CONFLICT
    assert reservation(lab) == (10, WE)
    assert out(lab, 1, RELEASE, 11, kind=WE).status == GOOD  # not the holder: nothing happens
    assert reservation(lab) == (10, WE)
    assert sense_code(out(lab, 0, RELEASE, 10, kind=EA)) == (5, 0x26, 4)
    assert out(lab, 0, RELEASE, 10, kind=WE).status == GOOD
    assert reservation(lab) is None


def test_clearing() -> None:
    lab = three()
    out(lab, 0, RESERVE, 10, kind=EA)
    assert out(lab, 1, CLEAR, 11).status == GOOD
    assert (keys(lab), reservation(lab)) == ([], None)
    assert sense_code(lab.do(TUR, host=0)) == (6, 0x2A, 3)
    assert lab.do(TUR, host=2).status == GOOD


@pytest.mark.parametrize("action", [PREEMPT, PREEMPT_ABORT])
def test_preempting_the_holder(action: int) -> None:
    lab = three()
    out(lab, 0, RESERVE, 10, kind=EA)
    assert lab.do(WRITE, bytes(512), 0).status == GOOD
    assert out(lab, 1, action, 11, 10, kind=WE).status == GOOD
    assert (keys(lab), reservation(lab)) == ([11], (11, WE))
    assert sense_code(lab.do(WRITE, bytes(512), 0)) == (6, 0x2A, 5)
    assert lab.do(WRITE, bytes(512), 0).status == CONFLICT
    assert lab.do(WRITE, bytes(512), 1).status == GOOD


def test_preempting_a_registrant_leaves_the_reservation() -> None:
    lab = three()
    out(lab, 0, RESERVE, 10, kind=WERO)
    assert out(lab, 0, PREEMPT, 10, 11, kind=WERO).status == GOOD
    assert (keys(lab), reservation(lab)) == ([10], (10, WERO))
    assert out(lab, 0, PREEMPT, 10, 99, kind=WERO).status == CONFLICT
    assert sense_code(out(lab, 0, PREEMPT, 10, 0, kind=WERO)) == (5, 0x26, 0)


def test_preempting_all_registrants() -> None:
    lab = three()
    out(lab, 0, RESERVE, 10, kind=EAAR)
    assert out(lab, 1, PREEMPT, 11, 0, kind=WE).status == GOOD
    assert (keys(lab), reservation(lab)) == ([11], (11, WE))


def test_abort_reaches_the_preempted_only() -> None:
    aborted = []
    unit = LogicalUnit(MemoryBlocks(1 << 20), serial="x")
    target = Target("iqn.2026-01.example.lab:x", {3: unit})
    lab = Bench(unit, target)
    for number in range(2):
        lab.nexuses.append(target.connect(initiator_id(number), on_abort=lambda lun, number=number: aborted.append((number, lun))))
        lab.nexuses[-1].execute(3, bytes(6))

    def do(host: int, action: int, key: int, new: int, kind: int = 0) -> Reply:
        listing = key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes(8)
        return lab.nexuses[host].execute(3, bytes((0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0)), listing)

    do(0, REGISTER, 0, 10)
    do(1, REGISTER, 0, 11)
    assert do(1, PREEMPT_ABORT, 11, 10, WE).status == GOOD
    assert aborted == [(0, 3)]


def test_moving() -> None:
    lab = three()
    out(lab, 0, RESERVE, 10, kind=WE)
    receiver = initiator_id(2)
    listing = (10).to_bytes(8, "big") + (22).to_bytes(8, "big") + bytes((0, 2, 0, 1)) + len(receiver).to_bytes(4, "big") + receiver
    cdb = bytes((0x5F, MOVE, 0, 0, 0)) + len(listing).to_bytes(4, "big") + b"\0"
    assert lab.do(cdb, listing, 1).status == CONFLICT
    assert lab.do(cdb, listing, 0).status == GOOD
    assert (sorted(keys(lab)), reservation(lab)) == ([11, 22], (22, WE))
    assert lab.do(WRITE, bytes(512), 2).status == GOOD
    assert lab.do(WRITE, bytes(512), 0).status == CONFLICT


def test_registering_for_others() -> None:
    lab = bench(hosts=3)
    other = initiator_id(2)
    assert out(lab, 0, REGISTER, 0, 10, flags=0x08, extra=len(other).to_bytes(4, "big") + other).status == GOOD
    assert keys(lab) == [10, 10]
    out(lab, 0, RESERVE, 10, kind=EARO)
    assert [lab.do(READ, host=host).status for host in range(3)] == [GOOD, CONFLICT, GOOD]
    status = bytes(lab.do("5e030000000000ffff00").data)
    assert other in status
    assert initiator_id(0) in status


@pytest.mark.parametrize("length", [0, 8, 23, 25, 400])
def test_wrong_parameter_lists(length: int) -> None:
    lab = bench()
    reply = lab.do(bytes((0x5F, REGISTER, 0, 0, 0)) + length.to_bytes(4, "big") + b"\0", bytes(min(length, 30)))
    assert sense_code(reply) == (5, 0x1A, 0)


def test_reserve_and_release() -> None:
    lab = bench(hosts=2)
    assert lab.do("160000000000").status == GOOD
    for cdb in (READ, WRITE, TUR, "1a083f00ff00"):
        assert lab.do(cdb, bytes(512), 1).status == CONFLICT
        assert lab.do(cdb, bytes(512), 0).status in (GOOD, 2)
    for cdb in ("120000006000", "a00000000000000000ff0000", "03000000ff00"):
        assert lab.do(cdb, host=1).status == GOOD
    assert lab.do("170000000000", host=1).status == GOOD  # without effect
    assert lab.do(READ, host=1).status == CONFLICT
    lab.nexuses[0].close()
    assert lab.do(READ, host=1).status == GOOD


def test_a_reset_ends_reserve_but_not_persistent_reservations() -> None:
    lab = bench(hosts=2)
    lab.do("160000000000")
    lab.nexuses[1].reset_unit(0)
    assert sense_code(lab.do(READ, host=1)) == (6, 0x29, 3)
    assert lab.do(READ, host=1).status == GOOD
    lab = three()
    out(lab, 0, RESERVE, 10, kind=EA)
    lab.nexuses[1].reset_unit(0)
    lab.do(TUR, host=2)
    assert lab.do(READ, host=2).status == CONFLICT


def test_reserve_meets_registrations() -> None:
    lab = three()
    assert lab.do("160000000000", host=2).status == CONFLICT


# Over a restart.


def test_reservations_survive_a_restart_when_asked(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "disk.reservations")
    lab = bench(hosts=2, store=store)
    assert out(lab, 0, REGISTER, 0, 10, aptpl=True, flags=0x04).status == GOOD
    assert out(lab, 1, REGISTER, 0, 11, aptpl=True).status == GOOD
    assert out(lab, 0, RESERVE, 10, kind=WERO).status == GOOD
    assert lab.do("5e020000000000ffff00").data[3] & 1

    again = bench(hosts=3, store=store)
    assert (keys(again), reservation(again)) == ([10, 11], (10, WERO))
    assert again.do("5e000000000000000800").data[:4] == b"\0\0\0\2"
    assert [again.do(WRITE, bytes(512), host).status for host in range(3)] == [GOOD, GOOD, CONFLICT]
    assert out(again, 0, REGISTER, 10, 10).status == GOOD  # without APTPL: forgotten at the next restart
    assert not (tmp_path / "disk.reservations").exists()
    assert keys(bench(store=store)) == []


def test_without_a_store_persistence_is_refused() -> None:
    lab = bench()
    assert sense_code(out(lab, 0, REGISTER, 0, 10, aptpl=True)) == (5, 0x26, 0)
    assert keys(lab) == []


def test_what_cannot_be_stored_does_not_happen(tmp_path: Path) -> None:
    class Full(FileStore):
        full = False

        def save(self, state: State) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "no space")
            super().save(state)

    store = Full(tmp_path / "r")
    lab = bench(hosts=2, store=store)
    out(lab, 0, REGISTER, 0, 10, aptpl=True)
    store.full = True
    assert sense_code(out(lab, 0, RESERVE, 10, kind=EA)) == (5, 0x55, 4)
    assert reservation(lab) is None
    assert lab.do(WRITE, bytes(512), 1).status == GOOD


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2}', '{"version": 1, "generation": 1, "type": 3, "registrations": []}', '{"version": 1, "registrations": 5}'],
)
def test_a_damaged_store_stops_the_unit(tmp_path: Path, text: str) -> None:
    (tmp_path / "r").write_text(text)
    with pytest.raises(ValueError, match="not a reservation file"):
        LogicalUnit(MemoryBlocks(512), serial="x", store=FileStore(tmp_path / "r"))


def test_the_store_is_replaced_as_a_whole(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "r")
    store.save(State(1, {(b"a", 1): 5}, aptpl=True))
    (tmp_path / "r.new").write_text("left by a crash")
    store.save(State(2, {(b"b", 1): 6}, aptpl=True))
    assert store.load().keys == {(b"b", 1): 6}
    assert not (tmp_path / "r.new").exists()
    assert json.loads((tmp_path / "r").read_text())["registrations"][0]["key"] == "0000000000000006"
