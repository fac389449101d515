"""``vsw disk serve``: disks over NBD, iSCSI and vhost-user, until somebody stops it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socketpair
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli import completing
from vsw.cli.disk_open import ALLOW_HELP, BACKING_FORMAT_HELP, chosen_format, open_image
from vsw.cli.ending import complain, ends_well
from vsw.cli.sizes import size_text
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.disk.blocks import Blocks
    from vsw.disk.serve.serving import Disk, Iscsi, Nbd, Serving, VhostUser

FILES_HELP = "Images, or one topology (.toml): then the disks of its VM --vm."
SOCKET_HELP = "The unix socket of NBD; only its owner may connect. Default: the first image's, or the VM's, name with .sock."
NBD_PORT_HELP = "Serve NBD on this TCP port, with or without --socket; 10809 is usual, 0 lets the system choose."
PORT_HELP = "The TCP port of iSCSI; 0 lets the system choose."
LISTEN_HELP = "The address of all TCP ports. Others than the loopback interface let everybody who reaches them in, but for --chap."
CHAP_HELP = "Ask initiators for the secret in this TOML file: [chap] and perhaps [mutual], each with name and secret; readable by its owner only."
DIRECT_HELP = "Read and write past the host's page cache (O_DIRECT; raw images)."
BLK_HELP = "Serve a disk to a guest as virtio-blk on this unix socket: the first disk, the next one if given again, and so on."
SCSI_HELP = "Serve all disks to a guest as a virtio-scsi controller's, LUNs from 0, on this unix socket."
SERIAL_HELP = "The serial number that initiators see, one for each image in their order. Default: of the name."
FORMAT_HELP = "Of all images: raw or qcow2. Default: by the name, .qcow2 or else raw; never by what is in it."
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@ends_well
def serve(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=FILES_HELP, show_default=False)],
    nbd: Annotated[bool, typer.Option("--nbd", help="Serve over NBD; so it is if nothing is said.")] = False,
    socket: Annotated[Path | None, typer.Option("--socket", metavar="PATH", help=SOCKET_HELP)] = None,
    nbd_port: Annotated[int | None, typer.Option(min=0, max=65535, help=NBD_PORT_HELP)] = None,
    iscsi: Annotated[bool, typer.Option("--iscsi", help="Serve over iSCSI: each disk a LUN from 0.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help=PORT_HELP + " Default: 3260.", show_default=False)] = None,
    listen: Annotated[str, typer.Option(metavar="ADDRESS", help=LISTEN_HELP)] = "127.0.0.1",
    target: Annotated[str | None, typer.Option(metavar="IQN", help="The target's iSCSI name. Default: made of the name.")] = None,
    chap: Annotated[Path | None, typer.Option(metavar="FILE", help=CHAP_HELP)] = None,
    vhost_user_blk: Annotated[list[Path] | None, typer.Option(metavar="SOCKET", help=BLK_HELP)] = None,
    vhost_user_scsi: Annotated[Path | None, typer.Option(metavar="SOCKET", help=SCSI_HELP)] = None,
    vm: Annotated[str | None, typer.Option(metavar="NAME", help="Whose disks, with a topology.", autocompletion=completing.machines)] = None,
    image_format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=FORMAT_HELP, autocompletion=completing.formats)] = None,
    backing_format: Annotated[str | None, typer.Option(metavar="FORMAT", help=BACKING_FORMAT_HELP, autocompletion=completing.formats)] = None,
    allow: Annotated[list[Path] | None, typer.Option(metavar="DIR", help=ALLOW_HELP)] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every change; several may then serve a file.")] = False,
    direct_io: Annotated[bool, typer.Option("--direct-io", help=DIRECT_HELP)] = False,
    block_size: Annotated[int, typer.Option(help="512 or 4096 bytes, as SCSI shows it.")] = 512,
    removable: Annotated[bool, typer.Option("--removable", help="SCSI initiators may eject the medium.")] = False,
    serial: Annotated[list[str] | None, typer.Option(metavar="TEXT", help=SERIAL_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output as soon as clients can connect.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell of clients that come and go.")] = False,
) -> int:
    """Serve disks until Ctrl-C or SIGTERM, which end it in order: what has arrived is done, and the disks are flushed.

    \b
    Examples:
      vsw disk serve web.img
      vsw disk serve web.img --nbd --socket web.sock --iscsi --port 3260
      vsw disk serve a.img b.img --iscsi --listen 192.0.2.1 --chap secrets.toml
      vsw disk serve lab.toml --vm web1 --nbd --socket web1.sock
      vsw disk serve a.img b.qcow2 --vhost-user-blk a.sock --vhost-user-blk b.sock
      vsw disk serve a.img b.qcow2 --vhost-user-scsi web1.sock
    """
    from vsw.disk.serve.serving import Serving  # noqa: PLC0415

    logging.basicConfig(format="%(message)s", level=logging.INFO if verbose else logging.WARNING)
    with _signals() as wait:
        with contextlib.ExitStack() as opened:
            if vm is not None:
                if direct_io:
                    raise UsageError("--direct-io is for images, not with --vm")
                name, disks = _of_vm(files, vm, opened)
            else:
                words = {"read_only": read_only, "block_size": block_size, "removable": removable}
                images = [_open(file, image_format, backing_format, allow, read_only, direct_io, opened) for file in files]
                name, disks = str(files[0].with_suffix("")), _named(files, images, words)
            disks = _with_serials(disks, serial or [])
            to_guests = _vhost_user(vhost_user_blk, vhost_user_scsi)
            over_nbd = _nbd(name, nbd, socket, nbd_port, listen, iscsi or to_guests is not None)
            over_iscsi = _iscsi(name, iscsi, port, listen, target, chap)
            serving = Serving(disks, over_nbd, over_iscsi, to_guests)
            opened.pop_all()  # they are Serving's to close now
        with serving:
            _tell(serving, as_json)
            wait()
    return 0


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], None]]:
    """Gives a function that waits for a signal that means the end; one that comes before it is called counts too.

    From then on a further one ends the process as usual, also where a disk takes long to flush.
    """
    came: list[int] = []
    ours, theirs = socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        # Threads of libraries take signals too, and that does not end a wait of this one; the descriptor does.
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in END_SIGNALS}

        def restore() -> None:
            for number, handler in handlers.items():
                signal.signal(number, handler)

        def wait() -> None:
            while not came:
                ours.recv(64)
            restore()

        try:
            yield wait
        finally:
            restore()
            signal.set_wakeup_fd(before)


def _open(
    file: Path,
    image_format: str | None,
    backing_format: str | None,
    allow: list[Path] | None,
    read_only: bool,
    direct_io: bool,
    opened: contextlib.ExitStack,
) -> Blocks:
    if file.suffix == ".toml":
        raise UsageError("a topology is served alone, and with --vm")
    chosen = chosen_format(file, image_format)
    if direct_io and chosen != "raw":
        raise UsageError(f"--direct-io is for raw images, and {file} is {chosen}")
    more = {"direct_io": True} if direct_io else {}
    image = open_image(file, chosen, read_only=read_only, allow=allow, backing_format=backing_format, **more)
    return opened.enter_context(image)


def _named(files: list[Path], images: list[Blocks], words: dict[str, Any]) -> list[Disk]:
    """The images under the names of their files; a name that is taken gets a number."""
    from vsw.disk.serve.serving import Disk, serial_of  # noqa: PLC0415

    disks: dict[str, Disk] = {}
    for file, blocks in zip(files, images, strict=True):
        name = file.stem
        number = 1
        while name in disks:
            number += 1
            name = f"{file.stem}-{number}"
        store = None if words["read_only"] else file.with_name(f"{file.name}.reservations")
        disks[name] = Disk(name, blocks, serial_of(name), str(file), store=store, **words)
    return list(disks.values())


def _of_vm(files: list[Path], vm: str, opened: contextlib.ExitStack) -> tuple[str, list[Disk]]:
    from vsw.config.load import load  # noqa: PLC0415
    from vsw.disk.serve.attach import open_disk  # noqa: PLC0415
    from vsw.disk.serve.serving import Disk, serial_of  # noqa: PLC0415

    if len(files) != 1:
        raise UsageError(f"--vm needs one topology (found {len(files)} files)")
    lab = load(files[0])
    machine = lab.topology.vms.get(vm)
    if machine is None or not machine.disks:
        others = ", ".join(name for name, one in lab.topology.vms.items() if one.disks) or "none"
        raise UsageError(f"{files[0]} has no VM {vm!r} with disks; it has {others}")
    disks = []
    for number, words in enumerate(machine.disks):
        file = files[0].parent / words.file
        blocks = opened.enter_context(open_disk(words, files[0].parent))
        name = f"{vm}.{number}"
        store = None if words.readonly else file.with_name(f"{file.name}.reservations")
        disks.append(Disk(name, blocks, serial_of(name), str(file), words.readonly, words.block_size, store=store))
    return vm, disks


def _with_serials(disks: list[Disk], serials: list[str]) -> list[Disk]:
    from dataclasses import replace  # noqa: PLC0415

    if len(serials) not in (0, len(disks)):
        raise UsageError(f"--serial is given once for each of the {len(disks)} disks, or not at all (found {len(serials)})")
    return [replace(disk, serial=serial) for disk, serial in zip(disks, serials, strict=True)] if serials else disks


def _nbd(name: str, wanted: bool, socket: Path | None, port: int | None, listen: str, otherwise: bool) -> Nbd | None:
    """NBD, unless disks are served ``otherwise`` and nothing is said of it."""
    from vsw.disk.serve.serving import Nbd  # noqa: PLC0415

    if not wanted and otherwise and socket is None and port is None:
        return None
    unix = socket if socket is not None or port is not None else Path(f"{name}.sock")
    return Nbd(unix, () if port is None else ((listen, port),))


def _iscsi(name: str, wanted: bool, port: int | None, listen: str, target: str | None, chap: Path | None) -> Iscsi | None:
    from vsw.disk.serve.iscsi import DEFAULT_PORT  # noqa: PLC0415
    from vsw.disk.serve.serving import Iscsi, read_secrets, target_name  # noqa: PLC0415

    if not wanted:
        given = [word for word, value in (("--port", port), ("--target", target), ("--chap", chap)) if value is not None]
        if given:
            raise UsageError(f"{given[0]} belongs to --iscsi")
        return None
    secret, mutual = (None, None) if chap is None else read_secrets(chap)
    if secret is None and listen not in ("127.0.0.1", "::1", "localhost"):
        complain(f"everybody who reaches {listen} may write the disks; --chap asks for a secret", "Warning")
    return Iscsi(target or target_name(Path(name).name), ((listen, DEFAULT_PORT if port is None else port),), secret, mutual)


def _vhost_user(blk: list[Path] | None, scsi: Path | None) -> VhostUser | None:
    from vsw.disk.serve.serving import VhostUser  # noqa: PLC0415

    return VhostUser(tuple(blk or ()), scsi) if blk or scsi is not None else None


def qemu_words(serving: Serving) -> list[str]:
    """QEMU's arguments for a guest on our vhost-user sockets; its memory must be shared besides."""
    from vsw.vm.qemu import keyval  # noqa: PLC0415

    words = []
    for lun, one in enumerate(serving.blk):
        words += ["-chardev", keyval("socket", id=f"blk{lun}", path=one.path, reconnect=1)]
        words += ["-device", keyval("vhost-user-blk-pci", chardev=f"blk{lun}")]
    if serving.scsi is not None:
        words += ["-chardev", keyval("socket", id="scsi0", path=serving.scsi.path), "-device", keyval("vhost-user-scsi-pci", chardev="scsi0")]
    return words


