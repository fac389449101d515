"""An inferred topology as text: TOML that ``vsw check`` accepts and people go on with."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from vsw.capture import Capture
from vsw.config.lab import Lab
from vsw.config.load import loads
from vsw.config.values import format_mac, format_vids
from vsw.replay.infer import DEFAULT_MTU, OUIS, Sketch, SketchPort, SketchSwitch, infer

#: What errors and tables call a topology that no file holds.
NAME = "<inferred>"
_VNIC = re.compile(r"(.+)\.(0|[1-9][0-9]{0,2})")
_MAKERS = {"vmware": "VMware", "kvm": "KVM", "xen": "Xen", "hyper-v": "Hyper-V", "virtualbox": "VirtualBox", "parallels": "Parallels"}


def quoted(text: str) -> str:
    """A TOML string.  Names have no control characters (:func:`~vsw.config.values.check_name`)."""
    return json.dumps(text, ensure_ascii=False)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else quoted(text)


Vlans = tuple[tuple[int, ...], bool]


def _vlans(port: SketchPort) -> Vlans:
    """Its VIDs, and whether it is a trunk."""
    return port.vids, port.trunk or len(port.vids) > 1


def _profile(vlans: Vlans) -> tuple[str, str]:
    """The name of a profile, and its VLAN settings."""
    vids, trunk = vlans
    if not trunk:
        return ("untagged" if vids == (0,) else f"vlan{vids[0]}"), f'{{ mode = "access", vid = {vids[0]} }}'
    text = format_vids(vids)
    return "trunk-" + text.replace(",", "_")[:60], f'{{ mode = "trunk", vids = "{text}" }}'


def write_sketch(sketch: Sketch, about: str) -> str:
    """The topology file; ``about`` says where it comes from."""
    lines = [f"# {line}" for line in (f"Inferred by vsw from {_printable(about)}.", *sketch.notes)]
    ports = [port for switch in sketch.switches for port in switch.ports if port.mac is not None]
    makers = Counter(maker for port in ports if port.mac is not None and (maker := OUIS.get(port.mac >> 24)))
    if makers:
        lines += ["", f"oui = {quoted(min(makers, key=lambda maker: (-makers[maker], maker)))}"]
    profiles: dict[Vlans, str] = {}
    texts: dict[str, str] = {}
    for port in ports:
        if _vlans(port) not in profiles:
            name, text = _profile(_vlans(port))
            while name in texts:
                name += "x"
            profiles[_vlans(port)] = name
            texts[name] = text
    machines: dict[tuple[str, str], list[tuple[str, SketchPort]]] = {}
    for switch in sketch.switches:
        lines += ["", *_switch(switch, sketch.mtu, profiles, machines)]
    for name, text in texts.items():
        lines += ["", f"[profiles.{_key(name)}]", f"vlan = {text}"]
    for (host, vm), nics in machines.items():
        lines += ["", f"[vms.{_key(vm)}]", f"host = {quoted(host)}"]
        entries = [f"{{ switch = {quoted(switch)}, {_address(port, profiles)} }}" for switch, port in nics]
        if len(entries) == 1:
            lines.append(f"nics = [{entries[0]}]{_maker(nics[0][1])}")
        else:
            lines += ["nics = [", *(f"    {one}," for one in entries), "]"]
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:400]


def _address(port: SketchPort, profiles: dict[Vlans, str]) -> str:
    assert port.mac is not None
    behind = f", macs = [{', '.join(quoted(format_mac(mac)) for mac in port.macs)}]" if port.macs else ""
    return f"profile = {quoted(profiles[_vlans(port)])}, mac = {quoted(format_mac(port.mac))}{behind}"


def _maker(port: SketchPort) -> str:
    maker = OUIS.get((port.mac or 0) >> 24)
    return f"  # {_MAKERS[maker]}" if maker else ""


def _switch(
    switch: SketchSwitch, mtu: int, profiles: dict[Vlans, str], machines: dict[tuple[str, str], list[tuple[str, SketchPort]]]
) -> list[str]:
    """The switch's table; vNICs with a machine's name go to ``machines``."""
    lines = [f"[hosts.{_key(switch.host)}.switches.{_key(switch.name)}]"]
    if mtu != DEFAULT_MTU:
        lines.append(f"mtu = {mtu}")
    uplinks = ", ".join(quoted(port.name) for port in switch.ports if port.uplink)
    more = (', policy = "layer3+4", lacp = true' if switch.lacp else "") + (f", policy = {quoted(switch.policy)}" if switch.policy else "")
    lines.append(f"team = {{ active = [{uplinks}]{more} }}")
    named: dict[str, dict[int, SketchPort]] = {}
    for port in switch.ports:
        match = _VNIC.fullmatch(port.name)
        if not port.uplink and match and match[1] == match[1].strip():
            named.setdefault(match[1], {})[int(match[2])] = port
    taken = {vm for _, vm in machines}
    whole = {vm: cards for vm, cards in named.items() if sorted(cards) == list(range(len(cards))) and vm not in taken}
    for vm, cards in whole.items():
        machines[switch.host, vm] = [(switch.name, cards[index]) for index in range(len(cards))]
    of_machines = {port.name for cards in whole.values() for port in cards.values()}
    plain = [port for port in switch.ports if not port.uplink and port.name not in of_machines]
    if plain:
        lines += ["", f"[hosts.{_key(switch.host)}.switches.{_key(switch.name)}.ports]"]
        lines += [f'{_key(port.name)} = {{ kind = "vnic", {_address(port, profiles)} }}{_maker(port)}' for port in plain]
    return lines


def infer_text(
    captures: Sequence[Capture], about: str, local: Sequence[str] = (), progress: Callable[[int, int], object] | None = None
) -> tuple[str, Sketch]:
    """A topology for captures, as text and as it was found."""
    sketch = infer(captures, local, progress)
    return write_sketch(sketch, about), sketch


def infer_lab(captures: Sequence[Capture], about: str, progress: Callable[[int, int], object] | None = None) -> tuple[Lab, Sketch]:
    """The same, loaded."""
    text, sketch = infer_text(captures, about, progress=progress)
    return loads(text, file=NAME), sketch


def summary(sketch: Sketch) -> dict[str, Any]:
    """``switches`` {HOST/SWITCH: {``uplinks`` [name], ``lacp``, ``vms`` {port: {``mac``, ``macs``, ``vids``, ``trunk``}}}}, ``mtu``, ``notes``."""
    return {
        "switches": {
            f"{switch.host}/{switch.name}": {
                "uplinks": [port.name for port in switch.ports if port.uplink],
                "lacp": switch.lacp,
                "vms": {
                    port.name: {
                        "mac": format_mac(port.mac),
                        "macs": [format_mac(mac) for mac in port.macs],
                        "vids": list(port.vids),
                        "trunk": _vlans(port)[1],
                    }
                    for port in switch.ports
                    if port.mac is not None
                },
            }
            for switch in sketch.switches
        },
        "mtu": sketch.mtu,
        "notes": sketch.notes,
    }
