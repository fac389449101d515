from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsw.datapath.source import FrameSource

VECTORS: bool

def classify(source: FrameSource, *, out: NDArray[Any] | None = None) -> NDArray[np.void]: ...
