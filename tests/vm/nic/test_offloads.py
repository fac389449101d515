"""Tags, checksums, segments, as a card makes them."""

from __future__ import annotations

from random import Random

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from tests.vm.nic.frames import MACS, PAYLOADS, VERSIONS, tcp, udp
from vsw.config.cards import CARDS
from vsw.vm.nic import vlan
from vsw.vm.nic.card import Nic, Wanted
from vsw.vm.nic.checksum import Checked, check, complete
from vsw.vm.nic.headers import layout
from vsw.vm.nic.rss import Scaling
from vsw.vm.nic.segment import segment

TCP_SUM, UDP_SUM = 16, 6


def wrong(frame: bytes) -> bytes:
    """The frame without its checksums, as a guest hands it over."""
    at = layout(frame)
    assert at is not None
    out = bytearray(frame)
    if at.version == 4:
        out[at.l3 + 10 : at.l3 + 12] = b"\xde\xad"
    place = at.l4 + (TCP_SUM if at.protocol == 6 else UDP_SUM)
    out[place : place + 2] = b"\xbe\xef"
    return bytes(out)


class TestChecksums:
    """Against dpkt's."""

    @given(VERSIONS, PAYLOADS, st.sampled_from([tcp, udp]), st.sampled_from([0, 1, 2]))
    def test_a_card_completes_what_the_guest_left_out(self, version: int, payload: bytes, make: object, tags: int) -> None:
        frame = make(version, payload)  # type: ignore[operator]
        tagged = frame[:12] + bytes.fromhex("88a8000a" + "8100e014")[: 4 * tags] + frame[12:]
        assert check(tagged) is Checked.GOOD
        assert check(wrong(tagged)) is Checked.BAD
        assert complete(wrong(tagged)) == tagged
        # Padding behind the datagram is no part of it.
        assert complete(wrong(tagged) + b"\x55" * 7) == tagged + b"\x55" * 7

    @given(VERSIONS, PAYLOADS, st.integers(0), st.integers(1, 255))
    def test_a_wrong_byte_is_found(self, version: int, payload: bytes, place: int, change: int) -> None:
        frame = bytearray(tcp(version, payload))
        l4 = 34 if version == 4 else 54
        frame[l4 + place % (len(frame) - l4)] ^= change
        # A segment whose header length has become nonsense is still a datagram with a wrong sum.
        assert check(bytes(frame)) is Checked.BAD

    def test_udp_without_a_checksum(self) -> None:
        for version, found in ((4, Checked.NONE), (6, Checked.BAD)):
            frame = bytearray(udp(version, b"x"))
            place = len(frame) - 1 - 8 + UDP_SUM
            frame[place : place + 2] = b"\0\0"
            assert check(bytes(frame)) is found

    def test_udp_whose_sum_is_zero_is_sent_as_all_ones(self) -> None:
        for version in (4, 6):
            left = complete(udp(version, b"\0\0"))[-4:-2]
            frame = complete(udp(version, left))  # a payload that makes the rest zero
            assert frame[-4:-2] == b"\xff\xff"
            assert check(frame) is Checked.GOOD

    def test_fragments_have_an_ip_header_only(self) -> None:
        frame = bytearray(tcp(4, b"x" * 64))
        frame[20] |= 0x20  # more fragments
        assert check(bytes(frame)) is Checked.BAD
        done = complete(bytes(frame))
        assert done[34:] == bytes(frame[34:])
        assert check(done) is Checked.NONE

    @pytest.mark.parametrize(
        ("kind", "body", "found"),
        [
            (0, bytes(8), Checked.GOOD),  # hop-by-hop options
            (60, b"\0\x01" + bytes(14), Checked.GOOD),  # destination options, 16 bytes
            (43, b"\0\0\0\0" + bytes(4), Checked.GOOD),  # a routing header that is used up
            (43, b"\0\0\0\x01" + bytes(4), Checked.NONE),  # and one that is not: the destination in the sum is another
            (44, bytes(8), Checked.NONE),  # a fragment
        ],
    )
    def test_extension_headers(self, kind: int, body: bytes, found: Checked) -> None:
        plain = udp(6, b"payload")
        extended = plain[:18] + (len(body) + 15).to_bytes(2, "big") + bytes([kind]) + plain[21:54] + b"\x11" + body[1:] + plain[54:]
        assert check(extended) is found

    @given(st.binary(max_size=80), st.sampled_from([b"", b"\x08\0\x45", b"\x86\xdd\x60", b"\x81\0\0\x05\x86\xdd\x60", b"\x08\0\x4f"]))
    def test_nonsense_is_left_alone(self, rest: bytes, kind: bytes) -> None:
        frame = MACS + kind + rest
        done = complete(frame)
        assert len(done) == len(frame)
        assert check(done) is not Checked.BAD or layout(frame) is not None
        if layout(frame) is None:
            assert done == frame


