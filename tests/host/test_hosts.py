"""Hosts as processes: started, asked, changed, killed; two of them in network namespaces; what they captured, replayed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vsw
from tests.patience import PATIENCE
from vsw import Switch
from vsw.errors import UsageError, VswError
from vsw.host.control import ask
from vsw.host.place import Place
from vsw.verdicts import Verdict

LAB = """
[hosts.h.switches.s.ports]
p1 = { mac = "02:00:00:00:00:01", vlan = { mode = "access", vid = 10 }, attach = { type = "stream" } }
p2 = { mac = "02:00:00:00:00:02", vlan = { mode = "access", vid = 10 }, attach = { type = "stream" } }
p3 = { mac = "02:00:00:00:00:03", vlan = { mode = "access", vid = 20 }, attach = { type = "dgram" } }
"""
ALL = b"\xff" * 6
ONE, TWO = (bytes.fromhex(f"02000000000{n}") for n in "12")


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        threading.Event().wait(0.01)
    return found


GUESTS: list[socket.socket] = []


@pytest.fixture(autouse=True)
def guests() -> Iterator[None]:
    """None of them stays."""
    yield
    while GUESTS:
        GUESTS.pop().close()


class Guest:
    """The other side of a stream port."""

    def __init__(self, path: Path) -> None:
        self.one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        GUESTS.append(self.one)
        self.one.settimeout(PATIENCE)
        until(lambda: self._connect(path))
        self.buffer = b""

    def _connect(self, path: Path) -> bool:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            self.one.connect(str(path))
            return True
        return False

    def send(self, *frames: bytes) -> None:
        self.one.sendall(b"".join(struct.pack("!I", len(data)) + data for data in frames))

    def receive(self) -> bytes:
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack("!I", self.buffer[:4])[0]:
            more = self.one.recv(1 << 16)
            if not more:
                raise ConnectionError("the switch has gone")
            self.buffer += more
        length = struct.unpack("!I", self.buffer[:4])[0]
        data, self.buffer = self.buffer[4 : 4 + length], self.buffer[4 + length :]
        return data


class Process:
    """``vsw run`` as a process; ready when its control socket answers."""

    def __init__(self, place: Path, lab: str = LAB, *options: str, wrapper: tuple[str, ...] = ()) -> None:
        self.run = place / "run"
        self.topology = place / "lab.toml"
        self.topology.write_text(lab)
        words = [*wrapper, sys.executable, "-m", "vsw", "run", str(self.topology), "--run-dir", str(self.run), "--no-live", "--no-vms", *options]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self, host: str = "h") -> Process:
        def answers() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            with contextlib.suppress(VswError):
                return bool(ask(self.run, host, {"command": "hello"})["pid"])
            return False

        until(answers)
        return self

    def ask(self, command: str, **words: Any) -> Any:
        return ask(self.run, None, {"command": command, **words})

    def guest(self, port: str) -> Guest:
        """A guest at a stream port, which has seen it."""
        made = Guest(self.run / f"h/s/{port}.sock")
        until(lambda: any(row["link"] for row in self.ask("show", what="port") if row["port"] == port))
        return made

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


def frame(target: bytes, source: bytes, text: bytes = b"", length: int = 60) -> bytes:
    return (target + source + b"\x88\xb5" + text).ljust(length, b"\0")


def test_a_host_runs_answers_and_ends(tmp_path: Path) -> None:
    with Process(tmp_path) as host:
        host.ready()
        one, two = host.guest("p1"), host.guest("p2")
        one.send(frame(TWO, ONE, b"hello"))
        assert two.receive() == frame(TWO, ONE, b"hello")
        ports = {row["port"]: row for row in host.ask("show", what="port")}
        assert (ports["p1"]["rx_frames"], ports["p2"]["tx_frames"]) == (1, 1)
        assert ports["p1"]["link"]
        assert not ports["p3"]["link"]
        one.send(frame(ALL, bytes(6)))
        until(lambda: host.ask("show", what="drops"))
        assert host.ask("show", what="drops")[0]["reason"] == "bad_source"
        assert {row["mac"]: row["port"] for row in host.ask("show", what="mac")}["02:00:00:00:00:02"] == "p2"
        assert host.ask("show", what="counters")["h/s"]["frames"] == 2
        assert host.ask("port", port="p2", up=False) == {"module": "h/s", "port": "p2", "admin": False, "up": False}
        one.send(frame(TWO, ONE))
        until(lambda: host.ask("show", what="counters")["h/s"]["dropped"].get("port_down"))
        assert host.ask("port", port="h/s/p2", up=True)["up"]
        one.send(frame(TWO, ONE, b"again"))
        assert two.receive() == frame(TWO, ONE, b"again")
        code, out, err = host.end()
        assert (code, out) == (0, "host h runs: 3 ports; Ctrl-C ends it\n")
        assert [line.split(" ", 2)[2] for line in err.splitlines()] == ["INFO h/s/p2 goes down", "INFO h/s/p2 goes up"]
        assert sorted(path.name for path in host.run.rglob("*.sock")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_cleanly(tmp_path: Path, number: int) -> None:
    with Process(tmp_path, LAB, "--json") as host:
        host.ready()
        code, out, _ = host.end(number)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [events[0]["event"], events[-1]["event"]] == ["started", "stopped"]
    assert events[-1]["modules"]["h/s"]["frames"] == 0


def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    with Process(tmp_path) as host:
        host.ready()
        with Process(tmp_path) as second:
            _, err = second.process.communicate(timeout=PATIENCE)
            assert second.process.returncode == 2
            assert f"host h runs already, as process {host.process.pid}" in err
        guest = host.guest("p1")
        guest.send(frame(TWO, ONE))
        until(lambda: host.ask("show", what="counters")["h/s"]["frames"])


def test_killed_and_started_again(tmp_path: Path) -> None:
    """What a dead process left behind is no obstacle."""
    with Process(tmp_path) as host:
        host.ready()
        host.end(signal.SIGKILL)
        assert (host.run / "h/control.sock").exists()
    with pytest.raises(VswError, match="nobody answers"):
        ask(tmp_path / "run", "h", {"command": "hello"})
    with Process(tmp_path) as host:
        host.ready()
        one, two = host.guest("p1"), host.guest("p2")
        one.send(frame(TWO, ONE))
        assert two.receive() == frame(TWO, ONE)


def test_apply_is_all_or_nothing(tmp_path: Path) -> None:
    with Process(tmp_path) as host:
        host.ready()
        one, two = host.guest("p1"), host.guest("p2")
        taken = tmp_path / "taken.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(str(taken))
            other.listen()
            bad = LAB.replace("vid = 20", "vid = 10") + f'p4 = {{ attach = {{ type = "stream", path = "{taken}" }} }}\n'
            with pytest.raises(VswError, match=r"taken.sock is in use by another process"):
                host.ask("apply", text=bad, file="bad.toml")
        for text, message in (("[hosts.h.switches.t]", "that takes a restart"), ("[hosts.h.switches.s]\nmtu = 1", "bad.toml:2"), ("[", "not TOML")):
            with pytest.raises(VswError, match=message):
                host.ask("apply", text=text, file="bad.toml")
        assert [row["port"] for row in host.ask("show", what="port")] == ["p1", "p2", "p3"]
        one.send(frame(ALL, ONE, b"before"))
        assert two.receive() == frame(ALL, ONE, b"before")
        good = LAB.replace('vid = 10 }, attach = { type = "stream" } }\np3', 'vid = 20 }, attach = { type = "stream" } }\np3') + "p4 = {}\n"
        changes = {"added": ["p4"], "removed": [], "changed": ["p2"], "attached": []}
        assert host.ask("apply", text=good, file="lab.toml", dry_run=True) == {"h/s": changes}
        assert len(host.ask("show", what="port")) == 3
        assert host.ask("apply", text=good, file="lab.toml") == {"h/s": changes}
        one.send(frame(TWO, ONE, b"other VLAN"))
        until(lambda: sum(host.ask("show", what="counters")["h/s"]["dropped"].values()))
        assert host.ask("apply", text=LAB, file="lab.toml")["h/s"]["removed"] == ["p4"]
        one.send(frame(TWO, ONE, b"after"))
        assert two.receive() == frame(TWO, ONE, b"after")


def test_bad_requests(tmp_path: Path) -> None:
    with Process(tmp_path) as host:
        host.ready()
        for words, message in (
            ({"command": "nothing"}, "no such command"), ({"command": "show", "what": "x"}, "what can be shown"),
            ({"command": "port", "port": "p9", "up": True}, "no port 'p9'; its ports: h/s/p1"), ({"command": "port", "port": 1}, "is a name"),
            ({"command": "apply"}, "is a topology"),
        ):  # fmt: skip
            with pytest.raises(VswError, match=message):
                ask(host.run, "h", words)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(host.run / "h/control.sock"))
            client.sendall(b"{]\n3\n" + b"[" * 100_000 + b"\n")
            with client.makefile("rb") as lines:
                assert [json.loads(lines.readline())["ok"] for _ in range(3)] == [False] * 3
        assert (host.run / "h/control.sock").stat().st_mode & 0o777 == 0o600


def test_a_hostile_peer_harms_itself_alone(tmp_path: Path) -> None:
    """Impossible lengths, half frames, floods, connections that come and go: the others go on, and the log says why."""
    with Process(tmp_path) as host:
        host.ready()
        two, path = host.guest("p2"), host.run / "h/s/p1.sock"
        attacks = [
            b"\xff\xff\xff\xff", struct.pack("!I", 69633) + bytes(100), struct.pack("!I", 60) + bytes(30), b"\0", bytes(400),
            (struct.pack("!I", 14) + ALL + bytes(8)) * 5000, os.urandom(100_000), struct.pack("!I", 69632) + bytes(69632), b"",
        ]  # fmt: skip
        for attack in attacks * 3:
            hostile = Guest(path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                hostile.one.sendall(attack)
            hostile.one.close()
        one = Guest(path)
        until(lambda: {row["port"]: row for row in host.ask("show", what="port")}["p1"]["link"])
        one.send(frame(TWO, ONE, b"well"))
        until(lambda: two.receive() == frame(TWO, ONE, b"well"))
        two.send(frame(ONE, TWO, b"yes"))
        until(lambda: one.receive() == frame(ONE, TWO, b"yes"))
        drops = {row["port"]: row for row in host.ask("show", what="port")}["p1"]["port_drops"]
        assert drops["rx_malformed"] >= 6
        code, _, err = host.end()
    assert code == 0
    assert "h/s/p1: the peer announced a frame of 4294967295 bytes" in err


def test_what_can_not_be_attached_does_not_stop_the_rest(tmp_path: Path) -> None:
    lab = LAB + 'p4 = { attach = { type = "packet", interface = "nosuchcard" } }\n'
    with Process(tmp_path, lab) as host:
        host.ready()
        assert host.ask("hello")["problems"] == {"h/s/p4": "nosuchcard: there is no such network interface"}
        one, two = host.guest("p1"), host.guest("p2")
        one.send(frame(TWO, ONE))
        assert two.receive() == frame(TWO, ONE)
        assert "h/s/p4 is attached to nothing: nosuchcard: there is no such network interface" in host.end()[2]


def test_a_capture_replayed_gives_the_same_verdicts(tmp_path: Path) -> None:
    """What ``vsw run --capture`` wrote, through the same topology."""
    captures = tmp_path / "captures"
    with Process(tmp_path, LAB, "--capture", str(captures), "--json") as host:
        host.ready()
        one, two = host.guest("p1"), host.guest("p2")
        for number in range(300):
            one.send(frame(TWO, ONE, number.to_bytes(4), 14 + number), frame(ALL, ONE), frame(bytes(6), TWO), frame(ONE, ONE)[:12])
            two.send(frame(ONE, TWO)[:12] + b"\x81\0\0\x0a" + bytes(46), frame(bytes.fromhex("0180c2000000"), TWO))
        until(lambda: host.ask("show", what="counters")["h/s"]["frames"] == 1800)
        _, out, _ = host.end()
    final = json.loads(out.splitlines()[-1])["modules"]["h/s"]
    switch = Switch(vsw.load(host.topology).module())
    for file in sorted(captures.iterdir()):
        with vsw.open_capture(file) as trace:
            result = switch.forward(trace)
            assert len(trace) in {0, 600, 1200}
            assert result.ingress == "interface"
    counters = switch.counters
    assert (counters.offered, counters.delivered, counters.copies_out) == (final["frames"], final["delivered"], final["copies"])
    assert final["delivered"] == 300 * 2
    assert sum(final["dropped"].values()) == 1800 - 600
    for port in switch.module.ports:
        row = final["ports"][port.name]
        assert row["rx_frames"] == int(counters.rx_frames[port.number])
        assert row["tx_bytes"] == int(counters.tx_bytes[port.number])
        assert sum(row["dropped"].values()) == int(counters.port_dropped[port.number].sum())
    assert Verdict.DELIVERED == 0


def test_the_place_of_a_host_is_taken_once(tmp_path: Path) -> None:
    place = Place(tmp_path, "h")
    with pytest.raises(UsageError, match="host h runs already"):
        Place(tmp_path, "h")
    place.close()
    Place(tmp_path, "h").close()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def two_hosts(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two namespaces, joined by a cable, each with an interface for whoever sits there."""
    if os.geteuid():
        pytest.skip("namespaces need root")
    if not (shutil.which("ping") or shutil.which("busybox")):
        pytest.skip("needs ping (Debian: iputils-ping, or busybox)")
    names = (f"vswa{os.getpid()}", f"vswb{os.getpid()}")
    try:
        ip("netns", "add", names[0])
        ip("netns", "add", names[1])
        ip("link", "add", "up0", "netns", names[0], "type", "veth", "peer", "name", "up0", "netns", names[1])
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        pytest.skip(f"no namespaces here: {error}")
    for name in names:
        ip("-n", name, "link", "set", "up0", "up")
    yield names
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


