"""Values as users write them: names, MAC addresses, sets of VIDs, sizes, speeds.

Each ``parse_`` function takes what TOML gave and returns the value, or raises :class:`ValueError` with a sentence
that says what was allowed.  Each ``format_`` function is its inverse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from vsw.config.dialects import DIALECTS

MAX_MAC = (1 << 48) - 1
MAX_VID = 4095
#: Characters; every VID by itself is less.
MAX_VID_TEXT = 1 << 15
#: Bytes of UTF-8; names become file names (with a suffix) and names of pcapng interfaces.
MAX_NAME = 120

_GROUP_BIT = 1 << 40
_VID_RANGE = re.compile(r"\s*([0-9]{1,5})\s*(?:-\s*([0-9]{1,5})\s*)?\Z")
_MAC_NOTATIONS = tuple(
    re.compile(pattern + r"\Z", re.ASCII | re.IGNORECASE)
    for pattern in (
        r"[0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5}",
        r"[0-9a-f]{2}(?:-[0-9a-f]{2}){5}",
        r"[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}",
        r"[0-9a-f]{12}",
    )
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_PCI = re.compile(r"(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", re.ASCII)
_QUANTITY = re.compile(r"([0-9]{1,15})\s?([KMGTP]?)", re.ASCII)
#: Bytes, as Linux has it.
MAX_INTERFACE = 15
MAX_SOCKET_PATH = 107
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def check_name(name: str) -> str:
    """A name of a host, switch, port, VM, card or profile: usable as a file name and in ``host/switch/port``."""
    if not name or name != name.strip():
        raise ValueError("a name must not be empty, nor begin or end with a space")
    if "/" in name or "\\" in name or not name.isprintable():
        raise ValueError("a name must not contain slashes, backslashes or control characters")
    if name in {".", ".."}:
        raise ValueError('a name must not be "." or ".."')
    if len(name.encode()) > MAX_NAME:
        raise ValueError(f"a name must not be longer than {MAX_NAME} bytes")
    return name


def check_interface(name: str) -> str:
    """A name of a network interface of Linux."""
    if not 1 <= len(name.encode()) <= MAX_INTERFACE or name in {".", ".."} or any(c.isspace() or c in "/:%" or not c.isprintable() for c in name):
        raise ValueError(f"the name of a network interface has 1 to {MAX_INTERFACE} bytes, without spaces, slashes, colons and percent signs")
    return name


def check_socket_path(path: str) -> str:
    """A path that a unix socket can have."""
    if not 1 <= len(path.encode()) <= MAX_SOCKET_PATH or not path.isprintable():
        raise ValueError(f"the path of a unix socket has 1 to {MAX_SOCKET_PATH} bytes, and no control characters")
    return path


def check_uuid(text: str) -> str:
    """A UUID, in lower case."""
    if not _UUID.fullmatch(text.lower()):
        raise ValueError("must be a UUID, for instance 564d8f2c-0b1e-4c55-9a6e-3f1f7b1c2d3e")
    return text.lower()


def check_pci(text: str) -> str:
    """The address of a PCI function, in lower case and with its domain."""
    if not _PCI.fullmatch(text.lower()):
        raise ValueError("must be a PCI address, for instance 0000:3b:00.0")
    return text.lower() if text.count(":") == 2 else f"0000:{text.lower()}"


def check_dialect(name: str) -> str:
    """A dialect that exists."""
    if name not in DIALECTS:
        raise ValueError(one_of(DIALECTS, name))
    return name


def one_of(allowed: Iterable[str], found: object) -> str:
    """A sentence: what is allowed, and what was perhaps meant."""
    names = [str(name) for name in allowed]
    return f"must be one of {', '.join(names)}{did_you_mean(found, names)}"


def listed(names: Iterable[str]) -> str:
    """Names for a message, not more than a line of them."""
    known = list(names)
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return ", ".join(known[:10]) + more if known else "none"


def did_you_mean(found: object, known: Iterable[str]) -> str:
    """`` (did you mean ...?)`` if one of ``known`` is close to ``found``, else nothing."""
    import difflib  # noqa: PLC0415 - only when something is wrong

    if not isinstance(found, str) or len(found) > MAX_NAME:
        return ""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(found.lower(), names, n=1, cutoff=0.6)
    return f" (did you mean {names[close[0]]!r}?)" if close and names[close[0]] != found else ""


def parse_mac(value: object) -> int:
    """A MAC address in any usual notation -> 48 bits, the first octet on the wire most significant.

    ``00:50:56:80:00:11``, ``0:50:56:80:0:11``, ``00-50-56-80-00-11``, ``0050.5680.0011``, ``005056800011``.
    """
    if isinstance(value, str):
        for notation in _MAC_NOTATIONS:
            if notation.match(value):
                if ":" in value:
                    return int("".join(octet.zfill(2) for octet in value.split(":")), 16)
                return int(re.sub(r"[-.]", "", value), 16)
    raise ValueError("must be a MAC address, for instance 00:50:56:80:00:11, 00-50-56-80-00-11 or 0050.5680.0011")


def parse_station(value: object) -> int:
    """A MAC address that one station can have: neither a group address nor zero."""
    mac = parse_mac(value)
    if mac & _GROUP_BIT:
        raise ValueError("must be the address of one station, this is a group address (the lowest bit of the first octet is set)")
    if mac == 0:
        raise ValueError("must be the address of one station, this is zero")
    return mac


def format_mac(mac: int) -> str:
    """``00:50:56:80:00:11``."""
    return mac.to_bytes(6, "big").hex(":")


def parse_vids(value: object) -> frozenset[int]:
    """A set of VIDs: ``"10,20-29"``, ``[10, 20]`` or ``10`` -> the VIDs, 0 to 4095.  It must not be empty."""
    if isinstance(value, str):
        return _parse_vid_text(value)
    numbers = [value] if isinstance(value, int) else value
    if not isinstance(numbers, list | tuple | frozenset) or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise ValueError('must be a set of VIDs: "10,20-29" or [10, 20]')
    if any(not 0 <= n <= MAX_VID for n in numbers):
        raise ValueError(f"VIDs are 0 to {MAX_VID}")
    if not numbers:
        raise ValueError("names no VID; leave the key out for all VIDs")
    return frozenset(numbers)


@lru_cache(maxsize=4096)  # ports that are written alike share one set: 4,096 trunks of all VIDs would be a gigabyte
def _parse_vid_text(text: str) -> frozenset[int]:
    bits = 0
    if len(text) > MAX_VID_TEXT:
        raise ValueError(f"must not be longer than {MAX_VID_TEXT} characters")
    if not text.strip():
        raise ValueError("names no VID; leave the key out for all VIDs")
    for part in text.split(","):
        match = _VID_RANGE.match(part)
        if match is None:
            raise ValueError(f'must be a set of VIDs such as "10,20-29"; {part.strip()[:20]!r} is neither a VID nor a range')
        first, last = int(match[1]), int(match[2] or match[1])
        if last > MAX_VID or first > MAX_VID:
            raise ValueError(f"VIDs are 0 to {MAX_VID}, not {max(first, last)}")
        if first > last:
            raise ValueError(f"the range {first}-{last} runs backwards")
        bits |= ((1 << (last - first + 1)) - 1) << first
    return frozenset(vid for vid in range(MAX_VID + 1) if bits >> vid & 1)


def format_vids(vids: Iterable[int]) -> str:
    """The shortest text that :func:`parse_vids` reads as this set: ``10,20-29``."""
    runs: list[list[int]] = []
    for vid in sorted(set(vids)):
        if runs and runs[-1][1] == vid - 1:
            runs[-1][1] = vid
        else:
            runs.append([vid, vid])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def parse_ethertype(value: object) -> int:
    """The TPID that a tunnel pushes: 0x8100 or 0x88A8."""
    if not isinstance(value, int) or value not in {0x8100, 0x88A8}:
        raise ValueError("must be 0x8100 or 0x88a8")
    return value


def parse_size(value: object) -> int:
    """A number of bytes: ``4096`` or ``"512M"`` (K, M, G, T, P: powers of 1024)."""
    return _parse_quantity(value, 1024, 'must be a number of bytes: 1073741824 or "1G"')


def parse_speed(value: object) -> int:
    """Bits per second: ``10000000000`` or ``"10G"`` (K, M, G, T, P: powers of 1000)."""
    return _parse_quantity(value, 1000, 'must be a speed in bit/s: 10000000000 or "10G"')


def _parse_quantity(value: object, base: int, expected: str) -> int:
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
        quantity = int(match[1]) * int(base ** _POWERS[match[2]])
    elif isinstance(value, int) and not isinstance(value, bool):
        quantity = value
    else:
        raise ValueError(expected)
    if not 0 < quantity < 1 << 63:
        raise ValueError(f"{expected}, greater than 0 and less than 2^63")
    return quantity
