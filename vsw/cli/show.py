"""Tables and sentences about modules and runs, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vsw.config.words import vlan_text
from vsw.reference.decision import mac_text
from vsw.verdicts import Reason

if TYPE_CHECKING:
    from vsw.config.lab import Lab
    from vsw.config.module import Module
    from vsw.replay.explain import Explanation
    from vsw.switch.result import Result

#: Columns where standard output is not a terminal, so that sentences stay on one line.
WIDTH = 200
#: With more ports than this, those that nothing passed are left out of the tables.
MANY_PORTS = 48

INGRESS = {
    "given": "Every frame came in by {port} (--ingress).",
    "interface": "Ports of ingress are those that the capture's interfaces name.",
    "source-mac": (
        "Ports of ingress are told by each frame's tag and source MAC: a source that no local port owns came from outside. "
        "So no source can be forged, and none can be deja-vu; to see those, capture per interface, or say --ingress."
    ),
}
INTERFACE_TOO = "Ports of ingress are those that the capture's interfaces name; frames of its other interfaces are told by tag and source MAC."


class _Pipe(Console):
    """A console that leaves a reader that has gone to whoever ends the command; Rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Raise the error that Rich has caught."""
        self.quiet = True
        raise BrokenPipeError


class Page:
    """What goes to standard output, line by line, without the blanks that fill tables up."""

    def __init__(self) -> None:
        self.console = _Pipe(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)

    def print(self, *parts: str | Table) -> None:
        """Print parts, tables with an empty line before them."""
        with self.console.capture() as captured:
            for part in parts:
                if isinstance(part, Table):
                    self.console.print()
                self.console.print(part)
        for line in captured.get().splitlines():
            print(line.rstrip())


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table of plain text; numbers get thousands separators."""
    made = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right)
    for row in rows:
        made.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    return made


def share(count: int, total: int) -> str:
    """A percentage."""
    return f"{100 * count / total:.2f} %" if total else ""


def reasons(title: str, what: str, counts: Mapping[str, int], total: int) -> Table:
    """Reasons with their sentences, most frequent first."""
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [(name, count, share(count, total), Reason[name.upper()].sentence) for name, count in most_first]
    return table(title, ("reason", what, "share", "because"), rows, right=(what, "share"))


def show_run(result: Result, interfaces: Sequence[str], ingress: str | None) -> None:
    """All that a replay tells: verdicts, reasons, ports."""
    out = Page()
    summary = result.summary()
    frames, dropped = summary["frames"], sum(summary["dropped"].values())
    speed = f", {frames / summary['seconds'] / 1e6:.1f} million a second" if summary["seconds"] > 0 and frames >= 1_000_000 else ""
    out.print(f"{summary['module']} ({summary['dialect']}): {frames:,} frames in {summary['seconds']:.3f} s{speed}")
    out.print(ingress_text(result, interfaces, ingress))
    for note in notes(summary):
        out.print(note)
    verdicts = [(name, count, share(count, frames)) for name, count in (*((n, summary[n]) for n in ("delivered", "consumed")), ("dropped", dropped))]
    out.print(table(f"Frames; {summary['copies']:,} copies left", ("verdict", "frames", "share"), verdicts, right=("frames", "share")))
    if dropped:
        out.print(reasons("Dropped frames", "frames", summary["dropped"], frames))
    if summary["filtered"]:
        held = sum(summary["filtered"].values())
        out.print(reasons("Copies held back", "copies", summary["filtered"], held + summary["copies"]))
    out.print(ports_table(result.module, summary["ports"]))


