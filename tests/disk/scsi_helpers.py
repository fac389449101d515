"""Shorthand for the SCSI tests: a unit, nexuses to it, and CDBs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vsw.disk.blocks import Blocks, MemoryBlocks
from vsw.disk.scsi import LogicalUnit, Nexus, Target
from vsw.disk.scsi.commands import Reply
from vsw.disk.serve.iscsi_session import transport_id

BLOCKS = 2048


def initiator_id(number: int) -> bytes:
    return transport_id(f"iqn.2026-01.example.lab:host{number}", bytes((0x80, 0, 0, 0, 0, number)))


def sense_code(reply: Reply) -> tuple[int, int, int]:
    """Sense key, ASC, ASCQ of fixed-format sense."""
    assert reply.status == 2, reply
    assert reply.sense[0] & 0x7F == 0x70
    return reply.sense[2] & 0x0F, reply.sense[12], reply.sense[13]


def information(reply: Reply) -> int | None:
    return int.from_bytes(reply.sense[3:7], "big") if reply.sense[0] & 0x80 else None


@dataclass
class Bench:
    """A unit under test and the nexuses to it; the first unit attention of each is taken."""

    unit: LogicalUnit
    target: Target
    nexuses: list[Nexus] = field(default_factory=list)

    def connect(self, number: int | None = None, *, quiet: bool = True) -> Nexus:
        nexus = self.target.connect(initiator_id(len(self.nexuses) if number is None else number))
        self.nexuses.append(nexus)
        if quiet:
            assert nexus.execute(0, bytes(6)).status == 2
        return nexus

    def do(self, cdb: str | bytes, data: bytes = b"", host: int = 0, announced: int | None = None) -> Reply:
        raw = bytes.fromhex(cdb) if isinstance(cdb, str) else cdb
        return self.nexuses[host].execute(0, raw, data, announced)


def bench(blocks: Blocks | None = None, hosts: int = 1, **options: Any) -> Bench:
    size = options.get("block_size", 512)
    unit = LogicalUnit(blocks if blocks is not None else MemoryBlocks(BLOCKS * size), **{"serial": "test"} | options)
    made = Bench(unit, Target("iqn.2026-01.example.lab:disk", {0: unit}))
    for _ in range(hosts):
        made.connect()
    return made
