"""Traffic that suits a module: seeded, drawn from its ports, VLANs and MAC addresses.

Of each frame the sender and the receiver are drawn from the module's configuration, and the frame looks as it does on the wire at the port that
it comes in by: untagged from an access port, tagged from a trunk and from an uplink.  So nearly all of it is
delivered, and a benchmark measures a switch that switches.  The same module, :class:`Mix` and seed give the same bytes.

Who sends to whom:

- *inside*: from a local port to another one of the same VLAN;
- *outward*: from a local port to an address that is not here;
- *inward*: from an uplink to a local port;
- *broadcast*: from any of those senders;
- *unknown*: from an uplink to an address that nobody has (a module that has no uplinks: from a local port).

Addresses that are not here come from :attr:`Mix.outsiders` hosts beyond the uplinks.  IPv4 addresses are 10.0.0.0 plus a running number,
IPv6 addresses fd00:: plus that number; lengths and checksums are right; the payload is zeros.  IPv6 needs frames of 82
bytes, so all frames of 60 bytes are IPv4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vsw.config.module import Module, Port
from vsw.errors import UsageError
from vsw.measure.packets import FCS_BYTES, FILE_HEADER, MAX_HEADER_BYTES, MIN_CAPTURED, U1, U2, U4, U8, Columns, write_records

#: Frame sizes on the wire (with the check sequence) and their weights, by name.
SIZES: dict[str, tuple[tuple[int, int], ...]] = {
    "64": ((64, 1),),
    "570": ((570, 1),),
    "1518": ((1518, 1),),
    "imix": ((64, 7), (570, 4), (1518, 1)),
}

#: Frames that are drawn and written at a time.  Part of the result: another number gives other frames.
CHUNK = 32_768

_BROADCAST = np.uint64(0xFFFF_FFFF_FFFF)
_TPID = 0x8100
_START_NS = 1_700_000_000_000_000_000
#: Preamble, start delimiter, check sequence and gap: what a frame takes on the wire besides the captured bytes.
_WIRE_OVERHEAD = 8 + FCS_BYTES + 12
_TENTHS_OF_NS_PER_BYTE = 8  # 10 Gbit/s
_OUTSIDER_OUI = 0x001B21 << 24
_UNKNOWN_OUI = 0x02FF00 << 24
_INVENTED_OUI = 0x02FE00 << 24
_OUI_ADDRESSES = 1 << 24
_UNKNOWN_ADDRESSES = 4096
#: Odd, so that multiplying by it modulo 2**24 permutes the addresses of an OUI: tables are not given neighbours to hash.
_SCRAMBLE = 0x9E3779
_OUTSIDE_NUMBERS = 0xF0_0000  # end point numbers of outsiders: 10.240.0.0 and up
_BROADCAST_NUMBER = 0xFF_FFFF
_TCP_PORTS = np.array([80, 443, 22, 3306], np.uint16)
_UDP_PORTS = np.array([53, 123, 443, 4789], np.uint16)
_EPHEMERAL_PORT = 49_152


class Kind(IntEnum):
    """Who a frame goes from and to."""

    INSIDE = 0
    OUTWARD = 1
    INWARD = 2
    BROADCAST_LOCAL = 3
    BROADCAST_OUTSIDE = 4
    UNKNOWN = 5


@dataclass(frozen=True, slots=True)
class Mix:
    """What to draw.

    ``sizes`` names one of :data:`SIZES`, or gives pairs of a size on the wire (bytes, check sequence included, at least 64) and a weight.
    ``broadcast`` and ``unknown`` are shares of all frames, ``tagged`` the wanted share of frames that
    carry an 802.1Q tag where they come in (reached by drawing more or fewer frames from the uplinks, as far as that goes), ``ipv6`` a share of the
    frames that are long enough.  ``flows`` is the number of flows between any two addresses and of each protocol.
    """

    frames: int
    sizes: str | tuple[tuple[int, int], ...] = "64"
    seed: int = 1
    broadcast: float = 0.05
    unknown: float = 0.05
    tagged: float = 0.5
    ipv6: float = 0.25
    flows: int = 16
    outsiders: int = 256

    def weights(self) -> tuple[tuple[int, int], ...]:
        """Sizes on the wire with their weights; :class:`UsageError` if they can't be had."""
        if isinstance(self.sizes, str) and self.sizes not in SIZES:
            raise UsageError(f"sizes {self.sizes!r}: known are {', '.join(SIZES)}")
        weights = SIZES[self.sizes] if isinstance(self.sizes, str) else self.sizes
        for size, weight in weights:
            if not MIN_CAPTURED + FCS_BYTES <= size <= 9216 + FCS_BYTES or weight < 1:
                raise UsageError(f"size {size} with weight {weight}: a size on the wire is 64 to 9220 bytes, a weight at least 1")
        return weights


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames in memory: ``buffer`` holds whole pcap records, ``offsets`` and ``lengths`` say where the frames are in it.

    ``times`` are int64 nanoseconds, ``port_in`` uint16 port numbers, ``kinds`` members of :class:`Kind` as uint8.
    """

    buffer: U1
    offsets: U8
    lengths: U4
    times: NDArray[np.int64]
    port_in: U2
    kinds: U1
    tagged: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """A capture that was written: where, how many frames and bytes of them, the port each came in by (uint16), and shares.

    ``shares`` maps the name of each :class:`Kind` (and ``tagged``) to the share of frames that are of it.
    """

    path: Path
    frames: int
    bytes: int
    port_in: U2
    shares: dict[str, float] = field(default_factory=dict)


def write_capture(module: Module, path: str | Path, mix: Mix) -> Traffic:
    """Write traffic for ``module`` as a pcap file (nanoseconds, little-endian) to ``path``, replacing what is there.

    Times start at a fixed date and follow one another as on a full link of 10 Gbit/s.  Raises :class:`UsageError` for a mix or a module that no
    traffic can be drawn from, and :class:`OSError`.
    """
    path = Path(path)
    port_in = np.empty(mix.frames, np.uint16)
    kinds = np.zeros(len(Kind), np.int64)
    tagged = position = octets = 0
    with path.open("wb") as file:
        file.write(FILE_HEADER)
        for chunk in chunks(module, mix):
            file.write(chunk.buffer.data)
            port_in[position : position + len(chunk.port_in)] = chunk.port_in
            kinds += np.bincount(chunk.kinds, minlength=len(Kind))
            tagged += chunk.tagged
            octets += int(chunk.lengths.sum(dtype=np.int64))
            position += len(chunk.port_in)
    shares = {kind.name.lower(): int(kinds[kind]) / max(1, mix.frames) for kind in Kind}
    return Traffic(path, mix.frames, octets, port_in, shares | {"tagged": tagged / max(1, mix.frames)})


def chunks(module: Module, mix: Mix) -> Iterator[Chunk]:
    """Draw the traffic, at most :data:`CHUNK` frames at a time.  Raises :class:`UsageError` as :func:`write_capture` does."""
    return _Draw(module, mix).chunks()


class _Stations:
    """Every (local port, VLAN, address) that may send, sorted by VLAN and port.

    ``first`` and ``count`` delimit the VLAN that a station is in, ``port_first`` and ``port_count`` its port's part of that.
    """

    def __init__(self, module: Module) -> None:
        table: NDArray[np.int64] = np.fromiter((number for row in _stations(module) for number in row), np.int64).reshape(-1, 4)
        if not len(table):
            raise UsageError(f"{module.name}: no local port that is up can send, so no traffic can be drawn")
        table = table[np.lexsort(table.T[2::-1])]
        self.vlan = table[:, 0]
        self.port = table[:, 1].astype(np.uint16)
        self.mac = table[:, 2].astype(np.uint64)
        self.tag = table[:, 3]
        self.first, self.count = _runs(self.vlan)
        self.port_first, self.port_count = _runs(self.vlan << 16 | table[:, 1])

    def __len__(self) -> int:
        return len(self.mac)


def _runs(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each element of a sorted array, where the run of equal elements that it is in starts, and that run's length."""
    _, starts, inverse, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    return starts[inverse].astype(np.int64), counts[inverse].astype(np.int64)


