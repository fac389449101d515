"""Tables of ``vsw show``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vsw.cli.live_table import state_of


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def ports(rows: list[dict[str, Any]]) -> None:
    """``vsw show port``."""
    table = _table("port", "no.", "kind", "state", "attached to", "in", "out", "lost", right=("no.", "in", "out", "lost"))
    for row in rows:
        lost = sum(sum(row[key].values()) for key in ("dropped", "filtered", "port_drops"))
        attached = Text(row["problem"] or row["attached"] or "nothing")
        table.add_row(
            Text(f"{row['module']}/{row['port']}"), str(row["number"]), row["kind"], state_of(row), attached,
            f"{row['rx_frames']:,}", f"{row['tx_frames']:,}", f"{lost:,}",
        )  # fmt: skip
    Console().print(table)


def macs(rows: list[dict[str, Any]]) -> None:
    """``vsw show mac``."""
    table = _table("switch", "VLAN", "MAC", "port", "kind", "seen", right=("VLAN", "seen"))
    for row in rows:
        seen = "" if row["age"] is None else f"{row['age']:.0f} s ago"
        table.add_row(Text(row["module"]), "any" if row["vlan"] is None else str(row["vlan"]), row["mac"], Text(row["port"]), row["kind"], seen)
    Console().print(table)


def teams(rows: list[dict[str, Any]]) -> None:
    """``vsw show team``."""
    table = _table("switch", "team", "policy", "active", "standby", "usable now")
    for row in rows:
        policy = row["policy"] + (", LACP" if row["lacp"] else "")
        members = (Text(", ".join(row[key]) or "none") for key in ("active", "standby", "usable"))
        table.add_row(Text(row["module"]), Text(row["team"]), policy, *members)
    Console().print(table)


def counters(modules: dict[str, dict[str, Any]]) -> None:
    """``vsw show counters``."""
    for name, row in modules.items():
        lost = "".join(f", {count:,} {reason}" for reason, count in row["dropped"].items())
        print(f"{name} ({row['dialect']}): {row['frames']:,} frames, {row['delivered']:,} delivered, {row['consumed']:,} consumed{lost}")
        held = "".join(f", {count:,} held back: {reason}" for reason, count in row["filtered"].items())
        print(f"  {row['copies']:,} copies{held}")
        ports(list(row["ports"].values()))


def drops(rows: list[dict[str, Any]]) -> None:
    """``vsw show drops``."""
    if not rows:
        print("Nothing was lost.")
        return
    table = _table("port", "where", "reason", "frames", "why", right=("frames",))
    for row in rows:
        table.add_row(Text(f"{row['module']}/{row['port'] or '-'}"), row["where"], row["reason"], f"{row['count']:,}", row["sentence"])
    Console().print(table)


SHOW: dict[str, Callable[[Any], None]] = {"port": ports, "mac": macs, "team": teams, "counters": counters, "drops": drops}
