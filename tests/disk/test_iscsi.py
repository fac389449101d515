"""The iSCSI target over real sockets, with an initiator that shares no code with it (RFC 7143)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.disk.initiator import Initiator, Pdu, crc32c, read_16, write_16
from tests.patience import PATIENCE
from vsw.disk.blocks import Fault, FaultyBlocks, MemoryBlocks, create_blocks
from vsw.disk.scsi import LogicalUnit, Target
from vsw.disk.serve import iscsi_keys as keys
from vsw.disk.serve import iscsi_wire
from vsw.disk.serve.iscsi import Exported, IscsiServer
from vsw.disk.serve.iscsi_login import Chap
from vsw.errors import UsageError

NAME = "iqn.2026-01.example.lab:disk"
SIZE = 32 << 20
TUR = bytes(6)


@dataclass
class Lab:
    server: IscsiServer
    target: Target
    blocks: MemoryBlocks

    def login(self, **keys: str) -> Initiator:
        """A session whose first unit attention is taken."""
        initiator = Initiator(self.server.address, NAME).login(**keys)
        assert initiator.command(TUR).status == 2
        return initiator


@pytest.fixture
def lab() -> Iterator[Lab]:
    blocks = MemoryBlocks(SIZE)
    slow = FaultyBlocks(MemoryBlocks(SIZE))
    target = Target(NAME, {0: LogicalUnit(blocks, serial="zero"), 1: LogicalUnit(slow, serial="one")})
    with IscsiServer([Exported(target)], [("127.0.0.1", 0)]) as server:
        yield Lab(server, target, blocks)


# Digests.


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 9, 48, 1000, 4099])
def test_crc32c(length: int, portable: bool) -> None:
    data = bytes(range(256)) * (length // 256 + 1)
    assert iscsi_wire.crc32c(data[:length], portable) == crc32c(data[:length])


@pytest.mark.parametrize(
    ("data", "digest"),
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (bytes(range(31, -1, -1)), 0x113FDB5C)],
)
def test_crc32c_of_the_rfc(data: bytes, digest: int) -> None:
    assert iscsi_wire.crc32c(data) == digest


# Keys.

NEGOTIATIONS = [
    ("HeaderDigest", "CRC32C,None", "CRC32C"),
    ("HeaderDigest", "None,CRC32C", "None"),
    ("DataDigest", "X-md5,CRC32C", "CRC32C"),
    ("DataDigest", "X-md5", "Reject"),
    ("InitialR2T", "No", "No"),
    ("InitialR2T", "Yes", "Yes"),
    ("ImmediateData", "No", "No"),
    ("MaxConnections", "8", "1"),
    ("MaxBurstLength", "65536", "65536"),
    ("MaxBurstLength", "0x10000", "65536"),
    ("FirstBurstLength", "16777215", "262144"),
    ("ErrorRecoveryLevel", "2", "0"),
    ("DefaultTime2Wait", "5", "5"),
    ("MaxOutstandingR2T", "16", "1"),
    ("OFMarker", "Yes", "No"),
    ("X-com.example.key", "1", "NotUnderstood"),
]


@pytest.mark.parametrize(("key", "offer", "answer"), NEGOTIATIONS)
def test_negotiation(lab: Lab, key: str, offer: str, answer: str) -> None:
    with Initiator(lab.server.address, NAME) as initiator:
        pdu = initiator.login_pdu(1, 3, initiator.names() | {key: offer})
        got = dict(item.split("=", 1) for item in pdu.data.decode().split("\0") if item)
        assert pdu.number(36, 2) == 0
        assert got[key] == answer
        assert got["TargetPortalGroupTag"] == "1"
        assert got["MaxRecvDataSegmentLength"] == "262144"


@pytest.mark.parametrize("value", ["0", "511", "16777216", "many", "-5", "1e3"])
def test_values_out_of_bounds_end_the_login(lab: Lab, value: str) -> None:
    with Initiator(lab.server.address, NAME) as initiator:
        assert initiator.login_pdu(1, 3, initiator.names() | {"MaxBurstLength": value}).number(36, 2) == 0x0200
        assert initiator.closed()


@pytest.mark.parametrize("text", [b"novalue\0", b"=x\0", b"A=1\0A=2\0", b"K\xff=1\0", b"A" * 64 + b"=1\0"])
def test_text_that_is_no_list_of_keys(text: bytes) -> None:
    with pytest.raises(keys.TextError):
        keys.parse(text)


# Logging in.

REFUSALS = [
    ("no initiator name", {"TargetName": NAME}, 0x0207),
    ("no target name", {"InitiatorName": "iqn.x"}, 0x0207),
    ("unknown target", {"InitiatorName": "iqn.x", "TargetName": "iqn.2026-01.example.lab:other"}, 0x0203),
    ("unknown session type", {"InitiatorName": "iqn.x", "SessionType": "Odd", "TargetName": NAME}, 0x0209),
    ("endless name", {"InitiatorName": "iqn." + "x" * 300, "TargetName": NAME}, 0x0200),
]


@pytest.mark.parametrize(("given", "status"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_logins(lab: Lab, given: dict[str, str], status: int) -> None:
    with Initiator(lab.server.address, NAME) as initiator:
        assert initiator.login_pdu(1, 3, given).number(36, 2) == status
        assert initiator.closed()
    assert lab.server.sessions == []


@pytest.mark.parametrize(("stage", "following"), [(1, 1), (1, 0), (1, 2), (3, 3), (2, 3), (0, 0)])
def test_stages_only_go_forward(lab: Lab, stage: int, following: int) -> None:
    with Initiator(lab.server.address, NAME) as initiator:
        assert initiator.login_pdu(stage, following, initiator.names()).number(36, 2) == 0x020B


def test_a_login_in_three_stages_and_pieces(lab: Lab) -> None:
    with Initiator(lab.server.address, NAME) as initiator:
        text = b"".join(f"{key}={value}\0".encode() for key, value in initiator.names().items())
        head = bytearray(48)
        head[0], head[1] = 0x43, 0x40  # more keys follow
        head[8:14] = initiator.isid
        head[24:28] = initiator.cmd_sn.to_bytes(4, "big")
        initiator.send(head, text[:20])
        assert initiator.receive().data == b""
        answer = initiator.login_pdu(0, 1, text[20:] + b"AuthMethod=None\0")
        assert b"AuthMethod=None" in answer.data
        assert answer.flags == 0x81
        answer = initiator.login_pdu(1, 3, {"HeaderDigest": "None"})
        assert answer.flags == 0x87
        assert answer.number(14, 2) != 0
        assert initiator.command(TUR).status == 2
        assert lab.server.sessions == [(initiator.name, f"127.0.0.1:{initiator.socket.getsockname()[1]}", NAME)]


def chap_server(**options: object) -> IscsiServer:
    target = Target(NAME, {0: LogicalUnit(MemoryBlocks(1 << 20), serial="x")})
    exported = Exported(target, Chap("user", "correct horse battery"), Chap("target", "another secret"), **options)  # type: ignore[arg-type]
    return IscsiServer([exported], [("127.0.0.1", 0)], discovery_chap=Chap("finder", "discovery secret"))


@pytest.mark.parametrize(
    ("user", "secret", "status"),
    [("user", "correct horse battery", 0), ("user", "wrong", 0x0201), ("other", "correct horse battery", 0x0201), ("user", "", 0x0201)],
)
def test_chap(user: str, secret: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with chap_server() as server, Initiator(server.address, NAME) as initiator:
        assert initiator.login_chap(user, secret)[0] == status
        if status:
            assert initiator.closed()
        else:
            assert initiator.command(TUR).status == 2
    for hidden in ("correct horse battery", "another secret", "discovery secret"):
        assert hidden not in caplog.text
    assert "secret" not in repr(Chap("user", "secret"))


def test_mutual_chap() -> None:
    challenge = os.urandom(16)
    with chap_server() as server, Initiator(server.address, NAME) as initiator:
        status, given = initiator.login_chap("user", "correct horse battery", challenge=challenge)
        assert status == 0
        assert given["CHAP_N"] == "target"
        assert given["CHAP_R"] == "0x" + hashlib.sha256(bytes((77,)) + b"another secret" + challenge).hexdigest()


def test_a_reflected_challenge_is_refused() -> None:
    with chap_server() as server, Initiator(server.address, NAME) as initiator:
        initiator.login_pdu(0, 1, initiator.names() | {"AuthMethod": "CHAP"})
        given = dict(item.split("=", 1) for item in initiator.login_pdu(0, None, {"CHAP_A": "5"}).data.decode().split("\0") if item)
        digest = hashlib.md5(bytes((int(given["CHAP_I"]),)) + b"correct horse battery" + bytes.fromhex(given["CHAP_C"][2:])).hexdigest()
        answer = initiator.login_pdu(0, 3, {"CHAP_N": "user", "CHAP_R": "0x" + digest, "CHAP_I": "1", "CHAP_C": given["CHAP_C"]})
        assert answer.number(36, 2) == 0x0201


@pytest.mark.parametrize(("stage", "following"), [(1, 3), (0, 3), (0, 1)])
def test_chap_cannot_be_skipped(stage: int, following: int) -> None:
    with chap_server() as server, Initiator(server.address, NAME) as initiator:
        answer = initiator.login_pdu(stage, following, initiator.names())
        assert answer.number(36, 2) == 0x0201
        assert initiator.closed()


def test_a_wrong_answer_cannot_be_tried_again() -> None:
    with chap_server() as server, Initiator(server.address, NAME) as initiator:
        initiator.login_pdu(0, 1, initiator.names() | {"AuthMethod": "CHAP"})
        initiator.login_pdu(0, None, {"CHAP_A": "7"})
        assert initiator.login_pdu(0, 3, {"CHAP_N": "user", "CHAP_R": "0x00"}).number(36, 2) == 0x0201
        assert initiator.closed()


def test_only_listed_initiators() -> None:
    with chap_server(initiators=frozenset({"iqn.2026-01.example.lab:friend"})) as server:
        with Initiator(server.address, NAME) as initiator:
            assert initiator.login_pdu(0, 1, initiator.names()).number(36, 2) == 0x0202
        with Initiator(server.address, NAME, name="iqn.2026-01.example.lab:friend") as initiator:
            assert initiator.login_chap("user", "correct horse battery")[0] == 0
            assert initiator.text(b"SendTargets=\0")["TargetName"] == [NAME]


@pytest.mark.parametrize(
    ("name", "mutual", "match"),
    [("disk", None, "must look like"), ("iqn.2026-1.example:x", None, "must look like"), (NAME, Chap("t", "s"), "another secret")],
)
def test_impossible_exports(name: str, mutual: Chap | None, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Exported(Target(name), Chap("u", "s") if mutual else None, mutual)


# Discovery.


def test_discovery(lab: Lab) -> None:
    with Initiator(lab.server.address, None) as initiator:
        initiator.login()
        found = initiator.text(b"SendTargets=All\0")
        assert found == {"TargetName": [NAME], "TargetAddress": [f"127.0.0.1:{lab.server.address[1]},1"]}
        initiator.send(initiator.command_header(TUR, 0, 0x81))
        assert initiator.receive().opcode == 0x3F  # no commands in a discovery session
        assert initiator.logout() == 0


def test_discovery_with_chap() -> None:
    with chap_server() as server:
        with Initiator(server.address, None) as initiator:
            assert initiator.login_pdu(1, 3, initiator.names()).number(36, 2) == 0x0201
        with Initiator(server.address, None) as initiator:
            assert initiator.login_chap("finder", "discovery secret")[0] == 0


# Data.

DIGESTS = [("None", "None"), ("CRC32C", "None"), ("None", "CRC32C"), ("CRC32C", "CRC32C")]


@pytest.mark.parametrize(("header", "data"), DIGESTS)
@pytest.mark.parametrize("blocks", [1, 17, 2048])
def test_reading_and_writing(lab: Lab, header: str, data: str, blocks: int) -> None:
    content = os.urandom(min(blocks, 24) * 512) * (blocks // 24 + 1)
    content = content[: blocks * 512]
    if blocks > 24 and "CRC32C" in (header, data):
        pytest.skip("the initiator's digests are slow by design")
    with lab.login(HeaderDigest=header, DataDigest=data, MaxRecvDataSegmentLength="4096", MaxBurstLength="10240") as initiator:
        assert initiator.command(write_16(5, blocks), write=content, immediate=4096).status == 0
        assert lab.blocks.read(5 * 512, len(content)) == content
        answer = initiator.command(read_16(5, blocks), read=len(content))
        assert (answer.status, answer.data, answer.overflow, answer.underflow) == (0, content, 0, 0)
        pieces = [pdu for pdu in answer.pdus if pdu.opcode == 0x25]
        assert max(len(pdu.data) for pdu in pieces) <= 4096
        for pdu in pieces:  # a sequence ends, with the F bit, at each multiple of MaxBurstLength
            end = pdu.number(40) + len(pdu.data)
            assert bool(pdu.flags & 0x80) is (end % 10240 == 0 or end == len(content))


def passed(lab: Lab) -> tuple[int, int]:
    """Reads and writes that took the compiled way at unit 0, over all sessions."""
    counters = [presence.gate.counters for presence in lab.target.units[0].presences]
    return sum(counter[0] for counter in counters), sum(counter[1] for counter in counters)


@pytest.mark.parametrize(
    ("cdb", "length"),
    [("080000080400", 2048), ("28000000000800000400", 2048), ("a80000000008000000040000", 2048), ("88000000000000000008000000040000", 2048)],
)
def test_plain_commands_take_the_compiled_way(lab: Lab, cdb: str, length: int) -> None:
    raw = bytes.fromhex(cdb)
    write = bytes((raw[0] + 2,)) + raw[1:]
    content = os.urandom(length)
    with lab.login() as initiator:
        assert initiator.command(write, write=content).status == 0
        assert initiator.command(raw, read=length).data == content
        assert passed(lab) == (1, 1)


def test_the_compiled_way_closes_and_opens_again(lab: Lab) -> None:
    with lab.login() as initiator, Initiator(lab.server.address, NAME, isid=bytes(6)).login() as other:
        other.command(TUR)
        assert other.command(bytes.fromhex("160000000000")).status == 0
        assert initiator.command(read_16(0, 1), read=512).status == 0x18
        assert initiator.command(write_16(0, 1), write=bytes(512)).status == 0x18
        assert other.command(read_16(0, 1), read=512).status == 0
        assert passed(lab) == (1, 0)
        assert other.logout() == 0
        assert other.closed()
        assert initiator.command(read_16(0, 1), read=512).status == 0
        assert passed(lab) == (1, 0)


def test_unsolicited_data(lab: Lab) -> None:
    content = os.urandom(20_480)
    with lab.login(InitialR2T="No", FirstBurstLength="12288") as initiator:
        head = initiator.command_header(write_16(0, 40), len(content), 0x21)  # F is clear: unsolicited data follow
        tag = bytes(head[16:20])
        initiator.send(head, content[:4096])
        initiator.send(initiator.data_out(tag, b"\xff\xff\xff\xff", 0, 4096, last=False), content[4096:8192])
        initiator.send(initiator.data_out(tag, b"\xff\xff\xff\xff", 1, 8192, last=True), content[8192:12288])
        answer = initiator.finish(tag, content)
        assert answer.status == 0
        r2t = [pdu for pdu in answer.pdus if pdu.opcode == 0x31]
        assert [(pdu.number(40), pdu.number(44)) for pdu in r2t] == [(12288, 8192)]
        assert lab.blocks.read(0, len(content)) == content


def test_r2t_for_everything(lab: Lab) -> None:
    content = os.urandom(5120)
    with lab.login(InitialR2T="Yes", ImmediateData="No", MaxBurstLength="2048") as initiator:
        answer = initiator.command(write_16(0, 10), write=content, immediate=0)
        r2t = [(pdu.number(36), pdu.number(40), pdu.number(44)) for pdu in answer.pdus if pdu.opcode == 0x31]
        assert r2t == [(0, 0, 2048), (1, 2048, 2048), (2, 4096, 1024)]
        assert lab.blocks.read(0, 5120) == content


RESIDUALS = [
    # blocks asked, bytes announced, overflow, underflow, blocks that change
    (1, 512, 0, 0, 1),
    (1, 1024, 0, 512, 1),
    (2, 512, 512, 0, 1),
    (1, 10_000, 0, 9488, 1),
]


@pytest.mark.parametrize(("blocks", "announced", "overflow", "underflow", "changed"), RESIDUALS)
def test_residuals(lab: Lab, blocks: int, announced: int, overflow: int, underflow: int, changed: int) -> None:
    with lab.login() as initiator:
        answer = initiator.command(write_16(0, blocks), write=b"w" * announced)
        assert (answer.status, answer.overflow, answer.underflow) == (0, overflow, underflow)
        assert lab.blocks.read(0, 4096) == b"w" * (512 * changed) + bytes(4096 - 512 * changed)
        answer = initiator.command(read_16(0, blocks), read=announced)
        assert (answer.status, len(answer.data)) == (0, min(announced, blocks * 512))
        assert (answer.overflow, answer.underflow) == (overflow, underflow)


def test_many_commands_at_once(lab: Lab) -> None:
    lab.blocks.write(0, os.urandom(100 * 512))
    with lab.login() as initiator:
        heads = [initiator.command_header(read_16(number, 1), 512, 0xC1) for number in range(100)]
        initiator.socket.sendall(b"".join(initiator.build(head) for head in heads))
        for number, head in enumerate(heads):
            pdu = initiator.receive()
            assert (pdu.tag, pdu.data) == (bytes(head[16:20]), lab.blocks.read(number * 512, 512))


def test_faults_of_the_disk_are_answers_and_the_session_goes_on(lab: Lab) -> None:
    faulty = lab.target.units[1].blocks
    assert isinstance(faulty, FaultyBlocks)
    with lab.login() as initiator:
        initiator.command(TUR, lun=1)
        faulty.faults = [Fault("read", 5), Fault("write", 28)]
        assert initiator.command(read_16(0, 1), read=512, lun=1).code == (3, 0x11, 0)
        assert initiator.command(write_16(0, 1), write=bytes(512), lun=1).code == (7, 0x27, 7)
        assert initiator.command(read_16(0, 1), read=512, lun=1).status == 0


def test_units_that_are_not_there(lab: Lab) -> None:
    with lab.login() as initiator:
        assert initiator.command(read_16(0, 1), read=512, lun=9).code == (5, 0x25, 0)
        assert initiator.command(bytes.fromhex("120000006000"), read=96, lun=9).data[0] == 0x7F


# Sessions.


def test_several_sessions_share_the_disk(lab: Lab) -> None:
    def work(number: int) -> None:
        with Initiator(lab.server.address, NAME, isid=bytes((0x80, 0, 0, 0, 0, number))).login() as initiator:
            initiator.command(TUR)
            for turn in range(50):
                data = bytes((number, turn)) * 256
                assert initiator.command(write_16(number * 64 + turn, 1), write=data).status == 0
                assert initiator.command(read_16(number * 64 + turn, 1), read=512).data == data

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        for turn in range(50):
            assert lab.blocks.read((number * 64 + turn) * 512, 512) == bytes((number, turn)) * 256


def test_a_new_session_of_the_same_port_ends_the_old(lab: Lab) -> None:
    with lab.login() as old, lab.login() as new:
        assert old.closed()
        assert new.command(TUR).status == 0
        assert len(lab.server.sessions) == 1


def test_sessions_are_told_apart_by_isid_and_name(lab: Lab) -> None:
    with (
        lab.login() as one,
        Initiator(lab.server.address, NAME, isid=bytes(6)).login() as two,
        Initiator(lab.server.address, NAME, name="iqn.2026-01.example.lab:third").login() as three,
    ):
        assert len(lab.server.sessions) == 3
        assert [initiator.command(TUR).status for initiator in (one, two, three)] == [0, 2, 2]


def test_logout(lab: Lab) -> None:
    with lab.login() as initiator:
        assert initiator.logout() == 0
        assert initiator.closed()


def test_closing_asks_for_logout() -> None:
    server = IscsiServer([Exported(Target(NAME, {0: LogicalUnit(MemoryBlocks(512), serial="x")}))], [("127.0.0.1", 0)])
    address = server.address
    with Initiator(address, NAME).login() as initiator:
        thread = threading.Thread(target=server.close, kwargs={"grace": 30})
        thread.start()
        message = initiator.receive()
        assert (message.opcode, message.header[36]) == (0x32, 1)
        assert initiator.logout() == 0
        thread.join()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


# Pings, text, numbers.


def test_nop_out_is_answered_with_its_data(lab: Lab) -> None:
    with lab.login() as initiator:
        head = initiator.header(0x00, 0x80)
        head[20:24] = b"\xff\xff\xff\xff"
        initiator.send(head, b"are you there?")
        pdu = initiator.receive()
        assert (pdu.opcode, pdu.data, pdu.tag) == (0x20, b"are you there?", bytes(head[16:20]))


def test_silent_initiators_are_asked_and_dropped() -> None:
    target = Target(NAME, {0: LogicalUnit(MemoryBlocks(512), serial="x")})
    with IscsiServer([Exported(target)], [("127.0.0.1", 0)], ping_seconds=0.05) as server, Initiator(server.address, NAME).login() as initiator:
        ping = initiator.receive()
        assert (ping.opcode, ping.tag) == (0x20, b"\xff\xff\xff\xff")
        answer = bytearray(48)
        answer[0], answer[1] = 0x40, 0x80
        answer[16:24] = b"\xff\xff\xff\xff" + ping.header[20:24]
        answer[24:28] = initiator.cmd_sn.to_bytes(4, "big")
        initiator.send(answer)
        assert initiator.receive().opcode == 0x20
        assert initiator.closed()


@pytest.mark.parametrize("ahead", [1, 127, 128, 5000, -1, 1 << 31])
def test_commands_with_a_wrong_number_are_dropped(lab: Lab, ahead: int) -> None:
    with lab.login() as initiator:
        head = initiator.command_header(TUR, 0, 0x81)
        number = int.from_bytes(head[24:28], "big")
        head[24:28] = (number + ahead & 0xFFFFFFFF).to_bytes(4, "big")
        initiator.send(head)
        initiator.cmd_sn = number
        assert initiator.command(TUR).status == 0  # the next answer is not for the dropped one


# Task management.


def waiting_write(initiator: Initiator, lun: int = 0) -> tuple[bytes, int]:
    """Start a write whose data the target has asked for and does not get: its tag and command number."""
    head = initiator.command_header(write_16(0, 8), 4096, 0xA1, lun)
    initiator.send(head)
    assert initiator.receive().opcode == 0x31
    return bytes(head[16:20]), int.from_bytes(head[24:28], "big")


@pytest.mark.parametrize("function", [1, 2, 5, 6])
def test_aborted_writes_do_not_happen(lab: Lab, function: int) -> None:
    with lab.login() as initiator:
        tag, number = waiting_write(initiator)
        assert initiator.task_management(function, reference=tag, reference_sn=number) == 0
        initiator.send(initiator.data_out(tag, b"\0\0\0\1", 0, 0, last=True), b"x" * 4096)
        if function in (5, 6):
            assert initiator.command(TUR).code == (6, 0x29, 3)
        assert initiator.command(TUR).status == 0
        assert lab.blocks.read(0, 4096) == bytes(4096)


def test_a_reset_from_elsewhere_ends_waiting_writes(lab: Lab) -> None:
    with lab.login() as initiator, Initiator(lab.server.address, NAME, isid=bytes(6)).login() as other:
        tag, _ = waiting_write(initiator)
        assert other.task_management(5) == 0
        initiator.send(initiator.data_out(tag, b"\0\0\0\1", 0, 0, last=True), b"x" * 4096)
        assert initiator.command(TUR).code == (6, 0x29, 3)
        assert lab.blocks.read(0, 4096) == bytes(4096)


def test_clear_task_set_tells_the_others(lab: Lab) -> None:
    with lab.login() as initiator, Initiator(lab.server.address, NAME, isid=bytes(6)).login() as other:
        other.command(TUR)
        waiting_write(initiator)
        assert other.task_management(4) == 0
        assert initiator.command(TUR).code == (6, 0x2F, 0)
        assert other.command(TUR).status == 0


def test_cold_reset_ends_every_session(lab: Lab) -> None:
    with lab.login() as initiator, Initiator(lab.server.address, NAME, isid=bytes(6)).login() as other:
        assert initiator.task_management(7) == 0
        assert initiator.closed()
        assert other.closed()


@pytest.mark.parametrize(
    ("function", "lun", "response"), [(1, 0, 1), (2, 7, 2), (3, 0, 5), (5, 7, 2), (8, 0, 4), (20, 0, 5)], ids=str
)
def test_what_task_management_refuses(lab: Lab, function: int, lun: int, response: int) -> None:
    with lab.login() as initiator:
        assert initiator.task_management(function, lun=lun, reference=b"none", reference_sn=initiator.cmd_sn - 2) == response


def test_a_flush_does_not_hold_up_other_commands(lab: Lab) -> None:
    slow = lab.target.units[1].blocks
    assert isinstance(slow, FaultyBlocks)
    gate = threading.Event()
    slow.inner._flush = gate.wait  # type: ignore[method-assign, assignment]
    with lab.login() as initiator:
        initiator.command(TUR, lun=1)
        head = initiator.command_header(bytes.fromhex("35" + "00" * 9), 0, 0x81, 1)
        initiator.send(head)
        assert initiator.command(read_16(0, 1), read=512, lun=1).status == 0
        gate.set()
        assert initiator.finish(bytes(head[16:20])).status == 0


def test_status_numbers_count_without_gaps(lab: Lab) -> None:
    with lab.login() as initiator:
        seen: list[Pdu] = []
        for number in range(5):
            seen += initiator.command(read_16(number, 1), read=512).pdus
            seen += initiator.command(TUR).pdus
            seen += initiator.command(write_16(number, 2), write=bytes(1024), immediate=512).pdus
        numbers = [pdu.number(24) for pdu in seen if pdu.opcode == 0x21 or (pdu.opcode == 0x25 and pdu.flags & 1)]
        assert numbers == list(range(numbers[0], numbers[0] + 15))


def test_compare_and_write_is_atomic_between_sessions(lab: Lab) -> None:
    """Each session adds to a counter on the disk by compare and swap, with plain reads beside: no addition may be lost."""
    sessions, turns = 4, 40
    cdb = b"\x89\0" + bytes(8) + bytes((0, 0, 0, 1, 0, 0))

    def work(number: int) -> None:
        with Initiator(lab.server.address, NAME, isid=bytes((0x80, 0, 0, 0, 0, number))).login() as initiator:
            initiator.command(TUR)
            done = 0
            while done < turns:
                old = initiator.command(read_16(0, 1), read=512).data
                new = (int.from_bytes(old[:8], "big") + 1).to_bytes(8, "big") * 64
                answer = initiator.command(cdb, write=old + new)
                assert answer.status == 0 or answer.code == (14, 0x1D, 0)
                done += answer.status == 0

    threads = [threading.Thread(target=work, args=(number,)) for number in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lab.blocks.read(0, 512) == (sessions * turns).to_bytes(8, "big") * 64


def test_reads_that_wait_for_the_disk_do_not_hold_up_others(lab: Lab) -> None:
    slow = lab.target.units[1].blocks
    assert isinstance(slow, FaultyBlocks)
    gate = threading.Event()
    inner = slow.inner._readinto

    def wait(offset: int, view: memoryview) -> None:
        if offset == 0:
            gate.wait()
        inner(offset, view)

    slow.inner._readinto = wait  # type: ignore[method-assign]
    with lab.login() as initiator:
        initiator.command(TUR, lun=1)
        head = initiator.command_header(read_16(0, 1), 512, 0xC1, 1)
        initiator.send(head)
        assert initiator.command(read_16(1, 1), read=512, lun=1).status == 0
        gate.set()
        assert initiator.finish(bytes(head[16:20])).status == 0


def test_units_on_files_behave_alike(tmp_path: Path) -> None:
    with create_blocks(tmp_path / "disk", SIZE) as blocks:
        target = Target(NAME, {0: LogicalUnit(blocks, serial="file")})
        with IscsiServer([Exported(target)], [("127.0.0.1", 0)]) as server, Initiator(server.address, NAME).login() as initiator:
            initiator.command(TUR)
            content = os.urandom(64 << 10)
            assert initiator.command(write_16(100, 128), write=content).status == 0
            assert initiator.command(read_16(100, 128), read=len(content)).data == content
            assert initiator.command(write_16(300, 1, 0x08), write=content[:512]).status == 0
            assert initiator.command(bytes.fromhex("35" + "00" * 9)).status == 0
            os.truncate(tmp_path / "disk", 1 << 20)  # someone shrinks the file below the disk
            assert initiator.command(read_16(60_000, 1), read=512).code == (3, 0x11, 0)
            assert initiator.command(read_16(100, 128), read=len(content)).data == content
    assert (tmp_path / "disk").read_bytes()[100 * 512 : 228 * 512] == content


def test_no_write_of_a_preempted_initiator_arrives_later(lab: Lab) -> None:
    """Fencing: once PREEMPT is answered, the old owner's writes that are under way can't undo what the new owner writes."""

    def out(initiator: Initiator, action: int, key: int, new: int, kind: int = 0) -> int:
        listing = key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes(8)
        return initiator.command(bytes((0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0)), write=listing).status

    for turn in range(15):
        with lab.login() as old, Initiator(lab.server.address, NAME, isid=bytes(6)).login() as new:
            new.command(TUR)
            assert out(old, 6, 0, 1) == 0
            assert out(new, 6, 0, 2) == 0
            assert out(old, 1, 1, 0, 3) == 0
            heads = [old.command_header(write_16(0, 64), 32768, 0xA1) for _ in range(100)]
            flood = b"".join(old.build(head, b"o" * 32768) for head in heads)
            sender = threading.Thread(target=old.socket.sendall, args=(flood,))
            sender.start()
            assert out(new, 4, 2, 1, 3) == 0
            assert new.command(write_16(0, 64), write=b"n" * 32768).status == 0
            statuses = {old.finish(bytes(head[16:20])).status for head in heads}
            sender.join()
            assert statuses <= {0, 2, 0x18}
            assert lab.blocks.read(0, 32768) == b"n" * 32768, f"turn {turn}"
            assert out(new, 3, 2, 0) == 0
            assert new.logout() == 0
            assert new.closed()


QEMU_IMG = shutil.which("qemu-img")
QEMU_ISCSI = any(Path("/usr/lib").glob("*/qemu/block-iscsi.so"))


@pytest.mark.skipif(QEMU_IMG is None or not QEMU_ISCSI, reason="needs qemu-img with iSCSI (Debian: qemu-utils, qemu-block-extra)")
def test_qemu_writes_compares_and_maps(tmp_path: Path) -> None:
    assert QEMU_IMG is not None
    source = tmp_path / "source.raw"
    with create_blocks(source, 16 << 20) as blocks:
        blocks.write(1 << 20, os.urandom(3 << 20))
        blocks.write(12 << 20, b"end" * 1000)
    with create_blocks(tmp_path / "disk.raw", 16 << 20) as blocks:
        target = Target(NAME, {0: LogicalUnit(blocks, serial="qemu")})
        with IscsiServer([Exported(target, Chap("user", "secretphrase12"))], [("127.0.0.1", 0)]) as server:
            url = f"iscsi://user%secretphrase12@127.0.0.1:{server.address[1]}/{NAME}/0"

            def qemu_img(*words: str) -> str:
                # A sanitizer that is preloaded into this process is none of its business.
                clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
                return subprocess.run([QEMU_IMG, *words], capture_output=True, text=True, check=True, timeout=PATIENCE, env=clean).stdout

            qemu_img("convert", "-n", "-f", "raw", "-O", "raw", str(source), url)
            assert "identical" in qemu_img("compare", "-f", "raw", "-F", "raw", str(source), url)
            mapped = json.loads(qemu_img("map", "-f", "raw", "--output=json", url))
            assert next((part["start"], part["length"]) for part in mapped if part["data"]) == (1 << 20, 3 << 20)
    assert (tmp_path / "disk.raw").read_bytes() == source.read_bytes()
