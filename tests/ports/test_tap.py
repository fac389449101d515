"""A tap port whose device goes down, or is taken away, while the port works (root)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.port_rigs import TapRig, ip, make

FRAME = bytes.fromhex("020000000002 020000000001 88b5") + bytes(86)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[TapRig]:
    made = make("tap", tmp_path)
    assert isinstance(made, TapRig)
    yield made
    made.close()


def test_what_a_device_that_is_down_does_not_take_is_counted(rig: TapRig) -> None:
    ip("link", "set", rig.other, "down")
    rig.port.write([FRAME] * 3)
    counters = rig.port.counters()
    assert (counters["tx_frames"], counters["drops"]) == (0, {"tx_no_peer": 3})
    ip("link", "set", rig.other, "up")
    rig.port.service()
    rig.serve_until_linked()
    rig.port.write([FRAME])
    assert rig.port.counters()["tx_frames"] == 1


def test_receiving_finds_that_the_device_is_gone(rig: TapRig) -> None:
    rig.raw.one.close()
    ip("link", "del", rig.other)
    assert rig.port.read() == []
    assert not rig.port.link
    rig.port.write([FRAME])
    assert rig.port.counters()["drops"] == {"tx_no_peer": 1}
    # For the rig, which takes it away again.
    ip("tuntap", "add", "dev", rig.other, "mode", "tap")
