"""The table of ``vsw run``: ports, rates, and why frames were dropped, kept up to date on the terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vsw.host import report

if TYPE_CHECKING:
    from vsw.host.host import LiveHost

#: Rows of each table; a terminal has not more.
MOST_PORTS, MOST_DROPS = 40, 12
UNITS = ("", "k", "M", "G", "T")


class LiveTable:
    """A context; :meth:`update` looks at the counters and shows them."""

    def __init__(self, running: LiveHost, console: Console | None = None) -> None:
        self.running = running
        self._live = Live(Text("starting"), console=console, auto_refresh=False)
        self._before: dict[tuple[str, str], dict[str, Any]] = {}
        self._at = time.monotonic()

    def __enter__(self) -> LiveTable:
        self._live.__enter__()
        self.update()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._live.__exit__(*raised)

    def update(self) -> None:
        """Show the counters of now, and the rates since the update before."""
        now = time.monotonic()
        seconds = max(1e-9, now - self._at)
        rows = [row for module in self.running.modules.values() for row in report.ports(module)]
        drops = [row for module in self.running.modules.values() for row in report.drops(module)]
        self._live.update(Group(self._ports(rows, seconds), *drop_tables(drops)), refresh=True)
        self._before = {(row["module"], row["port"]): row for row in rows}
        self._at = now

    def _ports(self, rows: list[dict[str, Any]], seconds: float) -> Table:
        table = Table(box=box.SIMPLE, title=f"host {self.running.name}", title_justify="left")
        for name in ("port", "state", "attached"):
            table.add_column(name, overflow="fold")
        for name in ("in/s", "bit/s in", "out/s", "bit/s out", "in", "out", "lost"):
            table.add_column(name, justify="right")
        rows = sorted(rows, key=lambda row: -(row["rx_frames"] + row["tx_frames"]))[:MOST_PORTS]
        for row in sorted(rows, key=lambda row: (row["module"], row["number"])):
            before = self._before.get((row["module"], row["port"]), row)
            rate = {key: (row[key] - before[key]) / seconds for key in ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes")}
            lost = sum(sum(row[key].values()) for key in ("dropped", "filtered", "port_drops"))
            table.add_row(
                Text(f"{row['module'].partition('/')[2]}/{row['port']}"), state_of(row), Text(row["problem"] or row["attached"] or "nothing"),
                short(rate["rx_frames"]), short(rate["rx_bytes"] * 8), short(rate["tx_frames"]), short(rate["tx_bytes"] * 8),
                f"{row['rx_frames']:,}", f"{row['tx_frames']:,}", f"{lost:,}",
            )  # fmt: skip
        return table


def state_of(row: dict[str, Any]) -> Text:
    """``up``, ``down`` or ``admin down``, and whether somebody is on the other side."""
    if not row["admin"]:
        return Text("admin down", style="yellow")
    if not row["up"]:
        return Text("down", style="red")
    return Text("up", style="green") if row["link"] else Text("up, no peer", style="yellow")


def drop_tables(drops: list[dict[str, Any]]) -> list[Table]:
    """A table of where frames were lost, if any were."""
    if not drops:
        return []
    table = Table(box=box.SIMPLE, title="lost", title_justify="left")
    for name in ("port", "where", "reason", "frames", "why"):
        table.add_column(name, justify="right" if name == "frames" else "left", overflow="fold")
    for row in drops[:MOST_DROPS]:
        port = Text(f"{row['module'].partition('/')[2]}/{row['port'] or '-'}")
        table.add_row(port, row["where"], row["reason"], f"{row['count']:,}", row["sentence"])
    return [table]


def short(value: float) -> str:
    """A number with three digits and a letter."""
    for unit in UNITS:
        if abs(value) < 999.5:
            return f"{value:.0f}{unit}" if value >= 99.95 or not value % 1 else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:,.0f}P"
