"""The words that a user writes in a topology, as frozen models.

These say what may stand where, nothing more: defaults that depend on the dialect, references between sections and
everything that needs two keys to be wrong are the work of :mod:`vsw.config.resolve`.  ``None`` means that a key was not
written.  A field whose description says ``not yet run`` is validated and kept, and nothing acts on it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from vsw.config.cards import NicModel
from vsw.config.dialects import DIALECTS, Assignment, Learning
from vsw.config.module import MAX_PORTS, Kind, Policy, PriorityTags
from vsw.config.values import (
    MAX_VID,
    check_dialect,
    check_interface,
    check_name,
    check_pci,
    check_socket_path,
    check_uuid,
    format_mac,
    format_vids,
    parse_ethertype,
    parse_size,
    parse_speed,
    parse_station,
    parse_vids,
)

Oui = Literal["vmware", "vmware-vcenter", "vmware-generated", "kvm", "xen", "hyper-v", "virtualbox", "parallels"]
Attachment = Literal["dgram", "stream", "vhost-user"]
Accel = Literal["auto", "kvm", "tcg"]
Machine = Literal["pc", "q35"]
DiskController = Literal["lsi", "pvscsi", "virtio-scsi", "ide", "ahci", "virtio-blk"]

#: Entries in one forwarding table; a million is what it is measured with.
MAX_ENTRIES = 1 << 20
#: Bytes after the Ethernet header; 68 is the least that IPv4 permits.
MIN_MTU, MAX_MTU = 68, 65535

Name = Annotated[str, AfterValidator(check_name)]
Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]
Mac = Annotated[
    int,
    BeforeValidator(parse_station),
    PlainSerializer(format_mac),
    WithJsonSchema({"type": "string", "examples": ["00:50:56:80:00:11", "00-50-56-80-00-11", "0050.5680.0011"]}),
]
Macs = Annotated[tuple[Mac, ...], Field(strict=False)]
Vid = Annotated[int, Field(ge=0, le=MAX_VID)]
NumberedVid = Annotated[int, Field(ge=1, le=MAX_VID)]
VidSet = Annotated[
    frozenset[int],
    BeforeValidator(parse_vids),
    PlainSerializer(format_vids),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "examples": ["10,20-29"]},
                {"type": "integer", "minimum": 0, "maximum": MAX_VID},
                {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": MAX_VID}, "minItems": 1},
            ]
        }
    ),
]
_QUANTITY = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": "^[0-9]+ ?[KMGTP]?$"}]}
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_QUANTITY)]
Speed = Annotated[int, BeforeValidator(parse_speed), WithJsonSchema(_QUANTITY)]
Ethertype = Annotated[int, BeforeValidator(parse_ethertype), WithJsonSchema({"enum": [0x8100, 0x88A8]})]
DialectName = Annotated[str, AfterValidator(check_dialect), Field(json_schema_extra={"enum": list(DIALECTS)})]
Mtu = Annotated[int, Field(ge=MIN_MTU, le=MAX_MTU)]
Number = Annotated[int, Field(ge=0, lt=MAX_PORTS)]
InterfaceName = Annotated[str, AfterValidator(check_interface)]
SocketPath = Annotated[str, AfterValidator(check_socket_path)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Uuid = Annotated[str, AfterValidator(check_uuid)]
PciAddress = Annotated[str, AfterValidator(check_pci)]
#: The least that the BIOS of QEMU's machines starts with, and whole MiB.
Memory = Annotated[int, BeforeValidator(parse_size), Field(ge=16 << 20, le=1 << 42, multiple_of=1 << 20), WithJsonSchema(_QUANTITY)]


class Words(BaseModel):
    """What all models share: unknown keys are refused, nothing is converted, nothing changes afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class AccessVlan(Words):
    """Untagged frames (and priority tags) belong to one VLAN; tagged ones are refused."""

    mode: Literal["access"]
    vid: Vid = Field(description="The VLAN; 0 is untagged traffic, apart from every numbered VLAN")


