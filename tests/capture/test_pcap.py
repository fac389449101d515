"""pcap files: every byte order and resolution, the index, slices, ranges for workers, and damage."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.capture.writers import ORDERS, numbered, pcap
from vsw.capture import open_capture
from vsw.errors import CaptureError, UsageError


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("nano", [False, True], ids=["micro", "nano"])
@pytest.mark.parametrize("count", [0, 1, 2, 300, 9000])
def test_reads_what_was_written(write, order, nano, count):
    frames = numbered(count)
    capture = open_capture(write(pcap(frames, order, nano)))
    assert len(capture) == count
    assert [(f.time, f.data, None) for f in capture] == frames
    assert all(f.length == len(f.data) and f.interface == 0 for f in capture)


@pytest.mark.parametrize("sizes", [[60], [60, 60, 1514], [2048, 2049], [14], [0], [262144], [1, 9000, 60]], ids=str)
def test_records_of_all_sizes(write, sizes):
    frames = [(i * 1000, bytes([i % 256]) * sizes[i % len(sizes)], None) for i in range(2 if max(sizes) > 65536 else 1500)]
    assert [(f.time, f.data, None) for f in open_capture(write(pcap(frames)))] == frames


def test_length_is_that_of_the_wire_and_never_less_than_captured(write):
    capture = open_capture(write(pcap([(0, b"a" * 60, 1514), (1000, b"b" * 60, 20), (2000, b"c" * 60, 60)])))
    assert [(len(f.data), f.length) for f in capture] == [(60, 1514), (60, 60), (60, 60)]
    assert capture.longer_captured == 1


@pytest.mark.parametrize(("bits", "cut"), [(0x04000000, 0), (0x24000000, 4), (0x14000000, 2), (0x20000000, 0)])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_frame_check_sequence_is_taken_off(write, bits, cut, order):
    capture = open_capture(write(pcap([(0, b"a" * 64, 64), (1000, b"b" * 60, 64), (2000, b"c", 1)], order, link=1 | bits)))
    want = [(64 - cut, 64 - cut), (min(60, 64 - cut), 64 - cut), (max(1 - cut, 0), max(1 - cut, 0))]
    assert [(len(f.data), f.length) for f in capture] == want


@pytest.mark.parametrize(
    ("content", "offset", "says"),
    [
        (b"", 0, "empty"),
        (b"\xd4", 0, "begins with 4 bytes of magic .*, 1 are there"),
        (b"hello, world", 0, "begins with 68 65 6c 6c, expected pcap, pcapng, gzip or zstd"),
        (pcap([])[:23], 0, "needs 24 bytes, 23 are there"),
        (pcap([], magic=0xA1B2CD34), 0, "modified"),
        (pcap([], ">", magic=0xA1B2CD34), 0, "modified"),
        (pcap([], version=(2, 5)), 4, "version 2.5"),
        (pcap([], link=113), 20, r"link type 113 \(Linux cooked\), expected 1 \(Ethernet\)"),
        (pcap([], link=104), 20, "link type 104"),
    ],
)
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "tolerant"])
def test_what_is_no_capture_is_refused_when_opened(write, content, offset, says, strict):
    path = write(content)
    with pytest.raises(CaptureError, match=says) as caught:
        open_capture(path, strict=strict)
    assert (caught.value.file, caught.value.offset) == (str(path), offset)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(CaptureError, match="No such file"):
        open_capture(tmp_path / "none.pcap")
    with pytest.raises(CaptureError, match="is a directory"):
        open_capture(tmp_path)


def with_captured(whole, record, captured):
    at = 24 + record * 76 + 8
    return whole[:at] + struct.pack("<I", captured) + whole[at + 4 :]


DAMAGE = {
    "cut header": (lambda whole: whole[: 24 + 3 * 76 + 5], 3, "a record's header needs 16 bytes, 5 are left"),
    "cut record": (lambda whole: whole[: 24 + 3 * 76 + 20], 3, "the record needs 76 bytes, 20 are left"),
    "too long": (lambda whole: with_captured(whole, 2, 262145), 2, "262145 captured bytes, expected at most 262144"),
    "longer than the file": (lambda whole: with_captured(whole, 1, 2000), 1, "needs 2016 bytes"),
}


@pytest.mark.parametrize(("harm", "frames", "says"), DAMAGE.values(), ids=DAMAGE)
def test_damage(write, harm, frames, says):
    path = write(harm(pcap(numbered(10, lambda i: 60))))
    capture = open_capture(path)
    read = []
    with pytest.raises(CaptureError, match=says) as caught:
        read.extend(iter(capture))
    assert len(read) == len(capture) == frames
    assert (caught.value.file, caught.value.offset, caught.value.frames) == (str(path), 24 + frames * 76, frames)
    assert str(capture.problem) == str(caught.value)
    tolerant = open_capture(path, strict=False)
    assert tolerant.problem is None
    assert list(tolerant) == read
    assert str(tolerant.problem) == str(caught.value)


def test_damage_in_a_long_file_is_met_by_the_pass_that_comes_to_it(write):
    whole = pcap(numbered(20_000, lambda i: 60))
    capture = open_capture(write(whole[:-1]))
    assert [f.data[14:22] for f in capture[19_990:19_999]] == [struct.pack(">Q", i) for i in range(19_990, 19_999)]
    with pytest.raises(CaptureError):
        list(capture[19_990:])
    assert len(capture) == 19_999


def test_file_that_shrinks(write):
    path = write(pcap(numbered(30_000, lambda i: 1400)))
    capture = open_capture(path)
    assert len(capture) == 30_000
    with path.open("r+b") as file:
        file.truncate(24 + 1416 * 100)
    with pytest.raises(CaptureError, match="had 42480024 bytes when it was opened and has 141624 now"):
        list(capture)


@pytest.mark.parametrize("count", [10, 4096, 9000])
def test_slices(write, count):
    frames = numbered(count)
    capture = open_capture(write(pcap(frames)))
    cuts = [(3, 7), (0, 0), (5, 2), (-3, None), (None, -2), (-5, -1), (2, 10**9), (10**9, None), (None, None), (4095, 4099)]
    for cut in [slice(*bounds) for bounds in cuts]:
        part = capture[cut]
        assert len(part) == len(frames[cut])
        assert [f.data for f in part] == [data for _, data, _ in frames[cut]]
    inner = capture[2:9][1:-1]
    assert [f.data for f in inner] == [data for _, data, _ in frames[3:8]]
    assert inner[-1].data == frames[7][1]
    with pytest.raises(IndexError):
        inner[5]
    with pytest.raises(UsageError, match="step 1"):
        capture[::2]
    for i in (0, count - 1, -1, -count):
        assert capture[i].data == frames[i][1]
    for i in (count, -count - 1, 2**40):
        with pytest.raises(IndexError):
            capture[i]


def test_slice_of_the_front_does_not_read_the_rest(write):
    damaged = write(pcap(numbered(10_000, lambda i: 60))[: 24 + 76 * 9000 + 3])
    part = open_capture(damaged)[5:50]
    assert len(part) == 45
    assert len(list(part)) == 45
    assert part.problem is None


def test_index_under_threads(write):
    frames = numbered(50_000, lambda i: 22 + i % 3)
    capture = open_capture(write(pcap(frames)))

    def probe(seed):
        got = []
        for i in range(40):
            at = (seed * 7919 + i * 1237) % 50_000
            got.append((at, capture[at].data))
        got.append((0, next(iter(capture)).data))
        return len(capture), got

    with ThreadPoolExecutor(8) as pool:
        for length, got in pool.map(probe, range(16)):
            assert length == 50_000
            assert all(frames[at][1] == data for at, data in got)


@pytest.mark.parametrize("indexed", [False, True], ids=["guessed", "indexed"])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_ranges_join(write, indexed, workers, order):
    frames = numbered(30_000, lambda i: (60, 60, 570, 1514)[i % 4])
    capture = open_capture(write(pcap(frames, order, True)))
    if indexed:
        assert len(capture) == 30_000
    parts = capture.ranges(workers)
    assert len(parts) == workers
    assert (parts[0].start_offset, parts[-1].stop_offset) == (24, capture.size)
    assert all(before.stop_offset == after.start_offset for before, after in pairwise(parts))
    read = []
    for part in parts:
        reader = capture.reader_bytes(*part)
        read += reader.frames()
        assert reader.stopped_at == part.stop_offset
    assert [f.data for f in read] == [data for _, data, _ in frames]


def test_a_wrong_guess_shows_in_the_join(write):
    # A capture inside the frames of a capture: its records are as plausible as those of the file itself.
    inner = pcap(numbered(3000, lambda i: 60))[24:]
    capture = open_capture(write(pcap([(0, inner[:220_000], None), (1000, inner[:60_000], None)])))
    first, second = capture.ranges(2)
    reader = capture.reader_bytes(*first)
    assert len(reader.frames()) < 3
    assert reader.stopped_at != second.start_offset
    again = capture.reader_bytes(reader.stopped_at, capture.size)
    again.frames()
    assert again.stopped_at == capture.size


def test_times(write):
    frames = numbered(9000)
    frames[20], frames[5000] = frames[5000], frames[20]
    capture = open_capture(write(pcap(frames)))
    times = [time for time, _, _ in frames]
    assert capture.times().tolist() == times
    assert capture[4000:4500].times().tolist() == times[4000:4500]
    for part, offset in ((capture, 0), (capture[10:8000], 10), (capture[21:], 21), (capture[4500:4501], 4500)):
        inside = times[offset : offset + len(part)]
        for time in (0, times[0], times[20], times[20] - 1, times[19] + 1, times[4095], times[4096], times[6000], times[-1], times[-1] + 1):
            assert part.find_time(time) == next((i for i, t in enumerate(inside) if t >= time), len(inside))


def test_closed(write):
    with open_capture(write(pcap(numbered(3)))) as capture:
        part, frames = capture[1:], iter(capture)
        next(frames)
    assert len(list(frames)) == len(part) == 2
    with pytest.raises(UsageError, match="closed"):
        len(capture)


@pytest.mark.parametrize("wrong", ["a", None, 1.0])
def test_what_is_no_number_of_a_frame(write, wrong):
    with open_capture(write(pcap(numbered(3)))) as capture, pytest.raises(TypeError, match="integer"):
        capture[wrong]
