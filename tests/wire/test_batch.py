"""Batches over the caller's arrays: nothing copied, everything checked, readers on any thread."""

from __future__ import annotations

import mmap
import threading

import numpy as np
import pytest

import vsw
from tests.wire.random_frames import frames
from vsw import Batch
from vsw.datapath.frame import Frame

BUFFER = np.arange(100, dtype=np.uint8)


def arrays(count=4, size=100):
    return {
        "buffer": np.arange(size, dtype=np.uint8),
        "offsets": np.arange(count, dtype=np.uint64) * 20,
        "lengths": np.full(count, 20, np.uint32),
        "wire_lengths": np.full(count, 64, np.uint32),
        "time": np.arange(count, dtype=np.int64) + 1_000,
        "port_in": np.arange(count, dtype=np.uint16),
    }


def test_frames_are_what_the_arrays_say():
    batch = Batch.from_arrays(**arrays())
    assert len(batch) == 4
    assert list(batch) == [Frame(bytes(range(20 * i, 20 * i + 20)), 64, 1_000 + i, 0) for i in range(4)]
    assert batch[-1] == batch[3]
    with pytest.raises(IndexError, match="frame 4 of a batch of 4"):
        batch[4]


def test_without_the_optional_arrays():
    given = arrays()
    batch = Batch.from_arrays(given["buffer"], given["offsets"], given["lengths"])
    assert (batch.time, batch.port_in) == (None, None)
    assert batch.wire_lengths is batch.lengths
    assert batch[1] == Frame(bytes(range(20, 40)), 20, 0, 0)


def test_nothing_is_copied():
    given = arrays()
    batch = Batch.from_arrays(**given)
    for name, array in given.items():
        assert getattr(batch, name) is array
        part = getattr(batch[1:3], name)
        assert np.shares_memory(part, array)
    assert batch[1:3].port_in.tolist() == [1, 2]
    given["buffer"][20] = 99
    assert batch[1].data[0] == 99
    assert batch[1:3][1:][0].data == batch[2].data


@pytest.mark.parametrize("make", [bytes, bytearray, lambda octets: memoryview(bytes(octets)), lambda octets: np.frombuffer(bytes(octets), np.uint8)])
def test_read_only_and_other_buffers_will_do(make):
    batch = Batch.from_arrays(make(range(100)), np.array([1, 50]), np.array([14, 50], np.uint32))
    assert [frame.data for frame in batch] == [bytes(range(1, 15)), bytes(range(50, 100))]
    assert vsw.classify(batch)["captured"].tolist() == [14, 50]


def test_a_map_stays_open_while_a_batch_uses_it(tmp_path):
    path = tmp_path / "frames"
    path.write_bytes(bytes(range(100)))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    batch = Batch.from_arrays(mapped, np.array([0]), np.array([100], np.uint32))
    with pytest.raises(BufferError):
        mapped.close()
    assert batch[0].data == bytes(range(100))


