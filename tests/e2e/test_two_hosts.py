"""Two hosts, each in a network namespace with two uplinks that cables join; a guest on each, behind a team."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import guest, image, network
from tests.e2e.labs import APPEND, Lab, until
from tests.e2e.test_guests import RECEIVE, expected_sum
from tests.e2e.vms import Guest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(guest.missing_programs() is not None, reason=f"programs are missing: {guest.missing_programs()}"),
    pytest.mark.skipif(network.missing() is not None, reason=f"network namespaces: {network.missing()}"),
]

MACS = {"a": "52:54:00:01:00:01", "b": "52:54:00:01:00:02"}
HOSTS = {"a": "left", "b": "right"}
MEGABYTES = 100


def topology(folder: Path) -> str:
    text = "profiles.ten.vlan = { mode = 'access', vid = 10 }\n"
    for vm, host in HOSTS.items():
        text += f"""
[hosts.{host}.nics]
u0.attach = {{ type = "packet", interface = "u0" }}
u1.attach = {{ type = "packet", interface = "u1" }}
[hosts.{host}.switches.dvs]
learning = "outside"
team = {{ policy = "explicit", active = ["u0"], standby = ["u1"] }}
[vms.{vm}]
host = "{host}"
kernel = "{folder}/vmlinuz"
initrd = "{folder}/initrd"
append = "{APPEND} hostname={vm} ip.eth0=10.5.0.{1 if vm == "a" else 2}/24"
memory = "128M"
accel = "tcg"
nics = [{{ switch = "dvs", profile = "ten", mac = "{MACS[vm]}" }}]
"""
    return text


@dataclass
class Pair:
    """Both hosts."""

    labs: dict[str, Lab]
    spaces: dict[str, network.Namespace]

    def port(self, vm: str, name: str) -> dict[str, Any]:
        host = HOSTS[vm]
        found: dict[str, Any] = self.labs[vm].show("counters")[f"{host}/dvs"]["ports"][name]
        return found


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    kernel = image.find_guest_kernel()
    if kernel is None:
        pytest.skip(f"no kernel with all drivers: neither in /boot nor as Debian's package {guest.FULL_PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="vsw-guest-") as name, network.Namespace() as left, network.Namespace() as right:
        for card in ("u0", "u1"):
            left.link(card, right, card)
        folder = Path(name)
        (folder / "vmlinuz").symlink_to(kernel.image)
        image.build(kernel, folder / "initrd")
        text = topology(folder)
        with Lab(text, "left", left.inside) as first, Lab(text, "right", right.inside) as second:
            first.start()
            second.start()
            yield Pair({"a": first, "b": second}, {"a": left, "b": right})


def test_guests_reach_each_other(pair: Pair) -> None:
    a, b = pair.labs["a"].guest("a"), pair.labs["b"].guest("b")
    for shell in (a, b):
        shell.wait_until_ready()
    assert "5 packets received" in a.run("ping -c 5 -W 20 10.5.0.2")
    assert "5 packets received" in b.run("ping -c 5 -W 20 10.5.0.1")
    for vm in HOSTS:
        assert pair.port(vm, "u0")["rx_frames"] >= 10
        assert pair.port(vm, "u1")["tx_frames"] == 0


def test_each_host_has_a_table_of_its_own(pair: Pair) -> None:
    """Each address stands in both tables: where it lives as the guest's, elsewhere as something outside."""
    for vm, lab in pair.labs.items():
        other = "b" if vm == "a" else "a"
        entries = {entry["mac"]: (entry["port"], entry["kind"]) for entry in lab.show("mac")}
        assert entries[MACS[vm]] == (f"{vm}.0", "static")
        assert entries[MACS[other]] == ("u0", "learned")


def test_a_connection_survives_the_death_of_an_uplink(pair: Pair) -> None:
    a, b = pair.labs["a"].guest("a"), pair.labs["b"].guest("b")
    size = MEGABYTES * 1_000_000
    before = {name: pair.port("a", name)["tx_bytes"] for name in ("u0", "u1")}
    b.run(RECEIVE)
    sending = a.begin(f"probe data 9 {size} | nc 10.5.0.2 5000")
    until(lambda: pair.port("a", "u0")["tx_bytes"] > before["u0"] + size // 10, "a tenth of it to be sent by the first uplink")
    pair.spaces["a"].run("ip", "link", "set", "u0", "down")
    status, text = a.end(sending, seconds=600)
    assert status == 0, text
    assert b.run("wait; cat /tmp/sum", seconds=600).split()[0] == expected_sum(pair.labs["a"].folder, 9, size)
    sent = {name: pair.port("a", name)["tx_bytes"] - before[name] for name in ("u0", "u1")}
    assert sent["u0"] > size // 10
    assert sent["u1"] > 0
    assert sum(sent.values()) > size
    # What the guests' cards leave to the switch: segments cut towards the uplink, and what comes by one joined.
    assert pair.port("a", "a.0")["rx_cut_frames"] > 0
    assert pair.port("b", "b.0")["tx_joined_frames"] > 0
    # It comes back, and is used again.
    pair.spaces["a"].run("ip", "link", "set", "u0", "up")
    until(lambda: _moves(pair, a), "frames to leave by the first uplink again")


def _moves(pair: Pair, a: Guest) -> bool:
    before = pair.port("a", "u0")["tx_frames"]
    a.status("ping -c 1 -W 2 10.5.0.2 > /dev/null")
    return int(pair.port("a", "u0")["tx_frames"]) > before
