"""Records the example capture: real hosts talk through the example topology for half a minute.

usage: record_example.py CAPTURE    (as root; needs vsw, and Debian's iproute2, iputils-ping, dnsmasq-base, busybox)

The hosts are network namespaces, so every frame is made by a TCP/IP stack: nothing is crafted.  `recording/network.py` says
what stands between them and where the frames are recorded.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from recording import pcapng, programs
from recording.hosts import Host
from recording.network import Network

import vsw

TOPOLOGY = Path(__file__).parents[1] / "examples" / "two-vlans.toml"
MODULE = "esx1/vSwitch0"
COMMENT = "Recorded from hosts in network namespaces with vsw's scripts/record_example.py; fits examples/two-vlans.toml"

CLIENTS, STORES, CAMERAS = 10, 20, 30
LOCAL = {
    "web1": "00:50:56:00:10:01", "web2": "00:50:56:00:10:02", "db1": "00:50:56:00:20:01", "db2": "00:50:56:00:20:02",
}  # fmt: skip
ROUTER = "00:50:56:00:30:01"
OUTSIDE = {
    "gateway": ("02:00:5e:10:00:01", CLIENTS), "laptop": ("02:00:5e:10:00:64", CLIENTS), "backup": ("02:00:5e:20:00:05", STORES),
    "camera": ("02:00:5e:30:00:07", CAMERAS),
}  # fmt: skip

LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address replace "$ip/$mask" dev "$interface"
ip route replace default via "$router"
"""


class Lab:
    """All hosts, cabled."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.network = Network(vsw.load(TOPOLOGY).module(MODULE))
        self.hosts: dict[str, Host] = {}
        rack = Host("rack", {"up0": "02:00:5e:00:00:10", "up1": "02:00:5e:00:00:11"} | {
            name: f"02:00:5e:00:00:2{number}" for number, name in enumerate(OUTSIDE)
        })  # fmt: skip
        self.rack = rack
        for card in rack.cards:
            rack.setting(f"ipv6/conf/{card}/disable_ipv6", "1")
        rack.setting("ipv6/conf/default/disable_ipv6", "1")
        bridge = ("type", "bridge", "stp_state", "1", "forward_delay", "200", "mcast_snooping", "0")
        rack.command("ip", "link", "add", "br0", "address", "02:00:5e:00:00:01", *bridge)
        for card in rack.cards:
            rack.command("ip", "link", "set", card, "master", "br0", "up")
        for number, card in enumerate(("up0", "up1")):
            self.network.uplink(f"vmnic{number}", rack, card)
        for name, mac in LOCAL.items():
            self.hosts[name] = Host(name, {"eth0": mac})
            self.network.vnic(f"{name}.0", self.hosts[name], "eth0")
        self.hosts["router"] = Host("router", {"eth10": ROUTER, "eth20": ROUTER})
        self.network.trunk("router.0", self.hosts["router"], {"eth10": CLIENTS, "eth20": STORES})
        for name, (mac, vid) in OUTSIDE.items():
            self.hosts[name] = Host(name, {"eth0": mac})
            self.network.outside(self.hosts[name], "eth0", rack, name, vid)
        self.network.start()
        rack.command("ip", "link", "set", "br0", "up")
        wait("spanning tree", lambda: rack.command("ip", "-d", "link").count("state forwarding") == len(rack.cards))

    def close(self) -> None:
        """Switch everything off."""
        self.network.stop()
        for host in (*self.hosts.values(), self.rack):
            host.close()


def wait(what: str, reached: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a state of the world outside, which tells nobody when it comes."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds:g} s")
        time.sleep(0.1)


def boot(lab: Lab) -> None:
    """Addresses: leases and router advertisements for the clients' VLAN, by hand in the stores'."""
    hosts = lab.hosts
    hosts["gateway"].up("eth0", "10.0.10.1/24", "fd00:0:0:10::1/64")
    for card, net in (("eth10", 10), ("eth20", 20)):
        hosts["router"].up(card, f"10.0.{net}.254/24", f"fd00:0:0:{net}::fe/64")
    hosts["router"].setting("ipv4/ip_forward", "1")
    hosts["router"].setting("ipv6/conf/all/forwarding", "1")
    hosts["router"].command("ip", "route", "add", "10.0.20.99/32", "dev", "eth20", "mtu", "1280")
    hosts["router"].command("ip", "route", "add", "fd00:0:0:20::99/128", "dev", "eth20", "mtu", "1280")
    for name, number in (("db1", 21), ("db2", 22), ("backup", 5)):
        hosts[name].up("eth0", f"10.0.20.{number}/24", f"fd00:0:0:20::{number}/64")
        hosts[name].command("ip", "route", "add", "default", "via", "10.0.20.254")
        hosts[name].command("ip", "-6", "route", "add", "default", "via", "fd00:0:0:20::fe")
    hosts["camera"].up("eth0", "10.0.30.7/24", "fd00:0:0:30::7/64")
    wait("duplicate address detection", lambda: "tentative" not in hosts["gateway"].command("ip", "address"))
    hosts["gateway"].daemon(
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
        f"--dhcp-leasefile={lab.scratch}/leases", "--interface=eth0", "--bind-interfaces", "--except-interface=lo", "--domain=example",
        "--dhcp-range=10.0.10.100,10.0.10.199,1h", "--dhcp-range=::,constructor:eth0,ra-only", "--enable-ra", "--log-facility=/dev/null",
        f"--dhcp-host={LOCAL['web1']},10.0.10.11", f"--dhcp-host={LOCAL['web2']},10.0.10.12", f"--dhcp-host={OUTSIDE['laptop'][0]},10.0.10.100",
        "--host-record=shop.example,10.0.10.11,fd00:0:0:10:250:56ff:fe00:1001", "--host-record=db.example,10.0.20.21",
    )  # fmt: skip
    script = lab.scratch / "lease"
    script.write_text(LEASE)
    script.chmod(0o755)
    for name in ("web1", "web2", "laptop"):
        hosts[name].up("eth0")
        hosts[name].daemon("busybox", "udhcpc", "-f", "-i", "eth0", "-s", str(script), "-x", f"hostname:{name}", "-t", "8", "-T", "1", "-R")
    for name in ("web1", "web2", "laptop"):
        wait("addresses of " + name, lambda name=name: has_addresses(hosts[name].command("ip", "address")))
        hosts[name].command("ip", "route", "add", "10.0.20.0/24", "via", "10.0.10.254")
        hosts[name].command("ip", "-6", "route", "add", "fd00:0:0:20::/64", "via", "fd00:0:0:10::fe")


def has_addresses(text: str) -> bool:
    """Whether `ip address` shows a lease and a global IPv6 address that is nobody else's."""
    return "inet 10.0.10." in text and "inet6 fd00:" in text and "tentative" not in text


