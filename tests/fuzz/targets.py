"""What the fuzzer drives: functions of bytes that raise if anything is wrong, and nothing else.

``captures`` reads any file in every way there is, and holds the ways against each other.  ``frames`` sends any frames through the compiled datapath
by several ways and through the reference, and parses them beside a slow parser.  ``topology`` loads any text, and compiles what loads.
Bytes are read so that small changes of them are small changes of the meaning, which is what a fuzzer needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np

import vsw
from tests.differential.captures import TOPOLOGIES
from tests.differential.captures import topology as fixed_topology
from tests.differential.compare import Way, differences, run_datapath, run_reference
from tests.differential.strategies import START, Frame, Scenario
from tests.wire.slow_rows import slow_row
from vsw.capture import Capture, merge, open_capture
from vsw.capture.rewrite import rewrite
from vsw.config.dialects import DIALECTS
from vsw.config.module import Module
from vsw.datapath.retag import Retag
from vsw.errors import CaptureError, ConfigError
from vsw.switch.switch import Switch

#: Of a frame: bytes, length, time, interface.
Row = tuple[bytes, int, int, int]
#: Bytes that a pipe takes without a reader.
PIPE = 1 << 16
#: Ports that a topology may have for its modules to be compiled here: more cost time and find nothing new.
PORTS = 64
#: One topology in so many is compiled: that takes ten times as long as loading it.
COMPILED = 16
TAGS = (Retag.push(10), Retag.pop(pad=True))
WAYS = (Way(True, copies=True), Way(False, copies=True), Way(False), Way(False, burst=7))


# ---- captures ----


@contextmanager
def _memory(content: bytes) -> Iterator[int]:
    """A file of that content, without a disk."""
    descriptor = os.memfd_create("vsw-fuzz")
    try:
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


def _said(*messages: str) -> None:
    """Whoever refuses says why."""
    assert messages
    assert all(messages)


def _opened(descriptor: int, strict: bool) -> Capture | None:
    try:
        return open_capture(f"/proc/self/fd/{descriptor}", strict=strict)
    except CaptureError as error:
        return _said(str(error))


def _frames(capture: Capture) -> list[Row]:
    found: list[Row] = []
    with suppress(CaptureError):
        found.extend((bytes(frame.data), frame.length, frame.time, frame.interface) for frame in capture)
    return found


def _piped(content: bytes) -> list[Row] | None:
    """The frames of a pipe; None if it can't be opened."""
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
        os.close(writing)
        try:
            capture = open_capture(f"/proc/self/fd/{reading}", strict=False)
        except CaptureError:
            return None
        with capture:
            return _frames(capture)
    finally:
        os.close(reading)


def captures(content: bytes) -> None:
    """Any file: mapped, strict and tolerant, as a pipe, by index, by ranges, merged, parsed."""
    with _memory(content) as descriptor:
        capture = _opened(descriptor, strict=False)
        if capture is None:
            assert _opened(descriptor, strict=True) is None
            return
        with capture:
            whole = _frames(capture)
            _read_again(capture, whole)
        strict = _opened(descriptor, strict=True)
        if strict is not None:
            with strict:
                found = _frames(strict)
                assert found == whole[: len(found)]
    if len(content) < PIPE and content[:2] != b"\x1f\x8b":
        assert _piped(content) == whole


def _written_again(capture: Capture, rule: Retag) -> list[Row]:
    """The frames of the file that it becomes with other tags."""
    reading, writing = os.pipe()
    try:
        rewrite(capture, f"/proc/self/fd/{writing}", rule)
        os.close(writing)
        with os.fdopen(os.dup(reading), "rb") as pipe:
            content = pipe.read()
    finally:
        os.close(reading)
    with _memory(content) as descriptor, open_capture(f"/proc/self/fd/{descriptor}", strict=False) as written:
        return _frames(written)


