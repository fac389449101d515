"""Compressed captures, pipes, file objects."""

from __future__ import annotations

import errno
import gzip
import io
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
import zstandard

from tests.capture.writers import numbered, pcap, pcapng
from vsw.capture import open_capture
from vsw.errors import CaptureError, UsageError

FRAMES = numbered(9000)
PLAIN = {"pcap": pcap(FRAMES), "pcapng": pcapng(FRAMES, ">", name="eth7", resolution=9)}


def zstd(content):
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def halves(content):
    return content[: len(content) // 2], content[len(content) // 2 :]


PACKED = {
    "gzip": gzip.compress,
    "gzip, two members": lambda content: b"".join(gzip.compress(half) for half in halves(content)),
    "gzip, padded": lambda content: gzip.compress(content) + bytes(512),
    "zstd": zstd,
    "zstd, two frames": lambda content: b"".join(zstd(half) for half in halves(content)),
    "zstd, skippable frame first": lambda content: b"\x52\x2a\x4d\x18\x03\0\0\0abc" + zstd(content),
}


def triples(frames):
    return [(f.time, f.data, None) for f in frames]


@pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_compressed(write, piped, plain, pack):
    packed = pack(plain)
    capture = open_capture(write(packed, "t.cap"))
    assert triples(capture) == FRAMES
    assert triples(capture[5000:5010]) == FRAMES[5000:5010]
    assert (len(capture), capture.size) == (len(FRAMES), len(plain))
    assert triples(open_capture(piped(packed))) == FRAMES


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN)
def test_compressed_and_cut(write, kind, plain):
    packed = PACKED[kind](plain)
    path = write(packed[:-9])
    with pytest.raises(CaptureError, match=f"the {kind} stream ends at its byte {len(packed) - 9}, in the middle") as caught:
        list(open_capture(path))
    tolerant = open_capture(path, strict=False)
    read = triples(tolerant)
    assert read == FRAMES[: len(read)]
    assert str(tolerant.problem) == str(caught.value)
    with pytest.raises(CaptureError, match=f"the {kind} stream ends at its byte 12, in the middle"):
        open_capture(write(packed[:12]))


@pytest.mark.parametrize(("kind", "byte"), [("gzip", -6), ("zstd", -1)])
def test_compressed_and_corrupt(write, kind, byte):
    packed = bytearray(PACKED[kind](PLAIN["pcap"]))
    packed[byte] ^= 0xFF  # of the checksum
    capture = open_capture(write(packed), strict=False)
    read = triples(capture)
    assert read == FRAMES[: len(read)]
    assert f"the {kind} stream is corrupt near its byte" in str(capture.problem)


def test_garbage_behind_a_gzip_member(write):
    path = write(gzip.compress(PLAIN["pcap"]) + b"garbage")
    capture = open_capture(path, strict=False)
    assert triples(capture) == FRAMES
    assert "corrupt" in str(capture.problem)


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_compressed_but_no_capture(write, pack):
    with pytest.raises(CaptureError, match="begins with 68 65 6c 6c"):
        open_capture(write(pack(b"hello, world")))
    with pytest.raises(CaptureError, match="stream is empty"):
        open_capture(write(pack(b"")))


@pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("step", [7, 1000, 10**9])
def test_pipe(piped, plain, step):
    content = plain[: 3000 if step == 7 else None]
    capture = open_capture(piped(*(content[i : i + step] for i in range(0, len(content), step))), strict=False)
    read = triples(capture)
    assert read == FRAMES[: len(read)]
    assert len(capture) == len(read) > 20
    assert (capture.problem is None) == (step != 7)
    assert capture.interface_names() == (["eth7"] if plain is PLAIN["pcapng"] else [""])
    with pytest.raises(UsageError, match="a pipe can be read once"):
        list(capture)


@pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN)
def test_pipe_that_is_asked_for_its_length_is_kept(piped, plain):
    capture = open_capture(piped(plain))
    assert len(capture) == len(FRAMES)
    assert triples(capture) == triples(capture[:]) == FRAMES
    assert capture[-1].data == FRAMES[-1][1]


def test_part_of_a_pipe(piped):
    assert triples(open_capture(piped(PLAIN["pcap"]))[4000:4300]) == FRAMES[4000:4300]


