"""Two topologies, one capture: which frames change their fate, and why.

A frame's fate is its verdict, why it was dropped, and its copies: by which ports (by name) and with which bytes.  Both switches take the frames at
once, in a thread each, and keep of every frame two hashes and a count (:mod:`vsw.replay.fates`), which are compared as columns.  Frames that
changed alike form a group; one of each goes through the reference twice, which says where the two part.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsw.capture import Frame
from vsw.config.module import Module
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.replay.fates import Fates
from vsw.replay.select import Selected
from vsw.replay.source import Source
from vsw.switch.result import Result
from vsw.switch.run import BY_SOURCE, NO_PORT, Ingress
from vsw.switch.switch import Event, Switch
from vsw.verdicts import Reason, Verdict

#: What can happen to a frame between two configurations, with a sentence each.
KINDS = {
    "delivered": "was dropped (or consumed) before, and is delivered now",
    "dropped": "was delivered (or consumed) before, and is dropped now",
    "consumed": "is taken by the control plane of the host now, and was not",
    "reason": "is dropped before and now, for another reason",
    "moved_uplink": "leaves by another uplink",
    "moved_port": "leaves by another port",
    "duplicated": "leaves in more copies than before",
    "fewer": "leaves in fewer copies than before",
    "retagged": "leaves by the same ports, with other bytes: other tags, or padding",
}
NUMBERS = {name: number for number, name in enumerate(KINDS)}
SEVERAL = -2
VERDICTS, REASONS = list(Verdict), list(Reason)
#: Frames of the reference between two reports of progress.
CHUNK = 4096


class Side(NamedTuple):
    """What one configuration does with a group's frames: ``port`` is where they leave by (None: nowhere, or ``several``)."""

    verdict: str
    reason: str | None
    port: str | None
    several: bool

    def text(self) -> str:
        """In a few words."""
        if self.verdict == "dropped":
            return f"dropped: {self.reason}"
        if self.verdict == "consumed":
            return "consumed"
        return "to several ports" if self.several else f"to {self.port}"


class Step(NamedTuple):
    """Where the reference first finds something else: the rule, and what it says before and after (empty if it says nothing)."""

    rule: str
    before: str
    after: str


@dataclass
class Group:
    """Frames that changed alike: how, what both configurations do with them, how many they are, and one of them (its number, from 0) explained."""

    kind: str
    port_in: tuple[str | None, str | None]
    before: Side
    after: Side
    frames: int
    example: int
    steps: tuple[Step, ...] = ()
    decisions: tuple[Decision, Decision] | None = None


@dataclass
class Difference:
    """What :func:`diff` found.

    ``frames`` in all; numbers of those that ``changed`` (from 0, ascending) and each one's kind (index into :data:`KINDS`); groups, largest first.
    """

    frames: int
    changed: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    groups: list[Group]
    results: tuple[Result, Result]

    def by_kind(self) -> dict[str, int]:
        """Frames of each kind that occurred."""
        counts = np.bincount(self.kinds, minlength=len(KINDS))
        return {name: int(counts[number]) for name, number in NUMBERS.items() if counts[number]}


def no_events(module: Module) -> Iterable[Event]:  # noqa: ARG001
    """None, for any module."""
    return ()


