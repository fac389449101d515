"""The hashes of section 13: published examples, values worked out by hand, and independent short forms."""

from __future__ import annotations

import random
import struct
from functools import reduce
from operator import xor

import pytest

from tests.golden.build import access, module, port, team, trunk, tunnel, uplink
from tests.golden.frames import BODY, BROADCAST, frame, ipv4, ipv6, once
from vsw.config.module import Vlan
from vsw.reference.hashes import ip_hash, layer2, layer23, layer34, team_hash

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
PORTS = struct.pack("!HH", 1234, 80)
A1, A2, A3, A4 = "0a000001", "0a000002", "0a000003", "0a000104"
V1, V2 = "20010db8" + "00000000" * 2 + "00000001", "20010db8" + "00000000" * 2 + "00000102"


def icmp(kind: int, code: int = 0, identifier: int = 0, inside: bytes = b"") -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, identifier, 0) + inside


def packet(body: bytes) -> bytes:
    """The packet of a body that begins with a type."""
    return body[2:]


def between(body: bytes) -> bytes:
    """A frame from 02:..:01 to 02:..:02, so that E is 3 ^ type."""
    return frame(2, 1, "", body)


UDP4 = ipv4(A1, A2, UDP, PORTS + bytes(4))

#: Worked out by hand: A = 0x0100000a ^ 0x0200000a = 0x03000000, P = 0x5000d204, E = 0x0803.
VALUES = [
    ("layer2", UDP4, 0x00000803),
    ("layer2+3", UDP4, 0x03030B08),
    ("layer3+4", UDP4, 0x29A9C0C2),
    ("layer3+4 TCP", ipv4(A1, A2, TCP, PORTS + bytes(16)), 0x29A9C0C2),
    ("layer3+4 no ports", ipv4(A1, A2, 47, PORTS), 0x01818181),
    ("layer3+4 first fragment", ipv4(A1, A2, UDP, PORTS, flags=0x2000), 0x01818181),
    ("layer3+4 later fragment", ipv4(A1, A2, UDP, PORTS, flags=0x0001), 0x01818181),
    ("layer3+4 don't fragment", ipv4(A1, A2, UDP, PORTS, flags=0x4000), 0x29A9C0C2),
    ("layer3+4 options", ipv4(A1, A2, UDP, PORTS, words=6), 0x29A9C0C2),
    ("layer3+4 echo request", ipv4(A1, A2, ICMP, icmp(8, 0, 0x1234)), 0x08929296),
    ("layer3+4 echo reply", ipv4(A1, A2, ICMP, icmp(0, 0, 0x1234)), 0x08929292),
    ("layer3+4 echo id 0 counts as 1", ipv4(A1, A2, ICMP, icmp(8, 0, 0)), 0x01810105),
    ("layer3+4 ICMPv6 echo type in IPv4", ipv4(A1, A2, ICMPV6, icmp(8, 0, 0x1234)), 0x08929296),
    ("layer3+4 ICMP of another type", ipv4(A1, A2, ICMP, icmp(9, 0, 0x1234)), 0x01818181),
    ("layer3+4 ICMP header cut", ipv4(A1, A2, ICMP, icmp(8, 0, 0x1234)[:7]), 0x01818181),
    ("layer3+4 fragment of ICMP", ipv4(A1, A2, ICMP, icmp(8, 0, 0x1234), flags=0x2000), 0x01818181),
    ("layer2+3 echo", ipv4(A1, A2, ICMP, icmp(8, 0, 0x1234)), 0x03030B08),
    ("layer3+4 ARP", BODY, 0x0805),
    ("layer2+3 ARP", BODY, 0x0805),
    # IPv6: A = 0x03010000, E = 0x86de.
    ("layer2+3 IPv6", ipv6(V1, V2, UDP, PORTS), 0x0302845A),
    ("layer3+4 IPv6", ipv6(V1, V2, UDP, PORTS), 0x29A94042),
    ("layer2 802.3", b"\x00\x26" + bytes(46), 0x0025),
]
HASHES = {"layer2": layer2, "layer2+3": layer23, "layer3+4": layer34}


@pytest.mark.parametrize(("name", "body", "expected"), VALUES, ids=[row[0] for row in VALUES])
def test_values(name: str, body: bytes, expected: int) -> None:
    assert f"{HASHES[name.partition(' ')[0]](between(body)):#010x}" == f"{expected:#010x}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (ipv4("a4120154", "a41201a0"), 0xF4),
        (ipv4("a4120154", "a41201c3"), 0x97),
        (ipv4("c0a80001", "0a000002"), 0xCAA80003),
        (ipv6("00000001000000020000000400000008", "00000010000000200000004000000080"), 0xFF),
        (ipv6("a0000000" + "00" * 12, "0000000b" + "00" * 12), 0xA000000B),
        (b"\x08\x06" + bytes(12) + bytes.fromhex("11223344 01020304"), 0x1020304 ^ 0x11223344),  # where IPv4 would have its addresses
        (b"\x08\x06" + bytes(12) + bytes.fromhex("112233"), 0x11223300),  # what is not there counts as 0
        (ipv4("a4120154", "a41201a0")[:21], 0xA4120154 ^ 0xA4120100),  # 33 bytes captured: no IPv4 header, the last octet counts as 0
        (b"\x86\xdd" + bytes(12) + bytes.fromhex("11223344 01020304"), 0x11223344 ^ 0x01020304),  # not 54 bytes: not read as IPv6
        (b"\x08\x06", 0),
    ],
)
def test_ip_hash(body: bytes, words: int) -> None:
    assert f"{ip_hash(between(body)):#x}" == f"{words:#x}"
    assert team_hash("ip-hash", between(body), 7, 0, 8) == words & 0xFF
    assert team_hash("ip-hash", between(body), 7, 0, 32) == words


