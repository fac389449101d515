"""What every entry of a registry promises: each team hash, each port mode in each dialect.

Whoever adds a hash, a mode or a dialect is held to this without writing a test: nothing is read behind the captured bytes, whatever the length;
no frame and no copy gets lost in the counters; no frames are no problem; input that may not be written is not written.
"""

from __future__ import annotations

import struct
from typing import get_args

import numpy as np
import pytest

from tests.differential.compare import EVERY_WAY, TWO_WAYS, disagreements
from tests.differential.strategies import START, Frame, Scenario
from tests.golden.build import access as access_port
from tests.golden.build import community, module, native_tagged, native_untagged, of_vnics, port, team, trunk, tunnel, uplink
from vsw import Batch, Switch, team_hash
from vsw.config.dialects import DIALECTS
from vsw.config.module import Module, Policy, VlanMode
from vsw.datapath.tables import REASONS
from vsw.switch.compile import MODES, POLICIES
from vsw.switch.result import COLUMNS, Result
from vsw.verdicts import Reason, Verdict

HASHES = [policy for policy in get_args(Policy) if policy != "explicit"]
#: A port of each mode; the mode's name in the registry is the key.
PORTS = {
    "access": access_port(10),
    "trunk": trunk("10,20"),
    "native-tagged": native_tagged(10, "10,20"),
    "native-untagged": native_untagged(10, "10,20"),
    "dot1q-tunnel": tunnel(10, "0,5,20"),
    "private": community(10, 11),
}
HOME, SENDER, NOBODY, ALL = 0x020000000001, 0x020000000002, 0x0200000000EE, 0xFFFFFFFFFFFF

modes = pytest.mark.parametrize("mode", PORTS)
dialects = pytest.mark.parametrize("dialect", DIALECTS)


def test_the_registries_are_complete() -> None:
    assert set(PORTS) == set(get_args(VlanMode)) == set(MODES)
    assert set(get_args(Policy)) == set(POLICIES)
    assert max(Reason) < REASONS


def packets() -> list[bytes]:
    """What is behind the addresses: IPv4 and IPv6, an ICMP error, SNAP, none of these; with and without tags."""
    four = struct.pack("!BBHHHBBH4s4sHHI", 0x45, 0, 28, 1, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\1\2", 1024, 53, 0)
    six = struct.pack("!IHBB", 6 << 28, 8, 6, 64) + bytes(range(32)) + struct.pack("!HHI", 1024, 80, 0)
    error = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 56, 1, 0, 64, 1, 0, b"\x0a\0\0\3", b"\x0a\0\0\1") + struct.pack("!BBHI", 3, 1, 0, 0) + four
    bare = [b"\x08\0" + four, b"\x86\xdd" + six, b"\x08\0" + error, b"\0\x26\xaa\xaa\x03\0\0\0\x81\0" + bytes(30), b"\x88\xcc" + bytes(20)]
    tags = (b"", b"\x81\0\xa0\x0a", b"\x81\0\0\0", b"\x88\xa8\x10\x14\x81\0\x20\x05")
    return [tag + packet for tag in tags for packet in bare]


def frames() -> list[bytes]:
    """To a station, to all, to nobody."""
    return [target.to_bytes(6) + SENDER.to_bytes(6) + packet for packet in packets() for target in (HOME, ALL, NOBODY)]


def one_of(mode: str, dialect: str, policy: str = "layer3+4") -> Module:
    ports = [
        uplink(0, team=0),
        uplink(1, team=0),
        port(2, PORTS[mode], address=SENDER, team=0),
        port(3, PORTS[mode], address=HOME, team=0),
        port(4, trunk(), team=0),
    ]
    limit = 2 if dialect == "ovs" else 1
    return module(dialect, ports, teams=(team(policy, (0, 1)),), learning="none", private=((11, 10),), static=of_vnics(ports), vlan_limit=limit)


def scenario(one: Module, offered: list[tuple[bytes, int]], port_in: int | None = 2) -> Scenario:
    return Scenario(one, [Frame(data, length, START, port_in) for data, length in offered], port_in is None, [])


def conserved(result: Result) -> None:
    counters = result.counters
    dropped = int(counters.dropped.sum())
    assert counters.offered == result.frames == counters.delivered + counters.consumed + dropped
    assert counters.copies_selected == counters.copies_out + int(counters.port_filtered.sum())
    assert counters.copies_out == int(counters.tx_frames.sum())
    assert int(counters.port_dropped.sum()) + int(counters.dropped[Reason.NO_PORT]) == dropped, "only frames without a port count on none"
    assert [int((result.verdict == verdict).sum()) for verdict in Verdict] == [counters.delivered, counters.consumed, dropped]