BAD = [
    ("offsets", np.array([0, 20, 40, 81]), "offsets, lengths: row 3: 20 bytes at 81 do not lie in a buffer of 100 bytes"),
    ("offsets", np.array([0, -1, 40, 90]), "offsets, lengths: row 1: 20 bytes at -1 do not lie in a buffer of 100 bytes"),
    ("offsets", np.array([0, 2**64 - 10, 0, 0], np.uint64), "offsets, lengths: row 1: 20 bytes at 18446744073709551606 do not"),
    ("offsets", np.array([101, 0, 0, 0]), "row 0: 20 bytes at 101"),
    ("lengths", np.array([20, 20, 2**32 - 1, 20], np.uint32), "row 2"),
    ("wire_lengths", np.array([20, 19, 20, 20], np.uint32), "wire_lengths: row 1: a frame of 19 bytes can't have 20 captured"),
    ("buffer", np.zeros(100, np.int8), "buffer must have dtype uint8 in the host's byte order, not int8"),
    ("buffer", np.zeros((10, 10), np.uint8), r"buffer must have one dimension, not 2 \(shape \(10, 10\)\)"),
    ("buffer", np.zeros(200, np.uint8)[::2], "buffer must be contiguous"),
    ("buffer", "frames", "buffer must be an array of uint8, not str"),
    ("offsets", [0, 20, 40, 60], "offsets must be an array of uint64 or int64, not list"),
    ("offsets", np.zeros(4, np.uint32), "offsets must have dtype uint64 or int64 in the host's byte order, not uint32"),
    ("offsets", np.zeros(4, ">u8"), "offsets must have dtype"),
    ("offsets", np.float64(3), "offsets must have"),
    ("lengths", np.zeros(4, np.int32), "lengths must have dtype uint32"),
    ("lengths", np.zeros(3, np.uint32), "lengths must have one row a frame: 4 rows, not 3"),
    ("lengths", np.zeros(8, np.uint32)[::2], "lengths must be contiguous"),
    ("wire_lengths", np.zeros(5, np.uint32), "wire_lengths must have one row a frame: 4 rows, not 5"),
    ("time", np.zeros(4), "time must have dtype int64"),
    ("time", np.zeros(0, np.int64), "time must have one row a frame"),
    ("port_in", np.zeros(4, np.int16), "port_in must have dtype uint16"),
    ("port_in", np.zeros(3, np.uint16), "port_in must have one row a frame"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_what_does_not_fit_is_named(name, value, message):
    with pytest.raises(vsw.UsageError, match=f"^{message}|: {message}"):
        Batch.from_arrays(**arrays() | {name: value})


def test_frames_may_end_with_the_buffer_and_be_empty():
    batch = Batch.from_arrays(bytes(20), np.array([0, 20, 6]), np.array([20, 0, 14], np.uint32))
    assert vsw.classify(batch)["captured"].tolist() == [20, 0, 14]
    nothing = Batch.from_arrays(b"", np.array([0, 0]), np.array([0, 0], np.uint32))
    assert [frame.data for frame in nothing] == [b"", b""]
    assert vsw.classify(nothing)["captured"].tolist() == [0, 0]
    assert list(Batch.from_frames([])) == []
    assert len(vsw.classify(Batch.from_frames([]))) == 0


@pytest.mark.parametrize("rows", [slice(None), slice(3, 9), slice(-4, None), slice(5, 2), slice(900, 1000), slice(0, 700)])
def test_slices_are_batches_of_those_frames(rows):
    given = [data for data, _ in frames(1, 700)]
    batch = Batch.from_frames(given, time=range(700))[rows]
    assert [frame.data for frame in batch] == given[rows]
    assert [frame.time for frame in batch] == list(range(700))[rows]
    assert vsw.classify(batch)["captured"].tolist() == [len(data) for data in given[rows]]


def test_other_steps_are_refused():
    with pytest.raises(vsw.UsageError, match="step 1, not 2"):
        Batch.from_arrays(**arrays())[::2]


def test_times_of_another_number_are_refused():
    with pytest.raises(vsw.UsageError, match="time must have one row a frame: 2 rows, not 3"):
        Batch.from_frames([b"", b""], time=[1, 2, 3])


def test_a_batch_is_not_made_by_its_class():
    with pytest.raises(TypeError, match="from_arrays"):
        Batch()


@pytest.mark.parametrize(("name", "value"), [("offsets", 90), ("offsets", 2**63), ("lengths", 1 << 31), ("wire_lengths", 3)])
def test_arrays_that_change_later_do_no_harm(name, value):
    given = arrays()
    batch = Batch.from_arrays(**given)
    given[name][2] = value
    with pytest.raises(vsw.UsageError, match="changed while in use"):
        vsw.classify(batch)


def test_threads_share_a_batch():
    given = [data for data, _ in frames(2, 3000)]
    batch = Batch.from_frames(given)
    expected = [vsw.team_hash(batch[start:], "layer3+4").tolist() for start in range(4)]
    results = [None] * 4

    def work(start):
        results[start] = vsw.team_hash(batch[start:], "layer3+4").tolist()

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == expected
