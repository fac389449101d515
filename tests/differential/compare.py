"""The compiled switch and the reference, side by side, on the same frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from tests.differential.strategies import Scenario, play
from vsw import Batch
from vsw.datapath.source import FrameSource
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.switch.result import COLUMNS, Counters, Result
from vsw.switch.switch import Event, Switch
from vsw.verdicts import Reason, Verdict

NO_PORT = 0xFFFF
NO_VLAN = 0xFFFF
NONE, SEVERAL = -1, -2
#: Behind the last frame: readers of whole words may look at it, and must not be led by it.  It looks like tags.
TAIL = bytes.fromhex("8100000a88a8000a9100000a08004500") * 8


class Way(NamedTuple):
    """One way through the datapath; the results of all ways are the same."""

    exact: bool
    burst: int = 256
    workers: int = 1
    copies: bool = False


#: Every frame by the exact path, with the copies; the fast lane; small and odd bursts; several workers.
EVERY_WAY = (
    Way(True, copies=True),
    Way(False, copies=True),
    Way(False),
    Way(False, burst=7),
    Way(False, burst=1),
    Way(True, burst=7, workers=2),
    Way(False, workers=2),
    Way(False, workers=3),
)
TWO_WAYS = (Way(True, copies=True), Way(False))


def batch_of(scenario: Scenario) -> Batch:
    """The scenario's frames, one behind the other in one buffer, with room behind the last one."""
    buffer = np.frombuffer(b"".join(frame.data for frame in scenario.frames) + TAIL, np.uint8)
    captured = np.array([len(frame.data) for frame in scenario.frames], np.uint32)
    offsets = np.concatenate(([0], np.cumsum(captured)[:-1])).astype(np.uint64) if len(captured) else np.empty(0, np.uint64)
    return Batch.from_arrays(
        buffer,
        offsets,
        captured,
        wire_lengths=np.array([frame.length for frame in scenario.frames], np.uint32),
        time=np.array([frame.time for frame in scenario.frames], np.int64),
    )


def ingress_of(scenario: Scenario) -> Any:
    if scenario.source_mac:
        return "source-mac"
    return np.array([NO_PORT if frame.port_in is None else frame.port_in for frame in scenario.frames], np.uint16)


def run_datapath(scenario: Scenario, frames: FrameSource | None = None, switch: Switch | None = None, **options: Any) -> Result:
    """The scenario through a switch (a new one unless one is given); ``frames`` stands for the scenario's own."""
    events = [Event(time, port, up) for time, port, up in scenario.events]
    options.setdefault("copies", True)
    switch = switch or Switch(scenario.module)
    return switch.forward(batch_of(scenario) if frames is None else frames, ingress=ingress_of(scenario), events=events, **options)


def digest(result: Result) -> str:
    """Of all columns and counters: equal for equal results."""
    found = hashlib.blake2b(digest_size=16)
    for name in COLUMNS:
        found.update(np.ascontiguousarray(getattr(result, name)).tobytes())
    for field in fields(Counters):
        found.update(np.asarray(getattr(result.counters, field.name), np.uint64).tobytes())
    return found.hexdigest()


def disagreements(scenario: Scenario, frames: FrameSource | None = None, ways: Iterable[Way] = EVERY_WAY) -> list[str]:
    """What the reference and the ways through the datapath do not agree on: a line each, nothing if they agree."""
    return compare(scenario, *run_reference(scenario), frames, ways)


def compare(scenario: Scenario, decisions: list[Decision], counters: Any, frames: FrameSource | None, ways: Iterable[Way]) -> list[str]:
    """:func:`disagreements` with what the reference said."""
    if frames is None:
        frames = batch_of(scenario)
    module = scenario.module
    keeps = module.learning != "none" or bool(scenario.events) or any(port.bpdu_guard for port in module.ports)
    switch = Switch(module)
    wanted = ""
    for number, way in enumerate(ways):
        if number and keeps:
            switch = Switch(module)
        result = run_datapath(scenario, frames, switch, **way._asdict())
        mark = digest(result)
        if mark == wanted and not way.copies:
            continue
        found = differences(scenario, decisions, counters, result, way.copies)
        if wanted and mark != wanted:
            found = found or ["columns or counters are not those of the first way"]
        if found:
            return [f"{way}: {line}" for line in found]
        wanted = mark
    return []


