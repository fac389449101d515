"""vsw assert: each kind of rule holds and breaks where it should, and what it writes is minimal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from tests.cli.run import CAPTURE, TOPOLOGY, good, run
from vsw.capture import PcapngWriter, open_capture
from vsw.replay.asserting import check, minimal
from vsw.replay.rules import load_rules
from vsw.replay.select import Selected
from vsw.replay.source import Source

LAB = """
[hosts.h.switches.s]
dialect = "{dialect}"
[hosts.h.switches.s.ports]
up1 = {{ kind = "uplink" }}
up2 = {{ kind = "uplink" }}
web1 = {{ kind = "vnic", mac = "00:50:56:00:00:01", vlan = {{ mode = "access", vid = 10 }} }}
web2 = {{ kind = "vnic", mac = "00:50:56:00:00:02", vlan = {{ mode = "access", vid = 10 }} }}
db1 = {{ kind = "vnic", mac = "00:50:56:00:00:03", vlan = {{ mode = "access", vid = {db} }} }}
"""
PORTS = ("up1", "up2", "web1", "web2", "db1")
MACS = {"web1": "005056000001", "web2": "005056000002", "db1": "005056000003", "out": "020000000009", "all": "ffffffffffff"}
MS = 1_000_000


def frame(port: str, source: str, destination: str, vid: int = 0, mark: int = 0) -> tuple[str, bytes]:
    tag = bytes.fromhex("8100") + vid.to_bytes(2, "big") if vid else b""
    return port, bytes.fromhex(MACS[destination] + MACS[source]) + tag + b"\x08\x00" + mark.to_bytes(2, "big") + bytes(46)


def capture(path: Path, frames: list[tuple[str, bytes]], step: int = MS) -> Path:
    with PcapngWriter(path, [f"h/s/{port}" for port in PORTS]) as writer:
        for number, (port, data) in enumerate(frames):
            writer.write(data, number * step, interface=PORTS.index(port))
    return path


#: (rule, dialect, db1's VLAN, frames, numbers of those that break it, size of the minimal capture)
CASES = {
    "isolation": (
        'kind = "isolation"\nfrom = "web*"\nto = "db1"', "vsw", 10,
        [("web1", "web1", "web2"), ("web1", "web1", "db1"), ("web2", "web2", "all")], [1, 2], 1,
    ),
    "isolation holds": (
        'kind = "isolation"\nfrom = "web*"\nto = "db1"', "vsw", 20,
        [("web1", "web1", "web2"), ("web1", "web1", "db1"), ("web2", "web2", "all")], [], 0,
    ),
    "isolation where": (
        'kind = "isolation"\nfrom = "web*"\nto = "db1"\nwhere = "not broadcast"', "vsw", 10,
        [("web2", "web2", "all"), ("web1", "web1", "db1")], [1], 1,
    ),
    "reachability": (
        'kind = "reachability"\nfrom = "web1"\nto = ["web2", "db1"]', "vsw", 20,
        [("web1", "web1", "web2"), ("web1", "web1", "db1"), ("web1", "web1", "out")], [1, 2], 1,
    ),
    "reflection holds": ('kind = "no_uplink_reflection"', "vsw", 20, [("up1", "out", "all", 10), ("up1", "out", "web1", 10)], [], 0),
    "reflection": (
        'kind = "no_uplink_reflection"', "ovs", 20,
        [("web1", "web1", "all"), ("up1", "out", "web1", 10), ("up1", "out", "all", 10)], [2], 1,
    ),
    "duplicates": (
        'kind = "no_duplicates"\nof = "vnics"', "ovs", 20,
        [("up1", "out", "all", 10, 1), ("up1", "out", "all", 10, 2), ("up2", "out", "all", 10, 1)], [2], 2,
    ),
    "duplicates later": (
        'kind = "no_duplicates"\nof = "vnics"\nwindow = 0.001', "ovs", 20,
        [("up1", "out", "all", 10, 1), ("up1", "out", "all", 10, 2), ("up2", "out", "all", 10, 1)], [], 0,
    ),
    "balance": ('kind = "balance"\nmost = 0.6\nat_least = 3', "vsw", 20, [("web1", "web1", "out", 0, mark) for mark in range(5)], [0, 1, 2, 3, 4], 3),
    "balance by bytes": ('kind = "balance"\nmost = 0.6\nat_least = 3\nby = "bytes"', "vsw", 20, [("web1", "web1", "out")] * 2, [], 0),
    "drops": (
        'kind = "drops"\nallow = ["vlan_not_allowed"]', "vsw", 20,
        [("web1", "web1", "web2", 10), ("web1", "web2", "web1"), ("up1", "out", "out", 10)], [1, 2], 1,
    ),
    "drops from": ('kind = "drops"\nfrom = "uplinks"', "vsw", 20, [("web1", "web2", "web1"), ("up1", "out", "out", 10)], [1], 1),
    # What a learning switch does with a frame depends on one before it: both are needed.
    "drops after learning": (
        'kind = "drops"', "ovs", 20,
        [("web2", "web2", "all"), ("web1", "out", "all"), ("web2", "web2", "web1"), ("web1", "web1", "out")], [3], 2,
    ),
    "tags": ('kind = "tags"\nof = "uplinks"\nvids = "10,20"', "vsw", 0, [("web1", "web1", "out"), ("db1", "db1", "out")], [1], 1),
    "tags of access ports": ('kind = "tags"\nof = "vnics"\nvids = 0', "vsw", 20, [("up1", "out", "web1", 10), ("up1", "out", "all", 10)], [], 0),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "dialect", "db", "frames", "broken", "size"), CASES.values(), ids=CASES)
def test_a_rule(tmp_path: Path, rule: str, dialect: str, db: int, frames: list[Any], broken: list[int], size: int) -> None:
    (tmp_path / "lab.toml").write_text(LAB.format(dialect=dialect, db=db))
    (tmp_path / "rules.toml").write_text(f'[[rules]]\nname = "it"\n{rule}\n')
    path = capture(tmp_path / "t.pcapng", [frame(*one) for one in frames])
    done = run("assert", tmp_path / "lab.toml", path, tmp_path / "rules.toml", "--out", tmp_path / "out", "--json")
    [found] = json.loads(done.stdout)["rules"]
    assert found["frames"] == len(broken)
    assert found["example"] == (broken[0] + 1 if broken else None)
    assert len(found["minimal"]) == size
    assert done.returncode == (3 if broken else 0)
    module = vsw.load(tmp_path / "lab.toml").module()
    with Source([path]) as source:
        assert check(module, source, load_rules(str(tmp_path / "rules.toml"), module))[0].broken.tolist() == broken
    if broken:
        shrinks(tmp_path, Path(found["capture"]))
    else:
        assert found["capture"] is None


def shrinks(tmp_path: Path, path: Path) -> None:
    """The capture breaks the rule, and none of its frames can be left out."""
    module = vsw.load(tmp_path / "lab.toml").module()
    rules = load_rules(str(tmp_path / "rules.toml"), module)
    with open_capture(path) as failing:
        frames, names = list(failing), failing.interface_names()
    for left_out in (None, *range(len(frames))):
        part = tmp_path / "part.pcapng"
        with PcapngWriter(part, names) as writer:
            for number, one in enumerate(frames):
                if number != left_out:
                    writer.write(one.data, one.time, one.length, one.interface)
        with Source([part]) as source:
            [checked] = check(module, source, rules, minimise=False)
        assert checked.holds == (left_out is not None)


@given(st.integers(1, 60), st.sets(st.integers(0, 59), min_size=1, max_size=6), st.integers(1, 3))
def test_the_search_ends_with_frames_that_are_all_needed(count: int, needed: set[int], any_of: int) -> None:
    """Breaks where ``any_of`` of the needed frames are there (or all there are)."""
    frames = np.arange(count)
    here = needed & set(frames.tolist())
    least = min(any_of, len(here))

    def breaks(part: Any) -> bool:
        return len(here & set(part.tolist())) >= least > 0

    if breaks(frames):
        found = minimal(frames, breaks)
        assert breaks(found)
        assert len(found) == least
    else:
        assert not here


@given(st.sets(st.integers(0, 2962), max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_selected_frames_are_those_frames(chosen: set[int], start: int, stop: int) -> None:
    numbers = sorted(chosen)
    with open_capture(CAPTURE) as source:
        part = Selected(source, np.array(numbers, np.int64))
        assert len(part) == len(numbers)
        assert list(part) == [source.frame(number) for number in numbers]
        rows = vsw.classify(part)
        assert rows["length"].tolist() == [source.frame(number).length for number in numbers]
        reader = part.reader(start, stop)
        reader.check()


RULES = """
[[rules]]
kind = "drops"
allow = ["deja_vu"]

