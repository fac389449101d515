"""MAC addresses that vNICs are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from vsw.config.models import Oui
from vsw.config.oui import RANGES, allocate

NAMES = st.lists(st.text(alphabet="abc-0", min_size=1, max_size=4), unique=True, max_size=8)


def topology(names: list[str], top: str = "", more: str = "") -> str:
    machines = [f'[vms."{name}"]\nhost = "h"\nnics = [{{ switch = "s" }}, {{ switch = "s" }}]' for name in names]
    return "\n".join([top, "[hosts.h.switches.s]", "dialect = 'vss'", more, *machines])


def test_addresses_are_stable() -> None:
    assert vsw.loads(topology(["web1", "web2"])).macs == {
        "web1.0": 0x5254008DD2E6,
        "web1.1": 0x525400225CFA,
        "web2.0": 0x525400C8A0D1,
        "web2.1": 0x525400606E46,
    }


@given(NAMES, st.randoms(use_true_random=False))
def test_other_vms_and_the_order_of_the_file_change_nothing(names: list[str], random: st.Random) -> None:
    macs = vsw.loads(topology(names)).macs
    assert len(set(macs.values())) == len(macs) == 2 * len(names)
    shuffled = names.copy()
    random.shuffle(shuffled)
    assert vsw.loads(topology([*shuffled, "new"])).macs.items() >= macs.items()


@pytest.mark.parametrize("oui", list(RANGES))
def test_the_vendor_of_the_lab_or_of_the_vm(oui: Oui) -> None:
    first, count = RANGES[oui]
    (mac, _) = vsw.loads(topology(["v"], top=f"oui = '{oui}'")).macs.values()
    assert first <= mac < first + count
    (mac, _) = vsw.loads(topology(["v"]) + f"\noui = '{oui}'").macs.values()
    assert first <= mac < first + count


def test_ranges_are_the_vendors() -> None:
    assert {name: f"{first >> 24:06x}" for name, (first, _) in RANGES.items()} == {
        "vmware": "005056",
        "kvm": "525400",
        "xen": "00163e",
        "hyper-v": "00155d",
        "virtualbox": "080027",
        "parallels": "001c42",
    }
    assert RANGES["vmware"][1] - 1 == 0x3FFFFF  # 00:50:56:00:00:00 to 00:50:56:3f:ff:ff


@pytest.mark.parametrize(
    "place",
    [
        "ports.p.mac = '{mac}'",
        "ports.p = {{ mac = '02:00:00:00:00:01', effective_mac = '{mac}' }}",
        "ports.p.macs = ['{mac}']",
        "ports.p = {{}}\nstatic = [{{ mac = '{mac}', port = 'p' }}]",
        "[hosts.h.nics]\neth0.mac = '{mac}'",
        "[vms.other]\nhost = 'h'\nnics = [{{ switch = 's', mac = '{mac}' }}]",
        "[vms.other]\nhost = 'h'\nnics = [{{ switch = 's', mac = '02:00:00:00:00:01', macs = ['{mac}'] }}]",
    ],
    ids=["mac", "effective_mac", "macs", "static", "nic", "vnic", "vnic-macs"],
)
def test_an_address_that_is_written_down_is_not_given(place: str) -> None:
    free = vsw.loads(topology(["v"])).macs["v.0"]
    taken = f"{free:012x}"
    assert vsw.loads(topology(["v"], more=place.format(mac=taken))).macs["v.0"] == free + 1


def test_where_two_meet_the_later_name_moves_on() -> None:
    wanted = [(name, 0, "vmware") for name in ("a", "b", "c")]
    free = allocate(wanted, set())
    first = free["b", 0]
    second = allocate(wanted, {first})
    assert second == {**free, ("b", 0): first + 1}
    # Whoever would have had that address by itself, and sorts later, moves on as well.
    assert allocate([("b", 0, "vmware")], {first, first + 1}) == {("b", 0): first + 2}


def test_a_range_goes_round_and_can_be_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RANGES, "xen", (0x00163E000000, 4))
    given = allocate([(name, 0, "xen") for name in "abcd"], set())
    assert sorted(given.values()) == [0x00163E000000 + offset for offset in range(4)]
    with pytest.raises(ValueError, match="no free MAC address is left in the range of xen"):
        allocate([(name, 0, "xen") for name in "abcde"], set())
    with pytest.raises(vsw.ConfigError, match="vms: no free MAC address is left in the range of xen"):
        vsw.loads(topology(["a", "b", "c"], top="oui = 'xen'"))
