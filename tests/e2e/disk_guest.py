"""A guest that uses disks: it partitions, formats, writes, reboots, reads back, and installs a boot loader. QEMU runs beside the test.

One init does it all; what is to be done follows from what it finds: disks without partitions are set up, after which the machine reboots without
saying goodbye to its file systems; disks with partitions are read back, after which it powers off. Each line that it writes begins with ``==``.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.guest import FULL_PACKAGE, GuestError, Kernel, archive, find_kernel
from tests.e2e.image import needed_by

DRIVERS = ("virtio_scsi", "virtio_blk", "sym53c8xx", "mptsas", "megaraid_sas", "vmw_pvscsi", "ahci", "ata_piix")
OTHERS = ("virtio_pci", "sd_mod", "ext4", "crc32c_generic")
MEMORY = 384  # MiB
#: In a folder of their own: busybox has programs of the same names, and prefers them.
PROGRAMS = ("/sbin/mke2fs", "/usr/bin/extlinux")
MBR = Path("/usr/lib/EXTLINUX/mbr.bin")
DIRECTORY, EXECUTABLE, PLAIN = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFREG | 0o644

INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
echo 1 > /proc/sys/kernel/printk
for module in virtio_pci sd_mod ext4 crc32c_generic; do modprobe -q $module; done
modprobe -q -a $(cat /sys/bus/pci/devices/*/modalias)
modprobe -q -a $(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null)
for word in $(cat /proc/cmdline); do
    case $word in disks=*) wanted=${word#disks=} ;; booted=*) booted=${word#booted=} ;; whole=*) whole=${word#whole=} ;; esac
done
mkdir -p /disk
disks() { cd /sys/block; ls -d [sv]d* 2>/dev/null; cd /; }
tries=0
until [ $(disks | wc -l) -ge $wanted ]; do
    tries=$((tries + 1)); [ $tries -gt 600 ] && break
    sleep 0.1
done
driver() {
    case $1 in
        vd*) echo virtio_blk ;;
        *) host=$(readlink -f /sys/block/$1/device | sed 's/.*\/\(host[0-9]*\)\/.*/\1/'); cat /sys/class/scsi_host/$host/proc_name ;;
    esac
}
size() { cat /sys/block/$1/size; }
# Where the file system of a disk is, which on the one of so many sectors is all of it.
place() { [ "$(size $1)" = "$whole" ] && echo /dev/$1 || echo /dev/${1}1; }
about() { echo "== $1 driver=$(driver $1) sectors=$(size $1) block=$(cat /sys/block/$1/queue/logical_block_size) $2"; }
if [ $(disks | wc -l) -lt $wanted ]; then
    for disk in $(disks); do about $disk "is there, not all of the $wanted are"; done
    dmesg | grep -iE 'scsi|sym|mpt|mega|ahci|ata|error' | tail -30 | sed 's/^/== /'
    poweroff -f
fi
if [ -n "$booted" ]; then
    for disk in $(disks); do
        mount -t ext4 $(place $disk) /disk && [ -e /disk/vmlinuz ] && about $disk "booted $booted: $(cat /disk/mark)"
        umount /disk
    done
    poweroff -f
fi
for disk in $(disks); do
    # ext4's magic number tells that a disk without partitions has been set up.
    magic=$(dd if=/dev/$disk bs=1 skip=1080 count=2 2>/dev/null | hexdump -e '1/2 "%x"')
    if [ -b /dev/${disk}1 ] || [ "$magic" = ef53 ]; then
        mount -t ext4 $(place $disk) /disk || { about $disk "can't be mounted"; continue; }
        about $disk "reads back: $(cd /disk; sha256sum -c sum 2>&1 | tail -1)"
        umount /disk
        continue
    fi
    fresh=yes
    if [ "$(size $disk)" != "$whole" ]; then
        printf 'n\np\n1\n\n\na\n1\nw\n' | fdisk /dev/$disk > /fdisk.log 2>&1
        until [ -b /dev/${disk}1 ]; do sleep 0.1; done
    fi
    /tools/mke2fs -q -F -t ext4 -O ^64bit,^metadata_csum $(place $disk) > /mke2fs.log 2>&1 ||
        { about $disk "can't be formatted: $(tail -1 /mke2fs.log)"; continue; }
    mount -t ext4 $(place $disk) /disk || { about $disk "can't be mounted"; continue; }
    dd if=/dev/urandom of=/disk/data bs=64k count=64 conv=fsync 2>/dev/null
    sha256sum /disk/data > /tmp/sum; sed 's/\/disk\///' /tmp/sum | dd of=/disk/sum conv=fsync 2>/dev/null
    if [ -e /boot/vmlinuz ] && [ "$(size $disk)" = "$(cat /boot/sectors)" ]; then
        cp /boot/vmlinuz /boot/initrd /boot/extlinux.conf /disk/
        echo "disk $(cat /boot/sectors)" > /disk/mark
        /tools/extlinux --install /disk > /extlinux.log 2>&1 || { about $disk "has no boot loader: $(tail -1 /extlinux.log)"; }
        [ "$(size $disk)" = "$whole" ] || dd if=/boot/mbr.bin of=/dev/$disk conv=notrunc,fsync 2>/dev/null
        umount /disk; sync
        about $disk "can boot"
        continue
    fi
    about $disk "is set up"
done
[ -n "$fresh" ] && { echo "== rebooting"; reboot -n -f; }
poweroff -f
"""
EXTLINUX = """SERIAL 0 115200
PROMPT 0
TIMEOUT 1
DEFAULT linux
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd
  APPEND {append} booted=extlinux
"""


