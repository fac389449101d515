"""A machine's life as a process: start QEMU, find it again, stop it.

Whoever starts a machine need not stay: QEMU has a session of its own and outlives the program that started it, also one that is killed.  What
is known of a running machine is in its folder (:mod:`vsw.vm.place`).  QEMU inherits the lock there: the lock says whether it lives, whatever
the notes say.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsw.errors import UsageError
from vsw.vm.place import check_socket, vm_folder
from vsw.vm.qemu import PROGRAM, Machine, QemuError, command, version
from vsw.vm.qmp import PATIENCE, execute, talk

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

MONITOR, CONSOLE, STATE, LOCK = "monitor.sock", "console.sock", "state.json", "lock"
CONSOLE_LOG, QEMU_LOG = "console.log", "qemu.log"
#: Seconds that a guest gets to shut down, and QEMU to end by itself after that.
SHUTDOWN, QUIT = 30.0, 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """The notes on a machine that was started.

    ``born`` (clock ticks since the system's start) tells its process from a later one of the same number; ``started`` is in seconds since the epoch.
    """

    name: str
    topology: str
    host: str
    pid: int
    born: int
    accel: str
    memory: int
    cpus: int
    started: float
    cards: list[dict[str, Any]]
    command: list[str]


def start(run: Path, machine: Machine, topology: str, cards: list[dict[str, Any]], program: str = PROGRAM) -> Running:
    """Start a machine; when this returns QEMU is up and the guest runs.

    ``cards`` goes into the notes as it is.  :class:`~vsw.errors.UsageError` if the machine runs already,
    :class:`~vsw.vm.qemu.QemuError` if QEMU does not come up, with what it said.
    """
    have = version(program)
    folder = vm_folder(run, machine.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = _lock(folder)
        stack.callback(os.close, lock)
        (folder / STATE).unlink(missing_ok=True)
        monitor = stack.enter_context(_listen(folder / MONITOR))
        console = stack.enter_context(_listen(folder / CONSOLE))
        words = command(machine, monitor.fileno(), console.fileno(), str(folder / CONSOLE_LOG), have, program)
        log = stack.enter_context((folder / QEMU_LOG).open("wb"))
        inherited = (lock, monitor.fileno(), console.fileno())
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True, pass_fds=inherited
        )
    # From here on only QEMU holds the sockets: when it ends, whoever waits for its greeting is told.
    try:
        execute(machine.name, folder / MONITOR, "query-status")
    except BaseException as error:
        process.kill()
        process.wait()
        if isinstance(error, QemuError):
            said = (folder / QEMU_LOG).read_text(errors="replace").strip()
            raise QemuError(f"VM {machine.name}: {said[-2000:]}" if said else str(error)) from None
        raise
    words_of = machine.words
    state = Running(
        name=machine.name, topology=topology, host=words_of.host, pid=process.pid, born=_born(process.pid) or 0, accel=machine.accel,
        memory=words_of.memory, cpus=words_of.cpus, started=time.time(), cards=cards, command=words,
    )  # fmt: skip
    fresh = folder / f".{STATE}"
    fresh.write_text(json.dumps(asdict(state)))
    fresh.replace(folder / STATE)
    _children[process.pid] = (machine.name, process)
    return state


#: Machines that this process started: whoever starts a process has to take notice of its end.
_children: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}


def is_running(run: Path, name: str) -> bool:
    """Whether the machine's QEMU lives."""
    try:
        fd = os.open(vm_folder(run, name) / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def find(run: Path, name: str) -> Running | None:
    """The notes on a machine that runs; ``None`` if it does not."""
    if not is_running(run, name):
        return None
    try:
        return Running(**json.loads((vm_folder(run, name) / STATE).read_text()))
    except (OSError, ValueError, TypeError):
        return None  # it is only just starting, or not this version's


def known(run: Path) -> Iterator[str]:
    """Names of the machines that the run folder knows, running or not."""
    with contextlib.suppress(FileNotFoundError):
        yield from sorted(path.name for path in (run / "vms").iterdir() if (path / LOCK).exists())


def need(run: Path, name: str) -> Running:
    """The notes on a machine; :class:`~vsw.errors.UsageError` if it does not run."""
    found = find(run, name)
    if found is None:
        others = ", ".join(other for other in known(run) if is_running(run, other)) or "none"
        raise UsageError(f"VM {name!r} does not run; running in {run}: {others}")
    return found


def status(run: Path, name: str, seconds: float = 5.0) -> str:
    """``running``, ``paused``, ``shutdown`` ... as QEMU says; ``stopped``; ``busy`` where it does not answer in time."""
    if not is_running(run, name):
        return "stopped"
    try:
        return str(execute(name, vm_folder(run, name) / MONITOR, "query-status", seconds)["status"])
    except QemuError:
        return "busy" if is_running(run, name) else "stopped"


def stop(run: Path, name: str, seconds: float = SHUTDOWN, *, now: bool = False) -> str:
    """Stop a machine, and say how that went.

    ``shut down``: by the guest, within ``seconds``; ``quit``: by QEMU, because the guest did not, or at once with ``now``; ``killed``.
    """
    state = need(run, name)
    folder = vm_folder(run, name)
    pid = _open_process(state)
    if pid is None:
        return "shut down"  # it has gone meanwhile
    try:
        if not now:
            button = _PowerButton(seconds)
            with contextlib.suppress(QemuError):  # the monitor closes when QEMU ends, which may be in the middle of a word
                talk(name, folder / MONITOR, button.press, seconds + PATIENCE)
            if _ended(pid, QUIT if button.obeyed else 0):
                return "shut down"
        with contextlib.suppress(QemuError):
            execute(name, folder / MONITOR, "quit", QUIT)
        if _ended(pid, QUIT):
            return "quit"
        signal.pidfd_send_signal(pid, signal.SIGKILL)
        if not _ended(pid, QUIT):
            raise QemuError(f"VM {name}: process {state.pid} does not end, not even when killed")
        return "killed"
    finally:
        os.close(pid)
        if child := _children.pop(state.pid, None):
            child[1].wait()
        (folder / STATE).unlink(missing_ok=True)


def press_power_button(run: Path, name: str) -> None:
    """Ask the guest to shut down, and do not wait for it."""
    execute(name, vm_folder(run, name) / MONITOR, "system_powerdown")


class _PowerButton:
    """Asks the guest to shut down, and waits until it does or the time is over; ``obeyed`` says which."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.obeyed = False

    async def press(self, client: QMPClient) -> None:
        """Talk with QEMU."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                with client.listener("SHUTDOWN") as shutdown:
                    await client.execute("system_powerdown")
                    await shutdown.get()
                    self.obeyed = True


def reap() -> list[str]:
    """Names of machines of this process that have ended since it asked last."""
    ended = []
    for pid, (name, child) in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
            ended.append(name)
    return ended


def _lock(folder: Path) -> int:
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(f"VM {folder.name!r} runs already ({folder}); vsw vm stop {folder.name} ends it") from None
    return fd


def _listen(path: Path) -> socket.socket:
    """A listening socket at ``path``, which nobody else has: the lock is held."""
    check_socket(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(path))
        listening.listen(4)
    except BaseException:
        listening.close()
        raise
    return listening


def _born(pid: int) -> int | None:
    """When a process began (clock ticks); ``None`` if there is none."""
    try:
        # The second field is the program's name in parentheses, which may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _open_process(state: Running) -> int | None:
    try:
        pid = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return None
    if _born(state.pid) != state.born:
        os.close(pid)
        return None
    return pid


def _ended(pid: int, seconds: float) -> bool:
    ready, _, _ = select.select([pid], [], [], seconds)
    return bool(ready)
