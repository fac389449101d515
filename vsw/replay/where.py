"""Filters: a small language over what :func:`vsw.classify` says of frames, read by hand into operations on whole columns.

::

    expression := conjunction { "or" conjunction }
    conjunction := term { "and" term }
    term := "not" term | "(" expression ")" | FLAG | FIELD ("==" | "!=" | "<" | "<=" | ">" | ">=") VALUE | FIELD "in" "(" VALUE { "," VALUE } ")"

A value is a number (decimal, 0x...), a range ``10-29`` (after ``in``), a MAC address or the beginning of one (``00:50:56``), an IP address or a
network (``10.0.0.0/8``, after ``==``, ``!=`` and ``in``), or a name (``tcp``, ``arp``).  A comparison with what a frame does not have (the VLAN of
an untagged frame, the port of an ARP packet) is false, whatever the operator.  ``mac``, ``ip`` and ``port`` stand for source or destination.

Nothing is evaluated as Python.  An expression is as long and as deep as the bounds below allow.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsw.config.values import did_you_mean
from vsw.datapath.rows import RowFlag
from vsw.errors import UsageError

Mask = NDArray[np.bool_]
Rows = NDArray[Any]
Test = Callable[[Rows], Mask]

MAX_LENGTH = 4096
MAX_DEPTH = 64

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "ospf": 89, "pim": 103, "vrrp": 112, "sctp":
    132,
}  # fmt: skip
TYPES = {
    "ipv4": 0x0800, "arp": 0x0806, "rarp": 0x8035, "ipv6": 0x86DD, "mpls": 0x8847, "pppoe": 0x8864, "slow": 0x8809, "lldp": 0x88CC, "macsec": 0x88E5,
}  # fmt: skip
TPIDS = {"c": 0x8100, "s": 0x88A8}

_TOKEN = re.compile(r"\s*(==|!=|<=|>=|<|>|\(|\)|,|[0-9A-Za-z_.:/-]+)")
_OPERATORS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){2,5}")
_VID, _PCP_SHIFT, _DEI_SHIFT = 0x0FFF, 13, 12


class Number(NamedTuple):
    """A field that is a number: its values, where frames have it, and names for values."""

    values: Callable[[Rows], NDArray[Any]]
    there: Callable[[Rows], Mask]
    most: int
    names: dict[str, int]


def _all(rows: Rows) -> Mask:
    return np.ones(len(rows), np.bool_)


def _flag(bit: RowFlag) -> Test:
    return lambda rows: (rows["flags"] & np.uint16(bit)) != 0


def _column(name: str) -> Callable[[Rows], NDArray[Any]]:
    return lambda rows: rows[name]


def _ip(rows: Rows) -> Mask:
    there: Mask = rows["ip_version"] != 0
    return there


def _header(rows: Rows) -> Mask:
    there: Mask = rows["network"] != 0
    return there


def _tags(count: int) -> Test:
    return lambda rows: rows["tags"] >= count


_PORTS = _flag(RowFlag.HAS_PORTS)
NUMBERS = {
    "vlan": Number(lambda rows: rows["outer_tci"] & _VID, _tags(1), 4095, {}),
    "pcp": Number(lambda rows: rows["outer_tci"] >> _PCP_SHIFT, _tags(1), 7, {}),
    "dei": Number(lambda rows: rows["outer_tci"] >> _DEI_SHIFT & 1, _tags(1), 1, {}),
    "tpid": Number(_column("outer_tpid"), _tags(1), 0xFFFF, TPIDS),
    "inner_vlan": Number(lambda rows: rows["inner_tci"] & _VID, _tags(2), 4095, {}),
    "inner_tpid": Number(_column("inner_tpid"), _tags(2), 0xFFFF, TPIDS),
    "tags": Number(_column("tags"), _all, 2, {}),
    "type": Number(_column("ethertype"), _header, 0xFFFF, TYPES),
    "proto": Number(_column("protocol"), _ip, 255, PROTOCOLS),
    "ip_version": Number(_column("ip_version"), _ip, 6, {}),
    "tos": Number(_column("tos"), _ip, 255, {}),
    "sport": Number(_column("sport"), _PORTS, 0xFFFF, {}),
    "dport": Number(_column("dport"), _PORTS, 0xFFFF, {}),
    "length": Number(_column("length"), _all, 0xFFFFFFFF, {}),
    "captured": Number(_column("captured"), _all, 0xFFFFFFFF, {}),
    "flow_hash": Number(_column("flow_hash"), _all, 0xFFFFFFFF, {}),
}
MACS = {"src": ("src",), "dst": ("dst",), "mac": ("src", "dst")}
ADDRESSES = {"src_ip": ("src_ip",), "dst_ip": ("dst_ip",), "ip": ("src_ip", "dst_ip")}
EITHER = {"port": ("sport", "dport")}
FLAGS: dict[str, Test] = {
    "tagged": _tags(1),
    "broadcast": _flag(RowFlag.BROADCAST),
    "group": _flag(RowFlag.GROUP),
    "multicast": lambda rows: (rows["flags"] & np.uint16(RowFlag.GROUP | RowFlag.BROADCAST)) == RowFlag.GROUP,
    "unicast": lambda rows: _header(rows) & ~_flag(RowFlag.GROUP)(rows),
    "fragment": _flag(RowFlag.FRAGMENT),
    "options": _flag(RowFlag.IP_OPTIONS),
    "cut": _flag(RowFlag.CUT),
    "malformed": _flag(RowFlag.MALFORMED),
    "group_source": _flag(RowFlag.GROUP_SOURCE),
}
#: Every word that may begin a term.
WORDS = sorted({*NUMBERS, *MACS, *ADDRESSES, *EITHER, *FLAGS})


def compile_where(text: str) -> Test:
    """From rows (:data:`vsw.ROW`) to where the expression holds.  :class:`~vsw.errors.UsageError` says what is wrong with it."""
    if len(text) > MAX_LENGTH:
        raise UsageError(f"a filter has at most {MAX_LENGTH} characters (found {len(text)})")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, int]] = []
        self.at = self.depth = 0
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if not match:
                place += len(text[place:]) - len(text[place:].lstrip())
                raise UsageError(f"filter: {text[place]!r} at character {place + 1} of {text!r} means nothing here")
            self.tokens.append((match[1], match.start(1)))
            place = match.end()

    def whole(self) -> Test:
        test = self.either()
        if self.at < len(self.tokens):
            raise self.wrong("and, or, or the end")
        return test

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def wrong(self, expected: str) -> UsageError:
        if self.at < len(self.tokens):
            token, place = self.tokens[self.at]
            return UsageError(f"filter: {token!r} at character {place + 1} of {self.text!r}, expected {expected}")
        return UsageError(f"filter: {self.text!r} ends where {expected} was expected")

    def either(self) -> Test:
        tests = [self.both()]
        while self.peek() == "or":
            self.take()
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda rows: np.logical_or.reduce([test(rows) for test in tests])

    def both(self) -> Test:
        tests = [self.term()]
        while self.peek() == "and":
            self.take()
            tests.append(self.term())
        return tests[0] if len(tests) == 1 else lambda rows: np.logical_and.reduce([test(rows) for test in tests])

    def term(self) -> Test:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UsageError(f"filter: nested deeper than {MAX_DEPTH}")
        try:
            return self._term()
        finally:
            self.depth -= 1

    def _term(self) -> Test:
        word = self.peek()
        if word == "not":
            self.take()
            test = self.term()
            return lambda rows: ~test(rows)
        if word == "(":
            self.take()
            test = self.either()
            if self.peek() != ")":
                raise self.wrong("and, or, or )")
            self.take()
            return test
        if word in FLAGS:
            self.take()
            return FLAGS[word]
        if word in WORDS:
            self.take()
            return self.comparison(word)
        raise self.wrong(f"one of {', '.join(WORDS)}, not, or ({did_you_mean(word, WORDS)}")

    def comparison(self, field: str) -> Test:
        sign = self.peek()
        if sign == "in":
            self.take()
            if self.peek() != "(":
                raise self.wrong("(")
            tests = []
            while self.peek() in ("(", ","):
                self.take()
                tests.append(self.value(field, "in"))
            if self.peek() != ")":
                raise self.wrong(", or )")
            self.take()
            return lambda rows: np.logical_or.reduce([test(rows) for test in tests])
        if sign not in _OPERATORS:
            raise self.wrong(f"in or one of {' '.join(_OPERATORS)} after {field}")
        self.take()
        return self.value(field, sign)

    def value(self, field: str, sign: str) -> Test:
        token = self.peek()
        if not token or token in "(),":
            raise self.wrong(f"a value of {field}")
        if field in MACS:
            test = self._mac(field, sign, token)
        elif field in ADDRESSES:
            test = self._address(field, sign, token)
        elif field in EITHER:
            one, other = (self._number(name, sign, token) for name in EITHER[field])
            test = _of_both(one, other, sign)
        else:
            test = self._number(field, sign, token)
        self.take()
        return test

    def _number(self, field: str, sign: str, token: str) -> Test:
        number = NUMBERS[field]
        low, dash, high = token.partition("-")
        if dash and sign == "in":
            first, last = self._integer(field, low), self._integer(field, high)
            if first > last:
                raise self.wrong(f"a range that ascends, as {high}-{low}")
            return lambda rows: (number.values(rows) >= first) & (number.values(rows) <= last) & number.there(rows)
        wanted = self._integer(field, token)
        compare = _OPERATORS["==" if sign == "in" else sign]
        return lambda rows: compare(number.values(rows).astype(np.int64), wanted) & number.there(rows)

    def _integer(self, field: str, token: str) -> int:
        number = NUMBERS[field]
        if token in number.names:
            return number.names[token]
        try:
            found = int(token, 16 if token.lower().startswith("0x") else 10)
        except ValueError:
            names = f", or one of {', '.join(number.names)}" if number.names else ""
            raise self.wrong(f"a number from 0 to {number.most}{names}, for {field}") from None
        if not 0 <= found <= number.most:
            raise self.wrong(f"a number from 0 to {number.most} for {field}")
        return found

    def _mac(self, field: str, sign: str, token: str) -> Test:
        if sign not in ("==", "!=", "in"):
            raise UsageError(f"filter: {field} can be compared with ==, != and in only (found {sign})")
        if not _MAC.fullmatch(token.lower()):
            raise self.wrong(f"a MAC address, or three octets or more of its beginning, for {field}")
        octets = np.frombuffer(bytes.fromhex(token.replace(":", "")), np.uint8)

        def equal(name: str) -> Test:
            return lambda rows: (rows[name][:, : len(octets)] == octets).all(axis=1) & _header(rows)

        return _signed([equal(name) for name in MACS[field]], sign, _header)

    def _address(self, field: str, sign: str, token: str) -> Test:
        if sign not in ("==", "!=", "in"):
            raise UsageError(f"filter: {field} can be compared with ==, != and in only (found {sign})")
        try:
            network = ipaddress.ip_network(token, strict=False)
        except ValueError:
            raise self.wrong(f"an IP address or a network, for {field}") from None
        address, mask = (np.frombuffer(value.packed, np.uint8) for value in (network.network_address, network.netmask))

        def equal(name: str) -> Test:
            return lambda rows: ((rows[name][:, : len(mask)] & mask) == address).all(axis=1) & (rows["ip_version"] == network.version)

        return _signed([equal(name) for name in ADDRESSES[field]], sign, _ip)


def _signed(tests: list[Test], sign: str, there: Test) -> Test:
    """One of the tests holds; for ``!=`` none does, of frames that have the field at all."""
    if sign == "!=":
        return lambda rows: ~np.logical_or.reduce([test(rows) for test in tests]) & there(rows)
    return lambda rows: np.logical_or.reduce([test(rows) for test in tests])


def _of_both(one: Test, other: Test, sign: str) -> Test:
    """Source or destination; for ``!=`` neither is that value."""
    if sign == "!=":
        return lambda rows: one(rows) & other(rows)
    return lambda rows: one(rows) | other(rows)
