"""``vsw replay``: options, tables, the JSON object."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import vsw
from tests.cli.run import CAPTURE, TOPOLOGY, as_json, forward, good, run, same

FIRST = min(frame.time for frame in vsw.open_capture(CAPTURE))
SECOND = 10**9

# The keys are stable: a program may count on each of them.
KEYS = {
    "module", "dialect", "ingress", "frames", "delivered", "consumed", "copies", "dropped", "filtered", "ports", "normalised", "time_backwards",
    "workers", "seconds", "problems", "out", "inferred",
}  # fmt: skip
PORT_KEYS = {"rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "dropped", "filtered", "dropped_by_reason", "filtered_by_reason"}


def event(after: int, port: str, up: bool) -> vsw.Event:
    return vsw.Event(FIRST + after, port, up)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--ingress", "source-mac"), {"ingress": "source-mac"}),
        (("--ingress", "web1.0"), {"ingress": "web1.0"}),
        (("--ingress", "2"), {"ingress": 2}),
        (("--module", "esx1/vSwitch0"), {}),
        (("--workers", "2"), {}),
        (("--tolerant",), {}),
        (("--at", "5s:vmnic0=down"), {"events": [event(5 * SECOND, "vmnic0", False)]}),
        (
            ("--at", "20s:vmnic0=up", "--at", "2.5s:vmnic0=down", "--at", "12500ms:1=down"),
            {"events": [event(20 * SECOND, "vmnic0", True), event(5 * SECOND // 2, "vmnic0", False), event(25 * SECOND // 2, "vmnic1", False)]},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_json_is_what_the_library_says(arguments: tuple[str, ...], options: dict[str, Any]) -> None:
    found = as_json("replay", TOPOLOGY, CAPTURE, *arguments)
    expected = forward(**options).summary()
    same({**found, "workers": 1}, expected)
    assert found.keys() == KEYS
    assert all(port.keys() == PORT_KEYS for port in found["ports"].values())
    assert found["problems"] == []
    assert found["frames"] == found["delivered"] + found["consumed"] + sum(found["dropped"].values()) == 2963
    assert sum(found["dropped"].values()) == sum(port["dropped"] for port in found["ports"].values())
    assert found["copies"] == sum(port["tx_frames"] for port in found["ports"].values())
    assert all(port["dropped"] == sum(port["dropped_by_reason"].values()) for port in found["ports"].values())


def test_events_matter() -> None:
    calm, failed = as_json("replay", TOPOLOGY, CAPTURE), as_json("replay", TOPOLOGY, CAPTURE, "--at", "0ns:vmnic0=down")
    assert failed["ports"]["vmnic0"]["tx_frames"] == 0 < calm["ports"]["vmnic0"]["tx_frames"]
    assert "port_down" in failed["dropped"]


def test_tables_say_what_json_says() -> None:
    text, found = good("replay", TOPOLOGY, CAPTURE), as_json("replay", TOPOLOGY, CAPTURE)
    assert f"{found['frames']:,} frames" in text
    assert f"{found['copies']:,} copies left" in text
    rows = [re.split(r"\s{2,}", line) for line in text.splitlines()]
    for name, count in {**found["dropped"], **found["filtered"], "delivered": found["delivered"], "consumed": found["consumed"]}.items():
        [row] = [row for row in rows if row[0] == name]
        assert row[1] == f"{count:,}"
        if name not in ("delivered", "consumed"):
            assert row[3] == vsw.Reason[name.upper()].sentence
    for name, port in found["ports"].items():
        [row] = [row for row in rows if row[0] == name]
        assert row[2:] == [f"{port[key]:,}" for key in ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "dropped", "filtered")]
    assert not re.search(r"[ \t]$|\x1b", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "those that the capture's interfaces name"),
        (("--ingress", "source-mac"), "no source can be forged, and none can be deja-vu"),
        (("--ingress", "web1.0"), "Every frame came in by web1.0"),
    ],
)
def test_the_way_of_ingress_is_told(arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in good("replay", TOPOLOGY, CAPTURE, *arguments)


def test_several_captures_are_merged_by_time(tmp_path: Path) -> None:
    with vsw.open_capture(CAPTURE) as trace:
        names, frames = trace.interface_names(), list(trace)
    parts = [tmp_path / "even.pcapng", tmp_path / "odd.pcapng"]
    for start, part in enumerate(parts):
        with vsw.PcapngWriter(part, names) as writer:
            for frame in frames[start::2]:
                writer.write(frame.data, frame.time, frame.length, frame.interface)
    same(as_json("replay", TOPOLOGY, *parts), forward().summary())
    assert good("explain", TOPOLOGY, *parts, "--frame", 42) == good("explain", TOPOLOGY, CAPTURE, "--frame", 42)


@pytest.mark.parametrize("arguments", [(), ("--at", "5s:vmnic0=down")], ids=["", "at"])
def test_standard_input(arguments: tuple[str, ...]) -> None:
    found = as_json("replay", TOPOLOGY, "-", *arguments, stdin=CAPTURE.read_bytes())
    same(found, as_json("replay", TOPOLOGY, CAPTURE, *arguments))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((TOPOLOGY,), 2, "a capture is needed"),
        ((TOPOLOGY, TOPOLOGY, CAPTURE), 2, "one topology is needed, not 2"),
        ((TOPOLOGY, "-", "-"), 2, "standard input can be read once"),
        ((TOPOLOGY, CAPTURE, "--ingress", "web9.0"), 2, "esx1/vSwitch0 has no port 'web9.0'"),
        ((TOPOLOGY, CAPTURE, "--ingress", "99"), 2, "has no port '99'"),
        ((TOPOLOGY, CAPTURE, "--at", "5:vmnic0=down"), 2, "--at is TIME:PORT=up or TIME:PORT=down"),
        ((TOPOLOGY, CAPTURE, "--at", "5s:vmnic0=off"), 2, "--at is TIME:PORT=up or TIME:PORT=down"),
        ((TOPOLOGY, CAPTURE, "--at", "5s:vmnic7=down"), 2, "has no port 'vmnic7'"),
        ((TOPOLOGY, CAPTURE, "--module", "esx1/x"), 2, "has no module 'esx1/x'; it has esx1/vSwitch0\n"),
        ((TOPOLOGY.with_name("two-switches.toml"), CAPTURE), 2, "say which with --module"),
        ((TOPOLOGY, CAPTURE, "--workers", "0"), 2, "--workers"),
        ((TOPOLOGY, CAPTURE, "--nonsense"), 2, "--nonsense"),
        ((TOPOLOGY, "missing.pcap"), 1, "missing.pcap"),
        (("missing.toml", CAPTURE), 1, "missing.toml: can't be read"),
        ((TOPOLOGY, TOPOLOGY.with_suffix("")), 1, "two-vlans"),
    ],
    ids=lambda value: None if isinstance(value, int) else "-",
)
def test_what_is_refused(arguments: tuple[object, ...], code: int, message: str) -> None:
    done = run("replay", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize(("option", "code", "word"), [("--strict", 1, "Error: "), ("--tolerant", 0, "Warning: ")])
def test_what_was_readable_before_damage_is_told(tmp_path: Path, option: str, code: int, word: str, as_object: bool) -> None:
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(CAPTURE.read_bytes()[:100_000])
    with vsw.open_capture(cut) as trace:
        readable = len(trace)
    done = run("replay", TOPOLOGY, cut, option, *(["--json"] if as_object else []))
    assert done.returncode == code
    assert done.stderr.startswith(f"{word}{cut}: at byte ")
    assert 0 < readable < 2963
    assert (f'"frames": {readable},' if as_object else f"{readable:,} frames") in done.stdout
    assert (str(cut) in done.stdout) == as_object
