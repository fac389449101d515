"""The machines of a host, as whoever runs its switches looks after them: QEMU itself, without guests."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import vsw
from vsw.ports.stream import StreamPort
from vsw.vm import qemu, running
from vsw.vm.guests import DISKS, Guests
from vsw.vm.place import port_socket, vm_folder
from vsw.vm.qmp import execute

pytestmark = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="apt-get install qemu-system-x86")

TOPOLOGY = """
mac_file = "macs.json"
[hosts.h.switches.s]
[hosts.other]
[vms.a]
host = "h"
accel = "tcg"
memory = "16M"
disks = [{ file = "a.qcow2", size = "4M", controller = "virtio-blk" }]
[vms.broken]
host = "h"
disks = [{ file = "missing.img" }]
[vms.elsewhere]
host = "other"
disks = [{ file = "missing.img" }]
"""


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def guests(tmp_path: Path, told: list[str]) -> Iterator[Guests]:
    (tmp_path / "lab.toml").write_text(TOPOLOGY)
    made = Guests(vsw.load(tmp_path / "lab.toml"), tmp_path / "run", "h", told.append)
    yield made
    if running.is_running(tmp_path / "run", "a"):
        running.stop(tmp_path / "run", "a", now=True)
    made.close()


def monitor(guests: Guests) -> Path:
    return vm_folder(guests.run, "a") / running.MONITOR


def test_a_machine_with_a_disk_that_is_served(guests: Guests, told: list[str], tmp_path: Path) -> None:
    guests.start()
    # The one that can't be started does not keep the other from it, and the one of another host is not this one's.
    assert guests.alive() == {"a"}
    assert list(guests.failed) == ["broken"]
    assert "missing.img" in guests.failed["broken"]
    assert (tmp_path / "a.qcow2").exists()
    (block,) = execute("a", monitor(guests), "query-block")
    assert block["inserted"]["drv"] == "nbd"
    assert str(vm_folder(guests.run, "a") / DISKS) in block["inserted"]["file"]
    guests.poll()
    assert guests.alive() == {"a"}
    guests.stop(0)
    assert guests.alive() == set()
    assert not (vm_folder(guests.run, "a") / DISKS).exists()
    assert told[0].startswith("VM a runs as process ")
    assert told[-1] == "VM a: quit"


def test_a_machine_that_ends_is_told_of(guests: Guests, told: list[str]) -> None:
    guests.start()
    found = running.find(guests.run, "a")
    assert found is not None
    end = os.pidfd_open(found.pid)
    signal.pidfd_send_signal(end, signal.SIGKILL)
    assert running._ended(end, 30)
    os.close(end)
    guests.poll()
    assert guests.alive() == set()
    assert told[-1].startswith("VM a has ended")


def test_a_machine_that_runs_already_is_taken_over(guests: Guests, told: list[str]) -> None:
    guests.start()
    first = running.find(guests.run, "a")
    guests.close()  # as when the program was killed: the disk is gone, the machine waits for it
    said: list[str] = []
    again = Guests(guests.lab, guests.run, "h", said.append)
    again.start()
    assert said[0] == f"VM a runs already, as process {first.pid if first else None}"
    assert execute("a", monitor(again), "query-status")["status"] == "running"
    again.stop(0)
    assert said[-1] == "VM a: quit"


def test_a_machine_that_can_not_connect_again_is_told_of(tmp_path: Path) -> None:
    """QEMU before 8.0 does not find a stream socket again that was closed."""
    (tmp_path / "lab.toml").write_text(
        """
        [hosts.h.switches.s]
        [vms.a]
        host = "h"
        accel = "tcg"
        memory = "16M"
        disks = [{ file = "a.qcow2", size = "4M" }]
        nics = [{ switch = "s", model = "e1000", attach = "stream" }]
        """
    )
    lab, place = vsw.load(tmp_path / "lab.toml"), tmp_path / "run"
    path = port_socket(place, "h", "s", "a.0")
    path.parent.mkdir(parents=True)
    with StreamPort("a.0", path=str(path)):
        first = Guests(lab, place, "h", print)
        first.start()
        first.close()
        said: list[str] = []
        again = Guests(lab, place, "h", said.append)
        again.start()
        again.stop(0)
    warned = [one for one in said if "cards attached by stream do not connect again before QEMU 8.0: vsw vm stop a" in one]
    assert len(warned) == (qemu.version() < qemu.STREAM_RECONNECTS)
