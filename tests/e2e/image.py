"""The initial file system of the guests: busybox, the drivers of every card, and a shell on the serial console.

With ``agent`` on the kernel's command line the shell reads commands without a prompt and without an echo, for a program at the other end
(:class:`tests.e2e.vms.Guest`); without, it is for a person (``vsw vm console``).  Drivers are loaded for what is on the PCI bus.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.guest import FULL_PACKAGE, Kernel, archive, find_kernel

#: Drivers by what they are for; what they need themselves is found out.
CARDS = ("e1000", "e1000e", "8139cp", "pcnet32", "ne2k-pci", "virtio_net", "vmxnet3")
DISKS = ("virtio_blk", "virtio_scsi", "sd_mod", "ahci", "ata_piix", "vmw_pvscsi", "sym53c8xx")
OTHERS = ("virtio_pci", "8021q", "button", "evdev")
#: What the tests can't do without; Debian's kernel for virtual machines lacks most of it.
NEEDED = (*CARDS, *OTHERS)

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
for module in virtio_pci 8021q button evdev sd_mod; do modprobe -q $module; done
modprobe -q -a $(cat /sys/bus/pci/devices/*/modalias)
modprobe -q -a $(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null)
ip link set lo up
mkdir -p /etc/acpi/PWRF
printf '#!/bin/sh\\npoweroff -f\\n' > /etc/acpi/PWRF/00000080; chmod +x /etc/acpi/PWRF/00000080
acpid -d > /dev/null 2>&1 &
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
for word in $(cat /proc/cmdline); do
    case $word in
        ip.*=*) card=${word#ip.}; ip link set ${card%%=*} up; ip addr add ${card#*=} dev ${card%%=*} ;;
        hostname=*) hostname ${word#hostname=} ;;
        agent) agent=yes ;;
    esac
done
if [ -n "$agent" ]; then
    stty -echo; echo; echo agent ready
    exec cat < /dev/ttyS0 | sh
fi
while :; do setsid cttyhack sh -l; done
"""


def find_guest_kernel() -> Kernel | None:
    """A kernel with the drivers of every card, fetched if need be."""
    return find_kernel(NEEDED, FULL_PACKAGE)


def needed_by(kernel: Kernel, names: tuple[str, ...]) -> dict[str, bytes]:
    """Modules, and all that they need: file name -> contents."""
    found: dict[str, bytes] = {}
    wanted = list(names)
    where = {path.name.split(".")[0].replace("-", "_"): path.name.split(".")[0] for path in kernel.modules.rglob("*.ko*")}
    while wanted:
        name = where.get(wanted.pop().replace("-", "_"))
        if name is None or f"{name}.ko" in found:  # none: it is built in
            continue
        data = found[f"{name}.ko"] = kernel.module(name)
        if depends := re.search(rb"\0depends=([^\0]+)\0", data):
            wanted += depends[1].decode().split(",")
    return found


def probe(folder: Path) -> Path:
    """``probe.c``, compiled statically."""
    built = folder / "probe"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-static", "-o", built, Path(__file__).with_name("probe.c")], check=True)
    return built


def build(kernel: Kernel, target: Path) -> None:
    """Write the initial file system for that kernel to ``target``."""
    busybox = str(shutil.which("busybox"))
    directory, executable = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    version = kernel.modules.name
    content = dict.fromkeys(("bin", "dev", "proc", "sys", "tmp", "etc", "lib", "lib/modules", f"lib/modules/{version}"), (directory, b""))
    content |= {"bin/busybox": (executable, Path(busybox).read_bytes()), "init": (executable, INIT.encode())}
    with tempfile.TemporaryDirectory(prefix="vsw-image-") as name:
        root = Path(name)
        modules = root / "lib" / "modules" / version
        modules.mkdir(parents=True)
        for file, data in needed_by(kernel, (*CARDS, *DISKS, *OTHERS)).items():
            (modules / file).write_bytes(data)
        subprocess.run([busybox, "depmod", "-b", root, version], check=True, capture_output=True)
        content |= {f"lib/modules/{version}/{path.name}": (stat.S_IFREG | 0o644, path.read_bytes()) for path in sorted(modules.iterdir())}
        content["bin/probe"] = (executable, probe(root).read_bytes())
    target.write_bytes(archive(content))
