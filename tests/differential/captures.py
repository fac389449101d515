"""Real captures as scenarios: fixed topologies whose ports own the stations of the capture, so that its frames get past the front door."""

from __future__ import annotations

import os
from pathlib import Path

from tests.differential.strategies import Frame, Scenario
from tests.golden.build import (
    access,
    community,
    isolated,
    module,
    native_tagged,
    native_untagged,
    of_vnics,
    port,
    promiscuous,
    static,
    team,
    trunk,
    tunnel,
    uplink,
)
from vsw.capture import Capture, open_capture
from vsw.config.dialects import Security
from vsw.config.module import Module, Port, Vlan
from vsw.errors import CaptureError

FOLDER = Path(os.environ.get("VSW_CAPTURES") or Path(__file__).parents[3] / "shared" / "captures")
CAPTURES = sorted(path for path in FOLDER.glob("*") if path.suffix in {".pcap", ".pcapng"})
TOPOLOGIES = ("hosts", "strict", "mixed")
INGRESS = ("given", "source-mac")
#: The quick suite's share; ``make differential`` takes them all.
QUICK = (("hosts", "given"), ("hosts", "source-mac"), ("strict", "given"), ("mixed", "source-mac"))
STRICT = Security(promiscuous=False, mac_changes=False, forged_transmits=False)
#: Ports for stations of the capture; stations beyond them are outside.
LOCAL = 10


def stations(frames: list[Frame]) -> tuple[list[int], list[int]]:
    """Source addresses of single stations, and VIDs, in the order of their first frame."""
    macs = {int.from_bytes(frame.data[6:12]): None for frame in frames if len(frame.data) >= 14}
    tagged = [frame.data for frame in frames if frame.data[12:14] in (b"\x81\x00", b"\x88\xa8") and len(frame.data) >= 18]
    vids = {int.from_bytes(data[14:16]) & 0x0FFF: None for data in tagged}
    return [mac for mac in macs if mac and not mac >> 40 & 1], [vid for vid in vids if vid] or [1]


def topology(name: str, dialect: str, macs: list[int], vids: list[int]) -> Module:
    """Every second station is local; VLANs are those of the capture in turn."""
    vids = (vids * 3)[:3]
    local = macs[::2][:LOCAL]

    def ports(vlans: list[Vlan], **more: object) -> list[Port]:
        return [port(2 + place, vlans[place % len(vlans)], address=mac, team=0, **more) for place, mac in enumerate(local)]

    first, second, third = vids
    match name:
        case "hosts":
            vlans = [access(first), trunk(), access(second), native_untagged(first), native_tagged(third)]
            made = [uplink(0, team=0), uplink(1, team=0), *ports(vlans)]
            return module(dialect, made, teams=(team("layer3+4", (0, 1)),), learning="none", pad=True)
        case "strict":
            made = [
                uplink(0, team=0),
                uplink(1, native_untagged(first), team=0),
                *ports([access(first), native_untagged(first), trunk()], security=STRICT, protected=False),
                port(20, trunk(), security=Security(promiscuous=True, mac_changes=True, forged_transmits=True), team=0),
                port(21, access(second), protected=True, team=0, priority_tags="if-nonzero"),
            ]
            return module(dialect, made, teams=(team("ip-hash", (0,), (1,), assignment="buckets", lacp=True),), learning="outside")
        case _:
            made = [
                uplink(0, team=0),
                uplink(1, team=0),
                *ports([tunnel(first), promiscuous(200), trunk(), isolated(200, 201), access(first), community(200, 202)], priority_tags="always"),
                port(20, tunnel(second, "0,1-50", 0x8100), team=0, mtu=100),
                port(21, native_untagged(first), team=0),
            ]
            more = static((None, f"{macs[-1]:012x}", 0)) if len(macs) > 1 and macs[-1] not in local else ()
            return module(
                dialect, made, teams=(team("vlan+srcmac", (1, 0)),), learning="full", private=((201, 200), (202, 200)), static=of_vnics(made) + more,
                vlan_limit=2 if dialect == "ovs" else 1, port_limit=3, module_limit=8, age_ns=50_000_000,
            )  # fmt: skip


def opened(path: Path) -> Capture | None:
    """The capture as far as it can be read; None if its frames are not Ethernet's."""
    try:
        return open_capture(path, strict=False)
    except CaptureError as error:
        if "link type" in str(error):
            return None
        raise


def frames_of(capture: Capture) -> list[Frame]:
    return [Frame(bytes(frame.data), frame.length, frame.time, None) for frame in capture]


def scenario(frames: list[Frame], name: str, dialect: str, ingress: str) -> Scenario:
    """The frames of a capture through a topology; given ports are the station's own, but for some."""
    macs, vids = stations(frames)
    made = topology(name, dialect, macs, vids)
    if ingress == "source-mac":
        return Scenario(made, frames, True, [])
    home = {one.effective_mac: one.number for one in made.ports}
    numbers = [one.number for one in made.ports]
    offered = []
    for place, frame in enumerate(frames):
        number = home.get(int.from_bytes(frame.data[6:12]), place % 2)
        offered.append(frame._replace(port_in=numbers[place % len(numbers)] if place % 5 == 4 else number))
    return Scenario(made, offered, False, [])
