"""What ports at a network interface of this machine share: they follow its link, wait for it where it has gone, and take it again when it is back.

A type says how the interface is taken (``_attach``: descriptors are set then, or OSError is raised and all is as before), let go (``_detach``: twice
does nothing), and how it shows that it has gone (``_gone``: why, or None).

Thread-safety: that of a port.
"""

import time

from vsw.ports.base cimport Port

from vsw.ports import netdev

#: Seconds until an interface that has gone is looked for again.
RETRY = 1.0


cdef class DevicePort(Port):
    """A port at a network interface."""

    cdef _open(self, str device):
        """Take the interface; OSError says why it can't be had."""
        self._device = device
        self._watch = netdev.LinkWatch()
        try:
            self._take()
        except BaseException:
            self._watch.close()
            raise

    cdef _take(self):
        """Attach; then hear of this interface alone, and see what its link is since."""
        self._attach()
        try:
            self._watch.follow(self._device)
        except OSError:
            self._detach()
            raise
        self.live.link = netdev.has_link(self._device)

    # The three that each type has of its own: C methods can't be abstract, so the base's say that a type forgot one.
    cdef _attach(self):
        raise NotImplementedError

    cdef _detach(self):
        raise NotImplementedError

    cdef str _gone(self):
        raise NotImplementedError

    cpdef int control_fd(self):
        return self._watch.fileno() if self._watch is not None else -1

    cpdef service(self):
        """Follow the interface's state; wait for it if it has gone."""
        self._watch.drain()
        self.live.attention = 0
        self.retry_at = None
        gone = self._gone()
        if gone is not None:
            self.log(f"{self._device} has gone{gone}")
            self._detach()
            self._watch.follow(None)
        if self.live.rx_fd >= 0:
            self.live.link = netdev.has_link(self._device)
            return
        try:
            self._take()
            self._why = None
        except OSError as error:
            self.retry_at = time.monotonic() + RETRY
            if error.strerror != self._why:
                self._why = error.strerror
                self.log(f"{self._device} can't be had again yet: {error.strerror}")

    cpdef _close(self):
        self._detach()
        self._watch.close()
        self._watch = None
