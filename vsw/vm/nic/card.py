"""One card: what its model does to frames that the guest sends and receives; what it does not do stays with the guest."""

from __future__ import annotations

from dataclasses import dataclass

from vsw.config.cards import Card
from vsw.errors import UsageError
from vsw.vm.nic import vlan
from vsw.vm.nic.checksum import Checked, check, complete
from vsw.vm.nic.headers import layout
from vsw.vm.nic.rss import Scaling
from vsw.vm.nic.segment import segment


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the guest's driver asks for with a frame that it sends (its transmit descriptor).

    ``tci``: a tag to be inserted; ``checksum``: the TCP or UDP checksum to be completed; ``mss``: the TCP segment to be cut into payloads of so
    many bytes.
    """

    tci: int | None = None
    checksum: bool = False
    mss: int | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """What the guest's driver gets (its receive descriptor)."""

    frame: bytes
    tci: int | None
    checked: Checked
    queue: int
    hash: int | None


class Nic:
    """A card of one model.  ``mtu`` bounds frames both ways; ``scaling`` spreads over queues if the model has several."""

    def __init__(self, card: Card, mtu: int = 1500, scaling: Scaling | None = None) -> None:
        if mtu > card.max_mtu:
            raise UsageError(f"a {card.name} carries at most {card.max_mtu} bytes (found {mtu})")
        if scaling is not None and scaling.queues > card.queues:
            raise UsageError(f"a {card.name} has {card.queues} queues (found {scaling.queues})")
        self.card = card
        self.mtu = mtu
        self.scaling = scaling

    def transmit(self, frame: bytes, wanted: Wanted | None = None) -> list[bytes]:
        """The frames that go out for one that the guest sends.

        :class:`~vsw.errors.UsageError` if the model can't do what is asked: a driver that asks for it is broken.
        """
        asked = wanted or Wanted()
        frames = [frame]
        if asked.mss is not None:
            at = layout(frame)
            version = at.version if at is not None else 4 if frame[12:14] == b"\x08\x00" else 6
            if not (self.card.tso4 if version == 4 else self.card.tso6):
                raise UsageError(f"a {self.card.name} cuts no TCP segments over IPv{version}")
            frames = segment(frame, asked.mss)
        elif asked.checksum:
            if not self.card.tx_checksum:
                raise UsageError(f"a {self.card.name} completes no checksums")
            frames = [complete(frame)]
        if asked.tci is not None:
            if not self.card.vlan_insert:
                raise UsageError(f"a {self.card.name} inserts no tags")
            frames = [vlan.insert(piece, asked.tci) for piece in frames]
        return frames

    def receive(self, frame: bytes) -> Received | None:
        """What the guest gets of a frame that came in; ``None`` if it is longer than the card takes."""
        bare, tci = vlan.strip(frame)
        if len(bare) > self.mtu + 14:
            return None
        checked = check(bare) if self.card.rx_checksum else Checked.NONE
        queue, found = self.scaling.spread(bare) if self.scaling is not None else (0, None)
        if not self.card.vlan_strip:
            return Received(frame, None, checked, queue, found)
        return Received(bare, tci, checked, queue, found)
