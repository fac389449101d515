"""``vsw disk check``: is an image sound?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.disk_open import FORMAT_HELP, JSON_HELP, chosen_format, open_image
from vsw.cli.ending import BAD_INPUT, complain, ends_well
from vsw.cli.progress import progress
from vsw.cli.sizes import size_text
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.disk.blocks.qcow2.check import Report

REPAIR_HELP = "Free what leaked, and mend counts and marks: nothing that the guest wrote is lost."
THOUSAND = 1000
"""How far the bar goes: how many tables there are is known only when the image has been opened."""
DROP_HELP = "With --repair: also drop references that can't be right; what they stood for reads as zeroes."


@ends_well
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    image_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP, autocompletion=completing.formats)] = None,
    repair: Annotated[bool, typer.Option("--repair", help=REPAIR_HELP)] = False,
    drop: Annotated[bool, typer.Option("--drop", help=DROP_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> int:
    """Check an image that nobody is using; its backing files are images of their own. Exit code 1 if it is corrupt; leaked space is no corruption.

    \b
    Examples:
      vsw disk check web.qcow2
      vsw disk check --repair web.qcow2
    """
    from vsw.disk.blocks.qcow2.check import Repair, check_image  # noqa: PLC0415

    if drop and not repair:
        raise UsageError("--drop goes with --repair")
    if chosen_format(file, image_format) == "raw":
        with open_image(file, "raw", read_only=True) as blocks:
            shown = {"file": str(file), "format": "raw", "size": blocks.size}
        print(json.dumps(shown, ensure_ascii=False) if as_json else f"{file}: raw, which has no structure to check")
        return 0
    with progress("Checking", THOUSAND, "{:,} tables".format) as step:
        shown_at = None if step is None else lambda done, total: step(THOUSAND * done // total, done)
        report = check_image(file, Repair.ALL if drop else Repair.SAFE if repair else Repair.NONE, shown_at)
    if as_json:
        print(json.dumps(as_object(report), ensure_ascii=False))
    else:
        _show(report)
    return 0 if report.sound else BAD_INPUT


def _show(report: Report) -> None:
    for message in report.messages:
        complain(message)
    if report.repaired is not None:
        print(f"{report.file}: repaired: {_sentence(report.repaired)}")
    print(f"{report.file}: {_sentence(report)}")
    share = f"{100 * report.allocated / report.total:.1f} %" if report.total else "none"
    used = f"{report.allocated:,} of {report.total:,} clusters of {size_text(report.cluster_size)} have a place"
    print(f"{used} ({share}); {report.compressed:,} are compressed")


def _sentence(report: Report) -> str:
    parts = []
    if report.corruptions:
        parts.append(f"{report.corruptions:,} corruptions")
    if report.leaks:
        parts.append(f"{report.leaks:,} leaked clusters ({size_text(report.leaks * report.cluster_size)})")
    if report.marks:
        parts.append(f"{report.marks:,} clusters that are unshared and not marked so")
    if report.dirty:
        parts.append("it was not closed properly")
    if report.corrupt:
        parts.append("it is marked corrupt")
    return ", ".join(parts) or "no errors"


def as_object(report: Report) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "file": report.file,
        "format": "qcow2",
        **_counts(report),
        "messages": report.messages,
        "cluster_size": report.cluster_size,
        "clusters": report.total,
        "allocated": report.allocated,
        "compressed": report.compressed,
        "end": report.end,
        "repaired": None if report.repaired is None else _counts(report.repaired),
    }


def _counts(report: Report) -> dict[str, Any]:
    return {"corruptions": report.corruptions, "leaks": report.leaks, "marks": report.marks, "dirty": report.dirty, "corrupt": report.corrupt}
