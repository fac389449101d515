"""``vsw explain``: the rules that were applied to one frame, from the reference, held against the datapath."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing, inputs
from vsw.cli.ending import BAD_INPUT, complain, ends_well
from vsw.cli.progress import progress

if TYPE_CHECKING:
    from vsw.replay.explain import Explanation


@ends_well
def explain(
    files: Annotated[list[str], typer.Argument(metavar=inputs.FILES, help=inputs.FILES_HELP, show_default=False)],
    frame: Annotated[int, typer.Option(min=1, help="The frame's number, counted from 1 as Wireshark does.", show_default=False)],
    module: Annotated[str | None, typer.Option(metavar="HOST/SWITCH", help=inputs.MODULE_HELP, autocompletion=completing.modules)] = None,
    ingress: Annotated[str | None, typer.Option(metavar="PORT", help=inputs.INGRESS_HELP, autocompletion=completing.ports)] = None,
    at: Annotated[list[str] | None, typer.Option(metavar="EVENT", help=inputs.AT_HELP, autocompletion=completing.events)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Explain one frame: each rule that was applied to it, and what came of it.

    The reference applies the rules (plain Python, slow), and the compiled datapath must come to the same end: exit code 1 if it does not.

    \b
    Examples:
      vsw explain lab.toml trace.pcapng --frame 42
      vsw explain lab.toml trace.pcapng --frame 42 --at 5s:vmnic0=down
    """
    from vsw.replay.explain import explain as explain_frame  # noqa: PLC0415
    from vsw.replay.source import Source  # noqa: PLC0415

    topology, captures = inputs.split_files(files)
    events = [inputs.parse_at(text) for text in at or ()]
    known = None if topology is None else inputs.module_of(topology, module)
    with Source(captures) as source, progress("Explaining", frame) as step:
        source.keep()
        chosen, notes = known or inputs.module_of(None, module, source)
        port = inputs.ingress_of(chosen, ingress)
        found = explain_frame(chosen, source, frame - 1, ingress=port, events=inputs.events(source, events, chosen), progress=step)
    if as_json:
        print(json.dumps(as_object(found), ensure_ascii=False))
    else:
        from vsw.cli.show import show_explanation  # noqa: PLC0415

        for note in notes:
            print(note)
        show_explanation(found)
    if found.differences:
        complain("the reference and the datapath disagree about this frame: one of them has a bug; please report it, with the topology and the frame")
        return BAD_INPUT
    return 0


def as_object(found: Explanation) -> dict[str, Any]:
    """What ``--json`` prints.

    ``module``, ``frame`` (from 1), ``index`` (from 0), ``time`` (ns), ``length``, ``captured``, ``interface``, ``verdict``,
    ``reason`` (null if not dropped), ``port_in``, ``vlan`` (null if not known), ``normalised``, ``copies`` [{``port``, ``length``, ``data`` (hex)}],
    ``filtered`` [{``port``, ``reason``}], ``steps`` [{``rule``, ``text``}], ``agrees``, ``differences`` [sentence].
    """
    decision, names = found.decision, found.names
    return {
        "module": found.module.name,
        "frame": found.index + 1,
        "index": found.index,
        "time": found.time,
        "length": found.length,
        "captured": found.captured,
        "interface": found.interface,
        "verdict": decision.verdict.name.lower(),
        "reason": decision.reason.name.lower() if decision.reason else None,
        "port_in": None if decision.port_in is None else names[decision.port_in],
        "vlan": decision.vlan,
        "normalised": decision.normalised,
        "copies": [{"port": names[copy.port], "length": copy.length, "data": copy.data.hex()} for copy in decision.copies],
        "filtered": [{"port": names[port], "reason": reason.name.lower()} for port, reason in decision.filtered],
        "steps": [{"rule": step.rule, "text": step.text} for step in decision.steps],
        "agrees": not found.differences,
        "differences": list(found.differences),
    }
