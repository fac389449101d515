"""Rules about what a topology does with traffic: words of a TOML file, and what each asks of a run.

A rule is a table ``[[rules]]`` with a ``kind``; ports are named by name, by pattern (``web*``), or as ``uplinks``, ``vnics``, ``local`` or ``all``.
``where`` narrows a rule to frames for which a filter of :mod:`vsw.replay.where` holds.  Each kind says which frames break it, and offers small
sets of frames that may break it as well, where the search for the smallest one (:mod:`vsw.replay.asserting`) begins.
"""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vsw.config.module import Module
from vsw.config.values import did_you_mean, parse_vids
from vsw.datapath.classify import classify
from vsw.datapath.source import FrameSource
from vsw.errors import ConfigError, Problem, UsageError
from vsw.replay.where import compile_where
from vsw.switch.result import Result
from vsw.verdicts import Reason, Verdict

Frames = NDArray[np.int64]
_VID = 0x0FFF
MAX_FILE = 1 << 20
NANOSECONDS = 1_000_000_000


class Outcome:
    """A run and its frames, as rules look at them."""

    def __init__(self, module: Module, source: FrameSource, result: Result) -> None:
        self.module = module
        self.source = source
        self.result = result
        self.copies = result.copies

    @cached_property
    def rows(self) -> NDArray[Any]:
        """What :func:`vsw.classify` says of the frames."""
        return classify(self.source)

    def holds(self, where: str | None) -> NDArray[np.bool_]:
        """The frames for which a filter holds."""
        return np.ones(self.result.frames, np.bool_) if where is None else compile_where(where)(self.rows)

    def came_by(self, ports: tuple[str, ...]) -> NDArray[np.bool_]:
        """The frames that came in by one of these ports."""
        return np.isin(self.result.port_in, numbers(self.module, ports))

    def leaves_by(self, ports: tuple[str, ...]) -> NDArray[np.bool_]:
        """The copies that leave by one of these ports."""
        return np.isin(self.copies["port"], numbers(self.module, ports))


def numbers(module: Module, ports: tuple[str, ...]) -> list[int]:
    """Port numbers; :class:`~vsw.errors.UsageError` for a name that no port has."""
    groups = {
        "all": [port.number for port in module.ports],
        "uplinks": [port.number for port in module.ports if port.kind == "uplink"],
        "local": [port.number for port in module.ports if port.kind != "uplink"],
        "vnics": [port.number for port in module.ports if port.kind == "vnic"],
    }
    found: list[int] = []
    for text in ports:
        named = groups.get(text) or [port.number for port in module.ports if port.name == text or fnmatchcase(port.name, text)]
        if not named:
            hint = did_you_mean(text, [*groups, *(port.name for port in module.ports)])
            raise UsageError(f"{module.name} has no port {text!r}{hint}")
        found += named
    return sorted(set(found))


