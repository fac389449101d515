"""One rig a port type: the port under test, and somebody on its other side, without the code of the port.

A new type of port adds a class here and is held to all of ``test_ports.py``.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.virtio.nic import Nic
from vsw.ports import Port
from vsw.ports.capture_port import CapturePort
from vsw.ports.dgram import DgramPort
from vsw.ports.fault import FaultPort
from vsw.ports.memory import memory_pair
from vsw.ports.packet import PacketPort
from vsw.ports.stream import StreamPort
from vsw.ports.tap import TapPort
from vsw.ports.trace import TracePort
from vsw.ports.vhost_user import VhostUserPort

#: Seconds after which something that should have come is missed.


class Rig(ABC):
    """What a test needs to know about a type of port, and its other side."""

    #: Shortest and longest frame that the other side can send, and the longest that it can receive.
    shortest_sent, longest_sent, longest_received = 1, 65_557, 65_557
    #: Whether the kernel takes every frame that it is given, and may lose it behind that, where the port does not see it.
    lossy = False
    #: Whether the other side can go and come back.
    returns = True
    port: Port

    def __init__(self, place: Path) -> None:
        self.place = place

    @abstractmethod
    def send(self, frames: list[bytes]) -> None:
        """The other side sends frames; it may wait for room, and then something must read the port meanwhile."""

    @abstractmethod
    def receive(self) -> list[bytes]:
        """What has arrived at the other side and was not yet taken; does not wait."""

    @abstractmethod
    def leave(self) -> None:
        """The other side goes away without a word."""

    @abstractmethod
    def come_back(self) -> None:
        """It is there again; the port may need service to see it."""

    def close(self) -> None:
        self.port.close()

    # ---- made of these ----

    def read(self, count: int) -> list[bytes]:
        """``count`` frames from the port, waiting for each notification that they take."""
        frames: list[bytes] = []
        end = time.monotonic() + PATIENCE
        while len(frames) < count:
            more = self.port.read()
            frames += more
            if not more:
                assert time.monotonic() < end, f"{len(frames)} frames of {count} came"
                self.port.wait(PATIENCE)
        return frames

    def arrived(self, count: int) -> list[bytes]:
        """``count`` frames at the other side."""
        frames: list[bytes] = []
        end = time.monotonic() + PATIENCE
        while len(frames) < count:
            frames += self.receive()
            if self.port.blocked:
                self.port.write([])
            assert time.monotonic() < end, f"{len(frames)} frames of {count} arrived"
        return frames

    def serve_until_linked(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.port.link:
            assert time.monotonic() < end, "the port does not see its peer"
            self.port.wait(0.01)
            self.port.service()

    def work_until_lost(self) -> int:
        """Read and write as a loop does until the port has seen that its other side is gone; returns how many frames were written."""
        written = 0
        end = time.monotonic() + PATIENCE
        while self.port.link:
            assert time.monotonic() < end, "the port still sees its peer"
            self.port.read()
            self.port.write([bytes(60)])
            written += 1
            if self.port.link and self.port.wait(0.01):
                self.port.service()
        return written


class MemoryRig(Rig):
    """The other end is a port too; what it does is looked at by the same tests."""

    shortest_sent = 14
    returns = False

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port, self.other = memory_pair("port", "peer", room=1 << 18)

    def send(self, frames: list[bytes]) -> None:
        self.other.write(frames)

    def receive(self) -> list[bytes]:
        return self.other.read()

    def leave(self) -> None:
        self.other.close()

    def come_back(self) -> None:
        pytest.fail("an end in memory that was closed stays so")

    def close(self) -> None:
        super().close()
        self.other.close()


class DgramRig(Rig):
    """As QEMU does it: a socket bound where the port sends to, and frames sent to the port's path."""

    shortest_sent = 0

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.come_back()
        self.port = DgramPort("port", path=f"{place}/v.sock", peer=f"{place}/q.sock")

    def come_back(self) -> None:
        self.guest = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.guest.bind(f"{self.place}/q.sock")

    def send(self, frames: list[bytes]) -> None:
        self.guest.settimeout(PATIENCE)
        for data in frames:
            self.guest.sendto(data, f"{self.place}/v.sock")

    def receive(self) -> list[bytes]:
        self.guest.setblocking(False)
        frames = []
        while True:
            try:
                frames.append(self.guest.recv(1 << 17))
            except BlockingIOError:
                return frames

    def leave(self) -> None:
        self.guest.close()
        Path(f"{self.place}/q.sock").unlink()

    def close(self) -> None:
        super().close()
        self.guest.close()
        assert not Path(f"{self.place}/v.sock").exists()