def test_frames_arrive_one_by_one():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as file, os.fdopen(writing, "wb", buffering=0) as target:
        target.write(PLAIN["pcap"][:24])
        frames = iter(open_capture(file))
        at = 24
        for time, data, _ in FRAMES[:20]:
            target.write(PLAIN["pcap"][at : at + 10])
            target.write(PLAIN["pcap"][at + 10 : at + 16 + len(data)])
            at += 16 + len(data)
            frame = next(frames)
            assert (frame.time, frame.data) == (time, data)


def test_blocks_longer_than_the_window_of_a_pipe(piped):
    long = b"\xad\x0b\0\0" + (3 << 20).to_bytes(4, "little") + bytes((3 << 20) - 12) + (3 << 20).to_bytes(4, "little")
    content = pcapng(FRAMES)
    assert triples(open_capture(piped(content[:28], long, content[28:], long))) == FRAMES


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty"), (b"abc", "3 are there"), (pcap([])[:20], "needs 24 bytes, 20 are there"), (b"garbage, too long", "begins with")],
)
def test_pipe_without_a_capture(piped, content, says):
    with pytest.raises(CaptureError, match=says):
        open_capture(piped(content))


def test_pipe_that_ends_in_a_frame(piped):
    capture = open_capture(piped(PLAIN["pcap"][:-1]))
    read = []
    with pytest.raises(CaptureError, match="the record needs"):
        read.extend(iter(capture))
    assert len(read) == len(FRAMES) - 1


def test_standard_input(write):
    code = "import sys, vsw; c = vsw.open_capture('-'); print(c.name, sum(f.length for f in c))"
    want = f"<stdin> {sum(len(data) for _, data, _ in FRAMES)}\n"
    assert subprocess.run([sys.executable, "-c", code], input=PLAIN["pcap"], capture_output=True, check=True).stdout.decode() == want
    with write(PLAIN["pcap"]).open("rb") as file:
        assert subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=True).stdout.decode() == want


def test_a_pipe_that_does_not_block(piped):
    for ask in (iter, len):
        file = piped(*(PLAIN["pcapng"][i : i + 5000] for i in range(0, len(PLAIN["pcapng"]), 5000)))
        os.set_blocking(file.fileno(), False)
        capture = open_capture(file)
        assert ask is iter or len(capture) == len(FRAMES)
        assert triples(capture) == FRAMES


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_stream_that_breaks(write, pack):
    """A peer that goes with something unread resets the stream: what came before counts, and the reason is told."""
    content = pack(PLAIN["pcap"])[:5000]
    reason = f"reading failed: {os.strerror(errno.ECONNRESET)}"

    def broken(content):
        near, far = socket.socketpair()
        near.send(b"never read")
        far.sendall(content)
        far.close()
        return stack.enter_context(os.fdopen(near.detach(), "rb", buffering=0))

    with ExitStack() as stack:
        for ask in (iter, len):
            capture = open_capture(broken(content), strict=False)
            count = len(capture) if ask is len else None
            read = triples(capture)
            assert read == FRAMES[: len(read)]
            assert len(read) == len(open_capture(write(content), strict=False)) > 50
            assert count in (None, len(read))
            assert reason in str(capture.problem)
            with pytest.raises(CaptureError, match=reason):
                triples(open_capture(broken(content)) if ask is iter else list(open_capture(broken(content))))
        with pytest.raises(CaptureError, match=f"at byte 0: {reason}"):
            open_capture(broken(b""))


def test_interrupt_while_a_pipe_is_silent():
    code = """
import signal, vsw
signal.signal(signal.SIGALRM, signal.default_int_handler)
frames = iter(vsw.open_capture("-", strict=False))
for i in range(9000):
    next(frames)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)  # again and again: the first may come before the pipe is read
    next(frames)
except KeyboardInterrupt:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("interrupted")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(PLAIN["pcap"])
        process.stdin.flush()
        assert process.stdout.read() == b"interrupted\n"


def test_file_objects(write):
    path = write(PLAIN["pcapng"])
    with path.open("rb") as file:
        capture = open_capture(file)
    assert (capture.name, triples(capture)) == (str(path), FRAMES)
    assert triples(open_capture(io.BytesIO(gzip.compress(PLAIN["pcap"])))) == FRAMES
    with pytest.raises(UsageError, match="a path or a binary file"):
        open_capture(7)
