"""Every verdict and every drop reason, each named once, with its sentence.

A frame that is offered to a module gets exactly one verdict.  A frame that is dropped, and a copy that is
filtered on its way out, have a reason.  The numbers are what the result columns hold; they are stable:
a new reason goes to the end.
"""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """What became of a frame (column ``verdict``, uint8)."""

    sentence: str

    def __new__(cls, value: int, sentence: str) -> Verdict:
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    DELIVERED = 0, "at least one copy left the module"
    CONSUMED = 1, "the control plane of the host took the frame"
    DROPPED = 2, "no copy left the module; the reason says why"


class Reason(IntEnum):
    """Why a frame was dropped, or a copy of it filtered (column ``reason``, uint8; 0 where there is none)."""

    sentence: str
    at_egress: bool

    def __new__(cls, value: int, sentence: str, at_egress: bool = False) -> Reason:
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        member.at_egress = at_egress
        return member

    NONE = 0, "the frame was not dropped"
    # At ingress, in the order in which the rules are applied.
    NO_PORT = 1, "no port of this module is known that the frame came in by"
    PORT_DOWN = 2, "the port is down", True
    MALFORMED = 3, "the frame is shorter than the header that its type announces"
    CUT_BY_CAPTURE = 4, "the header is in the frame, but not in the bytes that were captured"
    TOO_LONG = 5, "the frame is longer than the port's MTU allows", True
    BAD_SOURCE = 6, "the source address is a group address or zero"
    RESERVED_VID = 7, "VLAN 4095 is reserved"
    VLAN_NOT_ALLOWED = 8, "the port that the frame came in by does not accept its VLAN"
    BPDU = 9, "a spanning tree frame from a port that must not send one"
    RESERVED_ADDRESS = 10, "the destination is a link-local group address that is never forwarded"
    FORGED_SOURCE = 11, "the source is not a MAC address of the vNIC (forged transmits are rejected)"
    DEJA_VU = 12, "the source is a local vNIC's, yet the frame came in by an uplink"
    NOT_DESIGNATED = 13, "another uplink of the team is the one to receive this", True
    # While forwarding.
    UNKNOWN_UNICAST = 14, "the destination is not a local vNIC, and what comes from an uplink does not go back out"
    UPLINK_TO_UPLINK = 15, "the destination is outside, and so is the sender"
    SAME_PORT = 16, "the destination is on the port that the frame came in by"
    NO_MEMBER = 17, "no other port carries the VLAN"
    NO_UPLINK = 18, "the destination is outside, and no uplink is usable"
    # At egress, for a copy.
    PROTECTED = 19, "a protected port does not send to a protected port", True
    EGRESS_VLAN = 20, "the port that the copy would leave by does not carry the VLAN", True
    MAC_CHANGED = 21, "the guest changed its MAC address (MAC changes are rejected)", True
