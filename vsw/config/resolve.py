"""From words to modules: references between sections, VMs to ports, MAC addresses; one switch is the work of ``ports``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from vsw.config import mac_file
from vsw.config.lab import Host, Lab
from vsw.config.machines import check_machines
from vsw.config.models import HostWords, Topology, VmWords, VnicWords
from vsw.config.module import Module
from vsw.config.oui import allocate
from vsw.config.ports import SwitchBuilder, Vnic
from vsw.config.positions import Path
from vsw.config.problems import Report
from vsw.config.values import listed


@dataclass(slots=True)
class _Plan:
    """What is attached to one host."""

    vnics: dict[str, list[Vnic]] = field(default_factory=dict)
    passed_through: dict[str, Path] = field(default_factory=dict)


def resolve(topology: Topology, report: Report) -> Lab:
    """The lab that a topology describes; what is wrong goes to ``report``, and then the lab is not to be used."""
    macs = _allocate(topology, report)
    plans = _attach(topology, macs, report)
    hosts = {}
    for name, words in topology.hosts.items():
        _check_cards(name, words, plans[name], report)
        switches: dict[str, Module] = {}
        for switch, switch_words in words.switches.items():
            builder = SwitchBuilder(name, switch, switch_words, topology.profiles, words.nics, report)
            module = builder.build(plans[name].vnics.get(switch, []))
            if module is not None:
                switches[switch] = module
        _check_attachments(switches.values(), name, report)
        hosts[name] = Host(name, switches)
    check_machines(topology, report)
    _check_supervisor(topology, report)
    return Lab(hosts=hosts, topology=topology, macs={f"{vm}.{index}": mac for (vm, index), mac in macs.items()}, file=report.file)


def _allocate(topology: Topology, report: Report) -> dict[tuple[str, int], int]:
    """The configured address of every vNIC, in file order."""
    taken: set[int] = set()
    for host in topology.hosts.values():
        taken.update(nic.mac for nic in host.nics.values() if nic.mac is not None)
        for switch in host.switches.values():
            taken.update(entry.mac for entry in switch.static)
            for port in switch.ports.values():
                taken.update(mac for mac in (port.mac, port.effective_mac, *port.macs) if mac is not None)
    wanted = []
    given: dict[tuple[str, int], int | None] = {}
    for name, vm in topology.vms.items():
        for index, nic in enumerate(vm.nics):
            taken.update(mac for mac in (nic.mac, nic.effective_mac, *nic.macs) if mac is not None)
            given[name, index] = nic.mac
            if nic.mac is None:
                wanted.append((identity_of(name, vm), index, vm.oui or topology.oui))
    try:
        fresh = allocate(wanted, taken, _remembered(topology, report))
    except ValueError as error:
        report.add(("vms",), str(error))
        return {}
    return {(vm, index): fresh[identity_of(vm, topology.vms[vm]), index] if mac is None else mac for (vm, index), mac in given.items()}


def identity_of(name: str, vm: VmWords) -> str:
    """What a VM's MAC addresses follow."""
    return vm.uuid or name


def given_macs(lab: Lab) -> dict[tuple[str, int], int]:
    """(Identity, index) -> address of every vNIC that was given one, as ``mac_file`` keeps it."""
    vms = lab.topology.vms.items()
    return {(identity_of(name, vm), i): lab.macs[f"{name}.{i}"] for name, vm in vms for i, nic in enumerate(vm.nics) if nic.mac is None}


def _remembered(topology: Topology, report: Report) -> dict[tuple[str, int], int]:
    if topology.mac_file is None:
        return {}
    try:
        return mac_file.read(beside(report.file, topology.mac_file))
    except ValueError as error:
        report.add(("mac_file",), str(error), topology.mac_file)
        return {}


def beside(file: str, name: str) -> FilePath:
    """A file that a topology names, from the topology's folder."""
    return FilePath(file).parent / name