@pytest.mark.parametrize("policy", HASHES)
def test_a_hash_reads_nothing_behind_the_captured_bytes(policy: str) -> None:
    """Whatever lies behind the frame: the hash of its first bytes is the same."""
    for data in frames()[::3]:
        ends = np.arange(len(data) + 1, dtype=np.uint32)
        found = []
        for behind in (b"\0", b"\xff", b"\xa5"):
            pieces = [data[:end] + behind * 64 for end in ends]
            sizes = np.array([len(piece) for piece in pieces], np.uint64)
            batch = Batch.from_arrays(np.frombuffer(b"".join(pieces), np.uint8), np.cumsum(sizes) - sizes, ends)
            found.append(team_hash(batch, policy, port=7).tolist())
        assert found[0] == found[1] == found[2]


@dialects
@modes
def test_truncation_at_every_byte(mode: str, dialect: str) -> None:
    """Frames that the capture cut, and frames that were that short on the wire."""
    one = one_of(mode, dialect)
    offered = []
    for data in frames()[::7]:
        offered += [(data[:end], len(data)) for end in range(len(data) + 1)]
        offered += [(data[:end], end) for end in range(len(data) + 1)]
    for port_in in (2, 0, None):
        assert disagreements(scenario(one, offered, port_in), ways=TWO_WAYS) == []


@dialects
@pytest.mark.parametrize("policy", get_args(Policy))
def test_every_policy_agrees_with_the_reference(policy: str, dialect: str) -> None:
    offered = [(data, len(data)) for data in frames()]
    for mode in ("access", "trunk", "dot1q-tunnel"):
        assert disagreements(scenario(one_of(mode, dialect, policy), offered), ways=EVERY_WAY[::2]) == []


@dialects
@modes
def test_conservation(mode: str, dialect: str) -> None:
    one = one_of(mode, dialect)
    batch = Batch.from_frames(frames())
    switch = Switch(one)
    for ingress in (0, 2, 3, 4, "source-mac", np.full(len(batch), 99, np.uint16)):
        for exact in (False, True):
            conserved(switch.forward(batch, ingress=ingress, exact=exact))
    assert switch.counters.offered == 12 * len(batch)


@dialects
@modes
def test_no_frames(mode: str, dialect: str) -> None:
    switch = Switch(one_of(mode, dialect))
    for workers in (1, 3):
        for ingress in (2, "source-mac"):
            result = switch.forward(Batch.from_frames([]), ingress=ingress, workers=workers, copies=True)
            conserved(result)
            assert result.frames == len(result.copies) == 0
            assert all(len(getattr(result, name)) == 0 for name in COLUMNS)
    assert switch.counters.offered == 0


@dialects
@modes
def test_input_that_may_not_be_written(mode: str, dialect: str) -> None:
    """Arrays that are read-only to Python are accepted, and are afterwards what they were."""
    data = frames()
    buffer = np.frombuffer(b"".join(data) + bytes(64), np.uint8)
    lengths = np.array([len(frame) for frame in data], np.uint32)
    starts = (np.cumsum(lengths) - lengths).astype(np.uint64)
    arrays = (buffer, starts, lengths, np.zeros(len(data), np.int64), np.full(len(data), 2, np.uint16))
    for array in arrays:
        array.flags.writeable = False
    before = [array.tobytes() for array in arrays]
    result = Switch(one_of(mode, dialect)).forward(Batch.from_arrays(buffer, starts, lengths, time=arrays[3], port_in=arrays[4]), copies=True)
    conserved(result)
    assert [array.tobytes() for array in arrays] == before
    assert len(list(result.egress())) == result.counters.copies_out


@pytest.mark.parametrize("policy", HASHES)
def test_hashes_of_nothing_and_of_input_that_may_not_be_written(policy: str) -> None:
    assert team_hash(Batch.from_frames([]), policy).shape == (0,)
    data = frames()[0]
    buffer = np.frombuffer(data, np.uint8)
    assert not buffer.flags.writeable
    starts, lengths = np.zeros(1, np.uint64), np.array([len(data)], np.uint32)
    copy = Batch.from_arrays(buffer.copy(), starts, lengths)
    assert team_hash(Batch.from_arrays(buffer, starts, lengths), policy).tolist() == team_hash(copy, policy).tolist()
    assert buffer.tobytes() == data
