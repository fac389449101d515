"""Code blocks of a Markdown page: found, run in the order of the page, and their output held against what the page shows.

=============  ========================================================================================================
``console``    lines that begin with ``$ `` are commands for a shell (a line that ends with ``\\`` goes on); what follows up to the next one is their
               output, standard error included.  Without any, the command need only succeed.  ``$ COMMAND; echo "exit code $?"`` shows a failure.
               ``$ vsw run ... &`` runs until ``$ kill %1`` or the end of the page, when a signal must end it well; what follows waits until it
               can be asked
``python``     all of a page run in one process, in order; names stay from block to block
``output``     what the block before it printed
``toml``       must be TOML; with a ``hosts`` table it is a topology, and must load
``json``       must be JSON
=============  ========================================================================================================

A line ``...`` in expected output stands for any lines, ``[...]`` within a line for any text.  What differs from run to run (seconds, rates) is made
alike on both sides (:data:`VOLATILE`).  A comment before a fence says more of it, ``<!-- KEY: WORDS; KEY: WORDS -->``:

=============  ========================================================================================================
``file``       it is moreover written to that file, which the blocks after it may use; a program is then run by a command, not by itself
``needs``      programs: where one is missing the block is left out, and the test says so
``cards``      its commands run where these network cards are, and no others: in a network namespace; where none can be made, it is left out likewise
``run by``     it is run by that test, which takes it from the page by :func:`borrowed`
=============  ========================================================================================================
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import vsw
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^(?P<fence>```+|~~~+)(?P<language>[\w+-]*)[^\n]*\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
RUN = {"console", "python", "output", "toml", "json"}
NOTES = {"file", "needs", "cards", "run by"}
#: What may differ from run to run, and what stands for it.
VOLATILE = (
    (re.compile(r"\b\d+(?:\.\d+)? (?:s|ms|µs|us|ns)\b"), "N s"),
    (re.compile(r'"seconds": [\d.e-]+'), '"seconds": N'),
    (re.compile(r"\b[\d,.]+ (?:[kMG])?(?:frames|bit|B)/s"), "N/s"),
    (re.compile(r"/tmp/[\w./-]+"), "/tmp/N"),
)


class Block(NamedTuple):
    """A fenced block: where it begins (line, from 1), its language, its text, and the comment before it."""

    line: int
    language: str
    text: str
    note: str


class Command(NamedTuple):
    """A command of a console block, and the output that the page shows; None if it shows none."""

    line: int
    text: str
    output: str | None


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of the page."""
    text = path.read_text()
    return [
        Block(text.count("\n", 0, match.start("fence")) + 1, match["language"], match["text"], match["note"] or "") for match in FENCE.finditer(text)
    ]


def notes(block: Block) -> dict[str, str]:
    """What the comment before the block says, by key."""
    pairs = (part.partition(":") for part in block.note.split(";") if part)
    return {key.strip(): words.strip() for key, _, words in pairs}


def borrowed(page: str, test: str) -> list[tuple[Block, str]]:
    """The blocks of a page (named from the top of the checkout) that this test (``__file__``) runs, each with the output that stands behind it."""
    name = str(Path(test).resolve().relative_to(ROOT))
    found = blocks(ROOT / page)
    after = [block.text if block.language == "output" else "" for block in found[1:]] + [""]
    return [(block, output) for block, output in zip(found, after, strict=True) if notes(block).get("run by") == name]


def lacking(block: Block) -> list[str]:
    """What the block needs and this machine has not."""
    absent = [program for program in notes(block).get("needs", "").split() if shutil.which(program) is None]
    if cards := notes(block).get("cards"):
        # Root in a container often lacks the right.
        tried = subprocess.run(["bash", "-c", among(cards, "true")], capture_output=True, check=False)
        absent += ["a network namespace"] if tried.returncode else []
    return absent


def among(cards: str, command: str) -> str:
    """The command, run where only these network cards are: each one end of a cable whose other end nobody listens at."""
    plug = 'ip link add "$card" type veth peer name "$card-end" && ip link set "$card" up && ip link set "$card-end" up'
    return f"unshare -n bash -euo pipefail -c {shlex.quote(f'for card in {cards}; do {plug}; done; {command}')}"


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if found and found[-1].text.endswith("\\") and found[-1].output is None:
            found[-1] = found[-1]._replace(text=found[-1].text[:-1] + line.lstrip("> "))
        elif line.startswith("$ "):
            found.append(Command(number, line[2:], None))
        else:
            assert found, f"line {number}: a console block begins with a command: $ ..."
            found[-1] = found[-1]._replace(output=(found[-1].output or "") + line + "\n")
    return found


def alike(text: str) -> list[str]:
    """The lines of the text as they are compared."""
    for pattern, stand_in in VOLATILE:
        text = pattern.sub(stand_in, text)
    # Columns and rules of tables are as wide as what they hold: a number of seconds may move what stands behind it.
    lines = [line.rstrip() for line in text.splitlines()]
    return [re.sub(r"─+", "─", re.sub(r" +", " ", line)) for line in "\n".join(lines).strip("\n").splitlines()]


