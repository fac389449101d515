"""The command line: one file a command, each thin.  What it takes long to import is imported within the commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The command ``vsw``; ends the process."""
    from vsw.cli.app import COMMANDS, application, overview  # noqa: PLC0415
    from vsw.cli.ending import start  # noqa: PLC0415
    from vsw.cli.shells import answer  # noqa: PLC0415

    start()
    wanted = next((word for word in sys.argv[1:] if word != "--"), None)
    if "_VSW_COMPLETE" in os.environ:
        app = application()
    elif wanted in COMMANDS:
        app = application([wanted])
    else:
        app = overview()
    answer(lambda: app(prog_name="vsw"))
