"""``vsw port attach``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.run import as_json, good, run
from vsw.vm.place import port_socket

TOPOLOGY = """
[hosts.h.nics.c]
[hosts.h.switches.s]
[vms.m]
host = "h"
accel = "tcg"
nics = [
    { switch = "s", mac = "52:54:00:00:00:01" },
    { switch = "s", model = "e1000", mac = "52:54:00:00:00:02" },
    { passthrough = "c" },
]
"""
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="apt-get install qemu-system-x86")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "lab.toml").write_text(TOPOLOGY)
    return tmp_path / "lab.toml"


def test_for_libvirt(lab: Path) -> None:
    run_dir = lab.parent / "run"
    text = good("port", "attach", lab, "m.0", "--libvirt-xml", "--run-dir", run_dir)
    assert '<interface type="vhostuser">' in text
    assert f'path="{port_socket(run_dir, "h", "s", "m.0")}"' in text
    assert 'address="52:54:00:00:00:01"' in text
    done = run("port", "attach", lab, "m.1", "--libvirt-xml", "--run-dir", run_dir)
    assert (done.returncode, done.stdout) == (2, "")
    assert "libvirt has no words for a port that is attached by dgram" in done.stderr


@needs_qemu
def test_for_qemu(lab: Path) -> None:
    run_dir = lab.parent / "run"
    assert "-netdev vhost-user,id=nic0,chardev=port0" in good("port", "attach", lab, "m.0", "--run-dir", run_dir)
    told = as_json("port", "attach", lab, "m.1", "--run-dir", run_dir)
    assert (told["port"], told["attach"], told["path"], told["libvirt_xml"]) == ("m.1", "dgram", str(port_socket(run_dir, "h", "s", "m.1")), None)
    assert told["qemu"][-1] == "e1000,id=card1,netdev=nic1,mac=52:54:00:00:00:02"
    assert not run_dir.exists()


@pytest.mark.parametrize("port", ["m", "m.3", "x.0", "m.2", "m.x"])
def test_no_port(lab: Path, port: str) -> None:
    done = run("port", "attach", lab, port)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
