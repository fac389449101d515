"""vsw diff against the difference of two reference runs, a frame at a time."""

from __future__ import annotations

import dataclasses
import json
import random
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vsw
from tests.cli.run import CAPTURE, TOPOLOGY, as_json, good, run
from tests.differential.captures import CAPTURES, opened, stations, topology
from tests.differential.captures import frames_of as frames_of_capture
from tests.differential.strategies import Scenario, scenarios
from vsw.capture import PcapWriter
from vsw.config.dialects import Security
from vsw.config.module import Module, Port, StaticEntry, Vlan
from vsw.measure.lab import bench_module
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.replay.changes import KINDS as NUMBERS
from vsw.replay.changes import Changes, Did
from vsw.replay.diff import KINDS, Difference, diff
from vsw.replay.fates import Fates
from vsw.replay.source import Source
from vsw.switch.result import new_columns
from vsw.switch.switch import Event
from vsw.verdicts import Reason, Verdict

CHANGED = {"vid = 20": "vid = 30", 'vids = "10,20"': 'vids = "10,30"'}


def fate(module: Module, decision: Decision) -> tuple[Any, ...]:
    names = {port.number: port.name for port in module.ports}
    reason = decision.reason if decision.verdict is Verdict.DROPPED else Reason.NONE
    return decision.verdict, reason, frozenset((names[copy.port], copy.data, copy.length) for copy in decision.copies)


def by_reference(module: Module, frames: list[Any], events: list[tuple[int, int, bool]], port: int | None) -> list[tuple[Any, ...]]:
    switch = ReferenceSwitch(module, narrate=False)
    waiting = sorted(events, key=lambda event: event[0])  # those of one time stay in order
    found = []
    for frame in frames:
        while waiting and waiting[0][0] <= frame.time:
            _, number, up = waiting.pop(0)
            switch.set_port(number, up)
        decision = switch.forward(bytes(frame.data), frame.length, frame.time, port, source_mac=port is None)
        found.append(fate(module, decision))
    return found


def kind_of(one: tuple[Any, ...], other: tuple[Any, ...], uplinks: tuple[set[str], set[str]]) -> str | None:
    """What happened to a frame, from both fates; None if nothing did."""
    (verdict, reason, copies), (now, reason_now, copies_now) = one, other
    if one == other:
        return None
    if verdict != now:
        return {Verdict.DELIVERED: "delivered", Verdict.DROPPED: "dropped", Verdict.CONSUMED: "consumed"}[now]
    if reason != reason_now:
        return "reason"
    if len(copies) != len(copies_now):
        return "duplicated" if len(copies_now) > len(copies) else "fewer"
    ports, ports_now = ({name for name, _, _ in found} for found in (copies, copies_now))
    if ports == ports_now:
        return "retagged"
    return "moved_uplink" if len(ports) == 1 and ports <= uplinks[0] and ports_now <= uplinks[1] else "moved_port"


def uplinks(module: Module) -> set[str]:
    return {port.name for port in module.ports if port.kind == "uplink"}


def compared(before: Module, after: Module, path: Path, events: list[tuple[int, int, bool]] = [], ingress: str | None = None) -> Difference:  # noqa: B006
    """The difference, after it was found to be that of two reference runs."""
    with Source([path], strict=False) as source:
        frames = list(source.frames)
        found = diff(
            before, after, source, ingress="source-mac" if ingress is None else ingress,
            events=lambda module: [Event(time, number, up) for time, number, up in events],
        )  # fmt: skip
    fates = [by_reference(module, frames, events, None if ingress is None else module.port(ingress).number) for module in (before, after)]
    both = (uplinks(before), uplinks(after))
    expected = {number: kind for number, (one, other) in enumerate(zip(*fates, strict=True)) if (kind := kind_of(one, other, both)) is not None}
    assert dict(zip(found.changed.tolist(), [list(KINDS)[kind] for kind in found.kinds], strict=True)) == expected
    assert found.frames == len(frames)
    assert sum(group.frames for group in found.groups) == len(expected)
    for group in found.groups:
        assert expected[group.example] == group.kind
        for side, decision, module in zip((group.before, group.after), group.decisions or (), (before, after), strict=True):
            one = fate(module, decision)
            assert one == fates[0 if module is before else 1][group.example]
            assert side.verdict == one[0].name.lower()
            assert side.several == (len(one[2]) > 1)
            assert side.port == next((name for name, _, _ in one[2]), None) or side.several
        assert group.steps
    return found


def write(path: Path, frames: list[Any]) -> Path:
    with PcapWriter(path) as writer:
        for frame in frames:
            writer.write(frame.data, frame.time, frame.length)
    return path