def _read_again(capture: Capture, whole: list[Row]) -> None:
    if capture.size < PIPE // 2 and whole:
        for rule in TAGS:
            model = [(bytes(frame.data), frame.length, frame.time, before[3]) for frame, before in zip(rule.apply(capture), whole, strict=True)]
            assert _written_again(capture, rule) == model
    assert len(capture) == len(whole)
    assert capture.problem is None or str(capture.problem)
    assert len(capture.interface_names()) >= 1 or not whole
    capture.comment.encode(errors="surrogatepass")
    assert [(bytes(frame.data), frame.length, frame.time, frame.interface) for frame in merge([capture])] == whole
    count = len(whole)
    for number in {0, count // 2, count - 1} if count else ():
        frame = capture.frame(number)
        assert (bytes(frame.data), frame.length, frame.time, frame.interface) == whole[number]
    assert _frames(capture[1 : count // 2 + 1]) == whole[1 : count // 2 + 1]
    parts = capture.ranges(3)
    assert all(before.stop_offset == after.start_offset for before, after in pairwise(parts))
    for part in parts:
        capture.reader_bytes(*part).frames()
    assert len(vsw.classify(capture)) == count


# ---- frames ----


@cache
def _modules() -> list[Module]:
    macs = [0x0050_5600_0001 + number for number in range(8)]
    return [fixed_topology(name, dialect, macs, [1, 10, 100]) for dialect in sorted(DIALECTS) for name in TOPOLOGIES]


@cache
def _switches() -> list[Switch]:
    """One a module, for all runs: what they learned is forgotten between two; no port of these guards against BPDUs."""
    return [Switch(module) for module in _modules()]


def _scenario(content: bytes) -> Scenario | None:
    """One byte for topology and ingress, then frames: port, captured length, bytes missing on the wire, time passed, the bytes."""
    if not content:
        return None
    modules = _modules()
    module = modules[(content[0] & 0x7F) % len(modules)]
    ports = [port.number for port in module.ports]
    offered = []
    at, time = 1, START
    while at + 4 <= len(content) and len(offered) < 64:
        port, captured, missing, passed = content[at : at + 4]
        data = content[at + 4 : at + 4 + captured]
        time += (passed - 16) * 1_000_000
        number = None if port == 255 else ports[port % len(ports)]
        offered.append(Frame(data, len(data) + (missing if missing < 128 else missing * 64), time, number))
        at += 4 + captured
    return Scenario(module, offered, bool(content[0] & 0x80), []) if offered else None


def frame_seeds(capture: Path, most: int = 12) -> Iterator[bytes]:
    """Frames of a capture as input of :func:`frames`: some through each topology, with ports given and found by source."""
    with open_capture(capture, strict=False) as trace:
        taken = [bytes(frame.data)[:255] for frame in trace]
    for topology in range(len(_modules())):
        for way in (0, 0x80):
            share = taken[topology * 97 % len(taken) :: 53][:most]
            yield bytes([topology | way]) + b"".join(bytes([number, len(data), 0, 17]) + data for number, data in enumerate(share))


def frames(content: bytes) -> None:
    """Any frames: classified, and forwarded by the reference, the exact path and the fast lane."""
    scenario = _scenario(content)
    if scenario is None:
        return
    data = [frame.data for frame in scenario.frames]
    lengths = np.array([len(frame) for frame in data], np.uint32)
    # The buffer ends with the last frame, so that a read beyond it is seen.
    batch = vsw.Batch.from_arrays(
        b"".join(data), np.cumsum(lengths, dtype=np.uint64) - lengths, lengths,
        wire_lengths=np.array([frame.length for frame in scenario.frames], np.uint32),
        time=np.array([frame.time for frame in scenario.frames], np.int64),
    )  # fmt: skip
    rows = vsw.classify(batch)
    for number, frame in enumerate(scenario.frames):
        for name, value in slow_row(frame.data, frame.length).items():
            found = rows[number][name]
            assert (found.tobytes() if found.ndim else int(found)) == value, f"frame {number}, {name}: {found}, not {value}"
    for policy in ("layer2", "layer3+4", "ip-hash", "vlan+srcmac"):
        assert (vsw.team_hash(batch, policy, members=3) < 3).all()
    decisions, counters = run_reference(scenario)
    switch = _switches()[_modules().index(scenario.module)]
    for way in WAYS:
        switch.flush()
        result = run_datapath(scenario, batch, switch, **way._asdict())
        found = differences(scenario, decisions, counters, result, way.copies)
        assert not found, f"{way}: " + "\n".join(found)


# ---- topologies ----


def topology(content: bytes) -> None:
    """Any text: a topology that compiles, or problems that say where and why."""
    text = content.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    try:
        lab = vsw.loads(text)
    except ConfigError as error:
        _said(*(str(problem) and problem.message for problem in error.problems))
        return
    for module in lab.modules.values():
        if len(module.ports) <= PORTS and crc32(content) % COMPILED == 0:
            Switch(module)


TARGETS: dict[str, Callable[[bytes], None]] = {"captures": captures, "frames": frames, "topology": topology}
