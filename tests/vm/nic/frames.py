"""Frames for a card's work, made by dpkt: a library that computes checksums its own way."""

from __future__ import annotations

import dpkt
from hypothesis import strategies as st

MACS = bytes.fromhex("525400000002525400000001")
V4 = (bytes([10, 0, 0, 1]), bytes([192, 168, 7, 254]))
V6 = (bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes.fromhex("fe80" + "00" * 6 + "5054fffe00abcdef"))


def datagram(version: int, transport: dpkt.Packet, protocol: int, **more: object) -> bytes:
    """An Ethernet frame with an IP datagram; checksums are right."""
    source, target = V4 if version == 4 else V6
    if version == 4:
        transport.sum = 0
        ip = dpkt.ip.IP(src=source, dst=target, p=protocol, id=0xFFFE, ttl=64, data=transport, **more)
        ip.len = len(ip)
        return bytes(dpkt.ethernet.Ethernet(dst=MACS[:6], src=MACS[6:], type=0x0800, data=ip))
    body = bytearray(bytes(transport))
    place = 16 if protocol == 6 else 6
    body[place : place + 2] = b"\0\0"
    pseudo = source + target + len(body).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    value = dpkt.in_cksum(pseudo + bytes(body)) or (0xFFFF if protocol == 17 else 0)
    body[place : place + 2] = value.to_bytes(2, "big")
    ip6 = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([protocol, 64]) + source + target + bytes(body)
    return MACS + b"\x86\xdd" + ip6


def tcp(version: int, payload: bytes, flags: int = 0x18, sequence: int = 0xFFFFFF00, options: bytes = b"") -> bytes:
    segment = dpkt.tcp.TCP(sport=2794, dport=1766, seq=sequence, ack=7, flags=flags, win=512, opts=options, data=payload)
    segment.off = 5 + len(options) // 4
    return datagram(version, segment, 6)


def udp(version: int, payload: bytes) -> bytes:
    packet = dpkt.udp.UDP(sport=53, dport=5353, data=payload)
    packet.ulen = len(packet)
    return datagram(version, packet, 17)


PAYLOADS = st.binary(max_size=300)
VERSIONS = st.sampled_from([4, 6])
