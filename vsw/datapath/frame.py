"""One frame as Python sees it, whichever source it comes from."""

from __future__ import annotations

from typing import NamedTuple


class Frame(NamedTuple):
    """A frame of a batch or a capture.

    ``data``: the captured bytes (a copy), from the destination address on, without FCS.  ``length``: bytes that the frame had on the wire, at least
    ``len(data)``.  ``time``: nanoseconds since the epoch.  ``interface``: index into the source's ``interface_names()``.
    """

    data: bytes
    length: int
    time: int
    interface: int
