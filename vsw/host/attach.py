"""From what a topology says of a port to an open port."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsw.config.module import Attach, Port
from vsw.errors import UsageError
from vsw.ports import TYPES, port_type
from vsw.ports.base import Port as LivePort
from vsw.vm.place import port_socket, vm_folder

#: Types that listen at a unix socket, which has its place in the run folder if the topology does not say otherwise.
SOCKETS = ("dgram", "stream", "vhost-user")


def arguments(module: str, port: Port, attach: Attach, run: Path) -> dict[str, Any]:
    """What the type's constructor is told about a port of ``module`` (``host/switch``)."""
    words: dict[str, Any] = dict(attach.words)
    if attach.type == "tap":
        words["device"] = words.pop("name")
    if attach.type not in SOCKETS:
        return words
    if "path" not in words:
        host, _, switch = module.partition("/")
        words["path"] = str(port_socket(run, host, switch, port.name))
    if attach.type == "dgram" and port.kind == "vnic" and "peer" not in words:
        vm, _, index = port.name.rpartition(".")
        words["peer"] = str(vm_folder(run, vm) / f"nic{index}.sock")
    return words


def holds(words: Mapping[str, Any]) -> set[str]:
    """The things of this machine that a port attached so has for itself."""
    return {str(words[key]) for key in ("path", "device", "interface") if key in words}


def open_port(module: str, port: Port, run: Path, queues: int = 1) -> LivePort:
    """Open what ``port.attach`` says.  OSError and :class:`~vsw.errors.UsageError` name the thing and the remedy."""
    attach = port.attach
    assert attach is not None
    if attach.type not in TYPES:
        raise UsageError(f"there is no port type {attach.type!r}; there are {', '.join(TYPES)}")
    words = arguments(module, port, attach, run)
    if attach.type in SOCKETS:
        Path(words["path"]).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if attach.type == "vhost-user":
        words["queues"] = queues
    return port_type(attach.type)(f"{module}/{port.name}", **words)