class TrunkVlan(Words):
    """Frames carry their VLAN in a tag; an untagged frame is in VLAN 0."""

    mode: Literal["trunk"]
    vids: VidSet | None = Field(None, description="The VIDs that are carried; left out: all that the dialect has")


class NativeVlan(Words):
    """A trunk on which untagged frames belong to the native VLAN."""

    mode: Literal["native-tagged", "native-untagged"]
    vid: Vid = Field(description="The native VLAN; it is carried even if `vids` does not name it")
    vids: VidSet | None = Field(None, description="The VIDs that are carried; left out: all that the dialect has")


class TunnelVlan(Words):
    """Frames are carried in an outer tag, with the customer's own tags inside (QinQ)."""

    mode: Literal["dot1q-tunnel"]
    vid: Vid = Field(description="The VID of the outer tag")
    cvids: VidSet | None = Field(None, description="The customer's VIDs that are carried, 0 for untagged; left out: all")
    ethertype: Ethertype = Field(0x88A8, description="The TPID of the outer tag: 0x88a8 or 0x8100")


class PrivateVlan(Words):
    """A port of a private VLAN."""

    mode: Literal["private"]
    primary: NumberedVid = Field(description="The primary VLAN")
    role: Literal["promiscuous", "isolated", "community"]
    secondary: NumberedVid | None = Field(None, description="The port's secondary VLAN; not for a promiscuous port")


VlanWords = Annotated[AccessVlan | TrunkVlan | NativeVlan | TunnelVlan | PrivateVlan, Field(discriminator="mode")]


class SecurityWords(Words):
    """The three policies; true accepts, false rejects.  What is not written comes from the profile, then the dialect."""

    promiscuous: bool | None = Field(None, description="The port gets a copy of every frame of its VLANs")
    mac_changes: bool | None = Field(None, description="The guest may change its MAC address and still receive")
    forged_transmits: bool | None = Field(None, description="The guest may send with source addresses other than its own")


class TeamWords(Words):
    """Uplinks that stand for one another, and the rule that picks one."""

    policy: Policy | None = Field(None, description="How the uplink of a frame is picked; default port-id")
    active: Names | None = Field(None, description="Cards that are used, in order; default: all uplinks of the switch")
    standby: Names | None = Field(None, description="Cards that replace active ones that are down, in order")
    unused: Names | None = Field(None, description="Cards of the switch that this team must not use")
    assignment: Assignment | None = Field(None, description="From hash to card; default: the dialect's")
    ip_hash_bits: Literal[8, 32] | None = Field(None, description="Bits of the addresses that ip-hash looks at; default 32")
    failback: bool | None = Field(None, description="A card that comes up again returns to its place; default true")
    lacp: bool | None = Field(None, description="The team runs LACP; the frames of LACP are taken by the host; default false")


class TapAttach(Words):
    """A tap device of this machine."""

    type: Literal["tap"]
    name: InterfaceName = Field(description="The device; it is made if it is not there, and taken away again then")


class PacketAttach(Words):
    """A network card of this machine, through a packet socket."""

    type: Literal["packet"]
    interface: InterfaceName = Field(description="The network interface")


class DgramAttach(Words):
    """A frame a datagram between unix sockets, as QEMU's `-netdev dgram` does it."""

    type: Literal["dgram"]
    path: SocketPath | None = Field(None, description="The socket of the switch; default: HOST/SWITCH/PORT.sock in the run folder")
    peer: SocketPath | None = Field(None, description="The socket of the other side; default: `path` with .peer behind it")


class StreamAttach(Words):
    """A length and a frame, over and over, through a unix socket, as QEMU's `-netdev stream` does it."""

    type: Literal["stream"]
    path: SocketPath | None = Field(None, description="Unix socket; default: HOST/SWITCH/PORT.sock in the run folder")
    role: Literal["server", "client"] = Field("server", description="Whether the switch listens there, or connects")


AttachWords = Annotated[TapAttach | PacketAttach | DgramAttach | StreamAttach, Field(discriminator="type")]


