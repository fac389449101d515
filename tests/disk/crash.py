"""Explores what a crash of the host may leave of an image.

A recording layer stands where the backend meets the kernel: every write, flush, punched hole and change of length is logged. A crash at any place in
the log leaves all that was written before the last completed flush, and any subset of what came later, torn at 512 bytes. Each such state becomes a
file, is opened, checked and read: flushed sectors must be there, the others hold one of the values they were given since.

Sectors are told apart by content: each holds the number of the operation that wrote it, 64 times.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vsw.disk.blocks import Blocks, Qcow2Blocks, RawBlocks
from vsw.disk.blocks.direct import FileDirect
from vsw.disk.blocks.hostfile import HostFile
from vsw.disk.blocks.qcow2.check import Repair, check_image

SECTOR = 512
EXHAUSTIVE = 5
"""Pending pieces up to which every subset is a state."""


@dataclass(frozen=True)
class Change:
    """Bytes of the file from ``offset`` on become ``data``; or, without data, the file becomes ``size`` bytes long."""

    offset: int
    data: bytes
    size: int | None = None
    durable: bool = False
    """On stable storage by itself (FUA) once it is done."""


Event = Change | None
"""None is a flush."""


@dataclass
class Recorder:
    """The log, and which flushes are left out of it: a mutant's (the numbers of flushes within one operation)."""

    log: list[Event] = field(default_factory=list)
    removed: frozenset[int] = frozenset()
    flushes: int = 0

    def flush(self) -> bool:
        """True if this flush happens."""
        self.flushes += 1
        if self.flushes in self.removed:
            return False
        self.log.append(None)
        return True


class RecordingFile(HostFile):
    """A host file that logs what changes it."""

    def __init__(self, path: Path, recorder: Recorder) -> None:
        super().__init__(path, read_only=False)
        self.recorder = recorder

    def write(self, offset: int, data: bytes | bytearray | memoryview, fua: bool = False) -> None:
        self.recorder.log.append(Change(offset, bytes(data), durable=fua))
        super().write(offset, data, fua)

    def writev(self, offset: int, pieces: list[bytes | bytearray | memoryview]) -> None:  # type: ignore[override]
        self.write(offset, b"".join(pieces))

    def flush(self) -> None:
        if self.recorder.flush():
            super().flush()

    def punch(self, offset: int, length: int) -> None:
        self.recorder.log.append(Change(offset, bytes(length)))
        super().punch(offset, length)

    def reserve(self, offset: int, length: int) -> None:
        if offset + length > self.size:
            self.recorder.log.append(Change(0, b"", offset + length))
        super().reserve(offset, length)

    def _truncate(self, size: int) -> None:
        self.recorder.log.append(Change(0, b"", size))
        super()._truncate(size)


class RecordingDirect(FileDirect):
    """The same for a raw file, whose backend talks to the compiled layer."""

    recorder: Recorder

    def write_from(self, offset: int, data: bytes | bytearray | memoryview, fua: bool) -> int:
        self.recorder.log.append(Change(offset, bytes(data), durable=fua))
        return super().write_from(offset, data, fua)

    def flush_all(self) -> int:
        return super().flush_all() if self.recorder.flush() else 0

    def punch(self, offset: int, length: int) -> int:
        self.recorder.log.append(Change(offset, bytes(length)))
        return super().punch(offset, length)

    def zero_range(self, offset: int, length: int) -> int:
        self.recorder.log.append(Change(offset, bytes(length)))
        return super().zero_range(offset, length)


@dataclass
class Step:
    """One operation: its place in the log, and what the disk held when it was done."""

    start: int
    stop: int
    after: np.ndarray
    also: dict[int, set[int]]
    """Sectors that may hold other values than those of ``after``, while it was not flushed."""
    flush: bool
    fua: tuple[int, int] | None = None
    """Sectors that are durable when it is done."""


