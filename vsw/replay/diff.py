"""Two topologies, one capture: which frames change their fate, and why.

A frame's fate is its verdict, why it was dropped, and its copies: by which ports (by name) and with which bytes.  Both switches take the frames at
once, in a thread each, and keep of every frame two hashes and a count (:mod:`vsw.replay.fates`).  After each part of the frames they meet, and what
they did is compared (:mod:`vsw.replay.changes`) while it is in the cache: no memory is needed for frames whose fate stays.  Frames that changed
alike form a group; one of each goes through the reference twice, which says where the two part.
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
from vsw.replay.changes import KINDS as NUMBERS
from vsw.replay.changes import Changes, Did
from vsw.replay.fates import Fates
from vsw.replay.select import Selected
from vsw.replay.source import Source
from vsw.switch.result import Result, new_columns
from vsw.switch.run import BURST, BY_SOURCE, NO_PORT, Ingress, Parts, Run
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
SEVERAL = -2
VERDICTS, REASONS = list(Verdict), list(Reason)
#: Frames of a part: what is kept of them, for both sides, fits into the second-level cache.
PART = 1 << 13


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
    runs = [_Side(module, source, ingress, list(events(module))) for module in (before, after)]
    changes = _together(runs, progress)
    results = (runs[0].result, runs[1].result)
    found = Difference(results[0].frames, changes.frames(), changes.kinds(), _groups(runs, changes), results)
    if explained and found.groups:
        _explain(found.groups, runs, source)
    return found


class _Side:
    """One of the two runs."""

    def __init__(self, module: Module, source: Source, ingress: str | None, events: list[Event]) -> None:
        self.module = module
        self.names = {port.number: port.name for port in module.ports}
        self.source = source
        self.ingress = ingress
        self.events = events
        self.switch = Switch(module)
        self.fates = Fates(PART, self.names)
        self.columns = new_columns(PART)
        self.did = Did(self.columns, self.fates, [port.number for port in module.ports if port.kind == "uplink"])
        self.rows = 0
        self.error: BaseException | None = None
        self.result: Result

    def run(self, meeting: threading.Barrier, progress: Callable[[int, int], object] | None) -> None:
        def take(rows: int) -> None:
            self.rows = rows
            meeting.wait()
            self.fates.next(rows)

        try:
            self.result = Run(
                self.switch, self.source.frames, ingress=self.ingress, events=self.events, workers=1, columns=True, copies=False, out=None,
                egress=self.fates, exact=False, burst=BURST, progress=progress, parts=Parts(self.columns, take),
            ).result()  # fmt: skip
        except BaseException as error:
            # Handed to the thread that asked; the other run is not to wait for this one.
            self.error = error
            meeting.abort()

    def side(self, verdict: int, reason: int, egress: int) -> Side:
        found = VERDICTS[verdict]
        why = REASONS[reason].name.lower() if found is Verdict.DROPPED else None
        return Side(found.name.lower(), why, self.names.get(egress), egress == SEVERAL)


def _together(runs: Sequence[_Side], progress: Callable[[int, int], object] | None) -> Changes:
    one, other = runs
    changes, first = Changes(), 0

    def compare() -> None:
        nonlocal first
        if one.rows != other.rows:
            raise RuntimeError(f"the runs are {one.rows - other.rows} frames apart")
        changes.add(one.did, other.did, first, one.rows)
        first += one.rows

    meeting = threading.Barrier(2, action=compare)
    beside = threading.Thread(target=other.run, args=(meeting, None), name="vsw-diff", daemon=True)
    beside.start()
    one.run(meeting, progress)
    beside.join()
    errors = [run.error for run in runs if run.error is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return changes


def _groups(runs: Sequence[_Side], changes: Changes) -> list[Group]:
    """Frames that changed alike, largest groups first."""
    names = {number: name for name, number in NUMBERS.items()}
    groups = []
    for row in changes.groups():
        fates = zip(row["verdict"].tolist(), row["reason"].tolist(), row["egress_port"].tolist(), strict=True)
        one, other = (run.side(*fate) for run, fate in zip(runs, fates, strict=True))
        before, after = (run.names.get(port) for run, port in zip(runs, row["port_in"].tolist(), strict=True))
        groups.append(Group(names[int(row["kind"])], (before, after), one, other, int(row["frames"]), int(row["example"])))
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
