"""Writing captures: what independent readers find in them, and that nothing is left behind when it goes wrong."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dpkt
import pytest

from tests.capture.writers import numbered, pcap, pcapng
from vsw.capture import PcapngWriter, PcapWriter, open_capture
from vsw.errors import CaptureError, UsageError

FRAMES = numbered(3000, lambda i: (0, 14, 60, 61, 62, 63, 64, 65, 570, 1514, 9000)[i % 11] if i != 500 else 262144)
WRITERS = {
    "pcap nano": PcapWriter,
    "pcap micro": lambda path: PcapWriter(path, nanosecond=False),
    "pcapng": lambda path: PcapngWriter(path, ["eth0"]),
}
writers = pytest.mark.parametrize("new", WRITERS.values(), ids=WRITERS)


@writers
def test_own_reader_finds_what_was_written(tmp_path, new):
    path = tmp_path / "out.cap"
    with new(path) as writer:
        for time, data, _ in FRAMES:
            writer.write(data, time, len(data) + 4)
        assert list(tmp_path.iterdir()) != [path]
        assert writer.frames == len(FRAMES)
    assert list(tmp_path.iterdir()) == [path]
    assert [(f.time, f.data, f.length) for f in open_capture(path)] == [(time, data, len(data) + 4) for time, data, _ in FRAMES]


@writers
@pytest.mark.parametrize("stored", [pcap(FRAMES), pcapng(FRAMES)], ids=["pcap", "pcapng"])
def test_a_source_is_copied_whole(tmp_path, write, new, stored):
    source = open_capture(write(stored))
    with new(tmp_path / "all") as writer:
        assert writer.write_all(source) == len(FRAMES)
    assert list(open_capture(tmp_path / "all")) == list(source)
    with new(tmp_path / "part") as writer:
        assert writer.write_all(source[7:2000]) == 1993
        writer.write(b"last", 1)
    assert [f.data for f in open_capture(tmp_path / "part")] == [data for _, data, _ in FRAMES[7:2000]] + [b"last"]


def test_dpkt_reads_it(tmp_path):
    for new, reader in ((WRITERS["pcap micro"], dpkt.pcap.Reader), (WRITERS["pcap nano"], dpkt.pcap.Reader), (WRITERS["pcapng"], dpkt.pcapng.Reader)):
        with new(tmp_path / "out.cap") as writer:
            for time, data, _ in FRAMES:
                writer.write(data, time)
        with (tmp_path / "out.cap").open("rb") as file:
            read = [(round(float(time) * 1e6), data) for time, data in reader(file)]
        assert read == [(time // 1000, data) for time, data, _ in FRAMES]


@pytest.mark.skipif(not shutil.which("capinfos") or not shutil.which("tcpdump"), reason="needs capinfos (wireshark-common) and tcpdump")
@writers
def test_libpcap_and_wireshark_read_it(tmp_path, new):
    path = tmp_path / "out.cap"
    with new(path) as writer:
        for time, data, _ in FRAMES[:500]:
            writer.write(data, time)
    counted = subprocess.run(["capinfos", "-M", "-c", "-T", "-r", path], capture_output=True, check=True, text=True).stdout
    assert counted.split()[-1] == "500"
    shown = subprocess.run(["tcpdump", "-nn", "-r", path], capture_output=True, check=True, text=True).stdout
    assert len(shown.splitlines()) >= 500


def test_interfaces_and_comment(tmp_path):
    path = tmp_path / "out.pcapng"
    with PcapngWriter(path, [("vm.0", "web1"), "up", ("", "nameless")], comment="what it is: é") as writer:
        for i in range(9):
            writer.write(b"x" * i, i, interface=i % 3)
        with pytest.raises(UsageError, match="3 interfaces"):
            writer.write(b"", 0, interface=3)
    capture = open_capture(path)
    assert [(i.name, i.description) for i in capture.interfaces()] == [("vm.0", "web1"), ("up", ""), ("", "nameless")]
    assert capture.comment == "what it is: é"
    assert [(f.data, f.interface) for f in capture] == [(b"x" * i, i % 3) for i in range(9)]
    with PcapngWriter(tmp_path / "copy.pcapng", ["a", "b", "c"]) as writer:
        writer.write_all(capture)
    assert list(open_capture(tmp_path / "copy.pcapng")) == list(capture)
    with pytest.raises(UsageError, match="interface is 2"), PcapngWriter(tmp_path / "less.pcapng", ["a", "b"]) as writer:
        writer.write_all(capture)
    assert not (tmp_path / "less.pcapng").exists()


@writers
def test_an_exception_leaves_nothing(tmp_path, new):
    (tmp_path / "out.cap").write_bytes(b"older")
    with pytest.raises(UsageError, match="at most 262144"), new(tmp_path / "out.cap") as writer:
        list(map(writer.write, [*(data for _, data, _ in FRAMES), bytes(262145)], range(len(FRAMES) + 1)))
    writer = new(tmp_path / "out.cap")
    del writer
    assert [path.name for path in tmp_path.iterdir()] == ["out.cap"]
    assert (tmp_path / "out.cap").read_bytes() == b"older"
    with new(tmp_path / "out.cap"):
        pass
    assert len(open_capture(tmp_path / "out.cap")) == 0


def test_closed(tmp_path):
    writer = PcapWriter(tmp_path / "out.cap")
    writer.close()
    writer.close()
    with pytest.raises(UsageError, match="closed"):
        writer.write(b"", 0)
    with pytest.raises(UsageError, match="at most 262144"), PcapWriter(tmp_path / "long.cap") as writer:
        writer.write(bytes(262145), 0)


@writers
def test_no_room_for_the_file(tmp_path, tmp_path_factory, new):
    stored = tmp_path_factory.mktemp("other") / "good.pcap"
    stored.write_bytes(pcap(FRAMES))
    source = open_capture(stored)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = new(tmp_path / "out.cap")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(OSError, match="File too large") as caught:
            writer.write_all(source)
        with pytest.raises(OSError, match="File too large"):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "out.cap"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_device():
    writer = PcapWriter("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        writer.close()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


def test_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        PcapWriter(tmp_path / "none" / "out.cap")
    assert caught.value.filename == str(tmp_path / "none" / "out.cap")


def test_killed(tmp_path):
    code = f"""
