"""MAC addresses for vNICs that were given none.

An address depends on the VM's name and the index of its vNIC only, so it stays when other VMs come, go or change
places in the file.  Where two vNICs, or a vNIC and an address that was written down, would meet, the one whose name sorts later
moves on to the next free address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b

from vsw.config.models import Oui

#: First address and number of addresses.  VMware keeps the upper part of its range for vCenter.
RANGES: dict[Oui, tuple[int, int]] = {
    "vmware": (0x005056000000, 0x400000),
    "kvm": (0x525400000000, 0x1000000),
    "xen": (0x00163E000000, 0x1000000),
    "hyper-v": (0x00155D000000, 0x1000000),
    "virtualbox": (0x080027000000, 0x1000000),
    "parallels": (0x001C42000000, 0x1000000),
}


def allocate(wanted: Iterable[tuple[str, int, Oui]], taken: Collection[int]) -> dict[tuple[str, int], int]:
    """An address for each (VM, index of the vNIC, vendor), none of them in ``taken`` and no two alike."""
    used = set(taken)
    given: dict[tuple[str, int], int] = {}
    for vm, index, oui in sorted(wanted):
        first, count = RANGES[oui]
        digest = blake2b(f"{vm}\0{index}".encode(), digest_size=8).digest()
        offset = int.from_bytes(digest, "big") % count
        for _ in range(count):
            if first + offset not in used:
                break
            offset = (offset + 1) % count
        else:
            raise ValueError(f"no free MAC address is left in the range of {oui}")
        used.add(first + offset)
        given[vm, index] = first + offset
    return given
