"""pcapng files: sections, interfaces, resolutions, kinds of blocks, damage."""

from __future__ import annotations

import pytest

from tests.capture.writers import (
    ORDERS,
    block,
    enhanced,
    interface,
    numbered,
    obsolete,
    option,
    pcapng,
    section,
    simple,
)
from vsw.capture import open_capture
from vsw.errors import CaptureError, UsageError

orders = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
FRAME = bytes(range(60))


@orders
@pytest.mark.parametrize("count", [0, 1, 300, 9000])
def test_reads_what_was_written(write, order, count):
    frames = numbered(count)
    capture = open_capture(write(pcapng(frames, order, name="eth0", snaplen=65535)))
    assert len(capture) == count
    assert [(f.time, f.data, None) for f in capture] == frames
    assert capture.interface_names() == ["eth0"]
    if count > 4200:
        assert [f.data for f in capture[4090:4200]] == [data for _, data, _ in frames[4090:4200]]
        assert capture[-1].data == frames[-1][1]


@orders
@pytest.mark.parametrize(
    ("resolution", "ticks", "time"),
    [
        (None, 1_500_000, 1_500_000_000),
        (0, 7, 7_000_000_000),
        (3, 1_700_000_000_001, 1_700_000_000_001_000_000),
        (6, 1_700_000_000_000_001, 1_700_000_000_000_001_000),
        (9, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
        (12, 1_999, 1),
        (12, 2**63 + 1000, (2**63 + 1000) // 1000),
        (28, 2**64 - 1, (2**64 - 1) // 10**19),
        (29, 2**64 - 1, 0),
        (127, 2**64 - 1, 0),
        (0x80, 3, 3_000_000_000),
        (0x80 | 10, 1024 + 512, 1_500_000_000),
        (0x80 | 32, (1_700_000_000 << 32) | 1 << 31, 1_700_000_000_500_000_000),
        (0x80 | 63, 2**63 + 2**62, 1_500_000_000),
        (0x80 | 127, 2**64 - 1, 0),
    ],
)
@pytest.mark.parametrize("offset", [None, 0, 3600, -5])
def test_resolution_and_offset(write, order, resolution, ticks, time, offset):
    content = section(order) + interface(order, resolution=resolution, offset=offset) + enhanced(order, 0, ticks, FRAME)
    (frame,) = open_capture(write(content))
    assert frame.time == time + (offset or 0) * 10**9


def test_sections_of_both_orders_number_their_interfaces_in_one_row(write):
    frames = numbered(9000)
    content, want = b"", []
    for number, order in enumerate("<>>><"):
        body = interface(order, name=f"a{number}") + interface(order, name=f"b{number}", resolution=9, description=f"d{number}")
        for i, (time, data, _) in enumerate(frames[number * 1800 : (number + 1) * 1800]):
            body += enhanced(order, i % 2, time if i % 2 else time // 1000, data)
            want.append((time, data, 2 * number + i % 2))
        content += section(order, len(body) if number % 2 else -1) + body
    capture = open_capture(write(content))
    assert [(f.time, f.data, f.interface) for f in capture] == want
    assert capture.interface_names() == [f"{kind}{number}" for number in range(5) for kind in "ab"]
    assert capture.interfaces()[3].description == "d1"
    for first in (4000, 4096, 4100, 8192, 8999):
        assert [(f.time, f.data, f.interface) for f in capture[first : first + 50]] == want[first : first + 50]
    parts = capture.ranges(3)
    read = []
    for part in parts:
        reader = capture.reader_bytes(*part)
        read += reader.frames()
        reader.check()
        assert reader.stopped_at == part.stop_offset
    assert [(f.time, f.data, f.interface) for f in read] == want
    with pytest.raises(UsageError, match="not where a range"):
        capture.reader_bytes(parts[1].start_offset + 4, capture.size)


@orders
def test_kinds_of_blocks(write, order):
    content = (
        section(order, options=option(order, 1, b"where it was made") + option(order, 0, b""))
        + block(order, 0x0BAD, b"unknown")
        + interface(order, snaplen=40)
        + block(order, 5, bytes(12))  # statistics
        + simple(order, FRAME[:40], 60)
        + simple(order, FRAME[:22])
        + obsolete(order, 0, 5_000, FRAME[:33], 44)
        + block(order, 4, bytes(4))  # names
        + enhanced(order, 0, 6_000, FRAME, 20, options=option(order, 1, b"remark") + option(order, 0, b""))
        + block(order, 0x80000001, b"")
    )
    capture = open_capture(write(content))
    assert [(f.data, f.length, f.time) for f in capture] == [
        (FRAME[:40], 60, 0),
        (FRAME[:22], 22, 0),
        (FRAME[:33], 44, 5_000_000),
        (FRAME, 60, 6_000_000),
    ]
    assert capture.longer_captured == 1
    assert capture.comment == "where it was made"


@orders
@pytest.mark.parametrize(
    ("fcs", "flags", "cut"), [(None, None, 0), (4, None, 4), (32, None, 4), (None, 4 << 5, 4), (4, 2 << 5, 2), (4, 1, 4), (0, 0, 0)]
)
def test_frame_check_sequence_is_taken_off(write, order, fcs, flags, cut):
    options = b"" if flags is None else option(order, 2, flags.to_bytes(4, "little" if order == "<" else "big"))
    content = section(order) + interface(order, fcs=fcs)
    content += enhanced(order, 0, 0, FRAME, options=options) + enhanced(order, 0, 0, FRAME[:58], 60, options)
    assert [(len(f.data), f.length) for f in open_capture(write(content))] == [(60 - cut, 60 - cut), (min(58, 60 - cut), 60 - cut)]


def test_interfaces_that_are_not_ethernet(write):
    frames = b"".join(enhanced("<", i % 2, i, FRAME) for i in range(10))
    path = write(section("<") + interface("<", name="eth0") + interface("<", link=113, name="any") + frames)
    capture = open_capture(path)
    with pytest.raises(CaptureError, match=r"link type 113 \(Linux cooked\), expected 1 \(Ethernet\)"):
        list(capture)
    tolerant = open_capture(path, strict=False)
    assert [(f.time, f.interface) for f in tolerant] == [(i * 1000, 0) for i in range(0, 10, 2)]
    assert (tolerant.skipped, tolerant.problem) == (5, None)
    only = write(section("<") + interface("<", link=113) + enhanced("<", 0, 0, FRAME), "cooked.pcapng")
    with pytest.raises(CaptureError, match="link type 113"):
        open_capture(only)
    assert list(open_capture(only, strict=False)) == []


def broken(kind, total, trailer=None):
    body = bytes(max(total - 12, 0))
    return kind.to_bytes(4, "little") + total.to_bytes(4, "little") + body + (total if trailer is None else trailer).to_bytes(4, "little")


GOOD = section("<") + interface("<") + enhanced("<", 0, 0, FRAME)
DAMAGE = {
    "cut header": (b"\x06\0\0\0\0", "a block's header needs 12 bytes, 5 are left"),
    "cut block": (enhanced("<", 0, 0, FRAME)[:50], "the block needs 92 bytes, 50 are left"),
    "length not a multiple of 4": (broken(0x0BAD, 18), "length of 18 bytes, expected a multiple of 4"),
    "length too short": (broken(6, 8), "length of 8 bytes"),
    "enhanced too short": (broken(6, 28), "length of 28 bytes, expected a multiple of 4 and at least 32"),
    "simple too short": (broken(3, 12), "length of 12 bytes, expected a multiple of 4 and at least 16"),
    "interface too short": (broken(1, 16), "length of 16 bytes, expected a multiple of 4 and at least 20"),
    "section too short": (section("<")[:4] + b"\x10\0\0\0" + section("<")[8:], "length of 16 bytes, expected a multiple of 4 and at least 28"),
    "too long": (broken(0x0BAD, 12)[:4] + b"\x04\0\0\x01" + bytes(8), "length of 16777220 bytes, expected at most 16777216"),
    "trailer": (broken(0x0BAD, 16, 20), "length is 16 before and 20 after"),
    "captured too long": (broken(6, 32)[:20] + (262145).to_bytes(4, "little") * 2 + b"\x20\0\0\0", "262145 captured bytes, expected at most 262144"),
    "captured longer than the block": (broken(6, 32)[:20] + (8).to_bytes(4, "little") * 2 + b"\x20\0\0\0", "8 captured bytes and has room for 0"),
    "simple longer than its block": (simple("<", FRAME, 70), "announces 70 captured bytes and has room for 60"),
    "unknown interface": (enhanced("<", 1, 0, FRAME), "interface 1, and the section has described 1"),
    "interface of the section before": (section(">") + enhanced(">", 0, 0, FRAME), "interface 0, and the section has described 0"),
    "byte order": (section("<")[:8] + b"\1\2\3\4" + section("<")[12:], "byte-order magic is 0x04030201, expected 0x1a2b3c4d"),
    "version": (section("<", version=(2, 1)), "version is 2.1, expected 1.0"),
    "option too long": (block("<", 1, b"\1\0\0\0\0\0\0\0" + b"\2\0\xff\0abcd"), "an option needs 260 bytes, 8 are there"),
    "resolution without value": (block("<", 1, b"\1\0\0\0\0\0\0\0" + option("<", 9, b"")), "an option needs 1 bytes, 0 are there"),
    "offset too short": (block("<", 1, b"\1\0\0\0\0\0\0\0" + option("<", 14, b"1234")), "an option needs 8 bytes, 4 are there"),
}


@pytest.mark.parametrize(("harm", "says"), DAMAGE.values(), ids=DAMAGE)
def test_damage(write, harm, says):
    path = write(GOOD + harm)
    capture = open_capture(path)
    read = []
    with pytest.raises(CaptureError, match=says) as caught:
        read.extend(iter(capture))
    assert [f.data for f in read] == [FRAME]
    assert len(capture) == caught.value.frames == 1
    assert len(GOOD) <= caught.value.offset <= len(GOOD) + len(harm)
    tolerant = open_capture(path, strict=False)
    assert list(tolerant) == read
    assert str(tolerant.problem) == str(caught.value)


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "tolerant"])
@pytest.mark.parametrize("harm", ["byte order", "version", "section too short"])
def test_what_is_no_section_is_refused_when_opened(write, strict, harm):
    with pytest.raises(CaptureError):
        open_capture(write(DAMAGE[harm][0]), strict=strict)
