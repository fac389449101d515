"""``vsw disk map``: what each part of a disk rests on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.disk_open import ALLOW_HELP, BACKING_FORMAT_HELP, FORMAT_HELP, JSON_HELP, chosen_format, open_image
from vsw.cli.ending import ends_well

if TYPE_CHECKING:
    from vsw.disk.blocks.qcow2 import Mapped


@ends_well
def map_(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    image_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP, autocompletion=completing.formats)] = None,
    backing_format: Annotated[str | None, typer.Option(metavar="FORMAT", help=BACKING_FORMAT_HELP, autocompletion=completing.formats)] = None,
    allow: Annotated[list[Path] | None, typer.Option(metavar="DIR", help=ALLOW_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> int:
    """Say what each part of a disk rests on: data (and where in which file), zeroes, or nothing.

    \b
    Examples:
      vsw disk map web.qcow2
    """
    from vsw.disk.blocks.qcow2.image import whole_map  # noqa: PLC0415

    chosen = chosen_format(file, image_format)
    with open_image(file, chosen, read_only=True, allow=allow, backing_format=backing_format) as blocks:
        parts = whole_map(blocks)
        if as_json:
            print(json.dumps(as_object(file, blocks.size, parts), ensure_ascii=False))
            return 0
        print(f"{'offset':>16} {'length':>16} {'depth':>5}  rests on")
        for one in parts:
            where = "" if one.host is None else f" at {one.host:,}"
            print(f"{one.offset:>16,} {one.length:>16,} {one.depth:>5}  {WORDS[one.rests.name]}{where}")
    return 0


WORDS = {"NOTHING": "nothing", "ZERO": "zeroes", "RESERVED": "zeroes, reserved", "DATA": "data", "COMPRESSED": "compressed data"}


def as_object(file: Path, size: int, parts: Iterable[Mapped]) -> dict[str, Any]:
    """What ``--json`` prints."""
    found = [{"offset": one.offset, "length": one.length, "depth": one.depth, "rests_on": WORDS[one.rests.name], "host": one.host} for one in parts]
    return {"file": str(file), "size": size, "map": found}
