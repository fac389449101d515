"""QEMU as a program: which one, how old, and its command line for a machine of a topology.

A command line is a pure function of the machine and of where its cards and disks are plugged in; nothing here starts anything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from vsw.config.cards import CARDS, NicModel
from vsw.config.models import Attachment, DiskController, VmWords
from vsw.config.values import format_mac
from vsw.errors import VswError

PROGRAM = "qemu-system-x86_64"
#: ``-netdev dgram`` and ``-netdev stream`` came with it.
OLDEST = (7, 2)
#: From here on a stream socket connects again.
STREAM_RECONNECTS = (8, 0)
STREAM_RECONNECTS_IN_MS = (9, 2)
#: Seconds between QEMU's attempts to reach a switch that has gone.
RECONNECT = 1
#: Seconds that a guest's requests wait for the server of its disk to come back.
DISK_PATIENCE = 300
KVM = "/dev/kvm"

CONTROLLERS: dict[DiskController, str] = {
    "lsi": "lsi53c895a", "pvscsi": "pvscsi", "virtio-scsi": "virtio-scsi-pci", "ahci": "ahci", "ide": "", "virtio-blk": "",
}  # fmt: skip


class QemuError(VswError):
    """QEMU is missing, too old, or did not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Plug:
    """One card of a machine, and what it is plugged into.

    ``kind`` ``dgram``, ``stream``, ``vhost-user``: ``path`` is the switch port's socket, ``own`` the one that QEMU binds (dgram).
    ``pci``: a PCI function passed through, at ``path``.
    """

    model: NicModel
    mac: int
    kind: Attachment | Literal["pci"]
    path: str = ""
    own: str = ""
    mtu: int | None = None
    queues: int = 1


@dataclass(frozen=True, slots=True)
class Drive:
    """One disk of a machine: a file that QEMU opens itself, or (``nbd``) the unix socket of a server that has it as ``export``."""

    controller: DiskController
    file: str = ""
    format: Literal["raw", "qcow2"] = "raw"
    readonly: bool = False
    block_size: int = 512
    nbd: str = ""
    export: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with everything that its command line needs; files are absolute."""

    name: str
    words: VmWords
    accel: Literal["kvm", "tcg"]
    plugs: Sequence[Plug] = ()
    drives: Sequence[Drive] = ()
    kernel: str | None = None
    initrd: str | None = None


@lru_cache(maxsize=8)
def version(program: str = PROGRAM) -> tuple[int, int]:
    """The version of a QEMU; :class:`QemuError` if it is not there, does not say, or is too old."""
    found = shutil.which(program)
    if found is None:
        raise QemuError(f"{program} is not installed (Debian: apt-get install qemu-system-x86)")
    try:
        done = subprocess.run([found, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        raise QemuError(f"{program} --version did not answer within 30 s") from None
    match = re.search(r"version (\d+)\.(\d+)", done.stdout)
    if match is None:
        raise QemuError(f"{program} does not say its version: {(done.stderr or done.stdout).strip()[:200]}")
    have = (int(match[1]), int(match[2]))
    if have < OLDEST:
        raise QemuError(f"{program} is version {have[0]}.{have[1]}; {OLDEST[0]}.{OLDEST[1]} or later is needed, for its netdevs dgram and stream")
    return have


def accelerator(wanted: str, device: str = KVM, processors: str = "/proc/cpuinfo") -> Literal["kvm", "tcg"]:
    """What ``accel`` means here; :class:`QemuError` if kvm was asked for in vain.  ``auto`` looks at rights and processor flags, and runs nothing."""
    if wanted == "tcg":
        return "tcg"
    usable = os.access(device, os.R_OK | os.W_OK)
    if wanted == "kvm":
        if not usable:
            missing = not Path(device).exists()
            raise QemuError(f'accel = "kvm": {device} {"is missing" if missing else "may not be opened: join its group"}; accel = "tcg" does without')
        return "kvm"
    try:
        flags = Path(processors).read_text()
    except OSError:
        flags = ""
    return "kvm" if usable and re.search(r"^flags\s*:.*\b(?:vmx|svm)\b", flags, re.MULTILINE) else "tcg"


def keyval(*words: str, **values: object) -> str:
    """``a,b=c``: QEMU's way to write a list of settings; commas in values are doubled, ``_`` in keys is ``-``, ``__`` a dot."""
    settings = (f"{key.replace('__', '.').replace('_', '-')}={str(value).replace(',', ',,')}" for key, value in values.items())
    return ",".join([*words, *settings])


def command(machine: Machine, monitor: int, console: int, log: str, have: tuple[int, int], program: str = PROGRAM) -> list[str]:
    """QEMU's command line; ``monitor`` and ``console`` are listening unix sockets that it inherits, ``log`` gets a copy of the console."""
    return [program, *_arguments(machine, monitor, console, log, have)]


