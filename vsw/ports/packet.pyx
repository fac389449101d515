"""Packet sockets: a network card of this host as an uplink of the switch."""

import errno
import os
import socket
import struct

from libc.stdint cimport uint8_t, uint32_t

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport VSW_DROP_RX_LOST, vsw_live, vsw_out, vsw_slots
from vsw.ports.device cimport DevicePort

from vsw.ports import netdev

cdef extern from "vsw/ports/packet.h" nogil:
    enum:
        VSW_SHORTEST
        VSW_PACKET_BLOCKS
        VSW_PACKET_ROOM
    size_t VSW_PACKET_BLOCK
    ctypedef struct vsw_packet:
        vsw_live live
        uint8_t *map
        uint32_t block
        uint32_t left
        uint32_t done
        int error
    uint32_t vsw_packet_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots)
    void vsw_packet_release(vsw_live *self)
    void vsw_packet_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count)
    uint32_t vsw_packet_arm(vsw_live *self)
    uint8_t *vsw_packet_map(int fd)
    void vsw_packet_unmap(uint8_t *map)

SOL_PACKET = 263
ADD_MEMBERSHIP, RX_RING, STATISTICS, VERSION, RESERVE, VNET_HDR, IGNORE_OUTGOING = 1, 5, 6, 10, 12, 15, 23
TPACKET_V3, PROMISCUOUS, ETH_P_ALL = 2, 1, 0x0003
#: Least length of a ring's frame, which says how many there may be; with blocks it is only the kernel's arithmetic.
FRAME = 2048
#: Milliseconds after which the kernel hands over a block that is not full.
TIMEOUT = 1
BUFFER = 4 << 20


cdef class PacketPort(DevicePort):
    """The network interface ``interface``, promiscuous as long as the port is open.

    Link is on as long as the interface is up and has a carrier.  PermissionError if the right (CAP_NET_RAW) is missing, OSError if there is no such
    interface.
    """

    type = "packet"
    cdef object receiver
    cdef object sender

    def __cinit__(self, *arguments, **options):
        cdef vsw_live *live = self._own(sizeof(vsw_packet))
        live.receive = vsw_packet_receive
        live.release = vsw_packet_release
        live.transmit = vsw_packet_transmit
        live.arm = vsw_packet_arm
        live.shortest = VSW_SHORTEST

    def __init__(self, str name, *, str interface):
        super().__init__(name)
        self._open(interface)

    @property
    def interface(self):
        """The network interface's name."""
        return self._device

    def __dealloc__(self):
        if (<vsw_packet *>self.live).map != NULL:
            vsw_packet_unmap((<vsw_packet *>self.live).map)

    cdef _attach(self):
        cdef vsw_packet *p = <vsw_packet *>self.live
        try:
            index = socket.if_nametoindex(self._device)
        except OSError:
            raise OSError(errno.ENODEV, "there is no such network interface", self._device) from None
        try:
            netdev.do_not_join(self._device)
            self.receiver = self._receiver(index)
            self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
            self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            self.sender.bind((self._device, 0))
        except OSError as error:
            self._detach()
            if error.errno == errno.EPERM:
                text = "a packet socket takes CAP_NET_RAW: run as root, or give the right with setcap or systemd's AmbientCapabilities"
                raise PermissionError(error.errno, text, self._device) from None
            raise OSError(error.errno, error.strerror, self._device) from None
        p.block = p.left = p.done = 0
        p.error = 0
        self.live.rx_fd = self.receiver.fileno()
        self.live.tx_fd = self.sender.fileno()

    def _receiver(self, index):
        cdef vsw_packet *p = <vsw_packet *>self.live
        # No protocol until all is set: nothing comes in before.
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            for option, value in ((VERSION, TPACKET_V3), (VNET_HDR, 1), (RESERVE, VSW_PACKET_ROOM), (IGNORE_OUTGOING, 1)):
                one.setsockopt(SOL_PACKET, option, value)
            block, blocks = VSW_PACKET_BLOCK, VSW_PACKET_BLOCKS
            one.setsockopt(SOL_PACKET, RX_RING, struct.pack("7I", block, blocks, FRAME, block // FRAME * blocks, TIMEOUT, 0, 0))
            p.map = vsw_packet_map(one.fileno())
            if p.map == NULL:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            one.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, struct.pack("iHH8s", index, PROMISCUOUS, 0, b""))
            one.bind((self._device, ETH_P_ALL))
        except OSError:
            one.close()
            raise
        return one

    cdef _detach(self):
        # A ring stays mapped as long as workers may look at it: they do not now.
        cdef vsw_packet *p = <vsw_packet *>self.live
        self._lost()
        self.live.rx_fd = self.live.tx_fd = -1
        self.live.link = 0
        p.left = p.done = 0
        if p.map != NULL:
            vsw_packet_unmap(p.map)
            p.map = NULL
        # Counters may be asked for from other threads, and closing takes a while.
        ends = self.receiver, self.sender
        self.receiver = self.sender = None
        for one in ends:
            if one is not None:
                one.close()

    cdef str _gone(self):
        if self.receiver is not None and not netdev.exists(self._device):
            return ""
        (<vsw_packet *>self.live).error = 0
        return None

    def _lost(self):
        """Ask the kernel how many frames its ring had no room for since it was asked last."""
        if self.receiver is not None:
            _, dropped, _ = struct.unpack("3I", self.receiver.getsockopt(SOL_PACKET, STATISTICS, 12))
            self.live.counters.drops[VSW_DROP_RX_LOST] += dropped

    def counters(self):
        self._lost()
        return super().counters()

    def describe(self):
        return f"network interface {self._device}"
