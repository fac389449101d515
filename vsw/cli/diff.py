"""``vsw diff``: which frames change their fate between two topologies, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing, inputs
from vsw.cli.ending import complain, ends_well
from vsw.cli.progress import progress
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.replay.diff import Difference, Group
    from vsw.replay.source import Source

#: Groups that are told one by one.
SHOWN = 20
CAPTURES_HELP = "Captures, merged by time; - is standard input."
CAPTURE_HELP = "Write the frames that changed to this capture (pcapng)."
CODE_HELP = "Exit code 1 if any frame changes its fate."


@ends_well
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A topology (.toml).", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A topology (.toml).", show_default=False)],
    captures: Annotated[list[str], typer.Argument(metavar="CAPTURE...", help=CAPTURES_HELP, show_default=False)],
    module: Annotated[str | None, typer.Option(metavar="HOST/SWITCH", help=inputs.MODULE_HELP, autocompletion=completing.modules)] = None,
    ingress: Annotated[str | None, typer.Option(metavar="PORT", help=inputs.INGRESS_HELP, autocompletion=completing.ports)] = None,
    at: Annotated[list[str] | None, typer.Option(metavar="EVENT", help=inputs.AT_HELP, autocompletion=completing.events)] = None,
    capture: Annotated[str | None, typer.Option(metavar="FILE", help=CAPTURE_HELP)] = None,
    explained: Annotated[bool, typer.Option("--explain/--no-explain", help="Explain one frame of each group from the reference.")] = True,
    exit_code: Annotated[bool, typer.Option("--exit-code", help=CODE_HELP)] = False,
    strict: Annotated[bool, typer.Option("--strict/--tolerant", help=inputs.STRICT_HELP)] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output instead of tables.")] = False,
) -> int:
    """Compare what two topologies do with the same frames: delivered, dropped, moved to another port or uplink, duplicated, retagged.

    \b
    Examples:
      vsw diff lab.toml lab-new.toml trace.pcapng
      vsw diff lab.toml lab-new.toml trace.pcapng --capture changed.pcapng
      vsw diff lab.toml lab-new.toml trace.pcapng --exit-code --json
    """
    from vsw.replay.diff import diff as compare  # noqa: PLC0415
    from vsw.replay.source import Source  # noqa: PLC0415

    if captures.count("-") > 1:
        raise UsageError("standard input can be read once")
    inputs.spare((before, after, *captures), capture)
    events = [inputs.parse_at(text) for text in at or ()]
    (old, _), (new, _) = inputs.module_of(before, module), inputs.module_of(after, module)
    port = ingress
    if ingress is not None and ingress != "source-mac":
        names = {one.name: one.number for one in old.ports}
        number = inputs.port_of(old, ingress)
        port = next(name for name, other in names.items() if other == number)
        inputs.port_of(new, port)
    with Source(captures, strict=strict) as source, progress("Comparing", source.size) as step:
        source.keep()
        found = compare(
            old, new, source, ingress=port, events=lambda module: inputs.events(source, events, module), explained=explained, progress=step
        )
        written = None if capture is None else _write(found, source, capture)
        problems = source.problems()
    if as_json:
        print(json.dumps(as_object(found, capture, [str(problem) for problem in problems]), ensure_ascii=False))
    else:
        _show(found, before, after)
        if written is not None:
            print(f"\nWritten to {capture}: {written:,} frames")
    for problem in problems:
        complain(problem, "Warning")
    return 1 if exit_code and len(found.changed) else 0


def _write(found: Difference, source: Source, path: str) -> int:
    from vsw.capture import PcapngWriter  # noqa: PLC0415
    from vsw.replay.select import Selected  # noqa: PLC0415

    names = source.frames.interface_names()
    with PcapngWriter(path, names or [""], comment="frames whose fate changes between two topologies") as writer:
        return writer.write_all(Selected(source.frames, found.changed))


def as_object(found: Difference, capture: str | None, problems: list[str]) -> dict[str, Any]:
    """What ``--json`` prints.

    ``modules`` [before, after], ``frames``, ``changed``, ``kinds`` {kind: frames}, ``groups`` [{``kind``, ``frames``, ``port_in`` [before, after],
    ``before``, ``after`` {``verdict``, ``reason``, ``port``, ``several``}, ``example`` (number from 1), ``steps`` [{``rule``, ``before``,
    ``after``}]}], ``capture``, ``problems``.
    """
    return {
        "modules": [result.module.name for result in found.results],
        "frames": found.frames,
        "changed": len(found.changed),
        "kinds": found.by_kind(),
        "groups": [_group(group) for group in found.groups],
        "capture": capture,
        "problems": problems,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "frames": group.frames,
        "port_in": list(group.port_in),
        "before": group.before._asdict(),
        "after": group.after._asdict(),
        "example": group.example + 1,
        "steps": [step._asdict() for step in group.steps],
    }


def _show(found: Difference, before: str, after: str) -> None:
    from vsw.cli.show import Page, share, table  # noqa: PLC0415
    from vsw.replay.diff import KINDS  # noqa: PLC0415

    out = Page()
    changed = len(found.changed)
    out.print(f"{before} to {after}: {found.frames:,} frames, {changed:,} change their fate")
    if not changed:
        return
    kinds = [(name, count, share(count, found.frames), KINDS[name]) for name, count in found.by_kind().items()]
    out.print(table("Frames that change", ("kind", "frames", "share", "what"), kinds, right=("frames", "share")))
    shown = found.groups[:SHOWN]
    rows = [(group.kind, _ports(group.port_in), group.before.text(), group.after.text(), group.frames, group.example + 1) for group in shown]
    more = f"; {len(found.groups) - SHOWN:,} smaller groups are not shown (--json has all)" if len(found.groups) > SHOWN else ""
    heads = ("kind", "in by", "before", "after", "frames", "example")
    out.print(table(f"Groups{more}", heads, rows, right=("frames", "example")))
    for group in shown:
        if group.steps:
            steps = [line for step in group.steps for line in ((step.rule, "before", step.before or "-"), ("", "after", step.after or "-"))]
            title = f"Frame {group.example + 1:,}, one of {group.frames:,}: {group.before.text()} before, {group.after.text()} after"
            out.print(table(title, ("rule", "", "the reference says"), steps))


def _ports(ports: tuple[str | None, str | None]) -> str:
    one, other = (port or "no port" for port in ports)
    return one if one == other else f"{one}, now {other}"
