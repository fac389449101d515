"""Controller models: the card that a guest finds its disk behind, as hypervisors name them.

A fact sheet that the VM launcher and the configuration read; the SCSI engine does not depend on it. Limits are those of the
device as QEMU and VMware build it. "Guests" are the systems whose installation media bring a driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Bus = Literal["parallel SCSI", "SAS", "SCSI", "ATA", "SATA", "virtio block"]


@dataclass(frozen=True, slots=True)
class Controller:
    """One model.

    ``qemu`` is the device that QEMU puts into the guest, ``disk`` the device that it attaches a disk by, ``vmware`` the
    ``scsiX.virtualDev`` (or bus) of a VMX file, or ``None`` where that hypervisor lacks it. ``disks`` is how many disks one card takes,
    ``luns`` how many logical units each of its targets has, ``driver`` the Linux module.
    """

    name: str
    title: str
    bus: Bus
    disks: int
    luns: int
    qemu: str | None
    disk: str | None
    vmware: str | None
    driver: str
    guests: tuple[str, ...]
    scsi: bool
    """True if the guest's own SCSI commands reach the disk; else the card translates them."""


CONTROLLERS: Mapping[str, Controller] = MappingProxyType(
    {
        model.name: model
        for model in (
            Controller(
                "lsilogic", "LSI Logic 53C1030 (parallel)", "parallel SCSI", 15, 8, None, None, "lsilogic", "mptspi",
                ("Linux 2.4+", "Windows 2000 to Server 2008 R2", "Solaris 10"), True,
            ),
            Controller(
                "lsi53c895a", "LSI 53C895A", "parallel SCSI", 7, 1, "lsi53c895a", "scsi-hd", None, "sym53c8xx",
                ("Linux 2.4+", "Windows 2000, XP", "FreeBSD", "NetBSD"), True,
            ),
            Controller(
                "lsisas1068", "LSI Logic SAS 1068", "SAS", 8, 1, "mptsas1068", "scsi-hd", "lsisas1068", "mptsas",
                ("Linux 2.6+", "Windows Server 2008+", "FreeBSD"), True,
            ),
            Controller(
                "megasas", "LSI MegaRAID SAS 1078", "SAS", 64, 1, "megasas", "scsi-hd", None, "megaraid_sas",
                ("Linux 2.6+", "Windows Server 2008+"), True,
            ),
            Controller(
                "pvscsi", "VMware Paravirtual SCSI", "SCSI", 64, 1, "pvscsi", "scsi-hd", "pvscsi", "vmw_pvscsi",
                ("Linux 2.6.33+", "Windows Server 2008+ with VMware Tools"), True,
            ),
            Controller(
                "virtio-scsi", "Virtio SCSI", "SCSI", 256, 16384, "virtio-scsi-pci", "scsi-hd", None, "virtio_scsi",
                ("Linux 3.4+", "FreeBSD 10+", "Windows with virtio-win"), True,
            ),
            Controller(
                "virtio-blk", "Virtio block device", "virtio block", 1, 1, "virtio-blk-pci", None, None, "virtio_blk",
                ("Linux 2.6.25+", "FreeBSD 9+", "Windows with virtio-win"), False,
            ),
            Controller(
                "ide", "Intel PIIX3 IDE", "ATA", 4, 1, "piix3-ide", "ide-hd", "ide", "ata_piix",
                ("every x86 system",), False,
            ),
            Controller(
                "ahci", "Intel ICH9 AHCI", "SATA", 6, 1, "ich9-ahci", "ide-hd", "sata", "ahci",
                ("Linux 2.6.19+", "Windows Vista+", "FreeBSD 8+"), False,
            ),
        )
    }
)  # fmt: skip
