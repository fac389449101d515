"""What several commands are given: a topology, captures, events on their clock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.config.module import Module
    from vsw.replay.source import Source
    from vsw.switch.switch import Event

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_AT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(ns|us|ms|s|m|h):(.+)=(up|down)", re.DOTALL)

FILES = "[TOPOLOGY] CAPTURE..."
FILES_HELP = (
    "A topology (.toml; without one it is inferred), then captures: pcap or pcapng, also compressed with gzip or zstd; - is standard input. "
    "Several are merged by time."
)
MODULE_HELP = "HOST/SWITCH, where the topology has several."
INGRESS_HELP = (
    "Where frames come in: a port's name or number, or source-mac. "
    "Default: the capture's interfaces, if they are named HOST/SWITCH/PORT; else source-mac."
)
AT_HELP = "TIME:PORT=up|down, TIME from the first frame on in ns, us, ms, s, m or h, for instance 5s:vmnic0=down. Repeatable."
OUT_HELP = "Write what leaves by each port to a capture in this folder, called after the port. One worker then."
FORMAT_HELP = "Of the captures of --out; pcap has times in nanoseconds."
INFERRED = "The topology was inferred from the capture (vsw infer shows it)."
COLUMNS_HELP = "Write each frame's verdict, reason, ports and VLAN to this file: .npz, or .parquet (extra arrow)."
REPORT_HELP = "Write a page to look at to this file: traffic, balance, drops, addresses (.html; extra report)."
STRICT_HELP = "A capture that can't be read to its end is an error (exit code 1), or a warning."


class At(NamedTuple):
    """A port goes up or down, this many ns after the first frame."""

    after: int
    port: str
    up: bool


def split_files(files: Iterable[str]) -> tuple[str | None, list[str]]:
    """The topology (None: it is to be inferred) and the captures of a command's arguments."""
    topologies = [file for file in files if file.endswith(".toml")]
    captures = [file for file in files if not file.endswith(".toml")]
    if len(topologies) > 1:
        raise UsageError(f"one topology is needed, not {len(topologies)}: {', '.join(topologies)}")
    if not captures:
        raise UsageError("a capture is needed")
    if captures.count("-") > 1:
        raise UsageError("standard input can be read once")
    return (topologies[0] if topologies else None), captures


def spare(inputs: Iterable[str], *outputs: str | None) -> None:
    """:class:`~vsw.errors.UsageError` if what is to be written is what is to be read: it would be gone."""
    read = [Path(file) for file in inputs if file != "-"]
    for output in map(Path, filter(None, outputs)):
        if output.exists() and any(file.exists() and output.samefile(file) for file in read):
            raise UsageError(f"{output} is read here, and would be replaced: choose another name")


def parse_at(text: str) -> At:
    """``5s:vmnic0=down``."""
    match = _AT.fullmatch(text)
    if not match:
        raise UsageError(f"--at is TIME:PORT=up or TIME:PORT=down, for instance 5s:vmnic0=down, with TIME in {', '.join(UNITS)} (found {text!r})")
    return At(int(Fraction(match[1]) * UNITS[match[2]]), match[3], match[4] == "up")


def events(source: Source, wanted: Iterable[At], module: Module) -> list[Event]:
    """Events on the clock of the frames."""
    from vsw.switch.switch import Event  # noqa: PLC0415

    wanted = list(wanted)
    if not wanted:
        return []
    for at in wanted:
        port_of(module, at.port)
    first = source.first_time()
    return [] if first is None else [Event(min(first + at.after, (1 << 63) - 2), port_of(module, at.port), at.up) for at in wanted]


def port_of(module: Module, text: str) -> int:
    """The number of the port of that name, or of that number."""
    for port in module.ports:
        if port.name == text:
            return port.number
    for port in module.ports:
        if text.isdecimal() and port.number == int(text):
            return port.number
    from vsw.config.values import did_you_mean  # noqa: PLC0415

    names = [port.name for port in module.ports]
    known = ", ".join(names[:40]) + (f" and {len(names) - 40} others" if len(names) > 40 else "")
    raise UsageError(f"{module.name} has no port {text!r}{did_you_mean(text, names)}; its ports: {known or 'none'}")


def ingress_of(module: Module, text: str | None) -> str | int | None:
    """What :meth:`~vsw.Switch.forward` takes as ``ingress``."""
    return text if text is None or text == "source-mac" else port_of(module, text)


def module_of(topology: str | None, name: str | None, source: Source | None = None) -> tuple[Module, list[str]]:
    """The module that the command is about, and notes for people: without a topology one is inferred from the captures."""
    from vsw.config.load import load  # noqa: PLC0415

    if topology is None and source is not None:
        from vsw.replay.sketch import infer_lab  # noqa: PLC0415

        source.keep()
        lab, sketch = infer_lab(source.captures, ", ".join(source.paths))
        notes = [INFERRED, *sketch.notes]
    elif topology is None:
        raise UsageError("a topology is needed: a file whose name ends in .toml")
    else:
        lab, notes = load(topology), []
    try:
        return lab.module(name), notes
    except UsageError as error:
        if name is None and lab.modules:
            raise UsageError(f"{error} with --module") from None
        raise