def pings(lab: Lab) -> None:
    """Echo requests: in a VLAN, to the outside, between VLANs; whole and in fragments."""
    for sender, address, count, size in (
        ("web1", "10.0.10.12", 15, 56), ("web1", "10.0.10.1", 15, 56), ("laptop", "10.0.10.11", 15, 56), ("db1", "10.0.20.22", 15, 56),
        ("backup", "10.0.20.21", 15, 56), ("web2", "10.0.20.21", 15, 56), ("web2", "fd00:0:0:20::21", 15, 56), ("db2", "fd00:0:0:20::5", 15, 56),
        ("laptop", "fd00:0:0:10:250:56ff:fe00:1002", 15, 56), ("web1", "10.0.20.5", 10, 120), ("db1", "10.0.20.22", 2, 4000),
        ("laptop", "10.0.10.12", 2, 3000), ("web1", "fd00:0:0:20::22", 2, 3000),
    ):  # fmt: skip
        lab.hosts[sender].command("ping", "-n", "-q", "-i", "0.02", "-c", str(count), "-s", str(size), address)
    lab.hosts["gateway"].command("ping", "-n", "-q", "-b", "-i", "0.1", "-c", "5", "10.0.10.255", check=False)
    lab.hosts["web1"].command("ping", "-n", "-q", "-i", "0.05", "-c", "5", "ff02::1%eth0")


def web(lab: Lab) -> None:
    """HTTP over both families, names resolved before."""
    hosts = lab.hosts
    for name in ("web1", "web2"):
        hosts[name].start(programs.serve_pages)
    for _ in range(6):
        hosts["laptop"].command("busybox", "nslookup", "shop.example", "10.0.10.1", check=False)
        hosts["web2"].command("busybox", "nslookup", "db.example", "10.0.10.1", check=False)
    wait("web servers", lambda: all(":80" in hosts[name].command("ss", "-ltn") for name in ("web1", "web2")))
    for _ in range(6):
        hosts["laptop"].run(programs.fetch, "10.0.10.11", [200, 1200, 4000])
        hosts["laptop"].run(programs.fetch, "fd00:0:0:10:250:56ff:fe00:1002", [200, 1200, 4000])
    hosts["db1"].run(programs.fetch, "10.0.10.12", [400, 9000])
    hosts["web1"].run(programs.fetch, "10.0.10.12", [24000])
    hosts["laptop"].run(programs.fetch, "10.0.10.12", [48000])


def database(lab: Lab) -> None:
    """Short questions and answers between VLANs, and a backup to the outside."""
    hosts = lab.hosts
    rows, ready = threading.Event(), threading.Event()
    hosts["db1"].start(programs.serve_rows, 5432, rows)
    hosts["backup"].start(programs.swallow, 8730, 90000, ready)
    rows.wait(10)
    ready.wait(10)
    both = [hosts["web1"].start(programs.query_rows, "10.0.20.21", 5432, 120), hosts["db2"].start(programs.pour, "10.0.20.5", 8730, 90000)]
    for program in both:
        program.result(60)