def _arguments(machine: Machine, monitor: int, console: int, log: str, have: tuple[int, int]) -> Iterator[str]:
    words = machine.words
    shared = any(plug.kind == "vhost-user" for plug in machine.plugs)
    yield from ("-nodefaults", "-no-user-config", "-display", "none")
    yield from ("-name", keyval(guest=machine.name))
    if words.uuid is not None:
        yield from ("-uuid", words.uuid)
    yield from ("-accel", machine.accel)
    if machine.accel == "kvm":
        yield from ("-cpu", "host")
    size = words.memory >> 20
    yield from ("-m", str(size), "-smp", str(words.cpus))
    if shared:  # the switch reads and writes the guest's memory
        yield from ("-object", keyval("memory-backend-memfd", id="memory", size=f"{size}M", share="on"))
        yield from ("-machine", keyval(words.machine, memory_backend="memory"))
    else:
        yield from ("-machine", words.machine)
    yield from ("-chardev", keyval("socket", id="monitor", fd=monitor, server="on", wait="off"), "-mon", keyval(chardev="monitor", mode="control"))
    yield from ("-chardev", keyval("socket", id="console", fd=console, server="on", wait="off", logfile=log), "-serial", "chardev:console")
    if machine.kernel is not None:
        yield from ("-kernel", machine.kernel)
        if machine.initrd is not None:
            yield from ("-initrd", machine.initrd)
        yield from ("-append", words.append or "console=ttyS0")
    for index, plug in enumerate(machine.plugs):
        yield from card(index, plug, machine.accel, have)
    yield from _disks(machine.drives)
    yield from words.arguments


def card(index: int, plug: Plug, accel: str, have: tuple[int, int]) -> Iterator[str]:
    """The arguments of one card."""
    if plug.kind == "pci":
        yield from ("-device", keyval("vfio-pci", id=f"card{index}", host=plug.path))
        return
    netdev = f"nic{index}"
    more: dict[str, object] = {}
    match plug.kind:
        case "dgram":
            addresses = {"local__type": "unix", "local__path": plug.own, "remote__type": "unix", "remote__path": plug.path}
            yield from ("-netdev", keyval("dgram", id=netdev, **addresses))
        case "stream":
            again: dict[str, object] = {}
            if have >= STREAM_RECONNECTS:
                again = {"reconnect-ms": 1000 * RECONNECT} if have >= STREAM_RECONNECTS_IN_MS else {"reconnect": RECONNECT}
            yield from ("-netdev", keyval("stream", id=netdev, server="off", addr__type="unix", addr__path=plug.path, **again))
        case "vhost-user":
            yield from ("-chardev", keyval("socket", id=f"port{index}", path=plug.path, reconnect=RECONNECT))
            several = {"queues": plug.queues} if plug.queues > 1 else {}
            yield from ("-netdev", keyval("vhost-user", id=netdev, chardev=f"port{index}", **several))
            if plug.queues > 1:
                more["mq"] = "on"
            if accel == "tcg":  # QEMU 7.2 falls over its own MSI-X there
                more["vectors"] = 0
    if plug.model == "virtio-net" and plug.mtu is not None and plug.kind != "vhost-user":
        more["host_mtu"] = plug.mtu
    device = keyval(CARDS[plug.model].device, id=f"card{index}", netdev=netdev, mac=format_mac(plug.mac))
    yield from ("-device", ",".join([device, *(f"{key}={value}" for key, value in more.items())]))


def _disks(drives: Sequence[Drive]) -> Iterator[str]:
    place: dict[str, int] = {}
    for index, drive in enumerate(drives):
        node = f"disk{index}"
        readonly = "on" if drive.readonly else "off"
        if drive.nbd:
            server = {"server__type": "unix", "server__path": drive.nbd, "export": drive.export}
            again = {"reconnect_delay": DISK_PATIENCE}
            yield from ("-blockdev", keyval(driver="nbd", node_name=node, read_only=readonly, discard="unmap", **again, **server))
        else:
            below = keyval(driver=drive.format, node_name=node, file__driver="file", file__filename=drive.file, read_only=readonly, discard="unmap")
            yield from ("-blockdev", below)
        controller = drive.controller
        unit = place.get(controller, 0)
        place[controller] = unit + 1
        bus = f"{controller.replace('-', '')}0"
        if unit == 0 and CONTROLLERS[controller]:
            yield from ("-device", keyval(CONTROLLERS[controller], id=bus))
        sizes = {} if drive.block_size == 512 else {"logical_block_size": drive.block_size, "physical_block_size": drive.block_size}
        boot = {"bootindex": index} if not drive.readonly or index == 0 else {}
        settings = ",".join(f"{key}={value}" for key, value in {**sizes, **boot}.items())
        match controller:
            case "virtio-blk":
                device = keyval("virtio-blk-pci", drive=node)
            case "ide":
                device = keyval("ide-cd" if drive.readonly else "ide-hd", bus=f"ide.{unit // 2}", unit=unit % 2, drive=node)
            case "ahci":
                device = keyval("ide-cd" if drive.readonly else "ide-hd", bus=f"{bus}.{unit}", drive=node)
            case _:
                device = keyval("scsi-hd", bus=f"{bus}.0", drive=node)
        yield from ("-device", f"{device},{settings}" if settings else device)
