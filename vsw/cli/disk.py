"""``vsw disk``: the commands for virtual disks; each has a file of its own, ``disk_NAME.py``."""

from __future__ import annotations

import typer

from vsw.cli.disk_check import check
from vsw.cli.disk_convert import convert
from vsw.cli.disk_create import create
from vsw.cli.disk_info import info
from vsw.cli.disk_map import map_
from vsw.cli.disk_resize import resize
from vsw.cli.disk_serve import serve
from vsw.cli.disk_snapshot import snapshot

disk = typer.Typer(name="disk", rich_markup_mode=None, no_args_is_help=True, help="Virtual disks over files of the host.")

disk.command()(create)
disk.command()(info)
disk.command()(check)
disk.command()(convert)
disk.add_typer(snapshot)
disk.command()(resize)
disk.command("map")(map_)
disk.command()(serve)