def _attach(topology: Topology, macs: dict[tuple[str, int], int], report: Report) -> dict[str, _Plan]:
    """Every vNIC to its host's switch or card, in file order."""
    plans = {name: _Plan() for name in topology.hosts}
    for name, vm in topology.vms.items():
        if vm.host not in plans:
            report.add(("vms", name, "host"), f"no such host{report.hint(vm.host, plans)}; there are: {listed(plans)}", vm.host)
            continue
        host = topology.hosts[vm.host]
        plan = plans[vm.host]
        for index, nic in enumerate(vm.nics):
            path: Path = ("vms", name, "nics", index)
            if nic.passthrough is not None:
                _pass_through(path, nic, host, plan, report)
            elif nic.switch is None:
                report.add(path, f"needs `switch` (host {vm.host!r} has: {listed(host.switches)}) or `passthrough`")
            elif nic.switch not in host.switches:
                hint = report.hint(nic.switch, host.switches)
                report.add((*path, "switch"), f"no such switch on host {vm.host!r}{hint}; there are: {listed(host.switches)}", nic.switch)
            else:
                vnic = Vnic(name=f"{name}.{index}", path=path, words=nic, mac=macs.get((name, index)))
                plan.vnics.setdefault(nic.switch, []).append(vnic)
    return plans


def _pass_through(path: Path, nic: VnicWords, host: HostWords, plan: _Plan, report: Report) -> None:
    card = nic.passthrough
    assert card is not None
    if nic.switch is not None:
        report.add((*path, "passthrough"), "a card that is passed through to the VM is not connected to a `switch` as well", card)
    elif card not in host.nics:
        report.add((*path, "passthrough"), f"the host has no such card{report.hint(card, host.nics)}; it has: {listed(host.nics)}", card)
    elif card in plan.passed_through:
        first = plan.passed_through[card]
        report.add((*path, "passthrough"), f"the card is already passed through to vNIC {first[1]}.{first[3]}", card)
    else:
        plan.passed_through[card] = path


def _check_cards(name: str, host: HostWords, plan: _Plan, report: Report) -> None:
    """A physical card is an uplink of one switch, or passed through, or neither."""
    user: dict[str, str] = {}
    for switch, words in host.switches.items():
        where: Path = ("hosts", name, "switches", switch)
        cards: dict[str, Path] = {port: (*where, "ports", port) for port, port_words in words.ports.items() if port_words.kind == "uplink"}
        if words.team is not None:
            for key, members in (("active", words.team.active), ("standby", words.team.standby), ("unused", words.team.unused)):
                for index, card in enumerate(members or ()):
                    cards.setdefault(card, (*where, "team", key, index))
        for card, path in cards.items():
            if card in user:
                report.add(path, f"the card is already an uplink of switch {user[card]!r}", card)
            else:
                user[card] = switch
            if card in plan.passed_through:
                vnic = plan.passed_through[card]
                report.add((*vnic, "passthrough"), f"the card is an uplink of switch {switch!r}", card)


def _check_attachments(modules: Iterable[Module], host: str, report: Report) -> None:
    """Two ports of a host are not attached to the same thing."""
    users: dict[str, str] = {}
    for module in modules:
        for port in module.ports:
            for key, value in port.attach.words if port.attach is not None else ():
                if key == "role":
                    continue
                thing = f"interface {value}" if key in {"name", "interface"} else f"socket {value}"
                user = users.setdefault(thing, f"{module.name}/{port.name}")
                if user != f"{module.name}/{port.name}":
                    report.add(("hosts", host), f"{user} and {module.name}/{port.name} are both attached to {thing}")


def _check_supervisor(topology: Topology, report: Report) -> None:
    supervisor = topology.supervisor
    if supervisor is not None and supervisor.vm is not None and supervisor.vm not in topology.vms:
        message = f"no such VM{report.hint(supervisor.vm, topology.vms)}; there are: {listed(topology.vms)}"
        report.add(("supervisor", "vm"), message, supervisor.vm)
    owner: dict[tuple[str, str], str] = {}
    for name, module in topology.modules.items():
        path: Path = ("modules", name)
        host = topology.hosts.get(module.host)
        if host is None:
            report.add((*path, "host"), f"no such host{report.hint(module.host, topology.hosts)}; there are: {listed(topology.hosts)}", module.host)
        elif module.switch not in host.switches:
            hint = report.hint(module.switch, host.switches)
            report.add((*path, "switch"), f"no such switch on host {module.host!r}{hint}; there are: {listed(host.switches)}", module.switch)
        elif (module.host, module.switch) in owner:
            report.add(path, f"is the same switch as module {owner[module.host, module.switch]!r}")
        else:
            owner[module.host, module.switch] = name
