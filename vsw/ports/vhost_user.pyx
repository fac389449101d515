"""vhost-user ports: the fast way to a guest's virtio network card, through memory that the guest shares.

QEMU connects to our unix socket and hands over the guest's memory and rings (``vsw/virtio``); bursts then go between the rings and the run loop
without a system call (``vhost_user.h``). QEMU's line, which finds us again after we were restarted::

    -object memory-backend-memfd,id=mem,size=256M,share=on -machine memory-backend=mem
    -chardev socket,id=c0,path=SOCKET,reconnect=1 -netdev vhost-user,id=n0,chardev=c0 -device virtio-net-pci,netdev=n0

The protocol is spoken by a thread of the port's own, which meets workers at the rings' gates: a guest that comes, goes or misbehaves stops no loop.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from vsw.datapath.source cimport vsw_burst
from vsw.ports.base cimport Port, vsw_live, vsw_out, vsw_slots
from vsw.virtio.ring cimport Kicks, Ring, vsw_chain, vsw_ring

from vsw.errors import UsageError
from vsw.virtio.device import BASE_FEATURES, BASE_PROTOCOL, Device
from vsw.virtio.messages import Feature
from vsw.virtio.server import VhostUserServer

cdef extern from "vsw/ports/vhost_user.h" nogil:
    enum:
        VSW_NET_PAIRS
        VSW_NET_HEADER
        VSW_NET_HEADER_OLD
        VSW_NET_ARENA
        VSW_SLACK
        VSW_GSO_TCPV4
        VSW_GSO_TCPV6
    ctypedef struct vsw_gso:
        pass
    ctypedef struct vsw_vhost:
        vsw_live live
        vsw_ring **ring
        uint32_t pairs
        uint32_t header
        uint32_t mergeable
        uint32_t csum
        uint32_t tso
        uint32_t joins
        uint8_t *arena
        vsw_gso *gso
        vsw_chain *from_guest
        vsw_chain *to_guest
    uint32_t vsw_vhost_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) noexcept
    void vsw_vhost_release(vsw_live *self) noexcept
    void vsw_vhost_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) noexcept
    uint32_t vsw_vhost_arm(vsw_live *self) noexcept
    void vsw_vhost_disarm(vsw_live *self) noexcept

# Features of a network card (VIRTIO 1.2, 5.1.3).
CSUM = 1 << 0
GUEST_CSUM = 1 << 1
GUEST_TSO4 = 1 << 7
GUEST_TSO6 = 1 << 8
HOST_TSO4 = 1 << 11
HOST_TSO6 = 1 << 12
HOST_ECN = 1 << 13
GUEST_ANNOUNCE = 1 << 21
MRG_RXBUF = 1 << 15
MQ = 1 << 22
CTRL_VQ = 1 << 17
MOST_QUEUES = VSW_NET_PAIRS
"""Queue pairs of one port."""


class Card(Device):
    """The device that the guest's driver finds: what it offers, and the port that is told of its changes."""

    features = (
        BASE_FEATURES | CSUM | HOST_TSO4 | HOST_TSO6 | HOST_ECN | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | MRG_RXBUF | MQ | CTRL_VQ | GUEST_ANNOUNCE
    )
    protocol = BASE_PROTOCOL

    def __init__(self, port, queues):
        super().__init__(port.name, 2 * queues, queues)
        self.port = port

    def agreed(self, features):
        self.port._agreed(features)

    def changed(self):
        self.port._changed(any(ring.running for ring in self.rings))

    def detached(self, reason):
        super().detached(reason)
        self.port._detached()


cdef class VhostUserPort(Port):
    """A port at the unix socket ``path``, where QEMU connects; ``queues`` pairs of rings at most, ``mode`` the socket's permissions.

    ``link`` is on as long as the guest's driver has rings that run.
    """

    type = "vhost-user"
    cdef object device
    cdef object server
    cdef readonly object path

    def __cinit__(self, *arguments, **options):
        cdef vsw_live *live = self._own(sizeof(vsw_vhost))
        live.receive = vsw_vhost_receive
        live.release = vsw_vhost_release
        live.transmit = vsw_vhost_transmit
        live.arm = vsw_vhost_arm
        live.disarm = vsw_vhost_disarm

    def __init__(self, str name, path, *, uint32_t queues=1, uint32_t mode=0o600):
        cdef vsw_vhost *v = <vsw_vhost *>self.live
        super().__init__(name)
        if not 1 <= queues <= VSW_NET_PAIRS:
            raise UsageError(f"{name}: queues is 1 to {VSW_NET_PAIRS}, not {queues}")
        self.path = path
        v.arena = <uint8_t *>calloc(1, VSW_NET_ARENA + 2 * VSW_SLACK)
        v.gso = <vsw_gso *>calloc(1, sizeof(vsw_gso))
        v.from_guest = <vsw_chain *>calloc(1, sizeof(vsw_chain))
        v.to_guest = <vsw_chain *>calloc(1, sizeof(vsw_chain))
        if v.arena == NULL or v.gso == NULL or v.from_guest == NULL or v.to_guest == NULL:
            raise MemoryError
        self.device = Card(self, queues)
        v.pairs = queues
        v.header = VSW_NET_HEADER
        for number, ring in enumerate(self.device.rings):
            v.ring[<int>number] = (<Ring>ring).ring
        self.live.rx_fd = (<Kicks>self.device.kicks).fd
        try:
            self.server = VhostUserServer(path, self.device, mode)
        except BaseException:
            self.device.close()
            raise

    def __dealloc__(self):
        cdef vsw_vhost *v = <vsw_vhost *>self.live
        if v != NULL:
            free(v.arena)
            free(v.gso)
            free(v.from_guest)
            free(v.to_guest)

    def _agreed(self, features):
        """No ring runs: workers find the new values when they go through a gate again."""
        cdef vsw_vhost *v = <vsw_vhost *>self.live
        v.mergeable = bool(features & MRG_RXBUF)
        v.csum = bool(features & CSUM)
        v.tso = bool(features & HOST_TSO4) << VSW_GSO_TCPV4 | bool(features & HOST_TSO6) << VSW_GSO_TCPV6
        v.joins = 0
        if features & GUEST_CSUM:
            v.joins = bool(features & GUEST_TSO4) << VSW_GSO_TCPV4 | bool(features & GUEST_TSO6) << VSW_GSO_TCPV6
        v.header = VSW_NET_HEADER if features & (MRG_RXBUF | Feature.VERSION_1) else VSW_NET_HEADER_OLD

    def _changed(self, bint runs):
        self.live.link = runs

    def _detached(self):
        self.live.link = 0
        self.live.attention = 1

    cpdef _close(self):
        self.server.close()
        self.device.close()

    def queues(self):
        """Buffers of each pair, since the port was opened; a frame takes one, or several if it is long."""
        done = [ring.done for ring in self.device.rings]
        return [{"sent": sent, "received": received} for received, sent in zip(done[::2], done[1::2], strict=True)]

    def describe(self):
        cdef bint there = self.server is not None and self.server.connected
        return f"vhost-user at {self.path}, {'a front end is there' if there else 'no front end'}"
