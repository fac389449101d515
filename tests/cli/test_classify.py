"""vsw classify: its forms agree with each other and with the library; --columns of vsw replay."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsw
from tests.cli.run import CAPTURE, TOPOLOGY, as_json, forward, good, process, run
from vsw.replay.classified import COLUMNS
from vsw.switch.result import COLUMNS as RESULT_COLUMNS

ALL = ",".join(COLUMNS)


def lines(*arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good("classify", CAPTURE, *arguments, "--format", "jsonl").splitlines()]


def test_every_frame_is_told_as_the_library_has_it() -> None:
    found = lines("--columns", ALL)
    with vsw.open_capture(CAPTURE) as capture:
        rows, frames = vsw.classify(capture), list(capture)
    assert [one["frame"] for one in found] == list(range(1, len(rows) + 1))
    assert [one["time"] for one in found] == [frame.time for frame in frames]
    assert [one["src"] for one in found] == [frame.data[6:12].hex(":") for frame in frames]
    assert [one["dst"] for one in found] == [frame.data[:6].hex(":") for frame in frames]
    for name, column in (("sport", "sport"), ("dport", "dport")):
        assert [one[name] for one in found] == [int(row[column]) if row["flags"] & 4 else None for row in rows]
    assert [one["vlan"] for one in found] == [int(row["outer_tci"]) & 0xFFF if row["tags"] else None for row in rows]
    assert [one["src_ip"] for one in found if one["type"] == "ipv4"][:1] == [".".join(map(str, rows[rows["ip_version"] == 4][0]["src_ip"][:4]))]
    assert {one["proto"] for one in found} >= {"tcp", "udp", "icmp", "icmp6", None}
    assert [one["flow_hash"] for one in found] == rows["flow_hash"].tolist()


def test_csv_holds_the_same() -> None:
    plain = list(csv.DictReader(StringIO(good("classify", CAPTURE, "--columns", ALL, "--format", "csv"))))
    assert plain == [{name: "" if value is None else str(value) for name, value in one.items()} for one in lines("--columns", ALL)]


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra arrow: pyarrow")
    out = tmp_path / "out.parquet"
    assert good("classify", CAPTURE, "--columns", ALL, "--format", "parquet", "--out", out) == ""
    table = parquet.read_table(out)
    table = table.set_column(1, "time", table["time"].cast("int64"))
    assert table.to_pylist() == lines("--columns", ALL)
    assert list(tmp_path.iterdir()) == [out]


def test_a_filter_and_a_limit() -> None:
    every = [one for one in lines() if one["vlan"] == 10 and one["proto"] == "tcp"]
    assert every
    assert lines("--where", "vlan == 10 and proto == tcp") == every
    assert lines("--where", "vlan == 10 and proto == tcp", "--limit", 3) == every[:3]


def test_the_table_says_where_it_ends() -> None:
    table = good("classify", CAPTURE, "--columns", "frame,vlan").splitlines()
    assert table[:2] == ["frame  vlan", "1      -"]
    assert table[-1] == "... 1,000 frames are shown; --limit shows more, --format csv all"
    assert len(table) == 1002
    assert len(good("classify", CAPTURE, "--columns", "frame", "--limit", 1500).splitlines()) == 1501


def test_from_a_pipe() -> None:
    done = process("classify", "-", "--format", "jsonl", stdin=CAPTURE.read_bytes())
    assert [json.loads(line) for line in done.stdout.splitlines()] == lines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "vlan == 1 or"], "ends where one of"),
        (["--columns", "frame,vlam"], "there is no column 'vlam' (did you mean 'vlan'?)"),
        (["--columns", "frame,frame"], "named twice"),
        (["--format", "parquet"], "needs --out FILE"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    done = run("classify", CAPTURE, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_columns_of_a_replay(tmp_path: Path) -> None:
    good("replay", TOPOLOGY, CAPTURE, "--columns", tmp_path / "out.npz")
    result = forward()
    with np.load(tmp_path / "out.npz") as found:
        for name in RESULT_COLUMNS:
            assert (found[name] == getattr(result, name)).all()
        assert found["ports"].tolist() == [port.name for port in result.module.ports]
        assert found["verdicts"][found["verdict"][0]] == "dropped"
        assert found["reasons"][found["reason"][0]] == "reserved_address"


def test_columns_of_a_replay_as_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra arrow: pyarrow")
    good("replay", TOPOLOGY, CAPTURE, "--columns", tmp_path / "out.parquet")
    result = forward()
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.to_pylist() == result.to_arrow().to_pylist()
    names = {port.number: port.name for port in result.module.ports}
    verdicts = [verdict.name.lower() for verdict in vsw.Verdict]
    assert table["verdict"].to_pylist() == [verdicts[number] for number in result.verdict]
    assert table["port_in"].to_pylist() == [names.get(number) for number in result.port_in.tolist()]
    assert table["egress_port"].to_pylist() == [names.get(number) for number in result.egress_port.tolist()]
    assert table["several"].to_pylist() == (result.egress_port == -2).tolist()
    assert table["vlan"].to_pylist() == [None if vlan == 65535 else vlan for vlan in result.vlan.tolist()]
    assert table["reason"].to_pylist() == [vsw.Reason(number).name.lower() if number else None for number in result.reason.tolist()]


def test_columns_go_to_files_of_two_kinds(tmp_path: Path) -> None:
    done = run("replay", TOPOLOGY, CAPTURE, "--columns", tmp_path / "out.csv")
    assert done.returncode == 2
    assert "ends in .npz or .parquet" in done.stderr


def test_one_object_holds_the_same(tmp_path: Path) -> None:
    found = as_json("classify", CAPTURE, "--columns", ALL)
    assert found["columns"] == list(COLUMNS)
    assert found["problems"] == []
    assert [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]] == lines("--columns", ALL)
    assert as_json("classify", CAPTURE, "--where", "vlan == 4000")["rows"] == []
    assert good("classify", CAPTURE, "--format", "json", "--out", tmp_path / "out.json") == ""
    assert json.loads((tmp_path / "out.json").read_text())["rows"][:1] == [list(lines()[0].values())]
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(CAPTURE.read_bytes()[:5000])
    done = run("classify", cut, "--json", "--tolerant")
    assert done.returncode == 0
    [problem] = json.loads(done.stdout)["problems"]
    assert problem in done.stderr
    assert (run("classify", cut, "--json").returncode, run("classify", cut, "--json").stdout) == (1, "")
    assert run("classify", CAPTURE, "--json", "--format", "csv").returncode == 2
