"""What a shell offers where more than a file is to be named: what the topology on the line has, what runs, columns and other values.

Called by the shell's completion (``vsw --install-completion``), so nothing here may print or raise; a topology that can't be read offers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from vsw.errors import VswError

if TYPE_CHECKING:
    from vsw.config.lab import Lab


def _topologies(context: typer.Context) -> Iterator[str]:
    """Arguments before the cursor that name topologies."""
    for value in (context.args, *context.params.values()):
        for text in value if isinstance(value, list | tuple) else (value,):
            if isinstance(text, str) and text.endswith(".toml"):
                yield text


def _lab(context: typer.Context) -> Lab | None:
    """The first topology on the line that can be read."""
    from vsw.config.load import load  # noqa: PLC0415

    for topology in _topologies(context):
        with suppress(VswError, OSError):
            return load(topology)
    return None


def _ports(context: typer.Context) -> list[str]:
    wanted = context.params.get("module")
    modules = lab.modules if (lab := _lab(context)) else {}
    return list(dict.fromkeys(port.name for name, module in modules.items() if wanted in (None, name) for port in module.ports))


def _that_begin(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def ports(context: typer.Context, incomplete: str) -> list[str]:
    """Names of ports, and ``source-mac``."""
    return _that_begin(["source-mac", *_ports(context)], incomplete)


def events(context: typer.Context, incomplete: str) -> list[str]:
    """``TIME:PORT=down`` and ``=up``, once there is a time."""
    time, colon, _ = incomplete.partition(":")
    return _that_begin((f"{time}:{name}={state}" for name in _ports(context) for state in ("down", "up")), incomplete) if colon else []


def modules(context: typer.Context, incomplete: str) -> list[str]:
    """Names of switches, ``HOST/SWITCH``."""
    return _that_begin(lab.modules if (lab := _lab(context)) else (), incomplete)


def hosts(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the topology's hosts."""
    return _that_begin(lab.hosts if (lab := _lab(context)) else (), incomplete)


def machines(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the topology's VMs, but for those that were named already."""
    vms = lab.topology.vms if (lab := _lab(context)) else {}
    named = context.params.get("names") or ()
    return _that_begin((name for name in vms if name not in named), incomplete)


def cards(context: typer.Context, incomplete: str) -> list[str]:
    """Ports of the topology's VMs."""
    vms = lab.topology.vms if (lab := _lab(context)) else {}
    return _that_begin((f"{name}.{number}" for name, vm in vms.items() for number in range(len(vm.nics))), incomplete)


def running(context: typer.Context, incomplete: str) -> list[str]:
    """Names of VMs that run."""
    from vsw.vm.place import run_folder  # noqa: PLC0415
    from vsw.vm.running import is_running, known  # noqa: PLC0415

    with suppress(VswError, OSError):
        run = run_folder(context.params.get("run_dir"))
        return _that_begin((name for name in known(run) if is_running(run, name)), incomplete)
    return []


def live_ports(context: typer.Context, incomplete: str) -> list[str]:
    """Names of ports of the host that runs."""
    from vsw.host.control import ask  # noqa: PLC0415
    from vsw.vm.place import run_folder  # noqa: PLC0415

    with suppress(VswError, OSError):
        found = ask(run_folder(context.params.get("run_dir")), context.params.get("host"), {"command": "show", "what": "port"})
        return _that_begin(dict.fromkeys(port["port"] for port in found), incomplete)
    return []


def formats(incomplete: str) -> list[str]:
    """Formats of disk images."""
    return _that_begin(("raw", "qcow2"), incomplete)


def preallocations(incomplete: str) -> list[str]:
    """What ``--preallocation`` takes."""
    return _that_begin(("off", "metadata", "falloc", "full"), incomplete)


def columns(incomplete: str) -> list[str]:
    """Names of columns of ``vsw classify``, after those that are there already."""
    from vsw.replay.classified import COLUMNS  # noqa: PLC0415

    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in COLUMNS if name.startswith(last) and name not in taken]
