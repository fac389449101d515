"""QEMU's command line for a machine of a topology."""

from __future__ import annotations

from pathlib import Path

import pytest

import vsw
from vsw.vm import qemu
from vsw.vm.place import check_socket, port_socket, run_folder, wire_socket
from vsw.vm.plan import plan, wanted

TOPOLOGY = """
[hosts.h.nics]
eno1 = {}
eno2 = { pci = "3b:00.0" }
[hosts.h.switches.s]
[vms.m]
host = "h"
uuid = "564d8f2c-0b1e-4c55-9a6e-3f1f7b1c2d3e"
accel = "tcg"
memory = "192M"
cpus = 2
"""


def words(folder: Path, more: str, have: tuple[int, int] = (7, 2), accel: str = "tcg") -> list[str]:
    """The command line of VM ``m``; files and sockets that it needs are there."""
    file = folder / "lab.toml"
    file.write_text(TOPOLOGY.replace('"tcg"', f'"{accel}"') + more)
    lab = vsw.load(file)
    for name in ("vmlinuz", "initrd", "a.img", "b.qcow2", "c,d.img", "e.img", "f.iso"):
        (folder / name).touch()
    for index, nic in enumerate(lab.topology.vms["m"].nics):
        path = wire_socket(folder, "h", nic.passthrough) if nic.passthrough else port_socket(folder, "h", "s", f"m.{index}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return qemu.command(plan(lab, "m", folder).machine, 5, 6, "console.log", have)


def after(command: list[str], option: str) -> list[str]:
    return [command[place + 1] for place, word in enumerate(command) if word == option]


def test_a_kernel(tmp_path: Path) -> None:
    command = words(tmp_path, 'kernel = "vmlinuz"\ninitrd = "initrd"\nappend = "console=ttyS0 quiet"\narguments = ["-no-reboot"]')
    assert command[0] == "qemu-system-x86_64"
    assert command[-1] == "-no-reboot"
    assert [after(command, option) for option in ("-accel", "-m", "-smp", "-machine", "-uuid", "-cpu")] == [
        ["tcg"], ["192"], ["2"], ["pc"], ["564d8f2c-0b1e-4c55-9a6e-3f1f7b1c2d3e"], [],
    ]  # fmt: skip
    assert [after(command, option) for option in ("-kernel", "-initrd", "-append")] == [
        [f"{tmp_path}/vmlinuz"], [f"{tmp_path}/initrd"], ["console=ttyS0 quiet"],
    ]  # fmt: skip
    assert after(command, "-chardev") == [
        "socket,id=monitor,fd=5,server=on,wait=off",
        "socket,id=console,fd=6,server=on,wait=off,logfile=console.log",
    ]
    assert {"-nodefaults", "-no-user-config"} <= set(command)


@pytest.mark.parametrize("model", ["e1000", "e1000e", "rtl8139", "pcnet", "ne2k_pci", "vmxnet3", "virtio-net"])
def test_dgram(tmp_path: Path, model: str) -> None:
    nic = f'nics = [{{ switch = "s", model = "{model}", attach = "dgram", mac = "52:54:00:00:00:01" }}]'
    command = words(tmp_path, f'kernel = "vmlinuz"\n{nic}')
    own, port = f"{tmp_path}/vms/m/nic0.sock", f"{tmp_path}/h/s/m.0.sock"
    assert after(command, "-netdev") == [f"dgram,id=nic0,local.type=unix,local.path={own},remote.type=unix,remote.path={port}"]
    device = "virtio-net-pci" if model == "virtio-net" else model
    assert after(command, "-device") == [f"{device},id=card0,netdev=nic0,mac=52:54:00:00:00:01"]
    assert "-object" not in command


@pytest.mark.parametrize(("have", "again"), [((7, 2), ""), ((8, 0), ",reconnect=1"), ((9, 2), ",reconnect-ms=1000"), ((10, 0), ",reconnect-ms=1000")])
def test_stream(tmp_path: Path, have: tuple[int, int], again: str) -> None:
    command = words(tmp_path, 'kernel = "vmlinuz"\nnics = [{ switch = "s", model = "e1000", attach = "stream" }]', have)
    assert after(command, "-netdev") == [f"stream,id=nic0,server=off,addr.type=unix,addr.path={tmp_path}/h/s/m.0.sock{again}"]


def test_vhost_user(tmp_path: Path) -> None:
    command = words(tmp_path, 'kernel = "vmlinuz"\nnics = [{ switch = "s", mac = "52:54:00:00:00:01" }]')
    assert after(command, "-object") == ["memory-backend-memfd,id=memory,size=192M,share=on"]
    assert after(command, "-machine") == ["pc,memory-backend=memory"]
    assert f"socket,id=port0,path={tmp_path}/h/s/m.0.sock,reconnect=1" in after(command, "-chardev")
    assert after(command, "-netdev") == ["vhost-user,id=nic0,chardev=port0,queues=2"]
    assert after(command, "-device") == ["virtio-net-pci,id=card0,netdev=nic0,mac=52:54:00:00:00:01,mq=on,vectors=0"]


def test_with_kvm_msi_x_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "KVM", str(tmp_path / "vmlinuz"))
    (tmp_path / "vmlinuz").touch()
    monkeypatch.setattr("vsw.vm.plan.accelerator", lambda wanted: qemu.accelerator(wanted, str(tmp_path / "vmlinuz")))
    command = words(tmp_path, 'kernel = "vmlinuz"\nnics = [{ switch = "s" }]', accel="kvm")
    assert after(command, "-cpu") == ["host"]
    assert "vectors" not in after(command, "-device")[0]


