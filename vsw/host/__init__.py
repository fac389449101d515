"""The module of a host: a switch that runs between live ports, and what governs it there."""

from __future__ import annotations
