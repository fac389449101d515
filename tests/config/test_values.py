"""Names, MAC addresses, sets of VIDs, sizes: what is read, and that what was written comes back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsw.config import values

SETS = st.frozensets(st.integers(0, 4095), min_size=1, max_size=64)
MACS = st.integers(0, values.MAX_MAC)


@pytest.mark.parametrize(
    ("written", "vids"),
    [
        ("10", {10}),
        ("0", {0}),
        ("10,20-22", {10, 20, 21, 22}),
        (" 10 , 20 - 22 ", {10, 20, 21, 22}),
        ("1-3,2-4", {1, 2, 3, 4}),
        ("4095", {4095}),
        ("007", {7}),
        (10, {10}),
        ([10, 20, 10], {10, 20}),
        ("0-4095", set(range(4096))),
    ],
)
def test_sets_of_vids(written: object, vids: set[int]) -> None:
    assert values.parse_vids(written) == vids


@pytest.mark.parametrize(
    "written",
    [
        "", " ", ",", "10,", "a", "-1", "1-", "1--2", "2-1", "4096", "99999", "10;20", "0x10", "1_0", "\u0661", "1\n-\n", "1" * 40_000, [],
        [4096], [-1], ["1"], True, 1.0, None,
    ],
)
def test_what_is_no_set_of_vids(written: object) -> None:
    with pytest.raises(ValueError, match=r"VID|longer|backwards"):
        values.parse_vids(written)


@given(SETS)
def test_sets_of_vids_come_back(vids: frozenset[int]) -> None:
    text = values.format_vids(vids)
    assert values.parse_vids(text) == vids
    assert values.parse_vids(sorted(vids)) == vids
    runs = [part.split("-") for part in text.split(",")]
    bounds = [(int(run[0]), int(run[-1])) for run in runs]
    assert all(before[1] + 1 < after[0] for before, after in pairwise(bounds)), "the text is not the shortest"


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 4095)), min_size=1, max_size=20))
def test_ranges_are_unions(pairs: list[tuple[int, int]]) -> None:
    ranges = [(min(pair), max(pair)) for pair in pairs]
    text = ",".join(f"{first}-{last}" for first, last in ranges)
    assert values.parse_vids(text) == {vid for first, last in ranges for vid in range(first, last + 1)}


@given(st.text(alphabet="0123456789,- ax\n", max_size=30))
def test_any_text_is_a_set_of_vids_or_refused(text: str) -> None:
    try:
        vids = values.parse_vids(text)
    except ValueError:
        return
    assert vids
    assert vids <= frozenset(range(4096))


@given(MACS)
def test_every_notation_of_a_mac(mac: int) -> None:
    digits = f"{mac:012x}"
    octets = [digits[index : index + 2] for index in range(0, 12, 2)]
    notations = [
        digits,
        ":".join(octets),
        "-".join(octets),
        ".".join(digits[index : index + 4] for index in range(0, 12, 4)),
        ":".join(f"{int(octet, 16):x}" for octet in octets),
    ]
    for notation in notations:
        assert values.parse_mac(notation) == mac
        assert values.parse_mac(notation.upper()) == mac
    assert values.format_mac(mac) == notations[1]


@pytest.mark.parametrize(
    "written",
    [
        "", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:0g", "02:00:00-00:00:00", "0200.0000.000", "02 00 00 00 00 00",
        "02:00:00:00:00:001", "0x20000000000", " 02:00:00:00:00:00", "02:00:00:00:00:00\n", "\uff10" * 12, 5, None, True,
        b"02:00:00:00:00:00",
    ],
)
def test_what_is_no_mac(written: object) -> None:
    with pytest.raises(ValueError, match="must be a MAC address"):
        values.parse_mac(written)


@given(MACS)
def test_a_station_is_neither_a_group_nor_zero(mac: int) -> None:
    text = values.format_mac(mac)
    if mac == 0 or int(text[:2], 16) & 1:
        with pytest.raises(ValueError, match="address of one station"):
            values.parse_station(text)
    else:
        assert values.parse_station(text) == mac


@pytest.mark.parametrize(
    ("written", "size", "speed"),
    [(512, 512, 512), ("512", 512, 512), ("1K", 1024, 1000), ("20 G", 20 << 30, 20 * 10**9), ("2T", 2 << 40, 2 * 10**12)],
)
def test_sizes_and_speeds(written: object, size: int, speed: int) -> None:
    assert values.parse_size(written) == size
    assert values.parse_speed(written) == speed


@pytest.mark.parametrize("written", ["", "G", "-1", "1.5G", "1GB", "10g", "9" * 30, "9000000P", 0, -1, True, 1.0, 1 << 63, None])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="must be a"):
        values.parse_size(written)
    with pytest.raises(ValueError, match="must be a"):
        values.parse_speed(written)


@given(st.text(max_size=140))
def test_a_name_is_usable_as_a_file_name(name: str) -> None:
    try:
        assert values.check_name(name) == name
    except ValueError:
        return
    assert name.isprintable()
    assert "/" not in name
    assert name not in {"", ".", ".."}
    assert len(name.encode()) <= 120


@pytest.mark.parametrize("name", ["vmnic0", "web1.0", "br-lan", "Port 1", "büro", "1", "eth0.100", "a@b", "..."])
def test_names(name: str) -> None:
    assert values.check_name(name) == name


@pytest.mark.parametrize(
    ("found", "known", "hint"),
    [
        ("vsv", ["vsw", "vss"], " (did you mean 'vsw'?)"),
        ("VSW", ["vsw"], " (did you mean 'vsw'?)"),
        ("vsw", ["vsw"], ""),
        ("zzz", ["vsw"], ""),
        (3, ["vsw"], ""),
        ("v" * 10_000, ["vsw"], ""),
    ],
)
def test_did_you_mean(found: object, known: list[str], hint: str) -> None:
    assert values.did_you_mean(found, known) == hint
