"""Short talks with a running QEMU over its monitor (QMP), from code that is not asynchronous.

QEMU answers one program at a time: whoever comes second waits until the first has gone.  So a talk is short, and has a limit of time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vsw.vm.qemu import QemuError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

#: Seconds that QEMU gets for its greeting and for one answer.
PATIENCE = 60.0

T = TypeVar("T")


def talk(name: str, path: Path, words: Callable[[QMPClient], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """What ``words`` returns, which talks with the QEMU of machine ``name`` at ``path``; :class:`~vsw.vm.qemu.QemuError` if that comes to nothing."""
    return asyncio.run(_talk(name, path, words, seconds))


def execute(name: str, path: Path, command: str, seconds: float = PATIENCE, **arguments: object) -> Any:
    """QEMU's answer to one command."""

    async def words(client: QMPClient) -> object:
        return await client.execute(command, arguments or None)

    return talk(name, path, words, seconds)


async def _talk(name: str, path: Path, words: Callable[[QMPClient], Awaitable[T]], seconds: float) -> T:
    try:
        from qemu.qmp import ExecuteError, QMPClient, QMPError  # noqa: PLC0415
    except ImportError:
        raise QemuError("the Python package qemu.qmp is needed to talk with QEMU: pip install 'vsw-switch[vm]'") from None
    # What goes wrong is raised; the library's own log says it again, with tracebacks.
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    client = QMPClient(name)
    try:
        async with asyncio.timeout(seconds):
            await client.connect(str(path))
            return await words(client)
    except TimeoutError:
        raise QemuError(f"VM {name}: QEMU did not answer within {seconds:g} s; it hangs, or another program holds its monitor {path}") from None
    except ExecuteError as error:
        raise QemuError(f"VM {name}: QEMU refused: {error}") from None
    except (QMPError, OSError, EOFError) as error:
        raise QemuError(f"VM {name}: QEMU's monitor {path} can't be talked to: {error.__cause__ or error}") from None
    finally:
        try:
            async with asyncio.timeout(5):
                await client.disconnect()
        except (QMPError, TimeoutError, EOFError, OSError):  # it has gone
            pass
