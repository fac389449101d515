"""``vsw disk create``: a new image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.disk_open import ALLOW_HELP, FORMAT_HELP
from vsw.cli.ending import ends_well
from vsw.cli.progress import progress
from vsw.cli.sizes import HELP, parse_size, size_text
from vsw.errors import UsageError

BACKING_HELP = "Of the backing file: raw or qcow2. It is never guessed."
PREALLOCATION_HELP = "off; metadata (qcow2: every cluster gets its place); falloc (the space is reserved); full (written out)."


@ends_well
def create(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    size: Annotated[str | None, typer.Option(metavar="SIZE", help=f"{HELP} Default: that of the backing file.")] = None,
    image_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP, autocompletion=completing.formats)] = None,
    backing: Annotated[str | None, typer.Option(metavar="FILE", help="Show the bytes of this file where nothing was written.")] = None,
    backing_format: Annotated[str | None, typer.Option(metavar="FORMAT", help=BACKING_HELP, autocompletion=completing.formats)] = None,
    allow: Annotated[list[Path] | None, typer.Option(metavar="DIR", help=ALLOW_HELP)] = None,
    cluster_size: Annotated[str, typer.Option(metavar="SIZE", help="qcow2: 512 to 2M.")] = "64K",
    refcount_bits: Annotated[int, typer.Option(metavar="N", help="qcow2: width of reference counts, 1 to 64.")] = 16,
    preallocation: Annotated[str, typer.Option(metavar="HOW", help=PREALLOCATION_HELP, autocompletion=completing.preallocations)] = "off",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Create an image that reads as zeroes, or as its backing file. It gets its name when it is complete.

    \b
    Examples:
      vsw disk create web.img --size 10G
      vsw disk create web.qcow2 --size 10G
      vsw disk create clone.qcow2 --backing web.qcow2 --backing-format qcow2
    """
    from vsw.disk.blocks import create_blocks  # noqa: PLC0415
    from vsw.disk.creation import coming_into_being, format_by_name  # noqa: PLC0415

    chosen = image_format or format_by_name(file)
    allowed = [str(directory) for directory in allow or ()]
    options: dict[str, Any] = {"preallocation": preallocation}
    if chosen == "qcow2":
        options |= {"cluster_size": parse_size(cluster_size, "--cluster-size"), "refcount_bits": refcount_bits}
        if backing is not None:
            options |= {"backing": backing, "backing_format": backing_format, "backing_directories": allowed}
    elif backing is not None:
        raise UsageError(f"only qcow2 has backing files, and {file} is {chosen}")
    elif preallocation not in ("off", "falloc", "full"):
        raise UsageError(f"--preallocation of a {chosen} image is off, falloc or full (found {preallocation!r})")
    if size is None and backing is None:
        raise UsageError("--size is needed, or a backing file that has one")
    length = parse_size(size) if size is not None else _backing_size(file, str(backing), backing_format, allowed)
    with coming_into_being(file, force) as temporary, progress("Creating", length, size_text) as step:
        create_blocks(temporary, length, chosen, progress=None if step is None else lambda done: step(done, done), **options).close()
    if as_json:
        print(json.dumps(as_object(file, chosen, length, backing), ensure_ascii=False))
    else:
        print(f"{file}: {chosen}, {size_text(length)}" + (f", over {backing}" if backing else ""))
    return 0


def _backing_size(file: Path, backing: str, backing_format: str | None, allowed: list[str]) -> int:
    from vsw.disk.blocks import open_blocks  # noqa: PLC0415
    from vsw.disk.blocks.qcow2.backing import resolve  # noqa: PLC0415

    if backing_format not in ("raw", "qcow2"):
        raise UsageError(f"--backing-format is raw or qcow2 (found {backing_format!r})")
    options = {"backing_directories": allowed} if backing_format == "qcow2" else {}
    with open_blocks(resolve(str(file), backing), backing_format, read_only=True, **options) as below:
        return below.size


def as_object(file: Path, image_format: str, size: int, backing: str | None) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"file": str(file), "format": image_format, "size": size, "backing": backing}
