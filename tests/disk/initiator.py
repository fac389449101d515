"""A small iSCSI initiator for tests: it says exactly what a test tells it to, right or wrong. Nothing of it is shared with the target."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from typing import Self

from tests.patience import PATIENCE

ISID = bytes.fromhex("80123456789a")
NAME = "iqn.2026-01.example.lab:initiator"
TAG = b"\xff\xff\xff\xff"


def crc32c(data: bytes) -> int:
    """Bit by bit, so that it has nothing in common with what it checks."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@dataclass
class Pdu:
    """One PDU: 48 bytes of header and its data segment without padding."""

    header: bytes
    data: bytes

    @property
    def opcode(self) -> int:
        return self.header[0] & 0x3F

    @property
    def flags(self) -> int:
        return self.header[1]

    @property
    def status(self) -> int:
        return self.header[3]

    @property
    def tag(self) -> bytes:
        return self.header[16:20]

    def number(self, at: int, size: int = 4) -> int:
        return int.from_bytes(self.header[at : at + size], "big")


@dataclass
class Answer:
    """What came back for a command."""

    status: int
    data: bytes
    sense: bytes
    overflow: int
    underflow: int
    pdus: list[Pdu]

    @property
    def code(self) -> tuple[int, int, int]:
        """Sense key, ASC, ASCQ."""
        return self.sense[2] & 0x0F, self.sense[12], self.sense[13]


