"""Receive-side scaling: which queue a frame goes to.  The Toeplitz hash as Microsoft published it, and an indirection table.

The hash of an input is the XOR, over its bits that are set, of the 32 bits of the key that begin at that bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from vsw.errors import UsageError
from vsw.vm.nic.headers import TCP, UDP, layout

#: The key of Microsoft's verification suite, which drivers use where they have no better one.
KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
#: Entries; the usual size, and a power of two.
TABLE = 128


def toeplitz(data: bytes, key: bytes = KEY) -> int:
    """The hash, 32 bits.  :class:`~vsw.errors.UsageError` if the key is shorter than the input and 4 bytes more."""
    if len(key) < len(data) + 4:
        raise UsageError(f"an input of {len(data)} bytes needs a key of {len(data) + 4}, this one has {len(key)}")
    stream = int.from_bytes(key, "big")
    bits = 8 * len(key) - 32
    found = 0
    for place, byte in enumerate(data):
        for bit in range(8):
            if byte & (0x80 >> bit):
                found ^= stream >> (bits - 8 * place - bit)
    return found & 0xFFFFFFFF


def hash_input(frame: bytes, udp: bool = False) -> bytes | None:
    """What is hashed: source and destination address, then the ports of a whole TCP segment (with ``udp`` also of a UDP datagram).

    ``None`` for a frame without IP.
    """
    at = layout(frame)
    if at is None:
        return None
    addresses = frame[at.l3 + 12 : at.l3 + 20] if at.version == 4 else frame[at.l3 + 8 : at.l3 + 40]
    if at.transport and (at.protocol == TCP or (udp and at.protocol == UDP)):
        return addresses + frame[at.l4 : at.l4 + 4]
    return addresses


class Scaling:
    """A key and an indirection table; frames without IP go to queue 0, and have no hash.

    ``table`` holds a queue for each value of the hash's low bits; its length is a power of two.  Left out: ``queues`` in turn.
    """

    def __init__(self, queues: int, key: bytes = KEY, table: Sequence[int] | None = None, udp: bool = False) -> None:
        if queues < 1:
            raise UsageError(f"a card has at least one queue (found {queues})")
        self.queues = queues
        self.key = key
        self.udp = udp
        self.table = tuple(entry % queues for entry in range(TABLE)) if table is None else tuple(table)
        size = len(self.table)
        if size == 0 or size & (size - 1):
            raise UsageError(f"the indirection table has a power of two of entries (found {size})")
        if bad := [queue for queue in self.table if not 0 <= queue < queues]:
            raise UsageError(f"the indirection table names queue {bad[0]}; there are {queues}")

    def spread(self, frame: bytes) -> tuple[int, int | None]:
        """The frame's queue, and its hash."""
        data = hash_input(frame, self.udp)
        if data is None:
            return 0, None
        found = toeplitz(data, self.key)
        return self.table[found & (len(self.table) - 1)], found
