"""``vsw run``: the switches of a host between live ports, until somebody stops them."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.ending import BAD_INPUT, complain, ends_well
from vsw.cli.vm import RUN_HELP
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.config.lab import Lab
    from vsw.host.captures import Captures
    from vsw.host.host import LiveHost
    from vsw.vm.guests import Guests

HOST_HELP = "Which host this machine is, where the topology has several."
INTERVAL_HELP = "Seconds between two looks at the counters."
CAPTURE_HELP = (
    "Write what enters at ports as pcapng: into a folder (a file a port, called after it), or PORT=FILE for one port; "
    "FILE may be a FIFO that tcpdump reads. Repeatable."
)


@ends_well
def run(
    topology: Annotated[str, typer.Argument(metavar="TOPOLOGY", help="A topology (.toml).", show_default=False)],
    host: Annotated[str | None, typer.Option(metavar="HOST", help=HOST_HELP, autocompletion=completing.hosts)] = None,
    run_dir: Annotated[str | None, typer.Option("--run-dir", metavar="DIR", help=RUN_HELP)] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Threads that switch, where frames do not change what later frames meet.")] = 1,
    vms: Annotated[bool, typer.Option("--vms/--no-vms", help="Start the machines that start by themselves, and stop them at the end.")] = True,
    capture: Annotated[list[str] | None, typer.Option(metavar="DIR|PORT=FILE", help=CAPTURE_HELP)] = None,
    live: Annotated[bool | None, typer.Option("--live/--no-live", help="A table that is kept up to date; default: on a terminal.")] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help=INTERVAL_HELP)] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON objects on standard output, one a line, instead of the table.")] = False,
) -> int:
    """Run the switches of a host: attach their ports, start their machines, and show what goes on until Ctrl-C or SIGTERM.

    \b
    Examples:
      vsw run lab.toml
      vsw run lab.toml --host esx1 --no-live
      vsw run lab.toml --json | jq .event
      vsw run lab.toml --capture captures/
      mkfifo web1; vsw run lab.toml --capture web1.0=web1     (and elsewhere: tcpdump -r web1)
    """
    from vsw.config.load import load  # noqa: PLC0415
    from vsw.host.host import LiveHost, host_of  # noqa: PLC0415
    from vsw.vm.place import run_folder  # noqa: PLC0415

    lab = load(topology)
    name = host_of(lab, host)
    _log()
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with LiveHost(lab, name, run_folder(run_dir), workers=workers, captures=captures_of(capture or [])) as running:
            machines = _machines(running, lab) if vms else None
            try:
                if as_json:
                    _say(running, "started", machines=sorted(machines.alive()) if machines else [], problems=running.problems)
                elif not live_wanted(live):
                    ports = sum(len(module.module.ports) for module in running.modules.values())
                    print(f"host {name} runs: {ports} ports; Ctrl-C ends it", flush=True)
                _watch(running, machines, stop, interval, as_json=as_json, live=not as_json and live_wanted(live))
            finally:
                if machines is not None:
                    machines.stop()
                    machines.close()
            if as_json:
                _say(running, "stopped", failure=running.failure, **_totals(running))
            failure = running.failure
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if failure:
        complain(failure)
    return BAD_INPUT if failure else 0


def captures_of(given: list[str]) -> Captures:
    """What ``--capture`` says, once for each time that it was given."""
    from vsw.host.captures import Captures  # noqa: PLC0415

    folders = [text for text in given if "=" not in text]
    if len(folders) > 1:
        raise UsageError(f"captures go into one folder, not {len(folders)}: {', '.join(folders)}")
    return Captures(folders[0] if folders else None, dict(text.split("=", 1) for text in given if "=" in text))


def live_wanted(live: bool | None) -> bool:
    """Whether a table is shown."""
    return sys.stdout.isatty() if live is None else live


def _log() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("vsw")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def _watch(running: LiveHost, machines: Guests | None, stop: threading.Event, interval: float, *, as_json: bool, live: bool) -> None:
    """Until it is told to stop, or the host ends."""
    if live:
        from vsw.cli.live_table import LiveTable  # noqa: PLC0415

        with LiveTable(running) as table:
            while not stop.wait(interval) and not running.ended.is_set():
                table.update()
                if machines is not None:
                    machines.poll()
        return
    while not stop.wait(interval) and not running.ended.is_set():
        if machines is not None:
            machines.poll()
        if as_json:
            _say(running, "counters", **_totals(running))


def _totals(running: LiveHost) -> dict[str, Any]:
    from vsw.host import report  # noqa: PLC0415

    return {"modules": {name: report.counters(module) for name, module in running.modules.items()}}


def _say(running: LiveHost, event: str, **more: Any) -> None:
    print(json.dumps({"event": event, "host": running.name, "time": time.time(), **more}, ensure_ascii=False), flush=True)


def _machines(running: LiveHost, lab: Lab) -> Guests:
    """The host's machines and the cards that are passed through to them; what can't be had is named, and the rest goes on."""
    from vsw.vm.guests import Guests  # noqa: PLC0415

    log = logging.getLogger("vsw.vm")
    guests = Guests(lab, running.run, running.name, lambda text: log.info("%s", text))
    guests.start()
    return guests
