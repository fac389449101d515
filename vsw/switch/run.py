"""One run of frames through a switch: where they came in, how many threads, what is kept."""

from __future__ import annotations

import threading
import time as clock
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsw.datapath.pipeline import END, FOREVER, SINK, UNTIL, Worker, add_counters, count_backwards
from vsw.datapath.source import FrameReader, FrameSource
from vsw.errors import UsageError, VswError
from vsw.switch.copies import COPY, Recorder
from vsw.switch.result import COLUMNS, Counters, Result, new_columns

if TYPE_CHECKING:
    from vsw.switch.switch import Event, Switch

SOURCE_MAC = "source-mac"
NO_PORT = 0xFFFF
#: In a map of interfaces: this one is no port of any module, look at the source address.
BY_SOURCE = 0xFFFE
#: Frames between two looks at progress and signals.
CHUNK = 1 << 19
#: Frames that pass through the stages together.
BURST = 256
_ALL = (1 << 64) - 1


class Ingress:
    """How the ingress port of each frame is found."""

    def __init__(self, switch: Switch, frames: FrameSource, ingress: str | int | NDArray[np.uint16] | None) -> None:
        self.port: int | None = None
        self.array: NDArray[np.uint16] | None = None
        self.interfaces: NDArray[np.uint16] | None = None
        self.source_mac = False
        self.name = "given"
        if ingress is None:
            given = getattr(frames, "port_in", None)
            if given is not None:
                self._take_array(given, frames)
                return
            self.interfaces = _interface_ports(switch, frames)
            if self.interfaces is not None:
                self.name = "interface"
                self.source_mac = bool((self.interfaces == BY_SOURCE).any())
            else:
                self._by_source()
        elif isinstance(ingress, str) and ingress == SOURCE_MAC:
            self._by_source()
        elif isinstance(ingress, str | int | np.integer):
            self.port = switch.port(ingress if isinstance(ingress, str) else int(ingress))
        else:
            self._take_array(ingress, frames)

    def _by_source(self) -> None:
        self.source_mac = True
        self.name = SOURCE_MAC

    def _take_array(self, array: NDArray[np.uint16], frames: FrameSource) -> None:
        array = np.asarray(array)
        if array.dtype != np.uint16 or array.ndim != 1:
            raise UsageError(f"ingress must be a one-dimensional array of uint16, not {array.ndim} dimensions of {array.dtype}")
        if len(array) != len(frames):
            raise UsageError(f"ingress has {len(array)} rows for {len(frames)} frames")
        self.array = np.ascontiguousarray(array)


def _interface_ports(switch: Switch, frames: FrameSource) -> NDArray[np.uint16] | None:
    """The port of each interface that is named ``host/switch/port``; None if no interface is."""
    names = list(frames.interface_names())
    ports = np.full(max(len(names), 1), BY_SOURCE, np.uint16)
    own = {port.name: port.number for port in switch.module.ports}
    found = False
    for index, name in enumerate(names):
        module, slash, port = name.rpartition("/")
        if not slash or module.count("/") != 1:
            continue
        found = True
        ports[index] = own.get(port, NO_PORT) if module == switch.module.name else NO_PORT
    return ports if found else None


class Parts(NamedTuple):
    """Columns that are handed on a part at a time instead of being kept: ``take`` is called with the number of ``rows`` that ``columns`` hold now."""

    columns: dict[str, NDArray[Any]]
    take: Callable[[int], object]

    @property
    def rows(self) -> int:
        """Frames of a part; the last one has fewer."""
        return len(self.columns["verdict"])


