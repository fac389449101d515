"""A wire between two ports: all frames, both ways, in order, and nothing else."""

from __future__ import annotations

import time
from random import Random

from tests.patience import PATIENCE
from vsw.ports.memory import MemoryPort, memory_pair
from vsw.vm.wire import Wire

#: Seconds after which a frame that should have come is missed.


def collect(port: MemoryPort, count: int) -> list[bytes]:
    frames: list[bytes] = []
    end = time.monotonic() + PATIENCE
    while len(frames) < count and time.monotonic() < end:
        frames += port.read()
        if len(frames) < count:
            port.wait(0.2)
    return frames


def test_both_ways_in_order() -> None:
    random = Random(1)
    guest, near = memory_pair("guest", "near")
    far, card = memory_pair("far", "card")
    with Wire(near, far) as wire:
        for _ in range(20):
            out = [random.randbytes(random.choice((14, 60, 1514, 9014))) for _ in range(random.randint(1, 40))]
            back = [random.randbytes(random.choice((14, 60, 1514))) for _ in range(random.randint(1, 40))]
            guest.write(out)
            card.write(back)
            assert collect(card, len(out)) == out
            assert collect(guest, len(back)) == back
        counters = wire.near.counters()
        assert counters["rx_frames"] == wire.far.counters()["tx_frames"] > 0
        assert counters["drops"] == {}
    assert (wire.near.closed, wire.far.closed) == (True, True)
    wire.close()


def test_it_closes_without_having_started() -> None:
    _, near = memory_pair("guest", "near")
    far, _ = memory_pair("far", "card")
    wire = Wire(near, far)
    wire.close()
    assert near.closed


def test_tags_stay_where_they_are() -> None:
    guest, near = memory_pair("guest", "near")
    far, card = memory_pair("far", "card")
    frame = bytes(12) + bytes.fromhex("88a8000a810060140800") + bytes(46)
    with Wire(near, far):
        guest.write([frame])
        assert collect(card, 1) == [frame]
