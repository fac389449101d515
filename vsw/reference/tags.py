"""802.1Q tags: reading them, the stack that a frame has inside the switch, and the tags that a copy is sent with.

Two ways exist (rules.md, section 14): the *virtual* one, where the outermost tag is state and everything behind it
stays payload, and Open vSwitch's, where up to two tags are state.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from vsw.config.module import Port, Vlan

#: Offset of the type (or of the first tag) in a frame, and the shortest frame: two addresses and a type.
TYPE_AT = 12
HEADER_LENGTH = 14
TAG_LENGTH = 4
TYPE_LENGTH = 2
#: Tags at the front of a frame that lengthen what the MTU allows.
MOST_TAGS = 2
TPID_CUSTOMER = 0x8100
#: Below this, the two bytes at 12 are a length (802.3), not a type.
LEAST_TYPE = 0x0600
SNAP = bytes.fromhex("aaaa03000000")


class Tag(NamedTuple):
    """One 802.1Q tag."""

    tpid: int
    pcp: int
    dei: int
    vid: int

    def __bytes__(self) -> bytes:
        return struct.pack("!HH", self.tpid, self.pcp << 13 | self.dei << 12 | self.vid)

    def __str__(self) -> str:
        return f"{self.tpid:04x} pcp {self.pcp} dei {self.dei} vid {self.vid}"


def text(tags: Sequence[Tag]) -> str:
    """Tags as a narration names them."""
    return "[" + "; ".join(map(str, tags)) + "]" if tags else "no tag"


def read(data: bytes, tpids: tuple[int, ...], limit: int, at: int = TYPE_AT) -> tuple[Tag, ...]:
    """Rule 3: the tags from offset ``at`` on, at most ``limit``; a tag counts only if it and the type after it are captured."""
    tags: list[Tag] = []
    while len(tags) < limit and len(data) >= at + TAG_LENGTH + TYPE_LENGTH:
        tpid, tci = struct.unpack_from("!HH", data, at)
        if tpid not in tpids:
            break
        tags.append(Tag(tpid, tci >> 13, tci >> 12 & 1, tci & 0x0FFF))
        at += TAG_LENGTH
    return tuple(tags)


def announces_tag(data: bytes, tpids: tuple[int, ...]) -> bool:
    """The type of the frame (14 bytes are there) is that of a tag."""
    return int.from_bytes(data[TYPE_AT:HEADER_LENGTH], "big") in tpids


def snap_tag(data: bytes, tpids: tuple[int, ...]) -> bool:
    """Rule 3, dialect ``ovs``: an 802.3 frame whose SNAP header announces a tag."""
    snap_type_at = HEADER_LENGTH + len(SNAP)
    return (
        int.from_bytes(data[TYPE_AT:HEADER_LENGTH], "big") < LEAST_TYPE
        and data[HEADER_LENGTH:snap_type_at] == SNAP
        and len(data) >= snap_type_at + TYPE_LENGTH
        and int.from_bytes(data[snap_type_at : snap_type_at + TYPE_LENGTH], "big") in tpids
    )


# ------------------------------------------------------------------------------------------- the stack, after ingress


def virtual_stack(vlan: Vlan, tags: tuple[Tag, ...], frame_vlan: int) -> tuple[tuple[Tag, ...], int]:
    """The stack of a frame in a virtual dialect, and the offset where what stays payload begins."""
    if vlan.mode == "dot1q-tunnel":
        return (Tag(vlan.ethertype, 0, 0, frame_vlan),), TYPE_AT
    payload_at = TYPE_AT + TAG_LENGTH * len(tags)
    untagged = not tags or tags[0].vid == 0
    if vlan.mode == "trunk" or not untagged:
        return tags, payload_at
    if tags:
        return (tags[0]._replace(vid=frame_vlan),), payload_at
    # VLAN 0 is untagged traffic: nothing is to be put on it.
    return ((Tag(TPID_CUSTOMER, 0, 0, frame_vlan),) if frame_vlan else ()), payload_at


def ovs_stack(vlan: Vlan, tags: tuple[Tag, ...], frame_vlan: int) -> tuple[tuple[Tag, ...], int]:
    """The stack of a frame as Open vSwitch has it: two tags fit."""
    payload_at = TYPE_AT + TAG_LENGTH * len(tags)
    untagged = not tags or tags[0].vid == 0
    if vlan.mode == "dot1q-tunnel":
        return (Tag(vlan.ethertype, 0, 0, frame_vlan), *tags[:1]), payload_at
    if vlan.mode == "trunk" or not untagged:
        return tags, payload_at
    first = tags[0]._replace(vid=frame_vlan) if tags else Tag(TPID_CUSTOMER, 0, 0, frame_vlan)
    if vlan.mode in ("access", "private"):
        return (first,), payload_at
    return (first, *tags[1:]), payload_at


# ----------------------------------------------------------------------------------------- the tags sent, at egress


def virtual_sent(port: Port, stack: tuple[Tag, ...], frame_vlan: int, pcp: int) -> tuple[Tag, ...]:
    """The tags that a virtual dialect sends out of a port; ``pcp`` is the priority as received."""
    mode = port.vlan.mode
    pops = mode in ("access", "private", "dot1q-tunnel") or (mode == "native-untagged" and frame_vlan == port.vlan.vid)
    return _with_priority(port, stack[1:] if pops else stack, pcp)


def ovs_sent(port: Port, stack: tuple[Tag, ...], frame_vlan: int, pcp: int, received: tuple[Tag, ...]) -> tuple[Tag, ...]:
    """The tags that Open vSwitch sends out of a port; ``received`` are the tags that were read."""
    mode = port.vlan.mode
    if mode in ("access", "private"):
        stack = ()
    elif mode == "dot1q-tunnel" or (mode == "native-untagged" and frame_vlan == port.vlan.vid):
        stack = stack[1:]
    sent: list[Tag] = []
    for tag in _with_priority(port, stack, pcp):
        if tag.vid == 0 and tag.pcp == 0 and port.priority_tags != "always":
            break
        sent.append(tag._replace(dei=0))
    # What is the same from the inside on is left as it was, DEI and all; the rest is popped and pushed.
    for place in range(1, min(len(sent), len(received)) + 1):
        if sent[-place] != received[-place]._replace(dei=0):
            break
        sent[-place] = received[-place]
    return tuple(sent)


def _with_priority(port: Port, sent: tuple[Tag, ...], pcp: int) -> tuple[Tag, ...]:
    if port.priority_tags == "no":
        return sent
    if sent:
        return (sent[0]._replace(pcp=pcp), *sent[1:])
    return (Tag(TPID_CUSTOMER, pcp, 0, 0),) if pcp else ()
