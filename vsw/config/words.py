"""Settings of ports in a few words, for tables and pages."""

from __future__ import annotations

from collections.abc import Iterable

from vsw.config.module import Port


def vlan_text(port: Port) -> str:
    """A port's VLAN settings in a few words."""
    vlan = port.vlan
    if vlan.mode == "private":
        return f"private {vlan.vid} {vlan.role}" + (f" {vlan.secondary}" if vlan.secondary else "")
    if vlan.mode in ("access", "dot1q-tunnel"):
        return f"{vlan.mode} {vlan.vid}"
    native = f"{vlan.vid} of " if vlan.mode != "trunk" else ""
    return f"{vlan.mode} {native}{ranges(vlan.vids)}"


def ranges(numbers: Iterable[int]) -> str:
    """``{1, 2, 3, 7}`` -> ``1-3,7``; ``all`` for every VID."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    if found and found[0][0] <= 1 and found[0][1] >= 4094:
        return "all"
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found) or "none"
