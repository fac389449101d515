"""A team picks the member that a Linux bond picks: same frames, same policies, real kernel.

In the guest: a tap device and the bond are ports of a bridge; three dummy devices are the members, enslaved in an order that is neither that of
their names nor of their numbers.  Three, because with two or four many wrong hashes agree.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.differential.ovs.driver import Offered
from tests.differential.ovs.implementations import IMPLEMENTATIONS, Implementation
from tests.e2e import flows, guest
from vsw.config.dialects import DIALECTS
from vsw.config.module import ALL_VIDS, Module, Policy, Port, Team, Vlan

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(guest.missing_programs() is not None, reason=f"programs are missing: {guest.missing_programs()}"),
]

POLICIES: tuple[Policy, ...] = ("layer2", "layer2+3", "layer3+4", "vlan+srcmac")
FRAMES = 2500
MODULES = ("llc", "stp", "bridge", "tls", "bonding", "dummy", "tun")
MEMBERS = ("dummy1", "dummy2", "dummy0")
# The modules bring bond0 and dummy0 with them.
SETUP = f"""
ip link add dummy1 type dummy
ip link add dummy2 type dummy
cd /sys/class/net/bond0/bonding
echo balance-xor > mode
echo 100 > miimon
ip link set bond0 up
for name in {" ".join(MEMBERS)}; do ip link set $name down; echo +$name > slaves; done
tunctl -t tap0 > /dev/null
brctl addbr br0
echo 0 > /sys/class/net/br0/bridge/multicast_snooping
brctl addif br0 tap0
brctl addif br0 bond0
for name in tap0 br0; do ip link set $name up; done
for policy in {" ".join(POLICIES)}; do
    echo $policy > xmit_hash_policy
    read shown < xmit_hash_policy
    echo "policy $shown"
    /bond_probe /frames tap0 {" ".join(MEMBERS)}
done
echo done
"""


@pytest.fixture(scope="module")
def bond(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Policy -> a character for each of the frames: the member's place."""
    kernel = guest.find_kernel()
    if kernel is None:
        pytest.skip(f"no kernel for the guest: neither in /boot nor as Debian's package {guest.PACKAGE}")
    probe = tmp_path_factory.mktemp("guest") / "bond_probe"
    source = Path(__file__).with_name("bond_probe.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-static", "-o", str(probe), str(source)], check=True)
    packed = b"".join(len(data).to_bytes(2, "little") + data for data in flows.frames(1, FRAMES))
    console = guest.run(kernel, SETUP, MODULES, {"bond_probe": probe.read_bytes(), "frames": packed}, seconds=300)
    lines = console.splitlines()
    assert "done" in lines, console[-2000:]
    return {line.split()[1]: lines[place + 1] for place, line in enumerate(lines) if line.startswith("policy ")}


@pytest.fixture(params=IMPLEMENTATIONS, ids=repr)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    return request.param


def module(policy: Policy) -> Module:
    """A trunk and a team of three: dialect ovs switches as a bridge does, the assignment is Linux's."""
    dialect = DIALECTS["ovs"]
    trunk = Vlan("trunk", 0, ALL_VIDS)
    members = tuple(Port(number, f"u{number}", "uplink", trunk, dialect.security, team=0) for number in (1, 2, 3))
    team = Team("bond0", policy, (1, 2, 3), assignment="modulo")
    return Module("br0", dialect, (Port(0, "tap0", "plain", trunk, dialect.security), *members), (team,), learning="full")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_member(bond: dict[str, str], implementation: Implementation, policy: Policy) -> None:
    frames = flows.frames(1, FRAMES)
    theirs = bond[policy]
    assert len(theirs) == FRAMES
    shares = Counter(theirs)
    assert set(shares) == {"0", "1", "2"}, f"frames that left by none or by several: {shares}"
    assert min(shares.values()) > FRAMES / 6
    outcomes = implementation.forward(module(policy), [Offered(0, data) for data in frames])
    for place, (data, outcome, member) in enumerate(zip(frames, outcomes, theirs, strict=True)):
        assert list(outcome.egress) == [1 + int(member)], f"frame {place}: the bond sends it by its member {member}: {data.hex()}"
