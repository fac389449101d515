"""The page about a replay: its numbers are those of the run, and names are data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsw
from tests.capture import writers
from tests.cli.run import CAPTURE, TOPOLOGY, good
from vsw.measure.lab import bench_module
from vsw.measure.traffic import Mix, write_capture
from vsw.replay import report
from vsw.replay.source import Source
from vsw.switch.switch import Switch

HOSTILE = ("</script><script>document.body.dataset.pwned=1</script>", "<img src=x onerror=alert(1)>", "{{plotly}}", "<b>&amp;\"'")


def page_of(path: Path) -> tuple[str, dict[str, Any]]:
    """The page, and the data in it."""
    page = path.read_text()
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return page, json.loads(text)


def collected(module: Any, path: Path, ingress: Any = None) -> tuple[dict[str, Any], Any]:
    switch = Switch(module)
    with Source([path]) as source:
        result = switch.forward(source.frames, ingress=ingress, copies=True)
        return report.collect(switch, result, source, "it"), result


def adds_up(data: dict[str, Any], result: Any) -> None:
    summary = result.summary()
    totals = {name: summary[name] for name in ("frames", "delivered", "consumed", "copies")}
    assert data["totals"] == totals | {name: sum(summary[name].values()) for name in ("dropped", "filtered")}
    assert data["totals"]["filtered"] == sum(port["filtered"] for port in data["ports"])
    for place, port in enumerate(data["ports"]):
        assert [sum(data["received"][place]["frames"]), port["rx"][0]] == [port["rx"][0]] * 2
        assert [sum(data["sent"][place]["frames"]), sum(data["sent"][place]["bytes"])] == port["tx"]
        if port["kind"] != "others":
            counts = summary["ports"][port["name"]]
            assert port["rx"] == [counts["rx_frames"], counts["rx_bytes"]]
            assert port["filtered"] == counts["filtered"]
            assert port["dropped"] == counts["dropped"] == sum(sum(one["frames"]) for one in data["drops"] if one["port"] == place)
    by_reason: dict[str, int] = {}
    for one in data["drops"]:
        by_reason[one["reason"]] = by_reason.get(one["reason"], 0) + sum(one["frames"])
        assert all(0 <= step < data["steps"] for step in one["steps"])
    assert by_reason == summary["dropped"]
    assert all(len(series["frames"]) == len(series["bytes"]) == data["steps"] for name in ("received", "sent") for series in data[name])


def test_the_numbers_are_those_of_the_run() -> None:
    module = vsw.load(TOPOLOGY).module()
    data, result = collected(module, CAPTURE)
    adds_up(data, result)
    with vsw.open_capture(CAPTURE) as capture:
        rows = vsw.classify(capture)
    sent = {mac: int(rows["length"][(rows["src"] == np.frombuffer(bytes.fromhex(mac.replace(":", "")), np.uint8)).all(axis=1)].sum())
            for mac in {one["mac"] for one in data["talkers"]}}  # fmt: skip
    assert {one["mac"]: one["bytes"] for one in data["talkers"]} == sent
    vlans = {port["name"]: port["vlan"] for port in data["ports"]}
    assert (vlans["vmnic0"], vlans["web1.0"], vlans["router.0"]) == ("trunk all", "access 10", "trunk 10,20")
    assert [one["bytes"] for one in data["talkers"]] == sorted(sent.values(), reverse=True)
    addresses = [[entry.vlan, entry.mac.to_bytes(6).hex(":"), module.port(entry.port).name, "static"] for entry in module.static]
    assert data["addresses"] == addresses


def test_many_ports_are_counted_together(tmp_path: Path) -> None:
    module = bench_module(1000)
    traffic = write_capture(module, tmp_path / "t.pcap", Mix(20_000, "imix"))
    data, result = collected(module, tmp_path / "t.pcap", traffic.port_in)
    adds_up(data, result)
    assert len(data["ports"]) == report.MOST_PORTS + 1
    assert data["ports"][-1]["name"] == f"{len(module.ports) - report.MOST_PORTS:,} others"
    assert {"vmnic0", "vmnic1"} <= {port["name"] for port in data["ports"]}


@pytest.mark.parametrize("frames", [[], [(5, b"\xff" * 12 + b"\x08\x00" + bytes(46), None)], [(i, b"", 0) for i in (7, 3)]])
def test_little_to_see(tmp_path: Path, frames: list[Any]) -> None:
    (tmp_path / "t.pcap").write_bytes(writers.pcap(frames, nano=True))
    data, result = collected(vsw.load(TOPOLOGY).module(), tmp_path / "t.pcap")
    adds_up(data, result)
    assert data["steps"] >= 1


def test_what_is_learned_is_shown(tmp_path: Path) -> None:
    module = vsw.loads('[hosts.h.switches.s]\ndialect = "ovs"\n[hosts.h.switches.s.ports]\na = {}\nb = {}\n').module()
    (tmp_path / "t.pcap").write_bytes(writers.pcap([(5, b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 9]) + b"\x08\x00" + bytes(46), None)]))
    data, _ = collected(module, tmp_path / "t.pcap", "a")
    assert data["addresses"] == [[0, "02:00:00:00:00:09", "a", "learned"]]


def lab(path: Path) -> Path:
    """A topology with names that a page must not take for its own."""
    names = [json.dumps(name.replace("/", "|")) for name in HOSTILE]
    ports = "\n".join(f'{name} = {{ kind = "vnic", mac = "02:00:00:00:00:0{i}" }}' for i, name in enumerate(names, 1))
    path.write_text(f"[hosts.h.switches.s.ports]\nup = {{ kind = \"uplink\" }}\n{ports}\n")
    return path


def test_hostile_names_are_data(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="needs the extra report: plotly")
    capture = tmp_path / "<script>alert(1) {{data}}.pcapng"
    capture.write_bytes(CAPTURE.read_bytes())
    good("replay", lab(tmp_path / "lab.toml"), capture, "--ingress", "up", "--report", tmp_path / "out.html")
    page, data = page_of(tmp_path / "out.html")
    assert data["title"] == f"vsw replay of {capture}"
    assert {port["name"] for port in data["ports"]} == {"up", *(name.replace("/", "|") for name in HOSTILE)}
    before_the_library, _, rest = page.partition("</script>\n<script>")
    assert before_the_library.count("<script") == 1
    assert rest.rpartition("<script>")[2].startswith('\n"use strict";\n')
    assert "<title>vsw replay of " in page
    assert "<script>alert(1)" not in page
    assert all("<" not in port["label"] for port in data["ports"])


def test_nothing_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="needs the extra report: plotly")
    good("replay", TOPOLOGY, CAPTURE, "--report", tmp_path / "out.html")
    page, data = page_of(tmp_path / "out.html")
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)=", page.split("<script>")[0])
    adds_up(data, collected(vsw.load(TOPOLOGY).module(), CAPTURE)[1])
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_captures_and_columns_in_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="needs the extra report: plotly")
    alone, together = tmp_path / "alone.html", tmp_path / "together.html"
    good("replay", TOPOLOGY, CAPTURE, "--report", alone)
    text = good("replay", TOPOLOGY, CAPTURE, "--report", together, "--out", tmp_path / "egress", "--columns", tmp_path / "columns.npz")
    said = {"egress": "captures, one a port", "together.html": "a page to open in a browser", "columns.npz": "verdicts, one row a frame"}
    for name, what in said.items():
        assert re.search(rf"^Written to {re.escape(str(tmp_path / name))}: (7 )?{what}$", text, re.MULTILINE)
    assert together.read_bytes() == alone.read_bytes()
    good("replay", TOPOLOGY, CAPTURE, "--out", tmp_path / "other")
    written = {path.name: path.read_bytes() for path in (tmp_path / "egress").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()} != {}
    assert (tmp_path / "columns.npz").is_file()
