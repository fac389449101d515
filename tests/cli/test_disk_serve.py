"""``vsw disk serve``, as a process: what it prints, who gets in, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import command, environment, run
from tests.disk.initiator import Initiator, read_16, write_16
from tests.disk.nbd_client import Client
from tests.disk.test_vhost_user import IO_ERROR, OUT
from tests.disk.test_vhost_user import Disk as VirtioBlk
from tests.disk.test_vhost_user import Host as VirtioScsi
from tests.patience import PATIENCE
from vsw.disk.blocks import create_blocks, open_blocks
from vsw.disk.serve.vhost_user import READ_ONLY

SIZE = 1 << 20
SECRET = "a secret of some length"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name, since the names of unix sockets are; with two disks."""
    with tempfile.TemporaryDirectory() as name:
        for disk in ("a.img", "b.img"):
            create_blocks(Path(name) / disk, SIZE).close()
        yield Path(name)


@contextmanager
def serving(place: Path, *arguments: object, end: int = signal.SIGTERM, code: int = 0, said: str = "") -> Iterator[dict[str, Any]]:
    """The process and what it printed with ``--json``; ended by a signal afterwards, when it must end well."""
    words = command("disk", "serve", *arguments, "--json")
    with subprocess.Popen(words, cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield json.loads(line)
        finally:
            process.send_signal(end)
            _, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
        assert ((said in error) if said else not error), error


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nbd_on_a_unix_socket_by_default(place: Path, end: int) -> None:
    with serving(place, "a.img", end=end) as told:
        disk = told["disks"][0]
        assert disk == {
            "file": "a.img", "format": "raw", "size": SIZE, "read_only": False, "serial": "a", "export": "a", "lun": 0,
            "urls": ["nbd+unix:///a?socket=a.sock"], "vhost_user_blk": None,
        }  # fmt: skip
        assert (told["vhost_user_scsi"], told["qemu"]) == (None, [])
        assert told["target"] is None
        with Client(str(place / "a.sock")) as client:
            client.go("a")
            client.write(512, b"kept")
    assert not (place / "a.sock").exists()
    with open_blocks(place / "a.img") as blocks:
        assert blocks.read(512, 4) == b"kept"


def test_both_transports_reach_the_same_disks(place: Path) -> None:
    everywhere = ("--nbd", "--socket", "s", "--nbd-port", 0, "--iscsi", "--port", 0)
    with serving(place, "a.img", "b.img", *everywhere, "--serial", "x1", "--serial", "x2") as told:
        assert [disk["serial"] for disk in told["disks"]] == ["x1", "x2"]
        unix, tcp, iscsi = told["disks"][1]["urls"]
        assert unix == "nbd+unix:///b?socket=s"
        assert tcp.startswith("nbd://127.0.0.1:")
        assert iscsi.endswith(f"/{told['target']}/1")
        port = int(iscsi.split(":")[2].split("/")[0])
        with Client(("127.0.0.1", int(tcp.split(":")[2].split("/")[0]))) as client:
            client.go("b")
            with Initiator(("127.0.0.1", port), told["target"]).login() as initiator:
                initiator.command(bytes(6), lun=1)
                assert initiator.command(write_16(3, 1), write=b"scsi" * 128, lun=1).status == 0
                assert client.read(3 * 512, 512) == b"scsi" * 128
                client.write(0, b"nbd." * 128)
                assert initiator.command(read_16(0, 1), read=512, lun=1).data == b"nbd." * 128


def test_a_qcow2_image_over_its_base(place: Path) -> None:
    """The base lies where --allow says, else it is refused."""
    (place / "bases").mkdir()
    (place / "images").mkdir()
    with create_blocks(place / "bases" / "base.qcow2", SIZE, "qcow2") as base:
        base.write(0, b"from the base")
    over = {"backing": "../bases/base.qcow2", "backing_format": "qcow2", "backing_directories": [str(place / "bases")]}
    create_blocks(place / "images" / "web.qcow2", SIZE, "qcow2", **over).close()
    refused = run("disk", "serve", place / "images" / "web.qcow2")
    assert (refused.returncode, "outside of the allowed directories" in refused.stderr) == (1, True), refused.stderr
    with serving(place, "images/web.qcow2", "--allow", "bases") as told:
        assert (told["disks"][0]["format"], told["disks"][0]["urls"]) == ("qcow2", ["nbd+unix:///web?socket=images/web.sock"])
        with Client(str(place / "images" / "web.sock")) as client:
            client.go("web")
            assert client.read(0, 13) == b"from the base"
            client.write(0, b"over")
    with open_blocks(place / "bases" / "base.qcow2", "qcow2") as base:
        assert base.read(0, 13) == b"from the base"


def test_two_images_of_one_name(place: Path) -> None:
    (place / "other").mkdir()
    create_blocks(place / "other" / "a.img", SIZE).close()
    with serving(place, "a.img", "other/a.img", "--socket", "s") as told:
        assert [(disk["export"], disk["serial"]) for disk in told["disks"]] == [("a", "a"), ("a-2", "a-2")]


def test_read_only_disks(place: Path) -> None:
    with serving(place, "a.img", "--read-only", "--socket", "1") as one, serving(place, "a.img", "--read-only", "--socket", "2"):
        assert one["disks"][0]["read_only"]
        with Client(str(place / "1")) as client:
            client.go("a")
            assert client.flags & 2


def test_a_file_in_use_and_a_socket_in_use_are_said_so(place: Path) -> None:
    with serving(place, "a.img", "--socket", "s"):
        taken = run("disk", "serve", place / "a.img", "--socket", place / "t")
        assert (taken.returncode, "a.img: in use" in taken.stderr) == (1, True)
        served = run("disk", "serve", place / "b.img", "--socket", place / "s")
        assert (served.returncode, "another process serves there" in served.stderr) == (1, True)
        open_blocks(place / "b.img").close()


def test_what_a_killed_server_left_is_replaced(place: Path) -> None:
    with serving(place, "a.img", end=signal.SIGKILL, code=-signal.SIGKILL):
        pass
    assert (place / "a.sock").is_socket()
    with serving(place, "a.img"), Client(str(place / "a.sock")) as client:
        client.go("a")


def test_chap_from_a_file(place: Path) -> None:
    secrets = place / "secrets.toml"
    secrets.write_text(f'[chap]\nname = "host1"\nsecret = "{SECRET}"\n')
    secrets.chmod(0o600)
    words = ("--iscsi", "--port", 0, "--chap", secrets, "--target", "iqn.2026-01.example.lab:a")
    with serving(place, "a.img", *words, said="refused (0201): CHAP") as told:
        address = ("127.0.0.1", int(told["disks"][0]["urls"][0].split(":")[2].split("/")[0]))
        with Initiator(address, told["target"]) as initiator:
            assert initiator.login_chap("host1", SECRET)[0] == 0
        with Initiator(address, told["target"]) as initiator:
            assert initiator.login_chap("host1", "another secret")[0] == 0x0201
        assert SECRET not in Path(f"/proc/{told['pid']}/cmdline").read_text()


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (f'[chap]\nname = "x"\nsecret = "{SECRET}"', 0o644, "chmod 600"),
        (f'[chap]\nname = "x"\nsecret = "{SECRET}', 0o600, "not a TOML file"),
        ("", 0o600, "a table \\[chap\\] is needed"),
        (f'[chap]\nname = "x"\nsecret = "{SECRET}"\n[more]', 0o600, "found chap, more"),
        (f'[chap]\nname = "x"\nsecrets = "{SECRET}"', 0o600, "holds a name and a secret"),
        ('[chap]\nname = "x"\nsecret = "too short"', 0o600, "shorter than 12 bytes"),
    ],
)
def test_bad_secrets_are_refused_and_not_shown(place: Path, text: str, mode: int, message: str) -> None:
    from vsw.disk.serve.serving import read_secrets
    from vsw.errors import UsageError

    secrets = place / "secrets.toml"
    secrets.write_text(text)
    secrets.chmod(mode)
    with pytest.raises(UsageError, match=message) as caught:
        read_secrets(secrets)
    assert SECRET not in str(caught.value)
    assert "too short" not in str(caught.value)


