from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vsw.datapath.source import FrameSource

COPY: np.dtype[np.void]

class Recorder:
    @property
    def sink(self) -> int: ...
    def check(self) -> None: ...
    def take(self) -> NDArray[np.void]: ...

def copy_bytes(frames: FrameSource, copies: NDArray[np.void]) -> Iterator[tuple[int, int, bytes, int]]: ...
