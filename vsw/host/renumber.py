"""Ports keep their numbers while a module runs, whatever is written before them in the next version of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vsw.config.module import MAX_PORTS, Module
from vsw.errors import UsageError


def renumber(module: Module, numbers: Mapping[str, int], used: set[int]) -> Module:
    """``module`` with the numbers that its ports have already (``numbers``, by name); new ports get their own, or one that was never ``used``.

    When all have been used once, the lowest free ones are used again.  Returns ``module`` itself if nothing is to be changed.
    """
    taken = {numbers[port.name] for port in module.ports if port.name in numbers}
    new: dict[int, int] = {}
    for port in module.ports:
        if port.name in numbers:
            new[port.number] = numbers[port.name]
    for port in module.ports:
        if port.name in numbers:
            continue
        number = port.number
        if number in taken or number in used:
            fresh = (n for n in range(MAX_PORTS) if n not in taken and n not in used)
            number = next(fresh, None) or next((n for n in range(MAX_PORTS) if n not in taken), MAX_PORTS)
        if number >= MAX_PORTS:
            raise UsageError(f"{module.name} has at most {MAX_PORTS} ports")
        new[port.number] = number
        taken.add(number)
    if all(old == number for old, number in new.items()):
        return module
    return replace(
        module,
        ports=tuple(sorted((replace(port, number=new[port.number]) for port in module.ports), key=lambda port: port.number)),
        teams=tuple(
            replace(team, active=_renamed(team.active, new), standby=_renamed(team.standby, new), unused=_renamed(team.unused, new))
            for team in module.teams
        ),
        static=tuple(replace(entry, port=new[entry.port]) for entry in module.static),
    )


def _renamed(members: tuple[int, ...], new: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(new[member] for member in members)
