"""One frame as Python sees it, whichever source it comes from."""

from __future__ import annotations

from typing import NamedTuple


class Frame(NamedTuple):
    """A frame of a batch or a capture.

    ``data``: the captured bytes, from the destination address on, without FCS (a read-only view; ``bytes(frame.data)`` copies them).
    ``length``: bytes that the frame had on the wire, at least ``len(data)``.  ``time``: nanoseconds since the epoch.
    ``interface``: index into the source's ``interface_names()``.
    """

    data: memoryview | bytes
    length: int
    time: int
    interface: int
