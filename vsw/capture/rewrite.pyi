from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

from vsw.capture.capture import Capture
from vsw.datapath.retag import Retag

@dataclass(frozen=True)
class Rewritten:
    frames: int
    outcomes: dict[str, int]
    padded: int
    shortened: int
    check_sequences: int

def rewrite(
    capture: Capture, path: str | bytes | PathLike[Any], rule: Retag, *, sync: bool = False, progress: Callable[[int, int], object] | None = None
) -> Rewritten: ...
