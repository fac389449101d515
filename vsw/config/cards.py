"""Network card models that a hypervisor offers, as data: what each does for its guest.

What a model *does* is what Linux's driver finds on QEMU's device (``tests/e2e/test_cards.py`` asks it), which may be less than the chip's data
sheet has: it is what the guest need not do itself.  What stays with the guest, the software model in ``vsw/vm/nic.py`` does in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

NicModel = Literal["e1000", "e1000e", "rtl8139", "pcnet", "ne2k_pci", "virtio-net", "vmxnet3"]


@dataclass(frozen=True, slots=True)
class Card:
    """One model.

    ``device`` is QEMU's name of it, ``driver`` that of Linux's module.  ``tx_checksum``: it completes TCP and UDP checksums of what the guest
    sends; ``rx_checksum``: it tells the guest that those of what it receives are good.  ``tso4``, ``tso6``: it cuts TCP segments of
    up to 64 KiB over IPv4, IPv6.  ``vlan_insert``, ``vlan_strip``: the tag travels beside the frame.  ``queues``: pairs of queues that
    receive-side scaling can spread over, at most; 1 is no scaling.  ``max_mtu``: bytes after the Ethernet header, at most.
    """

    name: NicModel
    chip: str
    device: str
    driver: str
    max_mtu: int
    tx_checksum: bool = False
    rx_checksum: bool = False
    tso4: bool = False
    tso6: bool = False
    vlan_insert: bool = False
    vlan_strip: bool = False
    queues: int = 1
    vhost: bool = False


CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        Card("e1000", "Intel 82540EM", "e1000", "e1000", 16110, True, True, True, False, True, True),
        Card("e1000e", "Intel 82574L", "e1000e", "e1000e", 9212, True, True, True, True, True, True),
        Card("rtl8139", "Realtek RTL8139C+", "rtl8139", "8139cp", 4096, True, True, True, False, True, True),
        Card("pcnet", "AMD Am79C970A", "pcnet", "pcnet32", 1500),
        Card("ne2k_pci", "Realtek RTL8029", "ne2k_pci", "ne2k-pci", 1500),
        Card("virtio-net", "none: virtio 1.x", "virtio-net-pci", "virtio_net", 65535, True, True, True, True, queues=256, vhost=True),
        Card("vmxnet3", "none: VMware's", "vmxnet3", "vmxnet3", 9000, True, True, True, True, True, True, queues=8),
    )
}

assert set(CARDS) == set(get_args(NicModel))
