"""Live ports: the ways by which frames enter and leave a running switch.

A type of port is one file and one line of :data:`TYPES`; ``tests/contract/test_ports.py`` holds every one of them to the contract of ``port.h``.
Ports that wrap another port (tracer, fault injector, capture) are ports too.
"""

from __future__ import annotations

from importlib import import_module

from vsw.ports.base import Port
from vsw.ports.reasons import PortDrop

#: The word of a topology (``attach = { type = ... }``) -> module and class.
TYPES = {
    "memory": "vsw.ports.memory:MemoryPort",
    "dgram": "vsw.ports.dgram:DgramPort",
    "stream": "vsw.ports.stream:StreamPort",
    "tap": "vsw.ports.tap:TapPort",
    "packet": "vsw.ports.packet:PacketPort",
    "vhost-user": "vsw.ports.vhost_user:VhostUserPort",
}


def port_type(word: str) -> type[Port]:
    """The class of a port type; loaded when it is needed."""
    module, _, name = TYPES[word].partition(":")
    found: type[Port] = getattr(import_module(module), name)
    return found


__all__ = ["TYPES", "Port", "PortDrop", "port_type"]
