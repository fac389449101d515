"""Every verdict and every drop reason has its sentence, and the rules say when it is given."""

from __future__ import annotations

import pytest

from tests.source.tree import ROOT
from vsw.verdicts import Reason, Verdict

RULES = (ROOT / "docs" / "rules.md").read_text()


@pytest.mark.parametrize("member", [*Verdict, *Reason], ids=str)
def test_has_a_sentence(member: Verdict | Reason) -> None:
    assert member.sentence
    assert member.sentence == member.sentence.strip()
    assert not member.sentence.endswith(".")


def test_sentences_differ() -> None:
    sentences = [member.sentence for member in (*Verdict, *Reason)]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("kind", [Verdict, Reason])
def test_numbers_fit_their_column_without_holes(kind: type[Verdict] | type[Reason]) -> None:
    assert [int(member) for member in kind] == list(range(len(kind)))
    assert len(kind) <= 256


@pytest.mark.parametrize("member", [*Verdict, *(reason for reason in Reason if reason is not Reason.NONE)], ids=str)
def test_the_rules_say_when(member: Verdict | Reason) -> None:
    assert f"`{member.name.lower()}`" in RULES


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.at_egress], ids=str)
def test_the_rules_say_which_hold_a_copy_back(reason: Reason) -> None:
    egress = RULES.split("\n## 14.")[1].split("\n## ")[0]
    assert f"`{reason.name.lower()}`" in egress
