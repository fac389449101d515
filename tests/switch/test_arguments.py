"""What :meth:`vsw.Switch.forward` refuses before it takes a frame."""

from __future__ import annotations

from typing import Any

import pytest

import vsw
from tests.golden.build import access, module, port


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"burst": 0}, "a burst has 1 to 256 frames, not 0"),
        ({"burst": 257}, "a burst has 1 to 256 frames, not 257"),
        ({"burst": -1}, "a burst has 1 to 256 frames, not -1"),
        ({"workers": 0}, "workers must be 1 or more, not 0"),
        ({"events": [vsw.Event(1 << 63, 0, True)]}, f"an event's time is within 64 bits of nanoseconds, not {1 << 63}"),
        ({"events": [vsw.Event(-(1 << 63) - 1, 0, True)]}, f"an event's time is within 64 bits of nanoseconds, not {-(1 << 63) - 1}"),
        ({"events": [vsw.Event(0, 9, True)]}, "test has no port 9; its ports: p0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_what_does_not_fit(words: dict[str, Any], text: str) -> None:
    switch = vsw.Switch(module("vsw", [port(0, access(10))]))
    with pytest.raises(vsw.UsageError, match=f"^{text}$"):
        switch.forward(vsw.Batch.from_frames([bytes(60)]), ingress=0, **words)
    assert switch.counters.offered == 0


@pytest.mark.parametrize("wrong", [None, "esx1/vSwitch0", 3])
def test_a_switch_is_made_of_a_module(wrong: Any) -> None:
    with pytest.raises(vsw.UsageError, match=r"^a switch is made of a Module, .* not of "):
        vsw.Switch(wrong)


@pytest.mark.parametrize("wrong", [None, 3, [bytes(60)]])
def test_frames_come_from_a_source(wrong: Any) -> None:
    switch = vsw.Switch(module("vsw", [port(0, access(10))]))
    with pytest.raises(vsw.UsageError, match=r"^frames come from a capture, a batch or the path of a capture, not from "):
        switch.forward(wrong)