class Share:
    """What one thread does of a run: a stretch of the frames, and what it kept of them."""

    def __init__(self, run: Run, open_reader: Callable[[], FrameReader], first: int, rows: int | None) -> None:
        self.run = run
        self.open_reader = open_reader
        self.reader = open_reader()
        self.first = first
        self.rows = rows
        self.frames = 0
        self.parts: list[dict[str, NDArray[Any]]] = []
        self.copies: list[NDArray[np.void]] = []
        self.error: BaseException | None = None
        self.spare = False
        self.recorder = Recorder() if run.copies else None
        self.worker: Worker = run.switch.datapath.worker()
        self.stop = threading.Event()

    def work(self) -> None:
        try:
            self._work()
        except BaseException as error:
            # Handed to the thread that asked.
            self.error = error

    def _work(self) -> None:
        run = self.run
        events = list(run.events)
        sink = run.egress if run.egress is not None else self.recorder
        ingress = run.ingress
        array = None if ingress.array is None else ingress.array[self.first :]
        self.worker.start(
            self.reader,
            port=ingress.port,
            ingress=array,
            interface_ports=ingress.interfaces,
            source_mac=ingress.source_mac,
            sink=None if sink is None else sink.sink,
            exact=run.exact,
        )
        room = 0
        while not self.stop.is_set():
            if run.columns and not room:
                room = self._next_part() if run.parts is not None else self._new_part()
            done = self.worker.frames
            until = events[0].time if events else FOREVER
            stopped = self.worker.run(room if run.columns else CHUNK, until, run.burst)
            count = self.worker.frames - done
            room -= count
            self.frames += count
            if self.recorder is not None:
                self.recorder.check()
                self.copies.append(self.recorder.take())
            if stopped == SINK:
                run.egress.check()
                raise VswError("the egress sink stopped without saying why")
            if stopped == END:
                break
            if stopped == UNTIL:
                event = events.pop(0)
                run.switch.set_port(event.port, event.up)
            run.report(self)
        if run.parts is not None:
            run.parts.take(run.parts.rows - room)
        elif self.parts:
            last = self.parts[-1]
            self.parts[-1] = {name: column[: len(column) - room] for name, column in last.items()}

    def _next_part(self) -> int:
        parts = self.run.parts
        assert parts is not None
        if self.frames:
            parts.take(parts.rows)
        self.worker.columns(parts.columns)
        return parts.rows

    def _new_part(self) -> int:
        run = self.run
        if run.out is not None:
            columns = run.out
            part = {name: column[self.first + self.frames :] for name, column in columns.items()}
            if self.rows is not None:
                part = {name: column[: self.rows - self.frames + 1] for name, column in part.items()}
        else:
            rows = CHUNK if self.rows is None else max(1, self.rows - self.frames)
            part = new_columns(rows)
        room = len(part["verdict"])
        if not room:
            # `out` is full.  A row to spare shows whether the frames have ended too.
            if self.spare:
                raise UsageError(f"out has room for {self.frames - 1} frames; there are more")
            self.spare = True
            part, room = new_columns(1), 1
        self.parts.append(part)
        self.worker.columns(part)
        return room


