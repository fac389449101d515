#!/usr/bin/env python3
"""Drives one target of tests/fuzz/targets.py with libFuzzer (atheris): coverage of the compiled modules, and of vsw/config in Python.

    VSW_FUZZ_TARGET=captures|frames|topology scripts/fuzz.py [LIBFUZZER ARGUMENT...]

The target's name is no argument because libFuzzer starts the script again to merge, with arguments of its own making.  scripts/fuzz.sh builds what
this needs, starts it, and minimises what it found.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["vsw.config"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    atheris.Setup(sys.argv, TARGETS[os.environ["VSW_FUZZ_TARGET"]], internal_libfuzzer=False)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
