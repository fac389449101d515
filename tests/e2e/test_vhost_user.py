"""A real guest on disks of ours over vhost-user, virtio-blk and virtio-scsi: `make e2e-disks`.

SeaBIOS finds the disks first, then the kernel does. The guest partitions each disk but one, formats it (ext4), writes, fsyncs, and reboots without
unmounting; it then must read back what it had written. At last it boots from the disk without partitions: QEMU's software emulation does not
notice that a back end writes over code that ran, as a master boot record has the next stage of a boot loader written over itself; so there is none.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import disk_guest
from tests.e2e.test_disks import MIB, SECONDS, by_size
from vsw.disk.blocks import create_blocks
from vsw.disk.scsi import LogicalUnit, Target
from vsw.disk.serve.vhost_user import BlkServer, ScsiServer

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(disk_guest.missing_programs() is not None, reason=f"programs are missing: {disk_guest.missing_programs()}"),
]

#: Mebibytes: the disk's size tells the guest which one it is.
WHOLE, BLK, SCSI, FOUR_K = 96, 43, 41, 42


def test_a_guest_lives_on_vhost_user_disks_and_boots_from_one() -> None:
    kernel = disk_guest.find_disk_kernel()
    if kernel is None:
        pytest.skip(f"no kernel for the guest: neither in /boot nor as Debian's package {disk_guest.FULL_PACKAGE}")
    append = f"console=ttyS0 quiet loglevel=1 ipv6.disable=1 panic=-1 no_timer_check disks=4 whole={WHOLE * MIB // 512}"
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vsw-vhost-")))
        (place / "initrd").write_bytes(disk_guest.full_image(kernel, disk_guest.small_image(kernel), append, WHOLE * MIB // 512))
        whole = stack.enter_context(create_blocks(place / "whole.qcow2", WHOLE * MIB, "qcow2"))
        blk = stack.enter_context(create_blocks(place / "blk.qcow2", BLK * MIB, "qcow2"))
        scsi = stack.enter_context(create_blocks(place / "scsi.img", SCSI * MIB))
        four = stack.enter_context(create_blocks(place / "four.img", FOUR_K * MIB))
        units = {0: LogicalUnit(scsi, serial="scsi"), 1: LogicalUnit(four, serial="four", block_size=4096)}
        boots = stack.enter_context(BlkServer(place / "w", whole, serial="whole"))
        first = stack.enter_context(BlkServer(place / "b", blk, serial="blk"))
        second = stack.enter_context(ScsiServer(place / "s", {0: Target("iqn.2026-01.example.lab:guest", units)}))
        machine = ["-object", f"memory-backend-memfd,id=mem,size={disk_guest.MEMORY}M,share=on", "-machine", "pc,memory-backend=mem"]
        machine += ["-chardev", f"socket,id=w,path={boots.path},reconnect=1", "-device", "vhost-user-blk-pci,chardev=w,bootindex=1"]
        machine += ["-chardev", f"socket,id=b,path={first.path},reconnect=1", "-device", "vhost-user-blk-pci,chardev=b"]
        machine += ["-chardev", f"socket,id=s,path={second.path}", "-device", "vhost-user-scsi-pci,chardev=s"]
        direct = ["-kernel", str(kernel.image), "-initrd", str(place / "initrd"), "-append", append]
        set_up = disk_guest.run_qemu([*machine, *direct], SECONDS)
        turn = set_up.index("rebooting")
        before, after = by_size(set_up[:turn]), by_size(set_up[turn + 1 :])
        sizes = {WHOLE * MIB // 512: 512, BLK * MIB // 512: 512, SCSI * MIB // 512: 512, FOUR_K * MIB // 512: 4096}
        assert set(before) == set(after) == set(sizes)
        for sectors, block in sizes.items():
            assert before[sectors][1] == block
            assert before[sectors][2] == ("can boot" if sectors == WHOLE * MIB // 512 else "is set up")
            assert after[sectors][2] == "reads back: data: OK"
        booted = by_size(disk_guest.run_qemu(machine, SECONDS))
        assert booted == {WHOLE * MIB // 512: ("virtio_blk", 512, f"booted extlinux: disk {WHOLE * MIB // 512}")}
