"""Every command that reads captures, as it is called with a damaged one; and what it may not do then."""

from __future__ import annotations

import json
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from tests.cli.run import ROOT, TOPOLOGY, VSW
from tests.patience import PATIENCE

RULES = ROOT / "tests" / "hostile" / "rules.toml"
PLAIN = ROOT / "examples" / "plain-switch.toml"
#: What ``vsw assert`` ends with where a rule is broken.
BROKEN = 3

Check = Callable[[str], None]


class Command(NamedTuple):
    """Arguments of ``vsw`` (``{capture}`` and ``{folder}`` stand for paths), and what must hold of its output if it ends with 0."""

    arguments: tuple[str, ...]
    check: Check | None = None


def conserved(output: str) -> None:
    """Nothing disappears: each frame has one verdict, each copy left or was held back for a reason."""
    found = json.loads(output)
    assert found["frames"] == found["delivered"] + found["consumed"] + sum(found["dropped"].values())
    ports = found["ports"].values()
    assert found["copies"] == sum(port["tx_frames"] for port in ports)
    assert found["frames"] == sum(port["rx_frames"] for port in ports) + found["dropped"].get("no_port", 0)


def readable(output: str) -> None:
    """One JSON object."""
    assert isinstance(json.loads(output), dict)


def agrees(output: str) -> None:
    """The datapath does what the reference says."""
    assert json.loads(output)["agrees"]


#: One row a way to call a command.  A capture command that is not here is missed by test_every_command_is_here.
COMMANDS: dict[str, tuple[Command, ...]] = {
    "replay": (
        Command(("replay", str(TOPOLOGY), "{capture}", "--json"), conserved),
        Command(("replay", str(TOPOLOGY), "{capture}", "--tolerant", "--json"), conserved),
        Command(("replay", str(PLAIN), "{capture}", "--ingress", "0", "--tolerant", "--workers", "2", "--json"), conserved),
        Command(("replay", str(TOPOLOGY), "{capture}", "--tolerant", "--at", "1ms:vmnic0=down")),
        Command(("replay", str(TOPOLOGY), "{capture}", "--ingress", "vmnic0", "--tolerant", "--out", "{folder}/out")),
    ),
    "explain": (
        Command(("explain", str(TOPOLOGY), "{capture}", "--frame", "1", "--json"), agrees),
        Command(("explain", str(PLAIN), "{capture}", "--frame", "3", "--ingress", "0")),
    ),
    "diff": (
        Command(("diff", str(TOPOLOGY), str(TOPOLOGY), "{capture}", "--tolerant", "--json"), readable),
        Command(("diff", str(PLAIN), str(PLAIN), "{capture}", "--ingress", "0", "--capture", "{folder}/changed.pcapng")),
    ),
    "assert": (
        Command(("assert", str(TOPOLOGY), "{capture}", str(RULES), "--tolerant", "--json"), readable),
        Command(("assert", str(TOPOLOGY), "{capture}", str(RULES), "--out", "{folder}/failing")),
    ),
    "infer": (
        Command(("infer", "{capture}", "--tolerant", "--json"), readable),
        Command(("infer", "{capture}", "--out", "{folder}/inferred.toml")),
    ),
    "classify": (
        Command(("classify", "{capture}", "--tolerant", "--format", "csv")),
        Command(("classify", "{capture}", "--where", "vlan == 10 or port == 53")),
    ),
    "tag": (
        Command(("tag", "push", "--vid", "10", "--tolerant", "{capture}", "{folder}/pushed.pcapng")),
        Command(("tag", "pop", "--pad", "{capture}", "{folder}/popped.pcap", "--json")),
        Command(("tag", "translate", "--vid", "10:20", "--tolerant", "{capture}", "{folder}/translated.pcapng")),
    ),
}
#: Commands and groups of commands that read no capture.
WITHOUT_CAPTURES = {"check", "disk", "vm", "run", "show", "port", "apply", "bench", "supervisor", "module"}


class HangError(Exception):
    """A command did not end."""


@contextmanager
def _bounded() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise HangError(f"not done after {PATIENCE:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(PATIENCE))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def complaint(command: Command, capture: Path, folder: Path) -> str:
    """What is wrong with how the command ended; empty if it did well: done, or a clear error."""
    arguments = [part.format(capture=capture, folder=folder) for part in command.arguments]
    out, error = StringIO(), StringIO()
    code: Any = None
    try:
        with _bounded(), redirect_stdout(out), redirect_stderr(error):
            VSW(arguments, prog_name="vsw")
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException as raised:
        if isinstance(raised, KeyboardInterrupt):
            raise
        return f"{arguments}: {''.join(traceback.format_exception(raised))}"
    said = error.getvalue()
    if code not in (0, 1, 2, BROKEN) or "Traceback" in said:
        return f"{arguments}: exit code {code}: {said}"
    if code in (1, 2) and not said.startswith(("Error: ", str(capture))):
        return f"{arguments}: exit code {code} with {said!r}"
    if code == 0 and command.check is not None:
        try:
            command.check(out.getvalue())
        except (AssertionError, ValueError, KeyError) as wrong:
            return f"{arguments}: {type(wrong).__name__} {wrong}: {out.getvalue()[:2000]}"
    return ""
