"""``vsw check``: what is wrong with a topology, or what it holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli.ending import BAD_INPUT, ends_well
from vsw.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from vsw.config.lab import Lab
    from vsw.config.module import Module, Port


@ends_well
def check(
    topology: Annotated[str | None, typer.Argument(metavar="TOPOLOGY", help="A topology (.toml).", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output: problems, modules, what is not yet run.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of topologies, for editors.")] = False,
) -> int:
    """Check a topology: its problems with file and line, or the switches and ports that it makes.

    \b
    Examples:
      vsw check lab.toml
      vsw check --schema > topology.schema.json
    """
    if schema:
        from vsw.config.schema import json_schema  # noqa: PLC0415

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    if topology is None:
        raise UsageError("a topology is needed, or --schema")
    from vsw.config.load import load  # noqa: PLC0415
    from vsw.config.unused import unused  # noqa: PLC0415

    try:
        lab = load(topology)
    except ConfigError as error:
        if not as_json:
            raise
        problems = [
            {"line": problem.line, "key": problem.key, "value": _plain(problem.value), "message": problem.message} for problem in error.problems
        ]
        print(json.dumps({"file": topology, "problems": problems, "modules": {}, "not_yet_run": []}, ensure_ascii=False))
        return BAD_INPUT
    idle = unused(lab.topology)
    if as_json:
        print(json.dumps(_as_object(lab, idle), ensure_ascii=False))
        return 0
    from vsw.cli.show import show_lab  # noqa: PLC0415

    show_lab(lab, idle)
    return 0


def _plain(value: object) -> object:
    """A value of a topology as JSON can hold it."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _as_object(lab: Lab, idle: list[str]) -> dict[str, Any]:
    """What ``--json`` prints: ``file``, ``problems`` (none), ``modules`` {name: module}, ``not_yet_run`` [key path]."""
    return {"file": lab.file, "problems": [], "modules": {name: _module(module) for name, module in lab.modules.items()}, "not_yet_run": idle}


def _module(module: Module) -> dict[str, Any]:
    return {
        "dialect": module.dialect.name,
        "learning": module.learning,
        "ports": {port.name: _port(module, port) for port in sorted(module.ports, key=lambda port: port.number)},
        "teams": {
            team.name: {
                "policy": team.policy,
                "assignment": team.assignment,
                **{role: [module.port(number).name for number in getattr(team, role)] for role in ("active", "standby", "unused")},
            }
            for team in module.teams
        },
        "static": len(module.static),
    }


def _port(module: Module, port: Port) -> dict[str, Any]:
    from vsw.config.words import ranges  # noqa: PLC0415
    from vsw.reference.decision import mac_text  # noqa: PLC0415

    return {
        "number": port.number,
        "kind": port.kind,
        "mode": port.vlan.mode,
        "vid": port.vlan.vid,
        "vids": ranges(port.vlan.vids) if port.vlan.vids else "",
        "mac": None if port.effective_mac is None else mac_text(port.effective_mac),
        "team": None if port.team is None else module.teams[port.team].name,
        "mtu": port.mtu,
        "up": port.up,
    }
