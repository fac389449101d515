"""A bus error that is none of ours goes to who handled it before; one of ours (test_rings.py) ends nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]

#: A region, then a read of a page of another file that is gone.
PROGRAM = """
import mmap, os, sys
from vsw.virtio.memory import Memory, Region

def cut():
    descriptor = os.memfd_create("cut")
    os.truncate(descriptor, 8192)
    return descriptor

BEFORE
ours = cut()
memory = Memory([Region(ours, 0, 8192, 0, 0)])
assert not memory.broken
theirs = cut()
mapped = mmap.mmap(theirs, 8192)
os.truncate(theirs, 0)
print("reading", flush=True)
mapped[4096]
"""

#: With SA_SIGINFO: the address of a C function of three arguments, which here is _exit of the first, the signal's number.
THREE_ARGUMENTS = """
import ctypes, signal
class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_ubyte * 128), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
action = Action(ctypes.cast(libc._exit, ctypes.c_void_p).value, (ctypes.c_ubyte * 128)(), 4, None)
assert libc.sigaction(signal.SIGBUS, ctypes.byref(action), None) == 0
"""

BEFORE = {
    "nobody": ("", -signal.SIGBUS, ""),
    "faulthandler": ("import faulthandler; faulthandler.enable()", -signal.SIGBUS, "Fatal Python error: Bus error"),
    "ignored": ("import signal; signal.signal(signal.SIGBUS, signal.SIG_IGN)", -signal.SIGBUS, ""),
    "three arguments": (THREE_ARGUMENTS, int(signal.SIGBUS), ""),
}


@pytest.mark.skipif("VSW_SANITIZED" in os.environ, reason="the sanitizer has a handler of its own")
@pytest.mark.parametrize("before", BEFORE)
def test_the_handler_of_before_has_the_bus_errors_of_others(before: str) -> None:
    code, status, says = BEFORE[before]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONFAULTHANDLER"} | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("BEFORE", code)], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )  # fmt: skip
    assert done.stdout == "reading\n", done.stderr
    assert done.returncode == status
    assert says in done.stderr
    assert says or not done.stderr
