from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vsw.capture import Frame
from vsw.datapath.source import FrameReader, FrameSource

class Selected(FrameSource):
    def __init__(self, source: FrameSource, frames: NDArray[np.int64]) -> None: ...
    def reader(self, start: int, stop: int) -> FrameReader: ...
    def __iter__(self) -> Iterator[Frame]: ...
