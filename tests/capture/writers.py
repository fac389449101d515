"""Writers for the tests, independent of the package: they follow the formats' documents with struct and nothing else."""

from __future__ import annotations

import struct

ORDERS = {"little": "<", "big": ">"}


def pcap(frames, order="<", nano=False, snaplen=65535, link=1, magic=None, version=(2, 4)):
    """``frames``: (time in ns, captured bytes, length or None)."""
    magic = magic or (0xA1B23C4D if nano else 0xA1B2C3D4)
    parts = [struct.pack(order + "IHHiIII", magic, *version, 0, 0, snaplen, link)]
    for time, data, length in frames:
        seconds, rest = divmod(time, 10**9)
        parts.append(struct.pack(order + "IIII", seconds, rest if nano else rest // 1000, len(data), len(data) if length is None else length) + data)
    return b"".join(parts)


def numbered(count, size=lambda i: 60 + i % 7, start=1_700_000_000_123_456_000, step=1_000):
    """Frames that tell their number: (time, data, length)."""
    return [(start + i * step, struct.pack(">6s6sHQ", b"\x02" * 6, b"\x06" * 6, 0x0800, i).ljust(size(i), b"."), None) for i in range(count)]
