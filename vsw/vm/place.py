"""Where what runs leaves its sockets and notes: one folder, called the run folder, for everything of one host.

``vms/NAME/`` in it belongs to one virtual machine: ``lock`` (held by QEMU as long as it lives), ``state.json``, ``monitor.sock`` (QMP),
``console.sock``, ``console.log`` (all that the guest wrote since its start), ``qemu.log`` (what QEMU complained about), ``disks.sock``, and
``nicN.sock``, QEMU's own end of a card that is attached by dgram.  ``HOST/SWITCH/PORT.sock`` is a switch port's socket, ``HOST/CARD.sock`` that
of the wire to a card that is passed through.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from vsw.errors import UsageError

#: Bytes of a unix socket's path, without the zero at its end.
MAX_SOCKET = 107


def run_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder that was given, else that of ``VSW_RUN_DIR``, else ``vsw`` in the user's run-time folder (root: ``/run/vsw``)."""
    if given is not None:
        return Path(given).absolute()
    if named := os.environ.get("VSW_RUN_DIR"):
        return Path(named).absolute()
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "vsw"
    if os.geteuid() == 0:
        return Path("/run/vsw")
    return Path(tempfile.gettempdir()) / f"vsw-{os.geteuid()}"


def check_socket(path: Path) -> Path:
    """The path of a socket; :class:`~vsw.errors.UsageError` if the system can't take it."""
    if (length := len(os.fsencode(path))) > MAX_SOCKET:
        raise UsageError(f"{path}: the path of a unix socket has at most {MAX_SOCKET} bytes, this one has {length}; choose a shorter run folder")
    return path


def port_socket(run: Path, host: str, switch: str, port: str) -> Path:
    """The socket that a switch's port listens on."""
    return check_socket(run / host / switch / f"{port}.sock")


def wire_socket(run: Path, host: str, card: str) -> Path:
    """The socket that the wire to a physical card listens on, for the one machine that the card is passed through to."""
    return check_socket(run / host / f"{card}.sock")


def card_socket(run: Path, name: str, index: int) -> Path:
    """QEMU's own end of a machine's card, where it is attached by dgram."""
    return check_socket(vm_folder(run, name) / f"nic{index}.sock")


def vm_folder(run: Path, name: str) -> Path:
    """The folder of one machine."""
    return run / "vms" / name