def varied(module: Module, rng: random.Random) -> Module:
    """The same module with something changed, as people do."""
    ports = list(module.ports)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(ports))
        port = ports[at]
        change: dict[str, Any] = rng.choice([
            {"up": not port.up},
            {"mtu": rng.choice([60, 1500])},
            {"priority_tags": rng.choice(["no", "if-nonzero", "always"])},
            {"protected": not port.protected},
            {"security": Security(rng.random() < 0.3, rng.random() < 0.5, rng.random() < 0.5)},
            {"name": f"renamed{at}"},
            {"vlan": rng.choice([other.vlan for other in ports if other.vlan.mode not in ("private",)] or [Vlan("access", 1)])},
        ])  # fmt: skip
        if "vlan" in change and (module.teams or module.private or not module.dialect.virtual):
            continue
        ports[at] = dataclasses.replace(port, **change)
    # Static entries that follow from a port's own settings are not made anew: both sides get the same ones.
    return dataclasses.replace(module, ports=tuple(ports), pad=rng.random() < 0.5, forward_bpdu=rng.random() < 0.5)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(scenarios(), st.integers(0, 1 << 30))
def test_any_change_of_any_module(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario, seed: int) -> None:
    rng = random.Random(seed)
    path = write(tmp_path_factory.mktemp("diff") / "t.pcap", [frame for frame in scenario.frames if frame.time >= 0])
    after = varied(scenario.module, rng)
    ingress = None
    if rng.random() < 0.7:
        names = {port.name for port in scenario.module.ports} & {port.name for port in after.ports}
        ingress = rng.choice(sorted(names)) if names else None
    compared(scenario.module, after, path, scenario.events if rng.random() < 0.5 else [], ingress)


@pytest.mark.parametrize("path", [path for path in CAPTURES if opened(path) and path.stat().st_size < 300_000], ids=lambda path: path.name)
def test_real_captures(path: Path) -> None:
    capture = opened(path)
    assert capture is not None
    macs, vids = stations(frames_of_capture(capture))
    hosts, strict = (topology(name, "vsw", macs, vids) for name in ("hosts", "strict"))
    compared(hosts, strict, path)
    assert not len(compared(hosts, hosts, path).changed)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    text = TOPOLOGY.read_text()
    for old, new in CHANGED.items():
        text = text.replace(old, new)
    path = tmp_path / "after.toml"
    path.write_text(text)
    return path


def test_the_example(changed: Path) -> None:
    before, after = vsw.load(TOPOLOGY).module(), vsw.load(changed).module()
    assert len(compared(before, after, CAPTURE).changed) > 100


def test_the_command(changed: Path, tmp_path: Path) -> None:
    found = as_json("diff", TOPOLOGY, changed, CAPTURE, "--capture", tmp_path / "out.pcapng")
    assert (found["frames"], found["changed"]) == (2963, 1059)
    assert found["kinds"] == {"delivered": 112, "dropped": 414, "reason": 95, "retagged": 438}
    assert sum(group["frames"] for group in found["groups"]) == 1059
    assert found["groups"][0] == {
        "kind": "dropped", "frames": 176, "port_in": ["router.0", "router.0"], "example": 371,
        "before": {"verdict": "delivered", "reason": None, "port": "db1.0", "several": False},
        "after": {"verdict": "dropped", "reason": "vlan_not_allowed", "port": None, "several": False},
        "steps": [
            {"rule": "6 VLAN", "before": "router.0 is trunk: VID 20 is in VLAN 20; inside [8100 pcp 0 dei 0 vid 20]",
             "after": "router.0 is trunk and does not accept VID 20"},
            {"rule": "15 verdict", "before": "delivered: at least one copy left the module",
             "after": "dropped, vlan_not_allowed: the port that the frame came in by does not accept its VLAN"},
        ],
    }  # fmt: skip
    # The capture of the frames that changed has them all, on their interfaces, and they change again.
    again = as_json("diff", TOPOLOGY, changed, tmp_path / "out.pcapng")
    assert (again["frames"], again["changed"], again["kinds"]) == (1059, 1059, found["kinds"])
    text = good("diff", TOPOLOGY, changed, CAPTURE)
    assert text.startswith(f"{TOPOLOGY} to {changed}: 2,963 frames, 1,059 change their fate\n")
    assert "Frame 371, one of 176: to db1.0 before, dropped: vlan_not_allowed after" in text


def test_exit_codes(changed: Path) -> None:
    assert run("diff", TOPOLOGY, TOPOLOGY, CAPTURE, "--exit-code").returncode == 0
    assert run("diff", TOPOLOGY, changed, CAPTURE, "--exit-code").returncode == 1
    assert run("diff", TOPOLOGY, changed, CAPTURE).returncode == 0
    assert run("diff", TOPOLOGY, changed, CAPTURE, "--ingress", "web9.0").returncode == 2
    assert run("diff", TOPOLOGY, "none.toml", CAPTURE).returncode == 1


def test_events_happen_on_both_sides(changed: Path) -> None:
    found = json.loads(good("diff", TOPOLOGY, changed, CAPTURE, "--at", "5s:vmnic0=down", "--json"))
    assert found["changed"] > 0
    assert np.sum([group["frames"] for group in found["groups"]]) == found["changed"]


