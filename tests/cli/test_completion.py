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

#: (words of the line, the last one incomplete; offers that must be among those made; offers that must not)
LINES = {
    "commands": (["re"], {"replay"}, {"explain"}),
    "subcommands": (["tag", "p"], {"push", "pop"}, {"translate"}),
    "options": (["replay", "--in"], {"--ingress"}, {"--out"}),
    "values": (["replay", str(TOPOLOGY), "--format", "p"], {"pcap", "pcapng"}, set()),
    "ports": (["replay", str(TOPOLOGY), "--ingress", "w"], {"web1.0", "web2.0"}, {"db1.0"}),
    "switches": (["explain", str(TOPOLOGY), "--module", "e"], {"esx1/vSwitch0"}, set()),
    "columns": (["classify", "--columns", "vlan,p"], {"vlan,pcp", "vlan,proto"}, {"vlan,vlan"}),
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


def by_bash(place: Path, words: list[str]) -> set[str]:
    line = ["vsw", *words]
    script = (
        f"source {place / 'script.bash'}\nCOMP_WORDS=({' '.join(map(shlex.quote, line))})\nCOMP_CWORD={len(line) - 1}\n"
        '_vsw_completion vsw\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    command = [needs("bash"), "--norc", "-c", script]
    done = subprocess.run(command, env=asking(place), capture_output=True, text=True, cwd=place, timeout=PATIENCE, check=True)
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
            self.seen += os.read(self.fd, 65536)
        shown, self.seen = self.seen.decode(errors="replace"), b""
        return shown

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.process, 0)


AT = ["replay", str(TOPOLOGY), "--at", "5s:vmn"]


def test_fish_names_events(place: Path) -> None:
    assert by_fish(place, AT) == {f"5s:vmnic{number}={state}" for number in (0, 1) for state in ("down", "up")}
    assert not any("=" in offer for offer in by_fish(place, [*AT[:-1], "5s"]))


ZSH = {
    "commands": ("vsw repl\t", "vsw replay "),
    "subcommands": ("vsw tag tr\t", "vsw tag translate "),
    "ports": (f"vsw replay {TOPOLOGY} --ingress rou\t", "--ingress router.0 "),
    "events": (f"vsw replay {TOPOLOGY} --at 5s:rout\t", "--at 5s:router.0="),
    "values": (f"vsw replay {TOPOLOGY} --format pcapn\t", "--format pcapng "),
    "files": ("vsw check some\t", "vsw check some-lab.toml "),
}


@pytest.mark.parametrize(("typed", "shown"), ZSH.values(), ids=ZSH)
def test_zsh(place: Path, typed: str, shown: str) -> None:
    shell = Terminal(place, [needs("zsh"), "-f", "-i"])
    try:
        script = f"source {place / 'script.zsh'}; compdef _vsw_completion vsw"
        shell.send(f"unset zle_bracketed_paste; COLUMNS=300; autoload -U compinit; compinit -u -D; {script}; echo rea''dy\n")
        shell.until("ready")
        shell.send(typed)
        shell.until(shown)
        shell.send("\x03")
        shell.send("exit\n")
    finally:
        shell.close()


FILES = {"files": ("vsw check some\t", "vsw check some-lab.toml "), "commands": ("vsw repl\t", "vsw replay ")}


@pytest.mark.parametrize(("typed", "shown"), FILES.values(), ids=FILES)
def test_bash_as_a_person_has_it(place: Path, typed: str, shown: str) -> None:
    shell = Terminal(place, [needs("bash"), "--norc", "-i"])
    try:
        shell.send(f"bind 'set enable-bracketed-paste off'; stty cols 300; source {place / 'script.bash'}; echo rea''dy\n")
        shell.until("ready")
        shell.send(typed)
        shell.until(shown)
        shell.send("\x03")
        shell.send("exit\n")
    finally:
        shell.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_is_installed_for_the_shell_that_is_asked_for(place: Path, tmp_path: Path, shell: str) -> None:
    where = {**asking(place), "HOME": str(tmp_path)}
    command = [place / "bin" / "vsw", "--install-completion", shell]
    done = subprocess.run(command, env=where, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{shell} completion installed" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "vsw" in path.name.lower()]
