"""What front ends and guests do wrong, in words."""

from __future__ import annotations

from ..errors import VswError


class FrontEndError(VswError):
    """A front end or its guest asked for something impossible; its connection ends, nothing else does."""


RING_FAULTS = (
    "",
    "more chains are available than the ring has entries",
    "a chain begins beyond the descriptor table",
    "a chain leads beyond the descriptor table",
    "a chain has too many buffers, or is a loop",
    "an indirect descriptor is nested, chained on, not negotiated, or has an impossible length",
    "a buffer lies outside the guest's memory",
    "a buffer to read stands after one to write",
    "a chain's buffers are too small or of the wrong kind for this device",
    "the file behind the guest's memory was cut short",
)
"""Sentences for the faults of ``ring.h``, by number."""
