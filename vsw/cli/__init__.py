"""The command line: one file a command, each thin.  What it takes long to import is imported within the commands."""

from __future__ import annotations


def main() -> None:
    """The command ``vsw``; ends the process."""
    from vsw.cli.app import app  # noqa: PLC0415
    from vsw.cli.ending import start  # noqa: PLC0415

    start()
    app(prog_name="vsw")
