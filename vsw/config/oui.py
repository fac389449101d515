"""MAC addresses for vNICs that were given none.

An address depends on the VM's identity (its ``uuid``, else its name) and the index of its vNIC only, so it stays when other VMs come, go or change
places in the file.  Where two vNICs, or a vNIC and an address that was written down, would meet, the one whose name sorts later
moves on to the next free address.  An address that is remembered (``mac_file``) comes before all that: a newcomer never takes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b

from vsw.config.models import Oui

#: First address and number of addresses.  Of 00:50:56 VMware keeps octet 4 from 80 to BF for vCenter, and 00 to 3F for assignment by hand.
RANGES: dict[Oui, tuple[int, int]] = {
    "vmware": (0x005056000000, 0x400000),
    "vmware-vcenter": (0x005056800000, 0x400000),
    "vmware-generated": (0x000C29000000, 0x1000000),
    "kvm": (0x525400000000, 0x1000000),
    "xen": (0x00163E000000, 0x1000000),
    "hyper-v": (0x00155D000000, 0x1000000),
    "virtualbox": (0x080027000000, 0x1000000),
    "parallels": (0x001C42000000, 0x1000000),
}


def vendor_of(mac: int) -> Oui | None:
    """Whose range an address lies in; ``None`` if it is no hypervisor's that is known here."""
    return next((oui for oui, (first, count) in RANGES.items() if first <= mac < first + count), None)


def allocate(
    wanted: Iterable[tuple[str, int, Oui]], taken: Collection[int], remembered: Mapping[tuple[str, int], int] | None = None
) -> dict[tuple[str, int], int]:
    """An address for each (identity of the VM, index of the vNIC, vendor), none of them in ``taken`` and no two alike.

    ``remembered`` holds what was given before.  Such an address is given again unless it was written down elsewhere since or the vendor
    has changed; those of VMs that are gone are given to nobody.  :class:`ValueError` if a vendor's range is full.
    """
    known = remembered or {}
    used = set(taken)
    given: dict[tuple[str, int], int] = {}
    fresh = []
    for vm, index, oui in sorted(wanted):
        first, count = RANGES[oui]
        mac = known.get((vm, index), -1)
        if first <= mac < first + count and mac not in used:
            used.add(mac)
            given[vm, index] = mac
        else:
            fresh.append((vm, index, oui))
    used.update(known.values())
    for vm, index, oui in fresh:
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
