"""Receive-side scaling, with Microsoft's verification suite."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from tests.vm.nic.frames import MACS, tcp, udp
from vsw.vm.nic.rss import KEY, Scaling, hash_input, toeplitz

# (source, port, destination, port, hash of the addresses, hash with the ports), as published under "Verifying the RSS Hash Calculation".
SUITE = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323E8FC2, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xD718262A, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xD2D0A5DE, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2CC18CD5, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0F0C461C, 0xDDE51BBF),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4B61E985, 0x02D1FEEF),
]


def with_addresses(frame: bytes, source: bytes, target: bytes, ports: tuple[int, int]) -> bytes:
    l3 = 14
    place = l3 + (12 if len(source) == 4 else 8)
    l4 = l3 + (20 if len(source) == 4 else 40)
    body = bytearray(frame)
    body[place : place + 2 * len(source)] = source + target
    body[l4 : l4 + 4] = b"".join(port.to_bytes(2, "big") for port in ports)
    return bytes(body)


@pytest.mark.parametrize(("source", "from_port", "target", "to_port", "addresses_only", "with_ports"), SUITE)
def test_microsofts_vectors(source: str, from_port: int, target: str, to_port: int, addresses_only: int, with_ports: int) -> None:
    addresses = ip_address(source).packed, ip_address(target).packed
    version = ip_address(source).version
    assert toeplitz(addresses[0] + addresses[1]) == addresses_only
    frame = with_addresses(tcp(version, b""), *addresses, (from_port, to_port))
    assert Scaling(1).spread(frame) == (0, with_ports)
    # UDP's ports count only where they are asked for: fragments of one datagram would part.
    other = with_addresses(udp(version, b""), *addresses, (from_port, to_port))
    assert Scaling(1).spread(other)[1] == addresses_only
    assert Scaling(1, udp=True).spread(other)[1] == with_ports
    # A tag changes nothing.
    assert Scaling(1).spread(frame[:12] + b"\x81\0\0\x0a" + frame[12:])[1] == with_ports


@given(st.binary(max_size=36), st.binary(max_size=36))
def test_it_is_linear(a: bytes, b: bytes) -> None:
    size = min(len(a), len(b))
    a, b = a[:size], b[:size]
    both = bytes(x ^ y for x, y in zip(a, b, strict=True))
    assert toeplitz(both) == toeplitz(a) ^ toeplitz(b)


def test_fragments_and_other_frames() -> None:
    frame = bytearray(tcp(4, b"x" * 32))
    frame[20] |= 0x20
    assert hash_input(bytes(frame)) == bytes(frame[26:34])
    assert Scaling(8).spread(MACS + b"\x08\x06" + bytes(46)) == (0, None)


def test_the_table_decides() -> None:
    frame = tcp(4, b"")
    found = Scaling(1).spread(frame)[1]
    assert found is not None
    for size in (1, 2, 64, 512):
        table = [0] * size
        table[found % size] = 3
        assert Scaling(4, table=table).spread(frame)[0] == 3
    assert Scaling(4).table[:6] == (0, 1, 2, 3, 0, 1)


def test_what_is_refused() -> None:
    with pytest.raises(vsw.UsageError, match="power of two of entries"):
        Scaling(2, table=[0, 1, 0])
    with pytest.raises(vsw.UsageError, match="names queue 2; there are 2"):
        Scaling(2, table=[0, 2])
    with pytest.raises(vsw.UsageError, match="at least one queue"):
        Scaling(0)
    with pytest.raises(vsw.UsageError, match="an input of 37 bytes needs a key of 41, this one has 40"):
        toeplitz(bytes(37), KEY)
