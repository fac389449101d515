"""TCP segmentation (TSO): the guest hands over one long segment, the card cuts it.

Each piece has the headers of the whole: its own lengths, sequence number and checksums, over IPv4 the next identification; CWR stays on the first,
FIN and PSH on the last (as Linux's and Windows' stacks expect of cards).
"""

from __future__ import annotations

import struct

from vsw.errors import UsageError
from vsw.vm.nic.checksum import complete
from vsw.vm.nic.headers import IPV4, IPV6, IPV6_HEADER, TCP, TCP_HEADER, TYPE, layout, type_at

FIN, PSH, CWR = 0x01, 0x08, 0x80
_SEQUENCE, _OFFSET, _FLAGS = 4, 12, 13
#: The least that a card is asked for; a smaller one would make thousands of frames of one.
MIN_MSS = 64


def segment(frame: bytes, mss: int) -> list[bytes]:
    """The frames that a card sends for ``frame``, with at most ``mss`` bytes of payload each, checksums complete.

    The lengths that the frame's IP header says are not looked at: over 64 KiB they can't be right.  One frame (the same, checksums complete) if
    that is enough.  :class:`~vsw.errors.UsageError` if it is no whole TCP segment or ``mss`` is under 64.
    """
    if mss < MIN_MSS:
        raise UsageError(f"segments have at least {MIN_MSS} bytes (found {mss})")
    at = layout(_with_length(frame))
    if at is None or at.protocol != TCP or not at.transport:
        raise UsageError("only a whole TCP segment over IPv4 or IPv6 can be cut")
    header = (frame[at.l4 + _OFFSET] >> 4) * 4
    body = at.l4 + header
    if header < TCP_HEADER or body > len(frame):
        raise UsageError(f"a TCP header of {header} bytes does not fit the frame's {len(frame) - at.l4}")
    payload = frame[body:]
    sequence = int.from_bytes(frame[at.l4 + _SEQUENCE : at.l4 + _SEQUENCE + 4], "big")
    flags = frame[at.l4 + _FLAGS]
    identification = int.from_bytes(frame[at.l3 + 4 : at.l3 + 6], "big")
    pieces = []
    starts = range(0, len(payload), mss) if payload else range(1)
    for number, start in enumerate(starts):
        last = start + mss >= len(payload)
        piece = bytearray(frame[:body] + payload[start : start + mss])
        if at.version == 4:
            struct.pack_into("!HH", piece, at.l3 + 2, len(piece) - at.l3, (identification + number) & 0xFFFF)
        else:
            struct.pack_into("!H", piece, at.l3 + 4, len(piece) - at.l3 - IPV6_HEADER)
        struct.pack_into("!I", piece, at.l4 + _SEQUENCE, (sequence + start) & 0xFFFFFFFF)
        piece[at.l4 + _FLAGS] = flags & ~(0 if number == 0 else CWR) & ~(0 if last else FIN | PSH)
        pieces.append(complete(bytes(piece)))
    return pieces


def _with_length(frame: bytes) -> bytes:
    """The frame with lengths that :func:`~vsw.vm.nic.headers.layout` accepts: as if the datagram ended behind the longest headers."""
    place, kind = type_at(frame)
    l3 = place + TYPE
    if kind == IPV4 and len(frame) >= l3 + 4:
        return frame[: l3 + 2] + min(len(frame) - l3, 0xFFFF).to_bytes(2, "big") + frame[l3 + 4 :]
    if kind == IPV6 and len(frame) >= l3 + IPV6_HEADER:
        return frame[: l3 + 4] + min(len(frame) - l3 - IPV6_HEADER, 0xFFFF).to_bytes(2, "big") + frame[l3 + 6 :]
    return frame