def missing_programs() -> str | None:
    """What has to be installed first, or ``None``."""
    wanted = {
        "qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "/sbin/mke2fs": "e2fsprogs", "extlinux": "extlinux", "dpkg": "dpkg",
    }  # fmt: skip
    lacking = [package for program, package in wanted.items() if shutil.which(program) is None]
    return f"apt-get install {' '.join(lacking)}" if lacking else None


def find_disk_kernel() -> Kernel | None:
    """A kernel with the drivers of every controller, fetched if need be."""
    return find_kernel(DRIVERS, FULL_PACKAGE)


def with_libraries(program: str) -> dict[str, tuple[int, bytes]]:
    """A program and what it is linked with, as files of an archive."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(?:=> )?(/\S+) \(0x", listed)
    found = {f"tools/{Path(program).name}": (EXECUTABLE, Path(program).read_bytes())}
    for library in libraries:
        where = Path(library)
        found |= {str(folder).lstrip("/"): (DIRECTORY, b"") for folder in reversed(where.parents) if str(folder) != "/"}
        found[library.lstrip("/")] = (EXECUTABLE, where.resolve().read_bytes())
    return found


def small_image(kernel: Kernel) -> bytes:
    """The initial file system without what sets disks up: busybox, drivers, init."""
    busybox = Path(str(shutil.which("busybox")))
    version = kernel.modules.name
    content = dict.fromkeys(("bin", "dev", "proc", "sys", "tmp", "lib", "lib/modules", f"lib/modules/{version}"), (DIRECTORY, b""))
    content |= {"bin/busybox": (EXECUTABLE, busybox.read_bytes()), "init": (EXECUTABLE, INIT.encode())}
    with tempfile.TemporaryDirectory(prefix="vsw-image-") as name:
        modules = Path(name) / "lib" / "modules" / version
        modules.mkdir(parents=True)
        for file, data in needed_by(kernel, (*DRIVERS, *OTHERS)).items():
            (modules / file).write_bytes(data)
        subprocess.run([busybox, "depmod", "-b", name, version], check=True, capture_output=True)
        content |= {f"lib/modules/{version}/{path.name}": (PLAIN, path.read_bytes()) for path in sorted(modules.iterdir())}
    return archive(content)


def full_image(kernel: Kernel, small: bytes, append: str, boot_sectors: int) -> bytes:
    """``small`` and the tools that set disks up; the disk of so many sectors gets a boot loader, the kernel and ``small``."""
    more: dict[str, tuple[int, bytes]] = {"boot": (DIRECTORY, b""), "etc": (DIRECTORY, b""), "lib": (DIRECTORY, b""), "tools": (DIRECTORY, b"")}
    for program in PROGRAMS:
        more |= with_libraries(program)
    more |= {
        "etc/mke2fs.conf": (PLAIN, Path("/etc/mke2fs.conf").read_bytes()),
        "boot/vmlinuz": (PLAIN, kernel.image.read_bytes()),
        "boot/initrd": (PLAIN, small),
        "boot/extlinux.conf": (PLAIN, EXTLINUX.format(append=append).encode()),
        "boot/mbr.bin": (PLAIN, MBR.read_bytes()),
        "boot/sectors": (PLAIN, f"{boot_sectors}\n".encode()),
    }
    # The kernel unpacks one archive after the other.
    return small + archive(more)


def run_qemu(arguments: Sequence[str], seconds: float) -> list[str]:
    """Run QEMU until its guest powers off; the lines that begin with ``== ``, without that."""
    words = ["qemu-system-x86_64", "-accel", "tcg", "-m", str(MEMORY), "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]
    try:
        done = subprocess.run([*words, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        written = (error.stdout or b"").decode(errors="replace")
        raise GuestError(f"the guest did not end within {seconds:.0f} s; it wrote:\n{written[-3000:]}") from None
    console = done.stdout.decode(errors="replace").replace("\r", "")
    if done.returncode:
        raise GuestError(f"QEMU ended with status {done.returncode}: {done.stderr.decode(errors='replace')}\n{console[-2000:]}")
    lines = [line.removeprefix("== ") for line in console.splitlines() if line.startswith("== ")]
    if not lines:
        raise GuestError(f"the guest said nothing of its disks; it wrote:\n{console[-3000:]}\n{done.stderr.decode(errors='replace')}")
    return lines
