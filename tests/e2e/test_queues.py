"""A guest with two processors has two queue pairs on its vhost-user card: both carry traffic, both ways."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.e2e import guest, image
from tests.e2e.labs import APPEND, Lab, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(guest.missing_programs() is not None, reason=f"programs are missing: {guest.missing_programs()}"),
]

FLOWS = 12


def topology(folder: Path) -> str:
    text = "[hosts.h.switches.s]\n[profiles.ten]\nvlan = { mode = 'access', vid = 10 }\n"
    for number, (name, processors, attach) in enumerate((("two", 2, "vhost-user"), ("one", 1, "dgram")), start=1):
        text += f"""
[vms.{name}]
host = "h"
kernel = "{folder}/vmlinuz"
initrd = "{folder}/initrd"
append = "{APPEND} hostname={name} ip.eth0=10.6.0.{number}/24"
memory = "160M"
cpus = {processors}
accel = "tcg"
nics = [{{ switch = "s", profile = "ten", model = "virtio-net", attach = "{attach}", mac = "52:54:00:06:00:0{number}" }}]
"""
    return text


def test_both_queues_carry_traffic() -> None:
    kernel = image.find_guest_kernel()
    if kernel is None:
        pytest.skip(f"no kernel with all drivers: neither in /boot nor as Debian's package {guest.FULL_PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="vsw-guest-") as name:
        folder = Path(name)
        (folder / "vmlinuz").symlink_to(kernel.image)
        image.build(kernel, folder / "initrd")
        with Lab(topology(folder)) as lab:
            two, one = lab.ready(["two", "one"])

            def queues() -> list[dict[str, int]]:
                found: list[dict[str, int]] = lab.show("counters")["h/s"]["ports"]["two.0"]["queues"]
                return found

            assert two.run("ls -d /sys/class/net/eth0/queues/tx-* | wc -l").strip() == "2"
            assert "2 packets received" in one.run("ping -c 2 -W 20 10.6.0.1")
            before = queues()
            assert len(before) == 2
            # Each processor sends by a queue of its own; the switch spreads flows, by addresses and ports.
            for processor in (1, 2):
                two.run(f"taskset {processor} ping -c 3 -W 20 10.6.0.2")
            for flow in range(FLOWS):
                one.run(f"echo {flow} | nc -u -w 1 10.6.0.1 {7000 + flow} || true")

            def used() -> bool:
                now = queues()
                return all(now[pair][way] > before[pair][way] for pair in range(2) for way in ("sent", "received"))

            until(used, f"both queues to be used; {before} before")