def test_published_ip_hash_examples_pick_their_uplinks() -> None:
    ports = [port(0, access(10), team=0), uplink(1, team=0), uplink(2, team=0)]
    made = module("vss", ports, teams=(team("ip-hash", [1, 2]),))
    assert [copy.port for copy in once(made, between(ipv4("a4120154", "a41201a0")), 0).copies] == [1]  # 0xF4 mod 2 = 0
    assert [copy.port for copy in once(made, between(ipv4("a4120154", "a41201c3")), 0).copies] == [2]  # 0x97 mod 2 = 1


@pytest.mark.parametrize("members", [2, 4, 8])
@pytest.mark.parametrize("protocol", [TCP, UDP, 33, 132, 136, 50])
def test_short_forms_for_powers_of_two(members: int, protocol: int) -> None:
    rng = random.Random(members * 1000 + protocol)
    for _ in range(100):
        addresses, ports, macs = rng.randbytes(8), rng.randbytes(4), rng.randbytes(12)
        data = macs + ipv4(addresses[:4].hex(), addresses[4:].hex(), protocol, ports + rng.randbytes(8))
        assert layer23(data) % members == (macs[5] ^ macs[11] ^ 0x08 ^ reduce(xor, addresses)) % members
        assert layer34(data) % members == (reduce(xor, addresses + ports) >> 1) % members
        addresses = rng.randbytes(32)
        data = macs + ipv6(addresses[:16].hex(), addresses[16:].hex(), protocol, ports + rng.randbytes(8))
        assert layer23(data) % members == (macs[5] ^ macs[11] ^ 0x86 ^ 0xDD ^ reduce(xor, addresses)) % members
        assert layer34(data) % members == (reduce(xor, addresses + ports) >> 1) % members


@pytest.mark.parametrize("build", [ipv4, ipv6])
def test_security_parameters_index_counts_as_ports(build) -> None:  # type: ignore[no-untyped-def]
    source, destination = (A1, A4) if build is ipv4 else (V1, V2)
    as_udp = layer34(between(build(source, destination, UDP, PORTS)))
    assert layer34(between(build(source, destination, 50, PORTS))) == as_udp
    assert layer34(between(build(source, destination, 51, bytes(4) + PORTS))) == as_udp
    assert layer34(between(build(source, destination, 51, PORTS))) == layer34(between(build(source, destination, 51)))  # 4 bytes: no SPI in them


@pytest.mark.parametrize("first", [0, 43, 44, 60])
def test_ipv6_looks_at_the_first_next_header_only(first: int) -> None:
    extended = between(ipv6(V1, V2, first, bytes((UDP, 0)) + bytes(6) + PORTS))
    assert layer34(extended) == layer34(between(ipv6(V1, V2, 59, b"")))
    assert layer34(extended) != layer34(between(ipv6(V1, V2, UDP, PORTS)))


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_fewer_than_four_bytes_are_no_ports(left: int) -> None:
    assert layer34(between(ipv4(A1, A2, UDP, PORTS[:left]))) == 0x01818181


