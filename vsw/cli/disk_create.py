"""``vsw disk create``: a new image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vsw.cli.ending import ends_well
from vsw.cli.sizes import HELP, parse_size, size_text
from vsw.errors import UsageError

FORMAT_HELP = "raw or qcow2. Default: by the name, .qcow2 or .img and .raw; else raw."


@ends_well
def create(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    size: Annotated[str, typer.Option(metavar="SIZE", help=HELP)],
    image_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP)] = None,
    preallocation: Annotated[str, typer.Option(metavar="HOW", help="off, falloc (reserve the space) or full (write it out).")] = "off",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Create an image that reads as zeroes. It gets its name when it is complete.

    \b
    Examples:
      vsw disk create web.img --size 10G
    """
    from vsw.disk.blocks import create_blocks  # noqa: PLC0415
    from vsw.disk.creation import coming_into_being, format_by_name  # noqa: PLC0415

    chosen = image_format or format_by_name(file)
    if preallocation not in ("off", "falloc", "full"):
        raise UsageError(f"--preallocation is off, falloc or full (found {preallocation!r})")
    length = parse_size(size)
    with coming_into_being(file, force) as temporary:
        create_blocks(temporary, length, chosen, preallocation=preallocation).close()
    if as_json:
        print(json.dumps(as_object(file, chosen, length), ensure_ascii=False))
    else:
        print(f"{file}: {chosen}, {size_text(length)}")
    return 0


def as_object(file: Path, image_format: str, size: int) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"file": str(file), "format": image_format, "size": size}
