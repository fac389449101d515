"""What a running host tells about itself: the answers of ``vsw show``, as plain dictionaries."""

from __future__ import annotations

from typing import Any

from vsw.config.module import Port
from vsw.config.values import format_mac
from vsw.host.loop import vsw_clock
from vsw.host.module import LiveModule
from vsw.ports import Port as LivePort
from vsw.ports import PortDrop
from vsw.switch.result import Counters
from vsw.verdicts import Reason

#: What a guest counts less than the switch, because its card cuts segments and is handed such.
SEGMENTS = ("rx_cut_frames", "rx_cut_bytes", "tx_joined_frames", "tx_joined_bytes")


def ports(module: LiveModule) -> list[dict[str, Any]]:
    """Every port: its state, what it is attached to, and what went through it."""
    counters = module.switch.counters
    return [_port(module, port, counters) for port in module.module.ports]


def _port(module: LiveModule, port: Port, counters: Counters) -> dict[str, Any]:
    number = port.number
    live = module.loop.port(number)
    return {
        "module": module.name,
        "port": port.name,
        "number": number,
        "kind": port.kind,
        "admin": module.admin(number),
        "up": module.switch.is_up(number),
        "link": live is not None and live.link,
        "attached": None if live is None else live.describe(),
        "problem": module.problems.get(port.name),
        "rx_frames": int(counters.rx_frames[number]),
        "rx_bytes": int(counters.rx_bytes[number]),
        "tx_frames": int(counters.tx_frames[number]),
        "tx_bytes": int(counters.tx_bytes[number]),
        **_segments(live),
        "queues": [] if live is None else live.queues(),
        "dropped": _by_reason(counters.port_dropped[number]),
        "filtered": _by_reason(counters.port_filtered[number]),
        "port_drops": port_drops(module, number),
    }


def _segments(live: LivePort | None) -> dict[str, int]:
    counted = {} if live is None else live.counters()
    return {key: counted.get(key, 0) for key in SEGMENTS}


def port_drops(module: LiveModule, number: int) -> dict[str, int]:
    """What was dropped at the port itself, before or after the switch: {reason: frames}."""
    live = module.loop.port(number)
    drops = dict(live.counters()["drops"]) if live is not None else {}
    nobody = module.loop.nobody(number)
    if nobody:
        drops["tx_no_peer"] = drops.get("tx_no_peer", 0) + nobody
    return drops


def counters(module: LiveModule) -> dict[str, Any]:
    """The totals of the switch, under the keys of ``vsw replay --json``, and its ports."""
    total = module.switch.counters
    return {
        "module": module.name,
        "dialect": module.module.dialect.name,
        "frames": total.offered,
        "delivered": total.delivered,
        "consumed": total.consumed,
        "dropped": _by_reason(total.dropped),
        "copies": total.copies_out,
        "filtered": _by_reason(total.port_filtered.sum(axis=0)),
        "learned": total.learned,
        "ports": {port.name: _port(module, port, total) for port in module.module.ports},
    }


def drops(module: LiveModule) -> list[dict[str, Any]]:
    """Where frames and copies were lost, most first, with the sentence that says why."""
    rows = []
    for row in ports(module):
        for where, key in (("in", "dropped"), ("out", "filtered"), ("port", "port_drops")):
            for reason, count in row[key].items():
                sentence = PortDrop[reason.upper()].sentence if key == "port_drops" else Reason[reason.upper()].sentence
                rows.append({"module": module.name, "port": row["port"], "where": where, "reason": reason, "count": count, "sentence": sentence})
    if nowhere := int(module.switch.counters.dropped[Reason.NO_PORT]):
        rows.append(
            {"module": module.name, "port": None, "where": "in", "reason": "no_port", "count": nowhere, "sentence": Reason.NO_PORT.sentence}
        )
    return sorted(rows, key=lambda row: -row["count"])


def macs(module: LiveModule) -> list[dict[str, Any]]:
    """The forwarding table: static entries, then learned ones, the oldest first; ``vlan`` null is every VLAN of the port, ``age`` in seconds."""
    names = {port.number: port.name for port in module.module.ports}
    rows: list[dict[str, Any]] = [
        {"module": module.name, "vlan": entry.vlan, "mac": format_mac(entry.mac), "port": names[entry.port], "kind": "static", "age": None}
        for entry in module.module.static
    ]
    now = vsw_clock()
    for vlan, mac, number, stamp in module.switch.learned():
        age = max(0.0, (now - stamp) / 1e9)
        port = names.get(number, str(number))
        rows.append({"module": module.name, "vlan": vlan, "mac": format_mac(mac), "port": port, "kind": "learned", "age": round(age, 3)})
    return rows


def teams(module: LiveModule) -> list[dict[str, Any]]:
    """Every team: its rule, its members, and those that frames may leave by now, in order."""
    names = {port.number: port.name for port in module.module.ports}
    return [
        {
            "module": module.name,
            "team": team.name,
            "policy": team.policy,
            "lacp": team.lacp,
            "active": [names[member] for member in team.active],
            "standby": [names[member] for member in team.standby],
            "usable": [names[member] for member in usable],
        }
        for team, usable in module.switch.teams()
    ]


def _by_reason(counts: Any) -> dict[str, int]:
    return {reason.name.lower(): int(counts[reason]) for reason in Reason if counts[reason]}


SHOWS = {"port": ports, "mac": macs, "team": teams, "drops": drops}
