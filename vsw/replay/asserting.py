"""Rules held against a topology and captures, and for each that is broken the fewest frames that break it.

The search is delta debugging (ddmin): pieces of what is left are taken away as long as the rest still breaks the rule.  What it ends with is
minimal in the sense that without any one of its frames the rule holds.  Frames keep their times and interfaces, events their times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import Module
from vsw.datapath.source import FrameSource
from vsw.replay.rules import Outcome, Rule
from vsw.replay.select import Selected
from vsw.replay.source import Source
from vsw.switch.switch import Event, Switch

Frames = NDArray[np.int64]


@dataclass
class Checked:
    """What came of a rule: the frames that break it (from 0), and a minimal set of frames of the captures that does; both empty if it holds."""

    rule: Rule
    broken: Frames
    minimal: Frames

    @property
    def holds(self) -> bool:
        """No frame breaks the rule."""
        return not len(self.broken)


def check(
    module: Module,
    source: Source,
    rules: Sequence[Rule],
    *,
    ingress: str | int | None = None,
    events: Iterable[Event] = (),
    minimise: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> list[Checked]:
    """Hold rules against what a module does with the frames of a source.  Raises what :meth:`~vsw.Switch.forward` raises."""
    source.keep()
    events = list(events)

    def outcome(frames: FrameSource) -> Outcome:
        result = Switch(module).forward(frames, ingress=ingress, events=events, copies=True, progress=progress)
        return Outcome(module, frames, result)

    def breaks(rule: Rule, frames: Frames) -> bool:
        return bool(len(rule.broken(outcome(Selected(source.frames, frames)))))

    whole = outcome(source.frames)
    found = []
    for rule in rules:
        broken = rule.broken(whole)
        minimal = np.empty(0, np.int64)
        if len(broken) and minimise:
            minimal = _smallest(rule, whole, broken, lambda frames, rule=rule: breaks(rule, frames))  # type: ignore[misc]
        found.append(Checked(rule, broken, minimal))
    return found


def _smallest(rule: Rule, whole: Outcome, broken: Frames, breaks: Callable[[Frames], bool]) -> Frames:
    """A minimal set of frames that breaks the rule."""
    last = int(broken[0])
    for candidate in rule.candidates(whole, broken):
        if breaks(candidate):
            return minimal(candidate, breaks)
        last = max(last, int(candidate[-1]))
    # What else matters came before, and most likely from or to the same stations.
    related = _related(whole, broken[:1], last)
    for candidate in (related, np.arange(last + 1)):
        if breaks(candidate):
            return minimal(candidate, breaks)
    return minimal(np.arange(whole.result.frames), breaks)


def _related(whole: Outcome, frames: Frames, last: int) -> Frames:
    """Frames up to ``last`` that have a MAC address in common with those given."""
    rows = whole.rows[: last + 1]
    stations = {row[name].tobytes() for row in whole.rows[frames] for name in ("src", "dst")}
    keep = np.zeros(len(rows), np.bool_)
    for mac in stations:
        octets = np.frombuffer(mac, np.uint8)
        keep |= (rows["src"] == octets).all(axis=1) | (rows["dst"] == octets).all(axis=1)
    return np.flatnonzero(keep).astype(np.int64)


def minimal(frames: Frames, breaks: Callable[[Frames], bool]) -> Frames:
    """ddmin: a part of ``frames``, which break something, of which no frame can be left out."""
    pieces = 2
    while len(frames) > 1:
        pieces = min(pieces, len(frames))
        bounds = np.linspace(0, len(frames), pieces + 1).astype(np.int64)
        for start, stop in pairwise(bounds.tolist()):
            rest = np.concatenate([frames[:start], frames[stop:]])
            if breaks(rest):
                frames = rest
                pieces = max(2, pieces - 1)
                break
        else:
            if pieces == len(frames):
                break
            pieces *= 2
    return frames
