"""Filters: what they mean, held against a frame at a time in plain Python, and what they refuse."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from vsw.replay.where import FLAGS, MAX_DEPTH, PROTOCOLS, compile_where

EXAMPLE = Path(__file__).parents[2] / "examples" / "two-vlans.pcapng"
GROUP, BROADCAST, PORTS, OPTIONS, FRAGMENT, GROUP_SOURCE, CUT, MALFORMED = 1, 2, 4, 32, 64, 256, 512, 1024


@cache
def rows() -> Any:
    with vsw.open_capture(EXAMPLE) as capture:
        return vsw.classify(capture)[::9]


@cache
def frames() -> list[dict[str, Any]]:
    """Each frame as a dictionary of what it has."""
    found = []
    for row in rows():
        flags, tags = int(row["flags"]), int(row["tags"])
        frame: dict[str, Any] = {"length": int(row["length"]), "captured": int(row["captured"]), "tags": tags, "flow_hash": int(row["flow_hash"])}
        frame |= {"src": row["src"].tobytes(), "dst": row["dst"].tobytes(), "type": int(row["ethertype"])}
        if tags:
            tci = int(row["outer_tci"])
            frame |= {"vlan": tci % 4096, "pcp": tci >> 13, "dei": tci >> 12 & 1, "tpid": int(row["outer_tpid"])}
        if row["ip_version"]:
            width = 4 if row["ip_version"] == 4 else 16
            frame |= {"proto": int(row["protocol"]), "ip_version": int(row["ip_version"]), "tos": int(row["tos"])}
            frame |= {name: ipaddress.ip_address(row[name][:width].tobytes()) for name in ("src_ip", "dst_ip")}
        if flags & PORTS:
            frame |= {"sport": int(row["sport"]), "dport": int(row["dport"])}
        frame["words"] = {
            "tagged": tags > 0, "broadcast": bool(flags & BROADCAST), "group": bool(flags & GROUP), "unicast": not flags & GROUP,
            "multicast": bool(flags & GROUP) and not flags & BROADCAST, "fragment": bool(flags & FRAGMENT), "options": bool(flags & OPTIONS),
            "cut": bool(flags & CUT), "malformed": bool(flags & MALFORMED), "group_source": bool(flags & GROUP_SOURCE),
        }  # fmt: skip
        found.append(frame)
    return found


def chosen(text: str) -> list[int]:
    mask: Any = compile_where(text)(rows())
    assert mask.dtype == np.bool_
    return np.flatnonzero(mask).tolist()


NUMBERS = {"vlan": 4095, "pcp": 7, "tags": 2, "type": 0xFFFF, "proto": 255, "sport": 65535, "dport": 65535, "length": 2000, "tos": 255}
SIGNS = {"==": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}


@st.composite
def numbers(draw):
    field = draw(st.sampled_from([*NUMBERS, "port"]))
    fields = ("sport", "dport") if field == "port" else (field,)
    seen = sorted({frame[name] for frame in frames() for name in fields if name in frame})
    value = draw(st.sampled_from(seen) | st.integers(0, NUMBERS.get(field, 65535)))
    sign = draw(st.sampled_from([*SIGNS, "in", "range"]))
    if sign == "in":
        other = draw(st.sampled_from(seen))
        return f"{field} in ({value}, {other:#x})", lambda frame: any(frame.get(name) in (value, other) for name in fields)
    if sign == "range":
        high = draw(st.integers(value, NUMBERS.get(field, 65535)))
        return f"{field} in ({value}-{high})", lambda frame: any(value <= frame.get(name, -1) <= high for name in fields)
    call = all if sign == "!=" else any
    return f"{field}{sign} {value}", lambda frame: call(name in frame and getattr(frame[name], SIGNS[sign])(value) for name in fields)


@st.composite
def macs(draw):
    field = draw(st.sampled_from(["src", "dst", "mac"]))
    fields = ("src", "dst") if field == "mac" else (field,)
    octets = draw(st.sampled_from([frame["src"] for frame in frames()[:200]]))[: draw(st.integers(3, 6))]
    if draw(st.booleans()):
        return f"{field} == {octets.hex(':')}", lambda frame: any(frame[name].startswith(octets) for name in fields)
    return f"{field} != {octets.hex(':').upper()}", lambda frame: not any(frame[name].startswith(octets) for name in fields)


@st.composite
def addresses(draw):
    field = draw(st.sampled_from(["src_ip", "dst_ip", "ip"]))
    fields = ("src_ip", "dst_ip") if field == "ip" else (field,)
    address = draw(st.sampled_from([frame["src_ip"] for frame in frames() if "src_ip" in frame][:300]))
    network = ipaddress.ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False)
    if draw(st.booleans()):
        return f"{field} in ({network})", lambda frame: any(name in frame and frame[name] in network for name in fields)
    return f"{field} != {network}", lambda frame: "src_ip" in frame and not any(frame[name] in network for name in fields)


def joined(inner):
    pairs = st.tuples(inner, inner)
    return (
        pairs.map(lambda two: (f"({two[0][0]} and {two[1][0]})", lambda frame: two[0][1](frame) and two[1][1](frame)))
        | pairs.map(lambda two: (f"(({two[0][0]}) or {two[1][0]})", lambda frame: two[0][1](frame) or two[1][1](frame)))
        | inner.map(lambda one: (f"not ({one[0]})", lambda frame: not one[1](frame)))
    )


WORDS = st.sampled_from(sorted(FLAGS)).map(lambda word: (word, lambda frame: frame["words"][word]))
EXPRESSIONS = st.recursive(numbers() | macs() | addresses() | WORDS, joined, max_leaves=6)


@given(EXPRESSIONS)
def test_it_means_what_a_frame_at_a_time_means(expression):
    text, holds = expression
    assert chosen(text) == [number for number, frame in enumerate(frames()) if holds(frame)], text


def test_and_binds_closer_than_or():
    assert chosen("tagged or broadcast and length < 0x40") == chosen("tagged or (broadcast and length < 64)")
    assert chosen("not tagged and broadcast") == chosen("(not tagged) and broadcast")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_names_stand_for_numbers(name):
    assert chosen(f"proto == {name}") == chosen(f"proto == {PROTOCOLS[name]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' ends where one of"),
        ("vlan", "'vlan' ends where in or one of == != < <= > >= after vlan was expected"),
        ("vlan ==", "ends where a value of vlan"),
        ("vlan == 4096", "expected a number from 0 to 4095 for vlan"),
        ("vlan == x", "expected a number from 0 to 4095, for vlan"),
        ("vlan = 1", "'=' at character 6"),
        ("vlna == 1", "did you mean 'vlan'"),
        ("vlan == 1 tagged", "'tagged' at character 11 of 'vlan == 1 tagged', expected and, or, or the end"),
        ("(vlan == 1", "ends where and, or, or )"),
        ("vlan in 1", "expected ("),
        ("vlan in (1", "ends where , or )"),
        ("vlan in (9-1)", "a range that ascends, as 1-9"),
        ("vlan in ()", "expected a value of vlan"),
        ("src < 00:50:56", "src can be compared with ==, != and in only"),
        ("src == 00:50", "three octets or more"),
        ("ip == 300.1.1.1", "an IP address or a network"),
        ("proto == tcpp", "or one of icmp,"),
        ("__import__('os')", "at character 1"),
        ("vlan == 1; x", "';' at character 10"),
        ("not " * MAX_DEPTH + "tagged", "nested deeper than 64"),
        ("(" * MAX_DEPTH + "tagged" + ")" * MAX_DEPTH, "nested deeper than 64"),
        ("tagged or " * 500 + "tagged", "at most 4096 characters"),
    ],
)
def test_what_it_refuses(text, message):
    with pytest.raises(vsw.UsageError) as raised:
        compile_where(text)
    assert message in str(raised.value)


PARTS = st.sampled_from(["vlan", "==", "(", ")", "1", "not", "and", "or", "in", "tagged", ",", "-", "ip"])


@given(st.text(max_size=60) | st.lists(PARTS, max_size=9).map(" ".join))
def test_whatever_is_written_is_understood_or_refused(text):
    with suppress(vsw.UsageError):
        compile_where(text)(rows()[:10])
