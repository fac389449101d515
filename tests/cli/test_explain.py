"""``vsw explain``: the rules of one frame, and whether the datapath agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

import vsw
from tests.cli.run import CAPTURE, TOPOLOGY, as_json, forward, good, run
from vsw.reference.decision import Decision
from vsw.reference.switch import ReferenceSwitch

KEYS = {
    "module", "frame", "index", "time", "length", "captured", "interface", "verdict", "reason", "port_in", "vlan", "normalised", "copies", "filtered",
    "steps", "agrees", "differences",
}  # fmt: skip
RESULT = forward(copies=True)
NAMES = {port.number: port.name for port in vsw.load(TOPOLOGY).module().ports}
#: The first frame of each reason, and some others.
FRAMES = sorted({int((RESULT.reason == reason).argmax()) for reason in set(RESULT.reason.tolist())} | {0, 41, 1500, 2962})


@pytest.mark.parametrize("index", FRAMES)
def test_it_says_what_became_of_the_frame(index: int) -> None:
    found = as_json("explain", TOPOLOGY, CAPTURE, "--frame", index + 1)
    assert found.keys() == KEYS
    with vsw.open_capture(CAPTURE) as trace:
        frame = trace[index]
        assert (found["time"], found["length"], found["captured"]) == (frame.time, frame.length, len(frame.data))
        assert found["interface"] == trace.interface_names()[frame.interface] == f"esx1/vSwitch0/{found['port_in']}"
    reason = vsw.Reason(int(RESULT.reason[index]))
    assert (found["frame"], found["index"]) == (index + 1, index)
    assert found["verdict"] == vsw.Verdict(int(RESULT.verdict[index])).name.lower()
    assert found["reason"] == (reason.name.lower() if reason else None)
    assert found["port_in"] == NAMES[int(RESULT.port_in[index])]
    rows = [row for row in range(len(RESULT.copies)) if RESULT.copies["frame"][row] == index]
    assert [copy["port"] for copy in found["copies"]] == [NAMES[int(RESULT.copies["port"][row])] for row in rows]
    assert found["agrees"]
    assert found["differences"] == []
    assert found["steps"][0]["rule"] == "0 port"
    text = good("explain", TOPOLOGY, CAPTURE, "--frame", index + 1)
    assert f"frame {index + 1:,}," in text
    assert all(step["rule"] in text and step["text"] in text for step in found["steps"])
    assert "The compiled datapath agrees" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ingress", "source-mac"), ("--ingress", "web1.0"), ("--at", "0s:vmnic0=down"), ("--at", "1ms:vmnic0=down", "--at", "4s:vmnic0=up"),
        ("--module", "esx1/vSwitch0"),
    ],
)  # fmt: skip
def test_options(arguments: tuple[str, ...]) -> None:
    for number in (1, 300, 301):
        assert as_json("explain", TOPOLOGY, CAPTURE, "--frame", number, *arguments)["agrees"]


def test_events_and_learning_before_the_frame_count(tmp_path: Path) -> None:
    plain = tmp_path / "plain.toml"
    plain.write_text('[hosts.lab.switches.br0]\ndialect = "ovs"\n[hosts.lab.switches.br0.ports]\na = {}\nb = {}\nc = {}\n')
    one, two = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
    trace = tmp_path / "trace.pcapng"
    with vsw.PcapngWriter(trace, ["lab/br0/a", "lab/br0/b"]) as writer:
        for second, (target, source, interface) in enumerate([(two, one, 0), (one, two, 1), (two, one, 0)]):
            writer.write(target + source + bytes(48), second * 10**9, interface=interface)
    ports = [[copy["port"] for copy in as_json("explain", plain, trace, "--frame", number)["copies"]] for number in (1, 2, 3)]
    assert ports == [["b", "c"], ["a"], ["b"]]
    assert as_json("explain", plain, trace, "--frame", 3, "--at", "1500ms:b=down")["verdict"] == "dropped"
    assert as_json("explain", plain, trace, "--frame", 2, "--at", "1500ms:b=down")["verdict"] == "delivered"


def test_standard_input() -> None:
    assert as_json("explain", TOPOLOGY, "-", "--frame", 42, stdin=CAPTURE.read_bytes()) == as_json("explain", TOPOLOGY, CAPTURE, "--frame", 42)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((TOPOLOGY, CAPTURE), 2, "--frame"),
        ((TOPOLOGY, CAPTURE, "--frame", 0), 2, "--frame"),
        ((TOPOLOGY, CAPTURE, "--frame", 2964), 2, "there are 2,963 frames, so there is no frame 2,964"),
        ((TOPOLOGY, "missing.pcap", "--frame", 1), 1, "missing.pcap"),
    ],
)
def test_what_is_refused(arguments: tuple[object, ...], code: int, message: str) -> None:
    done = run("explain", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_a_disagreement_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ReferenceSwitch.forward

    def wrong(*arguments: object, **options: object) -> Decision:
        decision = right(*arguments, **options)  # type: ignore[arg-type]
        return decision._replace(vlan=77, copies=decision.copies[:-1])

    monkeypatch.setattr(ReferenceSwitch, "forward", wrong)
    done = run("explain", TOPOLOGY, CAPTURE, "--frame", 300)
    assert done.returncode == 1
    assert "The compiled datapath DISAGREES:\n  VLAN: 77 by the reference, 20 by the datapath\n  copies: [" in done.stdout
    assert "please report it" in done.stderr
    found = run("explain", TOPOLOGY, CAPTURE, "--frame", 300, "--json")
    assert (found.returncode, '"agrees": false' in found.stdout) == (1, True)