class PolicyWords(Words):
    """What a profile says for many ports, and a port for itself."""

    vlan: VlanWords | None = Field(None, description="VLAN mode; default: trunk of all for plain ports and uplinks, else VLAN 0 untagged")
    security: SecurityWords | None = None
    mtu: Mtu | None = Field(None, description="Bytes after the Ethernet header and its tags; default: the switch's")
    priority_tags: PriorityTags | None = Field(None, description="Whether priority-tagged frames (VID 0) leave with their tag; default no")
    protected: bool | None = Field(None, description="Protected ports do not send to protected ports")
    bpdu_guard: bool | None = Field(None, description="A spanning tree frame from this port shuts it down")
    bpdu_filter: bool | None = Field(None, description="Spanning tree frames from this port are dropped")
    team: TeamWords | None = Field(None, description="What differs from the team of the switch")


class AddressWords(PolicyWords):
    """What a port written down and a vNIC have in common."""

    number: Number | None = Field(None, description="The port's number within its switch; default: counted up from 0")
    profile: Name | None = Field(None, description="A profile; what the port itself says has precedence")
    mac: Mac | None = Field(None, description="The configured MAC address")
    effective_mac: Mac | None = Field(None, description="The MAC address that the guest uses now, if it changed it")
    macs: Macs = Field((), description="Further MAC addresses behind the port, such as bridged guests'")
    up: bool = Field(True, description="Whether the port is up at the start")


class PortWords(AddressWords):
    """A port without a VM."""

    kind: Kind = Field("plain", description="`uplink` is also the kind of every card that the team names")
    attach: AttachWords | None = Field(None, description="What `vsw run` attaches it to; default: an uplink as its card, others to nothing")


class StaticWords(Words):
    """A MAC address that is known to be on a port; it is neither learned nor moved."""

    vlan: Vid | None = Field(None, description="The VLAN; left out: every VLAN that the port carries")
    mac: Mac
    port: Name


class PrivateVlanWords(Words):
    """A primary VLAN and its secondaries, where ports of this switch do not show them all."""

    primary: NumberedVid
    secondaries: VidSet = Field(description="Its secondary VLANs, isolated or community")


class SwitchWords(Words):
    """A virtual switch on one host."""

    dialect: DialectName = Field("vsw", description="The product whose choices are followed")
    mtu: Mtu = Field(1500, description="Bytes after the Ethernet header and its tags, for ports that do not say otherwise")
    learning: Learning | None = Field(None, description="Whose source addresses are learned; default: the dialect's")
    age: float = Field(300.0, gt=0, le=1e9, description="Seconds after which a learned entry expires")
    port_limit: int = Field(4096, ge=1, le=MAX_ENTRIES, description="Greatest number of learned MAC addresses on a port")
    module_limit: int = Field(8192, ge=1, le=MAX_ENTRIES, description="Greatest number of learned MAC addresses on the switch")
    vlan_limit: int | None = Field(None, ge=1, le=2, description="Tags that are read from a frame; default: the dialect's")
    forward_bpdu: bool = Field(False, description="Forward reserved group addresses that the dialect would drop")
    pad: bool = Field(False, description="Pad frames that untagging made shorter than 60 bytes")
    private_vlans: Annotated[tuple[PrivateVlanWords, ...], Field(strict=False)] = ()
    team: TeamWords | None = None
    static: Annotated[tuple[StaticWords, ...], Field(strict=False)] = ()
    ports: dict[Name, PortWords] = Field({}, description="Ports that belong to no VM")


class NicWords(Words):
    """A physical network card."""

    speed: Speed | None = Field(None, description="Bits per second, for instance 10G (not yet run)")
    driver: Text | None = Field(None, description="The driver of the host (not yet run)")
    mac: Mac | None = Field(None, description="The card's own MAC address (not yet run, but never given to a vNIC)")
    pci: PciAddress | None = Field(None, description="PCI address, for instance 0000:3b:00.0; a card passed through is then QEMU's (vfio-pci)")
    attach: AttachWords | None = Field(None, description="What stands for the card where the switch runs; default: nothing")


