"""Tab completion, asked of the shells themselves: commands, options, values, ports of the topology on the line, files."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.run import TOPOLOGY, environment
from tests.patience import PATIENCE
from vsw.cli.shells import joined, rest
from vsw.config.load import loads
from vsw.host.host import LiveHost

#: (words of the line, the last one incomplete; offers that must be among those made; offers that must not)
LINES = {
    "commands": (["re"], {"replay"}, {"explain"}),
    "subcommands": (["tag", "p"], {"push", "pop"}, {"translate"}),
    "options": (["replay", "--in"], {"--ingress"}, {"--out"}),
    "values": (["replay", str(TOPOLOGY), "--format", "p"], {"pcap", "pcapng"}, set()),
    "ports": (["replay", str(TOPOLOGY), "--ingress", "w"], {"web1.0", "web2.0"}, {"db1.0"}),
    "switches": (["explain", str(TOPOLOGY), "--module", "e"], {"esx1/vSwitch0"}, set()),
    "columns": (["classify", "--columns", "vlan,p"], {"vlan,pcp", "vlan,proto"}, {"vlan,vlan"}),
    "hosts": (["run", str(TOPOLOGY), "--host", "e"], {"esx1"}, set()),
    "machines": (["vm", "start", str(TOPOLOGY), "web1", "w"], {"web2"}, {"web1"}),
    "disks of a machine": (["disk", "serve", str(TOPOLOGY), "--vm", "d"], {"db1", "db2"}, {"web1"}),
    "cards": (["port", "attach", str(TOPOLOGY), "web"], {"web1.0", "web2.0"}, {"vmnic0"}),
    "image formats": (["disk", "create", "x", "--format", ""], {"raw", "qcow2"}, set()),
}


def needs(shell: str) -> str:
    found = shutil.which(shell)
    if not found:
        pytest.skip(f"needs {shell} (Debian: {shell})")
    return found


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command ``vsw`` in ``bin``, the script for each shell, and a topology."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    command = folder / "bin" / "vsw"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "from vsw.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run([command, "--show-completion", shell], env=asking(folder), capture_output=True, text=True, check=True)
        (folder / f"script.{shell}").write_text(done.stdout)
    (folder / "some-lab.toml").write_text(TOPOLOGY.read_text())
    return folder


def asking(place: Path) -> dict[str, str]:
    names = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(place), "TERM": "dumb"}
    return {**environment(), **names, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


def by_bash(place: Path, words: list[str], **more: str) -> set[str]:
    line = ["vsw", *words]
    script = (
        f"source {place / 'script.bash'}\nCOMP_WORDS=({' '.join(map(shlex.quote, line))})\nCOMP_CWORD={len(line) - 1}\n"
        '_vsw_completion vsw\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    command = [needs("bash"), "--norc", "-c", script]
    done = subprocess.run(command, env=asking(place) | more, capture_output=True, text=True, cwd=place, timeout=PATIENCE, check=True)
    return set(done.stdout.split("\n")) - {""}


def by_fish(place: Path, words: list[str]) -> set[str]:
    script = f"source {place / 'script.fish'}; complete -C {shlex.quote(' '.join(['vsw', *words]))}"
    command = [needs("fish"), "--no-config", "-c", script]
    done = subprocess.run(command, env=asking(place), capture_output=True, text=True, cwd=place, timeout=PATIENCE, check=True)
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("words", "offered", "others"), LINES.values(), ids=LINES)
@pytest.mark.parametrize("shell", [by_bash, by_fish])
def test_offers(place: Path, shell: object, words: list[str], offered: set[str], others: set[str]) -> None:
    found = shell(place, words)  # type: ignore[operator]
    assert offered <= found
    assert not others & found


def test_fish_names_files(place: Path) -> None:
    assert "some-lab.toml" in by_fish(place, ["replay", "some"])


class Terminal:
    """An interactive shell, as a person has it."""

    def __init__(self, place: Path, arguments: list[str]) -> None:
        try:
            self.process, self.fd = pty.fork()
        except OSError as error:
            pytest.skip(f"needs terminals, /dev/pts: {error}")
        if not self.process:
            os.chdir(place)
            os.execve(arguments[0], arguments, asking(place))
        self.seen = b""

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str) -> str:
        """What is shown up to this text, and what follows at once."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"{text!r} does not appear in {self.seen!r}"
            self.seen += os.read(self.fd, 65536).replace(b"\a", b"")
        shown, self.seen = self.seen.decode(errors="replace"), b""
        return shown

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.process, 0)


