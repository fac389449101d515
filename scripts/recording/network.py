"""The cables, and the two switches: the module under record and the rack's switch behind its uplinks.

The module is played by vsw's reference, with the example topology: so the hosts see what its rules let through.  The rack's
switch is a Linux bridge in a namespace of its own; it learns, floods to both uplinks (they are no bond to it), and speaks
spanning tree.  What is recorded is each frame where it enters the module, once, as it was there: untagged from an access
vNIC, tagged from a trunk guest and from the uplinks.

This kernel need not know VLANs.  Tags are put on and taken off here, in bytes, as the guest's VLAN device and the rack
switch's access ports would do: everything else in a frame is a host's own doing.
"""

from __future__ import annotations

import os
import selectors
import struct
import threading
import time
from collections.abc import Callable

from recording.hosts import Host
from vsw.config import Module
from vsw.reference.switch import ReferenceSwitch

TAG_AT = 12
TPID = 0x8100
#: Of a frame without its check sequence, on a physical wire.
LEAST_LENGTH = 60
LARGEST_FRAME = 65536


def tagged(frame: bytes, vid: int) -> bytes:
    """The frame with a tag in front; its priority is the class selector of the IP header, as switches that trust DSCP have it."""
    kind = int.from_bytes(frame[TAG_AT : TAG_AT + 2], "big")
    if kind == 0x0800:
        priority = frame[15] >> 5
    elif kind == 0x86DD:
        priority = (frame[14] & 0x0F) >> 1
    else:
        priority = 0
    return frame[:TAG_AT] + struct.pack(">HH", TPID, priority << 13 | vid) + frame[TAG_AT:]


def tag_of(frame: bytes) -> int | None:
    """The VID of the frame's tag, ``None`` if it has none."""
    tpid, tci = struct.unpack_from(">HH", frame, TAG_AT)
    return tci & 0x0FFF if tpid == TPID else None


def untagged(frame: bytes) -> bytes:
    """The frame without its tag."""
    return frame[:TAG_AT] + frame[TAG_AT + 4 :]


def padded(frame: bytes) -> bytes:
    """The frame as a physical card sends it."""
    return frame.ljust(LEAST_LENGTH, b"\0")


class Network(threading.Thread):
    """Everything between the hosts' cards."""

    def __init__(self, module: Module) -> None:
        super().__init__(name="network", daemon=True)
        self.module = module
        self.frames: list[tuple[int, int, bytes]] = []
        self.failure: BaseException | None = None
        self._switch = ReferenceSwitch(module, narrate=False)
        self._ends: dict[int, Callable[[bytes], None]] = {}
        self._ports: dict[int, Callable[[bytes], None]] = {}
        self._selector = selectors.DefaultSelector()
        self._ending = threading.Event()

    def _cable(self, file: int, end: Callable[[bytes], None]) -> None:
        self._ends[file] = end
        self._selector.register(file, selectors.EVENT_READ)

    def _offer(self, port: int, frame: bytes) -> None:
        now = time.time_ns()
        self.frames.append((port, now, frame))
        for copy in self._switch.forward(frame, len(frame), now, port).copies:
            self._ports[copy.port](copy.data)

    def vnic(self, port: str, host: Host, card: str) -> None:
        """Plug a card into an access port of the module."""
        number, file = self.module.port(port).number, host.cards[card]
        self._cable(file, lambda frame: self._offer(number, frame))
        self._ports[number] = lambda frame: send(file, frame)

    def trunk(self, port: str, host: Host, cards: dict[str, int]) -> None:
        """Plug a guest into a trunk port; each of its cards is one of its VLAN devices."""
        number, files = self.module.port(port).number, {vid: host.cards[card] for card, vid in cards.items()}

        def receive(frame: bytes) -> None:
            vid = tag_of(frame)
            if vid in files:
                send(files[vid], untagged(frame))

        for vid, file in files.items():
            self._cable(file, lambda frame, vid=vid: self._offer(number, tagged(frame, vid)))
        self._ports[number] = receive

    def uplink(self, port: str, rack: Host, card: str) -> None:
        """Join a port of the module to a port of the rack's switch."""
        number, file = self.module.port(port).number, rack.cards[card]
        self._cable(file, lambda frame: self._offer(number, padded(frame)))
        self._ports[number] = lambda frame: send(file, frame)

    def outside(self, host: Host, card: str, rack: Host, socket: str, vid: int) -> None:
        """Plug a physical host into an access port of the rack's switch."""
        near, far = host.cards[card], rack.cards[socket]

        def to_host(frame: bytes) -> None:
            if tag_of(frame) == vid:
                send(near, untagged(frame))

        self._cable(near, lambda frame: send(far, tagged(padded(frame), vid)))
        self._cable(far, to_host)

    def run(self) -> None:
        """Carry frames until :meth:`stop`."""
        try:
            while not self._ending.is_set():
                for key, _ in self._selector.select(0.1):
                    self._carry(key.fd)
        except BaseException as failure:
            self.failure = failure

    def _carry(self, file: int) -> None:
        # A few at a time, so that no host waits for another's burst.
        for _ in range(16):
            try:
                frame = os.read(file, LARGEST_FRAME)
            except BlockingIOError:
                return
            except OSError:
                # The card is down: its host is not yet, or no longer, running.
                return
            self._ends[file](frame)

    def stop(self) -> None:
        """Cut the cables; raises what went wrong on the way."""
        self._ending.set()
        self.join()
        if self.failure is not None:
            raise self.failure


def send(file: int, frame: bytes) -> None:
    """Give a frame to a card.  One that is down, or whose queue is full, loses it, as cards do."""
    try:
        os.write(file, frame)
    except OSError:
        return
