"""A device for tests of the rings: it answers each chain with the bytes that it read, turned round."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from vsw.virtio.device import BASE_PROTOCOL, Device
from vsw.virtio.messages import ProtocolFeature
from vsw.virtio.server import VhostUserServer

SPACE = bytes(range(32))


class Echo(Device):
    """Rings served by a thread of their own; everything that was read is in ``seen``, what was said of front ends in ``reasons``."""

    protocol = BASE_PROTOCOL | int(ProtocolFeature.CONFIG)

    def __init__(self, path: Path, rings: int = 2) -> None:
        super().__init__("echo", rings)
        self.seen: list[bytes] = []
        self.reasons: list[str] = []
        self.gone = threading.Event()
        self.space = bytearray(SPACE)
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.server = VhostUserServer(path, self)

    def configuration(self) -> bytes:
        return bytes(self.space)

    def write_configuration(self, offset: int, data: bytes) -> bool:
        if offset + len(data) > len(self.space):
            return False
        self.space[offset : offset + len(data)] = data
        return True

    def detached(self, reason: str) -> None:
        self.reasons.append(reason)
        self.gone.set()
        super().detached(reason)

    def _answer(self, data: bytes, room: int) -> bytes:
        self.seen.append(data)
        return data[::-1][:room]

    def _run(self) -> None:
        while not self._ending:
            while sum([ring.serve(self._answer) for ring in self.rings]) or not all(ring.sleep() for ring in self.rings):
                pass
            self.kicks.pause(-1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()
        self._ending = True
        self.kicks.wake()
        self._thread.join()
        self.close()