AT = ["replay", str(TOPOLOGY), "--at", "5s:vmn"]


def test_fish_names_events(place: Path) -> None:
    assert by_fish(place, AT) == {f"5s:vmnic{number}={state}" for number in (0, 1) for state in ("down", "up")}
    assert not any("=" in offer for offer in by_fish(place, [*AT[:-1], "5s"]))
    assert by_fish(place, ["replay", str(TOPOLOGY), "--at=5s:rou"]) == {f"--at=5s:router.0={state}" for state in ("down", "up")}


def test_ports_of_a_host_that_runs(place: Path, tmp_path: Path) -> None:
    lab = loads("[hosts.h.switches.s.ports]\np1 = { attach = { type = 'dgram' } }\np2 = {}\nq = {}\n")
    with LiveHost(lab, "h", tmp_path):
        assert by_bash(place, ["port", "down", "p"], VSW_RUN_DIR=str(tmp_path)) == {"p1", "p2"}
    assert not by_bash(place, ["port", "down", "p"], VSW_RUN_DIR=str(tmp_path))


#: (what is typed, what stands on the line after that)
TYPED = {
    "commands": ("vsw repl\t", "vsw replay "),
    "subcommands": ("vsw tag tr\t", "vsw tag translate "),
    "ports": (f"vsw replay {TOPOLOGY} --ingress rou\t", "--ingress router.0 "),
    "ports behind =": (f"vsw replay {TOPOLOGY} --ingress=rou\t", "--ingress=router.0 "),
    "events": (f"vsw replay {TOPOLOGY} --at 5s:rout\t", "--at 5s:router.0="),
    "events to their end": (f"vsw replay {TOPOLOGY} --at 5s:vmnic1=d\t", "--at 5s:vmnic1=down "),
    "events behind =": (f"vsw replay {TOPOLOGY} --at=5s:vmnic1=u\t", "--at=5s:vmnic1=up "),
    "values": (f"vsw replay {TOPOLOGY} --format pcapn\t", "--format pcapng "),
    "files": ("vsw check some\t", "vsw check some-lab.toml "),
}
SHELLS = {
    "bash": (["--norc", "-i"], "bind 'set enable-bracketed-paste off'; stty cols 300"),
    "zsh": (["-f", "-i"], "unset zle_bracketed_paste; COLUMNS=300; autoload -U compinit; compinit -u -D"),
}


@pytest.mark.parametrize(("typed", "shown"), TYPED.values(), ids=TYPED)
@pytest.mark.parametrize("name", SHELLS)
def test_as_a_person_has_it(place: Path, name: str, typed: str, shown: str) -> None:
    arguments, settings = SHELLS[name]
    shell = Terminal(place, [needs(name), *arguments])
    try:
        shell.send(f"{settings}; source {place / f'script.{name}'}; {'compdef _vsw_completion vsw; ' * (name == 'zsh')}echo rea''dy\n")
        shell.until("ready")
        shell.send(typed)
        shell.until(shown)
        shell.send("\x03")
        shell.send("exit\n")
    finally:
        shell.close()


def test_words_that_bash_cut_are_whole_again() -> None:
    cut = ["vsw", "replay", "--at", "5s", ":", "up", "=", "down", "--ingress", "=", "w", "x"]
    whole = ["vsw", "replay", "--at", "5s:up=down", "--ingress=w", "x"]
    assert joined(cut, 10) == (whole, 4)
    assert joined(["vsw", "replay", "--at", "5s", ":", ""], 5) == (["vsw", "replay", "--at", "5s:", ""], 4)
    assert joined(["vsw"], 1) == (["vsw"], 1)
    assert rest("5s:a b=down", "5s:a") == "'a b=down'"
    assert rest("5s:a b=down", "'5s:a") == "5s:a b=down"
    assert rest("a b:c", r"a\ b:") == "c"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_is_installed_for_the_shell_that_is_asked_for(place: Path, tmp_path: Path, shell: str) -> None:
    where = {**asking(place), "HOME": str(tmp_path)}
    command = [place / "bin" / "vsw", "--install-completion", shell]
    done = subprocess.run(command, env=where, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{shell} completion installed" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "vsw" in path.name.lower()]
