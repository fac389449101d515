"""Damaged captures through every command: no crash, no hang, a clear error or a counted drop.

Each file of $VSW_CAPTURES (or ../shared/captures) and the example, cut at every byte of its first 300, and with random bytes turned over.  The quick
suite takes a few of these of each file, ``make hostile`` all.  Under ``make sanitize`` the same shows that nothing is read past the end.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.run import ROOT, VSW
from tests.hostile.commands import COMMANDS, WITHOUT_CAPTURES, Command, complaint

FOLDER = Path(os.environ.get("VSW_CAPTURES") or Path(__file__).parents[3] / "shared" / "captures")
EXAMPLE = ROOT / "examples" / "two-vlans.pcapng"
CAPTURES = [EXAMPLE, *sorted(path for path in FOLDER.glob("*") if path.suffix in {".pcap", ".pcapng"})]
captures = pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
CUTS = 300
FLIPPED = 40
#: Bytes of a file that are looked at: most of what can go wrong lies in its first records, and time is bounded.
MOST = 64 << 10
EVERY = [command for several in COMMANDS.values() for command in several]


def flipped(content: bytes, seed: str) -> bytes:
    """Some bytes are others: a few anywhere, or many near the start, where lengths and types stand."""
    rng = random.Random(seed)
    damaged = bytearray(content)
    reach = rng.choice((len(damaged), min(len(damaged), 400)))
    for _ in range(rng.choice((1, 3, 30))):
        damaged[rng.randrange(reach)] ^= rng.choice((0x01, 0x80, 0xFF, rng.randrange(1, 256)))
    return bytes(damaged)


def variants(path: Path, quick: bool) -> Iterator[tuple[str, bytes]]:
    """(what was done, content) of each damaged file."""
    content = path.read_bytes()[:MOST]
    rng = random.Random(path.name)
    cuts = list(range(min(CUTS, len(content)) + 1))
    for cut in rng.sample(cuts, 2) if quick else cuts:
        yield f"cut at {cut}", content[:cut]
    for number in rng.sample(range(FLIPPED), 2) if quick else range(FLIPPED):
        yield f"flipped {number}", flipped(content, f"{path.name}/{number}")


def complaints(path: Path, folder: Path, quick: bool) -> list[str]:
    found = []
    for number, (what, content) in enumerate(variants(path, quick)):
        target = folder / "damaged.pcapng"
        # A new file: a mapped one must not change.
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        commands: list[Command] = [EVERY[number % len(EVERY)], EVERY[(number + 3) % len(EVERY)]] if quick else EVERY
        found += [f"{path.name} {what}: {wrong}" for command in commands if (wrong := complaint(command, target, folder))]
    return found


@captures
def test_a_few_of_each(path: Path, tmp_path: Path) -> None:
    assert complaints(path, tmp_path, quick=True) == []


@pytest.mark.long
@captures
def test_all_of_each(path: Path, tmp_path: Path) -> None:
    assert complaints(path, tmp_path, quick=False) == []


def test_every_command_is_here() -> None:
    assert set(VSW.commands) - WITHOUT_CAPTURES == set(COMMANDS)  # type: ignore[attr-defined]


def test_a_crash_would_be_seen(tmp_path: Path) -> None:
    target = tmp_path / "whole.pcapng"
    target.write_bytes(EXAMPLE.read_bytes())

    def disagrees(output: str) -> None:
        assert "nothing" in output

    assert "AssertionError" in complaint(EVERY[0]._replace(check=disagrees), target, tmp_path)
    assert complaint(EVERY[0], target, tmp_path) == ""
    assert "exit code 2" in complaint(Command(("replay", "--no-such-option")), target, tmp_path)
