"""A small Linux guest: a kernel of Debian, busybox, and a script that runs as its first process.

Nothing is installed for it.  The kernel comes from, in this order: the directory that ``VSW_GUEST_KERNEL`` names (a kernel package, unpacked),
``build/guest-kernel`` of this checkout, this machine's own ``/boot``, or Debian's package, which is then unpacked into ``build/guest-kernel``.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "guest-kernel"
#: Debian's kernel for virtual machines has the drivers of virtio and vmxnet3 only; the other one has all.
PACKAGE = "linux-image-cloud-amd64"
FULL_PACKAGE = "linux-image-amd64"
MEMORY = 256  # MiB


class GuestError(RuntimeError):
    """The guest did not do its work."""


@dataclass(frozen=True)
class Kernel:
    """A kernel's image and the directory of its modules."""

    image: Path
    modules: Path

    def module(self, name: str) -> bytes:
        """A module's file, uncompressed; :class:`GuestError` if there is none."""
        for path in self.modules.rglob(f"{name}.ko*"):
            data = path.read_bytes()
            return lzma.decompress(data) if path.suffix == ".xz" else data
        raise GuestError(f"no module {name!r} in {self.modules}")

    def has(self, names: Iterable[str]) -> bool:
        """Whether all those modules are there."""
        return all(any(self.modules.rglob(f"{name}.ko*")) for name in names)


def missing_programs() -> str | None:
    """What has to be installed first, or ``None``."""
    wanted = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "gcc": "gcc", "dpkg": "dpkg"}
    lacking = [package for program, package in wanted.items() if shutil.which(program) is None]
    return f"apt-get install {' '.join(lacking)}" if lacking else None


def find_kernel(modules: Collection[str] = (), package: str = PACKAGE) -> Kernel | None:
    """A kernel that has those modules, fetched from Debian's ``package`` if need be; ``None`` if there is none to be had."""
    named = os.environ.get("VSW_GUEST_KERNEL")
    for root in [Path(named)] if named else [KEPT, Path("/")]:
        if kernel := _kernel_in(root, modules):
            return kernel
    if named or shutil.which("apt-get") is None:
        return None
    _fetch(package)
    return _kernel_in(KEPT, modules)


def _kernel_in(root: Path, wanted: Collection[str]) -> Kernel | None:
    for image in sorted(root.glob("boot/vmlinuz-*"), reverse=True):
        modules = root / "lib" / "modules" / image.name.removeprefix("vmlinuz-")
        if modules.is_dir() and (kernel := Kernel(image, modules)).has(wanted):
            return kernel
    return None


def _fetch(package: str) -> None:
    """Unpack a kernel package of Debian; leave nothing if that fails."""
    depends = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        return
    with tempfile.TemporaryDirectory(prefix="vsw-kernel-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # apt fetches as a user of its own
        done = subprocess.run(["apt-get", "download", "-qq", found[1]], cwd=directory, capture_output=True, check=False)
        packages = list(directory.glob("*.deb"))
        if done.returncode or not packages:
            return
        unpacked = directory / "unpacked"
        subprocess.run(["dpkg", "-x", str(packages[0]), str(unpacked)], check=True)
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(unpacked, KEPT, dirs_exist_ok=True)


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An initial file system (cpio, "newc", gzip): path -> mode (directories too), contents."""

    def record(number: int, path: str, mode: int, data: bytes) -> Iterator[bytes]:
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        yield b"070701" + b"".join(b"%08X" % field for field in fields)
        yield name + bytes(-(110 + len(name)) % 4)
        yield data + bytes(-len(data) % 4)

    parts = [part for number, (path, (mode, data)) in enumerate(files.items(), 1) for part in record(number, path, mode, data)]
    parts += record(0, "TRAILER!!!", 0, b"")
    return gzip.compress(b"".join(parts), 1)


def run(kernel: Kernel, script: str, modules: Sequence[str], files: Mapping[str, bytes], seconds: float) -> str:
    """What the guest wrote to its console; ``files`` (executable) lie in its root, ``modules`` are loaded in order before the script runs."""
    busybox = Path(str(shutil.which("busybox"))).read_bytes()
    load = "".join(f"insmod /{name}.ko || exit 1\n" for name in modules)
    init = f"#!/bin/sh\nmount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev\n{load}{script}\npoweroff -f\n"
    directory, executable = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    content = dict.fromkeys(("bin", "dev", "proc", "sys"), (directory, b""))
    content |= {"bin/busybox": (executable, busybox), "init": (executable, init.encode())}
    content |= {f"bin/{name}": (stat.S_IFLNK | 0o777, b"busybox") for name in COMMANDS}
    content |= {f"{name}.ko": (executable, kernel.module(name)) for name in modules}
    content |= {name: (executable, data) for name, data in files.items()}
    with tempfile.TemporaryDirectory(prefix="vsw-guest-") as name:
        initrd = Path(name) / "initrd"
        initrd.write_bytes(archive(content))
        words = ["qemu-system-x86_64", "-accel", "tcg", "-m", str(MEMORY), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        words += ["-serial", "stdio", "-kernel", str(kernel.image), "-initrd", str(initrd)]
        words += ["-append", "console=ttyS0 quiet loglevel=1 ipv6.disable=1 panic=-1"]
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as error:
            written = (error.stdout or b"").decode(errors="replace")
            raise GuestError(f"the guest did not end within {seconds:.0f} s; it wrote:\n{written[-2000:]}") from None
    if done.returncode:
        raise GuestError(f"QEMU ended with status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace").replace("\r", "")


COMMANDS = ("sh", "mount", "insmod", "poweroff", "ip", "brctl", "tunctl", "echo", "cat")
