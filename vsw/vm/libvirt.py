"""Ports as libvirt sees them: the ``<interface>`` of a domain that plugs a guest into a port of vsw."""

from __future__ import annotations

from xml.etree import ElementTree

from vsw.config.cards import CARDS
from vsw.config.models import VnicWords
from vsw.config.values import format_mac
from vsw.errors import UsageError
from vsw.vm.plan import attachment_of


def interface_xml(nic: VnicWords, mac: int, path: str, reconnect: int = 1) -> str:
    """``<interface type='vhostuser'>`` for a port whose socket is ``path``; the guest's memory has to be shared, as the comment in it says.

    :class:`~vsw.errors.UsageError` if the card is attached otherwise: libvirt has no words for dgram and stream.
    """
    if (kind := attachment_of(nic)) != "vhost-user":
        raise UsageError(f'libvirt has no words for a port that is attached by {kind}; set model = "virtio-net", attach = "vhost-user"')
    interface = ElementTree.Element("interface", type="vhostuser")
    ElementTree.SubElement(interface, "mac", address=format_mac(mac))
    source = ElementTree.SubElement(interface, "source", type="unix", path=path, mode="client")
    ElementTree.SubElement(source, "reconnect", enabled="yes", timeout=str(reconnect))
    ElementTree.SubElement(interface, "model", type="virtio")
    if nic.mtu is not None:
        ElementTree.SubElement(interface, "mtu", size=str(min(nic.mtu, CARDS[nic.model].max_mtu)))
    ElementTree.indent(interface)
    note = "<!-- the domain needs: <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking> -->"
    return f"{note}\n{ElementTree.tostring(interface, encoding='unicode')}\n"
