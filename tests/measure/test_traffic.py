"""The traffic generator: the same bytes for the same seed, well-formed frames, and a mix that suits the module."""

from __future__ import annotations

import hashlib
from pathlib import Path

import dpkt
import numpy as np
import pytest

from vsw.config.dialects import DIALECTS, Security
from vsw.config.module import ALL_VIDS, Module, Port, StaticEntry, Team, Vlan
from vsw.errors import UsageError
from vsw.measure.lab import bench_module
from vsw.measure.traffic import CHUNK, Kind, Mix, chunks, write_capture

OPEN = Security(promiscuous=False, mac_changes=True, forged_transmits=True)
DOT1Q = 0x8100


def frames_of(module: Module, mix: Mix) -> list[tuple[bytes, int, Kind]]:
    """(bytes, port number, kind) of every frame."""
    return [
        (chunk.buffer[offset : offset + length].tobytes(), port, Kind(kind))
        for chunk in chunks(module, mix)
        for offset, length, port, kind in zip(
            chunk.offsets.tolist(), chunk.lengths.tolist(), chunk.port_in.tolist(), chunk.kinds.tolist(), strict=True
        )
    ]


def vid_of(frame: bytes) -> int | None:
    """The VID of the frame's tag, ``None`` without one."""
    return int.from_bytes(frame[14:16]) & 0x0FFF if int.from_bytes(frame[12:14]) == DOT1Q else None