def number_of(sectors: bytes) -> np.ndarray:
    """The number that each sector holds; -1 for a sector that is torn."""
    cells = np.frombuffer(sectors, "<u8").reshape(-1, SECTOR // 8)
    whole = (cells == cells[:, :1]).all(axis=1)
    return np.where(whole, cells[:, 0].astype(np.int64), -1)


def content(number: int, sectors: int) -> bytes:
    return number.to_bytes(8, "little") * (SECTOR // 8 * sectors)


class Recording:
    """A disk over a recording layer, and what was done to it."""

    def __init__(self, path: Path, kind: str, removed: frozenset[int] = frozenset()) -> None:
        self.path = path
        self.kind = kind
        self.base = path.read_bytes()
        self.recorder = Recorder(removed=removed)
        self.blocks: Blocks
        if kind == "raw":
            self.blocks = raw = RawBlocks(path)
            direct = RecordingDirect(raw._fd)
            direct.recorder = self.recorder
            raw._file = direct
        else:
            self.blocks = Qcow2Blocks(path, file=RecordingFile(path, self.recorder))
        self.steps: list[Step] = []
        self.initial = self._now()

    def _now(self) -> np.ndarray:
        return number_of(self.blocks.read(0, self.blocks.size))

    def do(
        self, work: Callable[[Any], object], *, flush: bool = False, fua: tuple[int, int] | None = None, zeroes: tuple[int, int] = (0, 0)
    ) -> None:
        """Do ``work``; ``zeroes`` are sectors that hold their former value or zero from now on, until a flush."""
        start = len(self.recorder.log)
        self.recorder.flushes = 0
        work(self.blocks)
        also = {sector: {0} for sector in range(*zeroes)}
        self.steps.append(Step(start, len(self.recorder.log), self._now(), also, flush, fua))

    def random_steps(self, chance: random.Random, count: int) -> None:
        """Writes, zeroes, discards and flushes of whole sectors."""
        total = self.blocks.size // SECTOR
        for _ in range(count):
            number = len(self.steps) + 1
            first = chance.randrange(total)
            sectors = min(chance.choice([1, 1, 2, 5, 9, 20]), total - first)
            offset, length = first * SECTOR, sectors * SECTOR
            what = chance.random()
            if what < 0.5:
                fua = chance.random() < 0.15
                data = content(number, sectors)
                self.do(lambda blocks: blocks.write(offset, data, fua), fua=(first, first + sectors) if fua else None)  # noqa: B023
            elif what < 0.62:
                unmap = chance.random() < 0.5
                self.do(lambda blocks: blocks.write_zeroes(offset, length, unmap))  # noqa: B023
            elif what < 0.75:
                self.do(lambda blocks: blocks.discard(offset, length), zeroes=(first, first + sectors))  # noqa: B023
            else:
                self.do(lambda blocks: blocks.flush(), flush=True)

    # States.

    def states(self, chance: random.Random, each: int, every: int = 1) -> Iterator[tuple[int, bytes]]:
        """(place in the log, the file): up to ``each`` states for every ``every``-th place where the crash may be."""
        log = self.recorder.log
        for place in range(0, len(log) + 1, every):
            last = max((number for number in range(place) if log[number] is None), default=-1)
            known = [event for event in log[: last + 1] if event is not None]
            later: list[Change] = []
            sure: set[int] = set()
            for event in log[last + 1 : place]:
                assert event is not None
                # Who promises durability has kept it when the next operation begins.
                if event.durable and event is not log[place - 1]:
                    sure.add(len(later))
                    later.append(event)
                else:
                    later += pieces(event)
            unsure = [number for number in range(len(later)) if number not in sure]
            for subset in subsets(len(unsure), chance, each):
                chosen = sorted(sure | {unsure[number] for number in subset})
                yield place, applied(self.base, known, [later[number] for number in chosen])

    def allowed(self, place: int) -> tuple[np.ndarray, list[set[int]]]:
        """What each sector may hold after a crash at ``place``: (one number that is allowed, the sets of all that are)."""
        begun = [step for step in self.steps if step.start <= place]
        flushed = max((number for number, step in enumerate(begun) if step.flush and step.stop <= place), default=-1)
        before = begun[flushed].after if flushed >= 0 else self.initial
        sets = [{int(value)} for value in before]
        previous = before
        for step in begun[flushed + 1 :]:
            common = min(len(sets), len(step.after), len(previous))
            for sector in np.flatnonzero(step.after[:common] != previous[:common]).tolist():
                sets[sector].add(int(step.after[sector]))
            if len(previous) != len(step.after):  # what is cut, or comes new
                for sector in range(common, len(sets)):
                    sets[sector].add(0)
            for sector, values in step.also.items():
                sets[sector] |= values
            if step.fua is not None and step.stop < place:  # the last event may still be on its way
                for sector in range(*step.fua):
                    sets[sector] = {int(step.after[sector])}
                before = before.copy()
                before[slice(*step.fua)] = step.after[slice(*step.fua)]
            previous = step.after
        return before, sets


def pieces(event: Change) -> list[Change]:
    """What a crash may tear a change into: the sectors of the file."""
    if event.size is not None:
        return [event]
    found = []
    offset, stop = event.offset, event.offset + len(event.data)
    while offset < stop:
        end = min(stop, (offset // SECTOR + 1) * SECTOR)
        found.append(Change(offset, event.data[offset - event.offset : end - event.offset]))
        offset = end
    return found


def subsets(count: int, chance: random.Random, most: int) -> Iterator[list[int]]:
    """Subsets of ``count`` pieces in order: all of them if there are few; else none, all, those that lack a piece or a few, and random ones."""
    if count <= EXHAUSTIVE and 1 << count <= most:
        for size in range(count + 1):
            yield from map(list, itertools.combinations(range(count), size))
        return
    yield []
    yield list(range(count))
    for _ in range(max(0, most - 2)):
        likely = chance.choice([0.1, 0.5, 0.9, 0.98])
        yield [number for number in range(count) if chance.random() < likely]


def applied(base: bytes, known: list[Change], chosen: list[Change]) -> bytes:
    """The file, with the changes made to it."""
    state = bytearray(base)
    for change in (*known, *chosen):
        if change.size is not None:
            if change.size < len(state):
                del state[change.size :]
            state.extend(bytes(change.size - len(state)))
            continue
        end = change.offset + len(change.data)
        if not any(change.data) and change.offset >= len(state):
            continue  # a hole punched behind the end
        state.extend(bytes(max(0, end - len(state))))
        state[change.offset : end] = change.data
    return bytes(state)


class LostError(AssertionError):
    """A state that must not be."""


@dataclass
class Explorer:
    """Judges states; ``second`` is asked too, on every ``second_every``-th: (path) -> number of corruptions."""

    directory: Path
    second: Callable[[Path], int] | None = None
    second_every: int = 1
    states: int = 0
    asked: int = 0
    leaky: int = 0
    _allowed: tuple[tuple[int, int], np.ndarray, list[set[int]]] | None = None

    def explore(self, recording: Recording, chance: random.Random, each: int, every: int = 1) -> None:
        seen: set[int] = set()
        for place, state in recording.states(chance, each, every):
            key = hash((place, state))
            if key not in seen:
                seen.add(key)
                self.judge(recording, place, state)

    def judge(self, recording: Recording, place: int, state: bytes) -> None:
        self.states += 1
        path = self.directory / "state"
        path.write_bytes(state)
        where = f"state {self.states}, crash at {place} of {len(recording.recorder.log)} events"
        if recording.kind == "raw":
            with RawBlocks(path, read_only=True) as blocks:
                self._compare(recording, place, blocks, where)
            return
        report = check_image(path)
        if report.corruptions and not report.dirty:
            raise LostError(f"{where}: {report.messages}")
        self.leaky += bool(report.leaks)
        if self.second is not None and not report.dirty and self.states % self.second_every == 0:
            self.asked += 1
            if wrong := self.second(path):
                raise LostError(f"{where}: a second opinion found {wrong} corruptions")
        with Qcow2Blocks(path) as blocks:  # repairs an image that is marked dirty
            self._compare(recording, place, blocks, where)
        after = check_image(path, Repair.SAFE)
        if after.corruptions or after.leaks or after.marks:
            raise LostError(f"{where}: not repaired: {after}")
        if report.leaks or report.dirty:
            with Qcow2Blocks(path, read_only=True) as blocks:
                self._compare(recording, place, blocks, where + ", repaired")

    def _compare(self, recording: Recording, place: int, blocks: Blocks, where: str) -> None:
        if self._allowed is None or self._allowed[0] != (id(recording), place):
            before, sets = recording.allowed(place)
            self._allowed = ((id(recording), place), before, sets)
        _, before, sets = self._allowed
        found = number_of(blocks.read(0, blocks.size))
        common = min(len(found), len(sets))
        for sector in np.flatnonzero(found[:common] != before[:common]).tolist():
            if int(found[sector]) not in sets[sector]:
                raise LostError(f"{where}: sector {sector} holds {found[sector]}, not one of {sorted(sets[sector])}")


def scratch() -> str | None:
    """A directory in memory where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
