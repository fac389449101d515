"""Tap devices: the host itself takes part, or whatever it bridges and routes to."""

import errno
import fcntl
import os
import struct
import time

from libc.stdint cimport uint32_t

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport Port, vsw_live, vsw_out, vsw_slots

from vsw.ports import netdev

cdef extern from "vsw/ports/tap.h" nogil:
    enum:
        VSW_SHORTEST
    ctypedef struct vsw_tap:
        vsw_live live
        int error
    uint32_t vsw_tap_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    void vsw_tap_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count)

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
#: Seconds until a device that has gone is made again.
RETRY = 1.0


cdef class TapPort(Port):
    """The tap ``device``: it is made, and set up, if it is not there, and goes with the port then.

    PermissionError says what right is missing, and how a device can be made for somebody who has not got it.
    """

    type = "tap"
    cdef readonly str device
    cdef object watch

    def __cinit__(self, *arguments, **options):
        cdef vsw_live *live = self._own(sizeof(vsw_tap))
        live.receive = vsw_tap_receive
        live.transmit = vsw_tap_transmit
        live.shortest = VSW_SHORTEST

    def __init__(self, str name, *, str device):
        super().__init__(name)
        self.device = device
        self.watch = netdev.LinkWatch()
        try:
            self._attach()
        except BaseException:
            self.watch.close()
            raise

    cdef _attach(self):
        new = not netdev.exists(self.device)
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", self.device.encode(), IFF_TAP | IFF_NO_PI))
            fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
            if new:
                netdev.bring_up(self.device)
        except OSError as error:
            os.close(fd)
            raise self._explained(error) from None
        self.live.rx_fd = self.live.tx_fd = fd
        self.live.link = netdev.has_link(self.device)

    def _explained(self, error):
        if error.errno == errno.EPERM:
            text = f"making it takes CAP_NET_ADMIN: run as root, or make it once with: ip tuntap add dev {self.device} mode tap user $USER"
            return PermissionError(error.errno, text, self.device)
        if error.errno == errno.EBUSY:
            return OSError(error.errno, "another process has this tap device", self.device)
        if error.errno == errno.EINVAL:
            return OSError(error.errno, "there is an interface of this name, and it is no tap device", self.device)
        return OSError(error.errno, error.strerror, self.device)

    cpdef int control_fd(self):
        return self.watch.fileno() if self.watch is not None else -1

    cpdef service(self):
        """Follow the device's state; make it again if it has gone."""
        cdef vsw_tap *t = <vsw_tap *>self.live
        self.watch.drain()
        self.live.attention = 0
        self.retry_at = None
        if t.error:
            self.log(f"{self.device} has gone: {os.strerror(t.error)}")
            t.error = 0
            self._detach()
        if self.live.rx_fd < 0:
            try:
                self._attach()
            except OSError as error:
                self.log(f"{self.device} can't be made again: {error.strerror}")
                self.retry_at = time.monotonic() + RETRY
            return
        self.live.link = netdev.has_link(self.device)

    cdef _detach(self):
        if self.live.rx_fd >= 0:
            os.close(self.live.rx_fd)
            self.live.rx_fd = self.live.tx_fd = -1

    cpdef _close(self):
        self._detach()
        self.watch.close()
        self.watch = None

    def describe(self):
        return f"tap {self.device}"
