"""What a module counts (rules.md, section 15)."""

from __future__ import annotations

from vsw.config.module import Module
from vsw.reference.decision import Copy
from vsw.verdicts import Reason, Verdict


class Counters:
    """Totals of the module, and lists per port (index: the port's number) and per reason (index: the reason's).

    ``offered = delivered + consumed + sum(dropped)`` and
    ``copies_selected = copies_out + sum of port_filtered``, always.
    """

    def __init__(self, module: Module) -> None:
        ports = 1 + max((port.number for port in module.ports), default=-1)
        self.offered = 0
        self.delivered = 0
        self.consumed = 0
        self.dropped = [0] * len(Reason)
        self.copies_selected = 0
        self.copies_out = 0
        self.time_backwards = 0
        self.normalised = 0
        self.rx_frames = [0] * ports
        self.rx_bytes = [0] * ports
        self.tx_frames = [0] * ports
        self.tx_bytes = [0] * ports
        self.port_dropped = [[0] * len(Reason) for _ in range(ports)]
        self.port_filtered = [[0] * len(Reason) for _ in range(ports)]

    def received(self, port: int, length: int, normalised: bool) -> None:
        """A frame came in by a port, whatever becomes of it."""
        self.rx_frames[port] += 1
        self.rx_bytes[port] += length
        self.normalised += normalised

    def sent(self, copies: list[Copy], filtered: list[tuple[int, Reason]]) -> None:
        """Copies that left, and copies that were held back."""
        self.copies_selected += len(copies) + len(filtered)
        self.copies_out += len(copies)
        for copy in copies:
            self.tx_frames[copy.port] += 1
            self.tx_bytes[copy.port] += copy.length
        for port, reason in filtered:
            self.port_filtered[port][reason] += 1

    def ended(self, verdict: Verdict, reason: Reason, port: int | None) -> None:
        """A frame had its verdict; a drop counts on the port that the frame came in by, if there is one."""
        self.offered += 1
        if verdict == Verdict.DELIVERED:
            self.delivered += 1
        elif verdict == Verdict.CONSUMED:
            self.consumed += 1
        else:
            self.dropped[reason] += 1
            if port is not None:
                self.port_dropped[port][reason] += 1
