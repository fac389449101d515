"""vhost-user ports beyond the contract: the shapes in which guests give and take frames, several queues, and guests that send nonsense."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.virtio.front_end import FrontEnd
from tests.virtio.nic import MRG_RXBUF, Nic
from vsw.errors import UsageError
from vsw.ports.vhost_user import VhostUserPort
from vsw.virtio.messages import INDEX_NUMBER, Feature, Request

PLAIN = Feature.PROTOCOL_FEATURES | Feature.VERSION_1
FEATURES = {
    "all": None,
    "mergeable": PLAIN | MRG_RXBUF,
    "plain": PLAIN,
    "event-idx": PLAIN | Feature.EVENT_IDX,
    "old": int(Feature.PROTOCOL_FEATURES),
    "bare": 0,
}


@pytest.fixture
def port(tmp_path: Path) -> Iterator[VhostUserPort]:
    with VhostUserPort("port", tmp_path / "v.sock", queues=4) as made:
        yield made


def frame(number: int, length: int) -> bytes:
    return (bytes.fromhex("02000000000102000000000288b5") + struct.pack("!I", number) + random.Random(number).randbytes(length))[:length]


def read(port: VhostUserPort, count: int) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < count:
        more = port.read()
        assert more or port.wait(PATIENCE), f"{len(frames)} frames of {count} came"
        frames += more
    return frames


LENGTHS = [14, 15, 16, 17, 31, 32, 33, 42, 60, 63, 64, 65, 128, 129, 255, 256, 257, 258, 1514, 2035, 2036, 2037, 2038]


@pytest.mark.parametrize("wanted", FEATURES.values(), ids=FEATURES)
def test_frames_both_ways_whatever_was_agreed_on(port: VhostUserPort, wanted: int | None) -> None:
    nic = Nic(port.path, wanted=wanted)
    sent = [frame(length, length) for length in LENGTHS]
    nic.send(sent)
    assert read(port, len(sent)) == sent
    fitting = [data for data in sent if nic.header == 12 or len(data) + nic.header <= nic.room]
    fitting = [data for data in fitting if nic.front.features & MRG_RXBUF or len(data) + nic.header <= nic.room]
    port.write(fitting)
    got = nic.receive_whole()
    assert [data for _, data in got] == fitting
    assert all(header[:10] == bytes(10) for header, _ in got)
    assert port.counters()["drops"] == {}
    nic.close()


@pytest.mark.parametrize("indirect", [False, True])
@pytest.mark.parametrize("cut", [1, 5, 12, 13, 64])
def test_frames_in_pieces(port: VhostUserPort, cut: int, indirect: bool) -> None:
    nic = Nic(port.path, transmit_entries=64)
    for length in (14, 40, 48):
        nic.send([frame(length, length)], cut=cut, indirect=indirect)
        assert read(port, 1) == [frame(length, length)]
    nic.close()


def test_receive_buffers_are_merged_only_where_that_was_agreed_on(port: VhostUserPort) -> None:
    nic = Nic(port.path, room=600)
    sent = [frame(length, length) for length in (60, 588, 589, 1188, 1500, 9000)]
    port.write(sent)
    got = nic.receive_whole()
    assert [data for _, data in got] == sent
    assert [struct.unpack_from("<H", header, 10)[0] for header, _ in got] == [1, 1, 2, 2, 3, 16]
    nic.close()
    plain = Nic(port.path, wanted=int(PLAIN), room=600)
    port.write(sent)
    assert plain.receive() == [data for data in sent if len(data) <= 588]
    assert port.counters()["drops"] == {"tx_too_long": 4}
    plain.close()


def test_a_frame_that_does_not_fit_any_more_is_dropped_whole(port: VhostUserPort) -> None:
    nic = Nic(port.path, entries=8, transmit_entries=8, room=600)
    sent = [frame(number, 1500) for number in range(4)]     # three buffers each
    port.write(sent)
    assert nic.receive() == sent[:2]
    assert port.counters()["drops"] == {"tx_full": 2}
    port.write(sent[2:])
    assert nic.receive() == sent[2:]
    nic.close()


def test_several_queues(port: VhostUserPort) -> None:
    nic = Nic(port.path, pairs=4)
    for pair in range(4):
        nic.send([frame(pair, 100)], pair)
    assert sorted(read(port, 4)) == sorted(frame(pair, 100) for pair in range(4))
    flows = [
        bytes.fromhex("020000000001020000000002080045000032000040004011") + b"\0\0" + struct.pack("!IIHH", 0x0A000001, 0x0A000002, 1000 + flow, 53)
        for flow in range(40)
    ]
    port.write([flow + bytes([turn]) * 40 for turn in range(5) for flow in flows])
    got = [nic.receive(pair) for pair in range(4)]
    assert all(got)     # all of them are used
    assert port.queues() == [{"sent": 1, "received": len(frames)} for frames in got]
    assert sum(map(len, got)) == 200
    for frames in got:
        for flow in flows:
            assert [data[-1] for data in frames if data.startswith(flow)] in ([], list(range(5)))   # a flow stays on its queue, in order
    # The guest switches queues off and on again.
    for pair in range(1, 4):
        for ring in (2 * pair, 2 * pair + 1):
            nic.front.send(Request.SET_VRING_ENABLE, INDEX_NUMBER.pack(ring, 0))
    nic.front.settle()
    port.write([flow + bytes(40) for flow in flows])
    assert len(nic.receive(0)) == 40
    assert port.counters()["drops"] == {}
    nic.close()


NONSENSE = {
    "nothing": (b"", b""),
    "less than a header": (b"1234", b""),
    "no frame": (bytes(12), bytes(13)),
    "a checksum to complete": (b"\x01", bytes(60)),
    "a segment to cut": (b"\0\x01", bytes(60)),
    "a segment of an unknown kind": (b"\0\x77", bytes(60)),
}


@pytest.mark.parametrize(("header", "data"), NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_frame_is_counted_and_the_next_one_passes(port: VhostUserPort, header: bytes, data: bytes) -> None:
    nic = Nic(port.path, wanted=int(PLAIN))
    if data:
        nic.send([data], header=header)
    else:
        nic.rings[1].post([header] if header else [b""])
    nic.send([frame(1, 60)])
    assert read(port, 1) == [frame(1, 60)]
    assert port.counters()["drops"] == {"rx_malformed": 1}
    nic.rings[1].done()
    assert not nic.rings[1].heads       # all came back
    nic.close()


def test_a_frame_that_is_too_long_keeps_its_true_length(port: VhostUserPort) -> None:
    nic = Nic(port.path)
    place = nic.front.take(100_000)
    nic.memory[place : place + 100_000] = frame(1, 100_000)
    nic.rings[1].post_at([(nic.front.take(12), bytes(12)), (place, nic.memory[place : place + 100_000])])
    (got,) = read(port, 1)
    assert got == frame(1, 100_000)[:69632]
    assert port.counters()["rx_bytes"] == 100_000
    nic.close()


def test_a_guest_that_sends_while_its_memory_goes_takes_nobody_along(tmp_path: Path) -> None:


    with VhostUserPort("one", tmp_path / "1.sock") as one, VhostUserPort("two", tmp_path / "2.sock") as two:
        bad, good = Nic(one.path), Nic(two.path)
        bad.send([frame(number, 1000) for number in range(100)])
        os.ftruncate(bad.front.fd, 0)
        one.write([frame(number, 1000) for number in range(10)])
        assert one.read() == []
        assert bad.front.gone()
        assert one.counters()["tx_frames"] == one.counters()["rx_frames"] == 0
        good.send([frame(7, 77)])
        assert read(two, 1) == [frame(7, 77)]
        two.write([frame(8, 88)])
        assert good.receive() == [frame(8, 88)]
        bad.close()
        good.close()
        again = Nic(one.path)
        again.send([frame(9, 99)])
        assert read(one, 1) == [frame(9, 99)]
        again.close()


def test_buffers_for_receiving_that_can_not_be_written_stop_the_ring(port: VhostUserPort) -> None:
    with FrontEnd(port.path) as front:
        front.negotiate()
        front.share()
        front.start(2)
        front.rings[0].post([b"read only" * 20])
        front.settle()
        port.write([frame(1, 60)])
        assert front.rings[0].failed()
        assert port.counters()["drops"] == {"tx_refused": 1}


def test_arguments(tmp_path: Path) -> None:
    for queues in (0, 17):
        with pytest.raises(UsageError, match=f"queues is 1 to 16, not {queues}"):
            VhostUserPort("port", tmp_path / "v.sock", queues=queues)
    with pytest.raises(UsageError, match="No such file or directory"):
        VhostUserPort("port", tmp_path / "none" / "v.sock")
    with VhostUserPort("port", tmp_path / "v.sock"), pytest.raises(UsageError, match="another process serves this socket"):
        VhostUserPort("again", tmp_path / "v.sock")
