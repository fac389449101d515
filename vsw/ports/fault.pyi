from vsw.ports.base import Port
from vsw.ports.wrap import Wrapper

class FaultPort(Wrapper):
    def __init__(
        self,
        inner: Port,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        corrupt: float = 0.0,
        reorder: float = 0.0,
        delay: float = 0.0,
        jitter: float = 0.0,
        reorder_by: float = 0.001,
        seed: int = 0,
    ) -> None: ...