@pytest.mark.parametrize("sizes", ["64", "imix", "1518", ((64, 1), (100, 2), (9018, 1))])
def test_same_seed_same_bytes(tmp_path: Path, sizes: str | tuple[tuple[int, int], ...]) -> None:
    module = bench_module(200)
    digests = []
    for index, seed in enumerate((7, 7, 8)):
        traffic = write_capture(module, tmp_path / f"{index}.pcap", Mix(CHUNK // 8, sizes, seed))
        digests.append(hashlib.sha256((tmp_path / f"{index}.pcap").read_bytes() + traffic.port_in.tobytes()).hexdigest())
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_capture_holds_what_was_promised(tmp_path: Path) -> None:
    """The file's records follow one another in time, hold the frames of the chunks, and count the bytes that are reported."""
    module = bench_module(200)
    mix = Mix(CHUNK + 1000, "imix", 3)
    traffic = write_capture(module, tmp_path / "t.pcap", mix)
    with (tmp_path / "t.pcap").open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        assert reader.datalink() == dpkt.pcap.DLT_EN10MB
        records = list(reader)
    expected = frames_of(module, mix)
    assert [data for _, data in records] == [data for data, _, _ in expected]
    assert traffic.port_in.tolist() == [port for _, port, _ in expected]
    assert traffic.frames == mix.frames == len(records)
    assert traffic.bytes == sum(len(data) for _, data in records)
    times = [time for time, _ in records]
    assert times == sorted(times)
    # A frame of 1,538 bytes with all that the wire needs takes 1.23 us at 10 Gbit/s, one of 84 bytes 67 ns.
    wire = np.sum([len(data) + 24 for _, data in records[:-1]]) * 0.8e-9
    assert float(times[-1] - times[0]) == pytest.approx(float(wire), rel=1e-3)


@pytest.mark.parametrize(
    ("sizes", "captured"),
    [("64", {60: 1}), ("imix", {60: 7 / 12, 566: 4 / 12, 1514: 1 / 12}), ("1518", {1514: 1}), (((1522, 1),), {1518: 1})],
)
def test_sizes(sizes: str | tuple[tuple[int, int], ...], captured: dict[int, float]) -> None:
    lengths = np.concatenate([chunk.lengths for chunk in chunks(bench_module(64), Mix(20_000, sizes))])
    found = dict(zip(*(part.tolist() for part in np.unique(lengths, return_counts=True)), strict=True))
    assert {size: count / 20_000 for size, count in found.items()} == pytest.approx(captured, abs=0.015)


@pytest.mark.parametrize("sizes", ["64", "imix", ((83, 1), (86, 1), (87, 1), (1501, 1))])
def test_headers_are_right(sizes: str | tuple[tuple[int, int], ...]) -> None:
    """dpkt packs each packet anew with empty checksums and lengths: what it fills in is what the generator wrote."""
    seen = set()
    for number, (frame, _, _) in enumerate(frames_of(bench_module(100), Mix(2_000, sizes, 5))):
        packet = dpkt.ethernet.Ethernet(frame)
        inner = packet.data
        six = isinstance(inner, dpkt.ip6.IP6)
        segment = inner.data
        assert bytes(packet) == frame
        assert (inner.plen + 40 if six else inner.len) == len(frame) - (14 if vid_of(frame) is None else 18)
        tcp = isinstance(segment, dpkt.tcp.TCP)
        assert tcp or segment.ulen == len(bytes(segment))
        assert (segment.seq if tcp else int.from_bytes(segment.data[:4])) == number
        written = bytes(inner)
        segment.sum = 0
        if not six:
            inner.sum = 0
        assert bytes(inner) == written
        seen.add((vid_of(frame) is not None, six, tcp))
    assert len(seen) == (4 if sizes == "64" else 8)


@pytest.mark.parametrize("macs", [64, 1000, 20_000])
def test_mix_of_the_bench_module(macs: int) -> None:
    """Shares are as asked, every address takes part, and each frame looks as it must on its port."""
    module = bench_module(macs)
    ports = {port.number: port for port in module.ports}
    owner = {entry.mac: entry for entry in module.static}
    frames = frames_of(module, Mix(100_000))
    for data, number, kind in frames:
        port, vid = ports[number], vid_of(data)
        dst, src = int.from_bytes(data[:6]), int.from_bytes(data[6:12])
        assert (port.kind == "uplink") == (kind in (Kind.INWARD, Kind.BROADCAST_OUTSIDE, Kind.UNKNOWN))
        assert vid is None if port.vlan.mode == "access" else vid in port.vlan.vids
        assert (src in owner) == (port.kind == "vnic")
        assert port.kind == "uplink" or owner[src].port == number
        assert (dst in owner) == (kind in (Kind.INSIDE, Kind.INWARD))
        assert (dst == 0xFFFF_FFFF_FFFF) == (kind in (Kind.BROADCAST_LOCAL, Kind.BROADCAST_OUTSIDE))
        if dst in owner:
            to = ports[owner[dst].port].vlan
            vlan = port.vlan.vid if vid is None else vid
            assert owner[dst].port != number
            assert to.vid == vlan or vlan in to.vids
    share = {kind: sum(found == kind for _, _, found in frames) / len(frames) for kind in Kind}
    assert share[Kind.UNKNOWN] == pytest.approx(0.05, abs=0.005)
    assert share[Kind.BROADCAST_LOCAL] + share[Kind.BROADCAST_OUTSIDE] == pytest.approx(0.05, abs=0.005)
    assert sum(vid_of(data) is not None for data, _, _ in frames) / len(frames) == pytest.approx(0.5, abs=0.01)
    addresses = {int.from_bytes(data[at : at + 6]) for data, _, _ in frames for at in (0, 6)}
    assert len(addresses & set(owner)) > 0.99 * macs


def test_bench_module_has_the_promised_shape() -> None:
    module = bench_module(1000)
    assert len({entry.mac for entry in module.static}) == len(module.static) == 1000
    members = {vid: [port for port in module.ports[2:] if port.vlan.vid == vid or vid in port.vlan.vids] for vid in range(1, 17)}
    assert {len(ports) for ports in members.values()} == {4}
    assert {sum(port.vlan.mode == "trunk" for port in ports) for ports in members.values()} == {1}
    assert module.teams[0].active == (0, 1)
    assert {port.security.forged_transmits for port in bench_module(64, security=True).ports[2:]} == {False}


def _module(*vlans: Vlan, dialect: str = "vsw", uplink: Vlan | None = None, macs: bool = True, private: tuple[tuple[int, int], ...] = ()) -> Module:
    ports = []
    for number, vlan in enumerate(vlans):
        mac = 0x005056_000000 + number if macs else None
        ports.append(Port(number, f"p{number}", "vnic", vlan, OPEN, mac=mac, effective_mac=mac, team=0 if uplink else None))
    teams: tuple[Team, ...] = ()
    if uplink is not None:
        ports.append(Port(len(vlans), "up", "uplink", uplink, OPEN, team=0))
        teams = (Team("uplinks", "explicit", (len(vlans),)),)
    static = tuple(
        StaticEntry(port.vlan.vid if port.vlan.mode in ("access", "dot1q-tunnel", "private") else None, port.mac, port.number)
        for port in ports
        if port.mac is not None
    )
    return Module("m", DIALECTS[dialect], tuple(ports), teams, static, private=private)


ALL = Vlan("trunk", vids=ALL_VIDS)
SOME = frozenset({5, 6})


@pytest.mark.parametrize(
    ("module", "kinds", "tags"),
    [
        pytest.param(_module(Vlan("access", 5), Vlan("access", 5), uplink=ALL), set(Kind), {0: {None}, 1: {None}, 2: {5}}, id="access"),
        pytest.param(_module(Vlan("access", 5), ALL, uplink=ALL), set(Kind), {0: {None}, 1: {5}, 2: {5}}, id="trunk-in-the-vlans-of-others"),
        pytest.param(_module(ALL, ALL, uplink=ALL), set(Kind), {0: {None, *range(1, 16)}, 1: {None, *range(1, 16)}}, id="trunks-only"),
        pytest.param(
            _module(Vlan("native-tagged", 5, SOME), Vlan("native-untagged", 6, SOME), uplink=Vlan("native-untagged", 6, SOME)),
            set(Kind),
            {0: {None, 6}, 1: {5, None}, 2: {5, None}},
            id="native",
        ),
        pytest.param(
            _module(Vlan("dot1q-tunnel", 5, cvids=frozenset({7, 8})), Vlan("dot1q-tunnel", 5), uplink=ALL),
            set(Kind),
            {0: {7}, 1: {None}, 2: {5}},
            id="tunnel",
        ),
        pytest.param(
            _module(
                Vlan("private", 5, role="promiscuous"), Vlan("private", 5, role="isolated", secondary=6), uplink=ALL, private=((6, 5),)
            ),
            set(Kind),
            {0: {None}, 1: {None}, 2: {5}},
            id="private",
        ),
        pytest.param(
            _module(Vlan("access", 5), Vlan("access", 5), dialect="ovs", macs=False),
            {Kind.INSIDE, Kind.BROADCAST_LOCAL, Kind.UNKNOWN},
            {0: {None}, 1: {None}},
            id="plain-without-addresses",
        ),
        pytest.param(
            _module(Vlan("access", 5), Vlan("access", 6), uplink=ALL),
            set(Kind) - {Kind.INSIDE},
            {0: {None}, 1: {None}, 2: {5, 6}},
            id="nobody-else-in-the-vlan",
        ),
        pytest.param(
            _module(Vlan("access", 5), Vlan("access", 5), Vlan("access", 6), Vlan("access", 6), uplink=Vlan("access", 6)),
            set(Kind),
            {0: {None}, 1: {None}, 2: {None}, 3: {None}, 4: {None}},
            id="uplink-in-one-vlan",
        ),
    ],
)
def test_any_module(module: Module, kinds: set[Kind], tags: dict[int, set[int | None]]) -> None:
    frames = frames_of(module, Mix(4_000))
    assert {kind for _, _, kind in frames} == kinds
    found: dict[int, set[int | None]] = {}
    for data, number, _ in frames:
        found.setdefault(number, set()).add(vid_of(data))
    assert {number: found[number] for number in tags} == tags


@pytest.mark.parametrize(
    ("module", "mix", "says"),
    [
        (bench_module(64), Mix(10, "huge"), "'huge': known are 64, 570, 1518, imix"),
        (bench_module(64), Mix(10, ((63, 1),)), "size 63 with weight 1"),
        (bench_module(64), Mix(10, ((64, 0),)), "size 64 with weight 0"),
        (bench_module(64), Mix(10, broadcast=0.6, unknown=0.5), "together at most 1"),
        (bench_module(64), Mix(10, unknown=-0.1), "at least 0"),
        (bench_module(64), Mix(10, outsiders=1 << 24), "16777216 addresses outside"),
        (_module(), Mix(10), "no local port"),
        (_module(uplink=ALL), Mix(10), "no local port"),
    ],
)
def test_what_cannot_be_drawn(module: Module, mix: Mix, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        list(chunks(module, mix))


@pytest.mark.parametrize(("macs", "vnics", "vlans"), [(63, 64, 16), ((1 << 24) + 1, 64, 16), (64, 8, 16), (5000, 4095, 16), (64, 64, 0)])
def test_bench_module_refuses(macs: int, vnics: int, vlans: int) -> None:
    with pytest.raises(UsageError):
        bench_module(macs, vnics=vnics, vlans=vlans)


def test_no_frames_at_all(tmp_path: Path) -> None:
    traffic = write_capture(bench_module(64), tmp_path / "empty.pcap", Mix(0))
    assert (traffic.frames, traffic.bytes, len(traffic.port_in)) == (0, 0, 0)
    assert (tmp_path / "empty.pcap").stat().st_size == 24
