"""One frame through the reference, which says what it does, and through the datapath, which must come to the same end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vsw.capture import Frame
from vsw.config.module import Module
from vsw.errors import UsageError
from vsw.reference.decision import Copy, Decision
from vsw.reference.switch import ReferenceSwitch
from vsw.replay.source import Part, Source
from vsw.switch.copies import copy_bytes
from vsw.switch.result import Result
from vsw.switch.run import BY_SOURCE, NO_PORT, Ingress
from vsw.switch.switch import Event, Switch
from vsw.verdicts import Reason, Verdict

#: Frames between two reports of progress.
CHUNK = 4096
NOTHING = 0xFFFF


@dataclass(frozen=True)
class Explanation:
    """What became of frame ``index`` (from 0), and why.

    ``time`` is in ns since the epoch, ``after`` in ns after the first frame; ``interface`` the name of the capture's interface, empty if it has none.
    ``names`` are the module's port names by number.  ``differences`` holds a sentence for each thing that the datapath has otherwise.
    """

    module: Module
    names: dict[int, str]
    index: int
    time: int
    after: int
    length: int
    captured: int
    interface: str
    decision: Decision
    differences: tuple[str, ...]


def explain(
    module: Module,
    source: Source,
    index: int,
    *,
    ingress: str | int | None = None,
    events: Iterable[Event] = (),
    progress: Callable[[int, int], object] | None = None,
) -> Explanation:
    """Explain frame ``index`` of a source that can be read more than once.

    Where frames change what later frames meet (learning, BPDU guards, events), all frames before it go through too.
    :class:`~vsw.errors.UsageError` if there is no such frame; :class:`~vsw.errors.CaptureError` if the capture can't be read that far.
    """
    events = sorted(events, key=lambda event: event.time)
    switch = Switch(module)
    begin = 0 if switch.datapath.stateful or events else index
    frames = source.part(begin, index + 1)
    way = Ingress(switch, frames, ingress)
    frame, decision = _by_reference(module, frames, index - begin, way, events, progress)
    if frame is None or decision is None:
        raise UsageError(f"there are {len(source.frames):,} frames, so there is no frame {index + 1:,}")
    names = {port.number: port.name for port in module.ports}
    interfaces = source.names()
    result = switch.forward(frames, ingress=ingress, events=events, copies=True)
    return Explanation(
        module=module,
        names=names,
        index=index,
        time=frame.time,
        after=frame.time - (source.first_time() or 0),
        length=frame.length,
        captured=len(frame.data),
        interface=interfaces[frame.interface] if frame.interface < len(interfaces) else "",
        decision=decision,
        differences=tuple(_differences(names, decision, result, frames, index - begin)),
    )


def _by_reference(
    module: Module, frames: Part, wanted: int, way: Ingress, events: list[Event], progress: Callable[[int, int], object] | None
) -> tuple[Frame, Decision] | tuple[None, None]:
    """The frame and what the reference says of it; nothing if there is no such frame."""
    reference = ReferenceSwitch(module, narrate=False)
    waiting = list(events)
    for at, frame in enumerate(frames):
        # Events are applied before the first frame that is not earlier.
        while waiting and waiting[0].time <= frame.time:
            event = waiting.pop(0)
            reference.set_port(module.port(event.port).number, event.up)
        port, by_source = _port_in(way, frame)
        reference.narrate = at == wanted
        decision = reference.forward(bytes(frame.data), frame.length, frame.time, port, source_mac=by_source)
        if at == wanted:
            return frame, decision
        if progress is not None and at % CHUNK == 0:
            progress(at, at)
    return None, None


def _port_in(way: Ingress, frame: Frame) -> tuple[int | None, bool]:
    """The port that the frame came in by, or that its source is to tell."""
    if way.interfaces is not None:
        port = int(way.interfaces[frame.interface])
        return (None if port in (NO_PORT, BY_SOURCE) else port), port == BY_SOURCE
    return way.port, way.source_mac


def _differences(names: dict[int, str], decision: Decision, result: Result, frames: Part, index: int) -> list[str]:
    """What the datapath has otherwise."""
    port_in, vlan = int(result.port_in[index]), int(result.vlan[index])
    rows = result.copies[result.copies["frame"] == index]
    copies = [Copy(port, data, length) for _, port, data, length in copy_bytes(frames, rows)]
    pairs = (
        ("verdict", decision.verdict.name.lower(), list(Verdict)[result.verdict[index]].name.lower()),
        ("reason", decision.reason.name.lower(), list(Reason)[result.reason[index]].name.lower()),
        ("port of ingress", names.get(decision.port_in or 0) if decision.port_in is not None else None, names.get(port_in)),
        ("VLAN", decision.vlan, None if vlan == NOTHING else vlan),
        ("tag taken off", decision.normalised, bool(result.normalised[index])),
        ("copies", _texts(names, decision.copies), _texts(names, copies)),
    )
    return [f"{name}: {expected} by the reference, {found} by the datapath" for name, expected, found in pairs if expected != found]


def _texts(names: dict[int, str], copies: Iterable[Copy]) -> list[str]:
    return [f"{names[copy.port]} ({copy.length} bytes) {bytes(copy.data).hex()}" for copy in copies]
