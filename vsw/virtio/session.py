"""One front end's connection: what its messages say is done to the device.

A ring runs when its size, its addresses, the guest's memory and its kick are known and it is enabled (which it is from its kick on where the
front end has no protocol features). The order in which all that comes differs between front ends. A ring that runs is stopped before anything
under it changes.

Thread-safety: one session, one thread. The threads that serve the rings meet it at the rings' gates.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .device import Device, log
from .faults import RING_FAULTS, FrontEndError
from .memory import MOST_REGIONS, Memory, Region
from .messages import (
    CONFIG_HEAD,
    INDEX_BITS,
    INDEX_NUMBER,
    MEMORY_HEAD,
    MEMORY_REGION,
    NO_DESCRIPTOR,
    ONE_REGION,
    REPLIES,
    RING_ADDRESSES,
    WORD,
    Feature,
    Message,
    ProtocolFeature,
    Request,
)
from .ring import Kicks, Ring

EVENTFD = "anon_inode:[eventfd]"


@dataclass(slots=True)
class Queue:
    """What the front end has said about one ring so far."""

    ring: Ring
    kicks: Kicks
    size: int = 0
    addresses: tuple[int, int, int] | None = None
    """The front end's virtual addresses of the descriptors, the available and the used ring."""
    base: int = 0
    started: bool = False
    enabled: bool = False
    kick: int = -1
    call: int = -1
    error: int = -1
    told: bool = False
    """The fault of this ring was reported."""


