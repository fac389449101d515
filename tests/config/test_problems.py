"""What is refused: where (key path and line), and with which words."""

from __future__ import annotations

import pytest

import vsw

CARD = "\n[hosts.h.nics.c]"
NIC = "{ switch = 's' },"
DISK = "{ file = 'a', controller = 'ide' },"
UUID = "564d8f2c-0b1e-4c55-9a6e-3f1f7b1c2d3e"
SWITCH = "[hosts.h.switches.s]"
S = "hosts.h.switches.s"
VM = f'{SWITCH}\n[vms.v]\nhost = "h"\n'


def ports(*lines: str, dialect: str = "vsw") -> str:
    """Lines 1 and 2 name the switch; the ports begin in line 3."""
    return "\n".join([f'{SWITCH}\ndialect = "{dialect}"', *lines])


def A(name: str, vid: int) -> str:  # noqa: N802 - a row of the table, not a function
    """A port with the address that the table's cases fight for."""
    return f"ports.{name} = {{ mac = '02:00:00:00:00:01', vlan = {{ mode = 'access', vid = {vid} }} }}"


def P(name: str, primary: int, role: str, secondary: int = 0) -> str:  # noqa: N802
    more = f", secondary = {secondary}" if secondary else ""
    return f"ports.{name}.vlan = {{ mode = 'private', primary = {primary}, role = '{role}'{more} }}"


