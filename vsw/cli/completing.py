"""What a shell offers where more than a file is to be named: ports and switches of the topology that stands on the line, columns.

Called by the shell's completion (``vsw --install-completion``), so nothing here may print or raise; a topology that can't be read offers nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import typer

from vsw.errors import VswError


def _topologies(context: typer.Context) -> Iterator[str]:
    """Arguments before the cursor that name topologies."""
    for value in (context.args, *context.params.values()):
        for text in value if isinstance(value, list | tuple) else (value,):
            if isinstance(text, str) and text.endswith(".toml"):
                yield text


def _ports(context: typer.Context) -> list[str]:
    from vsw.config.load import load  # noqa: PLC0415

    for topology in _topologies(context):
        try:
            lab = load(topology)
        except VswError:
            continue
        wanted = context.params.get("module")
        return [port.name for name, module in lab.modules.items() if wanted in (None, name) for port in module.ports]
    return []


def ports(context: typer.Context, incomplete: str) -> list[str]:
    """Names of ports, and ``source-mac``."""
    return [name for name in dict.fromkeys(["source-mac", *_ports(context)]) if name.startswith(incomplete)]


def events(context: typer.Context, incomplete: str) -> list[str]:
    """``TIME:PORT=down`` and ``=up``, once there is a time.  (bash cuts words at colons and asks for something else.)"""
    time, colon, _ = incomplete.partition(":")
    offers = [f"{time}:{name}={state}" for name in dict.fromkeys(_ports(context)) for state in ("down", "up")] if colon else []
    return [offer for offer in offers if offer.startswith(incomplete)]


def modules(context: typer.Context, incomplete: str) -> list[str]:
    """Names of switches, ``HOST/SWITCH``."""
    from vsw.config.load import load  # noqa: PLC0415

    for topology in _topologies(context):
        try:
            return [name for name in load(topology).modules if name.startswith(incomplete)]
        except VswError:
            continue
    return []


def columns(incomplete: str) -> list[str]:
    """Names of columns of ``vsw classify``, after those that are there already."""
    from vsw.replay.classified import COLUMNS  # noqa: PLC0415

    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in COLUMNS if name.startswith(last) and name not in taken]
