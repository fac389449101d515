from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FATE: np.dtype[np.void]

class Fates:
    rows: NDArray[np.void]
    def __init__(self, frames: int, names: Mapping[int, str]) -> None: ...
    @property
    def sink(self) -> int: ...
    def next(self, count: int) -> None: ...
    def check(self) -> None: ...