def test_a_card_that_is_passed_through(tmp_path: Path) -> None:
    command = words(tmp_path, 'kernel = "vmlinuz"\nnics = [{ passthrough = "eno2" }, { passthrough = "eno1", model = "e1000" }]')
    assert after(command, "-device")[0] == "vfio-pci,id=card0,host=0000:3b:00.0"
    own = f"{tmp_path}/vms/m/nic1.sock"
    assert after(command, "-netdev") == [f"dgram,id=nic1,local.type=unix,local.path={own},remote.type=unix,remote.path={tmp_path}/h/eno1.sock"]


def test_disks(tmp_path: Path) -> None:
    command = words(
        tmp_path,
        """disks = [
        { file = "a.img" }, { file = "b.qcow2", block_size = 4096 }, { file = "c,d.img", controller = "virtio-blk" },
        { file = "e.img", controller = "ide" }, { file = "f.iso", format = "raw", controller = "ide", readonly = true },
        { file = "a.img", controller = "lsi" }, { file = "a.img", controller = "pvscsi" }, { file = "a.img", controller = "ahci" },
    ]""",
    )
    blocks = after(command, "-blockdev")
    assert blocks[0] == f"driver=raw,node-name=disk0,file.driver=file,file.filename={tmp_path}/a.img,read-only=off,discard=unmap"
    assert blocks[1].startswith("driver=qcow2,node-name=disk1,")
    assert f"file.filename={tmp_path}/c,,d.img," in blocks[2]
    assert "read-only=on" in blocks[4]
    assert after(command, "-device") == [
        "virtio-scsi-pci,id=virtioscsi0",
        "scsi-hd,bus=virtioscsi0.0,drive=disk0,bootindex=0",
        "scsi-hd,bus=virtioscsi0.0,drive=disk1,logical_block_size=4096,physical_block_size=4096,bootindex=1",
        "virtio-blk-pci,drive=disk2,bootindex=2",
        "ide-hd,bus=ide.0,unit=0,drive=disk3,bootindex=3",
        "ide-cd,bus=ide.0,unit=1,drive=disk4",
        "lsi53c895a,id=lsi0",
        "scsi-hd,bus=lsi0.0,drive=disk5,bootindex=5",
        "pvscsi,id=pvscsi0",
        "scsi-hd,bus=pvscsi0.0,drive=disk6,bootindex=6",
        "ahci,id=ahci0",
        "ide-hd,bus=ahci0.0,drive=disk7,bootindex=7",
    ]