class TestSegments:
    """TSO: what dpkt reads of the pieces, put together, is what the guest sent."""

    @given(VERSIONS, st.binary(min_size=1, max_size=4000), st.integers(64, 1500), st.sampled_from([b"", bytes.fromhex("0101080a0000000100000002")]))
    def test_pieces_are_the_whole(self, version: int, payload: bytes, mss: int, options: bytes) -> None:
        frame = tcp(version, payload, flags=0x99, options=options)  # CWR, ACK, PSH, FIN
        pieces = segment(frame, mss)
        assert len(pieces) == -(-len(payload) // mss)
        body, sequence, flags = b"", 0xFFFFFF00, []
        for number, piece in enumerate(pieces):
            assert check(piece) is Checked.GOOD
            ip = dpkt.ethernet.Ethernet(piece).data
            assert (ip.len if version == 4 else ip.plen + 40) == len(piece) - 14
            if version == 4:
                assert ip.id == (0xFFFE + number) & 0xFFFF
            assert ip.data.seq == (sequence + len(body)) & 0xFFFFFFFF
            assert (ip.data.ack, ip.data.win, ip.data.opts) == (7, 512, options)
            assert 0 < len(ip.data.data) <= mss
            body += ip.data.data
            flags.append(ip.data.flags)
        assert body == payload
        expected = [0x10] * len(pieces)
        expected[0] |= 0x80
        expected[-1] |= 0x09
        assert flags == expected

    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("mss", [536, 1460, 8960])
    def test_more_than_a_datagram_can_hold(self, version: int, mss: int) -> None:
        # Its length field says nothing then.
        payload = Random(mss).randbytes(70_000)
        short = tcp(version, b"")
        pieces = segment(short + payload, mss)
        assert b"".join(piece[len(short) :] for piece in pieces) == payload
        assert all(check(piece) is Checked.GOOD for piece in pieces)

    def test_what_can_not_be_cut(self) -> None:
        with pytest.raises(vsw.UsageError, match=r"at least 64 bytes \(found 63\)"):
            segment(tcp(4, b"x"), 63)
        for frame in (udp(4, b"x"), udp(6, b"x"), MACS, MACS + b"\x08\x06" + bytes(46), tcp(4, b"x")[:40]):
            with pytest.raises(vsw.UsageError, match="only a whole TCP segment"):
                segment(frame, 100)
        broken = bytearray(tcp(4, b"x"))
        broken[46] = 0x10  # a header of 4 bytes
        with pytest.raises(vsw.UsageError, match="a TCP header of 4 bytes does not fit"):
            segment(bytes(broken), 100)


class TestTags:
    """Between bytes and descriptor."""

    @given(PAYLOADS, st.integers(0, 0xFFFF))
    def test_there_and_back(self, payload: bytes, tci: int) -> None:
        frame = udp(4, payload)
        tagged = vlan.insert(frame, tci)
        assert tagged[12:16] == b"\x81\0" + tci.to_bytes(2, "big")
        assert vlan.strip(tagged) == (frame, tci)
        assert vlan.strip(vlan.insert(tagged, 5)) == (tagged, 5)
        assert vlan.strip(frame) == (frame, None)

    def test_bounds(self) -> None:
        assert vlan.strip(MACS + b"\x81\0\0\x05\x08") == (MACS + b"\x81\0\0\x05\x08", None)
        with pytest.raises(vsw.UsageError, match="16 bits"):
            vlan.insert(udp(4, b""), 0x10000)
        with pytest.raises(vsw.UsageError, match="12 bytes of addresses, the frame has 11"):
            vlan.insert(MACS[:11], 1)


class TestCards:
    """Each model does what its row says, and no more."""

    @pytest.mark.parametrize("name", list(CARDS))
    def test_what_it_does(self, name: str) -> None:
        card = CARDS[name]
        nic = Nic(card)

        def can(version: int, wanted: Wanted) -> bool:
            frame = wrong(tcp(version, b"x" * 3000 if wanted.mss else b"x"))
            try:
                frames = nic.transmit(frame, wanted)
            except vsw.UsageError:
                return False
            assert len(frames) == (3 if wanted.mss else 1)
            bare = [vlan.strip(piece)[0] if wanted.tci is not None else piece for piece in frames]
            assert all(check(piece) is (Checked.GOOD if wanted.mss or wanted.checksum else Checked.BAD) for piece in bare)
            return True

        does = [can(4, Wanted(mss=1460)), can(6, Wanted(mss=1440)), can(4, Wanted(checksum=True)), can(4, Wanted(tci=10)), can(4, Wanted())]
        assert does == [card.tso4, card.tso6, card.tx_checksum, card.vlan_insert, True]

    @pytest.mark.parametrize("name", list(CARDS))
    def test_what_the_guest_gets(self, name: str) -> None:
        card = CARDS[name]
        frame = tcp(4, b"hello")
        tagged = vlan.insert(frame, 0x600A)
        got = Nic(card).receive(tagged)
        assert got is not None
        assert (got.frame, got.tci) == ((frame, 0x600A) if card.vlan_strip else (tagged, None))
        assert got.checked is (Checked.GOOD if card.rx_checksum else Checked.NONE)
        assert (got.queue, got.hash) == (0, None)
        bad = Nic(card).receive(wrong(frame))
        assert bad is not None
        assert bad.checked is (Checked.BAD if card.rx_checksum else Checked.NONE)

    def test_the_mtu(self) -> None:
        with pytest.raises(vsw.UsageError, match="a ne2k_pci carries at most 1500 bytes"):
            Nic(CARDS["ne2k_pci"], mtu=1501)
        nic = Nic(CARDS["e1000"], mtu=1500)
        assert nic.receive(bytes(1514)) is not None
        assert nic.receive(bytes(1515)) is None
        assert nic.receive(vlan.insert(bytes(1514), 5)) is not None

    @given(st.integers(1, 65535))
    def test_queues(self, port: int) -> None:
        nic = Nic(CARDS["vmxnet3"], scaling=Scaling(4))
        frame = bytearray(tcp(4, b""))
        frame[34:36] = port.to_bytes(2, "big")
        got = nic.receive(bytes(frame))
        assert got is not None
        assert got.hash is not None
        assert got.queue == got.hash % 128 % 4

    def test_more_queues_than_it_has(self) -> None:
        with pytest.raises(vsw.UsageError, match=r"a e1000 has 1 queues \(found 2\)"):
            Nic(CARDS["e1000"], scaling=Scaling(2))
