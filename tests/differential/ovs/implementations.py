"""The implementations that are held against Open vSwitch, behind one interface.

An implementation takes a module and frames, in order, and starts with nothing learned.  It returns for each frame what left: port number ->
frames.  ``explain`` tells why, for a failure's message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tests.differential.ovs.driver import Egress, Offered
from vsw.config.module import Module
from vsw.datapath.batch import Batch
from vsw.reference.switch import ReferenceSwitch
from vsw.switch.switch import Event, Switch
from vsw.verdicts import Reason


@dataclass(frozen=True)
class Outcome:
    """What an implementation did with one frame."""

    egress: Egress
    reason: Reason


@dataclass(frozen=True)
class PortEvent:
    """A port goes up or down before the frame of that index."""

    before: int
    port: int
    up: bool


class Forward(Protocol):
    def __call__(self, module: Module, frames: Sequence[Offered], events: Sequence[PortEvent] = ()) -> list[Outcome]: ...


@dataclass(frozen=True)
class Implementation:
    name: str
    forward: Forward

    def __repr__(self) -> str:
        return self.name


def reference(module: Module, frames: Sequence[Offered], events: Sequence[PortEvent] = ()) -> list[Outcome]:
    switch = ReferenceSwitch(module, narrate=False)
    outcomes = []
    for time, frame in enumerate(frames):
        _apply(switch, events, time)
        decision = switch.forward(frame.data, len(frame.data), time, frame.port)
        egress: Egress = {}
        for copy in decision.copies:
            egress.setdefault(copy.port, []).append(bytes(copy.data))
        outcomes.append(Outcome(egress, Reason(decision.reason)))
    return outcomes


def explain(module: Module, frames: Sequence[Offered], events: Sequence[PortEvent] = ()) -> str:
    """The rules that the reference applied to the last of the frames."""
    switch = ReferenceSwitch(module)
    for time, frame in enumerate(frames):
        _apply(switch, events, time)
        decision = switch.forward(frame.data, len(frame.data), time, frame.port)
    return "\n".join(f"  {step.rule}: {step.text}" for step in decision.steps)


def _apply(switch: ReferenceSwitch, events: Sequence[PortEvent], index: int) -> None:
    for event in events:
        if event.before == index:
            switch.set_port(event.port, event.up)


def datapath(module: Module, frames: Sequence[Offered], events: Sequence[PortEvent] = ()) -> list[Outcome]:
    # Imported here, so that the reference can be compared where the datapath is not built.


    lengths = np.array([len(frame.data) for frame in frames], dtype=np.uint32)
    offsets = np.concatenate(([0], np.cumsum(lengths[:-1], dtype=np.uint64))).astype(np.uint64)
    batch = Batch.from_arrays(
        np.frombuffer(b"".join(frame.data for frame in frames), dtype=np.uint8),
        offsets,
        lengths,
        time=np.arange(len(frames), dtype=np.int64),
        port_in=np.array([frame.port for frame in frames], dtype=np.uint16),
    )
    result = Switch(module).forward(batch, events=[Event(event.before, event.port, event.up) for event in events], copies=True)
    egress: list[Egress] = [{} for _ in frames]
    for place, copy in enumerate(result.copies):
        egress[int(copy["frame"])].setdefault(int(copy["port"]), []).append(bytes(result.copy_bytes(place)))
    return [Outcome(out, Reason(int(reason))) for out, reason in zip(egress, result.reason, strict=True)]


IMPLEMENTATIONS = (Implementation("reference", reference), Implementation("datapath", datapath))