@pytest.mark.parametrize("rows", [1, 100, 2963])
def test_parts_do_not_show(changed: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    before, after = vsw.load(TOPOLOGY).module(), vsw.load(changed).module()
    found = []
    for part in (1 << 13, rows):
        monkeypatch.setattr("vsw.replay.diff.PART", part)
        with Source([CAPTURE]) as source:
            one = diff(before, after, source, explained=False)
        found.append((one.frames, one.changed.tolist(), one.kinds.tolist(), one.groups, [result.counters.delivered for result in one.results]))
    assert found[0] == found[1]


def test_a_damaged_capture_ends_both_runs(changed: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pcapng"
    path.write_bytes(CAPTURE.read_bytes()[:-10])
    before, after = vsw.load(TOPOLOGY).module(), vsw.load(changed).module()
    with Source([path]) as source, pytest.raises(vsw.CaptureError):
        diff(before, after, source)
    with Source([path], strict=False) as source:
        assert diff(before, after, source).frames == 2962


def test_a_run_that_fails_does_not_leave_the_other_waiting(changed: Path) -> None:
    before, after = vsw.load(TOPOLOGY).module(), vsw.load(changed).module()
    ports = tuple(dataclasses.replace(port, name=f"new.{port.name}") for port in after.ports)
    with Source([CAPTURE]) as source, pytest.raises(vsw.UsageError, match="no port"):
        diff(before, dataclasses.replace(after, ports=ports), source, ingress=before.ports[0].name)


def test_no_frame_hides_behind_its_own_bytes(tmp_path: Path) -> None:
    """Where the hash of a copy multiplies what these bytes make 0, with the port's name and the tag as the other factor."""
    module, mac = bench_module(8, vnics=8, vlans=1), 0x020000000001
    sender, receiver, other = module.ports[2:5]
    front = mac.to_bytes(6) + (sender.mac or 0).to_bytes(6)
    named = int.from_bytes(blake2b(receiver.name.encode(), digest_size=8).digest())
    moved, retagged = 0x9E3779B97F4A7C15.to_bytes(8, "little"), bytes.fromhex("0800 0000") + (0xA0761D6478BD642F ^ named).to_bytes(8, "little")

    def made(vid: int, to: Port, carried: Vlan) -> Module:
        changed = {sender: Vlan("access", vid), receiver: carried, other: carried}
        ports = tuple(dataclasses.replace(port, vlan=changed.get(port, port.vlan)) for port in module.ports)
        return dataclasses.replace(module, ports=ports, static=(*module.static, StaticEntry(None, mac, to.number)))

    access, trunk = Vlan("access", 1), Vlan("trunk", vids=frozenset({1, 2}))
    for body, before, after, kind in (
        (moved, made(1, receiver, access), made(1, other, access), "moved_port"),
        (retagged, made(1, receiver, trunk), made(2, receiver, trunk), "retagged"),
    ):
        frames = [SimpleNamespace(data=front + body + bytes(40), time=0, length=None)]
        assert compared(before, after, write(tmp_path / kind, frames), ingress=sender.name).by_kind() == {kind: 1}


def test_many_groups() -> None:
    rng = np.random.default_rng(1)
    count = 20_000
    fates = [Fates(count, {0: "p"}) for _ in range(2)]
    columns = [new_columns(count) for _ in range(2)]
    for one, kept in zip(columns, fates, strict=True):
        one["verdict"][:] = rng.integers(0, 3, count)
        one["reason"][:] = rng.integers(0, 4, count) * (one["verdict"] == Verdict.DROPPED)
        one["egress_port"][:] = rng.integers(-2, 20, count)
        one["port_in"][:] = rng.integers(0, 20, count)
        kept.rows["copies"] = rng.integers(0, 3, count)
        kept.rows["ports"] = kept.rows["copies"]
        kept.rows["count"] = rng.integers(0, 3, count)
    changes = Changes()
    sides = [Did(one, kept, [3, 4]) for one, kept in zip(columns, fates, strict=True)]
    for first in (0, count):
        changes.add(*sides, first, count)
    same = np.ones(count, bool)
    for name in ("verdict", "reason"):
        same &= columns[0][name] == columns[1][name]
    for name in ("copies", "count"):
        same &= fates[0].rows[name] == fates[1].rows[name]
    where = np.flatnonzero(~same)
    assert changes.frames().tolist() == [*where.tolist(), *(where + count).tolist()]
    kinds = changes.kinds()
    assert set(kinds.tolist()) == set(NUMBERS.values()) - {NUMBERS["retagged"]}
    # Each group as a dict of tuples would have it.
    expected: dict[tuple[int, ...], list[int]] = {}
    names = ("verdict", "reason", "egress_port", "port_in")
    for place, kind in zip(where.tolist(), kinds.tolist(), strict=False):
        key = (kind, *(int(one[name][place]) for name in names for one in columns))
        expected.setdefault(key, []).append(place)
    rows = changes.groups()
    assert len(rows) == len(expected) > 10_000
    found = {(int(row["kind"]), *(value for name in names for value in row[name].tolist())): row for row in rows}
    assert {key: row["frames"] for key, row in found.items()} == {key: 2 * len(places) for key, places in expected.items()}
    assert {key: row["example"] for key, row in found.items()} == {key: places[0] for key, places in expected.items()}


def test_kinds_have_a_sentence_each() -> None:
    assert list(KINDS) == list(NUMBERS)
    assert list(NUMBERS.values()) == list(range(len(KINDS)))
