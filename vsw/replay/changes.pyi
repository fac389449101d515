from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsw.replay.fates import Fates

KINDS: dict[str, int]
ALIKE: np.dtype[np.void]

class Did:
    @property
    def rows(self) -> int: ...
    def __init__(self, columns: Mapping[str, NDArray[Any]], fates: Fates, uplinks: Iterable[int]) -> None: ...

class Changes:
    def add(self, before: Did, after: Did, first: int, count: int) -> None: ...
    def frames(self) -> NDArray[np.int64]: ...
    def kinds(self) -> NDArray[np.uint8]: ...
    def groups(self) -> NDArray[np.void]: ...
