"""``vsw.classify`` against a slow reader, on both of its ways."""

from __future__ import annotations

import os
import random
import struct
import threading
from pathlib import Path

import dpkt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from tests.wire.random_frames import frames
from tests.wire.slow_rows import slow_row
from vsw import ROW, Batch, RowFlag
from vsw.datapath import classify as module

CAPTURES = Path(os.environ.get("VSW_CAPTURES", Path(__file__).parents[3] / "shared" / "captures"))


@pytest.fixture(params=["vectors", "portable"])
def way(request, monkeypatch):
    """Each test runs on both ways, where the machine has both."""
    if request.param == "vectors" and not module.VECTORS:
        pytest.skip("this machine has no AVX2")
    monkeypatch.setattr(module, "VECTORS", request.param == "vectors")
    return request.param


def batch_of(pairs):
    """A batch whose buffer ends with the last frame: a read beyond it is a read beyond the buffer."""
    lengths = np.array([len(data) for data, _ in pairs], np.uint32)
    offsets = np.cumsum(lengths, dtype=np.uint64) - lengths
    return Batch.from_arrays(b"".join(data for data, _ in pairs), offsets, lengths, np.array([length for _, length in pairs], np.uint32))


def plain(row):
    return {name: row[name].tobytes() if row[name].ndim else int(row[name]) for name in row.dtype.names}


def compare(rows, pairs):
    assert len(rows) == len(pairs)
    for row, (data, length) in zip(rows, pairs, strict=True):
        assert plain(row) == slow_row(data, length), data.hex()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("way")
def test_random_damaged_and_truncated_frames(seed):
    pairs = frames(seed, 5000)
    compare(vsw.classify(batch_of(pairs)), pairs)


@pytest.mark.usefixtures("way")
def test_results_past_the_caches_are_the_same():
    pairs = frames(9, 500) * 60
    rows = vsw.classify(batch_of(pairs))
    assert rows.nbytes > 2 << 20
    expected = vsw.classify(batch_of(pairs[:500]))
    assert rows.tobytes() == expected.tobytes() * 60
    # A result that is not aligned for such stores.
    memory = np.zeros(rows.nbytes + 32, np.uint8)
    shift = 8 + -memory.ctypes.data % 16
    shifted = memory[shift : shift + rows.nbytes].view(ROW)
    assert shifted.ctypes.data % 16 == 8
    assert vsw.classify(batch_of(pairs), out=shifted).tobytes() == rows.tobytes()


@given(st.lists(st.tuples(st.binary(max_size=90), st.integers(0, 20))))
def test_any_bytes(pairs):
    pairs = [(data, len(data) + more) for data, more in pairs]
    compare(vsw.classify(batch_of(pairs)), pairs)