def run_reference(scenario: Scenario) -> tuple[list[Decision], Any]:
    switch = ReferenceSwitch(scenario.module, narrate=False)
    return list(play(switch, scenario)), switch.counters


def row_of(decision: Decision) -> tuple[int, int, int, int, int, int]:
    """A decision as the row that the columns hold for it."""
    egress = NONE if not decision.copies else decision.copies[0].port if len(decision.copies) == 1 else SEVERAL
    return (
        int(decision.verdict),
        int(decision.reason) if decision.verdict is Verdict.DROPPED else 0,
        NO_PORT if decision.port_in is None else decision.port_in,
        egress,
        NO_VLAN if decision.vlan is None else decision.vlan,
        int(decision.normalised),
    )


def differences(scenario: Scenario, decisions: list[Decision], counters: Any, result: Result, copies_kept: bool = True) -> list[str]:
    """What the two do not agree on: a line each; nothing if they agree.  Copies are compared where the run kept them."""
    found = []
    columns = (result.verdict, result.reason, result.port_in, result.egress_port, result.vlan, result.normalised)
    if result.frames != len(decisions):
        return [f"{result.frames} frames, reference {len(decisions)}"]
    copies: dict[int, list[tuple[int, bytes, int]]] = {}
    for frame, port, data, length in result.egress() if copies_kept else ():
        copies.setdefault(frame, []).append((port, data, length))
    for number, decision in enumerate(decisions):
        frame = scenario.frames[number]
        row = tuple(int(column[number]) for column in columns)
        if row != row_of(decision):
            found.append(
                f"frame {number} port {frame.port_in} {frame.data.hex()} ({frame.length}): (verdict, reason, port_in, egress, vlan, normalised) "
                f"is {row} {Reason(row[1]).name}, reference {row_of(decision)} {decision.reason.name}"
            )
        want = [(copy.port, copy.data, copy.length) for copy in decision.copies]
        got = copies.get(number, [])
        if copies_kept and got != want:
            found.append(f"frame {number} port {frame.port_in} {frame.data.hex()} ({frame.length}): copies {_shown(got)}, reference {_shown(want)}")
    return found + counter_differences(counters, result.counters)


def _shown(copies: list[tuple[int, bytes, int]]) -> str:
    return "; ".join(f"{port}: {data.hex()} ({length})" for port, data, length in copies) or "none"


def counter_differences(reference: Any, counters: Any) -> list[str]:
    found = []
    for name in ("offered", "delivered", "consumed", "copies_selected", "copies_out", "time_backwards", "normalised"):
        if int(getattr(reference, name)) != int(getattr(counters, name)):
            found.append(f"counter {name} is {getattr(counters, name)}, reference {getattr(reference, name)}")
    for name in ("dropped", "rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "port_dropped", "port_filtered"):
        want = np.asarray(getattr(reference, name), np.uint64)
        got = np.asarray(getattr(counters, name), np.uint64)
        if want.ndim == 1 and name == "dropped":
            got, want = got[: len(Reason)], want[: len(Reason)]
        elif want.ndim == 2:
            got, want = got[:, : len(Reason)], want[:, : len(Reason)]
        if not np.array_equal(got, want):
            found.append(f"counter {name} differs: {got.tolist()}, reference {want.tolist()}")
    if counters.offered != counters.delivered + counters.consumed + int(counters.dropped.sum()):
        found.append("offered is not the sum of the verdicts")
    if counters.copies_selected != counters.copies_out + int(counters.port_filtered.sum()):
        found.append("copies_selected is not copies_out + copies_filtered")
    return found
