"""What the disk commands share: opening the image that a user named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsw.cli.ending import complain
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.disk.blocks import Blocks

FORMAT_HELP = "raw or qcow2. Default: by the name, .qcow2 or .img and .raw; else raw."
ALLOW_HELP = "A directory that may hold backing files, beside the image's own. Repeatable."
BACKING_FORMAT_HELP = "Of the backing file, if the image does not say it: raw or qcow2."
JSON_HELP = "One JSON object on standard output."


def chosen_format(file: Path, image_format: str | None) -> str:
    """The format that was said, or that the name stands for. Warns of a raw image that looks like another: it is not guessed."""
    from vsw.disk.blocks import FORMATS  # noqa: PLC0415
    from vsw.disk.creation import format_by_name  # noqa: PLC0415

    if image_format is not None:
        if image_format not in FORMATS:
            raise UsageError(f"--format is one of {', '.join(FORMATS)} (found {image_format!r})")
        return image_format
    chosen = format_by_name(file)
    if chosen == "raw" and file.is_file():
        with file.open("rb") as stream:
            head = stream.read(4096)
        looks = next(name for name, known in FORMATS.items() if known.probe(head))
        if looks != "raw":
            complain(f"{file} begins like {looks}, and is taken for raw, as its name says; --format {looks} if that is what it is", "Warning")
    return chosen


def open_image(
    file: Path,
    image_format: str,
    *,
    read_only: bool,
    allow: list[Path] | None = None,
    backing_format: str | None = None,
    **options: Any,
) -> Blocks:
    """Open ``file``; the options that only qcow2 knows are left out for others."""
    from vsw.disk.blocks import open_blocks  # noqa: PLC0415

    if image_format == "qcow2":
        options |= {"backing_directories": [str(directory) for directory in allow or ()], "backing_format": backing_format}
    return open_blocks(file, image_format, read_only=read_only, **options)