def _stations(module: Module) -> Iterator[tuple[int, int, int, int]]:
    """(VLAN, port number, address, VID of the tag that is sent or -1) of all that local ports may send."""
    outside = _outside_ports(module)
    primary = dict(module.private)
    owned: dict[int, list[tuple[int | None, int]]] = {port.number: [] for port in module.ports}
    for entry in module.static:
        owned[entry.port].append((entry.vlan, entry.mac))
    shared = {vlan for port in module.ports if port not in outside and port.vlan.mode != "trunk" for vlan in [port.vlan.vid]}
    for port in module.ports:
        if port in outside or not port.up:
            continue
        tags = _tags(port, shared)
        addresses: set[tuple[int | None, int]] = set(owned[port.number])
        addresses.update((None, mac) for mac in (port.effective_mac, *port.macs) if mac is not None)
        if not addresses:
            addresses.add((None, _INVENTED_OUI + port.number))
        anywhere = {mac for vlan, mac in addresses if vlan is None}
        for vlan, mac in addresses:
            if vlan is None:
                yield from ((primary.get(inside, inside), port.number, mac, tag) for inside, tag in tags.items())
            elif vlan in tags and mac not in anywhere:
                yield primary.get(vlan, vlan), port.number, mac, tags[vlan]


def _outside_ports(module: Module) -> tuple[Port, ...]:
    members = {member for team in module.teams for member in (*team.active, *team.standby, *team.unused)}
    return tuple(port for port in module.ports if port.kind == "uplink" or port.number in members)


