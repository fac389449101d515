"""``vsw vm``: start virtual machines of a topology, stop them, list them, use their consoles."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.ending import BAD_INPUT, complain, ends_well
from vsw.errors import ConfigError, UsageError, VswError

if TYPE_CHECKING:
    from vsw.config.lab import Lab

TOPOLOGY_HELP = "A topology (.toml)."
RUN_HELP = "The run folder, where sockets and notes are. Default: VSW_RUN_DIR, else vsw in XDG_RUNTIME_DIR; for root /run/vsw."
START_HELP = "Default: all that start by themselves."
JSON_HELP = "One JSON object on standard output."

RunDir = Annotated[str | None, typer.Option("--run-dir", metavar="DIR", help=RUN_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]

app = typer.Typer(name="vm", rich_markup_mode=None, no_args_is_help=True, help="Virtual machines: start, stop, list, console.")


@app.command()
@ends_well
def start(
    topology: Annotated[str, typer.Argument(metavar="TOPOLOGY", help=TOPOLOGY_HELP, show_default=False)],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[VM]...", help=START_HELP, show_default=False, autocompletion=completing.machines)
    ] = None,
    run_dir: RunDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print QEMU's command lines, and start nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    """Start virtual machines. Their switches have to run (vsw run) for their cards to be plugged in.

    \b
    Examples:
      vsw vm start lab.toml
      vsw vm start lab.toml web1 web2
      vsw vm start lab.toml web1 --dry-run
    """
    from vsw.config.load import load  # noqa: PLC0415
    from vsw.vm.place import run_folder  # noqa: PLC0415
    from vsw.vm.plan import remember, vm_of, wanted  # noqa: PLC0415

    lab = load(topology)
    chosen = list(dict.fromkeys(names or ())) or wanted(lab)
    for name in chosen:
        vm_of(lab, name)
    if not chosen:
        raise UsageError(f"{topology} has no VM that starts by itself (one with `kernel` or `disks`); name one")
    run = run_folder(run_dir)
    if not dry_run:
        remember(lab)
    started: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for name in chosen:
        try:
            started.append(_start(lab, name, run, dry_run))
        except ConfigError:
            raise
        except (VswError, OSError) as error:
            failed.append({"vm": name, "error": str(error)})
            complain(error)
            continue
        if not as_json:
            told = started[-1]
            print(told["shell"] if dry_run else f"{name}: runs as process {told['pid']} ({told['accel']}), console: vsw vm console {name}")
    if as_json:
        print(json.dumps({"started": started, "failed": failed}, ensure_ascii=False))
    return BAD_INPUT if failed else 0


def _start(lab: Lab, name: str, run: Path, dry_run: bool) -> dict[str, Any]:
    import shlex  # noqa: PLC0415

    from vsw.vm import running  # noqa: PLC0415
    from vsw.vm.plan import plan  # noqa: PLC0415
    from vsw.vm.qemu import command, version  # noqa: PLC0415

    planned = plan(lab, name, run)
    if dry_run:
        words = command(planned.machine, 3, 4, running.CONSOLE_LOG, version())
        return {"vm": name, "command": words, "shell": shlex.join(words)}
    state = running.start(run, planned.machine, str(Path(lab.file).absolute()), planned.cards)
    return {"vm": name, "pid": state.pid, "accel": state.accel, "cards": state.cards, "command": state.command}


@app.command()
@ends_well
def stop(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[VM]...", help="The machines.", show_default=False, autocompletion=completing.running)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that run.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Do not ask the guest: as if power were cut.")] = False,
    seconds: Annotated[float, typer.Option("--timeout", min=0, max=86400, help="Seconds that a guest gets to shut down.")] = 30,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> int:
    """Stop virtual machines: the guest is asked to shut down, and after --timeout its power is cut.

    \b
    Examples:
      vsw vm stop web1
      vsw vm stop --all --timeout 60
      vsw vm stop web1 --now
    """
    from vsw.vm import running  # noqa: PLC0415
    from vsw.vm.place import run_folder  # noqa: PLC0415

    run = run_folder(run_dir)
    if bool(names) == every:
        raise UsageError("name the machines to be stopped, or say --all")
    chosen = [name for name in running.known(run) if running.is_running(run, name)] if every else list(dict.fromkeys(names or ()))
    if not every:
        for name in chosen:
            running.need(run, name)
    how = {}
    for name in chosen:
        how[name] = running.stop(run, name, seconds, now=now)
        if not as_json:
            print(f"{name}: {how[name]}")
    if as_json:
        print(json.dumps({"stopped": how}, ensure_ascii=False))
    return 0


@app.command("list")
@ends_well
def list_(
    topology: Annotated[str | None, typer.Argument(metavar="[TOPOLOGY]", help="Also its machines that do not run.", show_default=False)] = None,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> int:
    """List virtual machines: those that run, and those of a topology.

    \b
    Examples:
      vsw vm list
      vsw vm list lab.toml --json
    """
    from vsw.config.load import load  # noqa: PLC0415
    from vsw.vm.place import run_folder  # noqa: PLC0415

    run = run_folder(run_dir)
    machines = _machines(run, load(topology) if topology is not None else None)
    if as_json:
        print(json.dumps({"run_dir": str(run), "vms": machines}, ensure_ascii=False))
        return 0
    from vsw.cli.show import Page, table  # noqa: PLC0415

    rows = []
    for name, vm in machines.items():
        cards = "; ".join(f"{card['mac']} {card['model']}, {card['attach']}: {card['to']}" for card in vm["cards"])
        rows.append((name, vm["host"], vm["state"], str(vm["pid"] or ""), vm["accel"] or "", f"{vm['memory'] >> 20} MiB", str(vm["cpus"]), cards))
    heads = ("VM", "host", "state", "process", "accel", "memory", "CPUs", "cards")
    Page().print(table(f"Virtual machines; run folder {run}", heads, rows, right=("process", "memory", "CPUs")))
    return 0


def _machines(run: Path, lab: Lab | None) -> dict[str, dict[str, Any]]:
    from vsw.vm import running  # noqa: PLC0415
    from vsw.vm.plan import cards_of  # noqa: PLC0415

    found: dict[str, dict[str, Any]] = {}
    for name, vm in (lab.topology.vms if lab is not None else {}).items():
        assert lab is not None
        cards = cards_of(lab, name)
        found[name] = {"host": vm.host, "state": "stopped", "pid": None, "accel": None, "memory": vm.memory, "cpus": vm.cpus, "cards": cards}
    for name in running.known(run):
        state = running.find(run, name)
        if state is not None:
            found[name] = {
                "host": state.host, "state": running.status(run, name), "pid": state.pid, "accel": state.accel, "memory": state.memory,
                "cpus": state.cpus, "cards": state.cards,
            }  # fmt: skip
    return found


@app.command()
@ends_well
def console(
    name: Annotated[str, typer.Argument(metavar="VM", help="The machine.", show_default=False, autocompletion=completing.running)],
    run_dir: RunDir = None,
    log: Annotated[bool, typer.Option("--log", help="Print what the guest has written since its start instead.")] = False,
) -> int:
    """Use the serial console of a virtual machine; Ctrl-] leaves it. Without a terminal, standard input goes to the guest.

    \b
    Examples:
      vsw vm console web1
      echo 'ip addr' | vsw vm console web1
      vsw vm console web1 --log
    """
    from vsw.vm import console as serial  # noqa: PLC0415
    from vsw.vm import running  # noqa: PLC0415
    from vsw.vm.place import run_folder, vm_folder  # noqa: PLC0415

    run = run_folder(run_dir)
    folder = vm_folder(run, name)
    if log:
        if not (folder / running.CONSOLE_LOG).exists():
            raise UsageError(f"VM {name!r} was never started in {run}")
        sys.stdout.write((folder / running.CONSOLE_LOG).read_text(errors="replace"))
        return 0
    running.need(run, name)
    if sys.stdin.isatty():
        print(f"Console of {name}; Ctrl-] leaves it.", file=sys.stderr)
    ended = serial.attach(folder / running.CONSOLE, sys.stdin.fileno(), sys.stdout.fileno())
    if sys.stdin.isatty():
        print(f"\r\n{'The machine has stopped.' if ended == 'closed' else 'Left; the machine goes on.'}", file=sys.stderr)
    return 0