def test_the_disks_of_a_machine(place: Path) -> None:
    (place / "lab.toml").write_text(
        """
        [hosts.h1]
        [vms.web1]
        host = "h1"
        disks = [{ file = "a.img" }, { file = "b.img", readonly = true }, { file = "new.img", size = "2M" }]
        """
    )
    with serving(place, "lab.toml", "--vm", "web1") as told:
        assert [(disk["export"], disk["size"], disk["read_only"]) for disk in told["disks"]] == [
            ("web1.0", SIZE, False), ("web1.1", SIZE, True), ("web1.2", 2 * SIZE, False),
        ]  # fmt: skip
        with Client(str(place / "web1.sock")) as client:
            client.go("web1.2")
            client.write(0, b"x")
    assert run("disk", "serve", place / "lab.toml", "--vm", "web2").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.img"], 1, "No such file"),
        (["a.img", "--port", "3260"], 2, "--port belongs to --iscsi"),
        (["a.img", "--chap", "x"], 2, "--chap belongs to --iscsi"),
        (["a.img", "--serial", "1", "--serial", "2"], 2, "once for each of the 1 disks"),
        (["a.img", "--iscsi", "--port", "0", "--target", "web"], 2, "must look like iqn"),
        (["a.img", "--iscsi", "--port", "0", "--block-size", "1024"], 2, "block size 1024"),
        (["a.img", "--format", "vhd"], 2, "(found 'vhd')"),
        (["lab.toml"], 2, "with --vm"),
        (["a.qcow2", "--direct-io"], 2, "--direct-io is for raw images"),
        (["a.img", "--vhost-user-blk", "1", "--vhost-user-blk", "2"], 2, "2 sockets for virtio-blk, but 1 disks"),
        (["a.img", "--nbd-port", "0", "--listen", "203.0.113.77"], 1, "can't listen on 203.0.113.77"),
    ],
)
def test_bad_usage(place: Path, arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    done = run("disk", "serve", *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    open_blocks(place / "a.img").close()


def test_it_can_be_read_by_people(place: Path) -> None:
    words = command("disk", "serve", "a.img", "--socket", "s")
    with subprocess.Popen(words, cwd=place, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.terminate()
    assert lines == ["a.img: raw, 1 MiB\n", "  nbd+unix:///a?socket=s\n", f"kill {process.pid} ends it.\n"]
    assert process.returncode == 0


def test_guests_over_vhost_user(place: Path) -> None:
    """Two virtio-blk disks and a controller with both: what one wrote the other reads; NBD is not served unless it is asked for."""
    words = ("a.img", "b.img", "--vhost-user-blk", "0.sock", "--vhost-user-blk", "1.sock", "--vhost-user-scsi", "s.sock")
    with serving(place, *words) as told:
        assert [(disk["vhost_user_blk"], disk["urls"]) for disk in told["disks"]] == [("0.sock", []), ("1.sock", [])]
        assert told["vhost_user_scsi"] == "s.sock"
        assert told["qemu"] == [
            "-chardev", "socket,id=blk0,path=0.sock,reconnect=1", "-device", "vhost-user-blk-pci,chardev=blk0",
            "-chardev", "socket,id=blk1,path=1.sock,reconnect=1", "-device", "vhost-user-blk-pci,chardev=blk1",
            "-chardev", "socket,id=scsi0,path=s.sock", "-device", "vhost-user-scsi-pci,chardev=scsi0",
        ]  # fmt: skip
        disk, host = VirtioBlk(place / "1.sock"), VirtioScsi(place / "s.sock")
        disk.write(3, b"guest" + bytes(507))
        host.quiet(1)
        assert host.command("28000000000300000100", rooms=[512], lun=1) == (0, 0, b"", b"guest" + bytes(507))
        disk.close()
        host.close()
    assert list(place.glob("*.sock")) == []
    with open_blocks(place / "b.img") as blocks:
        assert blocks.read(3 * 512, 5) == b"guest"


def test_a_read_only_disk_of_4096_byte_blocks_over_vhost_user(place: Path) -> None:
    with serving(place, "a.img", "--read-only", "--block-size", 4096, "--vhost-user-blk", "v.sock"):
        disk = VirtioBlk(place / "v.sock")
        assert disk.front.features & READ_ONLY
        assert struct.unpack_from("<I", disk.front.config(60), 20)[0] == 4096
        assert disk.request(OUT, 0, [bytes(512)])[0] == IO_ERROR
        disk.close()


def test_past_the_page_cache(place: Path) -> None:
    try:
        open_blocks(place / "a.img", direct_io=True).close()
    except OSError as error:
        pytest.skip(f"no direct I/O in {place}: {error}")
    with serving(place, "a.img", "--direct-io", "--socket", "s") as told, Client(str(place / "s")) as client:
        client.go("a")
        client.write(8192, b"direct" + bytes(4090))
        assert client.read(8192, 4096)[:6] == b"direct"
        process, image = Path(f"/proc/{told['pid']}"), (place / "a.img").resolve()
        (number,) = [link.name for link in (process / "fd").iterdir() if link.exists() and link.resolve() == image]
        assert int((process / "fdinfo" / number).read_text().split("flags:")[1].split()[0], 8) & os.O_DIRECT


def test_a_port_in_use_is_said_so(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run("disk", "serve", place / "a.img", "--iscsi", "--port", other.getsockname()[1])
    assert (done.returncode, "Address already in use" in done.stderr) == (1, True)


def test_reservations_survive_in_a_file_beside_the_disk(place: Path) -> None:
    """REGISTER with APTPL, then another server: the registration is there."""
    for round_ in range(2):
        with serving(place, "a.img", "--iscsi", "--port", 0) as told:
            address = ("127.0.0.1", int(told["disks"][0]["urls"][0].split(":")[2].split("/")[0]))
            with Initiator(address, told["target"]).login() as initiator:
                initiator.command(bytes(6))
                if round_ == 0:
                    keys = bytes(8) + b"registrd" + bytes(4) + b"\1" + bytes(3)
                    assert initiator.command(bytes.fromhex("5f000000000000001800"), write=keys).status == 0
                else:
                    answer = initiator.command(bytes.fromhex("5e000000000000002000"), read=32)
                    assert answer.data[8:16] == b"registrd"
    assert (place / "a.img.reservations").exists()
