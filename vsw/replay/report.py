"""One page about a replay, to look at: traffic, uplinks, drops, talkers, addresses, the switch itself.

The page is self-contained: the plotting library's script (plotly, the extra ``report``) and the data are in it, and its content security policy
lets it load nothing.  All that grows with the number of frames is aggregated here in numpy, so that the page of a million frames is as quick as
that of a thousand. Names come from topologies and captures and may hold anything: they are data to the page, put in as text, and escaped where the
library reads markup.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import Port
from vsw.config.values import format_mac
from vsw.config.words import vlan_text
from vsw.datapath.classify import classify
from vsw.datapath.rows import ROW
from vsw.datapath.source import FrameSource
from vsw.errors import UsageError
from vsw.replay.source import Source
from vsw.switch.arrow import unfinished
from vsw.switch.result import Result
from vsw.switch.switch import Switch
from vsw.verdicts import Reason, Verdict

#: Steps of the time axis.
STEPS = 240
#: Ports that are shown on their own; the others are counted together.
MOST_PORTS = 48
TALKERS = 15
MOST_ADDRESSES = 2000
CHUNK = 1 << 18
PAGE = Path(__file__).with_name("report_page.html")
OTHERS = -1


def check() -> None:
    """:class:`~vsw.errors.UsageError` if the plotting library is not there."""
    _script()


def _script() -> str:
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UsageError("reports need plotly: pip install 'vsw-switch[report]'") from None
    script: str = get_plotlyjs()
    return script


def write(path: str, switch: Switch, result: Result, source: Source, title: str) -> None:
    """Write the page about a run that kept columns and copies; it appears when it is complete.

    The frames are read once more.  Raises :class:`~vsw.errors.UsageError` without plotly, OSError where the file can't be written.
    """
    script = _script()
    data = collect(switch, result, source, title)
    page = PAGE.read_text(encoding="utf-8")
    # In an element of type JSON nothing but the end tag has a meaning; it can't occur once "<" is escaped.
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "data": text, "plotly": script.replace("</script", "<\\/script")}
    # In one go: what is put in is not looked at again.
    page = re.sub(r"\{\{(title|data|plotly)\}\}", lambda match: parts[match[1]], page)
    with unfinished(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")


def collect(switch: Switch, result: Result, source: Source, title: str) -> dict[str, Any]:
    """All that the page shows."""
    times = _times(source.frames, result.frames)
    first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
    width = max(1, -(-(last - first + 1) // STEPS))
    steps = max(1, -(-(last - first + 1) // width))
    at = ((times - first) // width).astype(np.int64)
    lengths, talkers = _lengths(source.frames, result.frames)
    ports, place = _chosen(result)
    summary = result.summary()
    return {
        "title": title,
        "module": result.module.name,
        "dialect": result.module.dialect.name,
        "begin": first,
        "step": width,
        "steps": steps,
        "totals": {name: summary[name] for name in ("frames", "delivered", "consumed", "copies")}
        | {name: sum(summary[name].values()) for name in ("dropped", "filtered")},
        "ports": [_port(result, port) for port in ports] + ([_rest(result, ports)] if len(ports) < len(result.module.ports) else []),
        "received": _by_port(_received(result, at, lengths), place, steps),
        "sent": _by_port(_sent(result, at), place, steps),
        "drops": _drops(result, at, place, steps),
        "reasons": {reason.name.lower(): reason.sentence for reason in Reason if reason},
        "talkers": talkers,
        "addresses": _addresses(switch, result),
    }


def _times(frames: FrameSource, count: int) -> NDArray[np.int64]:
    if hasattr(frames, "times"):
        times: NDArray[np.int64] = frames.times()
        return times[:count]
    return np.fromiter((frame.time for frame in frames), np.int64, count)  # type: ignore[attr-defined]


def _lengths(frames: FrameSource, count: int) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Length of each frame, and who sent most."""
    lengths = np.zeros(count, np.int64)
    sent: dict[int, list[int]] = {}
    rows = classify(frames, out=np.empty(count, ROW)) if count else np.empty(0, ROW)
    lengths[: len(rows)] = rows["length"]
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        whole = np.zeros((len(part), 8), np.uint8)
        whole[:, 2:] = part["src"]
        macs, index, amounts = np.unique(whole.view(">u8").reshape(-1).astype(np.uint64), return_inverse=True, return_counts=True)
        octets = np.bincount(index.reshape(-1), weights=part["length"], minlength=len(macs))
        for mac, amount, size in zip(macs.tolist(), amounts.tolist(), octets.tolist(), strict=True):
            entry = sent.setdefault(mac, [0, 0])
            entry[0] += amount
            entry[1] += int(size)
    most = sorted(sent.items(), key=lambda item: (-item[1][1], item[0]))[:TALKERS]
    return lengths, [{"mac": format_mac(mac), "frames": amount, "bytes": size} for mac, (amount, size) in most]


