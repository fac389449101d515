"""One rig a port type: the port under test, and somebody on its other side, without the code of the port.

A new type of port adds a class here and is held to all of ``test_ports.py``.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.virtio.nic import Nic
from vsw.ports import Port
from vsw.ports.memory import memory_pair
from vsw.ports.vhost_user import VhostUserPort

#: Seconds after which something that should have come is missed.
PATIENCE = 20.0


class Rig:
    """What a test needs to know about a type of port, and its other side."""

    #: Shortest and longest frame that the other side can send, and the longest that it can receive.
    shortest_sent, longest_sent, longest_received = 1, 65_557, 65_557
    #: Whether the other side can go and come back.
    returns = True
    port: Port

    def __init__(self, place: Path) -> None:
        self.place = place

    def send(self, frames: list[bytes]) -> None:
        """The other side sends frames; it may wait for room, and then something must read the port meanwhile (see :meth:`relieve`)."""
        raise NotImplementedError

    def receive(self) -> list[bytes]:
        """What has arrived at the other side and was not yet taken; does not wait."""
        raise NotImplementedError

    def leave(self) -> None:
        """The other side goes away without a word."""
        raise NotImplementedError

    def come_back(self) -> None:
        """It is there again; the port may need service to see it."""
        raise NotImplementedError

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
            self.port.read()
            self.port.service()


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

    def close(self) -> None:
        super().close()
        self.other.close()


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


RIGS: dict[str, type[Rig]] = {
    "memory": MemoryRig,
    "vhost-user": VhostUserRig,
}


def make(word: str, place: Path) -> Rig:
    """A rig; the test is skipped where this machine or this user can't have one."""
    try:
        return RIGS[word](place)
    except PermissionError as error:
        pytest.skip(f"{word}: {error}")
