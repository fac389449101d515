"""What needs several keys of a VM to be wrong: something to boot, cards that fit their ports, disks that fit their controllers."""

from __future__ import annotations

from collections import Counter

from vsw.config.cards import CARDS
from vsw.config.models import Topology, VmWords, VnicWords
from vsw.config.positions import Path
from vsw.config.problems import Report

#: Cards of one VM; PCI's first bus of a `pc` has room for some 28 devices, disks and the chipset's own among them.
MAX_NICS = 16
#: Disks on one controller of its kind.
MAX_DISKS = {"ide": 4, "ahci": 6, "lsi": 7, "pvscsi": 16, "virtio-scsi": 64, "virtio-blk": 8}
MAX_DISKS_OF_Q35 = {**MAX_DISKS, "ide": 0}


def can_boot(vm: VmWords) -> bool:
    """Whether there is a kernel or a disk."""
    return vm.kernel is not None or bool(vm.disks)


def starts_by_itself(vm: VmWords) -> bool:
    """Whether ``vsw run`` starts the VM."""
    return can_boot(vm) if vm.autostart is None else vm.autostart


def check_machines(topology: Topology, report: Report) -> None:
    """Report what does not fit together within each VM."""
    uuids: dict[str, str] = {}
    for name, vm in topology.vms.items():
        path: Path = ("vms", name)
        for key in ("initrd", "append"):
            if getattr(vm, key) is not None and vm.kernel is None:
                report.add((*path, key), "needs `kernel`, which it belongs to")
        if vm.autostart and not can_boot(vm):
            report.add((*path, "autostart"), "there is nothing to boot: neither `kernel` nor `disks`", True)
        if vm.uuid is not None and (first := uuids.setdefault(vm.uuid, name)) != name:
            report.add((*path, "uuid"), f"is that of VM {first!r}", vm.uuid)
        if len(vm.nics) > MAX_NICS:
            report.add((*path, "nics"), f"a VM has at most {MAX_NICS} cards, this one has {len(vm.nics)}")
        limits = MAX_DISKS_OF_Q35 if vm.machine == "q35" else MAX_DISKS
        for controller, count in Counter(disk.controller for disk in vm.disks).items():
            if count > limits[controller]:
                report.add((*path, "disks"), f"machine {vm.machine} has room for {limits[controller]} disks on {controller}, these are {count}")
        for index, nic in enumerate(vm.nics):
            _check_card((*path, "nics", index), nic, report)


def _check_card(path: Path, nic: VnicWords, report: Report) -> None:
    card = CARDS[nic.model]
    if nic.mtu is not None and nic.mtu > card.max_mtu:
        report.add((*path, "mtu"), f"a {nic.model} carries at most {card.max_mtu} bytes", nic.mtu)
    if nic.attach == "vhost-user" and not card.vhost:
        report.add((*path, "attach"), f"vhost-user is for virtio-net; {nic.model} can have dgram or stream", nic.attach)
    if nic.attach is not None and nic.passthrough is not None:
        report.add((*path, "attach"), "a card that is passed through is attached to no port", nic.attach)
