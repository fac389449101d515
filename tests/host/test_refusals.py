"""What a host can't have: rights, sockets, a QEMU of this age, guests that stay alive.  Each is named with its remedy, and the rest goes on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from tests.contract.port_rigs import ip
from tests.golden.build import access, module, of_vnics, port
from tests.host.test_hosts import LAB, ONE, TWO, Process, frame, guests, until
from tests.virtio.nic import Nic
from vsw.errors import UsageError
from vsw.host.module import LiveModule
from vsw.ports.vhost_user import VhostUserPort

__all__ = ["guests"]
ROOT = Path(__file__).resolve().parents[2]


def passes(host: Process) -> None:
    """The ports that this is not about go on."""
    one, two = host.guest("p1"), host.guest("p2")
    one.send(frame(TWO, ONE, b"well"))
    assert two.receive() == frame(TWO, ONE, b"well")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="root is needed, to do without its rights, and setpriv (util-linux)")
@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="there is no /dev/net/tun")
def test_rights_that_are_missing(tmp_path: Path) -> None:
    """A user that may open /dev/net/tun but administers no network."""
    lab = LAB + f"""
p4 = {{ attach = {{ type = "tap", name = "vswr{os.getpid() % 100000}" }} }}
p5 = {{ attach = {{ type = "packet", interface = "lo" }} }}
"""
    less = ("setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw")
    with Process(tmp_path, lab, wrapper=less) as host:
        host.ready()
        device = f"vswr{os.getpid() % 100000}"
        assert host.ask("hello")["problems"] == {
            "h/s/p4": f"{device}: making it takes CAP_NET_ADMIN: run as root, or make it once with: ip tuntap add dev {device} mode tap user $USER",
            "h/s/p5": "lo: a packet socket takes CAP_NET_RAW: run as root, or give the right with setcap or systemd's AmbientCapabilities",
        }
        passes(host)
        code, _, said = host.end()
    assert code == 0
    assert f"h/s/p4 is attached to nothing: {device}: making it takes CAP_NET_ADMIN" in said
    assert "h/s/p5 is attached to nothing: lo: a packet socket takes CAP_NET_RAW" in said


@pytest.mark.parametrize("kind", ["stream", "dgram"])
def test_a_socket_that_is_taken(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "taken"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM) as other:
        other.bind(str(path))
        if kind != "dgram":
            other.listen(1)
        words = f', peer = "{tmp_path}/peer"' if kind == "dgram" else ""
        with Process(tmp_path, LAB + f'p4 = {{ attach = {{ type = "{kind}", path = "{path}"{words} }} }}\n') as host:
            host.ready()
            (problem,) = host.ask("hello")["problems"].values()
            assert str(path) in problem
            assert "in use by another process" in problem
            passes(host)
            assert host.end()[0] == 0
        assert path.is_socket()


def test_a_vhost_user_socket_that_is_taken(tmp_path: Path) -> None:
    """Such ports are vNICs' own; a host that runs twice is refused before (tests/host/test_hosts.py)."""
    with VhostUserPort("one", tmp_path / "v.sock"), pytest.raises(UsageError, match=r"v\.sock: another process serves this socket; stop it"):
        VhostUserPort("other", tmp_path / "v.sock")


def test_a_qemu_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is told of and left out, and what `vsw vm start` says is the same; the switch runs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "qemu-system-x86_64").write_text("#!/bin/sh\necho QEMU emulator version 5.2.0\n")
    (programs / "qemu-system-x86_64").chmod(0o755)
    (tmp_path / "kernel").touch()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    lab = f'{LAB}[vms.m]\nhost = "h"\nkernel = "{tmp_path}/kernel"\naccel = "tcg"\nnics = [{{ switch = "s" }}]\n'
    sentence = "qemu-system-x86_64 is version 5.2; 7.2 or later is needed, for its netdevs dgram and stream"
    with Process(tmp_path, lab, "--vms") as host:
        host.ready()
        passes(host)
        words = [sys.executable, "-m", "vsw", "vm", "start", str(host.topology), "m", "--run-dir", str(host.run)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
        code, _, said = host.end()
    assert code == 0
    assert f"VM m can't be started: {sentence}" in said


DYING = """
    import sys
    from tests.ports.test_vhost_offload import ACK, header, packet
    from tests.virtio.nic import Nic
    nic = Nic(sys.argv[1], transmit_entries=256)
    big, start = packet(4, bytes(50000), flags=ACK)
    while True:
        if len(nic.rings[1].free) > 4:
            nic.send([b"\\x02\\0\\0\\0\\0\\xee\\x02\\0\\0\\0\\0\\1\\x88\\xb5" + bytes(50)] * 3)
            nic.send([big], header=header(1, 54, 1448, start, 16))
        else:
            nic.rings[1].done()
        if sys.argv[2:]:
            print("sending", flush=True)
            sys.argv.pop()
"""


@pytest.mark.parametrize("turn", range(3))
def test_a_guest_that_dies_at_its_rings(tmp_path: Path, turn: int) -> None:
    """Killed while it sends frames and segments: its port waits for another guest, the others lose nothing."""
    ports = [port(number, access(10), address=number + 1) for number in range(3)]
    live = LiveModule(module("vsw", ports, learning="none", static=of_vnics(ports)), Path("unused"))
    made = [VhostUserPort(f"p{number}", tmp_path / f"{number}.sock") for number in range(3)]
    for number, one in enumerate(made):
        live.attach(number, one)
    live.open()
    two, three = Nic(made[1].path), Nic(made[2].path)
    try:
        words = [sys.executable, "-c", textwrap.dedent(DYING), str(made[0].path), "tell"]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as guest:
            assert guest.stdout is not None
            assert guest.stdout.readline() == b"sending\n"
            until(lambda: made[0].counters()["rx_frames"] > 1000 * (turn + 1))
            guest.send_signal(signal.SIGKILL)
        until(lambda: not made[0].link)
        for number in range(200):
            three.send([frame(TWO, bytes.fromhex("020000000003"), number.to_bytes(2))])
        got: list[bytes] = []

        def arrived() -> bool:
            got.extend(data for data in two.receive() if data[11] == 3)
            return len(got) == 200

        until(arrived)
        assert [data[14:16] for data in got] == [number.to_bytes(2) for number in range(200)]
        again = Nic(made[0].path)
        again.send([frame(TWO, ONE, b"again")])
        until(lambda: frame(TWO, ONE, b"again") in two.receive())
        again.close()
    finally:
        two.close()
        three.close()
        live.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed, for interfaces")
def test_a_card_that_goes_and_comes_back(tmp_path: Path) -> None:
    """As a USB card does, or the end of a container's cable."""
    name = f"vswg{os.getpid() % 100000}"
    cable = ("link", "add", name, "type", "veth", "peer", "name", f"{name}b")
    ip(*cable)
    try:
        with Process(tmp_path, LAB + f'p4 = {{ attach = {{ type = "packet", interface = "{name}" }} }}\n') as host:
            host.ready()

            def attached(link: bool) -> bool:
                (row,) = (row for row in host.ask("show", what="port") if row["port"] == "p4")
                return bool(row["link"]) is link

            for end in (name, f"{name}b"):
                ip("link", "set", end, "up")
            until(lambda: attached(True))
            ip("link", "del", name)
            until(lambda: attached(False))
            passes(host)
            ip(*cable)
            for end in (name, f"{name}b"):
                ip("link", "set", end, "up")
            until(lambda: attached(True))
            code, _, said = host.end()
        assert code == 0
        assert f"{name} has gone" in said
    finally:
        with suppress(PermissionError):
            ip("link", "del", name)
