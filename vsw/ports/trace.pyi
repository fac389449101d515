from vsw.ports.base import Port
from vsw.ports.wrap import Wrapper

KEPT: int
BYTES: int

class TracePort(Wrapper):
    def __init__(self, inner: Port) -> None: ...
    def events(self) -> list[tuple[int, str, int, bytes]]: ...
