"""Physical cards given 1:1 to virtual ones: which they are on a host, and the wires to them.

A card with a PCI address is QEMU's own (vfio-pci), and nothing here concerns it.  To any other one leads a :class:`~vsw.vm.wire.Wire` from what it is
attached to (``attach`` of the card, or else the network interface of its name) to the socket of its machine.  No switch has a part in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsw.config.lab import Lab
from vsw.config.models import NicWords
from vsw.ports import port_type
from vsw.ports.dgram import DgramPort
from vsw.vm.place import card_socket, wire_socket
from vsw.vm.wire import Wire


@dataclass(frozen=True, slots=True)
class Passed:
    """A card of ``host`` that card ``index`` of machine ``vm`` has for itself."""

    host: str
    card: str
    vm: str
    index: int
    words: NicWords


def passed_through(lab: Lab, host: str | None = None) -> Iterator[Passed]:
    """The cards of a host (of all hosts) to which wires lead."""
    for name, vm in lab.topology.vms.items():
        if host not in {None, vm.host}:
            continue
        for index, nic in enumerate(vm.nics):
            if nic.passthrough is not None:
                words = lab.topology.hosts[vm.host].nics[nic.passthrough]
                if words.pci is None:
                    yield Passed(vm.host, nic.passthrough, name, index, words)


def open_wire(passed: Passed, run: Path) -> Wire:
    """The wire to a card, started.  OSError and :class:`~vsw.errors.UsageError` name the thing that is missing and the remedy."""
    path = wire_socket(run, passed.host, passed.card)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{passed.host}/{passed.card}"
    if passed.words.attach is None:
        kind, words = "packet", {"interface": passed.card}
    else:
        kind = passed.words.attach.type
        words = passed.words.attach.model_dump(exclude={"type"}, exclude_none=True)
    make: Any = port_type(kind)
    far = make(name, **words)
    try:
        near = DgramPort(f"{name} of {passed.vm}.{passed.index}", path=str(path), peer=str(card_socket(run, passed.vm, passed.index)))
    except BaseException:
        far.close()
        raise
    return Wire(near, far).start()
