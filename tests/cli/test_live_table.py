"""The table of ``vsw run`` on a terminal."""

from __future__ import annotations

import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.golden.build import access, module, port
from tests.patience import PATIENCE
from vsw.cli.live_table import LiveTable, short
from vsw.host.module import LiveModule
from vsw.ports.memory import memory_pair

NUMBERS = [
    (0, "0"), (7, "7"), (5.25, "5.2"), (99.94, "99.9"), (99.95, "100"), (999.4, "999"), (999.5, "1.0k"), (1000, "1k"), (12_345, "12.3k"),
    (9_999_999, "10.0M"), (40_000_000_000, "40G"), (1.5e12, "1.5T"), (2e15, "2P"), (2e18, "2,000P"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "says"), NUMBERS)
def test_numbers_have_three_digits_and_a_letter(value: float, says: str) -> None:
    assert short(value) == says


def rows(out: StringIO) -> dict[str, list[str]]:
    """The words of each port's row of what was shown last, by its first."""
    lines = out.getvalue().rpartition("host h")[2].splitlines()
    found: dict[str, list[str]] = {}
    for words in filter(None, map(str.split, lines)):
        found.setdefault(words[0], words[1:])
    return found


def test_ports_and_what_was_lost(tmp_path: Path) -> None:
    one = module("vsw", [port(number, access(10), address=number + 1) for number in range(4)])
    live = LiveModule(one, tmp_path)
    pairs = [memory_pair(f"here{number}", f"there{number}") for number in range(3)]
    for number, (here, _) in enumerate(pairs):
        live.attach(number, here)
    live.open()
    try:
        out = StringIO()
        console = Console(file=out, force_terminal=True, width=160, color_system=None)
        with LiveTable(SimpleNamespace(name="h", modules={live.name: live}), console) as table:  # type: ignore[arg-type]
            names = [f"{live.name.partition('/')[2]}/{port.name}" for port in one.ports]
            assert "reason" not in out.getvalue()
            good = b"\xff" * 6 + (0x02_00_00_00_00_01).to_bytes(6, "big") + bytes(48)
            pairs[0][1].write([good, good[:6] + bytes(6) + good[12:]])
            live.set_admin(one.ports[1].name, False)
            pairs[2][1].close()
            end = time.monotonic() + PATIENCE
            while live.switch.counters.offered < 2 or pairs[2][0].link:
                assert time.monotonic() < end, "the frames did not come in"
            table.update()
            shown = rows(out)
            # In, out and lost.
            assert shown[names[0]][:1] + shown[names[0]][-3:] == ["up", "2", "0", "1"], shown
            assert shown[names[1]][:2] == ["admin", "down"]
            assert shown[names[2]][:3] == ["up,", "no", "peer"]
            assert "bad_source" in out.getvalue()
            table.update()
            # Nothing came since: no rates.
            assert rows(out)[names[0]][-7:-3] == ["0", "0", "0", "0"]
    finally:
        live.close()
        for pair in pairs:
            for side in pair:
                side.close()