import os, signal
from vsw.capture import PcapWriter
writer = PcapWriter({str(tmp_path / "out.cap")!r})
for i in range(10000): writer.write(bytes(60), i)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("out.cap.unfinished-")


def test_pipe(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.extend(open_capture(fifo)))
    reader.start()
    with PcapWriter(fifo) as writer:
        for time, data, _ in FRAMES:
            writer.write(data, time)
    reader.join()
    assert [(f.time, f.data, None) for f in read] == FRAMES
    assert list(tmp_path.iterdir()) == [fifo]


def test_pipe_that_nobody_reads():
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        PcapWriter(f"/dev/fd/{writing}").close()
    os.close(writing)


def test_symbolic_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to("real")
    PcapWriter(tmp_path / "link").close()
    assert (tmp_path / "link").is_symlink()
    assert len(open_capture(tmp_path / "real")) == 0


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        PcapWriter(tmp_path)
    with pytest.raises(CaptureError):
        open_capture(tmp_path)


@pytest.mark.parametrize("nanosecond", [True, False])
def test_pcap_has_no_times_after_2106(tmp_path, nanosecond):
    """Its seconds have 32 bits: a later time would be an early one, and nobody would know."""
    last = (1 << 32) * 10**9 - 1000
    with PcapWriter(tmp_path / "good.pcap", nanosecond=nanosecond) as writer:
        writer.write(bytes(60), last)
    assert [frame.time for frame in open_capture(tmp_path / "good.pcap")] == [last]
    bad = PcapWriter(tmp_path / "bad.pcap", nanosecond=nanosecond)
    with pytest.raises(OSError, match="pcap has no times after February 2106, pcapng has"), bad as writer:
        writer.write(bytes(60), last + 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["good.pcap"]
    with PcapngWriter(tmp_path / "late.pcapng") as writer:
        writer.write(bytes(60), (1 << 63) - 1)
    assert [frame.time for frame in open_capture(tmp_path / "late.pcapng")] == [(1 << 63) - 1]
