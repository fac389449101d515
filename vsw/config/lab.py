"""What a topology becomes: hosts, and on each of them switches as resolved modules."""

from __future__ import annotations

from dataclasses import dataclass, field

from vsw.config.models import Topology
from vsw.config.module import Module
from vsw.config.values import did_you_mean
from vsw.errors import UsageError


@dataclass(frozen=True, slots=True)
class Host:
    """A machine and its switches, by name in file order."""

    name: str
    switches: dict[str, Module] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything that one topology file describes.

    ``hosts`` are by name in file order.  ``macs`` holds the configured MAC address of every vNIC (``vm.0``, ``vm.1``, ...),
    written or allocated, also of those that no switch sees because a physical card is passed through.  ``topology`` is
    the file as it was written, ``file`` its name.
    """

    hosts: dict[str, Host]
    topology: Topology
    macs: dict[str, int] = field(default_factory=dict)
    file: str = "<string>"

    @property
    def modules(self) -> dict[str, Module]:
        """Every module, by ``host/switch``."""
        return {module.name: module for host in self.hosts.values() for module in host.switches.values()}

    def module(self, name: str | None = None) -> Module:
        """The module ``host/switch``; without a name the only one.  :class:`~vsw.errors.UsageError` if that is not one."""
        modules = self.modules
        names = ", ".join(modules) or "none"
        if name is None:
            if len(modules) == 1:
                return next(iter(modules.values()))
            if not modules:
                raise UsageError(f"{self.file} has no switch")
            raise UsageError(f"{self.file} has {len(modules)} modules: {names}; say which")
        if name not in modules:
            raise UsageError(f"{self.file} has no module {name!r}{did_you_mean(name, modules)}; it has {names}")
        return modules[name]
