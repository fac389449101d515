"""Why a live port itself dropped a frame: before the switch saw it, or after the switch had sent it."""

from __future__ import annotations

from enum import IntEnum


class PortDrop(IntEnum):
    """Row of a port's drops, numbered as in ``port.h``."""

    sentence: str

    def __new__(cls, value: int, sentence: str) -> PortDrop:
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    RX_MALFORMED = 0, "what came in at the port is no frame"
    RX_LOST = 1, "the frame was gone before it could be read: whoever sends is faster than the switch reads"
    TX_FULL = 2, "the other side does not take frames as fast as the switch sends them"
    TX_NO_PEER = 3, "nobody is on the other side of the port"
    TX_TOO_LONG = 4, "the frame is longer than the attachment can carry"
    TX_REFUSED = 5, "the system or the other side would not take the frame"
    INJECTED = 6, "the fault injector dropped it, as it was told to"
    RX_SEGMENTED = 7, "several segments in one, which the sender left to a card to cut: turn that off there (ethtool -K ... tso off gso off)"
