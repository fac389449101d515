"""Network interfaces of this machine: their flags, and word of their changes (rtnetlink)."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCETHTOOL = 0x8913, 0x8914, 0x8946
IFF_UP, IFF_RUNNING, IFF_LOOPBACK = 0x1, 0x40, 0x8
RTMGRP_LINK = 1
#: ethtool: generic and large receive offload, which join frames of a flow.
ETHTOOL_SGRO, ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_LRO = 0x2C, 0x25, 0x26, 1 << 15
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
#: Of the kernel's packet filters: load a word, compare it, say how many bytes pass.
BPF_LOAD, BPF_EQUAL, BPF_PASS = 0x20, 0x15, 0x06
#: Where a message about an interface has its index (32 bits, the machine's byte order).
INDEX_AT = 20


def exists(interface: str) -> bool:
    """Whether there is an interface of that name."""
    return Path("/sys/class/net", interface).exists()


def flags(interface: str) -> int:
    """The interface's flags (IFF_...); OSError if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        answer = fcntl.ioctl(one, SIOCGIFFLAGS, struct.pack("16sH22x", interface.encode(), 0))
    return int(struct.unpack_from("16sH", answer)[1])


def has_link(interface: str) -> bool:
    """Whether the interface is up and its carrier is on; False if it is not there."""
    try:
        return flags(interface) & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING
    except OSError:
        return False


def bring_up(interface: str) -> None:
    """Set the interface up; OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sH22x", interface.encode(), flags(interface) | IFF_UP))


def do_not_join(interface: str) -> None:
    """Turn off the offloads by which frames are joined as they come in; not every card has them, and not everybody may."""
    import array  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for command, value in ((ETHTOOL_SGRO, 0), (ETHTOOL_SFLAGS, 0)):
            words = array.array("I", [command, value])
            with contextlib.suppress(OSError):
                fcntl.ioctl(one, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), words.buffer_info()[0]))


class LinkWatch:
    """A descriptor that is readable when an interface has changed, any of them or one (:meth:`follow`); :meth:`drain` takes that back."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, RTMGRP_LINK))

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def follow(self, interface: str | None) -> None:
        """Hear of this interface only, as long as it is the one that has its name now, or of all (None); OSError if there is none.

        Machines with many guests and containers have interfaces that come and go all the time.
        """
        import array  # noqa: PLC0415

        if interface is None:
            with contextlib.suppress(OSError):  # there is no filter
                self._socket.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            return
        (index,) = struct.unpack("!I", struct.pack("=I", socket.if_nametoindex(interface)))
        steps = ((BPF_LOAD, 0, 0, INDEX_AT), (BPF_EQUAL, 0, 1, index), (BPF_PASS, 0, 0, 0xFFFFFFFF), (BPF_PASS, 0, 0, 0))
        program = array.array("B", b"".join(struct.pack("=HBBI", *step) for step in steps))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(steps), program.buffer_info()[0]))

    def drain(self) -> None:
        """Read what there is; what changed is asked for anew."""
        while True:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                continue  # some words were lost: it is the same to us

    def close(self) -> None:
        self._socket.close()