def _chosen(result: Result) -> tuple[list[Port], NDArray[np.int64]]:
    """Ports that are shown, and the place of each port number among them (the last place: the others)."""
    counters = result.counters
    ports = sorted(result.module.ports, key=lambda port: port.number)
    if len(ports) > MOST_PORTS:
        weight = counters.rx_bytes + counters.tx_bytes
        keep = {port.number for port in sorted(ports, key=lambda port: (port.kind != "uplink", -int(weight[port.number])))[:MOST_PORTS]}
        ports = [port for port in ports if port.number in keep]
    place = np.full(1 << 16, OTHERS, np.int64)
    for number, port in enumerate(ports):
        place[port.number] = number
    return ports, place


def _port(result: Result, port: Port) -> dict[str, Any]:
    counters, number = result.counters, port.number
    return {
        "name": port.name,
        "label": html.escape(port.name),
        "kind": port.kind,
        "vlan": vlan_text(port),
        "mac": None if port.effective_mac is None else format_mac(port.effective_mac),
        "rx": [int(counters.rx_frames[number]), int(counters.rx_bytes[number])],
        "tx": [int(counters.tx_frames[number]), int(counters.tx_bytes[number])],
        "dropped": int(counters.port_dropped[number].sum()),
        "filtered": int(counters.port_filtered[number].sum()),
    }


def _rest(result: Result, ports: list[Port]) -> dict[str, Any]:
    counters = result.counters
    shown = [port.number for port in ports]
    rest = np.setdiff1d([port.number for port in result.module.ports], shown)
    name = f"{len(rest):,} others"
    return {
        "name": name, "label": name, "kind": "others", "count": len(rest), "vlan": "", "mac": None,
        "rx": [int(counters.rx_frames[rest].sum()), int(counters.rx_bytes[rest].sum())],
        "tx": [int(counters.tx_frames[rest].sum()), int(counters.tx_bytes[rest].sum())],
        "dropped": int(counters.port_dropped[rest].sum()),
        "filtered": int(counters.port_filtered[rest].sum()),
    }  # fmt: skip


#: Port, step of time and length of each of some frames or copies.
Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _received(result: Result, at: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[Part]:
    # A frame that came in by no port is nobody's.
    known = np.flatnonzero(result.port_in != 0xFFFF)
    yield result.port_in[known].astype(np.int64), at[known], lengths[known]


def _sent(result: Result, at: NDArray[np.int64]) -> Iterator[Part]:
    """In parts: a flood may have made thousands of copies of each frame."""
    for start in range(0, len(result.copies), CHUNK):
        copies = result.copies[start : start + CHUNK]
        yield copies["port"].astype(np.int64), at[copies["frame"].astype(np.int64)], copies["length"].astype(np.int64)


def _by_port(parts: Iterable[Part], place: NDArray[np.int64], steps: int) -> list[dict[str, Any]]:
    """Frames and bytes of each port that is shown, by step of time."""
    count = int(place.max(initial=0)) + 1
    size = (count + 1) * steps
    frames, octets = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for ports, at, lengths in parts:
        where = place[ports]
        key = np.where(where == OTHERS, count, where) * steps + at
        frames += np.bincount(key, minlength=size)
        octets += np.bincount(key, weights=lengths, minlength=size).astype(np.int64)
    by_port = zip(frames.reshape(-1, steps).tolist(), octets.reshape(-1, steps).tolist(), strict=True)
    return [{"frames": one, "bytes": other} for one, other in by_port]


def _drops(result: Result, at: NDArray[np.int64], place: NDArray[np.int64], steps: int) -> list[dict[str, Any]]:
    """Dropped frames by reason, port of ingress and step of time."""
    dropped = np.flatnonzero(result.verdict == Verdict.DROPPED)
    ports = result.port_in[dropped].astype(np.int64)
    count = int(place.max(initial=0)) + 1
    where = np.where(place[ports] == OTHERS, count, place[ports])
    key = (result.reason[dropped].astype(np.int64) * (count + 1) + where) * steps + at[dropped]
    keys, amounts = np.unique(key, return_counts=True)
    found: dict[tuple[int, int], dict[str, Any]] = {}
    reasons = list(Reason)
    for value, amount in zip(keys.tolist(), amounts.tolist(), strict=True):
        rest, step = divmod(value, steps)
        reason, port = divmod(rest, count + 1)
        entry = found.setdefault((reason, port), {"reason": reasons[reason].name.lower(), "port": port, "steps": [], "frames": []})
        entry["steps"].append(step)
        entry["frames"].append(amount)
    return list(found.values())


def _addresses(switch: Switch, result: Result) -> list[list[Any]]:
    """What the switch knows: VLAN (null: any), MAC, port, how."""
    names = {port.number: port.name for port in result.module.ports}
    rows: list[list[Any]] = [[entry.vlan, format_mac(entry.mac), names[entry.port], "static"] for entry in result.module.static]
    rows += [[vlan, format_mac(mac), names.get(port, str(port)), "learned"] for vlan, mac, port, _ in switch.learned()]
    return rows[:MOST_ADDRESSES]
