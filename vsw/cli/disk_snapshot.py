"""``vsw disk snapshot``: internal snapshots of qcow2 images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsw.cli import completing
from vsw.cli.disk_open import ALLOW_HELP, BACKING_FORMAT_HELP, JSON_HELP, open_image
from vsw.cli.ending import ends_well

if TYPE_CHECKING:
    from vsw.disk.blocks import Qcow2Blocks

snapshot = typer.Typer(name="snapshot", rich_markup_mode=None, no_args_is_help=True, help="Internal snapshots of a qcow2 image.")

File = Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
BackingFormat = Annotated[str | None, typer.Option(metavar="FORMAT", help=BACKING_FORMAT_HELP, autocompletion=completing.formats)]
Allow = Annotated[list[Path] | None, typer.Option(metavar="DIR", help=ALLOW_HELP)]
Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def _change(
    file: Path, name: str, done: str, work: Callable[[Qcow2Blocks], object], backing_format: str | None, allow: list[Path] | None, as_json: bool
) -> int:
    """Do ``work`` with the image, which nobody else may be using."""
    with open_image(file, "qcow2", read_only=False, allow=allow, backing_format=backing_format) as blocks:
        work(blocks)  # type: ignore[arg-type]
        size = blocks.size
    if as_json:
        print(json.dumps({"file": str(file), "snapshot": name, "done": done, "size": size}, ensure_ascii=False))
    else:
        print(f"{file}: snapshot {name} {done}")
    return 0


@snapshot.command()
@ends_well
def create(file: File, name: Name, backing_format: BackingFormat = None, allow: Allow = None, as_json: Json = False) -> int:
    """Keep the disk as it is now.

    \b
    Examples:
      vsw disk snapshot create web.qcow2 before-upgrade
    """
    from vsw.disk.blocks.qcow2.snapshots import create_snapshot  # noqa: PLC0415

    return _change(file, name, "created", lambda blocks: create_snapshot(blocks, name), backing_format, allow, as_json)


@snapshot.command()
@ends_well
def apply(file: File, name: Name, backing_format: BackingFormat = None, allow: Allow = None, as_json: Json = False) -> int:
    """Make the disk what it was; what was written since is lost, unless another snapshot has it.

    \b
    Examples:
      vsw disk snapshot apply web.qcow2 before-upgrade
    """
    from vsw.disk.blocks.qcow2.snapshots import apply_snapshot  # noqa: PLC0415

    return _change(file, name, "applied", lambda blocks: apply_snapshot(blocks, name), backing_format, allow, as_json)


@snapshot.command()
@ends_well
def delete(file: File, name: Name, backing_format: BackingFormat = None, allow: Allow = None, as_json: Json = False) -> int:
    """Forget a snapshot; what only it used is free.

    \b
    Examples:
      vsw disk snapshot delete web.qcow2 before-upgrade
    """
    from vsw.disk.blocks.qcow2.snapshots import delete_snapshot  # noqa: PLC0415

    return _change(file, name, "deleted", lambda blocks: delete_snapshot(blocks, name), backing_format, allow, as_json)


@snapshot.command("list")
@ends_well
def list_(file: File, as_json: Json = False) -> int:
    """List the snapshots, oldest first. Also while the image is in use.

    \b
    Examples:
      vsw disk snapshot list web.qcow2
    """
    from vsw.cli.disk_info import describe  # noqa: PLC0415
    from vsw.cli.sizes import size_text  # noqa: PLC0415

    found = describe(file, "qcow2")["snapshots"]
    if as_json:
        print(json.dumps({"file": str(file), "snapshots": found}, ensure_ascii=False))
        return 0
    for one in found:
        print(f"{one['id']:>4}  {one['time']}  {size_text(one['size']):>10}  {one['name']}")
    return 0
