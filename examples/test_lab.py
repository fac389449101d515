"""Tests of a topology, as its owner writes them: `pytest examples/test_lab.py`.  Copy the fixtures, name your own files."""

from pathlib import Path

import numpy as np
import pytest

import vsw

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def lab():
    return vsw.load(HERE / "two-vlans.toml")


@pytest.fixture
def switch(lab):
    """A switch that has seen no frame yet."""
    return vsw.Switch(lab.module("esx1/vSwitch0"))


@pytest.fixture(scope="session")
def trace():
    with vsw.open_capture(HERE / "two-vlans.pcapng") as opened:
        yield opened


@pytest.fixture
def send(switch):
    """send("web1.0", frame, ...): the names of the ports that each frame leaves by."""
    names = {port.number: port.name for port in switch.module.ports}

    def send(port, *frames):
        copies = switch.forward(vsw.Batch.from_frames(frames), ingress=port, copies=True).copies
        return [[names[copy["port"]] for copy in copies if copy["frame"] == number] for number in range(len(frames))]

    return send


def frame(destination, source):
    return bytes.fromhex(destination.replace(":", "") + source.replace(":", "") + "0800") + bytes(46)


def test_web_servers_do_not_reach_databases(send):
    assert "db1.0" not in send("web1.0", frame("00:50:56:00:20:01", "00:50:56:00:10:01"))[0]


def test_a_broadcast_stays_in_its_vlan(send):
    [ports] = send("web1.0", frame("ff:ff:ff:ff:ff:ff", "00:50:56:00:10:01"))
    assert ports == ["vmnic0", "web2.0", "router.0"]


def test_what_was_recorded_still_arrives(switch, trace):
    result = switch.forward(trace)
    assert result.counters.delivered >= 2600
    # Whatever was lost was lost for a reason that this lab has.
    expected = {vsw.Reason.NONE, vsw.Reason.DEJA_VU, vsw.Reason.NO_MEMBER, vsw.Reason.RESERVED_ADDRESS, vsw.Reason.FORGED_SOURCE}
    assert set(np.unique(result.reason).tolist()) <= expected


@pytest.mark.parametrize("card", ["vmnic0", "vmnic1"])
def test_one_card_may_fail(switch, send, card):
    switch.set_port(card, False)
    [ports] = send("web1.0", frame("00:1b:21:00:00:01", "00:50:56:00:10:01"))
    assert ports == ["vmnic1" if card == "vmnic0" else "vmnic0"]
