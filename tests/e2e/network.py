"""Network namespaces of the tests, joined by veth pairs; made as root, and taken away whatever happens."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess

_numbers = itertools.count()


def missing() -> str | None:
    """Why there are none, or ``None``."""
    if os.geteuid() != 0:
        return "root is needed"
    if shutil.which("ip") is None:
        return "apt-get install iproute2"
    return None


class Namespace:
    """A network namespace of its own; ``inside`` goes before a command that is to run in it."""

    def __init__(self) -> None:
        self.name = f"vsw-{os.getpid()}-{next(_numbers)}"
        self.inside = ["ip", "netns", "exec", self.name]

    def __enter__(self) -> Namespace:
        _ip("netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        # What still runs in it keeps it; those are the test's own processes, which it has ended.
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def run(self, *words: str, check: bool = True) -> str:
        """What a command in it wrote."""
        done = subprocess.run([*self.inside, *words], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def link(self, own: str, other: Namespace, theirs: str) -> None:
        """A cable: interface ``own`` here, ``theirs`` in the other namespace; both up, nothing on them but what the test sends."""
        _ip("link", "add", own, "netns", self.name, "type", "veth", "peer", "name", theirs, "netns", other.name)
        for place, card in ((self, own), (other, theirs)):
            place.run("sysctl", "-q", "-w", f"net.ipv6.conf.{card}.disable_ipv6=1", check=False)
            place.run("ip", "link", "set", card, "up")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"ip {' '.join(words)}: {done.stderr}")