@pytest.mark.parametrize("tags", [0, 1, 2, 3])
@pytest.mark.parametrize("protocol", [6, 17, 132])
@pytest.mark.usefixtures("way")
def test_every_length_of_a_plain_frame(tags, protocol):
    tag = struct.pack("!HH", 0x88A8, 0xE123)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0x2E, 60, 1, 0x4000, 64, protocol, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    whole = bytes.fromhex("020000000001020000000002") + tag * tags + b"\x08\0" + header + struct.pack("!HH", 1234, 80) + bytes(20)
    pairs = [(whole[:captured], length) for length in range(len(whole) + 1) for captured in (length, max(0, length - 1), length // 2)]
    compare(vsw.classify(batch_of(pairs)), pairs)


@pytest.mark.usefixtures("way")
def test_dpkt_reads_the_same_addresses_and_ports():
    pairs = [pair for pair in frames(77, 6000) if len(pair[0]) >= 14]
    rows = vsw.classify(batch_of(pairs))
    seen = 0
    for row, (data, _) in zip(rows, pairs, strict=True):
        if not row["flags"] & RowFlag.HAS_PORTS or row["flags"] & (RowFlag.FRAGMENT | RowFlag.IP_OPTIONS) or row["protocol"] not in (6, 17):
            continue
        kind = dpkt.ip.IP if row["ip_version"] == 4 else dpkt.ip6.IP6
        try:
            packet = kind(data[row["network"] :])
        except dpkt.Error:
            continue
        size = 4 if row["ip_version"] == 4 else 16
        assert (packet.src, packet.dst) == (row["src_ip"].tobytes()[:size], row["dst_ip"].tobytes()[:size])
        if not isinstance(packet.data, bytes):
            assert (packet.data.sport, packet.data.dport) == (row["sport"], row["dport"])
            seen += 1
    assert seen > 300


@pytest.mark.usefixtures("way")
def test_captures():
    files = sorted(path for path in CAPTURES.glob("*.pcap*")) if CAPTURES.is_dir() else []
    if not files:
        pytest.skip(f"no captures in {CAPTURES} (set VSW_CAPTURES)")
    read = 0
    for path in files:
        try:
            with vsw.open_capture(path, strict=False) as capture:
                pairs = [(bytes(frame.data), frame.length) for frame in capture]
                compare(vsw.classify(capture), pairs)
        except vsw.CaptureError:
            continue  # not Ethernet, or not a capture
        read += len(pairs)
    assert read > 1000


def flow(source, destination, sport, dport, protocol=17, fragment=0):
    return (
        bytes.fromhex("0200000000020200000000010800")
        + struct.pack("!BBHHHBBH4s4sHH", 0x45, 0, 24, 0, fragment, 64, protocol, 0, source, destination, sport, dport)
        + bytes(8)
    )


def hashes(*given):
    return vsw.classify(Batch.from_frames(given))["flow_hash"].tolist()


@pytest.mark.usefixtures("way")
def test_the_flow_hash_is_of_the_flow():
    a, b = b"\x0a\0\0\1", b"\x0a\0\0\2"
    there = flow(a, b, 1000, 2000)
    tagged = there[:12] + b"\x81\0\0\5" + there[12:]
    first, back, ports_crossed, other_protocol, with_tag = hashes(
        there, flow(b, a, 2000, 1000), flow(a, b, 2000, 1000), flow(a, b, 1000, 2000, protocol=6), tagged
    )
    assert first == back == with_tag
    assert len({first, ports_crossed, other_protocol}) == 3
    parts = hashes(*(flow(a, b, port, 1, fragment=fragment) for port, fragment in ((1, 0x2000), (2, 0x2001), (3, 1))))
    assert len(set(parts)) == 1


def test_each_bit_of_the_flow_changes_half_of_the_hash():
    rng = random.Random(5)
    rounds = 200
    turned = np.zeros((96, 32))
    for _ in range(rounds):
        # Addresses as they are: near each other.
        ends = bytes((10, 0, 0, rng.randrange(256), 10, 0, rng.randrange(4), rng.randrange(256))) + rng.randbytes(4)
        number = int.from_bytes(ends, "big")
        variants = [ends, *((number ^ 1 << bit).to_bytes(12, "big") for bit in range(96))]
        result = np.array(hashes(*(flow(end[:4], end[4:8], *struct.unpack("!HH", end[8:])) for end in variants)), np.uint32)
        turned += (result[1:] ^ result[0])[:, None] >> np.arange(32, dtype=np.uint32) & 1
    turned /= rounds
    assert turned.min() > 0.3
    assert turned.max() < 0.7
    assert 0.49 < turned.mean() < 0.51


def test_out_is_used_and_may_be_longer():
    batch = batch_of(frames(4, 300))
    out = np.full(310 * 80, 0xEE, np.uint8).view(ROW)
    rows = vsw.classify(batch, out=out)
    assert np.shares_memory(rows, out)
    assert len(rows) == 300
    assert rows.tobytes() == vsw.classify(batch).tobytes()
    assert set(out[300:].tobytes()) == {0xEE}
    assert len(vsw.classify(batch[:0])) == 0
    assert vsw.classify(batch[10:20]).tobytes() == rows[10:20].tobytes()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros(2, ROW), "it has 2, and there are more frames"),
        (np.zeros(240, np.uint8), "dtype vsw.ROW"),
        (np.zeros(6, ROW)[::2], "contiguous"),
        (np.zeros((3, 1), ROW), "one dimension"),
        ([], "dtype vsw.ROW"),
    ],
)
def test_an_out_that_does_not_fit_is_refused(out, message):
    with pytest.raises(vsw.UsageError, match=message):
        vsw.classify(batch_of(frames(4, 3)), out=out)


def test_read_only_out_is_refused():
    out = np.zeros(3, ROW)
    out.flags.writeable = False
    with pytest.raises(vsw.UsageError, match="read-only"):
        vsw.classify(batch_of(frames(4, 3)), out=out)


def test_threads_share_a_batch():
    batch = batch_of(frames(6, 4000))
    expected = vsw.classify(batch).tobytes()
    results = [b""] * 4

    def work(slot):
        results[slot] = vsw.classify(batch).tobytes()

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4
