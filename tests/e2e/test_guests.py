"""Real guests on one running switch: VLANs, every card model, every attachment, hostile frames, a passed-through card, a crash, a replay.

One lab for all of it, because a guest takes seconds to boot: its four guests boot at once, when the first test wants them.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import vsw as vsw_package
from tests.e2e import guest, image, network
from tests.e2e.labs import APPEND, Lab, until, vsw
from vsw.config.cards import CARDS
from vsw.verdicts import Reason

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(guest.missing_programs() is not None, reason=f"programs are missing: {guest.missing_programs()}"),
    pytest.mark.skipif(network.missing() is not None, reason=f"network namespaces: {network.missing()}"),
]

MODELS = list(CARDS)
MEGABYTES = 100
# What each attachment's pair of cards is called in alpha and beta: place of the card, VLAN.
PAIRS = {"vhost-user": (0, 10), "dgram": (1, 41), "stream": (2, 42)}
MAC = "52:54:00:00:{vm:02x}:{card:02x}"
VMS = {"alpha": 1, "beta": 2, "gamma": 3, "models": 4}
CARD = "vswpt0"
# Port 5000 is 1388 in hexadecimal, and 0A is LISTEN.
# A pipe that nobody writes into keeps nc from ending its own direction at once.
RECEIVE = (
    "mkfifo -m 600 /tmp/hold 2> /dev/null; nc -l -p 5000 <> /tmp/hold | sha256sum > /tmp/sum & "
    "while ! grep -q ':1388 .* 0A ' /proc/net/tcp; do :; done"
)
#: Seconds between pings, and what reconnecting may take beyond the switch's absence: QEMU tries each second.
INTERVAL, RECONNECT = 0.1, 3.0


def mac(vm: str, card: int) -> str:
    return MAC.format(vm=VMS[vm], card=card)


def topology(image_folder: Path) -> str:
    def vm(name: str, cards: list[str], memory: str = "160M") -> str:
        words = ",\n  ".join(f'{{ {card}, mac = "{mac(name, place)}" }}' for place, card in enumerate(cards))
        return f"""
[vms.{name}]
host = "h"
kernel = "{image_folder}/vmlinuz"
initrd = "{image_folder}/initrd"
append = "{APPEND} hostname={name}"
memory = "{memory}"
accel = "tcg"
nics = [
  {words},
]
"""

    def card(vid: int, model: str = "virtio-net", attach: str = "dgram") -> str:
        return f'switch = "s", profile = "v{vid}", model = "{model}", attach = "{attach}"'

    both = [card(vid, attach=attach) for attach, (_, vid) in PAIRS.items()]
    return f"""
[hosts.h.nics]
{CARD} = {{}}

[hosts.h.switches.s]
dialect = "vsw"
ports.outside = {{ vlan = {{ mode = "access", vid = 20 }} }}

[profiles]
{"".join(f'v{vid}.vlan = {{ mode = "access", vid = {vid} }}{chr(10)}' for vid in (10, 20, 30, 41, 42))}
trunk.vlan = {{ mode = "trunk", vids = "10,20" }}

{vm("alpha", [*both, card(30, attach="vhost-user")])}
{vm("beta", [*both, card(30)])}
{vm("gamma", [card(20, "e1000"), 'switch = "s", profile = "trunk", attach = "dgram"', f'passthrough = "{CARD}", model = "e1000"'])}
{vm("models", [card(30, model) for model in MODELS])}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The lab, with what its ports see captured; guests are up when a test asks for them."""
    kernel = image.find_guest_kernel()
    if kernel is None:
        pytest.skip(f"no kernel with all drivers: neither in /boot nor as Debian's package {guest.FULL_PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="vsw-guest-") as name, network.Namespace() as here, network.Namespace() as there:
        here.link(CARD, there, "eth0")
        there.run("ip", "addr", "add", "10.77.0.1/24", "dev", "eth0")
        folder = Path(name)
        (folder / "vmlinuz").symlink_to(kernel.image)
        image.build(kernel, folder / "initrd")
        with Lab(topology(folder), inside=here.inside) as started:
            started.start()
            started.there = there
            yield started

def port(lab: Lab, name: str) -> dict[str, Any]:
    """The switch's counters of a port."""
    found: dict[str, Any] = lab.show("counters")["h/s"]["ports"][name]
    return found


