"""Traffic as networks have it, for modules of every sort: nearly all of it is forwarded, so that it takes the fast lane.

The other generator (strategies.py) looks for corners.  Here most frames are valid unicast between stations of the module, in bursts as a
replay has them; a few are cut, flipped or sent to the wrong place, so that they lie between the good ones.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from tests.differential.strategies import Frame, Scenario, random_module
from vsw.config.module import Module
from vsw.errors import UsageError
from vsw.measure.lab import bench_module
from vsw.measure.traffic import Mix, chunks

POLICIES = ("port-id", "src-mac", "ip-hash", "explicit", "layer2", "layer2+3", "layer3+4", "vlan+srcmac")


def generate_clean(seed: int, frames: int, dialect: str) -> Scenario:
    """The scenario of a seed: always the same one."""
    rng = random.Random(f"clean/{dialect}/{seed}")
    module = _module(rng, dialect)
    offered = _frames(rng, module, frames)
    while not offered:  # nobody in that module can send
        module = _module(rng, dialect)
        offered = _frames(rng, module, frames)
    return Scenario(module, offered, rng.random() < 0.5, [])


def _module(rng: random.Random, dialect: str) -> Module:
    if rng.random() < 0.4:
        vlans = rng.choice((1, 2, 16))
        module = bench_module(
            rng.choice((64, 300, 3000)),
            vnics=rng.choice((16, 64)),
            vlans=vlans,
            policy=rng.choice(POLICIES),
            security=rng.random() < 0.5,
            dialect=dialect,
        )
        teams = tuple(replace(team, standby=(1,), active=(0,)) if rng.random() < 0.2 else team for team in module.teams)
        return replace(module, learning="none", teams=teams)
    module = random_module(rng, dialect)
    ports = tuple(replace(port, up=True, bpdu_guard=False) for port in module.ports)
    return replace(module, learning="none" if rng.random() < 0.9 else module.learning, ports=ports)


def _frames(rng: random.Random, module: Module, count: int) -> list[Frame]:
    mix = Mix(count, rng.choice(("64", "imix")), rng.randrange(1 << 30), broadcast=rng.choice((0.0, 0.05)), unknown=rng.choice((0.0, 0.05)))
    try:
        drawn = list(chunks(module, mix))
    except UsageError:
        return []
    offered = []
    for chunk in drawn:
        columns = (np.asarray(column).tolist() for column in (chunk.offsets, chunk.lengths, chunk.times, chunk.port_in))
        for offset, length, time, port in zip(*columns, strict=True):
            data = chunk.buffer[offset : offset + length].tobytes()
            offered.append(_spoilt(rng, Frame(data, length, time, port), module) if rng.random() < 0.03 else Frame(data, length, time, port))
    return offered


def _spoilt(rng: random.Random, frame: Frame, module: Module) -> Frame:
    data = frame.data
    match rng.randrange(6):
        case 0:
            place = rng.randrange(18)
            return frame._replace(data=data[:place] + bytes((data[place] ^ 1 << rng.randrange(8),)) + data[place + 1 :])
        case 1:
            return frame._replace(data=data[: rng.randrange(24)])
        case 2:
            tag = rng.choice((b"\x81\x00", b"\x88\xa8", b"\x91\x00")) + rng.randbytes(2)
            return frame._replace(data=data[:12] + tag + data[12:], length=frame.length + 4)
        case 3:
            return frame._replace(port_in=rng.choice(module.ports).number)
        case 4:
            return frame._replace(length=max(len(data), module.ports[0].mtu + 14 + rng.choice((0, 1, 4, 5))))
        case _:
            return frame._replace(time=frame.time - 1_000_000)
