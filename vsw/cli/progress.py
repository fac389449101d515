"""A progress bar for what takes long: on standard error, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

#: Seconds before a bar is worth showing.
PATIENCE = 0.5


@contextmanager
def progress(what: str, total: int, count: Callable[[int], str] = "{:,} frames".format) -> Iterator[Callable[[int, int], None] | None]:
    """Gives a function to call with (done of ``total``, frames done); None where nobody would see it.  ``total`` 0: not known.

    ``count`` words the second number, where it counts something else than frames.
    """
    if not sys.stderr.isatty():
        yield None
        return
    begin = time.monotonic()
    shown: Progress | None = None

    def step(done: int, frames: int) -> None:
        nonlocal shown
        if shown is None:
            if time.monotonic() - begin < PATIENCE:
                return
            shown = _bar(what, total)
        shown.update(shown.task_ids[0], completed=done if total else 0, frames=count(frames))

    try:
        yield step
    finally:
        if shown is not None:
            shown.stop()


def _bar(what: str, total: int) -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[frames]}"), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
    bar.add_task(what, total=total or None, frames="")
    bar.start()
    return bar