#: (id, text, [(line, key path, part of the message)])
CASES: list[tuple[str, str, list[tuple[int, str, str]]]] = [
    # Shape.
    ("unknown-section", "\nprofile = 1", [(2, "profile", "not known here (did you mean 'profiles'?)")]),
    ("unknown-key", f"{SWITCH}\nmut = 1", [(2, f"{S}.mut", "did you mean 'mtu'?")]),
    (
        "unknown-key-of-a-mode",
        ports("ports.a.vlan = { mode = 'access', vid = 1, cvids = '1' }"),
        [(3, f"{S}.ports.a.vlan.cvids", "known: mode, vid")],
    ),
    ("not-a-table", "hosts = 3", [(1, "hosts", "must be a table")]),
    ("not-a-table-inside", "[hosts]\nh = [1]", [(2, "hosts.h", "must be a table")]),
    ("not-an-array", f"{SWITCH}\nstatic = 1", [(2, f"{S}.static", "must be an array")]),
    ("not-a-string", f"{SWITCH}\ndialect = 1", [(2, f"{S}.dialect", "must be a string")]),
    ("not-an-integer", f"{SWITCH}\nmtu = '1500'", [(2, f"{S}.mtu", "must be an integer")]),
    ("bool-is-no-integer", f"{SWITCH}\nmtu = true", [(2, f"{S}.mtu", "must be an integer")]),
    ("date-is-no-integer", f"{SWITCH}\nmtu = 1979-05-27", [(2, f"{S}.mtu", "must be an integer")]),
    ("float-is-no-integer", f"{SWITCH}\nmtu = 1500.0", [(2, f"{S}.mtu", "must be an integer")]),
    ("not-a-bool", f"{SWITCH}\npad = 1", [(2, f"{S}.pad", "must be true or false")]),
    ("several-at-once", f"{SWITCH}\nmtu = 1\npad = 2", [(2, f"{S}.mtu", "68"), (3, f"{S}.pad", "true or false")]),
    (
        "array-element",
        f"{VM}nics = [\n  {{ switch = 's' }},\n  {{ switch = 's', model = 'e100' }},\n]",
        [(6, "vms.v.nics[1].model", "did you mean 'e1000'?")],
    ),
    ("array-of-tables", f"{VM}[[vms.v.nics]]\nswitch='s'\n[[vms.v.nics]]\nswitch=1", [(7, "vms.v.nics[1].switch", "must be a string")]),
    ("required", f"{SWITCH}\nstatic = [{{ port = 'p' }}]", [(2, f"{S}.static[0].mac", "is required")]),
    ("required-in-vm", "\n[vms.v]\ncpus = 1", [(2, "vms.v.host", "is required")]),
    ("quoted-key", '[vms."a.b"]\nx = 1\nhost = "h"', [(2, 'vms."a.b".x', "not known here")]),
    # Numbers.
    ("mtu-low", f"{SWITCH}\nmtu = 67", [(2, f"{S}.mtu", "greater than or equal to 68")]),
    ("mtu-high", f"{SWITCH}\nmtu = 65536", [(2, f"{S}.mtu", "less than or equal to 65535")]),
    ("mtu-huge", f"{SWITCH}\nmtu = 0x{'f' * 5000}", [(2, f"{S}.mtu", "integers have 64 bits")]),
    ("integer-of-5000-digits", f"\n\nmtu = {'9' * 5000}", [(3, "", "more than 4300 digits")]),
    ("age-nan", f"{SWITCH}\nage = nan", [(2, f"{S}.age", "must be a finite number")]),
    ("age-inf", f"{SWITCH}\nage = inf", [(2, f"{S}.age", "must be a finite number")]),
    ("age-zero", f"{SWITCH}\nage = 0", [(2, f"{S}.age", "greater than 0")]),
    ("age-negative", f"{SWITCH}\nage = -1.5", [(2, f"{S}.age", "greater than 0")]),
    ("port-limit", f"{SWITCH}\nport_limit = 0", [(2, f"{S}.port_limit", "greater than or equal to 1")]),
    ("module-limit", f"{SWITCH}\nmodule_limit = 1048577", [(2, f"{S}.module_limit", "less than or equal to 1048576")]),
    ("vlan-limit", f"{SWITCH}\nvlan_limit = 3", [(2, f"{S}.vlan_limit", "less than or equal to 2")]),
    ("cpus", "[vms.v]\ncpus = 0\nhost = 'h'", [(2, "vms.v.cpus", "greater than or equal to 1")]),
    ("memory", "[vms.v]\nmemory = '2 GB'\nhost = 'h'", [(2, "vms.v.memory", "must be a number of bytes")]),
    ("disk-size", "[vms.v]\nhost = 'h'\ndisks = [{ file = 'a', size = 513 }]", [(3, "vms.v.disks[0].size", "multiple of 512")]),
    ("speed", "[hosts.h.nics]\na = { speed = '10 Gbit' }", [(2, "hosts.h.nics.a.speed", "must be a speed in bit/s")]),
    ("pci", "[hosts.h.nics]\na = { pci = '3B:00.1' }\nb = { pci = '0000:3b:20.0' }", [(3, "hosts.h.nics.b.pci", "must be a PCI address")]),
    ("driver-newline", "[hosts.h.nics]\na = { driver = 'a' }\nb = { driver = \"x\\n\" }", [(3, "hosts.h.nics.b.driver", "control characters")]),
    ("uuid", "[vms.v]\nhost = 'h'\nuuid = '564d8f2c'", [(3, "vms.v.uuid", "must be a UUID")]),
    ("uuid-twice", f"{VM}uuid = '{UUID}'\n[vms.w]\nhost = 'h'\nuuid = '{UUID.upper()}'", [(7, "vms.w.uuid", "is that of VM 'v'")]),
    ("memory-odd", f"{VM}memory = '17000K'", [(4, "vms.v.memory", "multiple of 1048576")]),
    ("initrd-alone", f"{VM}initrd = 'i'", [(4, "vms.v.initrd", "needs `kernel`")]),
    ("append-alone", f"{VM}append = 'quiet'", [(4, "vms.v.append", "needs `kernel`")]),
    ("nothing-to-boot", f"{VM}autostart = true", [(4, "vms.v.autostart", "neither `kernel` nor `disks`")]),
    ("nic-mtu", f"{VM}nics = [{{ passthrough = 'c', model = 'ne2k_pci', mtu = 1501 }}]{CARD}", [(4, "vms.v.nics[0].mtu", "at most 1500")]),
    ("vhost-e1000", f"{VM}nics = [{{ switch = 's', model = 'e1000', attach = 'vhost-user' }}]", [(4, "vms.v.nics[0].attach", "for virtio-net")]),
    ("attach-passed", f"{VM}nics = [{{ passthrough = 'c', attach = 'dgram' }}]{CARD}", [(4, "vms.v.nics[0].attach", "attached to no port")]),
    ("too-many-cards", f"{VM}nics = [{NIC * 17}]", [(4, "vms.v.nics", "at most 16 cards")]),
    ("too-many-disks", f"{VM}disks = [{DISK * 5}]", [(4, "vms.v.disks", "room for 4 disks on ide")]),
    ("no-ide", f"{VM}machine = 'q35'\ndisks = [{DISK}]", [(5, "vms.v.disks", "q35 has room for 0 disks on ide")]),
    ("disk-file-empty", "[vms.v]\nhost = 'h'\ndisks = [{ file = '' }]", [(3, "vms.v.disks[0].file", "must not be empty")]),
    # Words.
    ("dialect", f"{SWITCH}\ndialect = 'vsv'", [(2, f"{S}.dialect", "must be one of vsw, vss, ovs (did you mean 'vsw'?)")]),
    ("learning", f"{SWITCH}\nlearning = 'on'", [(2, f"{S}.learning", "must be one of none, outside, full")]),
    (
        "policy-load",
        f"{SWITCH}\nteam = {{ policy = 'load' }}",
        [(2, f"{S}.team.policy", "must be one of port-id, src-mac, ip-hash, explicit, layer2")],
    ),
    ("policy-balance", f"{SWITCH}\nteam = {{ policy = 'balance-slb' }}", [(2, f"{S}.team.policy", "must be one of port-id")]),
    ("ip-hash-bits", f"{SWITCH}\nteam = {{ ip_hash_bits = 16 }}", [(2, f"{S}.team.ip_hash_bits", "must be one of 8, 32")]),
    ("kind", ports("ports.a = { kind = 'uplnk' }"), [(3, f"{S}.ports.a.kind", "did you mean 'uplink'?")]),
    ("mode", ports("ports.a.vlan = { mode = 'native' }"), [(3, f"{S}.ports.a.vlan.mode", "must be one of access, trunk, native-tagged")]),
    ("mode-missing", ports("ports.a.vlan = { vid = 1 }"), [(3, f"{S}.ports.a.vlan.mode", "is required")]),
    ("mode-not-a-word", ports("ports.a.vlan = { mode = 3 }"), [(3, f"{S}.ports.a.vlan.mode", "must be one of access")]),
    ("controller", "[vms.v]\nhost = 'h'\ndisks = [{ file = 'a', controller = 'scsi' }]", [(3, "vms.v.disks[0].controller", "pvscsi")]),
    ("oui", "oui = 'VMware'", [(1, "oui", "did you mean 'vmware'?")]),
    # Names.
    ("name-slash", ports('ports."a/b" = {}'), [(3, f'{S}.ports."a/b"', "slashes")]),
    ("name-newline", '\n[hosts."a\\nb"]', [(2, 'hosts."a\\nb"', "control characters")]),
    ("name-control", '[hosts."a\\u0007"]', [(1, 'hosts."a\\u0007"', "control characters")]),
    ("name-override", '[hosts."a\\u202e"]', [(1, 'hosts."a\\u202e"', "control characters")]),
    ("name-empty", '[hosts.""]', [(1, 'hosts.""', "must not be empty")]),
    ("name-dots", '[hosts.".."]', [(1, 'hosts.".."', '"." or ".."')]),
    ("name-long", f"[hosts.{'x' * 121}]", [(1, "hosts." + '"' + "x" * 120 + '..."', "longer than 120 bytes")]),
    ("name-space", '[hosts." a"]', [(1, 'hosts." a"', "begin or end with a space")]),
    # MAC addresses.
    ("mac-text", ports("ports.a.mac = 'x'"), [(3, f"{S}.ports.a.mac", "must be a MAC address")]),
    ("mac-number", ports("ports.a.mac = 5"), [(3, f"{S}.ports.a.mac", "must be a MAC address")]),
    ("mac-group", ports("ports.a.mac = '01:00:5e:00:00:01'"), [(3, f"{S}.ports.a.mac", "group address")]),
    ("mac-zero", ports("ports.a.mac = '00:00:00:00:00:00'"), [(3, f"{S}.ports.a.mac", "zero")]),
    ("effective-mac-group", ports("ports.a.effective_mac = 'ff:ff:ff:ff:ff:ff'"), [(3, f"{S}.ports.a.effective_mac", "group address")]),
    ("macs-group", ports("ports.a.macs = ['02:00:00:00:00:01',\n 'ff-ff-ff-ff-ff-ff']"), [(4, f"{S}.ports.a.macs[1]", "group address")]),
    ("static-group", ports("ports.a = {}", "static = [{ mac = '01:80:c2:00:00:00', port = 'a' }]"), [(4, f"{S}.static[0].mac", "group address")]),
    ("effective-mac-alone", ports("ports.a.effective_mac = '02:00:00:00:00:01'"), [(3, f"{S}.ports.a.effective_mac", "needs `mac`")]),
    (
        "uplink-mac",
        ports("ports.a = { kind = 'uplink', mac = '02:00:00:00:00:01' }"),
        [(3, f"{S}.ports.a.mac", "an uplink has no address of its own")],
    ),
    ("uplink-macs", ports("ports.a = { kind = 'uplink', macs = ['02:00:00:00:00:01'] }"), [(3, f"{S}.ports.a.macs", "an uplink has no address")]),
    # Two ports, one address.
    (
        "mac-twice-in-a-vlan",
        ports(A("a", 10), "ports.b.mac = '0200.0000.0001'", "ports.b.vlan = { mode = 'access', vid = 10 }"),
        [(4, f"{S}.ports.b.mac", "already on port 'a' of this switch, in VLAN 10")],
    ),
    (
        "mac-on-a-trunk-and-in-a-vlan-of-it",
        ports("ports.a = { mac = '02:00:00:00:00:01', vlan = { mode = 'trunk', vids = '10,20' } }", A("b", 20)),
        [(4, f"{S}.ports.b.mac", "already on port 'a' of this switch, in VLAN 20")],
    ),
    (
        "mac-in-a-vlan-and-on-a-trunk-that-carries-it",
        ports(A("b", 20), "ports.a = { mac = '02:00:00:00:00:01', vlan = { mode = 'native-tagged', vid = 20, vids = '10' } }"),
        [(4, f"{S}.ports.a.mac", "already on port 'b' of this switch, in VLAN 20")],
    ),
    (
        "mac-on-two-trunks-that-share-no-vlan",
        ports(
            "ports.a = { mac = '02:00:00:00:00:01', vlan = { mode = 'trunk', vids = '10' } }",
            "ports.b = { mac = '02:00:00:00:00:01', vlan = { mode = 'trunk', vids = '20' } }",
        ),
        [(4, f"{S}.ports.b.mac", "already on port 'a' of this switch, in any VLAN")],
    ),
    (
        "mac-in-macs",
        ports(A("a", 10), "ports.b = { macs = ['02:00:00:00:00:02', '02:00:00:00:00:01'], vlan = { mode = 'access', vid = 10 } }"),
        [(4, f"{S}.ports.b.macs[1]", "already on port 'a'")],
    ),
    (
        "mac-as-effective-mac",
        ports(A("a", 10), "ports.b = { mac = '02:00:00:00:00:02', effective_mac = '02:00:00:00:00:01', vlan = { mode = 'access', vid = 10 } }"),
        [(4, f"{S}.ports.b.effective_mac", "already on port 'a'")],
    ),
    (
        "mac-in-two-secondaries",
        ports(
            "ports.a = { mac = '02:00:00:00:00:01', vlan = { mode = 'private', primary = 100, role = 'isolated', secondary = 101 } }",
            "ports.b = { mac = '02:00:00:00:00:01', vlan = { mode = 'private', primary = 100, role = 'community', secondary = 102 } }",
        ),
        [(4, f"{S}.ports.b.mac", "already on port 'a' of this switch, in VLAN 100")],
    ),
    (
        "static-on-another-port",
        ports(A("a", 10), "ports.b = {}", "static = [{ vlan = 10, mac = '02:00:00:00:00:01', port = 'b' }]"),
        [(5, f"{S}.static[0].mac", "already on port 'a' of this switch, in VLAN 10")],
    ),
    (
        "static-twice-in-any-vlan",
        ports(
            "ports = { a = {}, b = {} }",
            "static = [{ mac = '02:00:00:00:00:01', port = 'a' },",
            "          { mac = '02:00:00:00:00:01', port = 'b' }]",
        ),
        [(5, f"{S}.static[1].mac", "already on port 'a' of this switch, in any VLAN")],
    ),
    (
        "vnic-mac-twice",
        f"{VM}nics = [{{ switch='s', mac='02:00:00:00:00:01' }},\n{{ switch='s', mac='02:00:00:00:00:01' }}]",
        [(5, "vms.v.nics[1].mac", "port 'v.0'")],
    ),
    # VIDs.
    ("vid-high", ports("ports.a.vlan = { mode = 'access', vid = 4096 }"), [(3, f"{S}.ports.a.vlan.vid", "less than or equal to 4095")]),
    ("vid-negative", ports("ports.a.vlan = { mode = 'access', vid = -1 }"), [(3, f"{S}.ports.a.vlan.vid", "greater than or equal to 0")]),
    ("vid-missing", ports("ports.a.vlan = { mode = 'native-tagged' }"), [(3, f"{S}.ports.a.vlan.vid", "is required")]),
    ("vid-4095-vsw", ports("ports.a.vlan = { mode = 'access', vid = 4095 }"), [(3, f"{S}.ports.a.vlan.vid", "VIDs of dialect vsw are 0 to 4094")]),
    ("vid-4095-vss", ports("ports.a.vlan = { mode = 'native-tagged', vid = 4095 }", dialect="vss"), [(3, f"{S}.ports.a.vlan.vid", "dialect vss")]),
    ("vids-4095", ports("ports.a.vlan = { mode = 'trunk', vids = '1,4095' }"), [(3, f"{S}.ports.a.vlan.vids", "0 to 4094")]),
    ("cvids-4095", ports("ports.a.vlan = { mode = 'dot1q-tunnel', vid = 1, cvids = [4095] }"), [(3, f"{S}.ports.a.vlan.cvids", "0 to 4094")]),
    ("vids-4096", ports("ports.a.vlan = { mode = 'trunk', vids = '1-4096' }"), [(3, f"{S}.ports.a.vlan.vids", "0 to 4095, not 4096")]),
    ("vids-backwards", ports("ports.a.vlan = { mode = 'trunk', vids = '20-10' }"), [(3, f"{S}.ports.a.vlan.vids", "20-10 runs backwards")]),
    (
        "vids-words",
        ports("ports.a.vlan = { mode = 'trunk', vids = '10,all' }"),
        [(3, f"{S}.ports.a.vlan.vids", "'all' is neither a VID nor a range")],
    ),
    ("vids-empty", ports("ports.a.vlan = { mode = 'trunk', vids = '' }"), [(3, f"{S}.ports.a.vlan.vids", "leave the key out for all")]),
    ("vids-empty-list", ports("ports.a.vlan = { mode = 'trunk', vids = [] }"), [(3, f"{S}.ports.a.vlan.vids", "leave the key out for all")]),
    ("vids-bool", ports("ports.a.vlan = { mode = 'trunk', vids = [true] }"), [(3, f"{S}.ports.a.vlan.vids", "must be a set of VIDs")]),
    ("vids-float", ports("ports.a.vlan = { mode = 'trunk', vids = 1.0 }"), [(3, f"{S}.ports.a.vlan.vids", "must be a set of VIDs")]),
    ("tunnel-0", ports("ports.a.vlan = { mode = 'dot1q-tunnel', vid = 0 }"), [(3, f"{S}.ports.a.vlan.vid", "from 1 to 4094")]),
    (
        "ethertype",
        ports("ports.a.vlan = { mode = 'dot1q-tunnel', vid = 1, ethertype = 0x9100 }"),
        [(3, f"{S}.ports.a.vlan.ethertype", "0x8100 or 0x88a8")],
    ),
    (
        "static-4095",
        ports("ports.a = {}", "static = [{ vlan = 4095, mac = '02:00:00:00:00:01', port = 'a' }]"),
        [(4, f"{S}.static[0].vlan", "0 to 4094")],
    ),
    (
        "profile-vid",
        f"[profiles.p]\nvlan = {{ mode = 'access', vid = 4095 }}\n{SWITCH}\nports.a.profile = 'p'\nports.b.profile = 'p'",
        [(2, "profiles.p.vlan.vid", "dialect vsw")],
    ),
    # Private VLANs.
    ("private-ovs", ports(P("a", 100, "isolated", 101), dialect="ovs"), [(3, f"{S}.ports.a.vlan.mode", "dialect ovs has no private VLANs")]),
    ("private-secondary-missing", ports(P("a", 100, "isolated")), [(3, f"{S}.ports.a.vlan.secondary", "required for role isolated")]),
    ("private-secondary-needless", ports(P("a", 100, "promiscuous", 101)), [(3, f"{S}.ports.a.vlan.secondary", "has no secondary")]),
    (
        "private-two-primaries",
        ports(P("a", 100, "isolated", 102), P("b", 101, "isolated", 102)),
        [(4, f"{S}.ports.b.vlan.secondary", "already a secondary of primary VLAN 100")],
    ),
    (
        "private-both",
        ports(P("a", 100, "isolated", 101), P("b", 101, "community", 102)),
        [(4, f"{S}.ports.b.vlan.primary", "VLAN 101 is a secondary of primary VLAN 100")],
    ),
    ("private-of-itself", ports(P("a", 100, "isolated", 100)), [(3, f"{S}.ports.a.vlan.primary", "VLAN 100 is a secondary of primary VLAN 100")]),
    (
        "private-two-roles",
        ports(P("a", 100, "isolated", 101), P("b", 100, "community", 101)),
        [(4, f"{S}.ports.b.vlan.role", "101 is isolated on another port")],
    ),
    (
        "private-list",
        ports(P("a", 100, "isolated", 101), "private_vlans = [{ primary = 200, secondaries = '101' }]"),
        [(3, f"{S}.ports.a.vlan.secondary", "primary VLAN 200")],
    ),
    (
        "private-list-0",
        ports("private_vlans = [{ primary = 0, secondaries = '101' }]"),
        [(3, f"{S}.private_vlans[0].primary", "greater than or equal to 1")],
    ),
    (
        "private-list-twice",
        ports("private_vlans = [{ primary = 1, secondaries = '2' }, { primary = 1, secondaries = '3' }]"),
        [(3, f"{S}.private_vlans[1].primary", "in one place")],
    ),
    # References.
    ("host", "[hosts.esx1]\n[vms.v]\nhost = 'esx2'", [(3, "vms.v.host", "no such host (did you mean 'esx1'?); there are: esx1")]),
    ("switch", f"{VM}nics = [{{ switch = 'q' }}]", [(4, "vms.v.nics[0].switch", "no such switch on host 'h'; there are: s")]),
    ("switch-missing", f"{VM}nics = [{{}}]", [(4, "vms.v.nics[0]", "needs `switch` (host 'h' has: s) or `passthrough`")]),
    ("profile", f"[profiles.web]\n{VM}nics = [{{ switch = 's', profile = 'wep' }}]", [(5, "vms.v.nics[0].profile", "did you mean 'web'?")]),
    (
        "static-port",
        ports("ports.p1 = {}", "static = [{ mac = '02:00:00:00:00:01', port = 'p11' }]"),
        [(4, f"{S}.static[0].port", "did you mean 'p1'?")],
    ),
    ("supervisor-vm", "[supervisor]\nvm = 'x'", [(2, "supervisor.vm", "no such VM; there are: none")]),
    ("module-host", "[modules]\na = { host = 'x', switch = 's' }", [(2, "modules.a.host", "no such host")]),
    ("module-switch", f"{SWITCH}\n[modules]\na = {{ host = 'h', switch = 'x' }}", [(3, "modules.a.switch", "no such switch on host 'h'")]),
    (
        "module-twice",
        f"{SWITCH}\n[modules]\na = {{ host = 'h', switch = 's' }}\nb = {{ host = 'h', switch = 's' }}",
        [(4, "modules.b", "the same switch as module 'a'")],
    ),
    # Names and numbers of ports.
    (
        "port-name-of-vnic",
        f'{SWITCH}\nports."v.0" = {{}}\n[vms.v]\nhost = "h"\nnics = [{{ switch = "s" }}]',
        [(5, "vms.v.nics[0]", "the switch has a port of that name")],
    ),
    ("number-twice", ports("ports.a.number = 3", "ports.b.number = 3"), [(4, f"{S}.ports.b.number", "port 'a' of this switch has the same number")]),
    ("number-high", ports("ports.a.number = 4096"), [(3, f"{S}.ports.a.number", "less than 4096")]),
    # Cards and teams.
    ("team-empty", ports("team = { active = [] }"), [(3, f"{S}.team", "at least one active uplink")]),
    ("team-of-nothing", ports("team = { policy = 'ip-hash' }"), [(3, f"{S}.team", "at least one active uplink")]),
    ("team-only-standby", ports("team = { active = [], standby = ['n'] }"), [(3, f"{S}.team", "at least one active uplink")]),
    ("team-twice", ports("team = { active = ['n', 'n'] }"), [(3, f"{S}.team.active[1]", "already in `active`")]),
    ("team-active-and-standby", ports("team = { active = ['n'], standby = ['n'] }"), [(3, f"{S}.team.standby[0]", "already in `active`")]),
    (
        "team-plain-member",
        ports("ports.n = { kind = 'plain' }", "team = { active = ['n'] }"),
        [(4, f"{S}.team.active[0]", "written down as 'plain'")],
    ),
    (
        "team-card",
        "[hosts.h.nics]\neth0 = {}\n" + ports("team = { active = ['eth1'] }"),
        [(5, f"{S}.team.active[0]", "the host has no such card (did you mean 'eth0'?)")],
    ),
    ("uplink-card", "[hosts.h.nics]\neth0 = {}\n" + ports("ports.eth1 = { kind = 'uplink' }"), [(5, f"{S}.ports.eth1", "the host has no such card")]),
    (
        "uplink-of-two",
        "[hosts.h.switches]\na.team = { active = ['n'] }\nb.ports.n = { kind = 'uplink' }",
        [(3, "hosts.h.switches.b.ports.n", "already an uplink of switch 'a'")],
    ),
    (
        "team-of-two",
        "[hosts.h.switches]\na.team = { active = ['n'] }\nb.team = { active = ['m'], standby = ['n'] }",
        [(3, "hosts.h.switches.b.team.standby[0]", "already an uplink of switch 'a'")],
    ),
    (
        "override-unknown",
        ports("team = { active = ['n'] }", "ports.a.team = { active = ['m'] }"),
        [(4, f"{S}.ports.a.team.active[0]", "no uplink of switch 's'")],
    ),
    (
        "override-in-profile",
        "[profiles.p]\nteam = { active = ['m'] }\n" + ports("team = { active = ['n'] }", "ports.a.profile = 'p'"),
        [(2, "profiles.p.team.active[0]", "no uplink of switch 's'")],
    ),
    ("override-without-uplinks", ports("ports.a.team = { policy = 'ip-hash' }"), [(3, f"{S}.ports.a.team", "no uplinks to make a team of")]),
    (
        "override-empty",
        ports("team = { active = ['n'] }", "ports.a.team = { active = [], standby = ['n'] }"),
        [(4, f"{S}.ports.a.team", "at least one active")],
    ),
    (
        "override-of-an-uplink",
        ports("team = { active = ['n'] }", "ports.n.team = { policy = 'ip-hash' }"),
        [(4, f"{S}.ports.n.team", "can't have its own")],
    ),
    (
        "override-lacp",
        ports("team = { active = ['n'] }", "ports.a.team = { lacp = true }"),
        [(4, f"{S}.ports.a.team.lacp", "LACP runs on the team of the switch")],
    ),
    (
        "ovs-override",
        ports("team = { active = ['n'] }", "ports.a.team = { policy = 'src-mac' }", dialect="ovs"),
        [(4, f"{S}.ports.a.team", "in dialect ovs a team is one port")],
    ),
    ("ovs-unused", ports("team = { active = ['n'], unused = ['m'] }", dialect="ovs"), [(3, f"{S}.team.unused", "can't be unused")]),
    (
        "ovs-members-differ",
        ports("team = { active = ['n', 'm'] }", "ports.m.vlan = { mode = 'access', vid = 3 }", dialect="ovs"),
        [(3, f"{S}.team", "members 'n' and 'm' differ in `vlan`")],
    ),
    # Cards that are passed through.
    (
        "passthrough-unknown",
        "[hosts.h.nics]\neth0 = {}\n[vms.v]\nhost = 'h'\nnics = [{ passthrough = 'eth1' }]",
        [(5, "vms.v.nics[0].passthrough", "did you mean 'eth0'?")],
    ),
    (
        "passthrough-of-an-uplink",
        "[hosts.h.nics]\neth0 = {}\n[hosts.h.switches.s]\nteam = { active = ['eth0'] }\n[vms.v]\nhost = 'h'\nnics = [{ passthrough = 'eth0' }]",
        [(7, "vms.v.nics[0].passthrough", "the card is an uplink of switch 's'")],
    ),
    (
        "passthrough-twice",
        "[hosts.h.nics]\neth0 = {}\n[vms.v]\nhost = 'h'\nnics = [{ passthrough = 'eth0' },\n{ passthrough = 'eth0' }]",
        [(6, "vms.v.nics[1].passthrough", "already passed through to vNIC v.0")],
    ),
    (
        "passthrough-and-switch",
        f"[hosts.h.nics]\neth0 = {{}}\n{SWITCH}\n[vms.v]\nhost = 'h'\nnics = [{{ passthrough = 'eth0', switch = 's' }}]",
        [(6, "vms.v.nics[0].passthrough", "not connected to a `switch` as well")],
    ),
    # Not TOML.
    ("syntax", "a = 1\nb = ]", [(2, "", "column 5: not TOML")]),
    ("syntax-end", "a = 1\nb = [1,", [(2, "", "column 8: not TOML")]),
    ("key-twice", "oui = 'kvm'\noui = 'xen'", [(2, "", "not TOML: Cannot overwrite a value")]),
    ("deep-array", "a = " + "[\n" * 100_000, [(33, "", "nested deeper than 32 levels")]),
    ("deep-table", "a = " + "{a = " * 100_000, [(1, "", "nested deeper than 32 levels")]),
    ("deep-key", "\na" + ".a" * 1_000_000 + " = 1", [(2, "", "nested deeper than 32 levels")]),
    ("deep-header", "[a" + ".a" * 1_000_000 + "]", [(1, "", "nested deeper than 32 levels")]),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_refused(text: str, expected: list[tuple[int, str, str]]) -> None:
    with pytest.raises(vsw.ConfigError) as caught:
        vsw.loads(text, file="lab.toml")
    problems = caught.value.problems
    assert [(problem.line, problem.key) for problem in problems] == [(line, key) for line, key, _ in expected], str(caught.value)
    for problem, (line, key, part) in zip(problems, expected, strict=True):
        assert part in problem.message
        assert str(problem).startswith(f"lab.toml:{line}: {key}: " if key else f"lab.toml:{line}: ")


def test_more_ports_than_a_switch_has() -> None:
    text = f"{SWITCH}\nports.p0 = {{}}\n" + "".join(f"ports.p{number} = {{}}\n" for number in range(1, 4096))
    assert len(vsw.loads(text).module().ports) == 4096
    with pytest.raises(vsw.ConfigError, match="at most 4096 ports, this one has 4097") as caught:
        vsw.loads(text + "ports.last = {}")
    assert (caught.value.problems[0].line, caught.value.problems[0].key) == (2, f"{S}.ports")


def test_a_hundred_problems_are_listed_and_the_rest_is_counted() -> None:
    with pytest.raises(vsw.ConfigError) as caught:
        vsw.loads("".join(f"k{number} = 1\n" for number in range(1000)))
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1].message == "and 900 more problems"
    with pytest.raises(vsw.ConfigError) as caught:
        vsw.loads(SWITCH + "\nports.p1 = {}\nstatic = [" + "{ mac = '02:00:00:00:00:01', port = 'p2' }," * 1000 + "]")
    assert caught.value.problems[-1].message == "and 900 more problems"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{SWITCH}\nmtu = 0x{'f' * 5000}", "(found 'an integer of 20000 bits')"),
        (f"oui = '{'x' * 5000}'", f"(found '{'x' * 120}...')"),
        ("hosts = [" + "1," * 5000 + "]", "(found '5000 values')"),
        ("hosts = [1, 2]", "(found [1, 2])"),
        ("oui = { a = 1, b = 2 }", "(found 'a table of 2 keys')"),
        (f"{SWITCH}\nmtu = 1979-05-27", "(found '1979-05-27')"),
    ],
    ids=["huge", "long", "array", "short-array", "table", "date"],
)
def test_values_are_shown_short(text: str, shown: str) -> None:
    with pytest.raises(vsw.ConfigError) as caught:
        vsw.loads(text)
    assert str(caught.value).endswith(shown)
