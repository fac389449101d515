"""The 802.1Q tag, moved between a frame's bytes and the card's descriptor."""

from __future__ import annotations

from vsw.errors import UsageError
from vsw.vm.nic.headers import MACS, TAG, TYPE

C_TAG = 0x8100
MAX_TCI = 0xFFFF


def insert(frame: bytes, tci: int, tpid: int = C_TAG) -> bytes:
    """The frame with a tag behind its addresses; a tag that it has already becomes the inner one.

    ``tci`` is PCP (3 bits), DEI (1), VID (12).  :class:`~vsw.errors.UsageError` if it does not fit in 16 bits or the frame has no addresses.
    """
    if not 0 <= tci <= MAX_TCI:
        raise UsageError(f"a tag's control information has 16 bits (found {tci:#x})")
    if len(frame) < MACS:
        raise UsageError(f"a tag comes behind {MACS} bytes of addresses, the frame has {len(frame)}")
    return frame[:MACS] + tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") + frame[MACS:]


def strip(frame: bytes, tpid: int = C_TAG) -> tuple[bytes, int | None]:
    """The frame without its outermost tag, and that tag's TCI; the frame as it is and ``None`` if it has no whole tag of that kind in front."""
    if len(frame) < MACS + TAG + TYPE or frame[MACS : MACS + 2] != tpid.to_bytes(2, "big"):
        return frame, None
    return frame[:MACS] + frame[MACS + TAG :], int.from_bytes(frame[MACS + 2 : MACS + TAG], "big")
