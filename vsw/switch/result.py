"""What a run leaves behind: columns, copies, counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import Module
from vsw.datapath.source import FrameSource
from vsw.errors import UsageError
from vsw.switch.copies import COPY, copy_bytes
from vsw.verdicts import Reason

#: Per-frame columns and their dtypes: nine bytes a frame.
COLUMNS = {"verdict": "u1", "reason": "u1", "port_in": "<u2", "egress_port": "<i2", "vlan": "<u2", "normalised": "u1"}


def new_columns(rows: int) -> dict[str, NDArray[Any]]:
    """Empty columns for ``rows`` frames."""
    return {name: np.empty(rows, dtype) for name, dtype in COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of one run, or of all since a switch was made.

    Arrays are uint64: ``dropped`` by reason; ``rx_frames``, ``rx_bytes``, ``tx_frames``, ``tx_bytes`` by port number;
    ``port_dropped`` and ``port_filtered`` by port number and reason.  ``rx_bytes`` counts original lengths, ``tx_bytes`` the lengths of copies.
    """

    offered: int
    delivered: int
    consumed: int
    dropped: NDArray[np.uint64]
    copies_selected: int
    copies_out: int
    time_backwards: int
    normalised: int
    learned: int
    moved: int
    evicted: int
    aged: int
    rx_frames: NDArray[np.uint64]
    rx_bytes: NDArray[np.uint64]
    tx_frames: NDArray[np.uint64]
    tx_bytes: NDArray[np.uint64]
    port_dropped: NDArray[np.uint64]
    port_filtered: NDArray[np.uint64]

    @classmethod
    def from_worker(cls, counters: Mapping[str, Any], ports: int) -> Counters:
        """From the dictionary of :meth:`Worker.counters`."""
        totals = (
            "offered", "delivered", "consumed", "copies_selected", "copies_out", "time_backwards", "normalised", "learned", "moved",
            "evicted", "aged",
        )  # fmt: skip
        arrays = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes")
        values: dict[str, Any] = {name: int(counters[name]) for name in totals}
        values |= {name: _rows(counters[name], ports) for name in arrays}
        return cls(
            dropped=counters["reasons"], port_dropped=_rows(counters["dropped"], ports), port_filtered=_rows(counters["filtered"], ports), **values
        )


def _rows(counts: NDArray[np.uint64], ports: int) -> NDArray[np.uint64]:
    """Exactly one row for each port; zeros for those that were not there yet when this was counted."""
    rows = np.zeros((ports, *counts.shape[1:]), np.uint64)
    rows[: len(counts)] = counts[:ports]
    return rows


