"""What ports at interfaces of this machine hear of: their own interface, whatever else comes and goes (root)."""

from __future__ import annotations

import contextlib
import logging
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.port_rigs import PacketRig, Rig, TapRig, ip, make
from tests.patience import PATIENCE
from vsw.ports.netdev import LinkWatch


@pytest.fixture(params=["tap", "packet"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    made = make(request.param, tmp_path)
    assert isinstance(made, TapRig | PacketRig)
    yield made
    made.close()


def others_come_and_go() -> None:
    name = f"vswo{os.getpid() % 100000}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}b")
    ip("link", "set", name, "up")
    ip("link", "del", name)


def readable(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


def test_other_interfaces_do_not_disturb(rig: Rig) -> None:
    with contextlib.closing(LinkWatch()) as all_of_them:
        others_come_and_go()
        assert readable(all_of_them.fileno(), PATIENCE)
    assert not rig.port.wait(0)
    rig.leave()
    assert rig.port.wait(PATIENCE)
    rig.port.service()
    assert not rig.port.link
    rig.come_back()
    rig.serve_until_linked()


def test_an_interface_that_has_gone_is_waited_for(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """One that is made anew has another index, and is heard of again; that it is not there yet is said once."""
    if not isinstance(rig, PacketRig):
        pytest.skip("a tap is made by its port")
    rig.raw.one.close()
    ip("link", "del", rig.name)
    assert rig.port.wait(PATIENCE)
    with caplog.at_level(logging.WARNING, "vsw.ports"):
        for _ in range(3):
            rig.port.service()
    assert not rig.port.link
    assert rig.port.retry_at is not None
    assert sum("had again" in record.getMessage() for record in caplog.records) <= 1
    ip("link", "add", rig.name, "type", "veth", "peer", "name", f"{rig.name}b")
    assert rig.port.wait(PATIENCE)
    rig._wire(rig.name, f"{rig.name}b")
    rig.serve_until_linked()
    rig.port.service()
    others_come_and_go()
    assert not rig.port.wait(0)
    rig.leave()
    assert rig.port.wait(PATIENCE)
    rig.come_back()
