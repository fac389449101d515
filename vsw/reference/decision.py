"""What became of one frame, and the notes that are kept while the rules are applied to it."""

from __future__ import annotations

from typing import NamedTuple

from vsw.config.module import Port
from vsw.reference.tags import TAG_LENGTH, TYPE_AT, Tag
from vsw.verdicts import Reason, Verdict


class Step(NamedTuple):
    """One rule as it was applied: its number and name, and a sentence with the actual values."""

    rule: str
    text: str


class Copy(NamedTuple):
    """One copy that left: the port's number, the bytes (as many as were captured), and its length on the wire."""

    port: int
    data: bytes
    length: int


class Decision(NamedTuple):
    """What became of a frame.

    ``port_in`` is the ingress port's number (``None``: no port of this module is known), ``vlan`` the VLAN that
    the frame was put in (``None`` if it did not come that far).  ``normalised`` tells that a tag which the wire
    carries, but not the access port, was taken off first.  ``copies`` and ``filtered`` ascend by port number;
    ``steps`` is empty unless the switch narrates.
    """

    verdict: Verdict
    reason: Reason
    port_in: int | None
    vlan: int | None
    normalised: bool
    copies: tuple[Copy, ...]
    filtered: tuple[tuple[int, Reason], ...]
    steps: tuple[Step, ...]


class Passage:
    """One frame on its way through the rules: what has been found out about it so far.

    ``tags`` are the tags read (outermost first), ``stack`` the tags that the frame has inside the switch,
    ``payload_at`` the offset in ``data`` where the bytes begin that follow the stack, ``pcp`` the priority of the
    outermost tag as received.
    """

    __slots__ = (
        "consumed", "data", "destination", "length", "normalised", "payload_at", "pcp", "port", "source", "stack", "tags", "vid", "vlan",
    )  # fmt: skip

    port: Port

    def __init__(self, data: bytes, length: int) -> None:
        self.data = data
        self.length = length
        self.normalised = False
        self.consumed = False
        self.destination = 0
        self.source = 0
        self.tags: tuple[Tag, ...] = ()
        self.vid = 0
        self.pcp = 0
        self.vlan: int | None = None
        self.stack: tuple[Tag, ...] = ()
        self.payload_at = TYPE_AT

    @property
    def to_group(self) -> bool:
        """The destination has the group bit: broadcast or multicast."""
        return bool(self.destination >> 40 & 1)

    def without_outer_tag(self) -> bytes:
        """The frame without the outermost tag that was read: what the hashes of section 13 call D."""
        if not self.tags or self.port.vlan.mode == "dot1q-tunnel":
            return self.data
        return self.data[:TYPE_AT] + self.data[TYPE_AT + TAG_LENGTH :]


def mac_text(mac: int) -> str:
    """A MAC address as people write it: ``00:50:56:80:00:11``."""
    return mac.to_bytes(6, "big").hex(":")