def gained(now: dict[str, int], before: dict[str, int], unit: str) -> tuple[int, int]:
    """(Sent, received) by a guest's card since then; ``packets`` or ``bytes``."""
    return now[f"tx_{unit}"] - before[f"tx_{unit}"], now[f"rx_{unit}"] - before[f"rx_{unit}"]


def taken(now: dict[str, Any], before: dict[str, Any], unit: str = "packets") -> tuple[int, int]:
    """The same as the switch's port has it: what the guest sends the switch receives; a segment, cut or joined, is one of the guest's packets."""
    word = {"packets": "frames", "bytes": "bytes"}[unit]
    sent, received = (now[key] - before[key] for key in (f"rx_{word}", f"tx_{word}"))
    if unit == "packets":  # what the guest had no room for left the switch, and is counted at the port
        received -= lost(now) - lost(before)
    return sent - (now[f"rx_cut_{word}"] - before[f"rx_cut_{word}"]), received - (now[f"tx_joined_{word}"] - before[f"tx_joined_{word}"])


def lost(counted: dict[str, Any]) -> int:
    """Copies that a port could not hand on."""
    return sum(count for reason, count in counted["port_drops"].items() if reason.startswith("tx_"))


def counts(
    lab: Lab, name: str, place: int, card: str, before: dict[str, int], counted: dict[str, Any], unit: str = "packets"
) -> tuple[tuple[int, int], tuple[int, int]]:
    """What a guest's card and its port of the switch have (sent, received) since then."""
    return gained(lab.guest(name).counters(card), before, unit), taken(port(lab, f"{name}.{place}"), counted, unit)


def gain(now: dict[str, Any], before: dict[str, Any], reason: str) -> int:
    """Frames of a port dropped with a reason since then."""
    return int(now["dropped"].get(reason, 0)) - int(before["dropped"].get(reason, 0))


def settled(both: Callable[[], tuple[tuple[int, int], tuple[int, int]]]) -> tuple[int, int]:
    """What guest and switch agree on, once what is under way has arrived."""
    last: list[tuple[tuple[int, int], tuple[int, int]]] = []

    def agree() -> bool:
        last.append(both())
        return last[-1][0] == last[-1][1]

    try:
        until(agree, "guest and switch to have counted the same")
    except AssertionError:
        raise AssertionError(f"guest and switch have counted (sent, received) differently: {last[-1]}") from None
    return last[-1][0]


def expected_sum(folder: Path, seed: int, size: int) -> str:
    """The sum of what a guest's `probe data` writes: the same program, run here."""
    digest = hashlib.sha256()
    with subprocess.Popen([image.probe(folder), "data", str(seed), str(size)], stdout=subprocess.PIPE) as data:
        assert data.stdout is not None
        while piece := data.stdout.read(1 << 20):
            digest.update(piece)
    assert data.returncode == 0
    return digest.hexdigest()


def explain(lab: Lab, name: str, frame: str) -> dict[str, Any]:
    """What ``vsw explain`` says of a frame that comes in by a port."""
    path = lab.folder / "one.pcapng"
    with vsw_package.PcapngWriter(path, interfaces=[f"h/s/{name}"]) as writer:
        writer.write(bytes.fromhex(frame), 0)
    found: dict[str, Any] = vsw("explain", lab.topology, path, "--frame", 1)
    return found


def card_of(lab: Lab, name: str, place: int) -> str:
    """What a guest calls its card."""
    return lab.guest(name).run(f"basename $(dirname $(grep -l {mac(name, place)} /sys/class/net/eth?/address))").strip()


def address(lab: Lab, name: str, place: int, ip: str) -> str:
    """Give a guest's card its IP address; the card's name."""
    found = card_of(lab, name, place)
    lab.guest(name).run(f"ip link set {found} up; ip addr flush dev {found}; ip addr add {ip} dev {found}")
    return found


def test_guests_of_one_vlan_reach_each_other_and_no_other(lab: Lab) -> None:
    alpha, beta, gamma, _ = lab.ready(VMS)
    address(lab, "alpha", 0, "10.1.0.1/24")
    address(lab, "beta", 0, "10.1.0.2/24")
    address(lab, "gamma", 0, "10.1.0.3/24")
    assert "3 packets received" in alpha.run("ping -c 3 -W 20 10.1.0.2")
    assert "3 packets received" in beta.run("ping -c 3 -W 20 10.1.0.1")
    for other in ("10.1.0.1", "10.1.0.2"):
        assert gamma.status(f"ping -c 2 -W 3 {other} > /dev/null") == 1
    # It knows of neither: not even the question reached them.
    assert "10.1.0.3" not in alpha.run("cat /proc/net/arp") + beta.run("cat /proc/net/arp")
    assert gamma.counters(card_of(lab, "gamma", 0))["rx_packets"] == 0


