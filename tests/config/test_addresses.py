"""MAC addresses that vNICs are given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from vsw.config import mac_file
from vsw.config.models import Oui
from vsw.config.oui import RANGES, allocate, vendor_of
from vsw.config.resolve import given_macs

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
        "vmware-vcenter": "005056",
        "vmware-generated": "000c29",
        "kvm": "525400",
        "xen": "00163e",
        "hyper-v": "00155d",
        "virtualbox": "080027",
        "parallels": "001c42",
    }
    assert RANGES["vmware"][1] - 1 == 0x3FFFFF  # 00:50:56:00:00:00 to 00:50:56:3f:ff:ff
    first, count = RANGES["vmware-vcenter"]
    assert (first, first + count - 1) == (0x005056800000, 0x005056BFFFFF)


@pytest.mark.parametrize(
    ("mac", "oui"),
    [
        (0x0050563FFFFF, "vmware"), (0x005056400000, None), (0x005056800000, "vmware-vcenter"), (0x005056BFFFFF, "vmware-vcenter"),
        (0x005056C00000, None), (0x000C29FFFFFF, "vmware-generated"), (0x525400000000, "kvm"), (0x020000000001, None),
    ],
)  # fmt: skip
def test_whose_an_address_is(mac: int, oui: str | None) -> None:
    assert vendor_of(mac) == oui


SOME = st.sets(st.text("abc", min_size=1, max_size=3), max_size=6)


@given(st.sampled_from(list(RANGES)), SOME, SOME)
def test_what_was_given_once_is_given_again(oui: Oui, before: set[str], after: set[str]) -> None:
    # Few addresses, so that they meet: without a memory a newcomer would push others on.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RANGES, oui, (RANGES[oui][0], 16))
        old = allocate([(vm, 0, oui) for vm in before], ())
        new = allocate([(vm, 0, oui) for vm in after | before], (), old)
        assert new.items() >= old.items()
        assert len(set(new.values())) == len(new)
        # Who is gone keeps its address from others.
        fresh = allocate([(vm, 0, oui) for vm in after - before], (), old)
        assert not set(fresh.values()) & set(old.values())


def test_a_remembered_address_gives_way() -> None:
    free = allocate([("a", 0, "kvm")], ())["a", 0]
    assert allocate([("a", 0, "kvm")], {free + 9}, {("a", 0): free + 9}) == {("a", 0): free}
    assert allocate([("a", 0, "xen")], (), {("a", 0): free + 9})["a", 0] >> 24 == 0x00163E


class TestFile:
    """`mac_file`."""

    def lab(self, folder: Path, *names: str, more: str = "") -> vsw.Lab:
        file = folder / "lab.toml"
        file.write_text(topology(list(names), top="mac_file = 'macs.json'", more=more))
        return vsw.load(file)

    def test_it_is_read_by_whoever_loads_the_topology(self, tmp_path: Path) -> None:
        lab = self.lab(tmp_path, "v")
        assert not (tmp_path / "macs.json").exists()
        mac_file.write(tmp_path / "macs.json", {("v", 0): 0x525400ABCDEF})
        moved = self.lab(tmp_path, "v")
        assert moved.macs == {"v.0": 0x525400ABCDEF, "v.1": lab.macs["v.1"]}
        mac_file.write(tmp_path / "macs.json", given_macs(moved))
        assert mac_file.read(tmp_path / "macs.json") == {("v", 0): 0x525400ABCDEF, ("v", 1): lab.macs["v.1"]}

    def test_a_vm_with_a_uuid_keeps_its_addresses_when_it_is_renamed(self, tmp_path: Path) -> None:
        text = "mac_file = 'macs.json'\n[hosts.h.switches.s]\n[vms.{}]\nhost = 'h'\nnics = [{{ switch = 's' }}]\nuuid = '{}'"
        uuid = "564d8f2c-0b1e-4c55-9a6e-3f1f7b1c2d3e"
        old, new = (vsw.loads(text.format(name, uuid), file=str(tmp_path / "lab.toml")) for name in ("old", "new"))
        assert old.macs["old.0"] == new.macs["new.0"]
        assert given_macs(new) == {(uuid, 0): old.macs["old.0"]}

    def test_addresses_that_were_written_down_are_not_remembered(self, tmp_path: Path) -> None:
        lab = self.lab(tmp_path, more="[vms.w]\nhost = 'h'\nnics = [{ switch = 's', mac = '02:00:00:00:00:01' }]")
        assert given_macs(lab) == {}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is no JSON"),
            ("[]", "is no list of MAC addresses of version 1"),
            ('{"version": 2, "macs": {}}', "of version 1"),
            ('{"version": 1, "macs": {"v": "52:54:00:00:00:01"}}', "'v' is not IDENTITY/INDEX"),
            ('{"version": 1, "macs": {"v/0": 5}}', "v/0: must be a MAC address"),
            ('{"version": 1, "macs": {"v/0": "01:00:00:00:00:00"}}', "v/0: must be the address of one station"),
            ('{"version": 1, "macs": {"v/0": "52:54:00:00:00:01", "w/0": "52:54:00:00:00:01"}}', "w/0 and v/0 have the same address"),
        ],
    )
    def test_what_is_wrong_with_it(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "macs.json").write_text(text)
        with pytest.raises(vsw.ConfigError, match=f"lab.toml:1: mac_file: .*{message}"):
            self.lab(tmp_path, "v")

    def test_many_may_write(self, tmp_path: Path) -> None:
        path = tmp_path / "macs.json"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: mac_file.write(path, {(f"v{number}", 0): 0x525400000000 + number}), range(64)))
        assert mac_file.read(path) == {(f"v{number}", 0): 0x525400000000 + number for number in range(64)}
        assert {file.name for file in tmp_path.iterdir()} == {"macs.json", "macs.json.lock"}

    def test_an_address_has_one_owner(self, tmp_path: Path) -> None:
        path = tmp_path / "macs.json"
        mac_file.write(path, {("a", 0): 0x525400000001})
        mac_file.write(path, {("b", 0): 0x525400000001})
        assert mac_file.read(path) == {("b", 0): 0x525400000001}


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
