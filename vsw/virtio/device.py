"""What a vhost-user front end finds at the other end: a device with rings, features and a configuration space.

A device is made once and outlives its front ends: QEMU may come, go, die and come again. Subclasses say what they offer and override the hooks, which
are called from the server's thread, one at a time.
"""

from __future__ import annotations

import logging
import os

from .messages import Feature, ProtocolFeature
from .ring import Kicks, Ring

log = logging.getLogger("vsw.virtio")

# Plain numbers: the complement of a flag has only bits that have names.
BASE_FEATURES = int(Feature.INDIRECT_DESC | Feature.EVENT_IDX | Feature.PROTOCOL_FEATURES | Feature.VERSION_1)
BASE_PROTOCOL = int(ProtocolFeature.MQ | ProtocolFeature.REPLY_ACK | ProtocolFeature.CONFIGURE_MEM_SLOTS)


class Device:
    """``rings`` virtqueues under a ``name`` that the log shows.

    ``features`` are the virtio feature bits that are offered, ``protocol`` the vhost-user ones, ``queues`` what GET_QUEUE_NUM answers (pairs, for a
    network card). ``kicks`` wakes the thread that serves the rings; with ``apart`` each ring has a thread and kicks of its own (``ring_kicks``).
    Safe to read from other threads.
    """

    features: int = BASE_FEATURES
    protocol: int = BASE_PROTOCOL

    def __init__(self, name: str, rings: int, queues: int | None = None, *, apart: bool = False) -> None:
        self.name = name
        self.attention = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Written to by a ring that fails."""
        self.rings = [Ring(self.attention) for _ in range(rings)]
        self.queues = rings if queues is None else queues
        self.kicks = Kicks()
        self.ring_kicks = [Kicks() if apart else self.kicks for _ in self.rings]
        self.negotiated = 0
        """Features of the front end that is there; 0 without one."""

    def configuration(self) -> bytes:
        """The device's configuration space (VIRTIO 1.2, section 5)."""
        return b""

    def write_configuration(self, offset: int, data: bytes) -> bool:  # noqa: ARG002
        """The guest writes into the configuration space; false if nothing there may be written."""
        return False

    def close(self) -> None:
        """Let go of the descriptors; after the last front end has gone and the threads that serve the rings have ended."""
        if self.attention >= 0:
            os.close(self.attention)
            self.attention = -1
        for kicks in (self.kicks, *self.ring_kicks):
            kicks.close()

    # Hooks.

    def attached(self) -> None:
        """A front end has come."""
        log.info("%s: a front end has come", self.name)

    def agreed(self, features: int) -> None:
        """The front end has chosen these features (0: it has gone). No ring runs meanwhile."""

    def changed(self) -> None:
        """Features or running rings have changed; called after each message that did so. Rings may be served already."""

    def detached(self, reason: str) -> None:
        """The front end has gone, or was sent away; ``reason`` is empty if it left in good order. No ring runs any more."""
        if reason:
            log.warning("%s: the front end was sent away: %s", self.name, reason)
        else:
            log.info("%s: the front end has gone", self.name)
