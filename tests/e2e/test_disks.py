"""Real guests on disks of ours, over NBD and iSCSI, behind every controller that QEMU has: `make e2e-disks`.

The guest partitions each disk, formats it (ext4), writes, fsyncs, and reboots without unmounting; it then must read back what it had written. On one
disk it installs a boot loader, and a second machine boots from that disk alone. Over iSCSI behind virtio-scsi QEMU passes the guest's SCSI commands
on as they are (``scsi-block``), so that it is our engine which Linux talks to.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import disk_guest
from tests.e2e.guest import Kernel
from vsw.disk.blocks import create_blocks
from vsw.disk.scsi import CONTROLLERS
from vsw.disk.serve.serving import Disk, Iscsi, Nbd, Serving

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(disk_guest.missing_programs() is not None, reason=f"programs are missing: {disk_guest.missing_programs()}"),
]

MIB = 1 << 20
SECONDS = 900.0
TARGET = "iqn.2026-01.example.lab:guest"


@dataclass(frozen=True)
class Behind:
    """A disk behind a controller: its size tells it from the others in the guest."""

    controller: str
    mebibytes: int
    format: str = "raw"
    block_size: int = 512
    device: str | None = None
    """Instead of what the controller's model says."""

    @property
    def sectors(self) -> int:
        return self.mebibytes * MIB // 512


NBD = (
    Behind("virtio-scsi", 96, "qcow2"),
    Behind("lsi53c895a", 41),
    Behind("lsisas1068", 42),
    Behind("megasas", 43),
    Behind("pvscsi", 44),
    Behind("ahci", 45),
    Behind("ide", 46),
    Behind("virtio-blk", 47),
    Behind("virtio-scsi", 48, block_size=4096),
)
ISCSI = (Behind("lsi53c895a", 96), Behind("virtio-scsi", 41, device="scsi-block"), Behind("virtio-scsi", 42, "qcow2", device="scsi-block"))


def arguments(disks: tuple[Behind, ...], blockdevs: list[str], boot: int | None) -> Iterator[str]:
    """QEMU's arguments for the disks, by the models' own words."""
    cards: dict[str, str] = {}
    for number, (disk, blockdev) in enumerate(zip(disks, blockdevs, strict=True)):
        model = CONTROLLERS[disk.controller]
        yield from ("-blockdev", f"{blockdev},node-name=disk{number}")
        sizes = f",logical_block_size={disk.block_size},physical_block_size={disk.block_size}" if disk.block_size != 512 else ""
        first = f",bootindex={boot}" if number == boot else ""
        if disk.controller == "virtio-blk":
            yield from ("-device", f"{model.qemu},drive=disk{number}{sizes}{first}")
            continue
        card = cards.get(disk.controller)
        if card is None:
            card = cards[disk.controller] = "ide" if disk.controller == "ide" else f"card{len(cards)}"
            if disk.controller != "ide":  # the machine has it
                yield from ("-device", f"{model.qemu},id={card}")
        # Linux's driver of the SAS 1068 sees no disk without a world wide name.
        name = f",wwn={0x5000C50000000000 + number:#x}" if disk.controller == "lsisas1068" else ""
        yield from ("-device", f"{disk.device or model.disk},bus={card}.0,drive=disk{number}{sizes if disk.device is None else ''}{name}{first}")


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    found = disk_guest.find_disk_kernel()
    if found is None:
        pytest.skip(f"no kernel for the guest: neither in /boot nor as Debian's package {disk_guest.FULL_PACKAGE}")
    return found


@pytest.mark.parametrize(("transport", "disks"), [("nbd", NBD), ("iscsi", ISCSI)], ids=["nbd", "iscsi"])
def test_a_guest_lives_on_our_disks(kernel: Kernel, transport: str, disks: tuple[Behind, ...]) -> None:
    append = f"console=ttyS0 quiet loglevel=1 ipv6.disable=1 panic=-1 no_timer_check disks={len(disks)}"
    small = disk_guest.small_image(kernel)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vsw-disks-")))
        (place / "initrd").write_bytes(disk_guest.full_image(kernel, small, append, disks[0].sectors))
        images = [place / f"disk{number}.{disk.format}" for number, disk in enumerate(disks)]
        served = [
            Disk(f"disk{number}", create_blocks(image, disk.mebibytes * MIB, disk.format), f"serial{number}", block_size=disk.block_size)
            for number, (disk, image) in enumerate(zip(disks, images, strict=True))
        ]
        if transport == "nbd":
            stack.enter_context(Serving(served, nbd=Nbd(place / "s")))
            blockdevs = [f"driver=nbd,server.type=unix,server.path={place / 's'},export={disk.name},discard=unmap" for disk in served]
        else:
            serving = stack.enter_context(Serving(served, iscsi=Iscsi(TARGET, (("127.0.0.1", 0),))))
            assert serving.iscsi is not None
            portal = serving.iscsi.portals[0]
            blockdevs = [f"driver=iscsi,transport=tcp,portal={portal},target={TARGET},lun={lun}" for lun in range(len(served))]
        direct = ["-kernel", str(kernel.image), "-initrd", str(place / "initrd"), "-append", append]
        set_up = disk_guest.run_qemu([*arguments(disks, blockdevs, None), *direct], SECONDS)
        assert "rebooting" in set_up, "\n".join(set_up)
        turn = set_up.index("rebooting")
        first, second = by_size(set_up[:turn]), by_size(set_up[turn + 1 :])
        assert set(first) == set(second) == {disk.sectors for disk in disks}
        for disk in disks:
            driver, block, said = first[disk.sectors]
            assert (driver, block) == (DRIVERS[disk.controller], disk.block_size)
            assert said == ("can boot" if disk is disks[0] else "is set up")
            assert second[disk.sectors][2] == "reads back: data: OK"
        booted = by_size(disk_guest.run_qemu(list(arguments(disks, blockdevs, 0)), SECONDS))
        assert booted == {disks[0].sectors: (DRIVERS[disks[0].controller], 512, f"booted extlinux: disk {disks[0].sectors}")}


DRIVERS = {name: model.driver for name, model in CONTROLLERS.items()}


def by_size(lines: list[str]) -> dict[int, tuple[str, int, str]]:
    """Sectors -> driver, block size, what was said."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"\w+ driver=(\S+) sectors=(\d+) block=(\d+) (.*)", line)
        assert match, line
        found[int(match[2])] = (match[1], int(match[3]), match[4])
    return found