@dataclass
class Session:
    """The state of one connection to ``device``; :meth:`handle` takes one message, :meth:`close` ends it."""

    device: Device
    features: int = 0
    protocol: int = 0
    memory: Memory | None = None
    queues: list[Queue] = field(default_factory=list)
    repeated: dict[int, int] = field(default_factory=dict)
    """How often a region was added that was there already, by its guest address."""

    def __post_init__(self) -> None:
        self.queues = [Queue(ring, kicks) for ring, kicks in zip(self.device.rings, self.device.ring_kicks, strict=True)]

    def handle(self, message: Message) -> bytes | None:
        """Do what the message says; the payload of the answer, or ``None`` if there is none to give. Takes the descriptors it keeps."""
        answer = _HANDLERS[message.request](self, message)
        if message.request in REPLIES:
            return answer
        return WORD.pack(0) if message.need_reply and self.protocol & ProtocolFeature.REPLY_ACK else None

    def refusal(self, message: Message) -> bytes | None:
        """What to answer when :meth:`handle` has raised."""
        if message.request in REPLIES or not (message.need_reply and self.protocol & ProtocolFeature.REPLY_ACK):
            return None
        return WORD.pack(1)

    def report(self) -> None:
        """Log which rings have failed since the last time, and tell the front end through their error descriptors.

        Raises :class:`FrontEndError` if the memory has gone: nothing can be done for such a guest any more.
        """
        if self.memory is not None and self.memory.broken:
            raise FrontEndError(RING_FAULTS[-1])
        for number, queue in enumerate(self.queues):
            if not queue.told and queue.ring.running and (fault := queue.ring.fault):
                queue.told = True
                log.warning("%s: ring %d is no longer served: %s", self.device.name, number, fault)
                if queue.error >= 0:
                    _signal(queue.error)

    def close(self) -> None:
        """Stop every ring, close every descriptor, let go of the memory."""
        for queue in self.queues:
            self._halt(queue)
            queue.started = queue.enabled = False
            self._replace(queue, "kick", -1)
            self._replace(queue, "call", -1)
            self._replace(queue, "error", -1)
        self.memory = None
        self.device.negotiated = 0
        self.device.agreed(0)

    # Rings.

    def _queue(self, index: int) -> Queue:
        if index >= len(self.queues):
            raise FrontEndError(f"ring {index} of {len(self.queues)}")
        return self.queues[index]

    def _update(self, queue: Queue) -> None:
        """Let the ring run if all that it needs is there, stop it if not."""
        enabled = queue.enabled or not self.features & Feature.PROTOCOL_FEATURES
        if not (queue.started and enabled and queue.size and queue.addresses and self.memory):
            self._halt(queue)
        elif not queue.ring.running:
            descriptors, available, used = queue.addresses
            queue.ring.start(
                self.memory, queue.size, descriptors, available, used,
                event_idx=bool(self.features & Feature.EVENT_IDX), indirect=bool(self.features & Feature.INDIRECT_DESC),
            )  # fmt: skip
            queue.told = False
        self.device.changed()
        queue.kicks.wake()

    def _halt(self, queue: Queue) -> None:
        base = queue.ring.stop()
        if base is not None:
            queue.base = base

    def _halt_all(self) -> None:
        for queue in self.queues:
            self._halt(queue)

    def _replace(self, queue: Queue, which: str, fd: int) -> None:
        """Put a descriptor (-1: none) in the place of the one that was there, which nobody uses any more when it is closed."""
        old = getattr(queue, which)
        if which == "call":
            queue.ring.set_call(fd)
        elif which == "kick":
            if old >= 0:
                queue.kicks.remove(old)
            if fd >= 0:
                queue.kicks.add(fd)
        setattr(queue, which, fd)
        if old >= 0:
            os.close(old)

    # Messages.

    def _get_features(self, _: Message) -> bytes:
        return WORD.pack(self.device.features)

    def _set_features(self, message: Message) -> None:
        (features,) = WORD.unpack(message.payload)
        if features & ~self.device.features:
            raise FrontEndError(f"features {features & ~self.device.features:#x} were not offered")
        self._halt_all()
        self.features = self.device.negotiated = features
        self.device.agreed(features)
        for queue in self.queues:
            self._update(queue)

    def _get_protocol_features(self, _: Message) -> bytes:
        return WORD.pack(self.device.protocol)

    def _set_protocol_features(self, message: Message) -> None:
        (protocol,) = WORD.unpack(message.payload)
        if protocol & ~self.device.protocol:
            raise FrontEndError(f"protocol features {protocol & ~self.device.protocol:#x} were not offered")
        self.protocol = protocol

    def _set_owner(self, _: Message) -> None:
        """A connection has one front end: it is the owner."""

    def _reset_owner(self, _: Message) -> None:
        for queue in self.queues:
            queue.started = queue.enabled = False
            self._update(queue)

    def _set_mem_table(self, message: Message) -> None:
        count, _ = MEMORY_HEAD.unpack_from(message.payload)
        if count != len(message.fds) or len(message.payload) < MEMORY_HEAD.size + count * MEMORY_REGION.size:
            raise FrontEndError(f"{count} memory regions came with {len(message.fds)} file descriptors and {len(message.payload)} bytes")
        regions = []
        for number in range(count):
            guest, size, user, offset = MEMORY_REGION.unpack_from(message.payload, MEMORY_HEAD.size + number * MEMORY_REGION.size)
            regions.append(_map(message, guest, size, user, offset))
        self.repeated.clear()
        self._use(regions)

    def _use(self, regions: list[Region]) -> None:
        memory = Memory(regions)
        self._halt_all()
        self.memory = memory
        for queue in self.queues:
            self._update(queue)

    def _max_mem_slots(self, _: Message) -> bytes:
        return WORD.pack(MOST_REGIONS)

    def _add_mem_reg(self, message: Message) -> None:
        _, guest, size, user, offset = ONE_REGION.unpack(message.payload)
        regions = list(self.memory.regions) if self.memory else []
        region = _map(message, guest, size, user, offset)
        # QEMU 7.2 says so once for each pair of queues, and takes it back as often.
        if any(region.same(other) for other in regions):
            self.repeated[guest] = self.repeated.get(guest, 0) + 1
        else:
            self._use([*regions, region])

    def _rem_mem_reg(self, message: Message) -> None:
        _, guest, size, user, _ = ONE_REGION.unpack(message.payload)
        regions = list(self.memory.regions) if self.memory else []
        kept = [region for region in regions if (region.guest, region.size, region.user) != (guest, size, user)]
        if len(kept) == len(regions):
            raise FrontEndError(f"there is no memory region of {size} bytes at guest {guest:#x}")
        if self.repeated.get(guest):
            self.repeated[guest] -= 1
        else:
            self._use(kept)

    def _set_vring_num(self, message: Message) -> None:
        index, size = INDEX_NUMBER.unpack(message.payload)
        queue = self._queue(index)
        self._halt(queue)
        queue.size = size
        self._update(queue)

    def _set_vring_addr(self, message: Message) -> None:
        index, _, descriptors, used, available, _ = RING_ADDRESSES.unpack(message.payload)
        queue = self._queue(index)
        self._halt(queue)
        queue.addresses = (descriptors, available, used)
        self._update(queue)

    def _set_vring_base(self, message: Message) -> None:
        index, base = INDEX_NUMBER.unpack(message.payload)
        self._queue(index).base = base & 0xFFFF

    def _get_vring_base(self, message: Message) -> bytes:
        index, _ = INDEX_NUMBER.unpack(message.payload)
        queue = self._queue(index)
        queue.started = False
        self._halt(queue)
        self._replace(queue, "kick", -1)
        self._replace(queue, "call", -1)
        self._update(queue)
        return INDEX_NUMBER.pack(index, queue.base)

    def _set_vring_kick(self, message: Message) -> None:
        queue, fd = self._descriptor(message)
        self._replace(queue, "kick", fd)
        queue.started = True
        self._update(queue)

    def _set_vring_call(self, message: Message) -> None:
        queue, fd = self._descriptor(message)
        self._replace(queue, "call", fd)
        # What was done before there was anybody to call, or before we were restarted, must not wait for the next chain.
        if fd >= 0:
            _signal(fd)

    def _set_vring_err(self, message: Message) -> None:
        queue, fd = self._descriptor(message)
        self._replace(queue, "error", fd)

    def _descriptor(self, message: Message) -> tuple[Queue, int]:
        (value,) = WORD.unpack(message.payload)
        queue = self._queue(value & INDEX_BITS)
        if value & NO_DESCRIPTOR:
            return queue, -1
        fd = message.take()
        try:
            kind = str(Path(f"/proc/self/fd/{fd}").readlink())
            if kind != EVENTFD:
                raise FrontEndError(f"{message.request.name} brought {kind}, not an eventfd")
            os.set_blocking(fd, False)
        except BaseException:
            os.close(fd)
            raise
        return queue, fd

    def _get_queue_num(self, _: Message) -> bytes:
        return WORD.pack(self.device.queues)

    def _set_vring_enable(self, message: Message) -> None:
        index, enable = INDEX_NUMBER.unpack(message.payload)
        queue = self._queue(index)
        queue.enabled = bool(enable)
        self._update(queue)

    def _get_config(self, message: Message) -> bytes:
        offset, size, flags = CONFIG_HEAD.unpack_from(message.payload)
        space = self.device.configuration()
        if size > 256 or offset > len(space):
            return CONFIG_HEAD.pack(offset, 0, flags)
        # Drivers know fields that the device does not have: those read as zero.
        return CONFIG_HEAD.pack(offset, size, flags) + space[offset : offset + size].ljust(size, b"\0")

    def _set_config(self, message: Message) -> None:
        offset, size, _ = CONFIG_HEAD.unpack_from(message.payload)
        data = message.payload[CONFIG_HEAD.size : CONFIG_HEAD.size + size]
        if len(data) != size or not self.device.write_configuration(offset, data):
            raise FrontEndError(f"{size} bytes at {offset} of the configuration space can't be written")


