"""The line of rules that every frame goes through, one method for each rule of docs/rules.md, with its number.

Plain and slow on purpose: it is read next to the rules, it narrates what it does (``vsw explain``), and it is what the
compiled datapath is held against.
"""

from __future__ import annotations

from collections.abc import Callable

from vsw.config.dialects import BPDU_ADDRESSES, RESERVED_GROUP, RESERVED_OVS
from vsw.config.module import Module, Port
from vsw.reference import tags
from vsw.reference.counters import Counters
from vsw.reference.decision import Copy, Decision, Passage, Step, mac_text
from vsw.reference.hashes import ethertype, team_hash
from vsw.reference.table import Table
from vsw.reference.tags import HEADER_LENGTH, MOST_TAGS, TAG_LENGTH, TYPE_AT, TYPE_LENGTH
from vsw.reference.team import TeamState
from vsw.reference.vlans import Vlans, admit
from vsw.verdicts import Reason, Verdict

LACP_ADDRESS = 0x0180C2000002
SLOW_PROTOCOLS = 0x8809
LACP_SUBTYPE = 1
RESERVED_VID = 4095
#: The shortest frame on a wire, without its check sequence.
LEAST_LENGTH = 60
RESERVED_RANGES = {"drop": (RESERVED_GROUP,), "pass": (), "ovs": RESERVED_OVS}
#: The policies that pick by the receiver, so that the receiver's uplink is known before a frame comes.
POLICIES_OF_RECEIVER = ("port-id", "src-mac", "explicit")