@pytest.mark.parametrize(("build", "protocol", "kinds"), [(ipv4, ICMP, (3, 4, 5, 11, 12)), (ipv6, ICMPV6, (1, 2, 3, 4))])
def test_icmp_error_hashes_as_the_packet_inside(build, protocol: int, kinds: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    ends = (A3, A4) if build is ipv4 else (V2, V1)
    outer = (A1, A2) if build is ipv4 else (V1[:-2] + "07", V2)
    flow = build(*ends, TCP, PORTS + bytes(4))
    plain = build(*ends, 59, b"")
    for kind in kinds:
        def error(inside: bytes, kind: int = kind) -> bytes:
            return between(build(*outer, protocol, icmp(kind, 1, 0x55AA, inside)))

        assert layer34(error(packet(flow))) == layer34(between(flow))
        assert layer23(error(packet(flow))) == layer23(between(flow))
        assert layer34(error(packet(flow)[: 20 if build is ipv4 else 40])) == layer34(between(plain))  # no ports left
        assert layer34(error(packet(flow)[: 19 if build is ipv4 else 39])) == layer2(between(flow))  # no header left: E
        assert layer23(error(packet(flow)[: 19 if build is ipv4 else 39])) == layer2(between(flow))
        assert layer34(error(packet(build(*ends, protocol, icmp(8, 0, 77))))) == layer34(between(plain))  # an ICMP inside has no identifier
    for kind in {1, 2, 6, 130, *((3, 4, 11) if build is ipv4 else (5, 11, 12))} - set(kinds):
        assert layer34(between(build(*outer, protocol, icmp(kind, 1, 0x55AA, packet(flow))))) == layer34(between(build(*outer, 59, b"")))


def test_fragment_inside_an_icmp_error_has_no_ports() -> None:
    inside = packet(ipv4(A3, A4, UDP, PORTS, flags=0x2000))
    assert layer34(between(ipv4(A1, A2, ICMP, icmp(3, 1, 0, inside)))) == layer34(between(ipv4(A3, A4, 59, b"")))


def test_version_and_header_length_are_not_checked() -> None:
    data = bytearray(between(UDP4))
    data[14] = 0x65  # version 6 in an IPv4 packet
    assert layer34(bytes(data)) == 0x29A9C0C2
    data[14] = 0x44  # 4 words: the ports would be the destination address, 0a 00 00 02
    assert layer34(bytes(data)) == 0x00808085


@pytest.mark.parametrize(("body", "needed"), [(UDP4, 20), (ipv6(V1, V2, UDP, PORTS), 40)])
def test_an_ip_header_that_is_cut_is_none(body: bytes, needed: int) -> None:
    whole = between(body)
    assert layer34(whole[: 14 + needed]) != layer2(whole)
    assert layer34(whole[: 14 + needed - 1]) == layer2(whole)
    assert layer23(whole[: 14 + needed - 1]) == layer2(whole)


#: mode of the ingress port, tags, the TCI that vlan+srcmac takes
TCI = [
    ("access", access(10), "", 10),
    ("priority tag", access(10), "8100:0.5", 5 << 13 | 10),
    ("priority tag with DEI", access(10), "8100:0.5d", 5 << 13 | 1 << 12 | 10),
    ("trunk", trunk(), "8100:20.1", 1 << 13 | 20),
    ("VLAN 0", trunk(), "", 0),
    ("VLAN 0 with priority", trunk(), "8100:0.5", 5 << 13),
    ("tunnel", tunnel(30), "8100:20.7", 30),
]


@pytest.mark.parametrize(("vlan", "tags", "tci"), [row[1:] for row in TCI], ids=[row[0] for row in TCI])
def test_vlan_srcmac(vlan: Vlan, tags: str, tci: int) -> None:
    for last in range(1, 8):  # three members, so that the high bits count
        ports = [port(0, vlan, team=0), uplink(1, team=0), uplink(2, team=0), uplink(3, team=0)]
        made = module("vsw", ports, teams=(team("vlan+srcmac", [1, 2, 3]),))
        decision = once(made, frame(0x99, last, tags), 0)
        assert [copy.port for copy in decision.copies] == [1 + (tci ^ 0x020000 ^ last) % 3]


@pytest.mark.parametrize("policy", ["ip-hash", "layer2", "layer2+3", "layer3+4"])
def test_a_tagged_frame_hashes_as_if_it_were_untagged(policy: str) -> None:
    ports = [port(0, access(10), team=0), port(1, trunk(), team=0), uplink(2, team=0), uplink(3, team=0), uplink(4, team=0)]
    made = module("vsw", ports, teams=(team(policy, [2, 3, 4]),))
    for last in range(1, 30):
        body = ipv4(A1, f"0a0000{last:02x}", UDP, PORTS)
        untagged, tagged = once(made, frame(0x99, last, "", body), 0), once(made, frame(0x99, last, "8100:10", body), 1)
        assert [copy.port for copy in untagged.copies] == [copy.port for copy in tagged.copies]


def test_an_inner_tag_stays_in_what_is_hashed() -> None:
    ports = [port(1, trunk(), team=0), uplink(2, team=0), uplink(3, team=0), uplink(4, team=0)]
    made = module("vsw", ports, teams=(team("layer3+4", [2, 3, 4]),))
    for last in range(1, 10):
        data = frame(0x99, last, "88a8:10 8100:20", ipv4(A1, A2, UDP, PORTS))
        assert [copy.port for copy in once(made, data, 1).copies] == [2 + (0x99 ^ last ^ 0x8100) % 3]


def test_a_customers_tag_stays_in_what_is_hashed() -> None:
    ports = [port(1, tunnel(30), team=0), uplink(2, team=0), uplink(3, team=0), uplink(4, team=0)]
    made = module("vsw", ports, teams=(team("layer2", [2, 3, 4]),))
    for last in range(1, 10):
        data = frame(0x99, last, "8100:20", ipv4(A1, A2, UDP, PORTS))
        assert [copy.port for copy in once(made, data, 1).copies] == [2 + (0x99 ^ last ^ 0x8100) % 3]


def test_port_id_and_source_octet() -> None:
    data = frame(BROADCAST, "02:00:00:00:12:34")
    assert team_hash("port-id", data, 300, 0) == 300
    assert team_hash("src-mac", data, 300, 0) == 0x34
