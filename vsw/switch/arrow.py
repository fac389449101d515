"""Arrow tables and Parquet files: the extra ``arrow``.  Nothing else of the package imports pyarrow."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsw.errors import UsageError
from vsw.verdicts import Reason, Verdict

if TYPE_CHECKING:
    from vsw.switch.result import Result

NONE = 0xFFFF
SEVERAL = -2


def arrow() -> Any:
    """The module pyarrow; :class:`~vsw.errors.UsageError` says what to install where it is not there."""
    try:
        import pyarrow  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UsageError("Arrow tables and Parquet files need pyarrow: pip install 'vsw-switch[arrow]'") from None
    return pyarrow


@contextmanager
def parquet_file(path: str, schema: Any) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetWriter`` whose file gets its name when all went well."""
    arrow()
    from pyarrow import parquet  # noqa: PLC0415  (an extra)

    with unfinished(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        yield writer


@contextmanager
def unfinished(path: str) -> Iterator[str]:
    """A name to write to, beside ``path``; the file is called ``path`` at the end, or removed after an exception.

    OSErrors that name no file (a disk that is full) come from writing, and name ``path`` then.
    """
    target = os.path.realpath(path)
    temporary = f"{target}.unfinished-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        yield temporary
        os.replace(temporary, target)  # noqa: PTH105
    except OSError as error:
        if error.errno in (None, errno.EPIPE) or (error.filename is not None and temporary not in str(error)):
            raise
        # What was asked for is named, not what it would have been called until it is complete.
        raise OSError(error.errno, os.strerror(error.errno), path) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108


def table(result: Result) -> Any:
    """:meth:`Result.to_arrow`."""
    pa = arrow()
    ports: list[str | None] = [None] * (max((port.number for port in result.module.ports), default=-1) + 1)
    for port in result.module.ports:
        ports[port.number] = port.name
    names = pa.array([name or "" for name in ports], pa.string())

    def named(numbers: NDArray[Any], there: NDArray[np.bool_], dictionary: Any) -> Any:
        index = pa.array(np.where(there, numbers, 0).astype(np.int16), mask=~there)
        return pa.DictionaryArray.from_arrays(index, dictionary)

    egress = result.egress_port
    always = np.ones(result.frames, np.bool_)
    return pa.table(
        {
            "frame": pa.array(np.arange(1, result.frames + 1, dtype=np.int64)),
            "verdict": named(result.verdict, always, pa.array([verdict.name.lower() for verdict in Verdict])),
            "reason": named(result.reason, result.reason != 0, pa.array([reason.name.lower() for reason in Reason])),
            "port_in": named(result.port_in, result.port_in != NONE, names),
            "egress_port": named(egress, egress >= 0, names),
            "several": pa.array(egress == SEVERAL),
            "vlan": pa.array(result.vlan, mask=result.vlan == NONE),
            "normalised": pa.array(result.normalised != 0),
        }
    )
