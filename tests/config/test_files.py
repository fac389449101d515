"""Files that can't be read, the lab as an object, the JSON schema, and what an import costs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import vsw
from vsw.config import json_schema, unused
from vsw.config.models import Topology, Words

TOPOLOGY = "[hosts.h.switches.s]\nports.a = {}\n"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a = \"\xff\"", 1, "is not UTF-8 (byte 5 of the file: 0xff)"),
        (b"# \n\n\xc3", 3, "is not UTF-8 (byte 4 of the file: 0xc3)"),
        (TOPOLOGY.encode("utf-16"), 1, "is not UTF-8 (byte 0 of the file: 0xff)"),
        (b"a\x00b = 1", 1, "column 2: not TOML"),
        (b"#" * ((32 << 20) + 1), None, "is longer than a topology may be (32 MiB)"),
    ],
    ids=["bytes", "end", "utf-16", "nul", "long"],
)
def test_what_is_no_topology(tmp_path: Path, content: bytes, line: int | None, message: str) -> None:
    path = tmp_path / "lab.toml"
    path.write_bytes(content)
    with pytest.raises(vsw.ConfigError) as caught:
        vsw.load(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key) == (str(path), line, "")
    assert message in problem.message


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory"), (tmp_path / "a\0b", "null byte")):
        with pytest.raises(vsw.ConfigError, match=message) as caught:
            vsw.load(path)
        assert caught.value.problems[0].file == str(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(TOPOLOGY)
    path.chmod(0)
    with pytest.raises(vsw.ConfigError, match="Permission denied"):
        vsw.load(path)


@pytest.mark.parametrize("content", [TOPOLOGY, "\ufeff" + TOPOLOGY, TOPOLOGY.replace("\n", "\r\n")], ids=["plain", "byte-order-mark", "crlf"])
def test_a_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(content, newline="")
    lab = vsw.load(str(path))
    assert lab.module().name == "h/s"
    assert lab.file == str(path)


def test_a_lab_can_be_sent_to_another_process() -> None:
    lab = vsw.loads(TOPOLOGY)
    assert pickle.loads(pickle.dumps(lab)) == lab


def test_the_topology_is_kept_as_it_was_written() -> None:
    text = "[hosts.h.switches.s]\nports.a = { mac = '0200.0000.0001', vlan = { mode = 'trunk', vids = [12, 10, 11] } }\n"
    dumped = vsw.loads(text).topology.model_dump(exclude_unset=True)
    assert dumped["hosts"]["h"]["switches"]["s"]["ports"]["a"] == {"mac": "02:00:00:00:00:01", "vlan": {"mode": "trunk", "vids": "10-12"}}
    assert Topology.model_validate(dumped) == vsw.loads(text).topology


def test_the_topology_is_frozen() -> None:
    topology = vsw.loads(TOPOLOGY).topology
    with pytest.raises(ValueError, match="frozen"):
        topology.hosts["h"].switches["s"].mtu = 9000  # type: ignore[misc]


def test_nothing_unused_where_everything_is_used() -> None:
    assert unused(vsw.loads(TOPOLOGY).topology) == []


def test_every_section_is_in_the_schema_and_described() -> None:
    schema = json_schema()
    json.dumps(schema)
    assert set(schema["properties"]) == {"oui", "mac_file", "hosts", "profiles", "vms", "supervisor", "modules"}
    switch = schema["$defs"]["SwitchWords"]
    assert switch["additionalProperties"] is False
    assert switch["properties"]["dialect"]["enum"] == ["vsw", "vss", "ovs"]
    assert "Seconds" in switch["properties"]["age"]["description"]
    assert "not yet run" in schema["properties"]["modules"]["description"]


def test_every_model_is_frozen_and_strict() -> None:
    models = Words.__subclasses__()
    for model in models:
        models.extend(model.__subclasses__())
        assert model.__doc__, model
        assert (model.model_config["frozen"], model.model_config["extra"], model.model_config["strict"]) == (True, "forbid", True)
    assert Topology in models


def test_importing_vsw_does_not_import_the_models() -> None:
    code = "import sys, vsw, vsw.config.module; print([name for name in ('pydantic', 'numpy', 'vsw.config.models') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["vsw", "vsw.config"])
def test_every_public_name_can_be_had(package: str) -> None:
    module = sys.modules[package]
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing
