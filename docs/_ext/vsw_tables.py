"""Tables that are made from the code, so that they can't be out of date: verdicts, topology keys, dialects, public names.

Directives: ``vsw-verdicts``, ``vsw-topology``, ``vsw-dialects``, ``vsw-public``, and ``vsw-drawing FILE``, which puts an SVG into the page itself so
that it takes the page's colours.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import vsw
from vsw.config.dialects import DIALECTS
from vsw.config.models import Topology
from vsw.verdicts import Reason, Verdict


class TableDirective(SphinxDirective):
    """Writes Markdown, and lets the page's parser read it."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)

    def lines(self) -> list[str]:
        raise NotImplementedError


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |", *(f"| {' | '.join(row)} |" for row in cells), ""]


def markdown(text: str) -> str:
    """A docstring's words, whose references are code here."""
    return re.sub(r":[a-z]+:`~?(?:[^`<]*<)?([^`>]+)>?`", r"`\1`", text)


class Verdicts(TableDirective):
    """Verdicts and reasons with their numbers and sentences."""

    def lines(self) -> list[str]:
        verdicts = [[f"`{member.name.lower()}`", str(int(member)), member.sentence] for member in Verdict]
        where = {True: "ingress or copy", False: "ingress"}
        reasons = [[f"`{member.name.lower()}`", str(int(member)), where[member.at_egress], member.sentence] for member in Reason]
        return [
            "## Verdicts", "", *table(["verdict", "number", "sentence"], verdicts),
            "## Reasons", "", *table(["reason", "number", "for", "sentence"], reasons),
        ]  # fmt: skip


def shown_type(annotation: Any) -> str:
    """A type as one writes it in TOML's words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shown_type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in {Union, UnionType}:
        return " or ".join(dict.fromkeys(shown_type(member) for member in arguments if member is not type(None)))
    if origin is dict:
        return f"table of {shown_type(arguments[1])}"
    if origin in {list, tuple, set, frozenset}:
        return f"array of {shown_type(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    words = {str: "string", int: "integer", bool: "boolean", float: "number", type(None): "", Any: "any value"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) if argument is not annotation for model in models_of(argument)]


class TopologyKeys(TableDirective):
    """Every table and key that a topology may have, from the models that read it."""

    def lines(self) -> list[str]:
        found: list[type[BaseModel]] = []
        left: list[type[BaseModel]] = [Topology]
        while left:
            model = left.pop(0)
            if model not in found:
                found.append(model)
                left += [inner for field in model.model_fields.values() for inner in models_of(field.annotation)]
        return [line for model in found for line in self.section(model)]

    def section(self, model: type[BaseModel]) -> list[str]:
        rows = []
        for name, field in model.model_fields.items():
            if field.is_required():
                default = "required"
            else:
                value = field.get_default(call_default_factory=True)
                default = "" if value in (None, PydanticUndefined, {}, (), []) else f"`{_toml(value)}`"
            rows.append([f"`{field.alias or name}`", shown_type(field.annotation), default, field.description or ""])
        return [f"## {model.__name__}", "", markdown(inspect.getdoc(model) or ""), "", *table(["key", "type", "default", "meaning"], rows)]


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


class Dialects(TableDirective):
    """What the dialects choose."""

    def lines(self) -> list[str]:
        names = list(DIALECTS)
        rows = [
            [f"`{field.name}`", *(f"{getattr(DIALECTS[name], field.name)!r}" for name in names)] for field in fields(next(iter(DIALECTS.values())))
        ]
        return table(["choice", *(f"`{name}`" for name in names)], rows)


class Public(TableDirective):
    """The public names, where they are defined, and their first sentence."""

    def lines(self) -> list[str]:
        rows = []
        for name in vsw.__all__:
            value = getattr(vsw, name)
            home = vsw._HOME.get(name, "vsw")
            text = inspect.getdoc(value) if inspect.isclass(value) or inspect.isroutine(value) else "NumPy data type of the rows of `classify`."
            # Compiled functions have their signature above their text.
            paragraphs = [part for part in (text or "").split("\n\n") if not part.startswith(f"{name}(")]
            rows.append([f"`vsw.{name}`", f"`{home}`", markdown(paragraphs[0]) if paragraphs else ""])
        return table(["name", "defined in", "what it is"], rows)


class Drawing(SphinxDirective):
    """An SVG of _static, as part of the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "_static" / self.arguments[0]
        self.env.note_dependency(str(path))
        return [nodes.raw("", f'<div class="drawing">{path.read_text()}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    # Compiled modules have stubs beside them, which autodoc would run instead if they were not there already.
    for name in vsw.__all__:
        getattr(vsw, name)
    app.add_directive("vsw-verdicts", Verdicts)
    app.add_directive("vsw-topology", TopologyKeys)
    app.add_directive("vsw-dialects", Dialects)
    app.add_directive("vsw-public", Public)
    app.add_directive("vsw-drawing", Drawing)
    return {"parallel_read_safe": True}
