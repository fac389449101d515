"""The words a user writes, and the resolved modules that everything below works with.

Names are imported when they are first used: whoever needs only :class:`Module` does not wait for the models.  The
function ``load`` is :func:`vsw.load` (here that name is the submodule which holds it).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsw.config.dialects import DIALECTS, Dialect, Security
    from vsw.config.lab import Host, Lab
    from vsw.config.load import loads
    from vsw.config.models import Topology
    from vsw.config.module import Module, Port, StaticEntry, Team, Vlan
    from vsw.config.schema import json_schema
    from vsw.config.unused import unused

__all__ = [
    "DIALECTS",
    "Dialect",
    "Host",
    "Lab",
    "Module",
    "Port",
    "Security",
    "StaticEntry",
    "Team",
    "Topology",
    "Vlan",
    "json_schema",
    "loads",
    "unused",
]

_HOMES = {
    "DIALECTS": "dialects",
    "Dialect": "dialects",
    "Host": "lab",
    "Lab": "lab",
    "Module": "module",
    "Port": "module",
    "Security": "dialects",
    "StaticEntry": "module",
    "Team": "module",
    "Topology": "models",
    "Vlan": "module",
    "json_schema": "schema",
    "loads": "load",
    "unused": "unused",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
