"""A port on its way from what was written to what it is: before it has policies, a team and static entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vsw.config.models import AddressWords, PolicyWords
from vsw.config.module import Kind
from vsw.config.positions import Path


@dataclass(slots=True)
class Draft:
    """What was written for a port; its number and its profile are found later."""

    name: str
    kind: Kind
    path: Path
    words: AddressWords
    mac: int | None
    number: int = -1
    profile: PolicyWords | None = None

    def setting(self, key: str) -> Any:
        """What the port or else its profile says; ``None`` if neither does."""
        value = getattr(self.words, key)
        return value if value is not None or self.profile is None else getattr(self.profile, key)

    def place(self, key: str) -> Path:
        """Where :meth:`setting` was found."""
        if getattr(self.words, key) is None and self.profile is not None and getattr(self.profile, key) is not None:
            assert self.words.profile is not None
            return ("profiles", self.words.profile, key)
        return (*self.path, key)
