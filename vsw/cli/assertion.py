"""``vsw assert``: rules about what a topology does with traffic, for pipelines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing, inputs
from vsw.cli.ending import complain, ends_well
from vsw.cli.progress import progress
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.replay.asserting import Checked
    from vsw.replay.source import Source

#: Exit code: a rule is broken.
BROKEN = 3
OUT_HELP = "Write for each broken rule a minimal capture that breaks it to this folder: without any one of its frames the rule holds."
FILES_HELP = "A topology (.toml), captures, and last the rules (.toml)."


@ends_well
def check_rules(
    files: Annotated[list[str], typer.Argument(metavar="LAB CAPTURE... RULES", help=FILES_HELP, show_default=False)],
    module: Annotated[str | None, typer.Option(metavar="HOST/SWITCH", help=inputs.MODULE_HELP, autocompletion=completing.modules)] = None,
    ingress: Annotated[str | None, typer.Option(metavar="PORT", help=inputs.INGRESS_HELP, autocompletion=completing.ports)] = None,
    at: Annotated[list[str] | None, typer.Option(metavar="EVENT", help=inputs.AT_HELP, autocompletion=completing.events)] = None,
    out: Annotated[str | None, typer.Option(metavar="DIR", help=OUT_HELP)] = None,
    strict: Annotated[bool, typer.Option("--strict/--tolerant", help=inputs.STRICT_HELP)] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output instead of a table.")] = False,
) -> int:
    """Hold rules against what a topology does with captured traffic: isolation, reachability, duplicates, balance and others.

    Exit codes: 0 all rules hold, 3 a rule is broken, 1 the input is bad, 2 the usage is wrong.

    \b
    Examples:
      vsw assert lab.toml trace.pcapng rules.toml
      vsw assert lab.toml trace.pcapng rules.toml --out failing/ --json
    """
    from vsw.replay.asserting import check  # noqa: PLC0415
    from vsw.replay.rules import load_rules  # noqa: PLC0415
    from vsw.replay.source import Source  # noqa: PLC0415

    if len(files) < 3:
        raise UsageError("a topology, one or more captures and a rules file are needed")
    topology, *captures, rules_file = files
    events = [inputs.parse_at(text) for text in at or ()]
    chosen, _ = inputs.module_of(topology, module)
    port = inputs.ingress_of(chosen, ingress)
    rules = load_rules(rules_file, chosen)
    with Source(captures, strict=strict) as source, progress("Checking", source.size) as step:
        clock = inputs.events(source, events, chosen)
        found = check(chosen, source, rules, ingress=port, events=clock, minimise=out is not None, progress=step)
        written = {} if out is None else _write(found, source, out)
        problems = source.problems()
    if as_json:
        print(json.dumps(as_object(chosen.name, found, written, [str(problem) for problem in problems]), ensure_ascii=False))
    else:
        _show(found, written)
    for problem in problems:
        complain(problem, "Warning")
    return 0 if all(checked.holds for checked in found) else BROKEN


def _write(found: list[Checked], source: Source, folder: str) -> dict[str, str]:
    """A capture for each broken rule: {name of the rule: path}."""
    from vsw.capture import PcapngWriter  # noqa: PLC0415
    from vsw.replay.names import file_names  # noqa: PLC0415
    from vsw.replay.select import Selected  # noqa: PLC0415

    names = source.frames.interface_names() or [""]
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = file_names({number: checked.rule.name for number, checked in enumerate(found)}, ".pcapng")
    inputs.spare(source.paths, *(os.path.join(folder, name) for name in files.values()))  # noqa: PTH118
    written = {}
    for number, checked in enumerate(found):
        if not checked.holds:
            path = os.path.join(folder, files[number])  # noqa: PTH118
            with PcapngWriter(path, names, comment=f"breaks the rule: {checked.rule.name}") as writer:
                writer.write_all(Selected(source.frames, checked.minimal))
            written[checked.rule.name] = path
    return written


def as_object(module: str, found: list[Checked], written: dict[str, str], problems: list[str]) -> dict[str, Any]:
    """What ``--json`` prints.

    ``module``, ``holds`` (all rules do), ``rules`` [{``name``, ``kind``, ``holds``, ``frames`` (that break it), ``example`` (the first, from 1),
    ``minimal`` [number from 1], ``capture``}], ``problems``.
    """
    rules = [
        {
            "name": checked.rule.name,
            "kind": getattr(checked.rule, "kind", ""),
            "holds": checked.holds,
            "frames": len(checked.broken),
            "example": None if checked.holds else int(checked.broken[0]) + 1,
            "minimal": [number + 1 for number in checked.minimal.tolist()],
            "capture": written.get(checked.rule.name),
        }
        for checked in found
    ]
    return {"module": module, "holds": all(checked.holds for checked in found), "rules": rules, "problems": problems}


def _show(found: list[Checked], written: dict[str, str]) -> None:
    from vsw.cli.show import Page, table  # noqa: PLC0415

    out = Page()
    rows = [
        ("holds" if checked.holds else "BROKEN", checked.rule.name, getattr(checked.rule, "kind", ""), len(checked.broken), _first(checked))
        for checked in found
    ]
    broken = sum(not checked.holds for checked in found)
    out.print(table(f"Rules: {len(found):,}, broken: {broken:,}", ("", "rule", "kind", "frames", "first"), rows, right=("frames", "first")))
    for checked in found:
        if checked.rule.name in written:
            one = len(checked.minimal) == 1
            who, them = ("1 frame breaks", "it") if one else (f"{len(checked.minimal):,} frames break", "any one of them")
            print(f"{written[checked.rule.name]}: {who} {checked.rule.name!r}, without {them} it holds")


def _first(checked: Checked) -> str:
    return "" if checked.holds else f"{int(checked.broken[0]) + 1:,}"
