"""A stream port whose peer goes: whoever finds out first, sending or receiving, nothing is lost without being counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.port_rigs import StreamRig, make

FRAME = bytes.fromhex("020000000002 020000000001 88b5") + bytes(1486)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[StreamRig]:
    made = make("stream", tmp_path)
    assert isinstance(made, StreamRig)
    yield made
    made.close()


def test_sending_finds_that_the_peer_has_gone(rig: StreamRig) -> None:
    rig.leave()
    rig.port.write([FRAME] * 3)
    assert not rig.port.link
    counters = rig.port.counters()
    assert (counters["tx_frames"], counters["drops"]) == (0, {"tx_no_peer": 3})


def test_receiving_finds_that_the_peer_went_with_something_unread(rig: StreamRig) -> None:
    """The system then says that the connection was reset, not that it is at its end."""
    rig.port.write([FRAME])
    rig.leave()
    assert rig.port.read() == []
    assert not rig.port.link
    assert rig.port.counters()["tx_frames"] == 1
    rig.come_back()
    rig.serve_until_linked()
    rig.send([FRAME])
    assert rig.read(1) == [FRAME]


def test_what_the_socket_takes_makes_room_for_the_rest(rig: StreamRig) -> None:
    rig.port.write([FRAME] * 240)
    assert rig.arrived(240) == [FRAME] * 240
    assert rig.port.counters()["drops"] == {}


def test_more_than_the_port_holds_waits_in_the_socket(rig: StreamRig) -> None:
    """A peer that sends faster than the switch reads is held up, and loses nothing."""
    sender = threading.Thread(target=rig.send, args=([FRAME] * 1000,))
    sender.start()
    assert rig.read(1000) == [FRAME] * 1000
    sender.join()
    assert rig.port.counters()["drops"] == {}
