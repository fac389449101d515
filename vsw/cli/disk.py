"""``vsw disk``: the commands for virtual disks; each has a file of its own, ``disk_NAME.py``."""

from __future__ import annotations

import typer

from vsw.cli.disk_create import create
from vsw.cli.disk_serve import serve

disk = typer.Typer(name="disk", rich_markup_mode=None, no_args_is_help=True, help="Virtual disks over files of the host.")

disk.command()(create)
disk.command()(serve)
