"""``vsw check``, and what belongs to no command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import vsw
from tests.cli.run import CAPTURE, ROOT, as_json, environment, good, process, run
from tests.patience import PATIENCE

BROKEN = '[hosts.h.switches.s]\nmtu = 12\n[hosts.h.switches.s.ports]\np = { vlan = { mode = "access", vid = 4096 } }\n'


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_what_a_topology_holds(path: Path) -> None:
    found, text = as_json("check", path), good("check", path)
    lab = vsw.load(path)
    assert found.keys() == {"file", "problems", "modules", "not_yet_run"}
    assert (found["file"], found["problems"]) == (str(path), [])
    assert list(found["modules"]) == list(lab.modules)
    for name, module in lab.modules.items():
        assert name in text
        shown = found["modules"][name]
        assert shown.keys() == {"dialect", "learning", "ports", "teams", "static"}
        assert {port: row["number"] for port, row in shown["ports"].items()} == {port.name: port.number for port in module.ports}
        assert all(row.keys() == {"number", "kind", "mode", "vid", "vids", "mac", "team", "mtu", "up"} for row in shown["ports"].values())
        for port in module.ports:
            [line] = [line for line in text.splitlines() if line.split()[1:2] == [port.name]][:1]
            assert line.split()[0] == str(port.number)
    assert all(f"  {key}\n" in text for key in found["not_yet_run"])


def test_problems_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(BROKEN)
    done = run("check", path)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [[f"{path}:2", "hosts.h.switches.s.mtu"], [f"{path}:4", "hosts.h.switches.s.ports.p.vlan.vid"]]
    found = run("check", path, "--json")
    assert (found.returncode, found.stderr) == (1, "")
    problems = json.loads(found.stdout)["problems"]
    assert [(problem["line"], problem["key"], problem["value"]) for problem in problems] == [
        (2, "hosts.h.switches.s.mtu", 12), (4, "hosts.h.switches.s.ports.p.vlan.vid", 4096),
    ]  # fmt: skip
    assert all(problem["message"] in line for problem, line in zip(problems, lines, strict=True))


def test_the_schema() -> None:
    from vsw.config import json_schema

    assert json.loads(good("check", "--schema")) == json_schema()


@pytest.mark.parametrize("arguments", [("check",), ("nonsense",), ("replay",), ("check", "--nonsense")], ids=" ".join)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_version_and_help() -> None:
    assert good("--version").startswith("vsw ")
    for command in ((), ("replay",), ("explain",), ("check",)):
        text = good(*command, "--help")
        assert "Examples:\n" in text
        assert f"vsw {command[0] if command else 'check'} lab.toml" in text
    assert process("--help").stdout.startswith("Usage: vsw ")


def test_a_command_behind_two_hyphens() -> None:
    topology = ROOT / "examples/two-vlans.toml"
    assert process("--", "check", topology).stdout == process("check", topology).stdout != ""
    assert process("--", "replay").returncode == 2


def test_the_overview_says_what_all_commands_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", environment()["COLUMNS"])
    assert sorted(process("--help").stdout.splitlines()) == sorted(good("--help").splitlines())  # groups come last where all is ready


def test_help_waits_for_nothing_heavy() -> None:
    program = (
        "import sys; from vsw.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'numpy', 'pydantic', 'rich', 'dpkt', 'zstandard', 'asyncio'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_waits_for_its_own_needs_only(tmp_path: Path) -> None:
    program = (
        "import sys; from vsw.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end\n"
        "print(sorted({'numpy', 'rich', 'dpkt', 'vsw.cli.disk', 'vsw.cli.replay'} & set(sys.modules)))"
    )
    arguments = ["tag", "push", "--vid", "10", str(CAPTURE), str(tmp_path / "out.pcapng")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=environment(), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_names_that_the_terminal_can_not_show(tmp_path: Path) -> None:
    path = tmp_path / "names.toml"
    path.write_text('[hosts.h.switches.s]\ndialect = "ovs"\n[hosts.h.switches.s.ports]\n"[bold]\\u00fc" = {}\n')
    assert "[bold]\u00fc" in good("check", path)
    plain = {**environment(), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    words = [sys.executable, "-m", "vsw", "check", path]
    done = subprocess.run([*words, "--json"], env=plain, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    table = subprocess.run(words, env=plain, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (table.returncode, table.stderr) == (0, "")
    assert "[bold]\\xfc" in table.stdout
