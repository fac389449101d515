"""QEMU's tools as a second opinion on images; tests that need them are skipped where they are missing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img (Debian: qemu-utils)")


def qemu_img(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, check=False)


def must(*arguments: object) -> str:
    """Standard output of a ``qemu-img`` that has to succeed."""
    done = qemu_img(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def qemu_io(path: Path, *commands: str, image_format: str = "qcow2") -> None:
    arguments = [part for command in commands for part in ("-c", command)]
    done = subprocess.run(["qemu-io", "-f", image_format, *arguments, str(path)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check(path: Path) -> dict[str, Any]:
    """What ``qemu-img check`` found: ``corruptions``, ``leaks``, 0 where it found none."""
    done = qemu_img("check", "--output=json", "-f", "qcow2", path)
    assert done.returncode in (0, 2, 3), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return {"corruptions": found.get("corruptions", 0), "leaks": found.get("leaks", 0)}


CLEAN = {"corruptions": 0, "leaks": 0}
