"""File names for ports."""

from __future__ import annotations

from collections.abc import Mapping

#: Bytes that a file name has at most on common file systems.
LONGEST = 255


def file_names(names: Mapping[int, str], suffix: str) -> dict[int, str]:
    """A file name for each port, by number: the port's name and ``suffix``.

    What no file may be called, or would be hidden, is changed; names that are then equal, or would be on a file system that does not tell capitals
    from small letters, get the port's number.
    """
    found: dict[int, str] = {}
    taken: set[str] = set()
    for number, name in names.items():
        safe = "".join("_" if character == "/" or not character.isprintable() else character for character in name)
        safe = "_" + safe if safe.startswith(".") or not safe else safe
        for mark in ("", f"-{number}", f"-port-{number}", f"-port-number-{number}"):
            whole = _cut(safe, LONGEST - len((mark + suffix).encode())) + mark + suffix
            if whole.casefold() not in taken:
                break
        taken.add(whole.casefold())
        found[number] = whole
    return found


def _cut(text: str, room: int) -> str:
    """The text's beginning, at most ``room`` bytes."""
    return text.encode(errors="replace")[:room].decode(errors="ignore")
