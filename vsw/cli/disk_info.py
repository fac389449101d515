"""``vsw disk info``: what an image is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.disk_open import FORMAT_HELP, JSON_HELP, chosen_format, open_image
from vsw.cli.ending import ends_well
from vsw.cli.sizes import size_text

if TYPE_CHECKING:
    from vsw.disk.blocks import Qcow2Blocks


@ends_well
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    image_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP, autocompletion=completing.formats)] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> int:
    """Say what an image is: its format and size, what it takes, what it rests on, its snapshots. Also while it is in use.

    \b
    Examples:
      vsw disk info web.qcow2
      vsw disk info --json web.qcow2
    """
    chosen = chosen_format(file, image_format)
    found = describe(file, chosen)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for key, value in found.items():
        if key != "snapshots" and value not in (None, False):
            print(f"{key.replace('_', ' ') + ':':<16} {_text(key, value)}")
    for snapshot in found["snapshots"]:
        print(f"{'snapshot:':<16} {snapshot['id']} {snapshot['name']}, {size_text(snapshot['size'])}, {snapshot['time']}")
    return 0


def _text(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, int) and key.endswith(("size", "occupied")):
        return f"{size_text(value)} ({value:,} bytes)"
    return str(value)


def describe(file: Path, image_format: str) -> dict[str, Any]:
    """What ``--json`` prints."""
    options: dict[str, Any] = {"backing": False} if image_format == "qcow2" else {}
    with open_image(file, image_format, read_only=True, lock=False, **options) as blocks:
        status = file.stat()
        found = {"file": str(file), "format": image_format, "size": blocks.size, "file_size": status.st_size, "occupied": status.st_blocks * 512}
        return found | (_qcow2(blocks) if image_format == "qcow2" else {"snapshots": []})  # type: ignore[arg-type]


def _qcow2(blocks: Qcow2Blocks) -> dict[str, Any]:
    from datetime import UTC, datetime  # noqa: PLC0415

    from vsw.disk.blocks.qcow2 import layout  # noqa: PLC0415
    from vsw.disk.blocks.qcow2.snapshots import list_snapshots  # noqa: PLC0415

    header = blocks.core.header
    return {
        "version": header.version,
        "cluster_size": header.cluster_size,
        "refcount_bits": header.refcount_bits,
        "compression": "zstd" if header.compression else "deflate",
        "lazy_refcounts": bool(header.compatible & layout.LAZY_REFCOUNTS),
        "dirty": bool(header.incompatible & layout.DIRTY),
        "corrupt": bool(header.incompatible & layout.CORRUPT),
        "backing": header.backing,
        "backing_format": header.backing_format,
        "snapshots": [
            {
                "id": snapshot.id,
                "name": snapshot.name,
                "size": snapshot.size,
                "time": datetime.fromtimestamp(snapshot.seconds, UTC).isoformat(),
                "vm_state": snapshot.vm_state,
            }
            for snapshot in list_snapshots(blocks)
        ],
    }