def _map(message: Message, guest: int, size: int, user: int, offset: int) -> Region:
    fd = message.take()
    try:
        return Region(fd, guest, size, user, offset)
    finally:
        os.close(fd)


def _signal(fd: int) -> None:
    try:
        os.eventfd_write(fd, 1)
    except OSError:  # a full counter: it is told already
        return


_HANDLERS: dict[Request, Callable[[Session, Message], bytes | None]] = {
    Request.GET_FEATURES: Session._get_features,
    Request.SET_FEATURES: Session._set_features,
    Request.SET_OWNER: Session._set_owner,
    Request.RESET_OWNER: Session._reset_owner,
    Request.SET_MEM_TABLE: Session._set_mem_table,
    Request.SET_VRING_NUM: Session._set_vring_num,
    Request.SET_VRING_ADDR: Session._set_vring_addr,
    Request.SET_VRING_BASE: Session._set_vring_base,
    Request.GET_VRING_BASE: Session._get_vring_base,
    Request.SET_VRING_KICK: Session._set_vring_kick,
    Request.SET_VRING_CALL: Session._set_vring_call,
    Request.SET_VRING_ERR: Session._set_vring_err,
    Request.GET_PROTOCOL_FEATURES: Session._get_protocol_features,
    Request.SET_PROTOCOL_FEATURES: Session._set_protocol_features,
    Request.GET_QUEUE_NUM: Session._get_queue_num,
    Request.SET_VRING_ENABLE: Session._set_vring_enable,
    Request.GET_CONFIG: Session._get_config,
    Request.SET_CONFIG: Session._set_config,
    Request.GET_MAX_MEM_SLOTS: Session._max_mem_slots,
    Request.ADD_MEM_REG: Session._add_mem_reg,
    Request.REM_MEM_REG: Session._rem_mem_reg,
}
