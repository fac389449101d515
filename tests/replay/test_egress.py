"""Egress captures: what they hold is what the result says, and nothing appears before all is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vsw
from tests.cli.run import CAPTURE, TOPOLOGY
from tests.differential.clean import generate_clean
from tests.differential.compare import batch_of, ingress_of
from tests.differential.strategies import generate
from vsw.config.dialects import DIALECTS
from vsw.config.module import Module
from vsw.replay.egress import FORMATS, Egress
from vsw.replay.names import LONGEST, file_names
from vsw.replay.source import Source

MODULE = vsw.load(TOPOLOGY).module()
Record = tuple[bytes, int, int]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def read(path: str | Path) -> list[Record]:
    with vsw.open_capture(path) as trace:
        return [(bytes(frame.data), frame.length, frame.time) for frame in trace]


def wanted(module: Module, frames: Any, times: list[int], **options: Any) -> dict[str, list[Record]]:
    """By port, in the order of the frames, what left."""
    result = vsw.Switch(module).forward(frames, copies=True, **options)
    names = {port.number: port.name for port in module.ports}
    left: dict[str, list[Record]] = {name: [] for name in names.values()}
    for frame, port, data, length in result.egress():
        left[names[port]].append((data, length, max(0, times[frame])))
    return left


def written(module: Module, frames: Any, folder: Path, options: dict[str, Any], **kind: Any) -> dict[str, list[Record]]:
    with Egress(module, folder, **kind) as egress:
        vsw.Switch(module).forward(frames, egress=egress, columns=False, **options)
        assert not any(Path(path).exists() for path in egress.files.values())
    assert {path.name for path in folder.iterdir()} == {Path(path).name for path in egress.files.values()}
    return {port: read(path) for port, path in egress.files.items()}


@pytest.mark.parametrize("room", [None, 64, 1 << 12], ids="room {}".format)
@pytest.mark.parametrize("file_format", FORMATS)
def test_the_example(tmp_path: Path, file_format: str, room: int | None) -> None:
    with vsw.open_capture(CAPTURE) as trace:
        expected = wanted(MODULE, trace, [frame.time for frame in trace])
        assert written(MODULE, trace, tmp_path / "new" / "egress", {}, format=file_format, room=room) == expected
    assert all(expected.values())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_random_switches_and_frames(tmp_path: Path, dialect: str) -> None:
    padded = cut = 0
    for seed in range(24):
        scenario = generate(seed, 20, dialect)
        options = {"ingress": ingress_of(scenario), "events": [vsw.Event(*event) for event in scenario.events]}
        expected = wanted(scenario.module, batch_of(scenario), [frame.time for frame in scenario.frames], **options)
        folder = tmp_path / str(seed)
        assert written(scenario.module, batch_of(scenario), folder, options, format=FORMATS[seed % 2], room=None if seed % 3 else 64) == expected
        copies = [record for records in expected.values() for record in records]
        padded += scenario.module.pad and any(len(data) == 60 for data, _, _ in copies)
        cut += any(len(data) < length for data, length, _ in copies)
    assert padded
    assert cut


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_traffic_of_the_fast_lane(tmp_path: Path, dialect: str, file_format: str) -> None:
    """Records that are written many at a time: with tags put on and taken off, floods in between, from before the epoch on."""
    tagged = untagged = flooded = 0
    for seed in range(8):
        scenario = generate_clean(seed, 400, dialect)
        apart = 7_000_000 if seed % 2 else 3  # nanoseconds
        frames = [frame._replace(time=(number - 20) * apart) for number, frame in enumerate(scenario.frames)]
        scenario = scenario._replace(frames=frames)
        options = {"ingress": ingress_of(scenario)}
        expected = wanted(scenario.module, batch_of(scenario), [frame.time for frame in frames], **options)
        kind = {"format": file_format, "room": None if seed % 3 else 512}
        assert written(scenario.module, batch_of(scenario), tmp_path / str(seed), options, **kind) == expected
        for records in expected.values():
            tagged += sum(data[12:14] == b"\x81\x00" for data, _, _ in records)
            untagged += sum(data[12:14] != b"\x81\x00" for data, _, _ in records)
        flooded += sum(map(len, expected.values())) > len(frames)
    assert tagged > 100
    assert untagged > 100
    assert flooded


def test_more_ports_than_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (4, 4))
    with vsw.open_capture(CAPTURE) as trace:
        before = open_files()
        expected = wanted(MODULE, trace, [frame.time for frame in trace])
        with Egress(MODULE, tmp_path, room=1 << 12) as egress:
            vsw.Switch(MODULE).forward(trace, egress=egress)
            assert open_files() <= before + 3
        assert {port: read(path) for port, path in egress.files.items()} == expected


def test_the_interface_tells_where_frames_left(tmp_path: Path) -> None:
    with Egress(MODULE, tmp_path, comment="a comment") as egress:
        pass
    for port, path in egress.files.items():
        with vsw.open_capture(path) as trace:
            assert trace.interface_names() == [f"esx1/vSwitch0/{port}"]
            assert trace.comment == "a comment"
            assert len(trace) == 0


@pytest.mark.parametrize("existed", [False, True])
def test_an_exception_leaves_nothing(tmp_path: Path, existed: bool) -> None:
    folder = tmp_path / "egress"
    if existed:
        folder.mkdir()
        (folder / "web1.0.pcapng").write_text("of an earlier run")
    def fail() -> None:
        with vsw.open_capture(CAPTURE) as trace, Egress(MODULE, folder) as egress:
            vsw.Switch(MODULE).forward(trace, egress=egress)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert folder.exists() == existed
    assert not existed or [(path.name, path.read_text()) for path in folder.iterdir()] == [("web1.0.pcapng", "of an earlier run")]


def test_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        with vsw.open_capture(CAPTURE) as trace, Egress(MODULE, tmp_path) as egress:
            vsw.Switch(MODULE).forward(trace, egress=egress)
    assert len(list(tmp_path.iterdir())) == len(egress.files) == 7
    assert len(read(egress.files["web1.0"])) == 449


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(vsw.UsageError, match="pcapng or pcap, not 'erf'"):
        Egress(MODULE, tmp_path, format="erf")
    (tmp_path / "db1.0.pcapng").mkdir()
    with pytest.raises(IsADirectoryError, match=r"db1\.0\.pcapng"):
        Egress(MODULE, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        Egress(MODULE, tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db1.0.pcapng", "file"]


@pytest.mark.parametrize("end", ["close", "discard"])
def test_nothing_more_after_the_end(tmp_path: Path, end: str) -> None:
    egress = Egress(MODULE, tmp_path)
    switch = vsw.Switch(MODULE)
    with vsw.open_capture(CAPTURE) as trace:
        switch.forward(trace, egress=egress)
        getattr(egress, end)()
        with pytest.raises(vsw.UsageError, match="closed"):
            switch.forward(trace, egress=egress)


def test_nothing_more_after_a_failure(tmp_path: Path) -> None:
    """Without memory for a buffer: what comes afterwards is refused for the same reason."""
    switch, egress = vsw.Switch(MODULE), Egress(MODULE, tmp_path, room=1 << 62)
    with vsw.open_capture(CAPTURE) as trace:
        for _ in range(2):
            with pytest.raises(OSError, match="memory") as failed:
                switch.forward(trace, egress=egress)
            assert failed.value.filename in egress.files.values()


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["web1.0", "vmnic0"], ["web1.0.pcap", "vmnic0.pcap"]),
        (["a/b", "a_b"], ["a_b.pcap", "a_b-1.pcap"]),
        (["", ".", "..", ".hidden"], ["_.pcap", "_..pcap", "_...pcap", "_.hidden.pcap"]),
        (["Web", "web", "web-1"], ["Web.pcap", "web-1.pcap", "web-1-2.pcap"]),
        (["x\0\n\x1b", "ü"], ["x___.pcap", "ü.pcap"]),
        (["ü" * 200, "ü" * 199], ["ü" * 125 + ".pcap", "ü" * 124 + "-1.pcap"]),
    ],
)
def test_names_of_files(names: list[str], files: list[str]) -> None:
    found = list(file_names(dict(enumerate(names)), ".pcap").values())
    assert found == files
    assert all(len(name.encode()) <= LONGEST for name in found)


def test_parts_of_a_source() -> None:
    with vsw.open_capture(CAPTURE) as trace:
        frames = list(trace)
    for paths in ([CAPTURE], [CAPTURE, CAPTURE]):
        with Source(paths) as source:
            every = [frame for frame in frames for _ in paths]
            for start, stop in ((0, 5), (7, 300), (2960 * len(paths), 10**6)):
                part = source.part(start, stop)
                assert [frame.time for frame in part] == [frame.time for frame in every[start:stop]]
                assert len(part) == len(every[start:stop])
                assert vsw.Switch(MODULE).forward(part).frames == len(part)
            assert source.first_time() == frames[0].time
