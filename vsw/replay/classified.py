"""What frames are, as columns that people and other programs read: from :func:`vsw.classify` to text, CSV, JSON lines, Arrow."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsw.config.values import did_you_mean
from vsw.datapath.classify import classify
from vsw.datapath.rows import ROW, RowFlag
from vsw.errors import UsageError
from vsw.replay.where import PROTOCOLS, TYPES, Rows, Test

if TYPE_CHECKING:
    from vsw.capture import Capture

#: Frames that are classified at a time.
CHUNK = 1 << 16
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
_TYPE_NAMES = {number: name for name, number in TYPES.items()}
_VID, _PCP_SHIFT, _DEI_SHIFT = 0x0FFF, 13, 12


class Chunk(NamedTuple):
    """Rows that were chosen, the numbers of their frames (from 1) and their times (ns since the epoch)."""

    frames: NDArray[np.int64]
    times: NDArray[np.int64]
    rows: Rows


def chunks(capture: Capture, where: Test | None = None, limit: int | None = None) -> Iterator[Chunk]:
    """The frames of a capture for which ``where`` holds, at most ``limit`` of them.  Raises what reading the capture raises."""
    first, out = 0, np.empty(CHUNK, ROW)
    while limit is None or limit > 0:
        part = capture[first : first + CHUNK]
        rows = classify(part, out=out)
        if not len(rows):
            return
        times = part.times()
        frames = np.arange(first + 1, first + 1 + len(rows), dtype=np.int64)
        first += len(rows)
        chosen = np.flatnonzero(where(rows)) if where is not None else np.arange(len(rows))
        if limit is not None:
            chosen = chosen[:limit]
            limit -= len(chosen)
        yield Chunk(frames[chosen], times[chosen], rows[chosen])


def _texts(octets: NDArray[np.uint8], text: Callable[[bytes], str]) -> tuple[NDArray[np.intp], list[str]]:
    """Equal addresses get one text: (index of each row's text, texts)."""
    width = octets.shape[1]
    whole = np.zeros((len(octets), 16), np.uint8)
    whole[:, :width] = octets
    pairs = whole.view(np.uint64)
    _, first, index = np.unique(pairs[:, 0] if width <= 8 else pairs, axis=0, return_index=True, return_inverse=True)
    return index.reshape(-1), [text(octets[row].tobytes()) for row in first]


def _mac(name: str) -> Callable[[Chunk], list[Any]]:
    def column(chunk: Chunk) -> list[Any]:
        index, texts = _texts(chunk.rows[name], lambda octets: octets.hex(":"))
        there = chunk.rows["network"] != 0
        return [texts[i] if ok else None for i, ok in zip(index.tolist(), there.tolist(), strict=True)]

    return column


def _address(name: str) -> Callable[[Chunk], list[Any]]:
    def column(chunk: Chunk) -> list[Any]:
        found: list[Any] = [None] * len(chunk.rows)
        for version, width in ((4, 4), (6, 16)):
            places = np.flatnonzero(chunk.rows["ip_version"] == version)
            if len(places):
                index, texts = _texts(chunk.rows[name][places][:, :width], lambda octets: str(ipaddress.ip_address(octets)))
                for place, i in zip(places.tolist(), index.tolist(), strict=True):
                    found[place] = texts[i]
        return found

    return column


def _number(values: Callable[[Rows], NDArray[Any]], there: Callable[[Rows], NDArray[np.bool_]]) -> Callable[[Chunk], list[Any]]:
    def column(chunk: Chunk) -> list[Any]:
        return [value if ok else None for value, ok in zip(values(chunk.rows).tolist(), there(chunk.rows).tolist(), strict=True)]

    return column


def _named(
    values: Callable[[Rows], NDArray[Any]], there: Callable[[Rows], NDArray[np.bool_]], text: Callable[[int], str]
) -> Callable[[Chunk], list[Any]]:
    def column(chunk: Chunk) -> list[Any]:
        known: dict[int, str] = {}
        return [
            (known[value] if value in known else known.setdefault(value, text(value))) if ok else None
            for value, ok in zip(values(chunk.rows).tolist(), there(chunk.rows).tolist(), strict=True)
        ]

    return column


def _tagged(count: int) -> Callable[[Rows], NDArray[np.bool_]]:
    return lambda rows: rows["tags"] >= count


def _ports(rows: Rows) -> NDArray[np.bool_]:
    there: NDArray[np.bool_] = (rows["flags"] & np.uint16(RowFlag.HAS_PORTS)) != 0
    return there


def _type_text(value: int) -> str:
    return _TYPE_NAMES.get(value, f"{value:#06x}")


def _protocol_text(value: int) -> str:
    return _PROTOCOL_NAMES.get(value, str(value))


def _flag_text(value: int) -> str:
    return "+".join(flag.name.lower() for flag in RowFlag if value & flag and flag.name)


def _any(rows: Rows) -> NDArray[np.bool_]:
    return np.ones(len(rows), np.bool_)


#: Each column's name, its values by row (None where a frame has none), and the type that it has in Arrow.
COLUMNS: dict[str, tuple[Callable[[Chunk], list[Any]], str]] = {
    "frame": (lambda chunk: chunk.frames.tolist(), "int64"),
    "time": (lambda chunk: chunk.times.tolist(), "time"),
    "src": (_mac("src"), "name"),
    "dst": (_mac("dst"), "name"),
    "vlan": (_number(lambda rows: rows["outer_tci"] & _VID, _tagged(1)), "uint16"),
    "pcp": (_number(lambda rows: rows["outer_tci"] >> _PCP_SHIFT, _tagged(1)), "uint8"),
    "dei": (_number(lambda rows: rows["outer_tci"] >> _DEI_SHIFT & 1, _tagged(1)), "uint8"),
    "tpid": (_named(lambda rows: rows["outer_tpid"], _tagged(1), lambda value: f"{value:#06x}"), "name"),
    "inner_vlan": (_number(lambda rows: rows["inner_tci"] & _VID, _tagged(2)), "uint16"),
    "type": (_named(lambda rows: rows["ethertype"], lambda rows: rows["network"] != 0, _type_text), "name"),
    "src_ip": (_address("src_ip"), "name"),
    "dst_ip": (_address("dst_ip"), "name"),
    "proto": (_named(lambda rows: rows["protocol"], lambda rows: rows["ip_version"] != 0, _protocol_text), "name"),
    "sport": (_number(lambda rows: rows["sport"], _ports), "uint16"),
    "dport": (_number(lambda rows: rows["dport"], _ports), "uint16"),
    "length": (_number(lambda rows: rows["length"], _any), "uint32"),
    "captured": (_number(lambda rows: rows["captured"], _any), "uint32"),
    "flow_hash": (_number(lambda rows: rows["flow_hash"], _any), "uint32"),
    "flags": (_named(lambda rows: rows["flags"], _any, _flag_text), "name"),
}
#: What is shown where nothing else is asked for.
DEFAULT = ("frame", "time", "src", "dst", "vlan", "pcp", "type", "src_ip", "dst_ip", "proto", "sport", "dport", "length", "flags")


def column_names(text: str | None) -> list[str]:
    """The columns of ``a,b,c``; all the usual ones for ``None``."""
    if text is None:
        return list(DEFAULT)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in COLUMNS:
            raise UsageError(f"there is no column {name!r}{did_you_mean(name, COLUMNS)}; there are {', '.join(COLUMNS)}")
    if len(set(names)) < len(names):
        raise UsageError(f"a column is named twice: {text}")
    return names


def values(chunk: Chunk, names: Sequence[str]) -> list[list[Any]]:
    """The columns of those names, each a list with one value a row."""
    return [COLUMNS[name][0](chunk) for name in names]


def write_parquet(parts: Iterator[Chunk], names: Sequence[str], path: str) -> int:
    """Write columns to a Parquet file (which appears when it is complete); returns the number of rows.  Needs the extra ``arrow``."""
    from vsw.switch.arrow import arrow, parquet_file  # noqa: PLC0415

    pa = arrow()
    types = {"time": pa.timestamp("ns", "UTC"), "name": pa.string()}
    schema = pa.schema([(name, types.get(COLUMNS[name][1]) or getattr(pa, COLUMNS[name][1])()) for name in names])
    rows = 0
    with parquet_file(path, schema) as writer:
        for chunk in parts:
            arrays = [pa.array(column, field.type) for column, field in zip(values(chunk, names), schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows += len(chunk.rows)
    return rows