class Run:
    """The whole of one call of :meth:`Switch.forward`."""

    def __init__(
        self,
        switch: Switch,
        frames: FrameSource,
        *,
        ingress: str | int | NDArray[np.uint16] | None,
        events: Iterable[Event],
        workers: int,
        columns: bool,
        copies: bool,
        out: Result | None,
        egress: Any,
        exact: bool,
        burst: int,
        progress: Callable[[int, int], object] | None,
        parts: Parts | None = None,
    ) -> None:
        if workers < 1:
            raise UsageError(f"workers must be 1 or more, not {workers}")
        if not 1 <= burst <= BURST:
            raise UsageError(f"a burst has 1 to {BURST} frames, not {burst}")
        if egress is not None and copies:
            raise UsageError("copies go to an egress sink or are kept, not both")
        self.switch = switch
        self.source = frames
        self.columns = columns or out is not None
        self.copies = copies
        self.egress = egress
        self.exact = exact
        self.burst = burst
        self.progress = progress
        self.parts = parts
        self.out = None if out is None else out.columns_for_reuse()
        self.events = sorted(events, key=lambda event: event.time)
        for event in self.events:
            switch.port(event.port)
            if not -FOREVER - 1 <= event.time <= FOREVER:
                raise UsageError(f"an event's time is within 64 bits of nanoseconds, not {event.time}")
        self.ingress = Ingress(switch, frames, ingress)
        alone = switch.datapath.stateful or bool(self.events) or egress is not None or parts is not None
        self.workers = 1 if alone else workers
        if self.out is not None and self.workers > 1 and len(self.out["verdict"]) < len(frames):
            raise UsageError(f"out has room for {len(self.out['verdict'])} frames; there are more")
        self.shares: list[Share] = []

    def report(self, share: Share) -> None:
        if self.progress is not None and share is self.shares[0] and len(self.shares) == 1:
            self.progress(share.worker.position, share.frames)

    def result(self) -> Result:
        begin = clock.perf_counter()
        error: VswError | None = None
        try:
            if self.switch.datapath.stateful:
                with self.switch.datapath.alone():
                    error = self._forward()
            else:
                error = self._forward()
        finally:
            counters = self._counters()
        result = Result(
            self.switch.module,
            self.source,
            frames=sum(share.frames for share in self.shares),
            seconds=clock.perf_counter() - begin,
            counters=counters,
            columns=self._join_columns() if self.columns and self.parts is None else None,
            copies=self._join_copies() if self.copies else None,
            ingress=self.ingress.name,
            workers=len(self.shares),
        )
        if error is not None:
            error.result = result
            raise error
        return result

    def _counters(self) -> Counters:
        total = None
        highest: int | None = None
        for share in self.shares:
            counters = share.worker.counters()
            if highest is not None and share.frames and share.worker.first_time < highest:
                counters["time_backwards"], _ = count_backwards(share.open_reader(), highest, share.frames)
            if share.worker.clock is not None:
                highest = share.worker.clock if highest is None else max(highest, share.worker.clock)
            total = add_counters(total, counters)
            self.switch.datapath.retire(share.worker)
        if total is None:
            raise UsageError("nothing ran")
        return Counters.from_worker(total, self.switch.rows)

    def _forward(self) -> VswError | None:
        if self.workers == 1:
            return self._one()
        return self._several()

    def _one(self) -> VswError | None:
        share = Share(self, lambda: self.source.reader(0, _ALL), 0, _known_length(self.source))
        self.shares = [share]
        share.work()
        if share.error is not None:
            raise share.error
        return _problem(share.reader)

    def _ranges(self) -> Any:
        """Stretches of the source's bytes; None where frames have to be counted: arrays, a slice of a capture, one port or one given row a frame."""
        if not hasattr(self.source, "ranges") or self.ingress.array is not None or self.out is not None:
            return None
        try:
            return self.source.ranges(self.workers)
        except UsageError:
            return None

    def _several(self) -> VswError | None:
        source: Any = self.source
        pieces = self._ranges()
        if pieces is None:
            count = len(self.source)
            bounds = [count * k // self.workers for k in range(self.workers + 1)]
            self.shares = [
                # the last one goes on to the end, where what is wrong with the input shows
                Share(self, partial(self.source.reader, start, stop if stop < count else _ALL), start, stop - start)
                for start, stop in pairwise(bounds)
                if start < stop
            ] or [Share(self, partial(self.source.reader, 0, 0), 0, 0)]
            self._together(self.shares)
            return _problem(self.shares[-1].reader)
        self.shares = [Share(self, partial(source.reader_bytes, piece.start_offset, piece.stop_offset), 0, None) for piece in pieces]
        self._together(self.shares)
        for k, share in enumerate(self.shares):
            ended: Any = share.reader
            problem = _problem(ended)
            if problem is not None:
                self._abandon(k + 1)
                return problem
            end = ended.stopped_at
            if k + 1 < len(pieces) and end != pieces[k + 1].start_offset:
                # The guessed boundary was none: what follows is read again from where this share really ended.
                self._abandon(k + 1)
                last = Share(self, partial(source.reader_bytes, end, pieces[-1].stop_offset), 0, None)
                self.shares.append(last)
                self._together([last])
                return _problem(last.reader)
        return None

    def _abandon(self, first: int) -> None:
        """What these shares did does not count."""
        for share in self.shares[first:]:
            self.switch.datapath.discard(share.worker)
        del self.shares[first:]

    def _together(self, shares: list[Share]) -> None:
        threads = [threading.Thread(target=share.work, name=f"vsw-worker-{k}", daemon=True) for k, share in enumerate(shares)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
                    if self.progress is not None:
                        self.progress(sum(share.worker.position for share in shares), sum(share.frames for share in shares))
        except BaseException:
            for share in shares:
                share.stop.set()
            for thread in threads:
                thread.join()
            raise
        for share in shares:
            if share.error is not None:
                raise share.error

    def _join_columns(self) -> dict[str, NDArray[Any]]:
        if self.out is not None:
            return self.out
        parts = [part for share in self.shares for part in share.parts]
        if len(parts) == 1:
            return parts[0]
        joined = {}
        for name, dtype in COLUMNS.items():
            joined[name] = np.concatenate([part.pop(name) for part in parts]) if parts else np.empty(0, dtype)
        return joined

    def _join_copies(self) -> NDArray[np.void]:
        joined = []
        first = 0
        for share in self.shares:
            for copies in share.copies:
                copies["frame"] += first
                joined.append(copies)
            first += share.frames
        return np.concatenate(joined) if joined else np.empty(0, COPY)


def _known_length(frames: FrameSource) -> int | None:
    """The number of frames where it costs nothing to know."""
    from vsw.datapath.batch import Batch  # noqa: PLC0415

    return len(frames) if isinstance(frames, Batch) else None


def _problem(reader: FrameReader) -> VswError | None:
    try:
        reader.check()
    except VswError as error:
        return error
    return None
