"""What one more vNIC costs on the control side of a switch that has many: milliseconds from the new module to its taking effect.

    python bench/one_more.py
    python bench/one_more.py --vnics 100,1000,3000

A vNIC with one address comes and goes again, by ``Switch.reconfigure``.  Beside it stands what compiling the whole module takes.  One core, processor
time, the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console
from rich.table import Table

import vsw
from vsw.config.module import Module, StaticEntry
from vsw.measure.lab import bench_module
from vsw.switch.compile import compile_module
from vsw.switch.team import TeamState

VLANS = 16
ADDRESS = 0x02AA00000001


def with_one_more(module: Module) -> Module:
    last = module.ports[-1]
    new = replace(last, number=last.number + 1, name="one-more", mac=ADDRESS, effective_mac=ADDRESS, macs=())
    vlan = new.vlan.vid if new.vlan.mode == "access" else None
    return replace(module, ports=(*module.ports, new), static=(*module.static, StaticEntry(vlan, ADDRESS, new.number)))


def milliseconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vnics", default="100,1000,3000", help="how many there are, comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    table = Table(title=f"One more vNIC, ms of processor time, median of {chosen.rounds}")
    for column in ("vNICs", "it comes", "it goes", "the whole compiled"):
        table.add_column(column, justify="right")
    for vnics in map(int, chosen.vnics.split(",")):
        module = bench_module(vnics, vnics=vnics, vlans=VLANS, security=True)
        more = with_one_more(module)
        switch = vsw.Switch(module)
        up = {port.number: True for port in more.ports}
        teams = {index: TeamState(team, up) for index, team in enumerate(more.teams)}
        rounds = [
            (
                milliseconds(lambda: switch.reconfigure(more)),  # noqa: B023
                milliseconds(lambda: switch.reconfigure(module)),  # noqa: B023
                milliseconds(lambda: compile_module(more, teams, up)),  # noqa: B023
            )
            for _ in range(chosen.rounds)
        ]
        table.add_row(f"{vnics:,}", *(f"{statistics.median(spent):.2f}" for spent in zip(*rounds, strict=True)))
    Console().print(table)


if __name__ == "__main__":
    main()
