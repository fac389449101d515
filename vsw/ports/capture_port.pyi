import os

from vsw.ports.base import Port
from vsw.ports.wrap import Wrapper

class CapturePort(Wrapper):
    path: str
    problem: str | None
    frames: int
    missed: int
    def __init__(self, inner: Port, path: str | os.PathLike[str]) -> None: ...
