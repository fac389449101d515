"""The thread that looks after the ports of modules: peers that come, connect again, or whose link changes."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence

from vsw.host.module import LiveModule

LOG = logging.getLogger("vsw.host")


class Service(threading.Thread):
    """Sleeps until a port of one of the modules wants something.

    ``failed`` is called once, with the module and the exception, if a worker ends that was not told to.
    """

    def __init__(self, modules: Sequence[LiveModule], failed: Callable[[LiveModule, BaseException], None]) -> None:
        super().__init__(name="vsw-service", daemon=True)
        self.modules = modules
        self.failed = failed
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ending = False

    def wake(self) -> None:
        """Look at the ports anew: there are others now."""
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._ending = True
        self.wake()
        if self.is_alive():
            self.join()
        os.close(self._wake)

    def run(self) -> None:
        told: set[str] = set()
        while not self._ending:
            poller = select.poll()
            poller.register(self._wake, select.POLLIN)
            watched: dict[int, tuple[LiveModule, int]] = {}
            due: float | None = None
            for module in self.modules:
                poller.register(module.loop.service_fd, select.POLLIN)
                for number, port in module.loop.attached().items():
                    if (fd := port.control_fd()) >= 0:
                        watched[fd] = (module, number)
                        poller.register(fd, select.POLLIN)
                    if port.retry_at is not None:
                        due = port.retry_at if due is None else min(due, port.retry_at)
            timeout = None if due is None else max(0.0, due - time.monotonic()) * 1000 + 1
            ready = {fd for fd, _ in poller.poll(timeout)}
            for fd in (self._wake, *(module.loop.service_fd for module in self.modules)):
                if fd in ready:
                    os.eventfd_read(fd)
            for module in self.modules:
                if module.loop.failure is not None and module.name not in told:
                    told.add(module.name)
                    self.failed(module, module.loop.failure)
                self._look(module, {number for fd, (owner, number) in watched.items() if fd in ready and owner is module})

    def _look(self, module: LiveModule, ready: set[int]) -> None:
        now = time.monotonic()
        for number, port in module.loop.attached().items():
            if number in ready or port.attention or (port.retry_at is not None and port.retry_at <= now):
                try:
                    module.service(number)
                except Exception:
                    # One port's trouble is not the others'.
                    LOG.exception("%s: looking after the port failed", port.name)