class Result:
    """What :meth:`Switch.forward` returns.

    ``frames`` is the number of frames, ``seconds`` the wall-clock time that they took.  With columns: ``verdict`` and ``reason``
    (uint8, the numbers of :mod:`vsw.verdicts`), ``port_in`` (uint16, 65535: none), ``egress_port`` (int16: -1 none, -2 several),
    ``vlan`` (uint16, 65535: not known), ``normalised`` (uint8, 1 where ``source-mac`` took a tag off); one row a frame.  With ``copies``: an array of
    :data:`~vsw.switch.copies.COPY`.
    """

    def __init__(
        self,
        module: Module,
        source: FrameSource,
        *,
        frames: int,
        seconds: float,
        counters: Counters,
        columns: Mapping[str, NDArray[Any]] | None,
        copies: NDArray[np.void] | None,
        ingress: str,
        workers: int,
    ) -> None:
        self.module = module
        self.frames = frames
        self.seconds = seconds
        self.counters = counters
        #: How the ingress port was found: "given", "interface" or "source-mac".
        self.ingress = ingress
        #: Threads that took part.
        self.workers = workers
        self._source = source
        self._columns = columns
        self._copies = copies

    def _column(self, name: str) -> NDArray[Any]:
        if self._columns is None:
            raise UsageError(f"the run kept no columns, so there is no {name}: call forward(..., columns=True)")
        return self._columns[name]

    def columns_for_reuse(self) -> dict[str, NDArray[Any]]:
        """The columns themselves, for a later run to write again."""
        return {name: self._column(name) for name in COLUMNS}

    @property
    def verdict(self) -> NDArray[np.uint8]:
        """Verdict of each frame (uint8, :class:`vsw.verdicts.Verdict`)."""
        return self._column("verdict")

    @property
    def reason(self) -> NDArray[np.uint8]:
        """Reason of each dropped frame (uint8, :class:`vsw.verdicts.Reason`), 0 for the others."""
        return self._column("reason")

    @property
    def port_in(self) -> NDArray[np.uint16]:
        """Number of the port that each frame came in by; 65535: none."""
        return self._column("port_in")

    @property
    def egress_port(self) -> NDArray[np.int16]:
        """Number of the port that each frame left by; -1: none, -2: several."""
        return self._column("egress_port")

    @property
    def vlan(self) -> NDArray[np.uint16]:
        """VLAN that each frame was in; 65535 where it was dropped before that was known."""
        return self._column("vlan")

    @property
    def normalised(self) -> NDArray[np.uint8]:
        """1 where ``source-mac`` took a tag off."""
        return self._column("normalised")

    @property
    def copies(self) -> NDArray[np.void]:
        """One row a copy that left, in order of frames, then of ports (:data:`~vsw.switch.copies.COPY`)."""
        if self._copies is None:
            raise UsageError("the run kept no copies: call forward(..., copies=True)")
        return self._copies

    def copy_bytes(self, row: int) -> bytes:
        """The bytes of one copy, as it left its port (as many as were captured)."""
        [(_, _, data, _)] = copy_bytes(self._source, np.atleast_1d(self.copies[row]))
        return data

    def egress(self) -> Iterator[tuple[int, int, bytes, int]]:
        """Yield ``(frame, port number, bytes, length on the wire)`` for every copy."""
        yield from copy_bytes(self._source, self.copies)

    def to_arrow(self) -> Any:
        """The columns as a ``pyarrow.Table``, one row a frame, names instead of numbers.  Needs the extra ``arrow``.

        ``frame`` (from 1), ``verdict``, ``reason`` (null where the frame was not dropped), ``port_in`` (null: none), ``egress_port`` (null: none, or
        ``several``), ``several``, ``vlan`` (null: not known), ``normalised``.
        """
        from vsw.switch.arrow import table  # noqa: PLC0415

        return table(self)

    def summary(self) -> dict[str, Any]:
        """The totals under the stable keys of the command line's ``--json``.

        ``frames``, ``delivered``, ``consumed``, ``copies`` (that left), ``dropped`` {reason: frames}, ``filtered`` {reason: copies held back},
        ``ports`` {name: {``rx_frames``, ``rx_bytes``, ``tx_frames``, ``tx_bytes``, ``dropped``, ``filtered`` (counts), ``dropped_by_reason``,
        ``filtered_by_reason`` {reason: count}}}, ``seconds``, and ``module``, ``dialect``, ``ingress``, ``normalised``, ``time_backwards``,
        ``workers``.  Reasons whose count is 0 are left out; a frame with ``no_port`` is dropped on no port.
        """
        counters = self.counters
        ports: dict[str, dict[str, Any]] = {}
        for port in sorted(self.module.ports, key=lambda port: port.number):
            number = port.number
            ports[port.name] = {
                "rx_frames": int(counters.rx_frames[number]),
                "rx_bytes": int(counters.rx_bytes[number]),
                "tx_frames": int(counters.tx_frames[number]),
                "tx_bytes": int(counters.tx_bytes[number]),
                "dropped": int(counters.port_dropped[number].sum()),
                "filtered": int(counters.port_filtered[number].sum()),
                "dropped_by_reason": _by_reason(counters.port_dropped[number]),
                "filtered_by_reason": _by_reason(counters.port_filtered[number]),
            }
        return {
            "module": self.module.name,
            "dialect": self.module.dialect.name,
            "ingress": self.ingress,
            "frames": self.frames,
            "delivered": counters.delivered,
            "consumed": counters.consumed,
            "copies": counters.copies_out,
            "dropped": _by_reason(counters.dropped),
            "filtered": _by_reason(counters.port_filtered.sum(axis=0)),
            "ports": ports,
            "normalised": counters.normalised,
            "time_backwards": counters.time_backwards,
            "workers": self.workers,
            "seconds": self.seconds,
        }


def _by_reason(counts: NDArray[np.uint64]) -> dict[str, int]:
    return {reason.name.lower(): int(counts[reason]) for reason in Reason if counts[reason]}


__all__ = ["COLUMNS", "COPY", "Counters", "Result", "new_columns"]