def ingress_text(result: Result, interfaces: Sequence[str], ingress: str | None) -> str:
    """How the ingress port of each frame was found."""
    if result.ingress == "interface" and not all(name.count("/") == 2 for name in interfaces):
        return INTERFACE_TOO
    return INGRESS[result.ingress].format(port=ingress)


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What deserves a sentence, where it happened."""
    found = []
    if summary["normalised"]:
        found.append(f"{summary['normalised']:,} frames carry a tag on the wire that their port does not have inside; it was taken off first.")
    if summary["time_backwards"]:
        found.append(f"{summary['time_backwards']:,} frames are earlier than one before them; the clock did not go back.")
    if no_port := summary["dropped"].get("no_port"):
        found.append(f"{no_port:,} frames came in by no port of {summary['module']} and count on none below.")
    return found


def ports_table(module: Module, counts: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a port; of many ports those that nothing passed are left out."""
    ports = sorted(module.ports, key=lambda port: port.number)
    shown = [port for port in ports if len(ports) <= MANY_PORTS or any(counts[port.name][name] for name in ("rx_frames", "tx_frames", "filtered"))]
    numbers = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "dropped", "filtered")
    heads = ("rx frames", "rx bytes", "tx frames", "tx bytes", "dropped", "held back")
    rows = [(port.name, vlan_text(port), *(counts[port.name][name] for name in numbers)) for port in shown]
    title = "Ports" + (f"; {len(ports) - len(shown):,} others without traffic" if len(shown) < len(ports) else "")
    return table(title, ("port", "VLAN", *heads), rows, right=heads)


def show_module(module: Module) -> None:
    """What a module is made of."""
    out = Page()
    def names(numbers: Iterable[int]) -> str:
        return ", ".join(module.port(number).name for number in numbers)

    teams = [(team.name, team.policy, team.assignment, names(team.active), names(team.standby), names(team.unused)) for team in module.teams]
    rows = [
        (
            str(port.number), port.name, port.kind, vlan_text(port), "" if port.effective_mac is None else mac_text(port.effective_mac),
            "" if port.team is None else module.teams[port.team].name, str(port.mtu), "up" if port.up else "down",
        )
        for port in sorted(module.ports, key=lambda port: port.number)
    ]  # fmt: skip
    counts = f"{len(module.ports):,} ports, {len(module.static):,} static addresses"
    title = f"{module.name}: dialect {module.dialect.name}, learning {module.learning}, {counts}"
    out.print(table(title, ("number", "port", "kind", "VLAN", "MAC", "team", "MTU", "starts"), rows, right=("number", "MTU")))
    if teams:
        out.print(table(f"Teams of {module.name}", ("team", "policy", "assignment", "active", "standby", "unused"), teams))


def show_lab(lab: Lab, idle: Sequence[str]) -> None:
    """What a topology makes."""
    out = Page()
    count = sum(len(module.ports) for module in lab.modules.values())
    out.print(f"{lab.file}: no problems; hosts {len(lab.hosts):,}, switches {len(lab.modules):,}, ports {count:,}")
    for module in lab.modules.values():
        show_module(module)
    if idle:
        out.print("", f"Not yet run (checked, and nothing acts on it so far): {len(idle):,}")
        for path in idle:
            out.print(f"  {path}")


def show_explanation(found: Explanation) -> None:
    """Rule after rule, then the end."""
    out = Page()
    decision, names = found.decision, found.names
    interface = f", interface {found.interface}" if found.interface else ""
    cut = f" ({found.captured:,} captured)" if found.captured != found.length else ""
    when = f"{'-' if found.after < 0 else ''}{abs(found.after) // 10**9}.{abs(found.after) % 10**9:09}"
    out.print(f"{found.module.name}: frame {found.index + 1:,}, {when} s after the first, {found.length:,} bytes{cut}{interface}")
    out.print(table("Rules, as the reference applied them", ("rule", "what was found"), decision.steps))
    if decision.copies:
        rows = [(names[copy.port], copy.length) for copy in decision.copies]
        out.print(table("Copies that left", ("port", "bytes"), rows, right=("bytes",)))
    if decision.filtered:
        rows_held = [(names[port], reason.name.lower(), reason.sentence) for port, reason in decision.filtered]
        out.print(table("Copies held back", ("port", "reason", "because"), rows_held))
    if found.differences:
        out.print("", "The compiled datapath DISAGREES:")
        for line in found.differences:
            out.print(f"  {line}")
    else:
        out.print("", "The compiled datapath agrees: same verdict, reason, ports, VLAN, and the same bytes on every copy.")