[[rules]]
name = "balance/of: uplinks"
kind = "balance"
most = 0.6
"""


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    done = run("assert", TOPOLOGY, CAPTURE, tmp_path / "rules.toml", "--out", tmp_path / "out")
    assert done.returncode == 3
    assert "Rules: 2, broken: 2" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["balance_of: uplinks.pcapng", "drops 1.pcapng"]
    assert "1 frame breaks 'drops 1', without it it holds" in done.stdout
    (tmp_path / "rules.toml").write_text('[[rules]]\nkind = "no_uplink_reflection"\n')
    assert "broken: 0" in good("assert", TOPOLOGY, CAPTURE, tmp_path / "rules.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "not TOML"),
        ("", "rules: Field required"),
        ("rules = []", "rules"),
        ('[[rules]]\nkind = "isolaton"', "rules.0: needs a kind: isolation"),
        ('[[rules]]\nkind = "isolation"\nfrom = "web1.0"', "rules.0.to"),
        ('[[rules]]\nkind = "isolation"\nfrom = "web1.0"\nto = "db9.0"', "esx1/vSwitch0 has no port 'db9.0' (did you mean"),
        ('[[rules]]\nkind = "drops"\nallow = ["deja_vue"]', "did you mean 'deja_vu'"),
        ('[[rules]]\nkind = "drops"\nwhere = "vlan =="', "ends where a value of vlan"),
        ('[[rules]]\nkind = "drops"\nnonsense = 1', "rules.0.nonsense: is not known here"),
        ('[[rules]]\nkind = "balance"\nmost = 2', "most"),
        ('[[rules]]\nkind = "drops"\nname = "x"\n[[rules]]\nkind = "drops"\nname = "x"', "another rule has this name"),
    ],
)
def test_what_is_wrong_with_rules(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rules.toml").write_text(text)
    done = run("assert", TOPOLOGY, CAPTURE, tmp_path / "rules.toml")
    assert done.returncode == 1
    assert message in done.stderr


def test_files_that_are_missing(tmp_path: Path) -> None:
    assert run("assert", TOPOLOGY, CAPTURE).returncode == 2
    assert run("assert", TOPOLOGY, CAPTURE, tmp_path / "none.toml").returncode == 1