def _ports(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _filter(text: str) -> str:
    try:
        compile_where(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


def _reason(name: str) -> str:
    if name.upper() not in Reason.__members__ or name == "none":
        known = [reason.name.lower() for reason in Reason if reason]
        raise ValueError(f"must be reasons of drops{did_you_mean(name, known)}, such as {', '.join(known[:4])}")
    return name


Ports = Annotated[tuple[str, ...], BeforeValidator(_ports), Field(min_length=1)]
Where = Annotated[str, AfterValidator(_filter)]
Vids = Annotated[frozenset[int], BeforeValidator(parse_vids)]


class Rule(BaseModel, ABC):
    """What all rules have."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    name: str = Field("", max_length=200, description="What messages and files call it")
    where: Where | None = Field(None, description="Only frames for which this filter holds")

    @abstractmethod
    def broken(self, outcome: Outcome) -> Frames:
        """Numbers of the frames that break the rule (from 0, ascending)."""

    def candidates(self, outcome: Outcome, broken: Frames) -> Iterator[Frames]:  # noqa: ARG002
        """Small sets of frames that may break the rule on their own."""
        yield broken[:1]

    def ports(self) -> tuple[str, ...]:
        """All port names of the rule."""
        return ()


class Isolation(Rule):
    """No frame that comes in by ``from`` leaves by ``to``."""

    kind: Literal["isolation"]
    senders: Ports = Field(alias="from")
    to: Ports

    def broken(self, outcome: Outcome) -> Frames:
        frames = outcome.copies["frame"][outcome.leaves_by(self.to)].astype(np.int64)
        wrong = (outcome.came_by(self.senders) & outcome.holds(self.where))[frames]
        return np.unique(frames[wrong])

    def ports(self) -> tuple[str, ...]:
        return (*self.senders, *self.to)


class Reachability(Rule):
    """Every frame that comes in by ``from`` leaves by one of ``to``."""

    kind: Literal["reachability"]
    senders: Ports = Field(alias="from")
    to: Ports

    def broken(self, outcome: Outcome) -> Frames:
        arrives = np.zeros(outcome.result.frames, np.bool_)
        arrives[outcome.copies["frame"][outcome.leaves_by(self.to)]] = True
        return np.flatnonzero(outcome.came_by(self.senders) & outcome.holds(self.where) & ~arrives).astype(np.int64)

    def ports(self) -> tuple[str, ...]:
        return (*self.senders, *self.to)


class NoUplinkReflection(Rule):
    """Nothing that comes in by an uplink leaves by an uplink."""

    kind: Literal["no_uplink_reflection"]

    def broken(self, outcome: Outcome) -> Frames:
        uplinks = [port.number for port in outcome.module.ports if port.kind == "uplink"]
        frames = outcome.copies["frame"][np.isin(outcome.copies["port"], uplinks)].astype(np.int64)
        wrong = (np.isin(outcome.result.port_in, uplinks) & outcome.holds(self.where))[frames]
        return np.unique(frames[wrong])


class NoDuplicates(Rule):
    """No port sends the same bytes twice within ``window`` seconds."""

    kind: Literal["no_duplicates"]
    of: Ports = Field(("all",), description="The ports that are looked at")
    window: float = Field(0.01, gt=0, le=3600, description="Seconds")

    def pairs(self, outcome: Outcome) -> Iterator[tuple[int, int]]:
        """(earlier frame, frame) of each copy that repeats one."""
        chosen = np.flatnonzero(outcome.leaves_by(self.of) & outcome.holds(self.where)[outcome.copies["frame"]])
        times = np.fromiter((frame.time for frame in outcome.source), np.int64, outcome.result.frames)  # type: ignore[attr-defined]
        last: dict[tuple[int, bytes], int] = {}
        wanted = {(int(row["frame"]), int(row["port"])) for row in outcome.copies[chosen]}
        for frame, port, data, _ in outcome.result.egress():
            if (frame, port) not in wanted:
                continue
            before = last.get((port, data))
            if before is not None and abs(int(times[frame]) - int(times[before])) <= self.window * NANOSECONDS:
                yield before, frame
            last[port, data] = frame

    def broken(self, outcome: Outcome) -> Frames:
        return np.unique(np.fromiter((frame for _, frame in self.pairs(outcome)), np.int64))

    def candidates(self, outcome: Outcome, broken: Frames) -> Iterator[Frames]:  # noqa: ARG002
        yield np.array(next(self.pairs(outcome)), np.int64)

    def ports(self) -> tuple[str, ...]:
        return self.of


class Balance(Rule):
    """No port of ``of`` sends more than ``most`` of what they send together, once that is ``at_least`` frames."""

    kind: Literal["balance"]
    of: Ports = ("uplinks",)
    most: float = Field(gt=0, lt=1, description="The greatest share")
    by: Literal["frames", "bytes"] = "frames"
    at_least: int = Field(100, ge=1, description="With fewer frames the rule asks nothing")

    def sent(self, outcome: Outcome) -> tuple[dict[int, int], int]:
        """What each port sent, and how many copies that were."""
        chosen = outcome.leaves_by(self.of) & outcome.holds(self.where)[outcome.copies["frame"]]
        copies = outcome.copies[chosen]
        weights = copies["length"].astype(np.int64) if self.by == "bytes" else np.ones(len(copies), np.int64)
        return {port: int(weights[copies["port"] == port].sum()) for port in numbers(outcome.module, self.of)}, len(copies)

    def broken(self, outcome: Outcome) -> Frames:
        sent, count = self.sent(outcome)
        heaviest = max(sent, key=lambda port: (sent[port], -port))
        if count < self.at_least or sent[heaviest] <= self.most * sum(sent.values()):
            return np.empty(0, np.int64)
        chosen = (outcome.copies["port"] == heaviest) & outcome.holds(self.where)[outcome.copies["frame"]]
        return np.unique(outcome.copies["frame"][chosen].astype(np.int64))

    def candidates(self, outcome: Outcome, broken: Frames) -> Iterator[Frames]:  # noqa: ARG002
        yield broken[: self.at_least]

    def ports(self) -> tuple[str, ...]:
        return self.of


class Drops(Rule):
    """No frame that comes in by ``from`` is dropped, but for the reasons of ``allow``."""

    kind: Literal["drops"]
    senders: Ports = Field(("all",), alias="from")
    allow: tuple[Annotated[str, AfterValidator(_reason)], ...] = ()

    def broken(self, outcome: Outcome) -> Frames:
        allowed = [int(Reason[name.upper()]) for name in self.allow]
        wrong = (outcome.result.verdict == Verdict.DROPPED) & ~np.isin(outcome.result.reason, allowed)
        return np.flatnonzero(wrong & outcome.came_by(self.senders) & outcome.holds(self.where)).astype(np.int64)

    def ports(self) -> tuple[str, ...]:
        return self.senders


class Tags(Rule):
    """What leaves by ``of`` carries one of these VIDs; 0 stands for no tag."""

    kind: Literal["tags"]
    of: Ports
    vids: Vids

    def broken(self, outcome: Outcome) -> Frames:
        copies = outcome.copies[outcome.leaves_by(self.of)]
        vids = np.where(copies["tags"] > 0, copies["tag"]["tci"][:, 0] & _VID, 0)
        frames = copies["frame"][~np.isin(vids, sorted(self.vids))].astype(np.int64)
        return np.unique(frames[outcome.holds(self.where)[frames]])

    def ports(self) -> tuple[str, ...]:
        return self.of


AnyRule = Annotated[Isolation | Reachability | NoUplinkReflection | NoDuplicates | Balance | Drops | Tags, Field(discriminator="kind")]
KINDS = ("isolation", "reachability", "no_uplink_reflection", "no_duplicates", "balance", "drops", "tags")


class Rules(BaseModel):
    """A rules file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rules: tuple[AnyRule, ...] = Field(min_length=1)


def load_rules(path: str, module: Module) -> list[Rule]:
    """The rules of a file; :class:`~vsw.errors.ConfigError` holds what is wrong with them, also a port that the module does not have."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ConfigError([Problem(path, None, "", None, f"is longer than a rules file may be ({MAX_FILE >> 20} MiB)")])
        found = Rules.model_validate(tomllib.loads(data.decode("utf-8-sig")))
    except OSError as error:
        raise ConfigError([Problem(path, None, "", None, f"can't be read: {error.strerror}")]) from None
    except ValidationError as errors:
        raise ConfigError([_problem(path, error) for error in errors.errors(include_url=False)]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError([Problem(path, None, "", None, f"not TOML: {error}")]) from None
    rules: list[Rule] = []
    names: set[str] = set()
    problems = []
    for number, rule in enumerate(found.rules, start=1):
        name = rule.name or f"{rule.kind} {number}"
        if name in names:
            problems.append(Problem(path, None, f"rules.{number - 1}.name", name, "another rule has this name"))
        names.add(name)
        try:
            numbers(module, rule.ports())
        except UsageError as error:
            problems.append(Problem(path, None, f"rules.{number - 1}", None, str(error)))
        rules.append(rule.model_copy(update={"name": name}))
    if problems:
        raise ConfigError(problems)
    return rules


def _problem(path: str, error: Any) -> Problem:
    place = ".".join(str(part) for part in error["loc"] if part not in KINDS)
    message = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"].replace("Input should be ", "must be ")
    if error["type"].startswith("union_tag"):
        message = f"needs a kind: {', '.join(KINDS)}"
    elif error["type"] == "extra_forbidden":
        message = "is not known here"
    value = error["input"] if isinstance(error["input"], str | int | float | bool) else None
    return Problem(path, None, place, value, message)
