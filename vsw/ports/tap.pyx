"""Tap devices: the host itself takes part, or whatever it bridges and routes to."""

import errno
import fcntl
import os
import struct

from libc.stdint cimport uint32_t

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport vsw_live, vsw_out, vsw_slots
from vsw.ports.device cimport DevicePort

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


cdef class TapPort(DevicePort):
    """The tap ``device``: it is made, and set up, if it is not there, and goes with the port then.

    PermissionError says what right is missing, and how a device can be made for somebody who has not got it.
    """

    type = "tap"

    def __cinit__(self, *arguments, **options):
        cdef vsw_live *live = self._own(sizeof(vsw_tap))
        live.receive = vsw_tap_receive
        live.transmit = vsw_tap_transmit
        live.shortest = VSW_SHORTEST

    def __init__(self, str name, *, str device):
        super().__init__(name)
        self._open(device)

    @property
    def device(self):
        """The tap's name."""
        return self._device

    cdef _attach(self):
        new = not netdev.exists(self._device)
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", self._device.encode(), IFF_TAP | IFF_NO_PI))
            fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
            if new:
                netdev.bring_up(self._device)
        except OSError as error:
            os.close(fd)
            raise self._explained(error) from None
        self.live.rx_fd = self.live.tx_fd = fd

    def _explained(self, error):
        if error.errno == errno.EPERM:
            text = f"making it takes CAP_NET_ADMIN: run as root, or make it once with: ip tuntap add dev {self._device} mode tap user $USER"
            return PermissionError(error.errno, text, self._device)
        if error.errno == errno.EBUSY:
            return OSError(error.errno, "another process has this tap device", self._device)
        if error.errno == errno.EINVAL:
            return OSError(error.errno, "there is an interface of this name, and it is no tap device", self._device)
        return OSError(error.errno, error.strerror, self._device)

    cdef str _gone(self):
        cdef vsw_tap *t = <vsw_tap *>self.live
        error, t.error = t.error, 0
        return f": {os.strerror(error)}" if error else None

    cdef _detach(self):
        if self.live.rx_fd >= 0:
            os.close(self.live.rx_fd)
            self.live.rx_fd = self.live.tx_fd = -1

    def describe(self):
        return f"tap {self._device}"
