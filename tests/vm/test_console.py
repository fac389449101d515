"""The console in a terminal, with a machine played by a socket."""

from __future__ import annotations

import os
import socket
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from vsw.vm import console


class Machine:
    """Somebody at the other end of a console."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(str(path))
        self.listening.listen(1)
        self.listening.settimeout(PATIENCE)
        self.ended: list[str] = []

    def attach(self, read: int, write: int) -> socket.socket:
        """Begin a session in a thread; the machine's end of it."""
        self.thread = threading.Thread(target=lambda: self.ended.append(console.attach(self.path, read, write)))
        self.thread.start()
        end, _ = self.listening.accept()
        end.settimeout(PATIENCE)
        return end

    def end(self) -> str:
        self.thread.join(PATIENCE)
        (how,) = self.ended
        return how


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "console.sock")
    yield made
    made.listening.close()


def read(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(fd, count - len(data))
    return data


def test_pipes(machine: Machine) -> None:
    typed, keyboard = os.pipe()
    screen, shown = os.pipe()
    end = machine.attach(typed, shown)
    os.write(keyboard, b"ls\x1d\n")  # no terminal: Ctrl-] is a byte like others
    assert end.recv(100) == b"ls\x1d\n"
    end.sendall(b"bin dev\n")
    assert read(screen, 8) == b"bin dev\n"
    os.close(keyboard)
    end.sendall(b"late\n")
    end.close()
    assert machine.end() == "end"
    os.close(shown)
    assert os.read(screen, 100) == b"late\n"
    for fd in (typed, screen):
        os.close(fd)


def test_a_file_is_typed_whole(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "commands").write_bytes(b"x" * 100_000)
    with (tmp_path / "commands").open("rb") as file, (tmp_path / "out").open("wb") as out:
        end = machine.attach(file.fileno(), out.fileno())
        data = b""
        while len(data) < 100_000:
            data += end.recv(1 << 16)
        end.sendall(b"done")
        end.close()
        assert machine.end() in {"end", "closed"}
    assert data == b"x" * 100_000
    assert (tmp_path / "out").read_bytes() == b"done"


def test_a_terminal_is_raw_until_it_is_left(machine: Machine) -> None:
    user, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    end = machine.attach(terminal, terminal)
    os.write(user, b"\x03ab")  # Ctrl-C goes to the guest
    assert end.recv(100) == b"\x03ab"
    assert not termios.tcgetattr(terminal)[3] & termios.ISIG
    os.write(user, b"cd\x1def")
    assert machine.end() == "left"
    assert end.recv(100) == b"cd"
    assert end.recv(100) == b""
    assert termios.tcgetattr(terminal) == before
    for fd in (user, terminal):
        os.close(fd)
    end.close()


def test_the_machine_ends(machine: Machine) -> None:
    typed, keyboard = os.pipe()
    end = machine.attach(typed, keyboard)
    end.close()
    assert machine.end() == "closed"
    for fd in (typed, keyboard):
        os.close(fd)