TWO_HOSTS = """
[hosts.HOST.nics]
up0 = { attach = { type = "packet", interface = "up0" } }
[hosts.HOST.switches.s]
team = { active = ["up0"] }
[hosts.HOST.switches.s.ports]
t1 = { mac = "02:00:00:00:0N:01", vlan = { mode = "access", vid = 10 }, attach = { type = "tap", name = "t1" } }
"""


@pytest.mark.e2e
def test_two_hosts_joined_by_a_cable(tmp_path: Path, two_hosts: tuple[str, str]) -> None:
    """Ping and TCP from one host's tap to the other's, in a VLAN that is tagged on the cable; then the cable is cut, and mended."""
    hosts = []
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(two_hosts, start=1):
            place = tmp_path / name
            place.mkdir()
            lab = TWO_HOSTS.replace("HOST", f"h{number}").replace("0N", f"0{number}")
            hosts.append(stack.enter_context(Process(place, lab, wrapper=("ip", "netns", "exec", name))).ready(f"h{number}"))
            ip("-n", name, "link", "set", "t1", "address", f"02:00:00:00:0{number}:01")
            ip("-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "t1")
        program = ["ping"] if shutil.which("ping") else ["busybox", "ping"]
        ping = ["ip", "netns", "exec", two_hosts[0], *program, "-c", "3", "-W", "10", "192.0.2.2"]
        done = subprocess.run(ping, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert re.search("3 (packets )?received", done.stdout), done.stdout + done.stderr
        # UDP and TCP, whose checksums the kernel leaves to a card, both ways
        here = [sys.executable, "-c", CLIENT, "192.0.2.2"]
        with subprocess.Popen(["ip", "netns", "exec", two_hosts[1], sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            client = subprocess.run(["ip", "netns", "exec", two_hosts[0], *here], capture_output=True, text=True, check=False, timeout=PATIENCE)
            assert client.stdout == "1000000\n", client.stderr
        uplink = {row["port"]: row for row in hosts[0].ask("show", what="port")}["up0"]
        assert uplink["rx_frames"] > 0
        assert uplink["tx_frames"] > 0
        ip("-n", two_hosts[1], "link", "set", "up0", "down")
        until(lambda: not {row["port"]: row for row in hosts[0].ask("show", what="port")}["up0"]["up"])
        assert hosts[0].ask("show", what="team")[0]["usable"] == []
        ip("-n", two_hosts[1], "link", "set", "up0", "up")
        until(lambda: hosts[0].ask("show", what="team")[0]["usable"] == ["up0"])
        until(lambda: hosts[1].ask("show", what="team")[0]["usable"] == ["up0"])
        done = subprocess.run(ping, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert " 0% packet loss" in done.stdout, done.stdout + done.stderr
        for host in hosts:
            assert host.end()[0] == 0


SERVER = """
import socket
one = socket.create_server(("192.0.2.2", 7000))
print("ready", flush=True)
client, _ = one.accept()
while data := client.recv(65536):
    client.sendall(data)
"""
CLIENT = """
import socket, sys, threading
one = socket.create_connection((sys.argv[1], 7000), 30)
def send():
    one.sendall(b"x" * 1_000_000)
    one.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
got = 0
while data := one.recv(65536):
    got += len(data)
print(got)
"""
