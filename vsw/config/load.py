"""Reading a topology: TOML -> models -> resolved :class:`~vsw.config.lab.Lab`."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path as FilePath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vsw.config.lab import Lab
from vsw.config.models import Topology
from vsw.config.positions import Path, TooDeepError, check_depth
from vsw.config.problems import MAX_PROBLEMS, Report
from vsw.config.resolve import resolve
from vsw.config.values import did_you_mean, one_of
from vsw.errors import ConfigError, Problem

#: Bytes; a lab of a million MAC addresses fits.
MAX_FILE = 32 << 20

_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
#: The keys that tell the members of a union apart, and what is said where one is missing.
_DISCRIMINATORS = {"mode": "is required: the VLAN mode", "type": "is required: the type of port"}
#: Python refuses to read longer ones, whose conversion takes time that grows with the square of their length.
_LONG_INTEGER = re.compile(r"[0-9_]{4301}")
_KINDS = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be an array",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "missing": "is required",
    "string_pattern_mismatch": "must not contain control characters",
    "string_too_short": "must not be empty",
}


def load(path: str | os.PathLike[str]) -> Lab:
    """Read a topology file.

    :class:`~vsw.errors.ConfigError` holds every problem of the file, each with file, line, key path, value and what was allowed;
    also if the file can't be read, is not UTF-8 or is no TOML.
    """
    name = os.fspath(path)
    try:
        with FilePath(name).open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError([Problem(name, None, "", None, f"can't be read: {reason}")]) from None
    if len(data) > MAX_FILE:
        raise ConfigError([Problem(name, None, "", None, f"is longer than a topology may be ({MAX_FILE >> 20} MiB)")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(name, line, "", None, f"is not UTF-8 (byte {error.start} of the file: 0x{data[error.start]:02x})")]) from None
    return loads(text, file=name)


def loads(text: str, file: str = "<string>") -> Lab:
    """Read a topology from a string; ``file`` is the name that errors give."""
    document = _parse(text, file)
    report = Report(file, text)
    _check_integers(document, report)
    report.raise_if_any()
    try:
        topology = Topology.model_validate(document)
    except ValidationError as errors:
        found = errors.errors(include_url=False)
        for error in found[:MAX_PROBLEMS]:
            _add(report, error)
        report.more += len(found[MAX_PROBLEMS:])
        report.raise_if_any()
        raise  # pragma: no cover - a validation error without an error
    lab = resolve(topology, report)
    report.raise_if_any()
    return lab


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        check_depth(text)
        return tomllib.loads(text)
    except TooDeepError as error:
        raise ConfigError([Problem(file, error.line, "", None, str(error))]) from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        line = text.count("\n") + 1
        column = len(text) - text.rfind("\n")
        if match := _SYNTAX_PLACE.search(message):
            message = message[: match.start()]
            if match[1]:
                line, column = int(match[1]), int(match[2])
        raise ConfigError([Problem(file, line, "", None, f"column {column}: not TOML: {message}")]) from None
    except (ValueError, OverflowError) as error:
        if match := _LONG_INTEGER.search(text):
            line = text.count("\n", 0, match.start()) + 1
            raise ConfigError([Problem(file, line, "", None, "an integer of more than 4300 digits")]) from None
        raise ConfigError([Problem(file, None, "", None, f"a value can't be read: {error}")]) from None
    except RecursionError:
        raise ConfigError([Problem(file, None, "", None, "is nested too deeply")]) from None


def _check_integers(document: dict[str, Any], report: Report) -> None:
    """TOML's integers have 64 bits; the standard library reads longer ones."""
    stack: list[tuple[Path, Any]] = [((), document)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack.extend(((*path, key), inner) for key, inner in value.items() if not isinstance(inner, str))
        elif isinstance(value, list):
            stack.extend(((*path, index), inner) for index, inner in enumerate(value) if not isinstance(inner, str))
        elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            report.add(path, "integers have 64 bits", value)


def _add(report: Report, error: ErrorDetails) -> None:
    """One error of pydantic's, in this project's words and with the path that the user wrote."""
    kind, context = error["type"], error.get("ctx", {})
    path, known = _follow(error["loc"])
    value: object = error["input"]
    if kind == "extra_forbidden":
        message = f"is not known here{did_you_mean(path[-1], known)}; known: {', '.join(known)}"
        value = None
    elif kind == "literal_error":
        message = one_of(_literals(context["expected"]), value)
    elif kind == "union_tag_invalid":
        path = (*path, context["discriminator"].strip("'"))
        value = context["tag"]
        message = one_of(_literals(context["expected_tags"]), value)
    elif kind == "union_tag_not_found":
        path = (*path, context["discriminator"].strip("'"))
        message = _DISCRIMINATORS[str(path[-1])]
    elif kind in {"value_error", "assertion_error"}:
        message = str(context["error"])
    else:
        message = _KINDS.get(kind) or error["msg"].replace("Input should be ", "must be ").replace("String should ", "must ")
    if kind in {"missing", "union_tag_not_found"}:
        value = None
    report.add(path, message, value)


def _literals(expected: str) -> list[str]:
    return [word.strip("'\"") for word in re.split(r", | or ", expected)]


def _follow(location: tuple[int | str, ...]) -> tuple[Path, list[str]]:
    """The path as the user wrote it (without the tags of unions), and the keys known to the table that holds its end."""
    path: list[str | int] = []
    known: list[str] = []
    at: Any = Topology
    for part in location:
        at = _bare(at)
        if part == "[key]":
            continue
        if get_origin(at) in {Union, UnionType}:
            at = next((member for member in get_args(at) if _is_model(member) and part in _tags(member)), None)
            continue
        path.append(part)
        if _is_model(at):
            known = list(at.model_fields)
            field = at.model_fields.get(str(part))
            at = field.annotation if field else None
        else:
            arguments = get_args(at)
            at = arguments[1] if get_origin(at) is dict else arguments[0] if arguments else None
    return tuple(path), known


def _bare(annotation: Any) -> Any:
    """The type without ``Annotated`` and ``| None``."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, UnionType}:
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) > 1:
                return annotation
            annotation = members[0]
        else:
            return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tags(model: type[BaseModel]) -> tuple[object, ...]:
    field = next(model.model_fields[name] for name in _DISCRIMINATORS if name in model.model_fields)
    return get_args(field.annotation)
