"""``vsw classify``: what each frame of a capture is."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.ending import ends_well
from vsw.cli.inputs import STRICT_HELP, spare
from vsw.cli.progress import progress
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.capture import Capture
    from vsw.replay.classified import Chunk

SOURCE_HELP = "A capture: pcap or pcapng, also compressed with gzip or zstd; - is standard input."
WHERE_HELP = "Only frames for which this holds, for instance \"vlan == 10 and proto == tcp\"."
COLUMNS_HELP = "Columns, separated by commas."
#: Rows of a table, unless --limit says otherwise; the other forms have no bound.
TABLE_ROWS = 1000


class Form(StrEnum):
    """Forms of the output."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


@ends_well
def classify(
    capture: Annotated[str, typer.Argument(metavar="CAPTURE", help=SOURCE_HELP, show_default=False)],
    where: Annotated[str | None, typer.Option(metavar="FILTER", help=WHERE_HELP, show_default=False)] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help=COLUMNS_HELP, show_default="the usual ones", autocompletion=completing.columns)
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Parquet needs --out and the extra arrow.")] = Form.TABLE,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write to this file, which appears when it is complete.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Frames at most.", show_default=f"{TABLE_ROWS} of a table, else all")] = None,
    strict: Annotated[bool, typer.Option("--strict/--tolerant", help=STRICT_HELP)] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: --format json.")] = False,
) -> int:
    """Say what each frame is: addresses, tags, protocol, ports, length.  No topology is needed.

    FILTER compares fields with values (==, !=, <, <=, >, >=, in), joined with and, or, not and parentheses.  Fields: vlan, pcp, dei, tpid,
    inner_vlan, inner_tpid, tags, src, dst, mac, type, src_ip, dst_ip, ip, proto, ip_version, tos, sport, dport, port, length, captured, flow_hash;
    on their own: tagged, broadcast, multicast, group, unicast, fragment, options, cut, malformed, group_source.

    \b
    Examples:
      vsw classify trace.pcapng --limit 20
      vsw classify trace.pcapng --where "vlan == 10 and proto == tcp"
      vsw classify trace.pcapng --where "ip in (10.0.0.0/8, fd00::/8) and not port == 53"
      vsw classify trace.pcapng --where "mac == 00:50:56 or vlan in (100-199)" --format csv
      vsw classify trace.pcapng --format parquet --out trace.parquet
    """
    from vsw.capture import open_capture  # noqa: PLC0415
    from vsw.cli.ending import complain  # noqa: PLC0415
    from vsw.replay.classified import chunks, column_names, write_parquet  # noqa: PLC0415
    from vsw.replay.where import compile_where  # noqa: PLC0415

    names = column_names(columns)
    spare((capture,), out)
    if as_json:
        if form not in (Form.TABLE, Form.JSON):
            raise UsageError(f"--json is one form, --format {form.value} another")
        form = Form.JSON
    test = None if where is None else compile_where(where)
    if form is Form.PARQUET and out is None:
        raise UsageError("--format parquet needs --out FILE")
    bounded = form is Form.TABLE and limit is None
    if bounded:
        limit = TABLE_ROWS + 1
    with open_capture(capture, strict=strict) as source:
        len(source)  # a pipe is read to its end; files learn where their frames are
        with progress("Classifying", len(source)) as step:
            parts = _watched(chunks(source, test, limit), step)
            if form is Form.PARQUET:
                assert out is not None
                write_parquet(parts, names, out)
            elif out is None:
                _write(parts, names, form, sys.stdout, bounded, source)
            else:
                from vsw.switch.arrow import unfinished  # noqa: PLC0415

                with unfinished(out) as temporary, open(temporary, "x", encoding="utf-8") as file:  # noqa: PTH123
                    _write(parts, names, form, file, bounded, source)
        problem = source.problem
    if problem is not None:
        complain(problem, "Warning")
    return 0


def _watched(parts: Iterator[Chunk], step: Any) -> Iterator[Chunk]:
    for part in parts:
        yield part
        if step is not None and len(part.frames):
            step(int(part.frames[-1]), int(part.frames[-1]))


def _write(parts: Iterator[Chunk], names: Sequence[str], form: Form, file: IO[str], bounded: bool, source: Capture) -> None:
    from vsw.replay.classified import values  # noqa: PLC0415

    if form is Form.TABLE:
        _table([row for part in parts for row in zip(*values(part, names), strict=True)], names, file, bounded)
    elif form is Form.CSV:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for part in parts:
            writer.writerows(zip(*values(part, names), strict=True))
    elif form is Form.JSONL:
        for part in parts:
            for row in zip(*values(part, names), strict=True):
                file.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n")
    else:
        _object(parts, names, file, source)


def _object(parts: Iterator[Chunk], names: Sequence[str], file: IO[str], source: Capture) -> None:
    """One JSON object, whole or, where reading fails, not at all: ``columns``, ``rows`` [[value by column]], ``problems``."""
    from vsw.replay.classified import values  # noqa: PLC0415

    rows = [json.dumps(row, ensure_ascii=False) for part in parts for row in zip(*values(part, names), strict=True)]
    problems = [] if source.problem is None else [str(source.problem)]
    file.write(f'{{"columns": {json.dumps(list(names))}, "rows": [{", ".join(rows)}], "problems": {json.dumps(problems, ensure_ascii=False)}}}\n')


def _table(rows: list[tuple[Any, ...]], names: Sequence[str], file: IO[str], bounded: bool) -> None:
    """Plain columns, each as wide as it has to be."""
    more = bounded and len(rows) > TABLE_ROWS
    texts = [[_text(name, value) for name, value in zip(names, row, strict=True)] for row in rows[: TABLE_ROWS if more else None]]
    widths = [max([len(name), *(len(row[i]) for row in texts)]) for i, name in enumerate(names)]
    for row in [list(names), *texts]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=file)
    if more:
        print(f"... {TABLE_ROWS:,} frames are shown; --limit shows more, --format csv all", file=file)


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "time":
        return f"{value // 10**9}.{value % 10**9:09}"
    return str(value)
