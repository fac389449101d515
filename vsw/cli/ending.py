"""How a command ends: 0 done, 1 the input is bad, 2 the usage is wrong; quietly where somebody stops it."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import NoReturn, ParamSpec

import typer

from vsw.errors import ConfigError, UsageError, VswError

BAD_INPUT = 1
BAD_USAGE = 2
#: As a shell reports a program that the signal ended.
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE

P = ParamSpec("P")


def start() -> None:
    """What holds for the whole process: signals that end it leave nothing behind, and every name can be printed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(128 + number)


def complain(message: object, kind: str = "Error") -> None:
    """Print an error on standard error."""
    print(f"{kind}: {message}", file=sys.stderr)


def ends_well(command: Callable[P, int]) -> Callable[P, None]:
    """The command of a function that returns its exit code; what that raises becomes a message and a code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = _run(lambda: command(*args, **kwargs))
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has gone: what is left in the buffer goes nowhere, also when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = BROKEN_PIPE
        except KeyboardInterrupt:
            code = INTERRUPTED
        if code:
            raise typer.Exit(code)

    return wrapped


def _run(command: Callable[[], int]) -> int:
    try:
        return command()
    except UsageError as error:
        complain(error)
        return BAD_USAGE
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return BAD_INPUT
    except VswError as error:
        complain(error)
        return BAD_INPUT
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from error
        complain(f"{error.filename}: {error.strerror}" if error.filename else error)
        return BAD_INPUT
    except MemoryError as error:
        complain(f"out of memory {error}".rstrip())
        return BAD_INPUT
    except ModuleNotFoundError as error:
        # Live ports, guests and disks are not built elsewhere.
        if sys.platform.startswith("linux") or not (error.name or "").startswith("vsw."):
            raise
        complain(f"this command needs Linux ({error.name} is not built on {sys.platform})")
        return BAD_USAGE
