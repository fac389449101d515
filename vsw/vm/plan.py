"""From a topology to machines that can be started: files found, cards plugged into sockets, disks and accelerators chosen."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsw.config import mac_file
from vsw.config.cards import CARDS
from vsw.config.lab import Lab
from vsw.config.machines import can_boot, starts_by_itself
from vsw.config.models import Attachment, DiskWords, VmWords, VnicWords
from vsw.config.resolve import beside, given_macs
from vsw.config.values import did_you_mean, format_mac
from vsw.errors import UsageError
from vsw.vm.place import card_socket, port_socket, wire_socket
from vsw.vm.qemu import Drive, Machine, Plug, QemuError, accelerator

#: Pairs of queues of one card; a switch's port serves as many.
MAX_QUEUES = 8


@dataclass(slots=True)
class Plan:
    """A machine, and what its notes say of its cards."""

    machine: Machine
    cards: list[dict[str, Any]]


def attachment_of(nic: VnicWords) -> Attachment:
    """How a card reaches its port."""
    return nic.attach or ("vhost-user" if CARDS[nic.model].vhost else "dgram")


def vm_of(lab: Lab, name: str) -> VmWords:
    """The machine of that name; :class:`~vsw.errors.UsageError` if there is none."""
    vms = lab.topology.vms
    if name not in vms:
        raise UsageError(f"{lab.file} has no VM {name!r}{did_you_mean(name, vms)}; it has {', '.join(vms) or 'none'}")
    return vms[name]


def wanted(lab: Lab, host: str | None = None) -> list[str]:
    """The machines that ``vsw run`` starts on a host (on all hosts)."""
    return [name for name, vm in lab.topology.vms.items() if starts_by_itself(vm) and host in {None, vm.host}]


def remember(lab: Lab) -> None:
    """Write the addresses that were given to vNICs into the topology's ``mac_file``, if it names one."""
    if lab.topology.mac_file is not None:
        mac_file.write(beside(lab.file, lab.topology.mac_file), given_macs(lab))


def plan(lab: Lab, name: str, run: Path, disks: Callable[[str, int, DiskWords], Drive] | None = None) -> Plan:
    """How machine ``name`` is started.

    ``disks`` may say where a disk is served (machine, index, its words); by default QEMU opens the file itself.  Errors name the file or device
    that is missing: :class:`~vsw.errors.UsageError`, :class:`~vsw.vm.qemu.QemuError`.
    """
    vm = vm_of(lab, name)
    if not can_boot(vm):
        raise QemuError(f"VM {name}: there is nothing to boot: neither `kernel` nor `disks`")
    place = disks or (lambda _vm, _index, words: _drive(lab, name, words))
    drives = tuple(place(name, index, words) for index, words in enumerate(vm.disks))
    kernel, initrd = (None if file is None else _file(lab, name, key, file) for key, file in (("kernel", vm.kernel), ("initrd", vm.initrd)))
    accel = accelerator(vm.accel)
    plugs = tuple(plug(lab, name, index, run) for index in range(len(vm.nics)))
    for nic, plugged in zip(vm.nics, plugs, strict=True):
        if plugged.kind != "pci" and not Path(plugged.path).exists():
            what = f"the wire to card {vm.host}/{nic.passthrough}" if nic.passthrough else f"its port on {vm.host}/{nic.switch}"
            raise QemuError(f"VM {name}: {plugged.path} is missing, the socket of {what}; start the switch first: vsw run {lab.file}")
    return Plan(Machine(name, vm, accel, plugs, drives, kernel, initrd), cards_of(lab, name))


def cards_of(lab: Lab, name: str) -> list[dict[str, Any]]:
    """What is said of a machine's cards: ``model``, ``mac``, ``attach`` (also ``passthrough``), ``to`` (a port, or a physical card)."""
    vm = lab.topology.vms[name]
    return [
        {
            "model": nic.model,
            "mac": format_mac(lab.macs[f"{name}.{index}"]),
            "attach": "passthrough" if nic.passthrough else attachment_of(nic),
            "to": f"{vm.host}/{nic.passthrough}" if nic.passthrough else f"{vm.host}/{nic.switch}/{name}.{index}",
        }
        for index, nic in enumerate(vm.nics)
    ]


def plug(lab: Lab, name: str, index: int, run: Path) -> Plug:
    """What card ``index`` of a machine is plugged into; whether that is there is not looked at."""
    vm = lab.topology.vms[name]
    nic = vm.nics[index]
    mac = lab.macs[f"{name}.{index}"]
    if nic.passthrough is not None:
        card = lab.topology.hosts[vm.host].nics[nic.passthrough]
        if card.pci is not None:
            return Plug(nic.model, mac, "pci", path=card.pci)
        kind: Attachment = "dgram"
        path = wire_socket(run, vm.host, nic.passthrough)
    else:
        assert nic.switch is not None
        kind = attachment_of(nic)
        path = port_socket(run, vm.host, nic.switch, f"{name}.{index}")
    own = str(card_socket(run, name, index)) if kind == "dgram" else ""
    return Plug(nic.model, mac, kind, path=str(path), own=own, mtu=nic.mtu, queues=min(vm.cpus, CARDS[nic.model].queues, MAX_QUEUES))


def _drive(lab: Lab, name: str, words: DiskWords) -> Drive:
    file = _file(lab, name, "disks", words.file)
    kind = words.format or ("qcow2" if words.file.endswith(".qcow2") else "raw")
    return Drive(words.controller, file, kind, words.readonly, words.block_size)


def _file(lab: Lab, name: str, key: str, file: str) -> str:
    path = beside(lab.file, file).absolute()
    if not path.is_file() and not path.is_block_device():
        raise QemuError(f"VM {name}: `{key}`: there is no file {path}")
    if not os.access(path, os.R_OK):
        raise QemuError(f"VM {name}: `{key}`: {path} may not be read")
    return str(path)