def test_a_disk_that_is_served(tmp_path: Path) -> None:
    lab = vsw.loads(TOPOLOGY + 'disks = [{ file = "far.qcow2" }]')
    drive = qemu.Drive("virtio-blk", nbd="/run/x,y.sock", export="far")
    command = qemu.command(plan(lab, "m", tmp_path, lambda vm, index, disk: drive).machine, 5, 6, "c", (7, 2))
    assert after(command, "-blockdev") == [
        "driver=nbd,node-name=disk0,read-only=off,discard=unmap,reconnect-delay=300,server.type=unix,server.path=/run/x,,y.sock,export=far"
    ]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    def refused(more: str) -> str:
        (tmp_path / "lab.toml").write_text(TOPOLOGY + more)
        with pytest.raises(vsw.VswError) as caught:
            plan(vsw.load(tmp_path / "lab.toml"), "m", tmp_path)
        return str(caught.value)

    assert refused("") == "VM m: there is nothing to boot: neither `kernel` nor `disks`"
    assert refused('kernel = "none"') == f"VM m: `kernel`: there is no file {tmp_path}/none"
    assert refused('disks = [{ file = "none.img" }]') == f"VM m: `disks`: there is no file {tmp_path}/none.img"
    (tmp_path / "vmlinuz").touch()
    assert refused('kernel = "vmlinuz"\nnics = [{ switch = "s" }]') == (
        f"VM m: {tmp_path}/h/s/m.0.sock is missing, the socket of its port on h/s; start the switch first: vsw run {tmp_path}/lab.toml"
    )
    assert "the wire to card h/eno1" in refused('kernel = "vmlinuz"\nnics = [{ passthrough = "eno1" }]')


def test_which_start_by_themselves() -> None:
    text = "[hosts]\nh = {}\ni = {}\n[vms]\n"
    text += "\n".join(
        [
            "a = { host = 'h' }",
            "b = { host = 'h', kernel = 'k' }",
            "c = { host = 'i', disks = [{ file = 'f' }] }",
            "d = { host = 'h', kernel = 'k', autostart = false }",
        ]
    )
    lab = vsw.loads(text)
    assert (wanted(lab), wanted(lab, "h")) == (["b", "c"], ["b"])


def test_accelerators(tmp_path: Path) -> None:
    device, intel, arm = tmp_path / "kvm", tmp_path / "intel", tmp_path / "arm"
    intel.write_text("processor\t: 0\nflags\t\t: fpu vme vmx ssse3\n")
    arm.write_text("flags\t\t: fpu avmx vmxy\n")
    assert qemu.accelerator("auto", str(device), str(intel)) == "tcg"
    with pytest.raises(qemu.QemuError, match=r'accel = "kvm": .*/kvm is missing; accel = "tcg" does without'):
        qemu.accelerator("kvm", str(device))
    device.touch()
    assert qemu.accelerator("auto", str(device), str(intel)) == "kvm"
    assert qemu.accelerator("auto", str(device), str(arm)) == "tcg"
    assert qemu.accelerator("auto", str(device), str(tmp_path / "none")) == "tcg"
    assert qemu.accelerator("tcg", str(device), str(intel)) == "tcg"
    assert qemu.accelerator("kvm", str(device), str(arm)) == "kvm"


def program(folder: Path, said: str) -> str:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return str(path)


def test_versions(tmp_path: Path) -> None:
    with pytest.raises(qemu.QemuError, match="no-such-qemu is not installed"):
        qemu.version("no-such-qemu")
    new, old, odd = (tmp_path / name for name in ("new", "old", "odd"))
    for folder in (new, old, odd):
        folder.mkdir()
    assert qemu.version(program(new, "QEMU emulator version 10.1.2 (Debian)")) == (10, 1)
    with pytest.raises(qemu.QemuError, match=r"is version 7\.1; 7\.2 or later is needed"):
        qemu.version(program(old, "QEMU emulator version 7.1.0"))
    with pytest.raises(qemu.QemuError, match="does not say its version: hello"):
        qemu.version(program(odd, "hello"))


def test_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSW_RUN_DIR", "/a")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/b")
    assert (run_folder("/c"), run_folder()) == (Path("/c"), Path("/a"))
    monkeypatch.delenv("VSW_RUN_DIR")
    assert run_folder() == Path("/b/vsw")


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    assert check_socket(Path("/" + "x" * 106))
    with pytest.raises(vsw.UsageError, match="at most 107 bytes, this one has 108; choose a shorter run folder"):
        check_socket(Path("/" + "x" * 107))