def test_a_trunk_sees_its_tags(lab: Lab) -> None:
    alpha, gamma = lab.ready(["alpha", "gamma"])
    address(lab, "alpha", 0, "10.2.0.1/24")
    trunk = card_of(lab, "gamma", 1)
    gamma.run(f"ip link set {trunk} up; ip link add link {trunk} name tagged type vlan id 10")
    gamma.run("ip addr add 10.2.0.4/24 dev tagged; ip link set tagged up")
    gamma.run(f"probe watch {trunk} 3 > /tmp/seen & while ! grep -q watching /tmp/seen; do :; done")
    assert "2 packets received" in alpha.run("ping -c 2 -W 20 10.2.0.4")
    seen = gamma.run("wait; cat /tmp/seen").splitlines()[1:]
    own = bytes.fromhex(mac("gamma", 1).replace(":", "")).hex()
    pings = [line for line in seen if line.startswith(own)]
    assert pings
    assert {line[24:32] for line in seen} == {"8100000a"}
    gamma.run("ip link del tagged")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_passes_traffic(lab: Lab, model: str) -> None:
    beta, models = lab.ready(["beta", "models"])
    place = MODELS.index(model)
    subnet = f"10.3.{place}"
    near = address(lab, "models", place, f"{subnet}.1/24")
    address(lab, "beta", 3, f"{subnet}.2/24")
    before, counted = models.counters(near), port(lab, f"models.{place}")
    for size in (56, 1472):
        assert "4 packets received" in models.run(f"ping -c 4 -W 20 -s {size} {subnet}.2")
    assert "4 packets received" in beta.run(f"ping -c 4 -W 20 {subnet}.1")
    frames = settled(partial(counts, lab, "models", place, near, before, counted))
    assert min(frames) >= 12
    models.run(f"ip addr flush dev {near}; ip link set {near} down")


@pytest.mark.parametrize("model", [model for model in MODELS if model != "virtio-net"])
def test_what_the_driver_finds(lab: Lab, model: str) -> None:
    (models,) = lab.ready(["models"])
    card = CARDS[model]
    near = card_of(lab, "models", MODELS.index(model))
    found = dict(line.split() for line in models.run(f"ip link set {near} up; probe card {near}").splitlines())
    assert found["driver"] == card.driver
    assert any(word in found for word in ("tx-checksum-ip-generic", "tx-checksum-ipv4")) == card.tx_checksum
    assert ("rx-checksum" in found) == card.rx_checksum
    assert ("tx-tcp-segmentation" in found) == card.tso4
    assert ("tx-tcp6-segmentation" in found) == card.tso6
    assert ("tx-vlan-hw-insert" in found) == card.vlan_insert
    assert ("rx-vlan-hw-parse" in found) == card.vlan_strip
    assert models.status(f"ip link set {near} mtu {card.max_mtu}") == 0
    assert models.status(f"ip link set {near} mtu {card.max_mtu + 1} 2> /dev/null") != 0
    models.run(f"ip link set {near} mtu 1500; ip link set {near} down")


