"""``vsw show``, ``vsw port``, ``vsw apply``: talk to a host that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.ending import ends_well
from vsw.cli.port_attach import attach
from vsw.cli.vm import RunDir

HOST_HELP = "The host, where several run."
PORT_HELP = "PORT, SWITCH/PORT or HOST/SWITCH/PORT."

Host = Annotated[str | None, typer.Option("--host", metavar="HOST", help=HOST_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")]


class What(StrEnum):
    """What can be shown."""

    PORT = "port"
    MAC = "mac"
    TEAM = "team"
    COUNTERS = "counters"
    DROPS = "drops"


def _ask(run_dir: str | None, host: str | None, request: Mapping[str, Any]) -> Any:
    from vsw.host.control import ask  # noqa: PLC0415
    from vsw.vm.place import run_folder  # noqa: PLC0415

    return ask(run_folder(run_dir), host, request)


@ends_well
def show(
    what: Annotated[What, typer.Argument(help="What to show.", show_default=False)],
    host: Host = None,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> int:
    """Show what a running host does: its ports, forwarding tables, teams, counters, and where frames were lost and why.

    \b
    Examples:
      vsw show port
      vsw show mac --json
      vsw show drops --host esx1
    """
    found = _ask(run_dir, host, {"command": "show", "what": what.value})
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    from vsw.cli.show_live import SHOW  # noqa: PLC0415

    SHOW[what.value](found)
    return 0


port_app = typer.Typer(name="port", rich_markup_mode=None, no_args_is_help=True, help="Ports of a running host: up, down, attach.")
port_app.command()(attach)


@port_app.command()
@ends_well
def up(
    port: Annotated[str, typer.Argument(metavar="PORT", help=PORT_HELP, show_default=False, autocompletion=completing.live_ports)],
    host: Host = None,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> int:
    """Let a port of a running host go up; also one that its BPDU guard has shut.

    \b
    Examples:
      vsw port up web1.0
    """
    return _set(port, True, host, run_dir, as_json)


@port_app.command()
@ends_well
def down(
    port: Annotated[str, typer.Argument(metavar="PORT", help=PORT_HELP, show_default=False, autocompletion=completing.live_ports)],
    host: Host = None,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> int:
    """Take a port of a running host down until vsw port up.

    \b
    Examples:
      vsw port down esx1/vSwitch0/vmnic0
    """
    return _set(port, False, host, run_dir, as_json)


def _set(port: str, wanted: bool, host: str | None, run_dir: str | None, as_json: bool) -> int:
    found = _ask(run_dir, host, {"command": "port", "port": port, "up": wanted})
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        waits = "" if found["up"] == wanted else ", and waits for its link"
        print(f"{found['module']}/{found['port']}: {'up' if wanted else 'down'}{waits}")
    return 0


@ends_well
def apply(
    topology: Annotated[str, typer.Argument(metavar="TOPOLOGY", help="A topology (.toml).", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    host: Host = None,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> int:
    """Give a running host another version of its topology: all of it takes effect, or nothing.

    Ports that it does not concern go on without losing a frame.

    \b
    Examples:
      vsw apply lab.toml --dry-run
      vsw apply lab.toml
    """
    from vsw.config.load import load  # noqa: PLC0415

    load(topology)  # its problems are told here, with the file's lines
    path = Path(topology).absolute()
    request = {"command": "apply", "file": str(path), "text": path.read_text(encoding="utf-8-sig"), "dry_run": dry_run}
    changes = _ask(run_dir, host, request)
    if as_json:
        print(json.dumps(changes, ensure_ascii=False))
        return 0
    for module, change in changes.items():
        said = [f"{kind}: {', '.join(names)}" for kind, names in change.items() if names]
        print(f"{module}: {'; '.join(said) or 'nothing changes'}")
    return 0
