"""Writes the recording.  Shares no code with the reader that it will be read with."""

from __future__ import annotations

import struct
from pathlib import Path

SECTION_HEADER, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
IF_NAME, IF_RESOLUTION, COMMENT, END = 2, 9, 1, 0
ETHERNET = 1
NANOSECONDS = b"\x09"


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in (*options, (END, b"")))


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def write(path: Path, comment: str, interfaces: list[str], frames: list[tuple[int, int, bytes]]) -> None:
    """Write frames (interface, time in ns since the epoch, bytes), in order."""
    with path.open("wb") as file:
        file.write(_block(SECTION_HEADER, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _options((COMMENT, comment.encode()))))
        for name in interfaces:
            file.write(_block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0) + _options((IF_NAME, name.encode()), (IF_RESOLUTION, NANOSECONDS))))
        for interface, time, data in frames:
            header = struct.pack("<IIIII", interface, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
            file.write(_block(PACKET, header + _padded(data)))
