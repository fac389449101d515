"""What a topology says and nothing acts on yet."""

from __future__ import annotations

from collections.abc import Iterator

from vsw.config.models import Topology, Words
from vsw.config.positions import Path
from vsw.config.problems import format_path

MARK = "not yet run"


def unused(topology: Topology) -> list[str]:
    """The key paths of ``topology`` whose description says ``not yet run``, in the order of the models' fields."""
    return [format_path(path) for path in _walk(topology, ())]


def _walk(value: object, path: Path) -> Iterator[Path]:
    if isinstance(value, Words):
        for name, field in type(value).model_fields.items():
            if name not in value.model_fields_set:
                continue
            if MARK in (field.description or ""):
                yield (*path, name)
            else:
                yield from _walk(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, index))
