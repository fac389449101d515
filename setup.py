"""Builds the extensions; everything else about the project stands in pyproject.toml.

Switches, as environment variables: ``VSW_DEBUG=1`` (checks on, no optimisation), ``VSW_SANITIZE=1`` (AddressSanitizer and
UBSan), ``VSW_FUZZ=1`` (those, and what libFuzzer wants to know; with ``CC=clang``), ``VSW_COVERAGE=1`` (counted by gcov),
``VSW_SKIP_BUILD=1`` (metadata only, for an editable installation whose extensions ``build_ext --inplace`` builds), ``VSW_JOBS=N`` (processes that
translate to C).
"""

import os
import re
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
DEBUG = os.environ.get("VSW_DEBUG") == "1"
SANITIZE = os.environ.get("VSW_SANITIZE") == "1"
FUZZ = os.environ.get("VSW_FUZZ") == "1"
COVERAGE = os.environ.get("VSW_COVERAGE") == "1"
SKIP_BUILD = os.environ.get("VSW_SKIP_BUILD") == "1"
#: What needs Linux: live ports, virtqueues, hosts, the fast ways of disks.  Elsewhere it is left out, and replay and the library are what there is.
LINUX_ONLY = ("disk", "host", "ports", "virtio", "vm")
LINUX = sys.platform.startswith("linux")
CHECKED = DEBUG or SANITIZE or FUZZ or COVERAGE

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "cdivision": True,
    "embedsignature": True,
}


def compiler_arguments() -> list[str]:
    # A call of what no header declares would be found only when the extension is loaded.
    arguments = ["-std=gnu11", "-Wall", "-Wno-unused-function", "-Werror=implicit-function-declaration"]
    if SANITIZE:
        arguments += ["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
    elif FUZZ:
        # Cython's own code trips over the check of function types; what is undefined stops the program.
        arguments += ["-O1", "-g", "-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize=function", "-fno-sanitize-recover=undefined"]
    elif COVERAGE:
        # A function that is always inlined would count its branches once for each place, and in each some never run.
        arguments += ["-O0", "-g", "--coverage", "-Dalways_inline="]
    elif DEBUG:
        arguments += ["-O0", "-g"]
    else:
        arguments += ["-O3", "-fno-plt"] if LINUX else ["-O3"]
    return arguments


def linker_arguments() -> list[str]:
    if SANITIZE:
        return ["-fsanitize=address,undefined"]
    if COVERAGE:
        return ["--coverage"]
    return []


def headers(source: Path) -> list[str]:
    """The C headers of the project that a source comes to, by its cimports and includes: what it is built again for."""
    seen: set[Path] = set()
    unread = [source, source.with_suffix(".pxd")]
    while unread:
        path = unread.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        text = path.read_text()
        unread += [ROOT / name for name in re.findall(r'(?:#\s*include|extern from|include)\s+"(vsw/[^"]+)"', text)]
        for dots, name in re.findall(r"\b(?:from|cimport)\s+(\.*)([\w.]+)", text):
            folder = path.parents[len(dots) - 1] if dots else ROOT
            unread.append(folder / (name.replace(".", "/") + ".pxd"))
    return sorted(str(path.relative_to(ROOT)) for path in seen if path.suffix == ".h")


def extensions() -> list[Extension]:
    return [
        Extension(
            ".".join(path.relative_to(ROOT).with_suffix("").parts),
            [str(path.relative_to(ROOT))],
            include_dirs=["."],
            depends=headers(path),
            extra_compile_args=compiler_arguments(),
            extra_link_args=linker_arguments(),
        )
        for path in sorted((ROOT / "vsw").rglob("*.pyx"))
        if LINUX or path.relative_to(ROOT / "vsw").parts[0] not in LINUX_ONLY
    ]


# Processes that translate import this file, where Python does not fork itself (from 3.14 on).
if __name__ == "__main__":
    setup(
        ext_modules=[]
        if SKIP_BUILD
        else cythonize(extensions(), compiler_directives=DIRECTIVES, nthreads=int(os.environ.get("VSW_JOBS", "0")))
    )