def diff(
    before: Module,
    after: Module,
    source: Source,
    *,
    ingress: str | None = None,
    events: Callable[[Module], Iterable[Event]] = no_events,
    explained: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> Difference:
    """Compare what two modules do with the same frames.

    ``ingress`` is a port's name, which both modules have, ``"source-mac"`` or None (see :meth:`~vsw.Switch.forward`).  ``events`` gives those of a
    module. ``explained``: an example of each group goes through the reference; where frames change what later frames meet (learning, events,
    guards), all frames before it do too.  Raises what :meth:`~vsw.Switch.forward` raises.
    """
    source.keep()
    frames = len(source.frames)
    runs = [_Side(module, source, frames, ingress, list(events(module))) for module in (before, after)]
    _together(runs, progress)
    results = (runs[0].result, runs[1].result)
    changed, kinds = _changes(runs)
    found = Difference(frames, changed, kinds, _groups(runs, changed, kinds), results)
    if explained and found.groups:
        _explain(found.groups, runs, source)
    return found


class _Side:
    """One of the two runs."""

    def __init__(self, module: Module, source: Source, frames: int, ingress: str | None, events: list[Event]) -> None:
        self.module = module
        self.names = {port.number: port.name for port in module.ports}
        self.uplinks = np.array([port.number for port in module.ports if port.kind == "uplink"], np.int64)
        self.source = source
        self.ingress = ingress
        self.events = events
        self.switch = Switch(module)
        self.fates = Fates(frames, self.names)
        self.error: BaseException | None = None
        self.result: Result

    def run(self, progress: Callable[[int, int], object] | None) -> None:
        try:
            self.result = self.switch.forward(
                self.source.frames, ingress=self.ingress, events=self.events, egress=self.fates, progress=progress
            )
        except BaseException as error:
            # Handed to the thread that asked.
            self.error = error

    def side(self, frame: int) -> Side:
        verdict, egress = VERDICTS[int(self.result.verdict[frame])], int(self.result.egress_port[frame])
        reason = REASONS[int(self.result.reason[frame])].name.lower() if verdict is Verdict.DROPPED else None
        return Side(verdict.name.lower(), reason, self.names.get(egress), egress == SEVERAL)

    def port_in(self, frame: int) -> str | None:
        return self.names.get(int(self.result.port_in[frame]))


def _together(runs: Sequence[_Side], progress: Callable[[int, int], object] | None) -> None:
    other = threading.Thread(target=runs[1].run, args=(None,), name="vsw-diff", daemon=True)
    other.start()
    runs[0].run(progress)
    other.join()
    for run in runs:
        if run.error is not None:
            raise run.error


def _changes(runs: Sequence[_Side]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Numbers of the frames whose fates differ, and how."""
    one, other = (run.result for run in runs)
    count = one.frames
    fates, others = (run.fates.rows[:count] for run in runs)
    differs = one.verdict != other.verdict
    differs |= one.reason != other.reason
    differs |= fates["copies"] != others["copies"]
    differs |= fates["count"] != others["count"]
    changed = np.flatnonzero(differs).astype(np.int64)
    verdict, verdict_now = one.verdict[changed], other.verdict[changed]
    fates, others = fates[changed], others[changed]
    egress, egress_now = one.egress_port[changed], other.egress_port[changed]
    to_uplinks = np.isin(egress, runs[0].uplinks) & np.isin(egress_now, runs[1].uplinks)
    moved = fates["ports"] != others["ports"]
    kinds = np.full(len(changed), NUMBERS["retagged"], np.uint8)
    # Later ones have precedence.
    for name, where in (
        ("moved_port", moved),
        ("moved_uplink", moved & to_uplinks),
        ("duplicated", others["count"] > fates["count"]),
        ("fewer", others["count"] < fates["count"]),
        ("reason", (verdict == Verdict.DROPPED) & (verdict_now == Verdict.DROPPED)),
        ("delivered", (verdict != Verdict.DELIVERED) & (verdict_now == Verdict.DELIVERED)),
        ("dropped", (verdict != Verdict.DROPPED) & (verdict_now == Verdict.DROPPED)),
        ("consumed", (verdict != Verdict.CONSUMED) & (verdict_now == Verdict.CONSUMED)),
    ):
        kinds[where] = NUMBERS[name]
    return changed, kinds


def _groups(runs: Sequence[_Side], changed: NDArray[np.int64], kinds: NDArray[np.uint8]) -> list[Group]:
    """Frames that changed alike, by what the columns say of them."""
    if not len(changed):
        return []
    columns = [kinds.astype(np.int64)]
    for run in runs:
        result = run.result
        columns += [part[changed].astype(np.int64) for part in (result.verdict, result.reason, result.egress_port, result.port_in)]
    key = np.zeros(len(changed), np.int64)
    for column in columns:
        _, numbers = np.unique(column, return_inverse=True)
        _, key = np.unique(key * (int(numbers.max()) + 1) + numbers.reshape(-1), return_inverse=True)
    _, first, counts = np.unique(key.reshape(-1), return_index=True, return_counts=True)
    names = list(KINDS)
    groups = []
    for at, amount in zip(first.tolist(), counts.tolist(), strict=True):
        frame = int(changed[at])
        ports = (runs[0].port_in(frame), runs[1].port_in(frame))
        groups.append(Group(names[kinds[at]], ports, runs[0].side(frame), runs[1].side(frame), amount, frame))
    return sorted(groups, key=lambda group: (-group.frames, group.example))


def _explain(groups: list[Group], runs: Sequence[_Side], source: Source) -> None:
    """Have the reference tell of each group's example where the two configurations part."""
    wanted = sorted(group.example for group in groups)
    told = [_told(run, source, wanted) for run in runs]
    for group in groups:
        one, other = (found[group.example] for found in told)
        group.decisions = (one, other)
        group.steps = tuple(parting(one, other))


def _told(run: _Side, source: Source, wanted: list[int]) -> dict[int, Decision]:
    """What the reference says of these frames."""
    keeps = run.switch.datapath.stateful or bool(run.events)
    numbers = np.arange(wanted[-1] + 1) if keeps else np.array(wanted)
    frames = Selected(source.frames, numbers)
    way = Ingress(run.switch, source.frames, run.ingress)
    reference = ReferenceSwitch(run.module, narrate=False)
    waiting = deque(sorted(run.events, key=lambda event: event.time))
    chosen, found = set(wanted), {}
    for number, frame in zip(numbers.tolist(), frames, strict=True):
        while waiting and waiting[0].time <= frame.time:
            event = waiting.popleft()
            reference.set_port(run.module.port(event.port).number, event.up)
        reference.narrate = number in chosen
        port, by_source = _port_in(way, frame)
        decision = reference.forward(bytes(frame.data), frame.length, frame.time, port, source_mac=by_source)
        if number in chosen:
            found[number] = decision
    return found


def _port_in(way: Ingress, frame: Frame) -> tuple[int | None, bool]:
    if way.interfaces is not None:
        port = int(way.interfaces[frame.interface])
        return (None if port in (NO_PORT, BY_SOURCE) else port), port == BY_SOURCE
    return way.port, way.source_mac


def parting(before: Decision, after: Decision) -> list[Step]:
    """The first rule of which the two say different things, and where both end, if that differs."""
    ours, theirs = list(before.steps), list(after.steps)
    pairs = zip(ours, theirs, strict=False)
    at = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))
    steps = []
    one = ours[at] if at < len(ours) else None
    other = theirs[at] if at < len(theirs) else None
    if one is not None and other is not None and one.rule == other.rule:
        steps.append(Step(one.rule, one.text, other.text))
    else:
        steps += [Step(one.rule, one.text, "")] if one is not None else []
        steps += [Step(other.rule, "", other.text)] if other is not None else []
    if ours and theirs and ours[-1] != theirs[-1]:
        last = Step(ours[-1].rule, ours[-1].text, theirs[-1].text)
        steps += [last] if last not in steps else []
    return steps
