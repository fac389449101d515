"""A bridge inside a card, between its virtual functions and the wire: VEB or VEPA (IEEE 802.1Q, edge virtual bridging); and the bridge next to it.

VEB: frames between functions stay in the card; group frames go to the other functions and to the wire.  VEPA: every frame goes to the wire, and
the adjacent bridge, whose port is in *reflective relay*, sends back what is for another function; so all traffic meets that bridge's policies.
In either mode what comes from the wire goes to the functions only, and a function never gets its own frame back.

Both know the functions' addresses from configuration: nothing is learned here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from vsw.errors import UsageError
from vsw.vm.nic import vlan

WIRE = "wire"
VID = 0x0FFF
Mode = Literal["veb", "vepa"]


@dataclass(frozen=True, slots=True)
class Function:
    """A virtual function: its address, and its VLAN, whose tag the card inserts towards the wire and strips towards the guest (0: untagged).

    ``spoof``: it may send with other source addresses.
    """

    name: str
    mac: int
    vid: int = 0
    spoof: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """A frame that leaves the bridge, by a function or by :data:`WIRE`, with the bytes that it has there."""

    to: str
    frame: bytes


class EmbeddedBridge:
    """The bridge of one card.  ``drops`` counts what it did not forward, by reason."""

    def __init__(self, mode: Mode, functions: Iterable[Function]) -> None:
        self.mode = mode
        self.functions = {function.name: function for function in functions}
        self._owner: dict[tuple[int, int], Function] = {}
        self.drops: dict[str, int] = {}
        for function in self.functions.values():
            other = self._owner.setdefault((function.vid, function.mac), function)
            if other is not function:
                raise UsageError(f"functions {other.name} and {function.name} have the same address in VLAN {function.vid}")
        if WIRE in self.functions:
            raise UsageError(f"a function can't be called {WIRE!r}")

    def from_function(self, name: str, frame: bytes) -> list[Copy]:
        """What becomes of a frame that a function sends."""
        sender = self.functions[name]
        target, source = _addresses(frame)
        if target is None or source is None:
            return self._drop("malformed")
        if not sender.spoof and source != sender.mac:
            return self._drop("forged_source")
        if sender.vid and vlan.strip(frame)[1] is not None:
            return self._drop("vlan_not_allowed")
        out = Copy(WIRE, vlan.insert(frame, sender.vid) if sender.vid else frame)
        if self.mode == "vepa":
            return [out]
        if _is_group(target):
            return [*(Copy(other.name, frame) for other in self._others(sender)), out]
        owner = self._owner.get((sender.vid, target))
        if owner is sender:
            return self._drop("same_port")
        return [out] if owner is None else [Copy(owner.name, frame)]

    def from_wire(self, frame: bytes) -> list[Copy]:
        """What becomes of a frame that comes from the adjacent bridge."""
        target, source = _addresses(frame)
        if target is None or source is None:
            return self._drop("malformed")
        bare, tci = vlan.strip(frame)
        vid = 0 if tci is None else tci & VID
        if vid == 0:
            bare = frame
        if not _is_group(target):
            owner = self._owner.get((vid, target))
            return self._drop("unknown_unicast") if owner is None else [Copy(owner.name, bare)]
        # In VEPA mode this may be a function's own frame, reflected: its sender is told by the source address.  In VEB mode nobody reflects, and a
        # source that is here but comes from there is a loop.
        sender = self._owner.get((vid, source))
        if sender is not None and self.mode == "veb":
            return self._drop("deja_vu")
        copies = [Copy(other.name, bare) for other in self.functions.values() if other.vid == vid and other is not sender]
        return copies or self._drop("no_member")

    def _others(self, sender: Function) -> Iterable[Function]:
        return (other for other in self.functions.values() if other is not sender and other.vid == sender.vid)

    def _drop(self, reason: str) -> list[Copy]:
        self.drops[reason] = self.drops.get(reason, 0) + 1
        return []


class AdjacentBridge:
    """The bridge at the other end of the wire: learns, floods, and on ports with reflective relay also sends back where a frame came from."""

    def __init__(self, ports: Iterable[str], reflective: Iterable[str] = ()) -> None:
        self.ports = tuple(ports)
        self.reflective = frozenset(reflective)
        self._learned: dict[tuple[int, int], str] = {}

    def forward(self, port: str, frame: bytes) -> list[str]:
        """The ports that a frame from ``port`` leaves by."""
        target, source = _addresses(frame)
        if target is None or source is None:
            return []
        tci = vlan.strip(frame)[1]
        vid = 0 if tci is None else tci & VID
        if not _is_group(source):
            self._learned[vid, source] = port
        known = None if _is_group(target) else self._learned.get((vid, target))
        out = self.ports if known is None else (known,)
        return [name for name in out if name != port or port in self.reflective]


def _addresses(frame: bytes) -> tuple[int | None, int | None]:
    if len(frame) < 14:
        return None, None
    return int.from_bytes(frame[:6], "big"), int.from_bytes(frame[6:12], "big")


def _is_group(mac: int) -> bool:
    return bool(mac >> 40 & 1)