def flows(lab: Lab) -> None:
    """Datagrams: a call with priority, logs to a collector, announcements to all."""
    hosts = lab.hosts
    for name, address, port in (("web2", "::", 5004), ("backup", "0.0.0.0", 514), ("laptop", "0.0.0.0", 5004)):
        ready = threading.Event()
        hosts[name].start(programs.listen, address, port, ready)
        ready.wait(10)
    at_once = [
        hosts["web1"].start(programs.datagrams, "10.0.10.100", 5004, 200, 172, 0.005, 0xB8),
        hosts["laptop"].start(programs.datagrams, "fd00:0:0:10:250:56ff:fe00:1002", 5004, 150, 172, 0.005, 0xB8),
        hosts["db1"].start(programs.datagrams, "10.0.20.5", 514, 60, 110, 0.01),
        hosts["web2"].start(programs.datagrams, "10.0.20.5", 514, 60, 110, 0.01),
        hosts["db2"].start(programs.datagrams, "10.0.20.255", 7000, 20, 64, 0.03),
        hosts["camera"].start(programs.datagrams, "10.0.30.255", 7000, 20, 64, 0.03),
    ]
    for program in at_once:
        program.result(60)
    # Larger than a frame: three fragments each.
    hosts["db1"].run(programs.datagrams, "10.0.20.22", 9000, 2, 4000, 0.1)
    hosts["db1"].run(programs.datagrams, "fd00:0:0:20::22", 9000, 2, 4000, 0.1)


def groups(lab: Lab) -> None:
    """Groups joined, asked and left: IGMP, MLD, mDNS, SSDP."""
    leave = threading.Event()
    members = []
    for name in ("web1", "web2", "db1", "laptop", "camera"):
        ready = threading.Event()
        members.append(lab.hosts[name].start(programs.discover, "eth0", ready, leave, 6))
        ready.wait(10)
    time.sleep(2.5)
    leave.set()
    for member in members:
        member.result(30)


def errors(lab: Lab) -> None:
    """What goes wrong in a network: closed ports, lost ways, narrow ways, lifetimes that end."""
    hosts = lab.hosts
    hosts["web1"].run(programs.refused, "10.0.10.12", 81)
    hosts["laptop"].run(programs.refused, "fd00:0:0:10:250:56ff:fe00:1001", 81)
    hosts["web1"].run(programs.datagrams, "10.0.20.22", 4001, 6, 40, 0.05)
    hosts["db2"].run(programs.datagrams, "fd00:0:0:20::5", 4001, 6, 40, 0.05)
    hosts["web1"].command("busybox", "traceroute", "-n", "-w", "1", "-m", "4", "10.0.20.21", check=False)
    hosts["web2"].command("busybox", "traceroute6", "-n", "-w", "1", "-m", "4", "fd00:0:0:20::22", check=False)
    hosts["web1"].command("ping", "-n", "-q", "-c", "2", "-W", "4", "10.0.20.77", check=False)
    hosts["web1"].command("ping", "-n", "-q", "-c", "2", "-W", "1", "10.0.10.77", check=False)
    hosts["laptop"].command("ping", "-n", "-q", "-c", "2", "-W", "4", "fd00:0:0:20::77", check=False)
    hosts["web1"].run(programs.too_big, "10.0.20.99", 1400)
    hosts["web2"].run(programs.too_big, "fd00:0:0:20::99", 1400)


def change_of_address(lab: Lab) -> None:
    """A guest gives its card another MAC address, and is heard no more; then it takes back its own."""
    guest = lab.hosts["db2"]
    for mac in ("02:00:5e:bb:bb:bb", LOCAL["db2"]):
        guest.command("ip", "link", "set", "eth0", "down")
        guest.command("ip", "link", "set", "eth0", "address", mac)
        guest.up("eth0", "fd00:0:0:20::22/64")
        guest.command("ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", "10.0.20.21", check=False)


SCENES = (boot, pings, web, database, flows, groups, errors, change_of_address)


def main() -> None:
    """Record."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        lab = Lab(Path(scratch))
        try:
            for scene in SCENES:
                before = len(lab.network.frames)
                scene(lab)
                print(f"{scene.__name__:20} {len(lab.network.frames) - before:6} frames")
        finally:
            lab.close()
    ports = sorted(lab.network.module.ports, key=lambda port: port.number)
    index = {port.number: position for position, port in enumerate(ports)}
    frames = [(index[number], when, frame) for number, when, frame in lab.network.frames]
    path = Path(sys.argv[1])
    pcapng.write(path, COMMENT, [f"{MODULE}/{port.name}" for port in ports], frames)
    print(f"{path}: {len(frames)} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
