"""The command line: one file a command, each thin.  What it takes long to import is imported within the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """The command ``vsw``; ends the process."""
    from vsw.cli.app import COMMANDS, application  # noqa: PLC0415
    from vsw.cli.ending import start  # noqa: PLC0415
    from vsw.cli.shells import answer  # noqa: PLC0415

    start()
    wanted = sys.argv[1:2]
    # Help, completion and what is no command need all of them.
    app = application(wanted if set(wanted) & set(COMMANDS) else COMMANDS)
    answer(lambda: app(prog_name="vsw"))
