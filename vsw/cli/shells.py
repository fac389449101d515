"""Words as a person typed them, where a shell asks for completion.

bash ends words at ``:``, ``=`` and ``@`` too (COMP_WORDBREAKS): of ``5s:vmnic0=d`` it passes five words, and puts what is offered behind the last of
these marks.  So its words are joined again before the command line looks at them, and offers lose what stands on the line already.  zsh and fish keep
``--ingress=w`` as one word, and take only offers that begin so.  All this passes through the environment and standard output, as the scripts of
``vsw --show-completion`` have it: they stay as they are.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO

BREAKS = frozenset(":=@")
QUOTES = ("'", '"')
_OPTION = re.compile(r"(?:^|\s)(--[a-z][a-z-]*=)\S*$")


def answer(application: Callable[[], None]) -> None:
    """Run the command line; where a shell asks for completion, what it prints is what that shell can use."""
    shell = os.environ.get("_VSW_COMPLETE", "").removeprefix("complete_")
    if shell == "bash" and {"COMP_WORDS", "COMP_CWORD"} <= os.environ.keys():
        words, cursor = joined(os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"]))
        os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(words), str(cursor)
        typed = words[cursor] if cursor < len(words) else ""
        _run(application, lambda offers: "\n".join(rest(offer, typed) for offer in offers.splitlines() if offer))
    elif shell in ("zsh", "fish") and (option := _OPTION.search(os.environ.get("_TYPER_COMPLETE_ARGS", ""))):
        start = re.compile(r'^(_arguments .*?\(\()?"' if shell == "zsh" else "^(?=.)()", re.MULTILINE)
        quote = '"' if shell == "zsh" else ""
        _run(application, lambda offers: start.sub(lambda match: f"{match[1] or ''}{quote}{option[1]}", offers).rstrip("\n"))
    else:
        application()


def _run(application: Callable[[], None], mended: Callable[[str], str]) -> None:
    offers = StringIO()
    try:
        with redirect_stdout(offers):
            application()
    finally:
        print(mended(offers.getvalue()))


def joined(words: list[str], cursor: int) -> tuple[list[str], int]:
    """Words with those between which only marks stand made one, and the place of the one that had this place."""
    whole: list[str] = []
    place = cursor
    sticks = False
    for number, word in enumerate(words):
        mark = bool(word) and BREAKS.issuperset(word)
        if (mark or sticks) and word and len(whole) > 1:
            whole[-1] += word
        else:
            whole.append(word)
        if number == cursor:
            place = len(whole) - 1
        sticks = mark
    return whole, place


def rest(offer: str, typed: str) -> str:
    """What bash is to put in the place of the part of the word that it knows; quoted where the word is not."""
    if typed.startswith(QUOTES):
        return offer
    if typed.startswith("--"):
        # Of --ingress=w what is offered is the value.
        typed = typed.partition("=")[2]
    typed = re.sub(r"\\(.)", r"\1", typed)
    known = max(typed.rfind(mark) for mark in BREAKS) + 1
    left = offer[known:] if offer.startswith(typed[:known]) else offer
    return shlex.quote(left)
