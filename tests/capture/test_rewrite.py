"""Tags in files and in memory: against a model in Python, and byte for byte where nothing may change."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from tests.capture import writers
from tests.differential.captures import CAPTURES, opened
from vsw.capture import open_capture
from vsw.capture.rewrite import rewrite
from vsw.datapath.retag import Retag

TPIDS = (0x8100, 0x88A8, 0x9100)
EXAMPLE = Path(__file__).parents[2] / "examples" / "two-vlans.pcapng"


#: What a length can be in a capture.
LONGEST = (1 << 32) - 1


class Rule:
    """A rule, and what it does to one frame, in Python."""

    def __init__(self, kind, **settings):
        self.kind, self.settings = kind, settings
        self.compiled = getattr(Retag, kind)(**settings)

    def __repr__(self):
        return f"{self.kind} {self.settings}"

    def __call__(self, data, length):
        """(name of the outcome, bytes, length)."""
        if len(data) < 14:
            return "malformed" if length < 14 else "cut_by_capture", data, length
        kind, tpid = self.settings, int.from_bytes(data[12:14], "big")
        if self.kind == "push":
            tci = kind["vid"] | kind.get("pcp", 0) << 13 | kind.get("dei", 0) << 12
            return "changed", data[:12] + struct.pack(">HH", kind.get("tpid", 0x8100), tci) + data[12:], min(length + 4, LONGEST)
        if tpid not in TPIDS:
            return "untagged", data, length
        if len(data) < 18:
            return "malformed" if length < 18 else "cut_by_capture", data, length
        tci = int.from_bytes(data[14:16], "big")
        vids = kind.get("vids")
        if vids is not None and tci & 0xFFF not in vids:
            return "other_vid", data, length
        if self.kind == "translate":
            vid = tci & 0xFFF if vids is None else vids[tci & 0xFFF]
            pcp = tci >> 13 if kind.get("pcp") is None else kind["pcp"]
            dei = tci >> 12 & 1 if kind.get("dei") is None else kind["dei"]
            return "changed", data[:12] + struct.pack(">HH", kind.get("tpid") or tpid, pcp << 13 | dei << 12 | vid) + data[16:], length
        whole = len(data) == length
        data, length = data[:12] + data[16:], length - 4
        if kind.get("pad") and whole and length < 60:
            data, length = data.ljust(60, b"\0"), 60
        return "changed", data, length


RULES = [
    Rule("push", vid=10),
    Rule("push", vid=4095, pcp=7, dei=1, tpid=0x88A8),
    Rule("pop"),
    Rule("pop", vids=[10, 0], pad=True),
    Rule("translate", vids={10: 20, 20: 10}),
    Rule("translate", vids={10: 4095, 7: 8}, pcp=3, tpid=0x9100),
    Rule("translate", pcp=0, dei=1),
]


def frame(tag=None, inner=None, size=60):
    tags = b"".join(struct.pack(">HH", *one) for one in (tag, inner) if one)
    return (bytes(range(1, 13)) + tags + b"\x08\x00" + b"payload").ljust(size, b".")


#: (captured bytes, length): tagged and not, short, cut within each header.
FRAMES = [
    (frame(), 60),
    (frame((0x8100, 10)), 60),
    (frame((0x88A8, 0xF00A), (0x8100, 20)), 60),
    (frame((0x9100, 20), size=300), 300),
    (frame((0x8100, 4095), size=64), 64),
    (frame((0x8100, 10), size=96), 1500),
    (frame(size=96), 1514),
    *((frame((0x8100, 10))[:cut], cut) for cut in (0, 12, 13, 14, 15, 16, 17, 18, 30)),
    *((frame((0x8100, 10))[:cut], 60) for cut in (0, 12, 13, 14, 15, 16, 17, 18, 30)),
]


def read(path, strict=True):
    with open_capture(path, strict=strict) as capture:
        return [(bytes(one.data), one.length, one.time, one.interface) for one in capture], capture.interfaces()


def expected(rule, frames):
    return [(*rule(data, length)[1:], *rest) for data, length, *rest in frames]


def counted(rule, frames):
    names = [rule(data, length)[0] for data, length, *_ in frames]
    return {name: names.count(name) for name in ("changed", "untagged", "other_vid", "malformed", "cut_by_capture")}


def checked(rule, path, tmp_path, strict=True):
    """Write the file again, compare all frames with the model; returns the new file."""
    out = tmp_path / "out"
    before, interfaces = read(path, strict)
    with open_capture(path, strict=strict) as capture:
        done = rewrite(capture, out, rule.compiled)
    after, now = read(out, strict=strict)
    assert after == expected(rule, before)
    assert done.outcomes == counted(rule, before)
    assert done.frames == len(before)
    assert [(one.name, one.description, one.linktype) for one in now] == [(one.name, one.description, one.linktype) for one in interfaces]
    return out


def timed(frames):
    return [(1_700_000_000_000_000_000 + i * 1000, data, length) for i, (data, length) in enumerate(frames)]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("order", writers.ORDERS.values(), ids=writers.ORDERS)
@pytest.mark.parametrize("nano", [False, True])
def test_pcap(write, tmp_path, rule, order, nano):
    path = write(writers.pcap(timed(FRAMES), order, nano=nano, snaplen=96))
    out = checked(rule, path, tmp_path).read_bytes()
    assert out[:16] == path.read_bytes()[:16]
    assert struct.unpack(order + "I", out[16:20]) == (100 if rule.kind == "push" else 96,)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("order", writers.ORDERS.values(), ids=writers.ORDERS)
def test_pcapng_keeps_what_a_tag_does_not_concern(write, tmp_path, rule, order):
    comment = writers.option(order, 1, b"seen here") + writers.option(order, 0, b"")
    names = writers.block(order, 4, struct.pack(order + "HH", 0, 0))
    custom = writers.block(order, 0xBAD, b"somebody's own")
    blocks = [
        writers.section(order, length=4096, options=writers.option(order, 1, b"about the file")),
        writers.interface(order, name="one", description="first", snaplen=96),
        names,
    ]
    for i, (data, length) in enumerate(FRAMES):
        blocks.append(writers.enhanced(order, 0, 1000 + i, data, length, options=comment if i % 2 else b""))
        if i % 3 == 0:
            blocks.append(custom)
    other = ">" if order == "<" else "<"
    blocks += [writers.section(other), writers.interface(other, name="two", resolution=9), writers.obsolete(other, 0, 5, FRAMES[1][0])]
    blocks += [writers.simple(other, data) for data, length in FRAMES if len(data) == length and length]
    blocks.append(writers.block(other, 5, struct.pack(other + "III", 0, 0, 0)))
    path = write(b"".join(blocks), "t.pcapng")
    out = checked(rule, path, tmp_path).read_bytes()
    assert out.count(comment) == path.read_bytes().count(comment) == len(FRAMES) // 2
    assert out.count(custom) == (len(FRAMES) + 2) // 3
    assert out.count(names) == 1
    assert b"about the file" in out
    assert struct.unpack(order + "q", out[16:24]) == (-1,)
    assert out.endswith(blocks[-1])


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_cut_simple_packet(write, tmp_path, rule):
    # What a simple block holds is told by the interface's snap length, which grows where tags are pushed.
    data = frame((0x8100, 10), size=96)
    blocks = writers.section("<") + writers.interface("<", snaplen=96) + writers.simple("<", data, 500) + writers.simple("<", frame(), 60)
    checked(rule, write(blocks, "t.pcapng"), tmp_path)


def test_what_leaves_as_it_came_is_the_same_to_the_byte(write, tmp_path):
    path = write(EXAMPLE.read_bytes())
    pushed, popped = tmp_path / "pushed", tmp_path / "popped"
    with open_capture(path) as capture:
        rewrite(capture, pushed, Retag.push(7))
    with open_capture(pushed) as capture:
        rewrite(capture, popped, Retag.pop([7]))
    assert popped.read_bytes() == path.read_bytes()


def test_a_hash_option_goes_with_the_bytes_that_it_was_of(write, tmp_path):
    options = writers.option("<", 3, b"\x02abcd") + writers.option("<", 1, b"kept") + writers.option("<", 0, b"")
    blocks = writers.section("<") + writers.interface("<") + writers.enhanced("<", 0, 0, frame(), options=options)
    out = checked(RULES[0], write(blocks, "t.pcapng"), tmp_path).read_bytes()
    assert b"abcd" not in out
    assert b"kept" in out


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
@pytest.mark.parametrize("rule", [RULES[0], RULES[3]], ids=str)
def test_a_check_sequence_that_was_right_is_right(write, tmp_path, rule, kind, good):
    data = frame((0x8100, 10))
    fcs = struct.pack("<I", zlib.crc32(data) ^ (0 if good else 1))
    if kind == "pcap":
        content = writers.pcap([(0, data + fcs, None)], link=1 | 0x04000000 | 2 << 28)
    else:
        content = writers.section("<") + writers.interface("<", fcs=4) + writers.enhanced("<", 0, 0, data + fcs)
    path = write(content, "t." + kind)
    out = checked(rule, path, tmp_path).read_bytes()
    _, changed, length = rule(data, 60)
    at = out.index(changed[:18])
    assert length == len(changed)
    assert out[at : at + length] == changed
    assert out[at + length : at + length + 4] == (struct.pack("<I", zlib.crc32(changed)) if good else fcs)


def test_a_check_sequence_that_was_cut_is_left_out(write, tmp_path):
    data = frame((0x8100, 10))
    content = writers.pcap([(0, data + b"ab", 64)], link=1 | 0x04000000 | 2 << 28)
    out = checked(RULES[0], write(content), tmp_path).read_bytes()
    assert struct.unpack("<II", out[32:40]) == (64, 68)


@pytest.mark.parametrize("fcs", [0, 4])
@pytest.mark.parametrize("length", [LONGEST, LONGEST - 1, LONGEST - 4, LONGEST - 5, LONGEST - 8])
def test_a_frame_that_claims_to_be_as_long_as_a_number_can_say(write, tmp_path, length, fcs):
    path = write(writers.pcap([(0, frame((0x8100, 10)), length)], link=1 | 0x04000000 | 2 << 28 if fcs else 1))
    for rule in RULES:
        out = tmp_path / "out"
        with open_capture(path) as capture:
            rewrite(capture, out, rule.compiled)
            data, after = rule(frame((0x8100, 10)), length - fcs)[1:]
            [made] = rule.compiled.apply(capture)
        assert (made.data, made.length) == (data, after)
        assert struct.unpack("<I", out.read_bytes()[36:40]) == (min(after + fcs, LONGEST),)


def test_a_frame_as_long_as_a_record_can_be(write, tmp_path):
    data = frame(size=262144)
    path = write(writers.pcap([(0, data, None)], snaplen=262144))
    with open_capture(path) as capture:
        done = rewrite(capture, tmp_path / "out", Retag.push(1))
    assert done.shortened == 1
    [(after, length, _, _)], _ = read(tmp_path / "out")
    assert (len(after), length) == (262144, 262148)
    assert after == RULES[0](data, 262144)[1].replace(b"\x00\x0a", b"\x00\x01", 1)[:262144]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_capture_is_written_as_it_would_be(write, tmp_path, suffix):
    import gzip

    import zstandard

    plain = EXAMPLE.read_bytes()
    packed = gzip.compress(plain) if suffix == "gz" else zstandard.compress(plain)
    for name, content in (("a", plain), ("b", packed)):
        with open_capture(write(content, name)) as capture:
            rewrite(capture, tmp_path / f"out-{name}", Retag.push(7))
    assert (tmp_path / "out-a").read_bytes() == (tmp_path / "out-b").read_bytes()


def long_capture(kind):
    """Several windows of a file (128 KiB), with records and blocks that lie across two of them, and blocks that are longer than one."""
    if kind == "pcap":
        frames = [(1000 * i, frame((0x8100, 10 + i % 3), size=18 + i * 37 % 1500), None) for i in range(2000)]
        return writers.pcap([*frames, (0, frame(size=200_000), None), *frames], snaplen=262144)
    parts = []
    for order in ("<", ">", ">"):
        parts += [writers.section(order), writers.interface(order, name=order, snaplen=262144)]
        for i in range(700):
            data = frame((0x8100, 10 + i % 3), size=18 + i * 37 % 1500)
            comment = writers.option(order, 1, b"c" * (i % 50)) + writers.option(order, 0, b"")
            parts.append(writers.simple(order, data) if i % 5 == 0 else writers.enhanced(order, 0, i, data, options=comment if i % 3 else b""))
            if i % 100 == 50:
                parts.append(writers.block(order, 0xBAD, b"x" * (i * 1000)))
        parts.append(writers.block(order, 5, struct.pack(order + "III", 0, 0, 0)))
    return b"".join(parts)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_longer_than_a_window(write, tmp_path, rule, kind):
    out = checked(rule, write(long_capture(kind), f"t.{kind}"), tmp_path).read_bytes()
    if kind == "pcapng":
        assert [out.count(b"x" * (i * 1000)) for i in (650, 550)] == [3, 6]


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_what_no_rule_concerns_comes_out_as_it_went_in(write, tmp_path, kind):
    # But for lengths of sections, which are made "not known": these are.
    path = write(long_capture(kind), f"t.{kind}")
    checked(Rule("pop", vids=[4000]), path, tmp_path)
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
@pytest.mark.parametrize("pieces", [3, 40, 3000])
def test_a_pipe_is_written_as_it_comes(write, piped, tmp_path, monkeypatch, kind, pieces):
    content = long_capture(kind)
    out = checked(RULES[0], write(content, f"t.{kind}"), tmp_path)
    monkeypatch.setattr("vsw.capture.spool.temporary", None)
    step = len(content) // pieces + 1
    with open_capture(piped(*(content[at : at + step] for at in range(0, len(content), step)))) as capture:
        rewrite(capture, tmp_path / "streamed", RULES[0].compiled)
    assert (tmp_path / "streamed").read_bytes() == out.read_bytes()


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_what_came_through_a_pipe_goes_on_before_the_next_comes(tmp_path, kind):
    frames = timed([(frame(), 60)] * 3)
    content = writers.pcap(frames) if kind == "pcap" else writers.pcapng(frames)
    record = 76 if kind == "pcap" else 92
    os.mkfifo(tmp_path / "out")
    reading, writing = os.pipe()

    def run():
        with os.fdopen(reading, "rb") as source, open_capture(source) as capture:
            rewrite(capture, tmp_path / "out", Retag.push(10))

    thread = threading.Thread(target=run)
    thread.start()
    os.write(writing, content[: -2 * record])
    with os.fdopen(writing, "wb", buffering=0) as source, (tmp_path / "out").open("rb", buffering=0) as out:
        got = b""
        while got.count(frame()[12:]) < 1:
            got += out.read(4096)
        source.write(content[-2 * record : -record])
        while got.count(frame()[12:]) < 2:
            got += out.read(4096)
        source.write(content[-record:])
        source.close()
        while piece := out.read(4096):
            got += piece
    thread.join()
    (tmp_path / "got").write_bytes(got)
    assert read(tmp_path / "got")[0] == expected(RULES[0], [(data, length, time, 0) for time, data, length in frames])


@pytest.mark.parametrize("left", [24, 24 + 76 * 9000, 24 + 76 * 9000 + 20, 10])
def test_a_file_that_shrinks(write, tmp_path, left):
    path = write(writers.pcap(timed([(frame(), 60)] * 10_000)))
    with open_capture(path) as capture:
        with path.open("r+b") as file:
            file.truncate(left)
        with pytest.raises(vsw.CaptureError, match=f"had 760024 bytes when it was opened and has {left} now"):
            rewrite(capture, tmp_path / "out", Retag.push(1))
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_added_to_a_file_later_is_not_part_of_it(write, tmp_path):
    content = writers.pcap(timed([(frame(), 60)] * 10_000))
    path = write(content)
    with open_capture(path) as capture:
        with path.open("ab") as file:
            file.write(content[24:])
        assert rewrite(capture, tmp_path / "out", Retag.push(1)).frames == 10_000


def test_a_damaged_capture_leaves_nothing_behind(write, tmp_path):
    content = writers.pcap(timed(FRAMES))[:-3]
    path = write(content)
    with open_capture(path) as capture, pytest.raises(vsw.CaptureError, match="the record needs"):
        rewrite(capture, tmp_path / "out", Retag.push(1))
    assert list(tmp_path.iterdir()) == [path]
    checked(RULES[0], path, tmp_path, strict=False)


def test_a_part_of_a_capture_is_refused(tmp_path):
    with open_capture(EXAMPLE) as capture, pytest.raises(vsw.UsageError, match="the whole capture"):
        rewrite(capture[1:], tmp_path / "out", Retag.push(1))


@pytest.mark.parametrize("path", [EXAMPLE, *(path for path in CAPTURES if opened(path))], ids=lambda path: path.name)
def test_real_captures(path, tmp_path):
    for rule in RULES:
        checked(rule, path, tmp_path, strict=False)


def in_memory(rule, source):
    return {"push": vsw.push_tag, "pop": vsw.pop_tag, "translate": vsw.translate_tag}[rule.kind](source, **rule.settings)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_in_memory_it_is_the_same(write, rule):
    path = write(writers.pcap(timed(FRAMES), nano=True))
    before, _ = read(path)
    with open_capture(path) as capture:
        batch = in_memory(rule, capture)
        again = in_memory(rule, batch)
    assert [(one.data, one.length, one.time, 0) for one in batch] == expected(rule, before)
    assert [(one.data, one.length, one.time, 0) for one in again] == expected(rule, expected(rule, before))


def test_ports_of_a_batch_stay_with_its_frames():
    import numpy as np

    batch = vsw.Batch.from_frames([frame(), frame()])
    ports = np.array([3, 4], np.uint16)
    given_ports = vsw.Batch.from_arrays(batch.buffer, batch.offsets, batch.lengths, port_in=ports)
    assert vsw.push_tag(given_ports, 1).port_in is ports


def test_an_empty_source():
    assert len(vsw.push_tag(vsw.Batch.from_frames([]), 1)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: vsw.push_tag(b, 4096), "vid is a number from 0 to 4095, not 4096"),
        (lambda b: vsw.push_tag(b, 1, pcp=8), "pcp is a number from 0 to 7, not 8"),
        (lambda b: vsw.push_tag(b, "1"), "vid is a number from 0 to 4095, not '1'"),
        (lambda b: vsw.push_tag(b, 1, tpid=0x8101), "tpid is one of 0x8100, 0x88a8, 0x9100, not 0x8101"),
        (vsw.translate_tag, "translate needs something to change"),
        (lambda b: vsw.translate_tag(b, {1: 5000}), "vid is a number from 0 to 4095, not 5000"),
    ],
)
def test_numbers_that_no_tag_can_hold(call, message):
    with pytest.raises(vsw.UsageError, match=message):
        call(vsw.Batch.from_frames([frame()]))


BYTES = st.binary(max_size=40) | st.sampled_from([one for one, _ in FRAMES])


@given(st.lists(st.tuples(BYTES, st.integers(0, 50)), max_size=20), st.sampled_from(RULES))
def test_any_bytes(tmp_path_factory, frames, rule):
    tmp_path = tmp_path_factory.mktemp("any")
    path = tmp_path / "in.pcapng"
    path.write_bytes(writers.pcapng(timed([(data, len(data) + more) for data, more in frames])))
    checked(rule, path, tmp_path)
