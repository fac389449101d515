"""Per-frame verdicts as a file: ``.npz`` for numpy, ``.parquet`` for all that reads Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vsw.errors import UsageError
from vsw.switch.arrow import arrow, parquet_file, unfinished
from vsw.switch.result import COLUMNS, Result
from vsw.verdicts import Reason, Verdict

SUFFIXES = (".npz", ".parquet")


def check(path: str) -> None:
    """:class:`~vsw.errors.UsageError` if no columns can be written to a file of that name."""
    if Path(path).suffix not in SUFFIXES:
        raise UsageError(f"columns are written to a file whose name ends in {' or '.join(SUFFIXES)} (found {path!r})")
    if Path(path).suffix == ".parquet":
        arrow()


def write(result: Result, path: str) -> None:
    """Write the columns of a run; the file appears when it is complete.

    ``.npz``: the arrays of :class:`~vsw.Result` under their names, and what their numbers mean: ``ports`` (name by number, empty where there is no
    such port), ``verdicts`` and ``reasons``.  ``.parquet``: what :meth:`~vsw.Result.to_arrow` gives.
    """
    check(path)
    if Path(path).suffix == ".parquet":
        table = result.to_arrow()
        with parquet_file(path, table.schema) as writer:
            writer.write_table(table)
        return
    ports = [""] * (max((port.number for port in result.module.ports), default=-1) + 1)
    for port in result.module.ports:
        ports[port.number] = port.name
    names = {"ports": ports, "verdicts": [verdict.name.lower() for verdict in Verdict], "reasons": [reason.name.lower() for reason in Reason]}
    arrays = {name: getattr(result, name) for name in COLUMNS} | {name: np.array(texts, np.str_) for name, texts in names.items()}
    with unfinished(path) as temporary, Path(temporary).open("xb") as file:
        np.savez_compressed(file, **arrays)
