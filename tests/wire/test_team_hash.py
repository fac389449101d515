"""``vsw.team_hash`` against the reference, over frames of every sort, with three members: with two or four many wrong formulas agree."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import vsw
from tests.wire.random_frames import TPIDS, frames
from vsw import Batch
from vsw.reference import hashes as reference

POLICIES = ("port-id", "src-mac", "ip-hash", "layer2", "layer2+3", "layer3+4", "vlan+srcmac")
ALL = [data for data, _ in frames(31, 24_000)]


def expected(policy, data, bits=32, port=5, tpids=TPIDS):
    """Take the tag off, and ask the reference."""
    if len(data) < 14:
        return 0
    tci = 0
    if len(data) >= 18 and struct.unpack_from("!H", data, 12)[0] in tpids:
        tci = struct.unpack_from("!H", data, 14)[0]
        data = data[:12] + data[16:]
    return reference.team_hash(policy, data, port, tci, bits)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy(policy):
    batch = Batch.from_frames(ALL)
    hashes = vsw.team_hash(batch, policy, port=5)
    assert hashes.dtype == np.uint32
    wanted = [expected(policy, data) for data in ALL]
    assert hashes.tolist() == wanted
    members = vsw.team_hash(batch, policy, port=5, members=3)
    assert members.dtype == np.uint16
    assert members.tolist() == [value % 3 for value in wanted]
    assert vsw.team_hash(batch, policy, port=5, members=3, assignment="buckets").tolist() == [value % 256 % 3 for value in wanted]
    assert policy in ("port-id", "src-mac", "layer2") or len(set(wanted)) > 8_000


@pytest.mark.parametrize("tpids", [(), (0x8100,), (0x88A8, 0x0800), tuple(range(0x8100, 0x8108))])
def test_other_tpids(tpids):
    assert vsw.team_hash(Batch.from_frames(ALL[:3000]), "vlan+srcmac", tpids=tpids).tolist() == [
        expected("vlan+srcmac", data, tpids=tpids) for data in ALL[:3000]
    ]


def test_eight_bits_of_ip_hash():
    hashes = vsw.team_hash(Batch.from_frames(ALL[:3000]), "ip-hash", ip_hash_bits=8)
    assert hashes.tolist() == [expected("ip-hash", data, bits=8) for data in ALL[:3000]]
    assert hashes.max() < 256


@pytest.mark.parametrize("policy", POLICIES)
def test_every_length_at_the_end_of_memory(policy):
    # The ICMP error, whose quoted packet is looked at, in an outer tag; each prefix ends with its buffer.
    quoted = struct.pack("!BBHHHBBH4s4sHH", 0x45, 0, 40, 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2", 1, 2)
    outer = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 60, 0, 0, 64, 1, 0, b"\x0a\0\0\3", b"\x0a\0\0\1") + struct.pack("!BBHI", 3, 1, 0, 0)
    whole = bytes.fromhex("020000000001020000000002") + b"\x81\0\x60\5\x08\0" + outer + quoted
    for end in range(len(whole) + 1):
        data = np.frombuffer(bytearray(whole[:end]), np.uint8)
        batch = Batch.from_arrays(data, np.array([0]), np.array([end], np.uint32))
        assert vsw.team_hash(batch, policy, port=5).tolist() == [expected(policy, whole[:end])], end


def test_a_port_for_each_frame():
    batch = Batch.from_frames(ALL[:600])
    ports = np.arange(600, dtype=np.uint16)
    assert vsw.team_hash(batch, "port-id", port=ports, members=7).tolist() == [0 if len(ALL[i]) < 14 else i % 7 for i in range(600)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "explicit"}, "'explicit' has no hash"),
        ({"policy": "layer4"}, "'layer4' has no hash"),
        ({"assignment": "random"}, "assignment: 'random'"),
        ({"ip_hash_bits": 16}, "ip_hash_bits: 16"),
        ({"members": 0}, r"members: 0 is not in 1\.\.65535"),
        ({"members": 1.5}, r"members: 1\.5 is not in 1\.\.65535"),
        ({"members": 65536}, "members: 65536"),
        ({"port": -1}, "port: -1"),
        ({"port": 65536}, "port: 65536"),
        ({"port": np.zeros(2, np.uint16)}, "port: 3 rows of uint16"),
        ({"port": np.zeros(3, np.int64)}, "port: 3 rows of uint16"),
        ({"tpids": range(9)}, "tpids: at most 8"),
        ({"tpids": (0x10000,)}, "tpids: at most 8 16-bit numbers"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, message):
    with pytest.raises(vsw.UsageError, match=message):
        vsw.team_hash(Batch.from_frames(ALL[:3]), **{"policy": "layer2"} | options)
