"""The JSON schema of a topology, for editors and for the supervisor's API."""

from __future__ import annotations

from typing import Any

from vsw.config.models import Topology


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a topology file, with descriptions and units."""
    schema = Topology.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "vsw topology"}