def _tags(port: Port, shared: set[int]) -> dict[int, int]:
    """The VLANs that a port sends into, each with the VID of the tag that it then sends (-1: none).

    A trunk carries as many VLANs as it is configured for; traffic is drawn in those that other ports are in too, if there are any.
    """
    vlan = port.vlan
    match vlan.mode:
        case "access" | "private":
            return {vlan.vid: -1}
        case "dot1q-tunnel":
            return {vlan.vid: -1 if not vlan.cvids or 0 in vlan.cvids else min(vlan.cvids)}
        case _:
            carried = vlan.vids & shared or frozenset(sorted(vlan.vids)[:16])
            native = None if vlan.mode == "trunk" else vlan.vid
            return {vid: -1 if vid in (native, 0) else vid for vid in sorted(carried)}


class _Draw:
    """One run: tables from the module, then frames chunk by chunk."""

    def __init__(self, module: Module, mix: Mix) -> None:
        self.mix = mix
        self.random = np.random.Generator(np.random.PCG64(mix.seed))
        self.stations = _Stations(module)
        weights = mix.weights()
        self.sizes = np.repeat([size - FCS_BYTES for size, _ in weights], [weight for _, weight in weights]).astype(np.uint32)
        here = np.unique(self.stations.mac)
        self.outsiders = _others(_OUTSIDER_OUI, max(1, mix.outsiders), here)
        self.nobody = _others(_UNKNOWN_OUI, _UNKNOWN_ADDRESSES, here)
        self._uplinks(module)
        self.paired = np.flatnonzero(self.stations.count > self.stations.port_count)
        self.thresholds = np.cumsum(self._shares())

    def _uplinks(self, module: Module) -> None:
        """Tables by VLAN: ``uplink_ports`` (port numbers), ``uplink_tags`` (VIDs, -1: none), ``uplink_count``; and each station's row in them."""
        team = module.teams[0] if module.teams else None
        usable = [port for port in _outside_ports(module) if port.up and (team is None or port.number in (*team.active, *team.standby))]
        vlans, self.uplink_row = np.unique(self.stations.vlan, return_inverse=True)
        carried = [[(port.number, tags[vlan]) for port in usable if vlan in (tags := _tags(port, {vlan}))] for vlan in vlans.tolist()]
        widest = max(1, *map(len, carried))
        self.uplink_ports = np.array([[number for number, _ in row] + [0] * (widest - len(row)) for row in carried], np.uint16)
        self.uplink_tags = np.array([[tag for _, tag in row] + [0] * (widest - len(row)) for row in carried], np.int64)
        self.uplink_count = np.array([len(row) for row in carried], np.int64)
        self.reachable = np.flatnonzero(self.uplink_count[self.uplink_row] > 0)

    def _shares(self) -> NDArray[np.float64]:
        """Shares of the kinds.

        The share U that comes from uplinks follows from the tagged share: tagged = U * (tagged from uplinks) + (1 - U) * (tagged from locals).
        """
        mix = self.mix
        if min(mix.broadcast, mix.unknown) < 0 or mix.broadcast + mix.unknown > 1:
            raise UsageError(f"broadcast {mix.broadcast} and unknown {mix.unknown}: shares are at least 0 and together at most 1")
        shares = np.zeros(len(Kind))
        outside = 0.0
        if len(self.reachable):
            inward = float((self.uplink_tags[:, 0] >= 0)[self.uplink_row[self.reachable]].mean())
            local = float((self.stations.tag >= 0).mean())
            outside = (mix.tagged - local) / (inward - local) if inward != local else 1 / 3
            outside = min(max(outside, 0.1), 0.9)
        rest = 1 - mix.broadcast - mix.unknown
        known_outside = min(max(outside - outside * mix.broadcast - mix.unknown, 0.0), rest) if outside else 0.0
        inside = outward = (rest - known_outside) / 2
        if not outside:
            inside, outward = inside + outward, 0.0
        if not len(self.paired):
            inside, outward = 0.0, inside + outward
        shares[Kind.INSIDE], shares[Kind.OUTWARD], shares[Kind.INWARD] = inside, outward, known_outside
        shares[Kind.BROADCAST_LOCAL], shares[Kind.BROADCAST_OUTSIDE] = mix.broadcast * (1 - outside), mix.broadcast * outside
        shares[Kind.UNKNOWN] = mix.unknown
        return shares

    def chunks(self) -> Iterator[Chunk]:
        clock = 0  # tenths of a nanosecond since the start
        for first in range(0, self.mix.frames, CHUNK):
            count = min(CHUNK, self.mix.frames - first)
            chunk, clock = self._chunk(first, count, clock)
            yield chunk

    def _chunk(self, first: int, count: int, clock: int) -> tuple[Chunk, int]:
        random, stations = self.random, self.stations
        kinds = np.minimum(np.searchsorted(self.thresholds, random.random(count), side="right"), len(Kind) - 1).astype(np.uint8)
        size = self.sizes[random.integers(0, len(self.sizes), count)]
        # Each frame has a station: the sender of what comes from a local port, the receiver of what comes from outside.
        station = random.integers(0, len(stations), count)
        _redraw(random, station, kinds == Kind.INSIDE, self.paired)
        from_outside = (kinds == Kind.INWARD) | (kinds == Kind.BROADCAST_OUTSIDE) | ((kinds == Kind.UNKNOWN) & bool(len(self.reachable)))
        _redraw(random, station, from_outside, self.reachable)
        other = random.integers(0, np.iinfo(np.int64).max, count)
        outsider = other % len(self.outsiders)

        port_in = stations.port[station]
        tag = stations.tag[station]
        src = stations.mac[station]
        dst = self.outsiders[outsider]
        ip_src = station.astype(np.uint32)
        ip_dst = (outsider + _OUTSIDE_NUMBERS).astype(np.uint32)

        (which,) = np.nonzero(kinds == Kind.INSIDE)
        peer = self._peer(station[which], other[which])
        dst[which], ip_dst[which] = stations.mac[peer], peer

        (which,) = np.nonzero(from_outside)
        here, row = station[which], self.uplink_row[station[which]]
        if len(which):
            uplink = (other[which] >> 32) % self.uplink_count[row]
            port_in[which], tag[which] = self.uplink_ports[row, uplink], self.uplink_tags[row, uplink]
        src[which], ip_src[which] = self.outsiders[outsider[which]], outsider[which] + _OUTSIDE_NUMBERS
        dst[which], ip_dst[which] = stations.mac[here], here

        (which,) = np.nonzero(kinds == Kind.UNKNOWN)
        dst[which] = self.nobody[other[which] % len(self.nobody)]
        broadcast = (kinds == Kind.BROADCAST_LOCAL) | (kinds == Kind.BROADCAST_OUTSIDE)
        dst[broadcast], ip_dst[broadcast] = _BROADCAST, _BROADCAST_NUMBER

        tcp = (random.random(count) < 0.5) & ~broadcast
        ipv6 = (size >= MAX_HEADER_BYTES) & (random.random(count) < self.mix.ipv6) & ~broadcast
        flow = random.integers(0, max(1, min(self.mix.flows, 16_384)), count)
        service = flow % len(_TCP_PORTS)
        tenths = (size.astype(np.int64) + _WIRE_OVERHEAD) * _TENTHS_OF_NS_PER_BYTE
        ends = clock + np.cumsum(tenths)
        columns = Columns(
            dst=dst,
            src=src,
            tpid=np.where(tag >= 0, _TPID, 0).astype(np.uint16),
            tci=np.maximum(tag, 0).astype(np.uint16),
            ipv6=ipv6,
            tcp=tcp,
            ip_src=ip_src,
            ip_dst=ip_dst,
            sport=(_EPHEMERAL_PORT + flow).astype(np.uint16),
            dport=np.where(tcp, _TCP_PORTS[service], _UDP_PORTS[service]).astype(np.uint16),
            size=size,
            number=np.arange(first, first + count, dtype=np.uint32),
            time=_START_NS + (ends - tenths) // 10,
        )
        buffer, offsets = write_records(columns)
        return Chunk(buffer, offsets, size, columns.time, port_in, kinds, int(np.count_nonzero(columns.tpid))), int(ends[-1])

    def _peer(self, station: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """A station of the same VLAN on another port, evenly drawn: the station's own port's part of the VLAN is stepped over."""
        stations = self.stations
        first, own_first, own_count = stations.first[station], stations.port_first[station], stations.port_count[station]
        if not len(station):
            return station
        peer = first + other % (stations.count[station] - own_count)
        return np.where(peer >= own_first, peer + own_count, peer)


def _redraw(random: np.random.Generator, station: NDArray[np.int64], which: NDArray[np.bool_], among: NDArray[np.intp]) -> None:
    """Draw the stations of some frames again, among some stations only.  As many numbers are drawn whatever ``which`` is."""
    if len(among):
        drawn = among[random.integers(0, len(among), len(station))]
        station[which] = drawn[which]


def _others(oui: int, count: int, here: U8) -> U8:
    """``count`` addresses of an OUI that are not in ``here``."""
    if count > _OUI_ADDRESSES // 2:
        raise UsageError(f"{count} addresses outside: at most {_OUI_ADDRESSES // 2}")
    numbers = np.arange(count + len(here), dtype=np.uint64) if count + len(here) <= _OUI_ADDRESSES else np.arange(_OUI_ADDRESSES, dtype=np.uint64)
    candidates = numbers * np.uint64(_SCRAMBLE) % np.uint64(_OUI_ADDRESSES) + np.uint64(oui)
    return candidates[~np.isin(candidates, here)][:count]
