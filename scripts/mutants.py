#!/usr/bin/env python3
"""Shows that the suite catches mistakes in the datapath: makes them, one at a time, and names the test that fails.

    scripts/mutants.py [--only TEXT] [--jobs N]

Each mutant is a copy of the tree with one text replaced, its extension compiled anew, and the quick differential suite run until the first failure.
Needs extensions that were built in place (``make build``).  Exit code: 0 if every mutant is caught, 1 if one survives, does not compile, or its
text is not found (the code has moved on: so must the mutant).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("vsw", "tests", "examples", "pyproject.toml", "setup.py")
#: Quick ones first: a mutant is done with at its first failure.
SUITE = (
    "tests/stages",
    "tests/differential/test_datapath.py",
    "tests/differential/test_swap.py",
    "tests/wire/test_team_hash.py",
    "tests/contract/test_registries.py",
)
#: Left out: where it fails, Hypothesis takes minutes to make the example small.
SHRINKS = "tests/differential/test_datapath.py::test_any_scenario"
D, S = "vsw/datapath/", "vsw/datapath/stages/"


#: Asked for once, here: sysconfig is not ready for several threads at first.
COMPILER = str(sysconfig.get_config_var("CC")).split()


class Mutant(NamedTuple):
    """A file, a text in it that occurs once, what stands there instead, and what is wrong then."""

    file: str
    old: str
    new: str
    what: str


MUTANTS = (
    Mutant(D + "state.h", "#define VSW_TCI_VID 0x0FFFu", "#define VSW_TCI_VID 0x07FFu", "a VID of 11 bits"),
    Mutant(
        S + "parse.h",
        "tci = vsw_at16(f, VSW_TYPE_AT + i * VSW_TAG + 2)",
        "tci = vsw_at16(f, VSW_TYPE_AT + i * VSW_TAG + 4)",
        "the TCI is read behind the tag",
    ),
    Mutant(S + "parse.h", "vsw_missing(f, VSW_ETHERNET + VSW_TAG)", "vsw_missing(f, VSW_ETHERNET + 2)", "a tag without its type passes"),
    Mutant(
        S + "parse.h",
        "return VSW_MALFORMED;\n    return f->captured < bytes ? VSW_CUT_BY_CAPTURE : 0;",
        "return VSW_CUT_BY_CAPTURE;\n    return f->captured < bytes ? VSW_MALFORMED : 0;",
        "two reasons swapped",
    ),
    Mutant(
        S + "parse.h",
        "if (f->length > longest + (uint64_t)tags * VSW_TAG)",
        "if (f->length >= longest + (uint64_t)tags * VSW_TAG)",
        "one byte less than the MTU",
    ),
    Mutant(S + "classify.h", "((f->src & VSW_GROUP_BIT) || !f->src))", "(f->src & VSW_GROUP_BIT))", "a zero source passes"),
    Mutant(S + "classify.h", "vid == VSW_VID_RESERVED)", "vid > VSW_VID_RESERVED)", "VID 4095 passes"),
    Mutant(S + "classify.h", "f->vlan = vid ? vid : p->pvid;", "f->vlan = f->read ? vid : p->pvid;", "a priority tag is in VLAN 0"),
    Mutant(S + "classify.h", "if (!vsw_static_here(fdb, f->fid, f->src, f->port_in))", "if (0)", "forged sources pass"),
    Mutant(
        S + "classify.h",
        "if (port != VSW_NO_PORT && !(t->ports[port].flags & VSW_PORT_UPLINK))\n            return VSW_DEJA_VU;",
        "if (port != VSW_NO_PORT)\n            return VSW_DEJA_VU;",
        "deja-vu for addresses outside",
    ),
    Mutant(
        S + "classify.h", "team->first_up != f->port_in", "team->first != f->port_in && team->usable_count > 2", "bond admission by the wrong member"
    ),
    Mutant(S + "learn.h", "if (f->now - entry->stamp >= m->age) {", "if (f->now - entry->stamp > m->age) {", "an entry expires too late (source)"),
    Mutant(S + "lookup.h", ".stamp >= w->tables->module.age) {", ".stamp > w->tables->module.age) {", "an entry expires too late (destination)"),
    Mutant(S + "learn.h", "            entry->stamp = f->now;\n", "", "a source that is seen again is not stamped"),
    Mutant(
        D + "fdb.h", "f->by_port[i].count > f->by_port[best].count", "f->by_port[i].count >= f->by_port[best].count", "a tie goes to the highest port"
    ),
    Mutant(
        D + "fdb.h",
        "f->buckets[k].passed -= f->buckets[k].passed < VSW_FDB_PASSED;",
        "f->buckets[k].passed -= f->buckets[k].passed > 1;",
        "a count that never returns to 0",
    ),
    Mutant(S + "forward.h", "if (port <= *member)", "if (port < *member)", "a promiscuous receiver gets two copies"),
    Mutant(
        S + "forward.h", "if ((p->flags & VSW_PORT_UPLINK) && p->team == q->team)\n        return 1;", "", "back out of the bond that it came in by"
    ),
    Mutant(S + "egress.h", "if (p->flags & q->flags & VSW_PORT_PROTECTED)", "if (q->flags & VSW_PORT_PROTECTED)", "nobody sends to a protected port"),
    Mutant(S + "egress.h", "q->designated != f->port_in)", "q->designated == f->port_in)", "not_designated inverted"),
    Mutant(S + "egress.h", "(a.tci | VSW_TCI_DEI) == (b.tci | VSW_TCI_DEI)", "a.tci == b.tci", "DEI is lost"),
    Mutant(S + "egress.h", "head_out < head_in", "head_out <= head_in", "copies are padded that kept their tags"),
    Mutant(S + "source_mac.h", "any < port && ", "", "an owner for any VLAN goes before one with a lower number"),
    Mutant(S + "team.h", "if (team->buckets_used)", "if (!team->buckets_used)", "buckets and modulo swapped"),
    Mutant(D + "hashes/bonding.h", "return hash ^ hash >> 8;", "return hash ^ hash >> 7;", "a hash folded one bit off"),
    Mutant(D + "pipeline.h", "        n->rx_bytes[port] += f.length;\n", "", "a counter is missing"),
    Mutant(
        "vsw/switch/compile.py",
        'slow_out = deep or bond or port.priority_tags != "no" or',
        "slow_out = deep or bond or",
        "fast lane: priority tags at egress",
    ),
    Mutant("vsw/switch/compile.py", "(t.MAC_CHANGED | t.PADS | t.PROTECTED)", "(t.PADS | t.PROTECTED)", "fast lane: changed addresses"),
    Mutant("vsw/switch/compile.py", "        member &= ~uplinks[port]\n", "", "fast lane: static entries on uplinks"),
    Mutant(S + "fast.h", "#define VSW_VID_HIGH 0x0F00u", "#define VSW_VID_HIGH 0x0700u", "fast lane: a VID of 11 bits"),
    Mutant(S + "fast_lane.h", " | VSW_MASK(port == ports[i])", "", "fast lane: back out of the port that it came in by"),
    Mutant(S + "fast_lane.h", "(word & VSW_HOT_LENGTH) + tag ?", "(word & VSW_HOT_LENGTH) + tag + 1 ?", "fast lane: one byte more than the MTU"),
    Mutant(S + "fast_lane.h", "(vid < below) | (vid > above) ?", "(vid < below) ?", "fast lane: no VLAN is too high"),
    Mutant(S + "fast_lane.h", " && vsw_receives(t, pick, lane->vlan[i])) {", ") {", "fast lane: an uplink that lacks the VLAN"),
    Mutant(S + "fast_lane.h", " && vsw_surely_outside(w, lane, i) && ", " && ", "fast lane: addresses in any VLAN are outside"),
    Mutant(S + "fast_look.h", "all | (lane->odd[i] & VSW_ODD) |", "all |", "fast lane: odd frames have owners"),
    Mutant(S + "fast.h", "#define VSW_KEPT_OF_TAG 0x00F0FFFFu", "#define VSW_KEPT_OF_TAG 0x00E0FFFFu", "fast lane: DEI is lost"),
    Mutant(S + "fast_lists.h", "        if (pick < port) {", "        if (pick + VSW_VIDS < port) {", "fast lane: the uplink's copy comes last"),
    Mutant("vsw/switch/compile.py", " == wanted) & (ports[place] == numbers)", " == wanted)", "fast lane: an address of another port is honest"),
)


class Outcome(NamedTuple):
    mutant: Mutant
    caught: bool
    by: str
    seconds: float


def compile_extension(tree: Path, name: str) -> str:
    """Compile ``vsw/datapath/NAME.c`` of the tree, quickly and without optimisation; what the compiler said if it failed."""
    source = tree / "vsw" / "datapath" / f"{name}.c"
    target = source.with_name(name + str(sysconfig.get_config_var("EXT_SUFFIX")))
    target.unlink(missing_ok=True)
    arguments = ["-shared", "-fPIC", "-std=gnu11", "-O0", "-w", f"-I{tree}", f"-I{sysconfig.get_path('include')}"]
    done = subprocess.run([*COMPILER, *arguments, str(source), "-o", str(target)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def extensions_of(file: str) -> tuple[str, ...]:
    """The extensions that a file is compiled into."""
    if not file.endswith(".h"):
        return ()
    return ("pipeline", "team_hash") if "/hashes/" in file else ("pipeline",)


def attempt(mutant: Mutant) -> Outcome:
    begin = time.perf_counter()

    def outcome(caught: bool, by: str) -> Outcome:
        return Outcome(mutant, caught, by, time.perf_counter() - begin)

    text = (ROOT / mutant.file).read_text()
    if text.count(mutant.old) != 1:
        return outcome(False, f"TEXT OCCURS {text.count(mutant.old)} TIMES")
    with tempfile.TemporaryDirectory(prefix="vsw-mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, tree / name)
        (tree / mutant.file).write_text(text.replace(mutant.old, mutant.new))
        for name in extensions_of(mutant.file):
            problem = compile_extension(tree, name)
            if problem:
                return outcome(False, "DOES NOT COMPILE: " + problem.splitlines()[0])
        suite = [name for name in SUITE if (tree / name).exists()]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--deselect", SHRINKS, *suite]
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "VSW_CAPTURES": str(tree / "none")}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        if done.returncode < 0:
            return outcome(True, f"the suite, which ended by signal {-done.returncode}")
        if failed:
            return outcome(True, failed[1])
        return outcome(False, "SURVIVED" if done.returncode == 0 else f"THE SUITE DID NOT RUN: {done.stdout[-300:]}{done.stderr[-300:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make mistakes in the datapath and see the suite catch them.")
    parser.add_argument("--only", default="", help="mutants whose file or description contains this text")
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2), help="mutants at a time (default: 2)")
    options = parser.parse_args()
    if not (ROOT / "vsw" / "datapath" / "pipeline.c").exists():
        parser.error("the extensions are not built in place: run `make build` first")
    chosen = [mutant for mutant in MUTANTS if options.only in f"{mutant.file} {mutant.what}"]
    if not chosen:
        parser.error(f"no mutant has {options.only!r} in its file or description")
    caught = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for number, found in enumerate(pool.map(attempt, chosen), start=1):
            caught += found.caught
            what = f"{found.mutant.file.rpartition('/')[2]}: {found.mutant.what}"
            print(f"{number:3} {what:72} {'' if found.caught else '!! '}{found.by}  ({found.seconds:.0f} s)", flush=True)
    print(f"{caught} of {len(chosen)} mutants are caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
