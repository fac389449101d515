"""Sizes as people write them: ``10G`` is 10 * 1024**3 bytes."""

from __future__ import annotations

import re

from vsw.errors import UsageError

SUFFIXES = "KMGTPE"
LARGEST = (1 << 63) - 1
"""Bytes that a file offset can count."""
HELP = "Bytes, or with K, M, G, T, P, E (powers of 1024): 10G, 1.5T, 65536."
_SIZE = re.compile(rf"([0-9]{{1,19}})(?:\.([0-9]{{1,9}}))?\s*(?:([{SUFFIXES}])(?:iB|B)?|B)?", re.IGNORECASE)


def parse_size(text: str, what: str = "--size") -> int:
    """Bytes; raises :class:`~vsw.errors.UsageError` naming ``what`` if the text is no size, has a fraction of a byte, or is past 2**63 - 1."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{what} is a number of bytes, or one with {', '.join(SUFFIXES)} as 10G (found {text!r})")
    whole, fraction, suffix = match.groups()
    unit = 1 << 10 * (SUFFIXES.index(suffix.upper()) + 1) if suffix else 1
    digits = fraction or ""
    scale: int = 10 ** len(digits)
    size, rest = divmod(int(whole + digits) * unit, scale)
    if rest:
        raise UsageError(f"{what} is a whole number of bytes (found {text!r})")
    if size > LARGEST:
        raise UsageError(f"{what} is at most 2**63 - 1 bytes (found {text!r})")
    return size


def size_text(size: int) -> str:
    """``10 GiB``, ``1.5 TiB``, ``512 B``: at most one digit after the point."""
    value, unit = float(size), "B"
    for suffix in SUFFIXES:
        if value < 1024:
            break
        value, unit = value / 1024, f"{suffix}iB"
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"
