"""``vsw replay``: captures through a switch, and what became of their frames."""

from __future__ import annotations

import json
from contextlib import nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing, inputs
from vsw.cli.ending import BAD_INPUT, complain, ends_well
from vsw.cli.progress import progress
from vsw.errors import CaptureError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from vsw.config.module import Module
    from vsw.replay.egress import Egress
    from vsw.switch.result import Result


class Format(StrEnum):
    """Formats of egress captures."""

    PCAPNG = "pcapng"
    PCAP = "pcap"


@ends_well
def replay(
    files: Annotated[list[str], typer.Argument(metavar=inputs.FILES, help=inputs.FILES_HELP, show_default=False)],
    module: Annotated[str | None, typer.Option(metavar="HOST/SWITCH", help=inputs.MODULE_HELP, autocompletion=completing.modules)] = None,
    ingress: Annotated[str | None, typer.Option(metavar="PORT", help=inputs.INGRESS_HELP, autocompletion=completing.ports)] = None,
    at: Annotated[list[str] | None, typer.Option(metavar="EVENT", help=inputs.AT_HELP, autocompletion=completing.events)] = None,
    out: Annotated[str | None, typer.Option(metavar="DIR", help=inputs.OUT_HELP)] = None,
    file_format: Annotated[Format, typer.Option("--format", help=inputs.FORMAT_HELP)] = Format.PCAPNG,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Threads, where frames do not change what later frames meet.")] = 1,
    columns: Annotated[str | None, typer.Option(metavar="FILE", help=inputs.COLUMNS_HELP)] = None,
    report: Annotated[str | None, typer.Option(metavar="FILE", help=inputs.REPORT_HELP)] = None,
    strict: Annotated[bool, typer.Option("--strict/--tolerant", help=inputs.STRICT_HELP)] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output instead of tables.")] = False,
) -> int:
    """Send captures through a switch: what became of their frames, by port and by reason.

    \b
    Examples:
      vsw replay trace.pcapng
      vsw replay lab.toml trace.pcapng
      vsw replay lab.toml trace.pcap --ingress web1.0
      vsw replay lab.toml trace.pcapng --out egress/
      vsw replay lab.toml trace.pcap --at 5s:vmnic0=down --at 20s:vmnic0=up
      vsw replay lab.toml trace.pcapng --columns verdicts.parquet
      vsw replay lab.toml trace.pcapng --report report.html
      tcpdump -w - | vsw replay lab.toml -
    """
    from vsw.replay.columns import check as check_columns  # noqa: PLC0415
    from vsw.replay.columns import write as write_columns  # noqa: PLC0415
    from vsw.replay.source import Source  # noqa: PLC0415
    from vsw.switch.switch import Switch  # noqa: PLC0415

    if columns is not None:
        check_columns(columns)
    if report is not None:
        from vsw.replay import report as page  # noqa: PLC0415

        page.check()
    topology, captures = inputs.split_files(files)
    inputs.spare(files, columns, report)
    events = [inputs.parse_at(text) for text in at or ()]
    known = None if topology is None else inputs.module_of(topology, module)
    with Source(captures, strict=strict) as source:
        chosen, said = known or inputs.module_of(None, module, source)
        switch = Switch(chosen)
        port = inputs.ingress_of(chosen, ingress)
        error: CaptureError | None = None
        if report is not None:
            source.keep()
        clock = inputs.events(source, events, chosen)
        try:
            with _egress(chosen, out, file_format, captures) as egress, progress("Replaying", source.size) as step:
                kept = report is not None and egress is None
                result = switch.forward(
                    source.frames, ingress=port, events=clock, workers=workers, columns=columns is not None or kept, copies=kept, egress=egress,
                    progress=step,
                )  # fmt: skip
        except CaptureError as raised:
            if raised.result is None:
                raise
            error, result = raised, raised.result
        if columns is not None and not error:
            write_columns(result, columns)
        if report is not None and not error:
            shown = result
            if egress is not None:
                # Copies went to captures, and the page needs them too.
                switch = Switch(chosen)
                with progress("Looking", source.size) as step:
                    shown = switch.forward(source.frames, ingress=port, events=clock, workers=workers, copies=True, progress=step)
            page.write(report, switch, shown, source, f"vsw replay of {', '.join(captures)}"[:300])
        problems = [error] if error else source.problems()
        if as_json:
            print(json.dumps(as_object(result, problems, {} if egress is None or error else egress.files, said), ensure_ascii=False))
        else:
            from vsw.cli.show import show_run  # noqa: PLC0415

            for note in said:
                print(note)
            show_run(result, source.names(), ingress)
            captures_out = "" if egress is None else f"{len(egress.files):,} captures, one a port"
            written = ((out, captures_out), (report, "a page to open in a browser"), (columns, "verdicts, one row a frame"))
            if not error and any(name is not None for name, _ in written):
                print()
                for name, what in written:
                    if name is not None:
                        print(f"Written to {name}: {what}")
    for problem in problems:
        complain(problem, "Error" if error else "Warning")
    return BAD_INPUT if error else 0


def _egress(module: Module, out: str | None, file_format: Format, captures: list[str]) -> AbstractContextManager[Egress | None]:
    if out is None:
        return nullcontext()
    from vsw.replay.egress import Egress  # noqa: PLC0415

    egress = Egress(module, out, format=file_format.value, comment=f"vsw replay of {', '.join(captures)}"[:4096])
    inputs.spare(captures, *egress.files.values())
    return egress


def as_object(result: Result, problems: list[CaptureError], files: dict[str, str], said: list[str]) -> dict[str, Any]:
    """What ``--json`` prints.

    :meth:`Result.summary`, ``problems`` (why captures were not read to their end), ``out`` {port: path of its capture}, ``inferred`` (sentences).
    """
    return {**result.summary(), "problems": [str(problem) for problem in problems], "out": files, "inferred": said}
