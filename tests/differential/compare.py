"""The compiled switch and the reference, side by side, on the same frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.differential.strategies import Scenario, play
from vsw import Batch
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.switch.result import Result
from vsw.switch.switch import Event, Switch
from vsw.verdicts import Reason, Verdict

NO_PORT = 0xFFFF
NO_VLAN = 0xFFFF
NONE, SEVERAL = -1, -2
SLACK = 64


def batch_of(scenario: Scenario) -> Batch:
    """The scenario's frames, one behind the other in one buffer, with room behind the last one (or the fast lane would take none of them)."""
    buffer = np.frombuffer(b"".join(frame.data for frame in scenario.frames) + bytes(SLACK), np.uint8)
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


def run_datapath(scenario: Scenario, **options: Any) -> Result:
    events = [Event(time, port, up) for time, port, up in scenario.events]
    return Switch(scenario.module).forward(batch_of(scenario), ingress=ingress_of(scenario), events=events, copies=True, **options)


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


def differences(scenario: Scenario, decisions: list[Decision], counters: Any, result: Result) -> list[str]:
    """What the two do not agree on: a line each; nothing if they agree."""
    found = []
    columns = (result.verdict, result.reason, result.port_in, result.egress_port, result.vlan, result.normalised)
    if result.frames != len(decisions):
        return [f"{result.frames} frames, reference {len(decisions)}"]
    copies: dict[int, list[tuple[int, bytes, int]]] = {}
    for frame, port, data, length in result.egress():
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
        if got != want:
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
