"""A backend that wraps a backend and fails on purpose.

Faults are data: which operation, which bytes, from which call on, how often, with which errno. Everything else passes through,
so that a test can prove that the command after a fault works again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .base import Blocks, Extent

Operation = Literal["read", "write", "flush", "discard", "write_zeroes", "extents", "resize"]


@dataclass(slots=True)
class Fault:
    """One fault: the ``times`` (``None``: all) calls of ``operation`` after the first ``skip`` that touch bytes ``start..stop``.

    ``partial`` bytes of a write or read are transferred before it fails, as a full disk does. ``delay`` seconds pass before anything
    else happens; with ``errno`` 0 the call then succeeds, so that a fault can also be a slow disk.
    """

    operation: Operation
    errno: int
    start: int = 0
    stop: int = 1 << 64
    skip: int = 0
    times: int | None = 1
    partial: int = 0
    delay: float = 0.0

    def strikes(self, operation: str, offset: int, length: int) -> bool:
        if operation != self.operation or offset >= self.stop or offset + max(length, 1) <= self.start or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultyBlocks(Blocks):
    """``inner`` with ``faults``, of which the first that strikes decides; closing it closes ``inner``."""

    format = "fault"

    def __init__(self, inner: Blocks, faults: Iterable[Fault] = ()) -> None:
        super().__init__(read_only=inner.read_only)
        self.inner = inner
        self.faults = list(faults)
        self.alignment = inner.alignment
        self.granularity = inner.granularity
        self.atomic = inner.atomic
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return self.inner.size

    def _fault(self, operation: Operation, offset: int = 0, length: int = 0) -> Fault | None:
        with self._lock:
            fault = next((fault for fault in self.faults if fault.strikes(operation, offset, length)), None)
        if fault is not None and fault.delay:
            time.sleep(fault.delay)
        return fault if fault is not None and fault.errno else None

    def _strike(self, operation: Operation, offset: int = 0, length: int = 0) -> None:
        if fault := self._fault(operation, offset, length):
            raise OSError(fault.errno, f"injected: {os.strerror(fault.errno)}")

    def _readinto(self, offset: int, view: memoryview) -> None:
        if fault := self._fault("read", offset, len(view)):
            self.inner.readinto(offset, view[: fault.partial])
            raise OSError(fault.errno, f"injected: {os.strerror(fault.errno)}")
        self.inner.readinto(offset, view)

    def _write(self, offset: int, view: memoryview, fua: bool) -> None:
        if fault := self._fault("write", offset, len(view)):
            self.inner.write(offset, view[: fault.partial])
            raise OSError(fault.errno, f"injected: {os.strerror(fault.errno)}")
        self.inner.write(offset, view, fua)

    def _flush(self) -> None:
        self._strike("flush")
        self.inner.flush()

    def _discard(self, offset: int, length: int) -> None:
        self._strike("discard", offset, length)
        self.inner.discard(offset, length)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self._strike("write_zeroes", offset, length)
        self.inner.write_zeroes(offset, length, unmap)

    def _write_zeroes_fast(self, offset: int, length: int, unmap: bool) -> None:
        self._strike("write_zeroes", offset, length)
        self.inner.write_zeroes(offset, length, unmap, fast=True)

    def _extents(self, offset: int, length: int) -> list[Extent]:
        self._strike("extents", offset, length)
        return self.inner.extents(offset, length)

    def _prefetch(self, offset: int, length: int) -> None:
        self.inner.prefetch(offset, length)

    def _resize(self, size: int) -> None:
        self._strike("resize")
        self.inner.resize(size)

    def _close(self) -> None:
        self.inner.close()
