"""``vsw port attach``: what another program has to be told to plug a guest into a port."""

from __future__ import annotations

import json
import shlex
from typing import Annotated

import typer

from vsw.cli import completing
from vsw.cli.ending import ends_well
from vsw.cli.vm import AsJson, RunDir
from vsw.errors import UsageError

PORT_HELP = "The port of a VM's card, for instance web1.0."


@ends_well
def attach(
    topology: Annotated[str, typer.Argument(metavar="TOPOLOGY", help="A topology (.toml).", show_default=False)],
    port: Annotated[str, typer.Argument(metavar="PORT", help=PORT_HELP, show_default=False, autocompletion=completing.cards)],
    libvirt_xml: Annotated[bool, typer.Option("--libvirt-xml", help="The <interface> of a libvirt domain.")] = False,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> int:
    """Print what plugs a guest that somebody else starts into a port: QEMU's arguments, or libvirt's XML.

    \b
    Examples:
      vsw port attach lab.toml web1.0
      vsw port attach lab.toml web1.0 --libvirt-xml > interface.xml
    """
    from vsw.config.load import load  # noqa: PLC0415
    from vsw.vm.libvirt import interface_xml  # noqa: PLC0415
    from vsw.vm.place import run_folder  # noqa: PLC0415
    from vsw.vm.plan import attachment_of, plug, vm_of  # noqa: PLC0415
    from vsw.vm.qemu import accelerator, card, version  # noqa: PLC0415

    lab = load(topology)
    name, _, index = port.rpartition(".")
    vm = vm_of(lab, name or port)
    if not index.isdecimal() or int(index) >= len(vm.nics):
        raise UsageError(f"VM {name!r} has no card {index!r}; it has {len(vm.nics)}, from {name}.0 on")
    nic = vm.nics[int(index)]
    if nic.passthrough is not None:
        raise UsageError(f"{port} is no port: the physical card {nic.passthrough!r} is passed through to it")
    plugged = plug(lab, name, int(index), run_folder(run_dir))
    xml = interface_xml(nic, plugged.mac, plugged.path) if libvirt_xml or attachment_of(nic) == "vhost-user" else None
    if as_json:
        words = list(card(int(index), plugged, accelerator(vm.accel), version()))
        print(json.dumps({"port": port, "attach": plugged.kind, "path": plugged.path, "qemu": words, "libvirt_xml": xml}, ensure_ascii=False))
    elif libvirt_xml:
        print(xml, end="")
    else:
        print(shlex.join(card(int(index), plugged, accelerator(vm.accel), version())))
    return 0