class HostWords(Words):
    """A machine that runs a hypervisor."""

    nics: dict[Name, NicWords] = Field({}, description="Physical cards; if there are any, uplinks must be among them")
    switches: dict[Name, SwitchWords] = {}


class VnicWords(AddressWords):
    """A virtual network card; it becomes the port vm.0, vm.1, ... of its switch."""

    switch: Name | None = Field(None, description="The switch of the VM's host that the card is connected to")
    passthrough: Name | None = Field(None, description="Instead of a switch: a physical card given 1:1 to the VM")
    model: NicModel = Field("virtio-net", description="What the guest sees")
    attach: Attachment | None = Field(None, description="How QEMU reaches the port; default: vhost-user for virtio-net, dgram for other models")


class DiskWords(Words):
    """A virtual disk: its blocks are blocks of a file of the host."""

    file: Text = Field(description="File on the host")
    size: Size | None = Field(None, multiple_of=512, description="Bytes, for instance 20G; default: the file's")
    format: Literal["raw", "qcow2"] | None = Field(None, description="Default: from the file's suffix")
    controller: DiskController = Field("virtio-scsi", description="The interface that the guest sees")
    block_size: Literal[512, 4096] = Field(512, description="Bytes")
    readonly: bool = False


class VmWords(Words):
    """A virtual machine.  Files are named from the folder of the topology."""

    host: Name
    oui: Oui | None = Field(None, description="Whose MAC addresses its vNICs get; default: the topology's")
    uuid: Uuid | None = Field(None, description="Its identity, which the guest sees, and which its MAC addresses follow if it is renamed")
    nics: Annotated[tuple[VnicWords, ...], Field(strict=False)] = ()
    disks: Annotated[tuple[DiskWords, ...], Field(strict=False)] = Field((), description="Disks; without `kernel` the first is booted")
    memory: Memory = Field(256 << 20, description="Bytes, for instance 2G; whole MiB")
    cpus: int = Field(1, ge=1, le=255, description="Virtual processors")
    kernel: Text | None = Field(None, description="A Linux kernel's image, booted without a boot loader")
    initrd: Text | None = Field(None, description="The initial file system of `kernel`")
    append: Text | None = Field(None, description="The command line of `kernel`")
    accel: Accel = Field("auto", description="kvm, tcg (software), or auto: kvm where /dev/kvm can be opened, else tcg")
    machine: Machine = Field("pc", description="The machine that QEMU emulates")
    autostart: bool | None = Field(None, description="`vsw run` starts it; default: if it has something to boot")
    arguments: Annotated[tuple[Text, ...], Field(strict=False)] = Field((), description="More arguments for QEMU, as they are")


class SupervisorWords(Words):
    """The control plane that governs the modules of several hosts as one switch."""

    name: Name | None = Field(None, description="The name of the virtual switch as a whole")
    vm: Name | None = Field(None, description="The VM that it runs in; left out: hardware of its own")
    listen: Text | None = Field(None, description="Address and port that modules connect to, for instance 192.0.2.1:6640")
    store: Text | None = Field(None, description="Directory for the desired state")


class ModuleWords(Words):
    """A switch of a host as a module of the supervisor's virtual switch."""

    host: Name
    switch: Name
    headless: bool = Field(True, description="Go on forwarding with the last configuration without a supervisor")


class Topology(Words):
    """A whole topology file."""

    oui: Oui = Field("kvm", description="Whose MAC addresses vNICs without `mac` get")
    mac_file: Text | None = Field(None, description="Where addresses that were given are remembered; from the folder of the topology")
    hosts: dict[Name, HostWords] = {}
    profiles: dict[Name, PolicyWords] = Field({}, description="Settings that many ports share")
    vms: dict[Name, VmWords] = {}
    supervisor: SupervisorWords | None = Field(None, description="Control plane (not yet run)")
    modules: dict[Name, ModuleWords] = Field({}, description="What the supervisor governs (not yet run)")
