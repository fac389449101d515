"""``vsw disk resize``: a longer or shorter disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vsw.cli import completing
from vsw.cli.disk_open import ALLOW_HELP, BACKING_FORMAT_HELP, FORMAT_HELP, JSON_HELP, chosen_format, open_image
from vsw.cli.ending import ends_well
from vsw.cli.sizes import HELP, parse_size, size_text
from vsw.errors import UsageError


@ends_well
def resize(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    size: Annotated[str, typer.Argument(metavar="SIZE", help=f"{HELP} With + in front it is added.", show_default=False)],
    shrink: Annotated[bool, typer.Option("--shrink", help="A shorter disk is meant: what lies behind its end is lost.")] = False,
    image_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP, autocompletion=completing.formats)] = None,
    backing_format: Annotated[str | None, typer.Option(metavar="FORMAT", help=BACKING_FORMAT_HELP, autocompletion=completing.formats)] = None,
    allow: Annotated[list[Path] | None, typer.Option(metavar="DIR", help=ALLOW_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> int:
    """Make a disk longer (what is new reads as zeroes), or shorter with --shrink. Nobody may be using it.

    \b
    Examples:
      vsw disk resize web.qcow2 20G
      vsw disk resize web.qcow2 +5G
    """
    chosen = chosen_format(file, image_format)
    with open_image(file, chosen, read_only=False, allow=allow, backing_format=backing_format) as blocks:
        before = blocks.size
        after = parse_size(size.removeprefix("+"), "SIZE") + (before if size.startswith("+") else 0)
        if after < before and not shrink:
            raise UsageError(f"{file} has {size_text(before)}; to make it shorter, say --shrink")
        blocks.resize(after)
    if as_json:
        print(json.dumps({"file": str(file), "format": chosen, "before": before, "size": after}, ensure_ascii=False))
    else:
        print(f"{file}: {size_text(before)} -> {size_text(after)}")
    return 0
