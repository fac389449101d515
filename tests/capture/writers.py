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


def option(order, code, value):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def section(order, length=-1, options=b"", version=(1, 0)):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, *version, length) + options)


def interface(order, link=1, snaplen=0, name=None, resolution=None, offset=None, fcs=None, description=None):
    options = b""
    if name is not None:
        options += option(order, 2, name.encode())
    if description is not None:
        options += option(order, 3, description.encode())
    if resolution is not None:
        options += option(order, 9, bytes([resolution]))
    if fcs is not None:
        options += option(order, 13, bytes([fcs]))
    if offset is not None:
        options += option(order, 14, struct.pack(order + "q", offset))
    return block(order, 1, struct.pack(order + "HHI", link, 0, snaplen) + options + (option(order, 0, b"") if options else b""))


def enhanced(order, number, ticks, data, length=None, options=b""):
    length = len(data) if length is None else length
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return block(order, 6, head + data + bytes(-len(data) % 4) + options)


def obsolete(order, number, ticks, data, length=None):
    length = len(data) if length is None else length
    return block(order, 2, struct.pack(order + "HHIIII", number, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length) + data)


def simple(order, data, length=None):
    return block(order, 3, struct.pack(order + "I", len(data) if length is None else length) + data)


def pcapng(frames, order="<", **settings):
    """One section, one interface with times in microseconds unless ``resolution`` says otherwise (9: nanoseconds)."""
    unit = 10 ** (9 - settings.get("resolution", 6))
    return section(order) + interface(order, **settings) + b"".join(enhanced(order, 0, time // unit, data, length) for time, data, length in frames)
