"""A private Open vSwitch that takes the same :class:`vsw.config.module.Module` as vsw, and frames, and hands back what left.

The daemons run with dummy devices in a temporary directory, with sockets, database and process identifiers of their own: no root, no
kernel module, nothing of an Open vSwitch that runs on the machine is touched.  The clock of the switch stands still, so nothing ages.

How frames go in and come out
    A dummy port hands over one frame each time the daemon's main loop turns, in which it serves requests *after* it forwarded
    frames.  A request on a connection that was opened after the reply to the last one is accepted in a later turn, so one connection for each
    frame keeps the order between ports; requests on one connection can be served in one turn, and lose it.  Where the order is of no account, a
    request carries as many frames as the queue of a port holds.  Frames are through when the daemon's counter of received packets says so.
    What leaves is read from a capture for each port, which the daemon flushes after each frame.  Frames carry a number in their last bytes.
    Frames too short for that go in alone.

``other_config:flow-limit=0`` keeps flows out of the cache: a cached flow of an earlier frame may treat a later one otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from vsw.config.module import ALL_VIDS, Module, Port

BRIDGE = "br"
QUEUE = 90  # frames that a dummy port takes at once (it holds 100)
DEADLINE = 30.0  # seconds for anything that the daemons are asked
MAGIC = b"\xf5vsw"
NUMBER = len(MAGIC) + 4  # bytes of a frame's number at its end
SHORTEST_NUMBERED = 14 + 8 + 4 + NUMBER  # two tags may go, and nothing of the number with them
PCAP_HEADER = 24
PCAP_RECORD = struct.Struct("=IIII")  # written in the byte order of this machine
DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/sbin")

Egress = dict[int, list[bytes]]  # port number -> the frames that left there, in order


class DriverError(RuntimeError):
    """The switch did not do what the driver asked, or what it asked makes no sense."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A frame offered to a switch: the ingress port's number, and the frame without its checksum (14 bytes at least)."""

    port: int
    data: bytes


def program(name: str) -> str | None:
    """The path of a program of Open vSwitch; the daemons are not in the PATH of an ordinary user."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *DIRECTORIES]))


def missing() -> str | None:
    """What is not installed, or ``None``."""
    lacking = [name for name in ("ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl") if program(name) is None]
    return f"{', '.join(lacking)} not found (Debian: apt-get install openvswitch-switch)" if lacking else None


def number_frame(data: bytes, number: int) -> bytes:
    """The frame with ``number`` in its last bytes, if it is long enough to hold one; else as it is."""
    return data[:-NUMBER] + MAGIC + struct.pack("!I", number) if len(data) >= SHORTEST_NUMBERED else data


def frame_number(data: bytes) -> int | None:
    """The number that :func:`number_frame` wrote, ``None`` if there is none."""
    return int(struct.unpack("!I", data[-4:])[0]) if len(data) >= NUMBER and data[-NUMBER:-4] == MAGIC else None


def commands(module: Module, *, directory: Path | None = None, serial: str = "") -> list[list[str]]:
    """The module as commands of ``ovs-vsctl``, each a list of words.

    With a ``directory``, each port ``N`` captures what it sends in ``N<serial>.pcap`` there.  ``serial`` is appended to the names of the ports.
    The bridge itself is not among them, so that one bridge can serve several modules in turn.
    """
    if module.dialect.name != "ovs":
        raise DriverError(f"dialect {module.dialect.name!r}: Open vSwitch speaks 'ovs' alone")
    bonds = {number: team for team in module.teams for number in (*team.active, *team.standby)}
    lines = [
        ["set", "Open_vSwitch", ".", f"other_config:vlan-limit={module.vlan_limit}"],
        ["set", "Bridge", BRIDGE, f"other_config:forward-bpdu={str(module.forward_bpdu).lower()}"],
    ]
    for port in module.ports:
        interface = [port_name(port, serial), "type=dummy", "mtu_request=65000"]
        if directory is not None:
            interface.append(f"options:tx_pcap={directory / f'{port.number}{serial}.pcap'}")
        team = bonds.get(port.number)
        if team is None:
            lines.append(["add-port", BRIDGE, port_name(port, serial), *port_settings(port)])
        elif port.number == team.active[0]:
            members = [module.port(number) for number in (*team.active, *team.standby)]
            if any(member.vlan != port.vlan or member.protected != port.protected for member in members):
                raise DriverError(f"team {team.name!r}: the members' settings differ; a bond has one set of them")
            mode = "active-backup" if team.policy == "explicit" else "balance-slb"
            names = [port_name(member, serial) for member in members]
            primary = [f"other_config:bond-primary={names[0]}"] if mode == "active-backup" and team.failback else []
            lines.append(["add-bond", BRIDGE, team.name + serial, *names, f"bond_mode={mode}", *primary, *port_settings(port)])
        lines.append(["set", "Interface", *interface])
    # A bond is added at its first member; interfaces can be set only after that.
    return [line for line in lines if line[:2] != ["set", "Interface"]] + [line for line in lines if line[:2] == ["set", "Interface"]]


def port_name(port: Port, serial: str) -> str:
    return f"{port.name}{serial}"


def port_settings(port: Port) -> list[str]:
    """A port's columns in the table ``Port``."""
    vlan = port.vlan
    settings = [f"vlan_mode={vlan.mode}"]
    if vlan.vid or vlan.mode == "dot1q-tunnel":
        settings.append(f"tag={vlan.vid}")
    carried = vlan.vids | {0} if vlan.vid else vlan.vids
    if vlan.mode in ("trunk", "native-tagged", "native-untagged") and carried != ALL_VIDS:
        settings.append(f"trunks={','.join(map(str, sorted(vlan.vids)))}")
    if vlan.mode == "dot1q-tunnel":
        if vlan.cvids:
            settings.append(f"cvlans={','.join(map(str, sorted(vlan.cvids)))}")
        settings.append(f"other_config:qinq-ethtype={'802.1q' if vlan.ethertype == 0x8100 else '802.1ad'}")
    if port.priority_tags != "no":
        settings.append(f"other_config:priority-tags={port.priority_tags}")
    if port.protected:
        settings.append("protected=true")
    return settings