def _tell(serving: Serving, as_json: bool) -> None:
    if as_json:
        print(json.dumps(as_object(serving), ensure_ascii=False), flush=True)
        return
    for lun, disk in enumerate(serving.disks):
        access = ", read-only" if disk.read_only else ""
        print(f"{disk.file}: {disk.blocks.format}, {size_text(disk.blocks.size)}{access}")
        for url in serving.urls(lun):
            print(f"  {url}")
    if words := qemu_words(serving):
        print(f"QEMU, with shared memory: {shlex.join(words)}")
    print("Ctrl-C ends it." if sys.stdin.isatty() else f"kill {os.getpid()} ends it.", flush=True)


def as_object(serving: Serving) -> dict[str, Any]:
    """What ``--json`` prints: ``pid``, ``target`` (null without iSCSI), ``disks`` [{``file``, ``format``, ``size``, ``read_only``, ``serial``,
    ``export``, ``lun``, ``urls``, ``vhost_user_blk`` (a socket, or null)}], ``vhost_user_scsi`` (a socket, or null), ``qemu`` (arguments)."""
    disks = [
        {
            "file": disk.file,
            "format": disk.blocks.format,
            "size": disk.blocks.size,
            "read_only": disk.read_only,
            "serial": disk.serial,
            "export": disk.name,
            "lun": lun,
            "urls": serving.urls(lun),
            "vhost_user_blk": str(serving.blk[lun].path) if lun < len(serving.blk) else None,
        }
        for lun, disk in enumerate(serving.disks)
    ]
    scsi = None if serving.scsi is None else str(serving.scsi.path)
    return {"pid": os.getpid(), "target": serving.target or None, "disks": disks, "vhost_user_scsi": scsi, "qemu": qemu_words(serving)}