def move(lab: Lab, way: tuple[tuple[str, int], tuple[str, int]], subnet: str, seed: int) -> list[dict[str, int]]:
    """Move 100 MB over TCP from one guest's card to another's: equal sums, and virtio cards count as the switch does. What both ports counted."""
    size = MEGABYTES * 1_000_000
    cards = [address(lab, name, place, f"{subnet}.{number}/24") for number, (name, place) in enumerate(way, start=1)]
    before = [(lab.guest(name).counters(card), port(lab, f"{name}.{place}")) for (name, place), card in zip(way, cards, strict=True)]
    sender, receiver = (lab.guest(name) for name, _ in way)
    receiver.run(RECEIVE)
    sender.run(f"probe data {seed} {size} | nc {subnet}.2 5000", seconds=600)
    assert receiver.run("wait; cat /tmp/sum", seconds=600).split()[0] == expected_sum(lab.folder, seed, size)
    for (name, place), card, (own, counted) in zip(way, cards, before, strict=True):
        if name == "models":
            continue  # QEMU's e1000 counts fewer frames than it sends when it cuts segments itself, and each frame's checksum of 4 bytes
        for unit, least in (("packets", size // 65_536), ("bytes", size)):
            if unit == "bytes" and lost(port(lab, f"{name}.{place}")) > lost(counted):
                continue  # the port does not say how long they were
            assert sum(settled(partial(counts, lab, name, place, card, own, counted, unit))) > least
    numbers = ("rx_frames", "rx_cut_frames", "tx_frames", "tx_joined_frames")
    return [
        {key: port(lab, f"{name}.{place}")[key] - counted[key] for key in numbers} for (name, place), (_, counted) in zip(way, before, strict=True)
    ]


@pytest.mark.parametrize("attach", PAIRS)
def test_a_hundred_megabytes(lab: Lab, attach: str) -> None:
    lab.ready(["alpha", "beta"])
    place, vid = PAIRS[attach]
    sent, received = move(lab, (("alpha", place), ("beta", place)), f"10.{vid}.0", place + 1)
    if attach == "vhost-user":
        # Segments come and go whole; how many, and how long, is for the two stacks and their machine to say.
        assert sent["rx_cut_frames"] > 0
        assert received["tx_joined_frames"] > 0
    else:
        assert sent["rx_cut_frames"] == received["tx_joined_frames"] == 0


def test_segments_for_a_card_that_takes_none(lab: Lab) -> None:
    """vhost-user with all its offloads, to an e1000 on a socket: cut in software; and back, joined."""
    lab.ready(["alpha", "models"])
    sent, _ = move(lab, (("alpha", 3), ("models", 0)), "10.4.0", 7)
    assert sent["rx_cut_frames"] > 0
    _, received = move(lab, (("models", 0), ("alpha", 3)), "10.4.1", 8)
    assert received["tx_joined_frames"] > 0


def test_what_a_guest_must_not_send(lab: Lab) -> None:
    """Dropped, counted, explained; and nothing of it reaches anybody."""
    alpha, beta = lab.ready(["alpha", "beta"])
    near = address(lab, "alpha", 0, "10.1.0.1/24")
    own, other = (mac(name, 0).replace(":", "") for name in ("alpha", "beta"))
    body = "0800" + "45" + "00" * 45
    hostile = {
        "forged_source": f"{other}020000000bad{body}",
        "bpdu": f"0180c2000000{own}0026424203" + "00" * 47,
        "vlan_not_allowed": f"{other}{own}81000014{body}",
    }
    far = card_of(lab, "beta", 0)
    for reason, frame in hostile.items():
        before, heard = port(lab, "alpha.0"), beta.counters(far)
        alpha.run(f"probe inject {near} {frame} 5")
        until(lambda r=reason, b=before: gain(port(lab, "alpha.0"), b, r) >= 5, f"5 frames dropped with {reason}")
        assert gain(port(lab, "alpha.0"), before, reason) == 5
        assert beta.counters(far)["rx_packets"] == heard["rx_packets"]
        assert Reason[reason.upper()].sentence in str(lab.show("drops"))
        explained = explain(lab, "alpha.0", frame)
        assert (explained["verdict"], explained["reason"], explained["agrees"]) == ("dropped", reason, True)
        assert explained["steps"]
    # Double-tagged, the outer tag that of the own access port: no hop either.
    before = port(lab, "alpha.0")
    alpha.run(f"probe inject {near} {other}{own}8100000a81000014{body}")
    until(lambda: gain(port(lab, "alpha.0"), before, "vlan_not_allowed") == 1, "the double-tagged frame to be dropped")


def test_a_card_passed_through_meets_no_switch(lab: Lab) -> None:
    (gamma,) = lab.ready(["gamma"])
    near = address(lab, "gamma", 2, "10.77.0.2/24")
    before = totals(lab)
    assert "5 packets received" in gamma.run("ping -c 5 -W 20 10.77.0.1")
    assert "3 packets received" in lab.there.run("busybox", "ping", "-c", "3", "-W", "20", "10.77.0.2")
    # Tags pass as they are.  The host may have no VLAN devices, so the frames are written by hand;
    # without a priority, which Linux's driver of e1000 takes off what it receives.
    probe = str(image.probe(lab.folder))
    own, outside = mac("gamma", 2).replace(":", ""), "020000000077"
    frames = [f"{own}{outside}81000007{'88b5' + '5a' * 60}", f"{own}{outside}88a80007{'8100000988b5' + 'a5' * 60}"]
    gamma.run(f"ip link set {near} promisc on")  # else the card keeps VLANs away that nobody registered
    gamma.run(f"probe watch {near} 5 > /tmp/seen & while ! grep -q watching /tmp/seen; do :; done")
    for frame in frames:
        lab.there.run(probe, "inject", "eth0", frame)
    assert [line for line in gamma.run("wait; cat /tmp/seen").splitlines() if line[12:24] == outside] == frames
    back = [f"ffffffffffff{frame[:12]}{frame[24:]}" for frame in frames]
    with subprocess.Popen([*lab.there.inside, probe, "watch", "eth0", "5"], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "watching\n"
        for frame in back:
            gamma.run(f"probe inject {near} {frame}")
        seen = watching.stdout.read().splitlines()
    assert [line for line in seen if line.startswith(f"ffffffffffff{own}")] == back
    assert totals(lab) == before


def test_what_is_captured_replays_alike(lab: Lab) -> None:
    """The frames that entered at the ports, in a file each, through the same topology: the same verdicts, the same counters."""
    alpha, beta, gamma = lab.ready(["alpha", "beta", "gamma"])
    lab.kill()
    captures = lab.folder / "captures"
    captures.mkdir()
    lab.start("--capture", captures)
    near = address(lab, "alpha", 0, "10.1.0.1/24")
    address(lab, "beta", 0, "10.1.0.2/24")
    address(lab, "gamma", 0, "10.1.0.3/24")
    until(lambda: alpha.status("ping -c 2 -W 5 10.1.0.2 > /dev/null") == 0, "alpha to reach beta")
    beta.run("ping -c 5 -W 20 -s 1400 10.1.0.1")
    gamma.status("ping -c 2 -W 2 10.1.0.1 > /dev/null")
    own, other = (mac(name, 0).replace(":", "") for name in ("alpha", "beta"))
    body = "0800" + "45" + "00" * 45
    for frame in (f"{other}020000000bad{body}", f"{other}{own}81000014{body}", f"020000000000{own}{body}"):
        alpha.run(f"probe inject {near} {frame} 3")
    before: list[Any] = []

    def quiet() -> bool:
        before.append(lab.show("counters")["h/s"])
        return len(before) > 1 and before[-1]["frames"] == before[-2]["frames"] and before[-1]["dropped"].get("forged_source", 0) == 3

    until(quiet, "the last frames to be counted")
    live = before[-1]
    lab.stop()
    replayed = vsw("replay", lab.topology, *sorted(captures.glob("*.pcapng")))
    assert live["dropped"]["forged_source"] == live["dropped"]["vlan_not_allowed"] == 3
    for key in ("frames", "delivered", "consumed", "dropped", "copies", "filtered"):
        assert replayed[key] == live[key], key
    for name, counted in replayed["ports"].items():
        for key in ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes"):
            assert counted[key] == live["ports"][name][key], (name, key)


def totals(lab: Lab) -> dict[str, int]:
    """Frames that came in, by port of the switch."""
    return {name: counted["rx_frames"] for name, counted in lab.show("counters")["h/s"]["ports"].items()}


@pytest.mark.parametrize("attach", ["vhost-user", "dgram"])
def test_a_crash_loses_no_more_than_the_time_away(lab: Lab, attach: str) -> None:
    alpha, beta = lab.ready(["alpha", "beta"])
    place, vid = PAIRS[attach]
    address(lab, "alpha", place, f"10.{vid}.0.1/24")
    far = address(lab, "beta", place, f"10.{vid}.0.2/24")
    before = beta.counters(far)["rx_packets"]
    alpha.run(f"ping -i {INTERVAL} 10.{vid}.0.2 > /tmp/pings & echo $! > /tmp/pid")
    until(lambda: beta.counters(far)["rx_packets"] >= before + 5, "pings to come through")
    lab.kill()
    gone = time.monotonic()
    lab.start()
    # Others' guests, and these, run on; wait until they hear each other again.
    before = beta.counters(far)["rx_packets"]
    until(lambda: beta.counters(far)["rx_packets"] >= before + 5, "pings to come through again")
    away = time.monotonic() - gone
    alpha.run("kill -INT $(cat /tmp/pid); wait")
    sent, received = map(int, re.findall(r"(\d+) packets", alpha.run("tail -3 /tmp/pings"))[:2])
    assert received > 5
    assert (sent - received) * INTERVAL <= away + RECONNECT
    assert lab.running() == set(VMS)
