"""Captures that others made, damaged ones, and bytes at random: what is read equals what an independent reader reads, and nothing crashes."""

from __future__ import annotations

import gzip
import os
import struct
from contextlib import suppress
from pathlib import Path

import dpkt
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture.writers import enhanced, interface, numbered, pcap, pcapng, section, simple
from vsw.capture import merge, open_capture
from vsw.errors import CaptureError

FOLDER = Path(os.environ.get("VSW_CAPTURES") or Path(__file__).parents[3] / "shared" / "captures")
CAPTURES = sorted(path for path in FOLDER.glob("*") if path.suffix in {".pcap", ".pcapng"})
# Real captures are not part of the project: where there are none, one test stands for those of them, skipped, and says so.
MISSING = pytest.param(None, marks=pytest.mark.skip(reason=f"no captures in {FOLDER} (set VSW_CAPTURES)"))
captures = pytest.mark.parametrize("path", CAPTURES or [MISSING], ids=lambda path: path.name if path else "none")


def slow_pcap(content):
    """(link type, [(time, data, length)], complete) by a loop that knows nothing but the format's document."""
    order = "<" if content[0] in (0xD4, 0x4D) else ">"
    unit = 1 if struct.unpack_from(order + "I", content)[0] == 0xA1B23C4D else 1000
    at, frames = 24, []
    while at + 16 <= len(content):
        seconds, fraction, captured, length = struct.unpack_from(order + "IIII", content, at)
        if captured > 262144 or at + 16 + captured > len(content):
            return frames, False
        frames.append((seconds * 10**9 + fraction * unit, content[at + 16 : at + 16 + captured], max(length, captured)))
        at += 16 + captured
    return frames, at == len(content)


@captures
def test_frames_are_those_of_an_independent_reader(path):
    content = path.read_bytes()
    if path.suffix == ".pcapng":
        with path.open("rb") as file:
            theirs = list(dpkt.pcapng.Reader(file))
        ours = list(open_capture(path))
        assert [frame.data for frame in ours] == [data for _, data in theirs]
        assert all(abs(frame.time / 1e9 - float(time)) < 1e-6 for frame, (time, _) in zip(ours, theirs, strict=True))
        return
    order = "<" if content[0] in (0xD4, 0x4D) else ">"
    link = struct.unpack_from(order + "I", content, 20)[0] & 0x03FFFFFF
    if link != 1:
        with pytest.raises(CaptureError, match=f"link type {link}"):
            open_capture(path)
        return
    want, complete = slow_pcap(content)
    capture = open_capture(path, strict=complete)
    assert [(f.time, f.data, f.length) for f in capture] == want
    assert (capture.problem is None) == complete
    with path.open("rb") as file:
        try:
            theirs = [data for _, data in dpkt.pcap.Reader(file)]
        except dpkt.NeedData:
            return
    assert [data for _, data, _ in want] == theirs


def read_all(path, strict):
    """Frames of whatever the file holds; a CaptureError is the one thing that it may raise."""
    try:
        capture = open_capture(path, strict=strict)
    except CaptureError:
        return []
    frames = []
    with suppress(CaptureError):
        frames.extend(iter(capture))
    assert len(capture) == len(frames)
    assert capture.problem is None or capture.problem.frames == len(frames)
    assert all(len(frame.data) <= frame.length for frame in frames)
    return frames


@captures
def test_cut_at_every_byte_of_the_first_300(path, tmp_path):
    content = path.read_bytes()[:300]
    cut = tmp_path / "cut"
    cut.write_bytes(content)
    whole = read_all(cut, False)
    for end in range(len(content), -1, -1):
        os.truncate(cut, end)
        frames = read_all(cut, bool(end % 2))
        assert frames == whole[: len(frames)]


SEEDS = {
    "pcap": pcap(numbered(6)),
    "pcap big nano": pcap(numbered(6), ">", True),
    "pcapng": pcapng(numbered(4), name="eth0", resolution=9) + section(">") + interface(">") + simple(">", b"abcdefg") + enhanced(">", 0, 5, b"xyz"),
    "gzip": gzip.compress(pcap(numbered(6)), mtime=0),
    "zstd": zstandard.ZstdCompressor().compress(pcapng(numbered(6))),
}


NUMBERS = [0, 1, 4, 12, 262144, 262145, 0x7FFFFFFF, 0xFFFFFFFF]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_and_random_bytes_never_crash(tmp_path, data):
    content = bytearray(SEEDS[data.draw(st.sampled_from(sorted(SEEDS)))])
    start = data.draw(st.sampled_from([0, 4, 12, 28, len(content)]))
    if data.draw(st.booleans()):
        content[start:] = data.draw(st.binary(max_size=200))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6)):
        if content:
            content[at % len(content)] = value
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(NUMBERS)), max_size=2)):
        if len(content) >= 4:
            struct.pack_into("<I", content, 4 * (at % (len(content) // 4)), value)
    path = tmp_path / "fuzz"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    tolerant, strict = read_all(path, False), read_all(path, True)
    assert strict == tolerant[: len(strict)]
    try:
        capture = open_capture(path, strict=False)
    except CaptureError:
        return
    assert capture.interface_names()
    assert list(merge([capture])) == tolerant
    parts = capture.ranges(3)
    for part in parts:
        capture.reader_bytes(*part).frames()
    for cut in (slice(1, 3), slice(-2, None)):
        assert list(capture[cut]) == tolerant[cut]
    assert capture.times().tolist() == [frame.time for frame in tolerant]
