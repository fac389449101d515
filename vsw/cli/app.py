"""The commands, in the order of ``vsw --help``."""

from __future__ import annotations

from typing import Annotated

import typer

from vsw.cli.assertion import check_rules
from vsw.cli.check import check
from vsw.cli.classify import classify
from vsw.cli.diff import diff
from vsw.cli.disk import disk
from vsw.cli.explain import explain
from vsw.cli.infer import infer
from vsw.cli.live import apply, port_app, show
from vsw.cli.replay import replay
from vsw.cli.run import run
from vsw.cli.tag import tag
from vsw.cli.vm import app as vm

# Plain help: rich is slow to import, and is needed for tables only.
app = typer.Typer(
    name="vsw",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            typer.echo(f"vsw {version('vsw-switch')}")
        except PackageNotFoundError:
            typer.echo("vsw (not installed)")
        raise typer.Exit


@app.callback()
def vsw(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """A hypervisor's virtual switch: send captured frames through it, and see where each went or why it did not.

    \b
    Examples:
      vsw check lab.toml
      vsw replay lab.toml trace.pcapng
      vsw explain lab.toml trace.pcapng --frame 42
      vsw run lab.toml

    Exit codes: 0 done, 1 the input is bad, 2 the usage is wrong.
    """


app.command()(replay)
app.command()(explain)
app.command()(diff)
app.command("assert")(check_rules)
app.command()(infer)
app.command()(classify)
app.add_typer(tag)
app.command()(check)
app.add_typer(disk)
app.command()(run)
app.command()(show)
app.add_typer(port_app)
app.command()(apply)
app.add_typer(vm)