def script(module: Module, static: Iterable[tuple[str, int, int]] | None = None) -> str:
    """The commands with which a reader builds the same switch by hand (the daemons running with dummy devices)."""
    lines = [
        "ovs-vsctl set Open_vSwitch . other_config:flow-limit=0",
        f"ovs-vsctl add-br {BRIDGE} -- set Bridge {BRIDGE} datapath-type=dummy; ovs-ofctl mod-port {BRIDGE} {BRIDGE} no-flood; ovs-appctl time/stop",
    ]
    # In one transaction: a port that is not yet of type dummy would be looked for in the kernel.
    lines.append("ovs-vsctl " + " \\\n    -- ".join(" ".join(line) for line in commands(module)))
    names = {port.number: port.name for port in module.ports}
    entries = [(names[e.port], e.vlan or 0, e.mac) for e in module.static] if static is None else static
    lines += [f"ovs-appctl fdb/add {BRIDGE} {port} {vlan} {mac_text(mac)}" for port, vlan, mac in entries]
    return "\n".join(lines)


def mac_text(mac: int) -> str:
    return ":".join(f"{byte:02x}" for byte in mac.to_bytes(6, "big"))


class Control:
    """Requests to a daemon over its control socket (JSON-RPC)."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.kept: socket.socket | None = None

    def close(self) -> None:
        if self.kept is not None:
            self.kept.close()
            self.kept = None

    def request(self, method: str, *parameters: str) -> str:
        """A request on the connection that is kept: quick, but in no order with what the daemon forwards."""
        if self.kept is None:
            self.kept = self._connect()
        return self._exchange(self.kept, method, parameters)

    def request_in_next_turn(self, method: str, *parameters: str) -> str:
        """A request that the daemon serves after it forwarded what earlier requests gave it."""
        with self._connect() as connection:
            return self._exchange(connection, method, parameters)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(DEADLINE)
        connection.connect(self.path)
        return connection

    def _exchange(self, connection: socket.socket, method: str, parameters: Sequence[str]) -> str:
        connection.sendall(json.dumps({"id": 0, "method": method, "params": parameters}).encode())
        received = b""
        while True:
            part = connection.recv(1 << 16)
            if not part:
                raise DriverError(f"{method}: the daemon closed the connection")
            received += part
            with contextlib.suppress(ValueError):  # the reply is not complete yet
                reply = json.loads(received)
                break
        if reply["error"] is not None:
            raise DriverError(f"{method} {' '.join(parameters)[:200]}: {reply['error']}")
        return str(reply["result"])


@dataclass
class Tap:
    """What a port sent, read from its capture as it grows."""

    path: Path
    descriptor: int
    offset: int = PCAP_HEADER
    rest: bytes = b""

    @classmethod
    def open(cls, path: Path) -> Tap:
        return cls(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)

    def read(self) -> Iterator[bytes]:
        while part := os.pread(self.descriptor, 1 << 20, self.offset):
            self.offset += len(part)
            self.rest += part
        start, held = 0, self.rest
        while len(held) - start >= PCAP_RECORD.size:
            _, _, captured, length = PCAP_RECORD.unpack_from(held, start)
            end = start + PCAP_RECORD.size + captured
            if end > len(held):
                break
            if captured != length:
                raise DriverError(f"{self.path.name}: a frame of {length} bytes was captured with {captured}")
            yield held[start + PCAP_RECORD.size : end]
            start = end
        self.rest = held[start:]


@dataclass
class OpenVSwitch:
    """The daemons, and a bridge that is given one module after the other.  A context manager."""

    directory: Path = field(init=False)
    module: Module | None = None

    def __enter__(self) -> OpenVSwitch:
        self.directory = Path(tempfile.mkdtemp(prefix="vsw-ovs-"))
        self.children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.taps: dict[int, Tap] = {}
        self.names: dict[int, str] = {}
        self.serial = 0
        self.numbered = 0
        self.environment = dict(os.environ) | {
            key: str(self.directory) for key in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        }
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Start and end.

    def _start(self) -> None:
        directory = self.directory
        database, tool = directory / "conf.db", program("ovsdb-tool")
        schema = next((path for path in map(Path, SCHEMAS) if path.exists()), None)
        if schema is None:
            raise DriverError("vswitch.ovsschema not found")
        if tool is None:
            raise DriverError("ovsdb-tool not found")
        self._run(tool, "create", str(database), str(schema))
        self._spawn("ovsdb-server", str(database), f"--remote=punix:{directory}/db.sock", f"--unixctl={directory}/db.ctl")
        self._wait_for(directory / "db.sock")
        self.vsctl(["init"], wait=False)
        self._spawn(
            "ovs-vswitchd", f"unix:{directory}/db.sock", f"--unixctl={directory}/switch.ctl", "--enable-dummy=override", "--disable-system"
        )
        self._wait_for(directory / "switch.ctl")
        self.control = Control(directory / "switch.ctl")
        threads = ["other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1"]
        self.vsctl(
            ["set", "Open_vSwitch", ".", "other_config:flow-limit=0", *threads],
            ["add-br", BRIDGE],
            ["set", "Bridge", BRIDGE, "datapath-type=dummy", "other_config:mac-table-size=8192"],
        )
        # The bridge's own port carries all VLANs and comes first in a flood: a copy that no other switch makes.
        self._run(str(program("ovs-ofctl")), "mod-port", f"unix:{directory}/{BRIDGE}.mgmt", BRIDGE, "no-flood")
        self.control.request("time/stop")

    def close(self) -> None:
        """End the daemons that this object started and remove its directory.  May be called twice."""
        for tap in self.taps.values():
            tap.close()
        self.taps = {}
        if hasattr(self, "control"):
            self.control.close()
        for _, child in reversed(self.children):
            child.terminate()
        for _, child in reversed(self.children):
            try:
                child.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = []
        shutil.rmtree(self.directory, ignore_errors=True)

    def _spawn(self, name: str, *arguments: str) -> None:
        # If this process dies without ending its daemons the kernel ends them (setpriv, of util-linux).
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        log = ["-vconsole:off", "-vsyslog:off", f"--log-file={self.directory / name}.log"]
        with Path(os.devnull).open("r+b") as null:
            child = subprocess.Popen(
                [*guard, str(program(name)), *arguments, *log], env=self.environment, cwd=self.directory, stdin=null, stdout=null, stderr=null
            )
        self.children.append((name, child))

    def _run(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
        if done.returncode:
            raise DriverError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + DEADLINE
        while not path.exists():
            self._check_alive()
            if time.monotonic() > deadline:
                raise DriverError(f"{path.name} did not appear within {DEADLINE:.0f} s")
            time.sleep(0.002)

    def _check_alive(self) -> None:
        for name, child in self.children:
            if child.poll() is not None:
                log = self.directory / f"{name}.log"
                tail = log.read_text()[-2000:] if log.exists() else ""
                raise DriverError(f"{name} ended with status {child.returncode}\n{tail}")

    # Configuration.

    def vsctl(self, *lines: Sequence[str], wait: bool = True) -> str:
        """Commands of ``ovs-vsctl`` in one transaction; returns when the switch has put it into effect."""
        words = [word for line in lines for word in ("--", *line)]
        return self._run(str(program("ovs-vsctl")), f"--db=unix:{self.directory}/db.sock", *([] if wait else ["--no-wait"]), *words)

    def configure(self, module: Module, settings: dict[int, list[str]] | None = None) -> None:
        """Replace the bridge's ports by the module's.

        ``settings`` gives, for port numbers, columns of the table ``Port`` that stand instead of those that follow from the module.
        """
        self.serial += 1
        serial = f"-{self.serial}"
        lines = commands(module, directory=self.directory, serial=serial)
        if settings is not None:
            replaced = {port_name(module.port(number), serial): words for number, words in settings.items()}
            lines = [[*line[:3], *replaced[line[2]]] if line[0] == "add-port" and line[2] in replaced else line for line in lines]
        old = [["del-port", BRIDGE, name] for name in self.ports_to_delete()]
        self.vsctl(*old, *lines)
        for tap in self.taps.values():
            tap.close()
        self.module = module
        self.names = {port.number: port_name(port, serial) for port in module.ports}
        self.bonds = [team.name + serial for team in module.teams]
        self.taps = {port.number: Tap.open(self.directory / f"{port.number}{serial}.pcap") for port in module.ports}
        self.control.request("fdb/flush", BRIDGE)
        for entry in module.static:
            if entry.vlan is None:
                raise DriverError(f"static entry for {mac_text(entry.mac)}: Open vSwitch has none for any VLAN")
            self.control.request("fdb/add", BRIDGE, self.names[entry.port], str(entry.vlan), mac_text(entry.mac))
        self.received = self._count_received()
        self._settle_bonds()

    def ports_to_delete(self) -> list[str]:
        """The bridge's ports (a bond is one), by name."""
        bonded = set()
        names = []
        if self.module is not None:
            for team, bond in zip(self.module.teams, self.bonds, strict=True):
                bonded.update((*team.active, *team.standby))
                names.append(bond)
        return names + [name for number, name in self.names.items() if number not in bonded]

    def _settle_bonds(self) -> None:
        """Wait until each bond has enabled its members and made the team's first one active."""
        if self.module is None:
            return
        for team, bond in zip(self.module.teams, self.bonds, strict=True):
            members = [self.names[number] for number in (*team.active, *team.standby)]
            deadline = time.monotonic() + DEADLINE
            while True:
                shown = self._show(bond)
                enabled = set(re.findall(r"^(?:member|slave) (\S+): enabled", shown, re.MULTILINE))
                if enabled == set(members):
                    break
                if time.monotonic() > deadline:
                    raise DriverError(f"the members of {bond} are not enabled:\n{shown}")
                self.control.request("time/warp", "100")
            self.control.request("bond/set-active-member", bond, members[0])
            self.control.request_in_next_turn("version")
        # What a bond announces when it comes up is no copy of a frame of ours.
        self.collect()

    def set_member(self, number: int, up: bool) -> None:
        """A member of a bond goes up or down; returns when the bond has taken note."""
        self.control.request("netdev-dummy/set-admin-state", self.names[number], "up" if up else "down")
        state = "enabled" if up else "disabled"
        deadline = time.monotonic() + DEADLINE
        while not any(re.search(rf"^member {re.escape(self.names[number])}: {state}", self._show(bond), re.MULTILINE) for bond in self.bonds):
            if time.monotonic() > deadline:
                raise DriverError(f"{self.names[number]} does not become {state}")
            self.control.request("time/warp", "100")
        self.control.request_in_next_turn("version")
        self.collect()  # what the bond announces

    def _show(self, bond: str) -> str:
        return self.control.request_in_next_turn("bond/show", bond)

    def flush(self) -> None:
        """Forget the addresses that were learned; static entries stay."""
        self.control.request("fdb/flush", BRIDGE)

    # Frames.

    def forward_in_order(self, frames: Sequence[Offered]) -> list[Egress]:
        """Offer frames one after the other: each meets what those before it taught the switch."""
        return self._forward(frames, self._offer_in_order)

    def forward_in_any_order(self, frames: Sequence[Offered]) -> list[Egress]:
        """Offer frames whose result does not depend on one another (no destination is the source of another): much quicker."""
        return self._forward(frames, self._offer_in_any_order)

    def _forward(self, frames: Sequence[Offered], offer) -> list[Egress]:  # type: ignore[no-untyped-def]
        self.collect()
        result: list[Egress] = [{} for _ in frames]
        held: list[int] = []

        def finish() -> None:
            first = self.numbered
            offer([(frames[index].port, number_frame(frames[index].data, first + place)) for place, index in enumerate(held)])
            self.numbered += len(held)
            for port, data in self.collect():
                number = frame_number(data)
                if number is None and len(held) == 1:
                    result[held[0]].setdefault(port, []).append(data)
                elif number is None or not first <= number < self.numbered:
                    raise DriverError(f"{self.names[port]} sent a frame that was not offered: {data.hex()}")
                else:
                    index = held[number - first]
                    restored = data[:-NUMBER] + frames[index].data[-NUMBER:]
                    result[index].setdefault(port, []).append(restored)
            held.clear()

        for index, frame in enumerate(frames):
            if len(frame.data) >= SHORTEST_NUMBERED:
                held.append(index)
                continue
            if held:
                finish()
            held.append(index)
            finish()
        if held:
            finish()
        return result

    def _offer_in_order(self, frames: Sequence[tuple[int, bytes]]) -> None:
        for port, data in frames:
            self.control.request_in_next_turn("netdev-dummy/receive", self.names[port], data.hex())
        self.received += len(frames)
        self._drain()

    def _offer_in_any_order(self, frames: Sequence[tuple[int, bytes]]) -> None:
        queues: dict[int, list[str]] = {}
        for port, data in frames:
            queues.setdefault(port, []).append(data.hex())
        while queues:
            for port, queue in list(queues.items()):
                self.control.request("netdev-dummy/receive", self.names[port], *queue[:QUEUE])
                self.received += min(QUEUE, len(queue))
                queues[port] = queue[QUEUE:]
                if not queues[port]:
                    del queues[port]
            self._drain()

    def _count_received(self) -> int:
        shown = self.control.request("dpif-netdev/pmd-stats-show")
        return sum(map(int, re.findall(r"packets received: (\d+)", shown)))

    def _drain(self) -> None:
        """Return when the switch has forwarded all that it was offered."""
        deadline = time.monotonic() + DEADLINE
        while (count := self._count_received()) != self.received:
            if count > self.received or time.monotonic() > deadline:
                self._check_alive()
                raise DriverError(f"the switch received {count} frames, {self.received} were offered")

    def collect(self) -> list[tuple[int, bytes]]:
        """What the ports sent since the last call: port number, frame."""
        return [(port, data) for port, tap in self.taps.items() for data in tap.read()]


SCHEMAS = ("/usr/share/openvswitch/vswitch.ovsschema", "/usr/local/share/openvswitch/vswitch.ovsschema")
