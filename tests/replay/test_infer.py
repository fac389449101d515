"""Inferred topologies: they load, name what the capture names, and drop nothing that the capture does not explain."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsw
from tests.capture import writers
from tests.cli.run import CAPTURE, TOPOLOGY, as_json, forward, good, process, run
from tests.differential.captures import CAPTURES, opened
from vsw.capture import Frame, open_capture
from vsw.config.load import loads
from vsw.replay.sketch import infer_text
from vsw.switch.switch import Switch
from vsw.verdicts import Reason, Verdict

TPIDS = (0x8100, 0x88A8, 0x9100)
MAKERS = {"005056", "000c29", "525400", "00163e", "00155d", "080027", "001c42"}
OPEN = [path for path in CAPTURES if opened(path)]


def infer(path: Path) -> tuple[str, Any, list[str]]:
    with open_capture(path, strict=False) as capture:
        text, sketch = infer_text([capture], path.name)
    return text, loads(text), sketch.notes


def tags(data: bytes) -> list[int]:
    """VIDs of the tags at the front, two at most."""
    found = []
    while len(found) < 2 and int.from_bytes(data[12 + 4 * len(found) :][:2], "big") in TPIDS and len(data) >= 18 + 4 * len(found):
        found.append(int.from_bytes(data[14 + 4 * len(found) :][:2], "big") & 0xFFF)
    return found


def station(mac: bytes) -> bool:
    return bool(any(mac)) and not mac[0] & 1


class Frames:
    """What a capture says, found without the package."""

    def __init__(self, frames: list[Frame]) -> None:
        whole = [frame.data for frame in frames if len(frame.data) >= 14]
        readable = [data for data in whole if (tags(data) or [0])[0] != 4095 and (tags(data) or int.from_bytes(data[12:14], "big") not in TPIDS)]
        senders = {data[6:12] for data in readable if station(data[6:12])}
        receivers = {data[:6] for data in readable if station(data[:6]) and station(data[6:12])}
        self.local = {mac for mac in senders | receivers if mac[:3].hex() in MAKERS}
        if not self.local:
            bridges = {data[6:12] for data in readable if data[:5] == b"\x01\x80\xc2\x00\x00" and data[5] < 16}
            self.local = senders - bridges
        self.vlans: dict[int, set[bytes]] = {}
        for data in readable:
            vlan = (tags(data) or [0])[0]
            self.vlans.setdefault(vlan, set()).update(mac for mac in (data[:6], data[6:12]) if mac in self.local and station(data[6:12]))

    def explains(self, frame: Frame, reason: Reason) -> bool:
        data, length = frame.data, frame.length
        found = tags(data)
        source, destination = data[6:12], data[:6]
        match reason:
            case Reason.MALFORMED | Reason.CUT_BY_CAPTURE:
                return len(data) < 14 or (int.from_bytes(data[12:14], "big") in TPIDS and len(data) < 18)
            case Reason.TOO_LONG:
                return length > 65535 + 14
            case Reason.BAD_SOURCE:
                return not station(source)
            case Reason.RESERVED_VID:
                return found[:1] == [4095]
            case Reason.BPDU | Reason.RESERVED_ADDRESS:
                return destination == b"\x01\x00\x0c\xcc\xcc\xcd" or (destination[:5] == b"\x01\x80\xc2\x00\x00" and destination[5] < 16)
            case Reason.UNKNOWN_UNICAST:
                return source not in self.local and (destination not in self.local or not any(destination))
            case Reason.SAME_PORT:
                return source == destination
            case Reason.NO_MEMBER:
                return bool(destination[0] & 1) and source not in self.local and not self.vlans.get((found or [0])[0])
            case _:
                return False


def unexplained(path: Path) -> list[str]:
    _, lab, _ = infer(path)
    with open_capture(path, strict=False) as capture:
        frames = list(capture)
        result = Switch(lab.module()).forward(capture)
    told = Frames(frames)
    dropped = [number for number in range(result.frames) if result.verdict[number] == Verdict.DROPPED]
    return [
        f"frame {number + 1}: {Reason(result.reason[number]).name} {frames[number].data[:40].hex()}"
        for number in dropped
        if not told.explains(frames[number], Reason(result.reason[number]))
    ]


@pytest.mark.parametrize("path", OPEN, ids=lambda path: path.name)
def test_the_capture_explains_every_drop(path: Path) -> None:
    assert unexplained(path) == []


def test_the_example_comes_back() -> None:
    text, lab, notes = infer(CAPTURE)
    assert notes == []
    inferred, written = lab.module(), vsw.load(TOPOLOGY).module()
    assert inferred.name == written.name
    for mine, real in zip(inferred.ports, written.ports, strict=True):
        assert (mine.number, mine.name, mine.kind, mine.vlan, mine.mac) == (real.number, real.name, real.kind, real.vlan, real.mac)
    # A station that sent by db2's port and nowhere else is taken for a guest behind it: its frames are delivered, as those of the real one are not.
    with open_capture(CAPTURE) as capture:
        result, recorded = Switch(inferred).forward(capture), forward()
    forged = recorded.reason == Reason.FORGED_SOURCE
    assert ((result.reason == recorded.reason) | forged).all()
    assert result.summary()["dropped"] == {"deja_vu": 189, "no_member": 112, "reserved_address": 38}
    assert text.startswith("# Inferred by vsw from two-vlans.pcapng.\n")


def test_by_source_the_example_has_the_same_vms_and_vlans(tmp_path: Path) -> None:
    path = tmp_path / "plain.pcap"
    with open_capture(CAPTURE) as capture, vsw.PcapWriter(path) as writer:
        names = capture.interface_names()
        for frame in capture:
            if "vmnic" in names[frame.interface]:
                writer.write(frame.data, frame.time)
    assert unexplained(path) == []
    _, lab, _ = infer(path)
    vlans = {port.mac: port.vlan for port in lab.module().ports if port.mac}
    assert {port.mac: port.vlan for port in vsw.load(TOPOLOGY).module().ports if port.mac} == vlans


def test_lacp_makes_a_team(tmp_path: Path) -> None:
    lacp = [(i, struct.pack(">6s6sH", bytes.fromhex("0180c2000002"), bytes([2, 0, 0, 0, 0, i]), 0x8809) + b"\x01" + bytes(109), None) for i in (1, 2)]
    vm = (3, struct.pack(">6s6sH", b"\xff" * 6, bytes.fromhex("525400000001"), 0x0806) + bytes(46), None)
    path = tmp_path / "t.pcap"
    path.write_bytes(writers.pcap([*lacp, vm]))
    _, lab, _ = infer(path)
    [team] = lab.module().teams
    assert team.lacp
    assert [lab.module().port(number).name for number in team.active] == ["uplink1", "uplink2"]
    with open_capture(path) as capture:
        assert Switch(lab.module()).forward(capture).summary()["consumed"] == 2


@st.composite
def frames(draw):
    texts = ("005056000001", "525400000002", "020000000001", "0cc47a000001", "ffffffffffff", "01005e000001")
    macs = st.sampled_from([bytes.fromhex(text) for text in texts])
    made = []
    for _ in range(draw(st.integers(0, 12))):
        head = draw(macs) + draw(macs)
        for _ in range(draw(st.integers(0, 3))):
            head += struct.pack(">HH", draw(st.sampled_from(TPIDS)), draw(st.sampled_from([0, 1, 10, 4095, 0xE00A])))
        data = (head + b"\x08\x00").ljust(draw(st.sampled_from([20, 60, 2000])), b"\0")
        cut = draw(st.sampled_from([len(data), len(data), 13, 15, 17, 19]))
        made.append((len(made), data[:cut], len(data)))
    return made


@given(frames())
def test_any_frames(tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, bytes, int]]) -> None:
    path = tmp_path_factory.mktemp("any") / "t.pcap"
    path.write_bytes(writers.pcap(made))
    assert unexplained(path) == []


HOSTILE = ["a/b", "../../etc/x", 'h"]/s\'/p#', "h/s/" + "x" * 200, "h/s/vm.1", "h/s/\N{BELL}", "é/ü/ß.0", "h/s/vm.0", "//", "h/s/[red]"]


def test_hostile_names_of_interfaces(tmp_path: Path) -> None:
    path = tmp_path / "t.pcapng"
    blocks = [writers.section("<"), *(writers.interface("<", name=name) for name in HOSTILE)]
    for number in range(len(HOSTILE)):
        data = b"\xff" * 6 + bytes([0x52, 0x54, 0, 0, 0, number]) + b"\x08\x06" + bytes(46)
        blocks.append(writers.enhanced("<", number, number, data))
    path.write_bytes(b"".join(blocks))
    _, lab, _ = infer(path)
    assert {port.name for module in lab.modules.values() for port in module.ports} >= {"p#", "vm.0", "vm.1", "ß.0", "[red]"}
    assert "h\"]/s'" in lab.modules


def test_the_command(tmp_path: Path) -> None:
    text = good("infer", CAPTURE)
    assert good("infer", CAPTURE, "--out", tmp_path / "lab.toml") == f"{tmp_path / 'lab.toml'}: switches 1, vNICs 5\n"
    assert (tmp_path / "lab.toml").read_text() == text
    assert "no problems" in good("check", tmp_path / "lab.toml")
    found = as_json("infer", CAPTURE)
    assert found["topology"] == text
    assert found["switches"]["esx1/vSwitch0"]["uplinks"] == ["vmnic0", "vmnic1"]
    assert found["switches"]["esx1/vSwitch0"]["vms"]["router.0"] == {"mac": "00:50:56:00:30:01", "macs": [], "vids": [10, 20], "trunk": True}
    assert process("infer", "-", stdin=CAPTURE.read_bytes()).stdout == text.replace(str(CAPTURE), "-")


def test_vms_of_the_callers_choice() -> None:
    found = as_json("infer", CAPTURE, "--local", "02:00:5e:10", "--local", "02-00-5e-20")
    assert {vm["mac"][:11] for vm in found["switches"]["esx1/vSwitch0"]["vms"].values()} <= {"02:00:5e:10", "02:00:5e:20"}
    done = run("infer", CAPTURE, "--local", "02:00")
    assert (done.returncode, "three octets or more" in done.stderr) == (2, True)


def test_a_replay_without_a_topology_infers_one_and_says_so(tmp_path: Path) -> None:
    good("infer", CAPTURE, "--out", tmp_path / "lab.toml")
    told, mine = as_json("replay", CAPTURE), as_json("replay", tmp_path / "lab.toml", CAPTURE)
    assert told.pop("inferred") == ["The topology was inferred from the capture (vsw infer shows it)."]
    assert mine.pop("inferred") == []
    assert {**told, "seconds": 0} == {**mine, "seconds": 0}
    assert good("replay", CAPTURE).startswith("The topology was inferred from the capture (vsw infer shows it).\n")
    assert good("explain", CAPTURE, "--frame", 42).startswith("The topology was inferred")
    piped = process("replay", "-", "--json", stdin=CAPTURE.read_bytes())
    assert '"frames": 2963' in piped.stdout
