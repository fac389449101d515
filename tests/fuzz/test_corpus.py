"""What the fuzzer found worth keeping goes through its target in every run of the suite; `make fuzz` looks for more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
#: The corpus is read in every run and lies in the repository: it stays small.
MOST_BYTES = 512 << 10


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_passes(name: str) -> None:
    files = sorted((CORPUS / name).glob("*.bin"))
    assert len(files) >= 8
    for file in files:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_members_of_the_corpus_pass(name: str) -> None:
    rng = random.Random(name)
    for file in rng.sample(sorted((CORPUS / name).glob("*.bin")), 8):
        content = bytearray(file.read_bytes())
        for _ in range(4):
            content[rng.randrange(len(content))] = rng.randrange(256)
            TARGETS[name](bytes(content))
        TARGETS[name](bytes(content[: rng.randrange(len(content))]))


def test_the_corpus_is_small() -> None:
    assert sum(file.stat().st_size for file in CORPUS.rglob("*.bin")) <= MOST_BYTES
