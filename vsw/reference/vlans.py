"""Which VLAN a frame is in (rule 6), and which VLANs a port receives (section 12)."""

from __future__ import annotations

from vsw.config.module import Module, Vlan


def admit(vlan: Vlan, vid: int) -> int | None:
    """The VLAN of a frame whose outermost tag has ``vid`` (0: none, or a priority tag); ``None`` if the port does not accept it."""
    match vlan.mode:
        case "access":
            return vlan.vid if vid == 0 else None
        case "private":
            return (vlan.vid if vlan.role == "promiscuous" else vlan.secondary) if vid == 0 else None
        case "trunk":
            return vid if vid in vlan.vids else None
        case "dot1q-tunnel":
            return vlan.vid if not vlan.cvids or vid in vlan.cvids else None
        case _:  # the native modes
            return vlan.vid if vid == 0 else vid if vid in vlan.vids else None


def received(vlan: Vlan, primary_of: dict[int, int]) -> frozenset[int]:
    """The VLANs that such a port receives."""
    match vlan.mode:
        case "access" | "dot1q-tunnel":
            return frozenset((vlan.vid,))
        case "private":
            if vlan.role == "promiscuous":
                return frozenset((vlan.vid, *(secondary for secondary, primary in primary_of.items() if primary == vlan.vid)))
            return frozenset((vlan.vid, vlan.secondary) if vlan.role == "community" else (vlan.vid,))
        case _:
            return vlan.vids


class Vlans:
    """The VLANs of a module: ports that receive each, and the filtering VLAN."""

    def __init__(self, module: Module) -> None:
        self.primary_of = dict(module.private)
        self.received = {port.number: received(port.vlan, self.primary_of) for port in module.ports}
        self._receivers: dict[int, tuple[int, ...]] = {}

    def receives(self, port: int, vlan: int) -> bool:
        """The port of that number receives the VLAN."""
        return vlan in self.received[port]

    def receivers(self, vlan: int) -> tuple[int, ...]:
        """All ports that receive the VLAN, ascending (found once for each VLAN)."""
        found = self._receivers.get(vlan)
        if found is None:
            found = self._receivers[vlan] = tuple(sorted(port for port, vlans in self.received.items() if vlan in vlans))
        return found

    def filtering(self, vlan: int) -> int:
        """The VLAN under which addresses are filed: a secondary VLAN's primary, else the VLAN itself."""
        return self.primary_of.get(vlan, vlan)
