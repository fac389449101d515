"""``vsw disk convert``: the same disk in another image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.disk_open import ALLOW_HELP, BACKING_FORMAT_HELP, JSON_HELP, chosen_format, open_image
from vsw.cli.ending import ends_well
from vsw.cli.progress import progress
from vsw.cli.sizes import parse_size, size_text
from vsw.errors import UsageError

SOURCE_HELP = "raw or qcow2. Default: by the name."
TARGET_HELP = "Of the target. Default: by the name."
RESUME_HELP = "Go on with a copy that was interrupted, if the source is still the same."


@ends_well
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="TARGET", show_default=False)],
    source_format: Annotated[str | None, typer.Option(metavar="FORMAT", help=SOURCE_HELP, autocompletion=completing.formats)] = None,
    target_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=TARGET_HELP, autocompletion=completing.formats)] = None,
    snapshot: Annotated[str | None, typer.Option(metavar="NAME", help="Copy the disk as it was in this internal snapshot.")] = None,
    backing_format: Annotated[str | None, typer.Option(metavar="FORMAT", help=BACKING_FORMAT_HELP, autocompletion=completing.formats)] = None,
    allow: Annotated[list[Path] | None, typer.Option(metavar="DIR", help=ALLOW_HELP)] = None,
    cluster_size: Annotated[str, typer.Option(metavar="SIZE", help="Of a qcow2 target: 512 to 2M.")] = "64K",
    preallocation: Annotated[str, typer.Option(metavar="HOW", help="As vsw disk create.", autocompletion=completing.preallocations)] = "off",
    resume: Annotated[bool, typer.Option("--resume", help=RESUME_HELP)] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a target that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> int:
    """Copy a disk to a new image, without its holes and zeroes; what it rests on is copied too. The target gets its name when it is complete.

    \b
    Examples:
      vsw disk convert web.img web.qcow2
      vsw disk convert web.qcow2 web.img --resume
      vsw disk convert --snapshot before-upgrade web.qcow2 old.qcow2
    """
    from vsw.disk.convert import Target, convert, identify  # noqa: PLC0415
    from vsw.disk.creation import format_by_name  # noqa: PLC0415

    read_as = chosen_format(source, source_format)
    written_as = target_format or format_by_name(target)
    if snapshot is not None and read_as != "qcow2":
        raise UsageError(f"only qcow2 has snapshots, and {source} is {read_as}")
    options: dict[str, Any] = {"preallocation": preallocation}
    if written_as == "qcow2":
        options["cluster_size"] = parse_size(cluster_size, "--cluster-size")
    more: dict[str, Any] = {"snapshot": snapshot} if snapshot is not None else {}
    with (
        open_image(source, read_as, read_only=True, allow=allow, backing_format=backing_format, **more) as blocks,
        progress("Converting", blocks.size, size_text) as step,
    ):
        whole = Target(target, written_as, options)
        shown = None if step is None else lambda done: step(done, done)
        start = convert(blocks, identify(source, read_as, snapshot, blocks), whole, force=force, resume=resume, progress=shown)
        size = blocks.size
    if as_json:
        print(json.dumps(as_object(source, target, read_as, written_as, size, start), ensure_ascii=False))
    else:
        print(f"{target}: {written_as}, {size_text(size)}" + (f", went on from {size_text(start)}" if start else ""))
    return 0


def as_object(source: Path, target: Path, read_as: str, written_as: str, size: int, start: int) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"source": str(source), "source_format": read_as, "file": str(target), "format": written_as, "size": size, "resumed_from": start}
