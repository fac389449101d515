"""``vsw infer``: a topology from captures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vsw.cli import inputs
from vsw.cli.ending import complain, ends_well
from vsw.cli.progress import progress

CAPTURES_HELP = "Captures: pcap or pcapng, also compressed with gzip or zstd; - is standard input."
LOCAL_HELP = "VMs are the stations whose MAC address begins so (three octets or more), instead of with a hypervisor maker's OUI.  Repeatable."


@ends_well
def infer(
    captures: Annotated[list[str], typer.Argument(metavar="CAPTURE...", help=CAPTURES_HELP, show_default=False)],
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write the topology to this file.", show_default="standard output")] = None,
    local: Annotated[list[str] | None, typer.Option(metavar="MAC", help=LOCAL_HELP, show_default=False)] = None,
    strict: Annotated[bool, typer.Option("--strict/--tolerant", help=inputs.STRICT_HELP)] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output: what was found, and the topology as text.")] = False,
) -> int:
    """Infer a topology from captures: VMs by their makers' MAC addresses, VLANs, trunks, uplinks.

    What the topology then drops, the captures explain.  Interfaces named HOST/SWITCH/PORT give it its names.

    \b
    Examples:
      vsw infer trace.pcapng > lab.toml
      vsw infer trace.pcap --local 02:00:5e --out lab.toml
    """
    from vsw.replay.sketch import infer_text, summary  # noqa: PLC0415
    from vsw.replay.source import Source  # noqa: PLC0415
    from vsw.switch.arrow import unfinished  # noqa: PLC0415

    inputs.spare(captures, out)
    with Source(captures, strict=strict) as source, progress("Reading", source.size) as step:
        source.keep()
        text, sketch = infer_text(source.captures, ", ".join(captures), local or (), step)
        problems = source.problems()
    if out is not None:
        with unfinished(out) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")
    if as_json:
        print(json.dumps({**summary(sketch), "topology": text, "problems": [str(problem) for problem in problems]}, ensure_ascii=False))
    elif out is None:
        print(text, end="")
    else:
        vms = sum(port.mac is not None for switch in sketch.switches for port in switch.ports)
        print(f"{out}: switches {len(sketch.switches):,}, vNICs {vms:,}")
        for note in sketch.notes:
            print(note)
    for problem in problems:
        complain(problem, "Warning")
    return 0
