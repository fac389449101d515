"""Every exception that a caller of vsw can catch."""

from __future__ import annotations

from typing import Any


class VswError(Exception):
    """Base of all errors that vsw raises on purpose.

    ``result`` is the :class:`~vsw.switch.result.Result` of what had been done before, where a run ended early; else None.
    """

    result: Any = None


class ConfigError(VswError):
    """A topology can't be used.

    ``problems`` holds one :class:`Problem` for each thing that is wrong, so that all can be mended at once.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class Problem:
    """One thing that is wrong with a configuration.

    Parameters are the file (or ``<string>``), the line (1-based, ``None`` if unknown), the key path as
    ``hosts.esx1.switches.vSwitch0.mtu`` (empty for the file as a whole), the value that was found, and a sentence that
    says what was allowed.
    """

    __slots__ = ("file", "key", "line", "message", "value")

    def __init__(self, file: str, line: int | None, key: str, value: object, message: str) -> None:
        self.file = file
        self.line = line
        self.key = key
        self.value = value
        self.message = message

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        found = "" if self.value is None else f" (found {self.value!r})"
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.message}{found}"


class CaptureError(VswError):
    """A capture file can't be read from here on.

    ``file`` is its name, ``offset`` the byte (from the start of the uncompressed stream) at which reading
    stopped, ``frames`` the number of frames that are readable before it.
    """

    def __init__(self, file: str, offset: int, message: str, frames: int = 0) -> None:
        self.file = file
        self.offset = offset
        self.frames = frames
        self.message = message
        super().__init__(f"{file}: at byte {offset}: {message}")


class ImageError(VswError):
    """A disk image can't be used as what it is said to be.

    ``file`` is its name, ``message`` what is wrong with it, or which feature of it is not supported.
    """

    def __init__(self, file: str, message: str) -> None:
        self.file = file
        self.message = message
        super().__init__(f"{file}: {message}")


class UsageError(VswError):
    """A call's arguments do not fit together, or name something that does not exist."""
