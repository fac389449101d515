"""Machines as processes: QEMU itself, without a guest."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.run import as_json, good, process, run
from vsw.vm import running
from vsw.vm.place import vm_folder

pytestmark = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="apt-get install qemu-system-x86")

# The BIOS finds nothing to boot on an empty disk, and the machine waits.
TOPOLOGY = """
[hosts.h.switches.s]
[vms.a]
host = "h"
accel = "tcg"
memory = "16M"
disks = [{ file = "empty.img", controller = "virtio-blk" }]
[vms.b]
host = "h"
accel = "tcg"
disks = [{ file = "empty.img", controller = "virtio-blk" }]
arguments = ["-device", "no-such-device"]
autostart = false
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    """A topology; what was started is stopped."""
    (tmp_path / "empty.img").write_bytes(bytes(1 << 20))
    (tmp_path / "lab.toml").write_text(TOPOLOGY)
    yield tmp_path / "lab.toml"
    for name in running.known(tmp_path / "run"):
        if running.is_running(tmp_path / "run", name):
            running.stop(tmp_path / "run", name, now=True)


def test_from_start_to_stop(lab: Path) -> None:
    place = lab.parent / "run"
    options = ("--run-dir", place)
    started = as_json("vm", "start", lab, *options)["started"]
    (told,) = started
    assert (told["vm"], told["accel"], told["cards"]) == ("a", "tcg", [])
    assert Path(f"/proc/{told['pid']}/exe").resolve().name == "qemu-system-x86_64"

    listed = as_json("vm", "list", lab, *options)
    assert {name: (vm["state"], vm["pid"]) for name, vm in listed["vms"].items()} == {"a": ("running", told["pid"]), "b": ("stopped", None)}
    assert "running" in good("vm", "list", *options)

    # There is one machine of that name.
    again = run("vm", "start", lab, "a", *options)
    assert (again.returncode, again.stderr) == (1, f"Error: VM 'a' runs already ({vm_folder(place, 'a')}); vsw vm stop a ends it\n")
    assert running.find(place, "a") is not None

    # Nobody home: no guest to shut down.
    assert as_json("vm", "stop", "a", "--timeout", "0", *options) == {"stopped": {"a": "quit"}}
    assert not running.is_running(place, "a")
    assert as_json("vm", "list", *options)["vms"] == {}
    assert run("vm", "stop", "a", *options).returncode == 2
    assert as_json("vm", "start", lab, *options)["started"][0]["pid"] != told["pid"]
    assert as_json("vm", "stop", "--all", "--now", *options) == {"stopped": {"a": "quit"}}


def test_a_machine_outlives_the_program_that_started_it(lab: Path) -> None:
    place = lab.parent / "run"
    done = process("vm", "start", lab, "a", "--run-dir", place, "--json")
    assert done.returncode == 0, done.stderr
    pid = json.loads(done.stdout)["started"][0]["pid"]
    found = running.find(place, "a")
    assert found is not None
    assert found.pid == pid
    # Killed from outside: the lock tells, whatever the notes say.
    killed = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert running._ended(killed, 30)
    os.close(killed)
    assert running.find(place, "a") is None
    assert (vm_folder(place, "a") / running.STATE).exists()
    assert running.status(place, "a") == "stopped"


def test_a_stubborn_qemu_is_killed(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = lab.parent / "run"
    pid = as_json("vm", "start", lab, "a", "--run-dir", place)["started"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(running, "QUIT", 0.2)
    assert running.status(place, "a", 0.2) == "busy"
    assert running.stop(place, "a", now=True) == "killed"


def test_what_qemu_says_is_told(lab: Path) -> None:
    place = lab.parent / "run"
    done = run("vm", "start", lab, "b", "--run-dir", place)
    assert done.returncode == 1
    assert "VM b: qemu-system-x86_64: -device no-such-device: 'no-such-device' is not a valid device model name" in done.stderr
    assert not running.is_running(place, "b")


def test_usage(lab: Path) -> None:
    for arguments in (["stop"], ["stop", "a", "--all"], ["console", "a"], ["console", "a", "--log"], ["start", lab, "x"]):
        done = run("vm", *arguments, "--run-dir", lab.parent / "run")
        assert done.returncode == 2, arguments
        assert done.stderr


def test_a_dry_run_starts_nothing(lab: Path) -> None:
    place = lab.parent / "run"
    text = good("vm", "start", lab, "a", "--dry-run", "--run-dir", place)
    assert text.startswith("qemu-system-x86_64 -nodefaults")
    assert not place.exists()
