"""Hosts: network namespaces of this kernel, each with a TCP/IP stack and tap devices of its own.

A namespace has no name and no file: it belongs to threads of this process, and is gone when they are.  What a thread that has entered it
opens (a socket, a tap, a child process) stays in it; so a host's programs are functions and commands that are submitted to its threads.

A tap device promises no offloads: the stack gives out whole frames, with checksums, and none longer than the MTU allows.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Host:
    """One host: ``cards`` maps the names of its network cards to their MAC addresses."""

    def __init__(self, name: str, cards: dict[str, str], mtu: int = 1500) -> None:
        self.name = name
        self.cards: dict[str, int] = {}
        with ThreadPoolExecutor(1) as founder:
            self._namespace = founder.submit(self._found, cards, mtu).result()
        self._daemons: list[subprocess.Popen[bytes]] = []

    def _found(self, cards: dict[str, str], mtu: int) -> int:
        _check(LIBC.unshare(CLONE_NEWNET))
        # Addresses come from the MAC and from nothing that is drawn at random; no stray addresses on cards that are down.
        for setting, value in (
            ("ipv6/conf/default/addr_gen_mode", "0"), ("ipv6/conf/default/use_tempaddr", "0"), ("ipv4/conf/all/arp_ignore", "1"),
            ("ipv4/ping_group_range", "0 2147483647"), ("ipv4/icmp_ratelimit", "0"), ("ipv6/icmp/ratelimit", "0"),
        ):  # fmt: skip
            Path("/proc/sys/net", setting).write_text(value)
        for card, mac in cards.items():
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", card.encode(), IFF_TAP | IFF_NO_PI))
            subprocess.run(["ip", "link", "set", card, "address", mac, "mtu", str(mtu)], check=True)
            self.cards[card] = file
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def start(self, program: Callable[..., T], *arguments: object) -> Future[T]:
        """Begin to run a function on this host.  Servers that are still at it do not hold up the end of the recording."""
        outcome: Future[T] = Future()

        def enter_and_run() -> None:
            try:
                _check(LIBC.setns(self._namespace, CLONE_NEWNET))
                outcome.set_result(program(*arguments))
            except BaseException as failure:
                outcome.set_exception(failure)

        threading.Thread(target=enter_and_run, name=f"{self.name}: {program.__name__}", daemon=True).start()
        return outcome

    def run(self, program: Callable[..., T], *arguments: object) -> T:
        """Run a function on this host, to its end."""
        return self.start(program, *arguments).result(timeout=120)

    def command(self, *words: str, check: bool = True) -> str:
        """Run a command on this host; its output."""
        return self.run(lambda: subprocess.run(words, check=check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, text=True).stdout)

    def daemon(self, *words: str) -> None:
        """Start a program that runs until the end."""
        quiet = subprocess.DEVNULL
        self._daemons.append(self.run(lambda: subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet)))

    def setting(self, name: str, value: str) -> None:
        """Write one of the stack's settings: ``ipv4/ip_forward``."""
        self.run(lambda: Path("/proc/sys/net", name).write_text(value))

    def up(self, card: str, *addresses: str) -> None:
        """Switch a card on, with these addresses (``address/prefix length``)."""
        self.command("ip", "link", "set", card, "up")
        for address in addresses:
            self.command("ip", "address", "add", address, "dev", card)

    def close(self) -> None:
        """End its daemons, and take out its cards."""
        for daemon in self._daemons:
            daemon.terminate()
        for daemon in self._daemons:
            daemon.wait(10)
        for file in (*self.cards.values(), self._namespace):
            os.close(file)