class StreamRig(Rig):
    """The port is the server, the guest the client."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = self.make()
        self.come_back()
        self.serve_until_linked()

    def make(self) -> Port:
        return StreamPort("port", path=f"{self.place}/v.sock", role="server")

    def come_back(self) -> None:
        self.guest = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.guest.connect(f"{self.place}/v.sock")
        self.start()

    def start(self) -> None:
        self.buffer = b""

    def send(self, frames: list[bytes]) -> None:
        self.guest.settimeout(PATIENCE)
        self.guest.sendall(b"".join(struct.pack("!I", len(data)) + data for data in frames))

    def receive(self) -> list[bytes]:
        self.guest.setblocking(False)
        try:
            while more := self.guest.recv(1 << 16):
                self.buffer += more
        except BlockingIOError:
            pass
        frames = []
        while len(self.buffer) >= 4 and len(self.buffer) >= 4 + (length := struct.unpack("!I", self.buffer[:4])[0]):
            frames.append(self.buffer[4 : 4 + length])
            self.buffer = self.buffer[4 + length :]
        return frames

    def leave(self) -> None:
        self.guest.close()

    def close(self) -> None:
        super().close()
        self.guest.close()


class StreamClientRig(StreamRig):
    """The port is the client, the guest the server."""

    listener: socket.socket | None = None

    def make(self) -> Port:
        return StreamPort("port", path=f"{self.place}/q.sock", role="client")

    def come_back(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(f"{self.place}/q.sock")
        self.listener.listen(1)
        self.serve_until_linked()
        self.guest, _ = self.listener.accept()
        self.start()

    def leave(self) -> None:
        super().leave()
        self.hide()

    def hide(self) -> None:
        if self.listener is not None:
            self.listener.close()
            Path(f"{self.place}/q.sock").unlink()
            self.listener = None

    def close(self) -> None:
        super().close()
        self.hide()


class VhostUserRig(Rig):
    """A front end and a driver of our own, in Python."""

    shortest_sent = 14

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = VhostUserPort("port", place / "v.sock")
        self.come_back()

    def send(self, frames: list[bytes]) -> None:
        self.nic.send(frames)

    def receive(self) -> list[bytes]:
        return self.nic.receive()

    def leave(self) -> None:
        self.nic.close()
        end = time.monotonic() + PATIENCE
        while self.port.link:
            assert time.monotonic() < end, "the port does not see that its peer has gone"

    def come_back(self) -> None:
        self.nic = Nic(self.place / "v.sock")

    def close(self) -> None:
        super().close()
        self.nic.close()


class _Raw:
    """A packet socket on an interface that the kernel sees: the plainest there is."""

    def __init__(self, interface: str) -> None:
        self.one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.one.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        self.one.setsockopt(263, 8, 1)  # PACKET_AUXDATA
        self.one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self.one.bind((interface, 3))

    def receive(self) -> bytes:
        """A frame with the tag that the kernel took off put back."""
        data, beside, _, _ = self.one.recvmsg(1 << 17, 256)
        for level, kind, value in beside:
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", value[:20])
            if (level, kind) == (263, 8) and status & 0x10:
                data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        return data


def ip(*words: str) -> None:
    """Run ip(8); a machine without it is one that can't have what it makes."""
    if shutil.which("ip") is None:
        raise PermissionError("apt-get install iproute2")
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class WireRig(Rig):
    """The kernel's side of a tap or of a cable: frames of the tests' own type, whatever else the kernel sends is not theirs."""

    shortest_sent, longest_sent, longest_received = 60, 9014, 9014
    lossy = True

    def _wire(self, port: str, other: str) -> None:
        for interface in {port, other}:
            Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1")
            ip("link", "set", interface, "mtu", "9000", "up")
        self.raw = _Raw(other)
        self.other = other

    def send(self, frames: list[bytes]) -> None:
        for data in frames:
            self.raw.one.settimeout(PATIENCE)
            self.raw.one.send(data)

    def receive(self) -> list[bytes]:
        self.raw.one.setblocking(False)
        frames = []
        while True:
            try:
                frames.append(self.raw.receive())
            except (BlockingIOError, OSError):
                return frames

    def leave(self) -> None:
        self.raw.one.close()
        ip("link", "set", self.other, "down")

    def come_back(self) -> None:
        ip("link", "set", self.other, "up")
        self.raw = _Raw(self.other)


class TapRig(WireRig):
    """The host's side of a tap device."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        name = f"vswt{os.getpid() % 100000}"
        ip("tuntap", "add", "dev", name, "mode", "tap")
        self._wire(name, name)
        self.port = TapPort("port", device=name)
        self.serve_until_linked()
        self.port.service()

    def close(self) -> None:
        super().close()
        self.raw.one.close()
        ip("link", "del", self.other)


class PacketRig(WireRig):
    """The other end of a cable (veth)."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        name = f"vswp{os.getpid() % 100000}"
        ip("link", "add", name, "type", "veth", "peer", "name", f"{name}b")
        self.name = name
        self._wire(name, f"{name}b")
        self.port = PacketPort("port", interface=name)
        self.serve_until_linked()
        self.port.service()

    def close(self) -> None:
        super().close()
        self.raw.one.close()
        ip("link", "del", self.name)


class FaultRig(MemoryRig):
    """A fault injector without a fault."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = FaultPort(self.port)


class TraceRig(MemoryRig):
    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = TracePort(self.port)


class CaptureRig(DgramRig):
    """Another port than in memory inside, which has descriptors and service."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = CapturePort(self.port, place / "capture.pcapng")


RIGS: dict[str, type[Rig]] = {
    "memory": MemoryRig,
    "dgram": DgramRig,
    "stream": StreamRig,
    "stream-client": StreamClientRig,
    "tap": TapRig,
    "packet": PacketRig,
    "fault": FaultRig,
    "trace": TraceRig,
    "capture": CaptureRig,
    "vhost-user": VhostUserRig,
}


def make(word: str, place: Path) -> Rig:
    """A rig; the test is skipped where this machine or this user can't have one."""
    try:
        return RIGS[word](place)
    except PermissionError as error:
        pytest.skip(f"{word}: {error}")