class ReferenceSwitch:
    """One module, one frame at a time.

    ``narrate=False`` leaves :attr:`Decision.steps` empty and is several times faster; the attribute may change between frames.
    """

    def __init__(self, module: Module, narrate: bool = True) -> None:
        self.module = module
        self.dialect = module.dialect
        self.counters = Counters(module)
        self.clock: int | None = None
        self.narrate = narrate
        self._steps: list[Step] = []
        self._ports = {port.number: port for port in sorted(module.ports, key=lambda port: port.number)}
        self._names = {number: port.name for number, port in self._ports.items()}
        self._up = {number: port.up for number, port in self._ports.items()}
        self._vlans = Vlans(module)
        self._table = Table(module, self._vlans)
        self._teams = [TeamState(team, self._up) for team in module.teams]
        #: Plain dialects: a team counts as one port, so that it matters which one a port is a member of.
        self._team_of = {number: team for team in reversed(self._teams) for number in team.members}
        self._lacp = frozenset(number for team in self._teams if team.team.lacp for number in team.members)
        self._promiscuous = [number for number, port in self._ports.items() if _local(port) and port.security.promiscuous]
        self._claims = self._find_claims()
        self._tag_limit = 1 if self.dialect.virtual else module.vlan_limit
        # Rules 1 to 10, in the order in which they are applied.
        self._ingress_rules = (
            self._port_is_up,
            self._header_is_there,
            self._read_tags,
            self._within_mtu,
            self._source_is_possible,
            self._vlan_is_allowed,
            self._destination_is_not_reserved,
            self._source_is_not_forged,
            self._source_is_not_local,
            self._bond_admits,
        )

    # ------------------------------------------------------------------------------------------------- what is called

    def forward(self, data: bytes, length: int, time: int, port_in: int | None, source_mac: bool = False) -> Decision:
        """Switch one frame: ``data`` as captured, ``length`` bytes on the wire, at ``time`` (ns).

        ``port_in`` is the number of the ingress port (``None``, or a number that no port has: ``no_port``); with ``source_mac``
        it is not looked at, the frame's tag and source tell.
        """
        self._steps = []
        self._advance(time)
        frame = Passage(data, length)
        port = self._port_of_source(frame) if source_mac else port_in
        if port is None or port not in self._ports:
            self._say("0 port", "no port of this switch is known that the frame came in by")
            return self._end(frame, Verdict.DROPPED, Reason.NO_PORT, None, [], [])
        frame.port = self._ports[port]
        self._say("0 port", lambda: f"in by {frame.port.name} (port {port}, {frame.port.kind}, {frame.port.vlan.mode}), {frame.length} bytes")
        self.counters.received(port, frame.length, frame.normalised)
        for rule in self._ingress_rules:
            reason = rule(frame)
            if reason:
                return self._end(frame, Verdict.DROPPED, reason, port, [], [])
            if frame.consumed:
                return self._end(frame, Verdict.CONSUMED, Reason.NONE, port, [], [])
        self._learn(frame)
        candidates, reason = self._candidates(frame)
        copies, filtered = self._send(frame, candidates)
        if copies:
            return self._end(frame, Verdict.DELIVERED, Reason.NONE, port, copies, filtered)
        return self._end(frame, Verdict.DROPPED, filtered[0][1] if filtered else reason, port, copies, filtered)

    def set_port(self, number: int, up: bool) -> None:
        """An event: the port goes up or down.  :class:`KeyError` if there is no such port."""
        if up and not self._up[number]:
            for team in self._teams:
                if number in team.members:
                    team.comes_up(number)
        self._up[number] = up

    # ------------------------------------------------------------------------------------------------- 0: which port

    def _find_claims(self) -> dict[int, list[tuple[int, int | None]]]:
        """MAC -> (local port, the VLAN of the static entry that places it there; ``None`` for any), ascending."""
        claims: dict[int, list[tuple[int, int | None]]] = {}
        for port in self._ports.values():
            if _local(port):
                for mac in (*port.macs, *(() if port.effective_mac is None else (port.effective_mac,))):
                    claims.setdefault(mac, []).append((port.number, None))
        for entry in self.module.static:
            if _local(self._ports[entry.port]):
                claims.setdefault(entry.mac, []).append((entry.port, entry.vlan))
        for found in claims.values():
            found.sort(key=lambda claim: claim[0])
        return claims

    def _port_of_source(self, frame: Passage) -> int | None:
        """0.2: the local port that owns (tag, source), else the first usable uplink."""
        outer = self._outer_vid(frame)
        if outer is not None:
            source = int.from_bytes(frame.data[6:12], "big")
            if source and not source >> 40 & 1:
                for number, placed in self._claims.get(source, ()):
                    if self._owns(self._ports[number], placed, outer):
                        self._came_from(frame, self._ports[number], source, outer)
                        return number
        uplink = self._first_uplink()
        self._say("0 source-mac", lambda: f"no local port owns the source: it came from outside, by {_name(self._names, uplink)}")
        return uplink

    def _outer_vid(self, frame: Passage) -> int | None:
        """The VID of the outermost tag, 0 if there is none; ``None`` for a frame that rules 2 and 3 would refuse."""
        if len(frame.data) < HEADER_LENGTH or self._tag_problem(frame):
            return None
        outer = tags.read(frame.data, self.dialect.tpids, 1)
        return outer[0].vid if outer else 0

    def _owns(self, port: Port, placed: int | None, outer: int) -> bool:
        vlan = port.vlan
        if outer == 0:
            accepted = admit(vlan, 0)
            return accepted is not None and placed in (None, accepted, self._vlans.filtering(accepted))
        if placed not in (None, outer, self._vlans.filtering(outer)):
            return False
        if vlan.mode in ("trunk", "native-tagged", "native-untagged"):
            return outer in vlan.vids
        return outer == (vlan.vid if vlan.mode != "private" or vlan.role == "promiscuous" else vlan.secondary)

    def _came_from(self, frame: Passage, port: Port, source: int, outer: int) -> None:
        self._say("0 source-mac", lambda: f"{port.name} owns {mac_text(source)} with VID {outer}")
        if outer and port.vlan.mode in ("access", "private", "dot1q-tunnel"):
            frame.data = frame.data[:TYPE_AT] + frame.data[TYPE_AT + TAG_LENGTH :]
            frame.length -= TAG_LENGTH
            frame.normalised = True
            self._say("0 source-mac", lambda: f"the wire's tag {outer} is taken off: {port.name} has none")

    def _first_uplink(self) -> int | None:
        if self._teams:
            return self._teams[0].first()
        return next((number for number, port in self._ports.items() if port.kind == "uplink" and self._up[number]), None)

    # ------------------------------------------------------------------------------------------- 1 to 10: ingress

    def _port_is_up(self, frame: Passage) -> Reason:
        up = self._up[frame.port.number]
        self._say("1 port", lambda: f"{frame.port.name} is {'up' if up else 'down'}")
        return Reason.NONE if up else Reason.PORT_DOWN

    def _header_is_there(self, frame: Passage) -> Reason:
        captured = len(frame.data)
        if captured < HEADER_LENGTH:
            self._say("2 header", lambda: f"an Ethernet header needs 14 bytes, {frame.length} are in the frame, {captured} captured")
            return _too_short(frame, HEADER_LENGTH)
        frame.destination = int.from_bytes(frame.data[:6], "big")
        frame.source = int.from_bytes(frame.data[6:12], "big")
        self._say("2 header", lambda: f"{mac_text(frame.source)} to {mac_text(frame.destination)}, type {ethertype(frame.data):04x}")
        return Reason.NONE

    def _read_tags(self, frame: Passage) -> Reason:
        reason = self._tag_problem(frame)
        if reason:
            self._say("3 tags", lambda: f"a tag is announced, {frame.length} bytes are in the frame, {len(frame.data)} captured")
            return reason
        frame.tags = tags.read(frame.data, self.dialect.tpids, self._tag_limit)
        frame.vid, frame.pcp = (frame.tags[0].vid, frame.tags[0].pcp) if frame.tags else (0, 0)
        self._say("3 tags", lambda: f"read: {tags.text(frame.tags)}")
        return Reason.NONE

    def _tag_problem(self, frame: Passage) -> Reason:
        tagged_length = TYPE_AT + TAG_LENGTH + TYPE_LENGTH
        if tags.announces_tag(frame.data, self.dialect.tpids):
            return Reason.NONE if len(frame.data) >= tagged_length else _too_short(frame, tagged_length)
        if self.dialect.ovs_tags and tags.snap_tag(frame.data, self.dialect.tpids):
            return Reason.MALFORMED
        return Reason.NONE

    def _within_mtu(self, frame: Passage) -> Reason:
        front = len(tags.read(frame.data, self.dialect.tpids, MOST_TAGS))
        allowed = frame.port.mtu + HEADER_LENGTH + TAG_LENGTH * front
        self._say("4 MTU", lambda: f"{frame.length} bytes, {allowed} allowed (MTU {frame.port.mtu}, {front} tags at the front)")
        return Reason.TOO_LONG if frame.length > allowed else Reason.NONE

    def _source_is_possible(self, frame: Passage) -> Reason:
        if not self.dialect.check_source:
            return Reason.NONE
        bad = frame.source == 0 or frame.source >> 40 & 1
        self._say("5 source", lambda: f"{mac_text(frame.source)} is {'a group address or zero' if bad else 'an address of one station'}")
        return Reason.BAD_SOURCE if bad else Reason.NONE

    def _vlan_is_allowed(self, frame: Passage) -> Reason:
        vlan = frame.port.vlan
        if self.dialect.reserve_4095 and frame.vid == RESERVED_VID:
            self._say("6 VLAN", "VID 4095 is reserved")
            return Reason.RESERVED_VID
        frame.vlan = admit(vlan, frame.vid)
        if frame.vlan is None:
            self._say("6 VLAN", lambda: f"{frame.port.name} is {vlan.mode} and does not accept VID {frame.vid}")
            return Reason.VLAN_NOT_ALLOWED
        build = tags.ovs_stack if self.dialect.ovs_tags else tags.virtual_stack
        frame.stack, frame.payload_at = build(vlan, frame.tags, frame.vlan)
        self._say("6 VLAN", lambda: f"{frame.port.name} is {vlan.mode}: VID {frame.vid} is in VLAN {frame.vlan}; inside {tags.text(frame.stack)}")
        return Reason.NONE

    def _destination_is_not_reserved(self, frame: Passage) -> Reason:
        port, destination = frame.port, frame.destination
        if (
            destination == LACP_ADDRESS
            and port.kind == "uplink"
            and port.number in self._lacp
            and not frame.tags
            and ethertype(frame.data) == SLOW_PROTOCOLS
            and frame.data[HEADER_LENGTH : HEADER_LENGTH + 1] == bytes((LACP_SUBTYPE,))
        ):
            self._say("7 reserved", "LACP from a member of a team with LACP: taken by the control plane")
            frame.consumed = True
            return Reason.NONE
        if destination in BPDU_ADDRESSES and _local(port):
            if port.bpdu_guard:
                self._say("7 reserved", lambda: f"a spanning tree frame, and {port.name} has a BPDU guard: the port goes down")
                self.set_port(port.number, up=False)
                return Reason.BPDU
            if port.bpdu_filter or self.dialect.drop_bpdu:
                self._say("7 reserved", lambda: f"a spanning tree frame from {port.name}, which is no uplink")
                return Reason.BPDU
        ranges = () if self.module.forward_bpdu else RESERVED_RANGES[self.dialect.reserved]
        if any(low <= destination <= high for low, high in ranges):
            self._say("7 reserved", lambda: f"{mac_text(destination)} is never forwarded")
            return Reason.RESERVED_ADDRESS
        self._say("7 reserved", lambda: f"{mac_text(destination)} is not a reserved destination")
        return Reason.NONE

    def _source_is_not_forged(self, frame: Passage) -> Reason:
        port = frame.port
        own = port.effective_mac
        if own is None or port.security.forged_transmits:
            return Reason.NONE
        if frame.source == own or self._table.static_here(_vlan(frame), frame.source, port.number):
            self._say("8 forged", lambda: f"{mac_text(frame.source)} belongs to {port.name}")
            return Reason.NONE
        self._say("8 forged", lambda: f"{mac_text(frame.source)} does not belong to {port.name}, whose address is {mac_text(own)}")
        return Reason.FORGED_SOURCE

    def _source_is_not_local(self, frame: Passage) -> Reason:
        if not self.dialect.deja_vu or _local(frame.port):
            return Reason.NONE
        home = self._table.static(_vlan(frame), frame.source)
        if home is not None and _local(self._ports[home]):
            self._say("9 deja-vu", lambda: f"{mac_text(frame.source)} is at {self._names[home]}, yet it came in by {frame.port.name}")
            return Reason.DEJA_VU
        self._say("9 deja-vu", lambda: f"{mac_text(frame.source)} is at no local port of VLAN {frame.vlan}")
        return Reason.NONE

    def _bond_admits(self, frame: Passage) -> Reason:
        team = self._team_of.get(frame.port.number)
        if self.dialect.virtual or team is None:
            return Reason.NONE
        if team.team.policy == "explicit":
            accepted = team.first() == frame.port.number
        else:
            accepted = team.team.lacp or not frame.to_group or team.usable()[:1] == [frame.port.number]
        self._say("10 bond", lambda: f"team {team.team.name} {'accepts' if accepted else 'does not accept'} this by {frame.port.name}")
        return Reason.NONE if accepted else Reason.NOT_DESIGNATED

    # -------------------------------------------------------------------------------------------------- 11: learning

    def _learn(self, frame: Passage) -> None:
        learning = self.module.learning
        if learning == "none" or (learning == "outside" and _local(frame.port)) or frame.source >> 40 & 1:
            return
        if self._table.static(_vlan(frame), frame.source) is not None:
            return
        done = self._table.learn(_vlan(frame), frame.source, frame.port.number, self._now())
        self._say("11 learning", lambda: f"{mac_text(frame.source)} in VLAN {self._vlans.filtering(_vlan(frame))} on {frame.port.name}: {done}")

    # ------------------------------------------------------------------------------------------------ 12: forwarding

    def _candidates(self, frame: Passage) -> tuple[list[int], Reason]:
        """The ports that are to get a copy, ascending, and the reason if there is none."""
        target = None if frame.to_group else self._lookup(frame)
        if frame.to_group or (target is None and not self.dialect.virtual):
            found = self._flood(frame)
            self._say("12 forwarding", lambda: f"flooded to {self._listed(found)}")
            return sorted(found), Reason.NO_MEMBER
        found, reason = self._outwards(frame) if target is None else self._towards(target, frame)
        spies = [number for number in self._promiscuous if self._spies(number, frame) and number not in found]
        if spies:
            self._say("12 forwarding", lambda: f"promiscuous: {self._listed(spies)} too")
        return sorted(found + spies), reason

    def _lookup(self, frame: Passage) -> int | None:
        vlan, destination = _vlan(frame), frame.destination
        target, how = self._table.static(vlan, destination), "static"
        if target is None:
            target, how = self._table.learned(vlan, destination, self._now()), "learned"
        if target is None:
            self._say("12 forwarding", lambda: f"{mac_text(destination)} is not known in VLAN {vlan}")
        else:
            self._say("12 forwarding", lambda: f"{mac_text(destination)} in VLAN {vlan} is at {self._names[target]} ({how})")
        return target

    def _spies(self, number: int, frame: Passage) -> bool:
        return number != frame.port.number and self._vlans.receives(number, _vlan(frame))

    def _towards(self, target: int, frame: Passage) -> tuple[list[int], Reason]:
        """Unicast, found on port ``target``."""
        if self.dialect.virtual and not _local(self._ports[target]):
            return self._to_uplink(frame) if _local(frame.port) else ([], Reason.UPLINK_TO_UPLINK)
        team = None if self.dialect.virtual else self._team_of.get(target)
        if team is not None:
            if frame.port.number in team.members:
                return [], Reason.SAME_PORT
            member = self._pick(team, frame)
            return ([], Reason.NO_UPLINK) if member is None else ([member], Reason.NONE)
        return ([], Reason.SAME_PORT) if target == frame.port.number else ([target], Reason.NONE)

    def _outwards(self, frame: Passage) -> tuple[list[int], Reason]:
        """Unicast, not found, in a virtual dialect: what is not here is outside."""
        return self._to_uplink(frame) if _local(frame.port) else ([], Reason.UNKNOWN_UNICAST)

    def _to_uplink(self, frame: Passage) -> tuple[list[int], Reason]:
        uplink = self._own_uplink(frame)
        return ([], Reason.NO_UPLINK) if uplink is None else ([uplink], Reason.NONE)

    def _own_uplink(self, frame: Passage) -> int | None:
        """The uplink that the team of a local ingress port picks."""
        if frame.port.team is None:
            self._say("13 team", lambda: f"{frame.port.name} has no team")
            return None
        return self._pick(self._teams[frame.port.team], frame)

    def _flood(self, frame: Passage) -> list[int]:
        receivers = self._vlans.receivers(_vlan(frame))
        if not self.dialect.virtual:
            return self._flood_plain(frame, receivers)
        found = [number for number in receivers if number != frame.port.number and _local(self._ports[number])]
        if _local(frame.port):
            uplink = self._own_uplink(frame)
            if uplink in receivers:
                found.append(uplink)
        return found

    def _flood_plain(self, frame: Passage, receivers: tuple[int, ...]) -> list[int]:
        own = self._team_of.get(frame.port.number)
        # One pick for each team: a team counts as one port.
        picked = {team: None if team is own else self._pick(team, frame) for team in dict.fromkeys(self._team_of.values())}
        found = []
        for number in receivers:
            team = self._team_of.get(number)
            if number == frame.port.number or (team is not None and picked[team] != number):
                continue
            if not self.dialect.ovs_tags or self._takes_inner(self._ports[number], frame):
                found.append(number)
        return found

    def _takes_inner(self, port: Port, frame: Passage) -> bool:
        """Dialect ``ovs``: what a port says to the inner VID of a flooded frame."""
        inner = frame.stack[1].vid if len(frame.stack) > 1 else 0
        match port.vlan.mode:
            case "access" | "private":
                return inner == 0
            case "dot1q-tunnel":
                return not port.vlan.cvids or inner in port.vlan.cvids
            case _:
                return True

    # ------------------------------------------------------------------------------------------------------ 13: teams

    def _pick(self, team: TeamState, frame: Passage) -> int | None:
        policy = team.team.policy
        value = team_hash(policy, frame.without_outer_tag(), frame.port.number, self._tci(frame), team.team.ip_hash_bits)
        member = team.pick(value)
        self._say("13 team", lambda: f"team {team.team.name}, {policy}: {team.why(value, self._names)}")
        return member

    def _tci(self, frame: Passage) -> int:
        """PCP and DEI as carried (of a tunnel: none), the VID of the VLAN."""
        vlan = _vlan(frame)
        if not frame.tags or frame.port.vlan.mode == "dot1q-tunnel":
            return vlan
        return frame.tags[0].pcp << 13 | frame.tags[0].dei << 12 | vlan

    # ----------------------------------------------------------------------------------------------------- 14: egress

    def _send(self, frame: Passage, candidates: list[int]) -> tuple[list[Copy], list[tuple[int, Reason]]]:
        copies: list[Copy] = []
        filtered: list[tuple[int, Reason]] = []
        for number in candidates:
            port = self._ports[number]
            reason = self._held_back(port, frame)
            if not reason:
                sent = self._tags_sent(port, frame)
                copy = self._copy(port, frame, sent)
                if copy is not None:
                    copies.append(copy)
                    self._say_copy(port, sent, copy)
                    continue
                reason = Reason.TOO_LONG
            filtered.append((number, reason))
            self._say_held(port, reason)
        self.counters.sent(copies, filtered)
        return copies, filtered

    def _held_back(self, port: Port, frame: Passage) -> Reason:
        """14.1 to 14.5."""
        if not self._up[port.number]:
            return Reason.PORT_DOWN
        if port.protected and frame.port.protected:
            return Reason.PROTECTED
        if self.dialect.virtual and not self._vlans.receives(port.number, _vlan(frame)):
            return Reason.EGRESS_VLAN
        if (
            self.dialect.virtual
            and self.dialect.designated
            and frame.to_group
            and not _local(frame.port)
            and port.team is not None
            and self._teams[port.team].team.policy in POLICIES_OF_RECEIVER
            and not self._teams[port.team].team.lacp
            and self._teams[port.team].designated(port.number, port.effective_mac) != frame.port.number
        ):
            return Reason.NOT_DESIGNATED
        if not port.security.mac_changes and port.effective_mac != port.mac:
            return Reason.MAC_CHANGED
        return Reason.NONE

    def _tags_sent(self, port: Port, frame: Passage) -> tuple[tags.Tag, ...]:
        if self.dialect.ovs_tags:
            return tags.ovs_sent(port, frame.stack, _vlan(frame), frame.pcp, frame.tags)
        return tags.virtual_sent(port, frame.stack, _vlan(frame), frame.pcp)

    def _copy(self, port: Port, frame: Passage, sent: tuple[tags.Tag, ...]) -> Copy | None:
        """The copy, padded; ``None`` if it is longer than the port allows (14.6)."""
        removed = (frame.payload_at - TYPE_AT) // TAG_LENGTH
        data = frame.data[:TYPE_AT] + b"".join(map(bytes, sent)) + frame.data[frame.payload_at :]
        length = frame.length + TAG_LENGTH * (len(sent) - removed)
        if self.module.pad and len(sent) < removed and length < LEAST_LENGTH and len(frame.data) == frame.length:
            data, length = data.ljust(LEAST_LENGTH, b"\0"), LEAST_LENGTH
        behind = tags.read(frame.data, self.dialect.tpids, MOST_TAGS - len(sent), at=frame.payload_at)
        if length > port.mtu + HEADER_LENGTH + TAG_LENGTH * (len(sent) + len(behind)):
            return None
        return Copy(port.number, data, length)

    # --------------------------------------------------------------------------------------------------- 15: counting

    def _advance(self, time: int) -> None:
        clock = self.clock
        if clock is None or time >= clock:
            self.clock = time
            return
        self._say("15 clock", lambda: f"the frame's time is {clock - time} ns earlier than the clock, which stands still")
        self.counters.time_backwards += 1

    def _now(self) -> int:
        assert self.clock is not None
        return self.clock

    def _end(
        self, frame: Passage, verdict: Verdict, reason: Reason, port: int | None, copies: list[Copy], filtered: list[tuple[int, Reason]]
    ) -> Decision:
        self.counters.ended(verdict, reason, port)
        if verdict == Verdict.DROPPED:
            self._say("15 verdict", lambda: f"dropped, {reason.name.lower()}: {reason.sentence}")
        else:
            self._say("15 verdict", lambda: f"{verdict.name.lower()}: {verdict.sentence}")
        return Decision(verdict, reason, port, frame.vlan, frame.normalised, tuple(copies), tuple(filtered), tuple(self._steps))

    # ------------------------------------------------------------------------------------------------------- narration

    def _say(self, rule: str, sentence: str | Callable[[], str]) -> None:
        if self.narrate:
            self._steps.append(Step(rule, sentence if isinstance(sentence, str) else sentence()))

    def _say_copy(self, port: Port, sent: tuple[tags.Tag, ...], copy: Copy) -> None:
        self._say("14 egress", lambda: f"{port.name}: sent with {tags.text(sent)}, {copy.length} bytes")

    def _say_held(self, port: Port, reason: Reason) -> None:
        self._say("14 egress", lambda: f"{port.name}: held back, {reason.name.lower()}: {reason.sentence}")

    def _listed(self, numbers: list[int]) -> str:
        return ", ".join(self._names[number] for number in sorted(numbers)) or "no port"


def _local(port: Port) -> bool:
    return port.kind != "uplink"


def _vlan(frame: Passage) -> int:
    """The VLAN of a frame that rule 6 let in."""
    assert frame.vlan is not None
    return frame.vlan


def _too_short(frame: Passage, needed: int) -> Reason:
    return Reason.MALFORMED if frame.length < needed else Reason.CUT_BY_CAPTURE


def _name(names: dict[int, str], number: int | None) -> str:
    return "no uplink that is up" if number is None else names[number]
