"""The file in which MAC addresses that were given to vNICs are remembered (``mac_file`` of a topology).

JSON: ``{"version": 1, "macs": {"IDENTITY/INDEX": "52:54:00:..."}}``, the identity being the VM's ``uuid`` or else its name.  Loading a topology reads
it; what starts VMs writes it (:func:`write`), before the first of them runs.  It is replaced as a whole, by renaming.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from vsw.config.values import format_mac, parse_station

VERSION = 1
#: Bytes; a million addresses fit.
MAX_FILE = 64 << 20


def read(path: Path) -> dict[tuple[str, int], int]:
    """(Identity, index) -> address; nothing if there is no such file yet.  :class:`ValueError` says what is wrong with it."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or error}") from None
    if len(data) > MAX_FILE:
        raise ValueError(f"is longer than {MAX_FILE >> 20} MiB")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(document, dict) or document.get("version") != VERSION or not isinstance(document.get("macs"), dict):
        raise ValueError(f'is no list of MAC addresses of version {VERSION} ({{"version": {VERSION}, "macs": {{...}}}})')
    macs: dict[tuple[str, int], int] = {}
    owner: dict[int, str] = {}
    for key, value in document["macs"].items():
        identity, slash, index = key.rpartition("/")
        if not slash or not identity or not (index.isascii() and index.isdecimal() and len(index) < 5):
            raise ValueError(f"{key!r} is not IDENTITY/INDEX")
        try:
            mac = parse_station(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        if mac in owner:
            raise ValueError(f"{key} and {owner[mac]} have the same address {format_mac(mac)}")
        owner[mac] = key
        macs[identity, int(index)] = mac
    return macs


def write(path: Path, given: Mapping[tuple[str, int], int]) -> None:
    """Add ``given`` to what the file holds.  Several processes may do so at once; each leaves a whole file.  :class:`OSError` if that fails."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = read(path)
        # An address that now belongs to another vNIC is not its old owner's any more.
        new = set(given.values())
        macs = {key: mac for key, mac in kept.items() if mac not in new} | dict(given)
        if macs == kept:
            return
        text = json.dumps({"version": VERSION, "macs": {f"{vm}/{index}": format_mac(mac) for (vm, index), mac in sorted(macs.items())}}, indent=1)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with fresh.open("w") as stream:
                stream.write(text + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
