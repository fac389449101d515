from pathlib import Path

from .base import Port

MOST_QUEUES: int

class VhostUserPort(Port):
    @property
    def path(self) -> str | Path: ...
    def __init__(self, name: str, path: str | Path, *, queues: int = 1, mode: int = 0o600) -> None: ...
