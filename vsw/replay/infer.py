"""A topology from captures: which stations are VMs, their VLANs, trunks, uplinks, MTU.

What is looked at is what :func:`vsw.classify` says of each frame, counted in numpy; the answer is a :class:`Sketch`, which :mod:`vsw.replay.sketch`
writes down as TOML.

- VMs are stations whose MAC address has the OUI of a hypervisor's maker (or one of the caller's own choice), as senders or receivers.  A capture
  without any is taken to be of VMs throughout.
- A VM that is seen with one VID (tagged or not) has an access port in that VLAN; one that is seen with several has a trunk that carries those.
- Interfaces named ``HOST/SWITCH/PORT`` give hosts, switches and ports their names.  A port is an uplink if its name is a physical card's, or if
  no VM sent most of what came in by it.  An access port's own frames are untagged, so its VLAN is that of the frames from or to its VM that came in
  by uplinks, or else that of those it talks with.
- Without such names all is one switch with one uplink, or as many as senders of LACP were seen.

What the topology drops when the same captures are replayed, the captures explain: frames that no switch can read or no virtual switch forwards
(damaged ones, impossible sources, reserved addresses and VIDs), frames between two stations outside, to nobody in their VLAN, to the port that they
came from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsw.capture import Capture
from vsw.config.models import MAX_MTU
from vsw.config.module import MAX_PORTS
from vsw.config.values import check_name
from vsw.datapath.classify import classify
from vsw.datapath.rows import ROW, RowFlag
from vsw.errors import UsageError

#: Makers of hypervisors and their OUIs.
OUIS = {
    0x005056: "vmware", 0x000C29: "vmware", 0x525400: "kvm", 0x00163E: "xen", 0x00155D: "hyper-v", 0x080027: "virtualbox", 0x001C42: "parallels",
}  # fmt: skip
CHUNK = 1 << 18
#: Local ports at most; the other stations are outside.
MOST_LOCAL = MAX_PORTS - 96
RESERVED_VID = 4095
#: 01-80-C2-00-00-00 and the 15 addresses after it.
LINK_LOCAL = 0x0180C2000000
LACP_ADDRESS, SLOW_PROTOCOLS = 0x0180C2000002, 0x8809
DEFAULT_MTU = 1500
HEADER, TAG = 14, 4
#: Further addresses behind one port.
MOST_BEHIND = 256
_CARD = re.compile(r"(vmnic|eth|en[opsx]|uplink|pnic|bond|lan|wan)[0-9]", re.IGNORECASE)
_GROUP = 1 << 40


@dataclass
class SketchPort:
    """A port: ``mac`` is None for an uplink; ``vids`` of one VID makes an access port, of several a trunk, as does ``trunk``."""

    name: str
    uplink: bool = False
    mac: int | None = None
    macs: tuple[int, ...] = ()
    vids: tuple[int, ...] = ()
    trunk: bool = False


@dataclass
class SketchSwitch:
    """A switch of a host."""

    host: str
    name: str
    ports: list[SketchPort] = field(default_factory=list)
    lacp: bool = False
    policy: str | None = None


@dataclass
class Sketch:
    """What was inferred, and sentences about how."""

    switches: list[SketchSwitch]
    mtu: int
    notes: list[str]


class Sightings:
    """Who was seen where: counts of frames by (MAC << 16 | VID), for senders and receivers, by interface."""

    def __init__(self) -> None:
        self.senders: dict[int, Counter[int]] = {}
        self.receivers: dict[int, Counter[int]] = {}
        self.pairs: Counter[tuple[int, int]] = Counter()
        self.order: dict[int, None] = {}
        self.longest = 0
        self.lacp: set[int] = set()
        #: Senders of frames with a second tag inside, and of link-local frames, as bridges are.
        self.deep: set[int] = set()
        self.bridges: set[int] = set()
        self.frames = 0

    def add(self, rows: NDArray[Any], interfaces: NDArray[np.uint16], first: int) -> None:
        """Count rows of :data:`vsw.ROW`; interface numbers of this capture begin at ``first``."""
        self.frames += len(rows)
        if len(rows):
            self.longest = max(self.longest, int((rows["length"].astype(np.int64) - HEADER - TAG * rows["tags"].astype(np.int64)).max()))
        unread = (rows["flags"] & np.uint16(RowFlag.UNREAD_TAG)) != 0
        good = (rows["network"] != 0) & ~(unread & (rows["tags"] == 0))
        rows, interfaces = rows[good], interfaces[good]
        vids = np.where(rows["tags"] > 0, rows["outer_tci"] & 0xFFF, 0).astype(np.uint64)
        usable = vids != RESERVED_VID
        senders, receivers = _numbers(rows["src"]), _numbers(rows["dst"])
        fine = usable & (senders != 0) & (senders & np.uint64(_GROUP) == 0)
        to_one = fine & (receivers != 0) & (receivers & np.uint64(_GROUP) == 0)
        lacp = (receivers == LACP_ADDRESS) & (rows["ethertype"] == SLOW_PROTOCOLS) & (rows["tags"] == 0) & fine
        self.lacp.update(np.unique(senders[lacp]).tolist())
        self.deep.update(np.unique(senders[fine & (rows["tags"] > (~unread[good]).astype(np.uint8))]).tolist())
        self.bridges.update(np.unique(senders[fine & (receivers >> np.uint64(4) == LINK_LOCAL >> 4)]).tolist())
        new, at = np.unique(senders[fine], return_index=True)
        for mac in new[np.argsort(at)].tolist():
            self.order.setdefault(mac)
        for number in np.unique(interfaces).tolist():
            here = interfaces == number
            for counts, macs, mask in ((self.senders, senders, fine & here), (self.receivers, receivers, to_one & here)):
                keys, amounts = np.unique(macs[mask] << np.uint64(16) | vids[mask], return_counts=True)
                counts.setdefault(first + number, Counter()).update(dict(zip(keys.tolist(), amounts.tolist(), strict=True)))
        pairs, amounts = np.unique(np.stack([senders[to_one], receivers[to_one]], axis=1), axis=0, return_counts=True)
        self.pairs.update({(one, other): amount for (one, other), amount in zip(pairs.tolist(), amounts.tolist(), strict=True)})

    def vids(self, macs: Iterable[int], interfaces: Iterable[int], receivers: bool = True) -> Counter[int]:
        """VIDs that frames from (and to) these stations had on these interfaces."""
        wanted, found = set(macs), Counter[int]()
        for number in interfaces:
            for table in (self.senders, self.receivers) if receivers else (self.senders,):
                for key, amount in table.get(number, {}).items():
                    if key >> 16 in wanted:
                        found[key & 0xFFFF] += amount
        return found


def _numbers(octets: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """MAC addresses as numbers, the first octet on top."""
    whole = np.zeros((len(octets), 8), np.uint8)
    whole[:, 2:] = octets
    return whole.view(">u8").reshape(-1).astype(np.uint64)


def infer(captures: Sequence[Capture], local: Sequence[str] = (), progress: Callable[[int, int], object] | None = None) -> Sketch:
    """What made these captures.  ``local``: beginnings of MAC addresses (three octets or more) of VMs, instead of the makers' OUIs.

    Captures are read to their end, more than once.  Raises what reading them raises, :class:`~vsw.errors.UsageError` for a beginning that is none.
    """
    seen = Sightings()
    names: list[str] = []
    out = np.empty(CHUNK, ROW)
    for capture in captures:
        first, at = len(names), 0
        while len(rows := classify(part := capture[at : at + CHUNK], out=out)):
            seen.add(rows, part.interface_numbers(), first)
            at += len(rows)
            if progress is not None:
                progress(at, seen.frames)
        names += capture.interface_names()
    is_local = _chooser(local)
    notes: list[str] = []
    found = {key >> 16 for table in (*seen.senders.values(), *seen.receivers.values()) for key in table}
    macs = sorted(mac for mac in found if is_local(mac))
    senders = sorted(seen.order)
    if not macs:
        macs = [mac for mac in senders if mac not in seen.bridges]
        if macs and local:
            notes.append("No MAC address begins as those of VMs should: every sender that is no bridge is taken for a VM.")
        elif macs:
            notes.append("No MAC address has the OUI of a hypervisor's maker: every sender that is no bridge is taken for a VM.")
    if len(macs) > MOST_LOCAL:
        frames = Counter[int]()
        for table in seen.senders.values():
            for key, amount in table.items():
                frames[key >> 16] += amount
        notes.append(f"{len(macs):,} stations would be VMs: the {MOST_LOCAL:,} that sent most are, the others are outside.")
        macs = sorted(macs, key=lambda mac: (-frames[mac], mac))[:MOST_LOCAL]
    places = {number: parts for number, name in enumerate(names) if (parts := _place(name)) is not None}
    if places:
        switches = _by_interfaces(seen, places, set(macs), notes)
    else:
        switches = [_by_source(seen, macs, range(len(names)))]
    mtu = min(MAX_MTU, max(DEFAULT_MTU, seen.longest))
    if seen.longest > MAX_MTU:
        notes.append(f"The longest frame has {seen.longest:,} bytes after its headers, a port's MTU is at most {MAX_MTU:,}.")
    elif mtu > DEFAULT_MTU:
        notes.append(f"The MTU is that of the longest frame: {mtu:,} bytes.")
    return Sketch(switches, mtu, notes)


def _chooser(local: Sequence[str]) -> Callable[[int], bool]:
    if not local:
        return lambda mac: mac >> 24 in OUIS
    prefixes = []
    for text in local:
        digits = text.replace(":", "").replace("-", "").lower()
        if not re.fullmatch(r"[0-9a-f]{6,12}", digits) or len(digits) % 2:
            raise UsageError(f"a VM's MAC address, or three octets or more of its beginning, is needed, for instance 02:00:5e (found {text!r})")
        prefixes.append((int(digits, 16), 48 - 4 * len(digits)))
    return lambda mac: any(mac >> shift == value for value, shift in prefixes)


def _place(name: str) -> tuple[str, str, str] | None:
    """``host/switch/port`` as three names that a topology may have."""
    parts = name.split("/")
    if len(parts) != 3:
        return None
    try:
        for part in parts:
            check_name(part)
    except ValueError:
        return None
    return parts[0], parts[1], parts[2]


def _by_source(seen: Sightings, macs: Sequence[int], interfaces: Iterable[int]) -> SketchSwitch:
    """One switch; each VM is known by its address."""
    interfaces = list(interfaces)
    order = {mac: place for place, mac in enumerate(seen.order)}
    outside = sorted(seen.lacp - set(macs))
    switch = SketchSwitch("host1", "vSwitch0", lacp=bool(outside))
    switch.ports = [SketchPort(f"uplink{number + 1}", uplink=True) for number in range(max(1, min(len(outside), 8)))]
    vids: dict[int, set[int]] = {mac: set() for mac in macs}
    for number in interfaces:
        for table in (seen.senders, seen.receivers):
            for key in table.get(number, {}):
                if key >> 16 in vids:
                    vids[key >> 16].add(key & 0xFFFF)
    for count, mac in enumerate(sorted(macs, key=lambda mac: (order.get(mac, len(order)), mac)), start=1):
        switch.ports.append(SketchPort(f"vm{count}.0", mac=mac, vids=tuple(sorted(vids[mac])) or (0,), trunk=mac in seen.deep))
    return switch


def _by_interfaces(seen: Sightings, places: dict[int, tuple[str, str, str]], macs: set[int], notes: list[str]) -> list[SketchSwitch]:
    """Switches and ports as the interfaces are named."""
    switches: dict[tuple[str, str], SketchSwitch] = {}
    numbers: dict[tuple[str, str], dict[str, list[int]]] = {}
    for number, (host, name, port) in places.items():
        switches.setdefault((host, name), SketchSwitch(host, name))
        numbers.setdefault((host, name), {}).setdefault(port, []).append(number)
    for key, switch in switches.items():
        sent = {port: _frames(seen, mine) for port, mine in numbers[key].items()}
        owner: dict[int, str] = {}
        for port, counts in sent.items():
            mac = _dominant(port, counts, macs)
            if mac is not None and (mac not in owner or counts[mac] > sent[owner[mac]][mac]):
                owner[mac] = port
        own = {port: mac for mac, port in owner.items()}
        uplinks = [port for port in sent if port not in own]
        wires = [number for port in uplinks for number in numbers[key][port]]
        outside = {mac for port in uplinks for mac in sent[port]}
        switch.lacp = bool(seen.lacp & outside)
        switch.ports = [SketchPort(port, uplink=True) for port in uplinks]
        vids: dict[str, tuple[int, ...]] = {}
        for port, mac in own.items():
            behind = tuple(sorted(other for other in sent[port] if other != mac and other not in owner and other not in outside))[:MOST_BEHIND]
            inside = seen.vids(sent[port], numbers[key][port], receivers=False)
            wire = seen.vids((mac, *behind), wires)
            vids[port] = tuple(sorted({*inside, *wire})) if set(inside) - {0} else _most(wire)
            switch.ports.append(SketchPort(port, mac=mac, macs=behind, trunk=mac in seen.deep))
        for one in switch.ports:
            if one.mac is not None:
                one.vids = vids[one.name] or _of_peers(one.mac, seen, owner, vids) or (0,)
        if not uplinks:
            switch.ports.insert(0, SketchPort(_free("uplink1", own), uplink=True))
            notes.append(f"{switch.host}/{switch.name}: no interface is an uplink's; one is added.")
    return list(switches.values())


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "x"
    return name


def _frames(seen: Sightings, numbers: Iterable[int]) -> Counter[int]:
    found = Counter[int]()
    for number in numbers:
        for key, amount in seen.senders.get(number, {}).items():
            found[key >> 16] += amount
    return found


def _dominant(port: str, counts: Counter[int], macs: set[int]) -> int | None:
    """The VM that sent most of what came in by a port; None for an uplink."""
    if _CARD.match(port) or not counts:
        return None
    mac, amount = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return mac if mac in macs and 2 * amount > counts.total() else None


def _most(vids: Counter[int]) -> tuple[int, ...]:
    """The VID seen most often, tagged ones first."""
    tagged = {vid: amount for vid, amount in vids.items() if vid} or vids
    return (min(tagged, key=lambda vid: (-tagged[vid], vid)),) if tagged else ()


def _of_peers(mac: int, seen: Sightings, owner: dict[int, str], vids: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The VLAN of those that a VM talks with, if they have one."""
    found = Counter[int]()
    for (one, other), amount in seen.pairs.items():
        peer = other if one == mac else one if other == mac else None
        if peer is not None and peer in owner and len(vids[owner[peer]]) == 1:
            found[vids[owner[peer]][0]] += amount
    return _most(found)
