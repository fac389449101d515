from os import PathLike
from types import TracebackType
from typing import Self

from vsw.config.module import Module

FORMATS: tuple[str, ...]
BUDGET: int
LEAST_ROOM: int
MOST_ROOM: int

class Egress:
    folder: str
    files: dict[str, str]
    def __init__(
        self, module: Module, folder: str | PathLike[str], *, format: str = "pcapng", comment: str = "", room: int | None = None
    ) -> None: ...
    @property
    def sink(self) -> int: ...
    def check(self) -> None: ...
    def close(self) -> None: ...
    def discard(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...
