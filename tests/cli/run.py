"""Runs the command line, in this process or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer.main

import vsw
from tests.patience import PATIENCE
from vsw.cli.app import application

#: Made once: from an application typer makes all commands anew at each call, which takes twenty times as long as what most of them do here.
VSW = typer.main.get_command(application())
ROOT = Path(__file__).resolve().parents[2]
TOPOLOGY = ROOT / "examples" / "two-vlans.toml"
CAPTURE = ROOT / "examples" / "two-vlans.pcapng"

Done = subprocess.CompletedProcess


def run(*arguments: object, stdin: bytes | None = None) -> Done[str]:
    """``vsw ARGUMENTS``, in this process unless it reads standard input."""
    if stdin is not None:
        return process(*arguments, stdin=stdin)
    out, error = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(error), pytest.raises(SystemExit) as ended:
        VSW([str(argument) for argument in arguments], prog_name="vsw")
    return Done(arguments, ended.value.code or 0, out.getvalue(), error.getvalue())


def process(*arguments: object, stdin: bytes | None = None) -> Done[str]:
    """``vsw ARGUMENTS`` as a process of its own."""
    done = subprocess.run(command(*arguments), input=stdin, env=environment(), capture_output=True, timeout=PATIENCE, check=False)
    return Done(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "vsw", *map(str, arguments)]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}


def good(*arguments: object, stdin: bytes | None = None) -> str:
    """Standard output of a command that must succeed and say nothing on standard error."""
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def as_json(*arguments: object, stdin: bytes | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good(*arguments, "--json", stdin=stdin))
    return found


def forward(**options: Any) -> Any:
    """The example's result, from the library."""
    with vsw.open_capture(CAPTURE) as trace:
        return vsw.Switch(vsw.load(TOPOLOGY).module()).forward(trace, **options)


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """The JSON object holds the summary (but for the time that it took)."""
    for name in expected.keys() - {"seconds"}:
        assert found[name] == expected[name], name
