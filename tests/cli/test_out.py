"""``vsw replay --out``, and what is left of it when somebody or something stops it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

import vsw
from tests.cli.run import CAPTURE, TOPOLOGY, as_json, command, environment, forward, good, run, same
from tests.patience import PATIENCE

PORTS = ["vmnic0", "vmnic1", "web1.0", "web2.0", "db1.0", "db2.0", "router.0"]


@pytest.mark.parametrize("file_format", ["pcapng", "pcap"])
def test_one_capture_a_port(tmp_path: Path, file_format: str) -> None:
    found = as_json("replay", TOPOLOGY, CAPTURE, "--out", tmp_path, "--format", file_format, "--workers", 2)
    same(found, forward().summary())
    assert found["out"] == {port: str(tmp_path / f"{port}.{file_format}") for port in PORTS}
    assert {path.name for path in tmp_path.iterdir()} == {f"{port}.{file_format}" for port in PORTS}
    for port, path in found["out"].items():
        with vsw.open_capture(path) as trace:
            assert (trace.format, len(trace)) == (file_format, found["ports"][port]["tx_frames"])
            assert sum(frame.length for frame in trace) == found["ports"][port]["tx_bytes"]
            assert file_format == "pcap" or trace.comment == f"vsw replay of {CAPTURE}"


def test_it_is_told(tmp_path: Path) -> None:
    assert good("replay", TOPOLOGY, CAPTURE, "--out", tmp_path).endswith(f"\nWritten to {tmp_path}: 7 captures, one a port\n")
    assert "Written" not in good("replay", TOPOLOGY, CAPTURE)
    assert as_json("replay", TOPOLOGY, CAPTURE)["out"] == {}


@pytest.mark.parametrize(("option", "files"), [("--strict", 0), ("--tolerant", 7)])
def test_a_damaged_capture(tmp_path: Path, option: str, files: int) -> None:
    cut, out = tmp_path / "cut.pcapng", tmp_path / "out"
    cut.write_bytes(CAPTURE.read_bytes()[:100_000])
    assert run("replay", TOPOLOGY, cut, "--out", out, option).returncode == (not files)
    assert out.exists() == bool(files)
    assert not files or len(list(out.iterdir())) == files


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("replay", TOPOLOGY, CAPTURE, "--out", tmp_path / "file")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "file") in done.stderr


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    out = tmp_path / "out"
    done = subprocess.run(
        command("replay", TOPOLOGY, CAPTURE, "--out", out),
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {out / 'vmnic1.pcapng'}: File too large\n"
    assert not out.exists()


@pytest.mark.parametrize("late", [1, 700])
def test_a_time_that_pcap_has_not(tmp_path: Path, late: int) -> None:
    """It is told, whichever way its frame is written; by how many frames it is followed, or preceded."""
    trace = tmp_path / "late.pcapng"
    data = bytes.fromhex("005056001002005056001001") + bytes(48)
    with vsw.PcapngWriter(trace) as writer:
        for number in range(701):
            writer.write(data, (1 << 62) if number >= 701 - late else 5)
    done = run("replay", TOPOLOGY, trace, "--ingress", "web1.0", "--format", "pcap", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.endswith(".pcap: pcap has no times after February 2106, pcapng has\n")
    assert list(tmp_path.iterdir()) == [trace]
    good("replay", TOPOLOGY, trace, "--ingress", "web1.0", "--out", tmp_path / "out")


def hears_signals() -> None:
    """In the child: signals do what they do at first, also where the suite itself was started with some of them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("replay", CAPTURE, "--columns"), "rows.npz"),
        (("replay", CAPTURE, "--columns"), "rows.parquet"),
        (("replay", CAPTURE, "--report"), "page.html"),
        (("classify", CAPTURE, "--format", "csv", "--out"), "frames.csv"),
        (("classify", CAPTURE, "--format", "jsonl", "--out"), "frames.jsonl"),
        (("classify", CAPTURE, "--format", "parquet", "--out"), "frames.parquet"),
        (("tag", "push", "--vid", 5, CAPTURE), "out.pcapng"),
        (("infer", CAPTURE, "--out"), "lab.toml"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_a_full_disk_is_told_by_the_name_of_what_was_wanted(tmp_path: Path, words: tuple[object, ...], name: str) -> None:
    if name.endswith(("parquet", "html")):
        pytest.importorskip("pyarrow" if name.endswith("parquet") else "plotly")
    out = tmp_path / name
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        done = run(*words, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (done.returncode, done.stderr) == (1, f"Error: {out}: File too large\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_signal_in_the_middle(tmp_path: Path, number: signal.Signals, code: int) -> None:
    trace, out = tmp_path / "trace.pcap", tmp_path / "out"
    with vsw.open_capture(CAPTURE) as source, vsw.PcapWriter(trace) as writer:
        for _ in range(4):
            writer.write_all(source)
    arguments = command("replay", TOPOLOGY, "-", "--ingress", "source-mac", "--out", out)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=hears_signals  # noqa: PLW1509 (one thread here)
    ) as process:
        assert process.stdin is not None
        # A pipe holds less than this, so the frames are on their way when the last byte is in it, and the process waits for more.
        process.stdin.write(trace.read_bytes())
        process.stdin.flush()
        [staging] = out.iterdir()
        assert any(path.stat().st_size for path in staging.iterdir())
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
        process.stdin.close()
    assert ([path.name for path in out.iterdir()] == [staging.name]) if number is signal.SIGKILL else not out.exists()


@pytest.mark.parametrize("arguments", [("replay", TOPOLOGY, CAPTURE), ("check", TOPOLOGY), ("check", "--schema")], ids=lambda value: value[0])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone(arguments: tuple[object, ...], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command(*arguments), env={**environment(), "PYTHONUNBUFFERED": unbuffered},
            stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE, check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