class Initiator:
    """One connection; ``login`` makes it a session."""

    def __init__(self, address: tuple[str, int], target: str | None, *, name: str = NAME, isid: bytes = ISID) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.target = target
        self.name = name
        self.isid = isid
        self.cmd_sn = 1
        self.exp_stat_sn = 0
        self.next_tag = 0
        self.header_digest = self.data_digest = False
        self.agreed: dict[str, str] = {}
        self.max_burst = 262144

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # PDUs.

    def build(self, header: bytes | bytearray, data: bytes = b"") -> bytes:
        head = bytearray(header)
        head[5:8] = len(data).to_bytes(3, "big")
        out = bytes(head)
        if self.header_digest:
            out += crc32c(bytes(head)).to_bytes(4, "little")
        padded = data + bytes(-len(data) % 4)
        out += padded
        if self.data_digest and data:
            out += crc32c(padded).to_bytes(4, "little")
        return out

    def send(self, header: bytes | bytearray, data: bytes = b"") -> None:
        self.socket.sendall(self.build(header, data))

    def exactly(self, size: int) -> bytes:
        out = bytearray()
        while len(out) < size:
            piece = self.socket.recv(size - len(out))
            if not piece:
                raise ConnectionResetError("the target closed the connection")
            out += piece
        return bytes(out)

    def receive(self) -> Pdu:
        head = self.exactly(48)
        if self.header_digest:
            assert int.from_bytes(self.exactly(4), "little") == crc32c(head)
        size = int.from_bytes(head[5:8], "big")
        padded = self.exactly(size + -size % 4) if size else b""
        if self.data_digest and size:
            assert int.from_bytes(self.exactly(4), "little") == crc32c(padded)
        pdu = Pdu(head, padded[:size])
        if pdu.opcode != 0x31 and (pdu.opcode != 0x25 or pdu.flags & 1):
            self.exp_stat_sn = pdu.number(24) + 1
        return pdu

    def closed(self) -> bool:
        """True once the target has closed the connection; what it sent before is thrown away."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def header(self, opcode: int, flags: int, tag: bytes | None = None, *, immediate: bool = False) -> bytearray:
        head = bytearray(48)
        head[0] = opcode | (0x40 if immediate else 0)
        head[1] = flags
        if tag is None:
            self.next_tag += 1
            tag = self.next_tag.to_bytes(4, "big")
        head[16:20] = tag
        head[24:28] = self.cmd_sn.to_bytes(4, "big")
        head[28:32] = self.exp_stat_sn.to_bytes(4, "big")
        if not immediate:
            self.cmd_sn = self.cmd_sn + 1 & 0xFFFFFFFF
        return head

    # Login.

    def login_pdu(self, stage: int, following: int | None, keys: dict[str, str] | bytes) -> Pdu:
        head = bytearray(48)
        head[0] = 0x43
        head[1] = stage << 2 | (0 if following is None else 0x80 | following)
        head[8:14] = self.isid
        head[24:28] = self.cmd_sn.to_bytes(4, "big")
        head[28:32] = self.exp_stat_sn.to_bytes(4, "big")
        text = keys if isinstance(keys, bytes) else b"".join(f"{key}={value}\0".encode() for key, value in keys.items())
        self.send(head, text)
        return self.receive()

    def names(self) -> dict[str, str]:
        found = {"InitiatorName": self.name, "SessionType": "Normal" if self.target else "Discovery"}
        return found | ({"TargetName": self.target} if self.target else {})

    def login(self, **keys: str) -> Self:
        """Straight to full feature phase without authentication."""
        offered = {"HeaderDigest": "None", "DataDigest": "None", "InitialR2T": "No", "ImmediateData": "Yes"} | keys
        answer = self.login_pdu(1, 3, self.names() | offered)
        assert answer.number(36, 2) == 0, f"login refused: {answer.number(36, 2):04x}"
        assert answer.flags == 0x87
        self.take(answer)
        return self

    def take(self, answer: Pdu) -> None:
        self.agreed |= dict(item.split("=", 1) for item in answer.data.decode().split("\0") if item)
        self.header_digest = self.agreed.get("HeaderDigest") == "CRC32C"
        self.data_digest = self.agreed.get("DataDigest") == "CRC32C"

    def login_chap(self, user: str, secret: str, *, challenge: bytes | None = None) -> tuple[int, dict[str, str]]:
        """CHAP with SHA-256; the status and the keys of the last answer."""
        first = self.login_pdu(0, 1, self.names() | {"AuthMethod": "CHAP,None"})
        if first.number(36, 2):
            return first.number(36, 2), {}
        second = self.login_pdu(0, None, {"CHAP_A": "7,5"})
        given = dict(item.split("=", 1) for item in second.data.decode().split("\0") if item)
        digest = hashlib.sha256(bytes((int(given["CHAP_I"]),)) + secret.encode() + bytes.fromhex(given["CHAP_C"][2:])).hexdigest()
        keys = {"CHAP_N": user, "CHAP_R": "0x" + digest}
        if challenge is not None:
            keys |= {"CHAP_I": "77", "CHAP_C": "0x" + challenge.hex()}
        third = self.login_pdu(0, 3, keys)
        return third.number(36, 2), dict(item.split("=", 1) for item in third.data.decode().split("\0") if item)

    # Commands.

    def command_header(self, cdb: bytes, expected: int, flags: int, lun: int = 0) -> bytearray:
        head = self.header(0x01, flags)
        head[8:10] = lun.to_bytes(2, "big")
        head[20:24] = expected.to_bytes(4, "big")
        head[32 : 32 + len(cdb)] = cdb
        return head

    def command(self, cdb: bytes, *, read: int = 0, write: bytes = b"", immediate: int | None = None, lun: int = 0) -> Answer:
        """One command to its end. ``write`` goes as immediate data as far as ``immediate`` bytes (all if ``None``), the rest as R2T asks."""
        first = write if immediate is None else write[:immediate]
        flags = 0x80 | 1 | (0x40 if read else 0) | (0x20 if write else 0)
        head = self.command_header(cdb, read or len(write), flags, lun)
        self.send(head, first)
        return self.finish(bytes(head[16:20]), write)

    def finish(self, tag: bytes, write: bytes = b"") -> Answer:
        """Receive until the command's status, answering R2T from ``write``."""
        data = bytearray()
        pdus = []
        while True:
            pdu = self.receive()
            pdus.append(pdu)
            if pdu.tag != tag:
                continue
            if pdu.opcode == 0x31:
                self.answer_r2t(pdu, write)
            elif pdu.opcode == 0x25:
                assert pdu.number(40) == len(data)
                assert pdu.number(36) == sum(1 for other in pdus[:-1] if other.opcode == 0x25 and other.tag == tag)
                data += pdu.data
                if pdu.flags & 1:
                    break
            elif pdu.opcode == 0x21:
                break
        residual = pdu.number(44)
        sense = pdu.data[2:] if pdu.opcode == 0x21 else b""
        return Answer(pdu.status, bytes(data), sense, residual if pdu.flags & 4 else 0, residual if pdu.flags & 2 else 0, pdus)

    def answer_r2t(self, r2t: Pdu, write: bytes, piece: int = 8192) -> None:
        offset, length = r2t.number(40), r2t.number(44)
        for number, at in enumerate(range(offset, offset + length, piece)):
            part = write[at : min(at + piece, offset + length)]
            self.send(self.data_out(r2t.tag, r2t.header[20:24], number, at, last=at + piece >= offset + length), part)

    def data_out(self, tag: bytes, transfer: bytes, number: int, offset: int, *, last: bool) -> bytearray:
        head = bytearray(48)
        head[0] = 0x05
        head[1] = 0x80 if last else 0
        head[16:20] = tag
        head[20:24] = transfer
        head[28:32] = self.exp_stat_sn.to_bytes(4, "big")
        head[36:40] = number.to_bytes(4, "big")
        head[40:44] = offset.to_bytes(4, "big")
        return head

    def task_management(self, function: int, *, lun: int = 0, reference: bytes = TAG, reference_sn: int = 0) -> int:
        """The response code."""
        head = self.header(0x02, 0x80 | function, immediate=True)
        head[8:10] = lun.to_bytes(2, "big")
        head[20:24] = reference
        head[32:36] = reference_sn.to_bytes(4, "big")
        self.send(head)
        while (pdu := self.receive()).opcode != 0x22:
            pass
        return pdu.header[2]

    def text(self, keys: bytes) -> dict[str, list[str]]:
        head = self.header(0x04, 0x80)
        head[20:24] = TAG
        self.send(head, keys)
        pdu = self.receive()
        assert pdu.opcode == 0x24
        found: dict[str, list[str]] = {}
        for item in pdu.data.decode().split("\0"):
            if item:
                key, _, value = item.partition("=")
                found.setdefault(key, []).append(value)
        return found

    def logout(self) -> int:
        self.send(self.header(0x06, 0x80))
        while (pdu := self.receive()).opcode != 0x26:
            pass
        return pdu.header[2]


def read_16(lba: int, blocks: int) -> bytes:
    return b"\x88\0" + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


def write_16(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes((0x8A, flags)) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)
