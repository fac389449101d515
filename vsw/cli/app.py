"""The commands, in the order of ``vsw --help``.

Each is a file of its own, and making all of them ready takes longer than most of them run: a process makes ready the one that it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Annotated

import typer

#: Where each command, or group of commands, is defined.
COMMANDS = {
    "replay": ("vsw.cli.replay", "replay"),
    "explain": ("vsw.cli.explain", "explain"),
    "diff": ("vsw.cli.diff", "diff"),
    "assert": ("vsw.cli.assertion", "check_rules"),
    "infer": ("vsw.cli.infer", "infer"),
    "classify": ("vsw.cli.classify", "classify"),
    "tag": ("vsw.cli.tag", "tag"),
    "check": ("vsw.cli.check", "check"),
    "disk": ("vsw.cli.disk", "disk"),
    "run": ("vsw.cli.run", "run"),
    "show": ("vsw.cli.live", "show"),
    "port": ("vsw.cli.live", "port_app"),
    "apply": ("vsw.cli.live", "apply"),
    "vm": ("vsw.cli.vm", "app"),
}


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            typer.echo(f"vsw {version('vsw-switch')}")
        except PackageNotFoundError:
            typer.echo("vsw (not installed)")
        raise typer.Exit


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


def application(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """``vsw`` with these commands."""
    app = _bare()
    for name in names:
        command = _load(name)
        if isinstance(command, typer.Typer):
            app.add_typer(command)
        else:
            app.command(name)(command)
    return app


def overview() -> typer.Typer:
    """``vsw`` with commands that say what they are and take nothing: what all of them take is most of the work that ``vsw --help`` would make."""
    app = _bare()
    for name in COMMANDS:
        command = _load(name)

        def nothing() -> None:
            pass

        nothing.__doc__ = command.info.help if isinstance(command, typer.Typer) else command.__doc__
        app.command(name)(nothing)
    return app


def _bare() -> typer.Typer:
    # Plain help: rich is slow to import, and is needed for tables only.
    app = typer.Typer(
        name="vsw",
        rich_markup_mode=None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
    app.callback()(vsw)
    return app


def _load(name: str) -> typer.Typer | Callable[..., int]:
    module, attribute = COMMANDS[name]
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]
