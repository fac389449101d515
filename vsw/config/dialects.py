"""Dialects: each a row of one matrix and nothing else.

A dialect reproduces the choices of one known product.  A switch may override the columns that its
configuration has words for (``learning``, ``forward_bpdu``, ``vlan_limit`` ...); the rest is the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Learning = Literal["none", "outside", "full"]
Assignment = Literal["modulo", "buckets"]
Reserved = Literal["drop", "pass", "ovs"]

#: 802.1D/802.1Q reserved group addresses 01-80-C2-00-00-00 .. 0F: a range of MAC addresses, both ends included.
RESERVED_GROUP = (0x0180C2000000, 0x0180C200000F)

#: Destinations that Open vSwitch does not forward unless ``forward_bpdu`` (ranges, both ends included).
RESERVED_OVS = (
    RESERVED_GROUP,
    (0x01000CCCCCCC, 0x01000CCCCCCD),
    (0x01000CCDCDCD, 0x01000CCDCDCD),
    (0x01000CCCCCC0, 0x01000CCCCCC7),
    (0x01000C000000, 0x01000C000000),
    (0x00E02B000000, 0x00E02B000000),
    (0x00E02B000004, 0x00E02B000004),
    (0x00E02B000006, 0x00E02B000006),
)

#: Spanning tree: IEEE's bridge group address and Cisco's shared spanning tree (PVST+).
BPDU_ADDRESSES = (0x0180C2000000, 0x01000CCCCCCD)


@dataclass(frozen=True, slots=True)
class Security:
    """The three policies of a port: ``True`` accepts, ``False`` rejects."""

    promiscuous: bool
    mac_changes: bool
    forged_transmits: bool


@dataclass(frozen=True, slots=True)
class Dialect:
    """One row of the matrix."""

    name: str
    #: A virtual switch knows uplinks and never forwards from one to another; otherwise all ports are alike.
    virtual: bool
    learning: Learning
    #: Drop frames whose source is a group address or zero.
    check_source: bool
    #: VID 4095 is dropped on every port.
    reserve_4095: bool
    #: Tag protocol identifiers that are recognised as an 802.1Q tag.
    tpids: tuple[int, ...]
    #: Tags read from a frame, outermost first; the rest is payload.
    vlan_limit: int
    #: What happens to reserved group addresses.
    reserved: Reserved
    #: A spanning tree frame from a port that is not an uplink is dropped.
    drop_bpdu: bool
    #: A local vNIC's address as the source of a frame from an uplink: drop.
    deja_vu: bool
    #: Multi-destination frames are accepted only from the uplink that the receiving vNIC's team picks.
    designated: bool
    security: Security
    assignment: Assignment
    #: Open vSwitch's way with tags at egress: a tag with VID 0 and PCP 0 is not sent, nor any tag read after it;
    #: a tag that is pushed has DEI 0; access ports get no floods with an inner VID; a known unicast
    #: is not checked against the VLANs of the port that it leaves by.
    ovs_tags: bool


DIALECTS = {
    row.name: row
    for row in (
        Dialect(
            name="vsw",
            virtual=True,
            learning="none",
            check_source=True,
            reserve_4095=True,
            tpids=(0x8100, 0x88A8, 0x9100),
            vlan_limit=1,
            reserved="drop",
            drop_bpdu=True,
            deja_vu=True,
            designated=True,
            security=Security(promiscuous=False, mac_changes=False, forged_transmits=False),
            assignment="buckets",
            ovs_tags=False,
        ),
        Dialect(
            name="vss",
            virtual=True,
            learning="none",
            check_source=True,
            reserve_4095=True,
            tpids=(0x8100,),
            vlan_limit=1,
            reserved="pass",
            drop_bpdu=False,
            deja_vu=True,
            designated=True,
            security=Security(promiscuous=False, mac_changes=True, forged_transmits=True),
            assignment="modulo",
            ovs_tags=False,
        ),
        Dialect(
            name="ovs",
            virtual=False,
            learning="full",
            check_source=False,
            reserve_4095=False,
            tpids=(0x8100, 0x88A8),
            vlan_limit=1,
            reserved="ovs",
            drop_bpdu=False,
            deja_vu=False,
            designated=False,
            security=Security(promiscuous=False, mac_changes=True, forged_transmits=True),
            assignment="buckets",
            ovs_tags=True,
        ),
    )
}
