"""Which ports of a running host are captured, and where to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vsw.errors import UsageError
from vsw.ports.base import Port as LivePort
from vsw.ports.capture_port import CapturePort


class Captures:
    """``folder``: every port, a file each, called ``HOST.SWITCH.PORT.pcapng``; ``files``: those of single ports (``PORT``, ``SWITCH/PORT`` ...)."""

    def __init__(self, folder: str | None = None, files: Mapping[str, str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.files = dict(files or {})

    def check(self, names: list[str]) -> None:
        """:class:`~vsw.errors.UsageError` if a port is meant that is not among ``names`` (``host/switch/port``)."""
        for port in self.files:
            if not any(_means(port, name) for name in names):
                raise UsageError(f"--capture: there is no port {port!r}; there are {', '.join(names) or 'none'}")
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def around(self, port: LivePort) -> LivePort:
        """The port, captured if it is to be.  OSError if the file can't be written; the port is closed then."""
        path = next((Path(file) for wanted, file in self.files.items() if _means(wanted, port.name)), None)
        if path is None and self.folder is not None:
            path = self.folder / f"{port.name.replace('/', '.')}.pcapng"
        if path is None:
            return port
        try:
            return CapturePort(port, path)
        except BaseException:
            port.close()
            raise


def _means(wanted: str, name: str) -> bool:
    return name == wanted or name.endswith(f"/{wanted}")