def matches(expected: list[str], found: list[str]) -> bool:
    """Equal, where a line ``...`` stands for any number of lines, and ``[...]`` within a line for any text."""
    if not expected:
        return not found
    if expected[0].strip() == "...":
        return any(matches(expected[1:], found[start:]) for start in range(len(found) + 1))
    if not found:
        return False
    pattern = expected[0].replace("[...]", "\0")
    for special in "[]*?":
        pattern = pattern.replace(special, {"[": "[[]", "]": "[]]", "*": "[*]", "?": "[?]"}[special]) if special != "]" else pattern
    return fnmatchcase(found[0], pattern.replace("\0", "*")) and matches(expected[1:], found[1:])


def environment() -> dict[str, str]:
    """What a reader of the page has: ``vsw`` on the path, a wide terminal, no colours."""
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path, "PYTHONWARNINGS": "error",
        "COLUMNS": "160", "NO_COLOR": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    }  # fmt: skip


class Page:
    """A page whose blocks are run one after the other in a folder of its own, where ``examples`` is that of the checkout."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        self.environment = environment()
        self.running: list[tuple[Command, subprocess.Popen[str]]] = []
        #: Blocks that were not run, and what for.
        self.left_out: list[str] = []

    def run(self, chosen: list[Block] | None = None) -> list[str]:
        """What went otherwise than the page says; of the blocks given, or of all that no other test runs."""
        found = [block for block in blocks(self.path) if "run by" not in notes(block)] if chosen is None else chosen
        with self._run_folder():
            return self._blocks(found) + self._stopped()

    @contextmanager
    def _run_folder(self) -> Iterator[None]:
        # The path of a socket has to be short.
        run = tempfile.mkdtemp(prefix="vsw-", dir="/tmp")
        self.environment["VSW_RUN_DIR"] = run
        try:
            yield
        finally:
            self._stopped()
            shutil.rmtree(run)

    def _stopped(self, number: signal.Signals = signal.SIGINT) -> list[str]:
        """Whatever runs gets a signal; what ended otherwise than well."""
        wrong = []
        while self.running:
            command, process = self.running.pop()
            process.send_signal(number)
            said, _ = process.communicate(timeout=PATIENCE)
            if process.returncode:
                wrong.append(f"{self.path.name}:{command.line}: $ {command.text}\nexit code {process.returncode} at the end\n{said}")
        return wrong

    def _start(self, command: Command) -> list[str]:
        words = f"exec {command.text.removesuffix('&')}"
        process = subprocess.Popen(
            ["bash", "-c", words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        self.running.append((command, process))
        end = time.monotonic() + PATIENCE
        while subprocess.run(["vsw", "show", "port"], env=self.environment, capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > end:
                return [f"{self.path.name}:{command.line}: $ {command.text}\nruns no host that answers"]
        return []

    def _blocks(self, found: list[Block]) -> list[str]:
        wrong: list[str] = []
        programs = [number for number, block in enumerate(found) if block.language == "python" and "file" not in notes(block)]
        for number, block in enumerate(found):
            if absent := lacking(block):
                self.left_out.append(f"{self.path.name}:{block.line} needs {', '.join(absent)}")
                continue
            if "file" in notes(block):
                target = self.folder / notes(block)["file"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text)
            try:
                if block.language == "console":
                    for command in commands(block):
                        wrong += self.console(command, notes(block).get("cards", ""))
                elif block.language == "toml" and "hosts" in tomllib.loads(block.text):
                    vsw.loads(block.text, file=f"{self.path.name}:{block.line}")
                elif block.language == "json":
                    json.loads(block.text)
            except (ValueError, vsw.VswError) as error:
                wrong.append(f"{self.path.name}:{block.line}: {error}")
            if programs and number == programs[-1]:
                wrong += self.python([(found[place], found[place + 1] if place + 1 < len(found) else None) for place in programs])
        return wrong

    def console(self, command: Command, cards: str = "") -> list[str]:
        if command.text.startswith("vsw run ") and command.text.endswith("&"):
            return self._start(command)
        if command.text == "kill %1":
            return self._stopped(signal.SIGTERM)
        text = among(cards, command.text) if cards else command.text
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        where = f"{self.path.name}:{command.line}: $ {command.text}"
        if done.returncode:
            return [f"{where}\nexit code {done.returncode}\n{done.stdout}"]
        if command.output is None or matches(alike(command.output), alike(done.stdout)):
            return []
        return [f"{where}\n--- the page says\n{command.output}--- it printed\n{done.stdout}"]

    def python(self, programs: list[tuple[Block, Block | None]]) -> list[str]:
        """All blocks in one process; each one's output is told from the next one's by a mark."""
        mark = "\0end of block\0"
        text = "".join(f"{block.text}\nprint({mark!r}, flush=True)\n" for block, _ in programs)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        printed = done.stdout.split(f"{mark}\n")
        if done.returncode:
            block = programs[min(len(printed), len(programs)) - 1][0]
            return [f"{self.path.name}:{block.line}: {done.stdout}{done.stderr}"]
        wrong = []
        for (block, after), output in zip(programs, printed, strict=False):
            expected = after.text if after is not None and after.language == "output" else None
            if expected is not None and not matches(alike(expected), alike(output)):
                wrong.append(f"{self.path.name}:{block.line}\n--- the page says\n{expected}--- it printed\n{output}")
        return wrong
