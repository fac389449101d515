"""What libvirt is given, held against libvirt's own schema."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vsw
from vsw.config.models import VnicWords
from vsw.vm.libvirt import interface_xml

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
needs_libvirt = pytest.mark.skipif(
    not SCHEMA.exists() or shutil.which("xmllint") is None, reason="apt-get install libvirt-clients libxml2-utils"
)  # fmt: skip
DOMAIN = """<domain type='kvm'><name>web1</name><memory unit='MiB'>256</memory>
<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{}</devices></domain>"""


def test_what_it_says() -> None:
    text = interface_xml(VnicWords(switch="s", mtu=9000), 0x525400ABCDEF, "/run/vsw/h/s/<web&1>.0.sock")
    note, _, element = text.partition("\n")
    assert note.startswith("<!--")
    interface = ElementTree.fromstring(element)
    assert (interface.tag, interface.attrib) == ("interface", {"type": "vhostuser"})
    assert {child.tag: child.attrib for child in interface} == {
        "mac": {"address": "52:54:00:ab:cd:ef"},
        "source": {"type": "unix", "path": "/run/vsw/h/s/<web&1>.0.sock", "mode": "client"},
        "model": {"type": "virtio"},
        "mtu": {"size": "9000"},
    }


@needs_libvirt
@pytest.mark.parametrize("mtu", [None, 9000])
def test_libvirt_takes_it(tmp_path: Path, mtu: int | None) -> None:
    path = tmp_path / "domain.xml"
    snippet = interface_xml(VnicWords(switch="s", mtu=mtu), 0x525400ABCDEF, "/run/vsw/h/s/web1.0.sock")
    path.write_text(DOMAIN.format(snippet))
    done = subprocess.run(["xmllint", "--noout", "--relaxng", SCHEMA, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # The schema does look.
    path.write_text(DOMAIN.format(snippet.replace('mode="client"', 'mode="guest"')))
    assert subprocess.run(["xmllint", "--noout", "--relaxng", SCHEMA, path], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("nic", [VnicWords(switch="s", model="e1000"), VnicWords(switch="s", attach="stream")])
def test_it_has_no_words_for_other_attachments(nic: VnicWords) -> None:
    with pytest.raises(vsw.UsageError, match=r"no words for a port that is attached by (dgram|stream); set model"):
        interface_xml(nic, 1, "/x")
