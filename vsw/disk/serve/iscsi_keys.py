"""iSCSI text keys: parsing, and the negotiation of operational parameters (RFC 7143 6 and 13).

The table :data:`RULES` says how each key is settled; nothing else knows a key's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .iscsi_wire import LARGEST_SEGMENT

LONGEST_TEXT = 64 << 10
"""Bytes of keys in one negotiation, over all its PDUs."""


class TextError(ValueError):
    """What the initiator sent is no list of keys."""


def parse(data: bytes) -> dict[str, str]:
    """``key=value`` pairs that end with a zero byte each. Raises :class:`TextError` for anything else, and for a key sent twice."""
    found: dict[str, str] = {}
    for item in data.split(b"\0"):
        if not item:
            continue
        key, separator, value = item.partition(b"=")
        if not separator or not key or len(key) > 63:
            raise TextError("a text segment must hold key=value pairs with keys of 1 to 63 bytes")
        try:
            name, text = key.decode("ascii"), value.decode("utf-8")
        except UnicodeDecodeError:
            raise TextError("a key or value is not UTF-8") from None
        if name in found:
            raise TextError(f"key {name} was sent twice")
        found[name] = text
    return found


def encode(keys: list[tuple[str, str]]) -> bytes:
    """The pairs as a text segment."""
    return b"".join(f"{key}={value}\0".encode() for key, value in keys)


@dataclass(slots=True)
class Agreement:
    """What one session runs with; the defaults are RFC 7143's."""

    header_digest: str = "None"
    data_digest: str = "None"
    initial_r2t: bool = True
    immediate_data: bool = True
    their_segment: int = 8192
    """The initiator's MaxRecvDataSegmentLength, bytes."""
    our_segment: int = 8192
    max_burst: int = 262144
    first_burst: int = 65536
    max_connections: int = 1
    max_outstanding_r2t: int = 1
    time_to_wait: int = 2
    time_to_retain: int = 20
    error_recovery_level: int = 0


Settle = Callable[[Agreement, str], str]


def number(text: str, low: int, high: int) -> int:
    """A decimal or hexadecimal number within bounds, else :class:`TextError`."""
    try:
        value = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
    except ValueError:
        raise TextError(f"{text!r} is no number") from None
    if not low <= value <= high:
        raise TextError(f"{value} is not between {low} and {high}")
    return value


def _smaller(attribute: str, ours: int, low: int, high: int) -> Settle:
    def settle(agreement: Agreement, text: str) -> str:
        value = min(number(text, low, high), ours)
        setattr(agreement, attribute, value)
        return str(value)

    return settle


def _larger(attribute: str, ours: int, low: int, high: int) -> Settle:
    def settle(agreement: Agreement, text: str) -> str:
        value = max(number(text, low, high), ours)
        setattr(agreement, attribute, value)
        return str(value)

    return settle


def _boolean(attribute: str, ours: bool, both: bool) -> Settle:
    """``both``: the result is Yes only if both say so (AND), else if one does (OR)."""

    def settle(agreement: Agreement, text: str) -> str:
        if text not in ("Yes", "No"):
            raise TextError(f"{text!r} is neither Yes nor No")
        value = (text == "Yes" and ours) if both else (text == "Yes" or ours)
        if attribute:
            setattr(agreement, attribute, value)
        return "Yes" if value else "No"

    return settle


def _digest(attribute: str) -> Settle:
    def settle(agreement: Agreement, text: str) -> str:
        chosen = next((name for name in text.split(",") if name in ("CRC32C", "None")), None)
        if chosen is None:
            return "Reject"
        setattr(agreement, attribute, chosen)
        return chosen

    return settle


def _their_segment(agreement: Agreement, text: str) -> str:
    agreement.their_segment = number(text, 512, (1 << 24) - 1)
    agreement.our_segment = LARGEST_SEGMENT
    return str(LARGEST_SEGMENT)  # declared by each side for itself


def _constant(value: str) -> Settle:
    return lambda *_: value


RULES: dict[str, Settle] = {
    "HeaderDigest": _digest("header_digest"),
    "DataDigest": _digest("data_digest"),
    "MaxConnections": _smaller("max_connections", 1, 1, 65535),
    "InitialR2T": _boolean("initial_r2t", False, both=False),
    "ImmediateData": _boolean("immediate_data", True, both=True),
    "MaxRecvDataSegmentLength": _their_segment,
    "MaxBurstLength": _smaller("max_burst", (1 << 24) - 1, 512, (1 << 24) - 1),
    "FirstBurstLength": _smaller("first_burst", LARGEST_SEGMENT, 512, (1 << 24) - 1),
    "DefaultTime2Wait": _larger("time_to_wait", 0, 0, 3600),
    "DefaultTime2Retain": _smaller("time_to_retain", 0, 0, 3600),
    "MaxOutstandingR2T": _smaller("max_outstanding_r2t", 1, 1, 65535),
    "DataPDUInOrder": _boolean("", True, both=False),
    "DataSequenceInOrder": _boolean("", True, both=False),
    "ErrorRecoveryLevel": _smaller("error_recovery_level", 0, 0, 2),
    "OFMarker": _boolean("", False, both=True),
    "IFMarker": _boolean("", False, both=True),
    "OFMarkInt": _constant("Irrelevant"),
    "IFMarkInt": _constant("Irrelevant"),
    "TaskReporting": _constant("RFC3720"),
    "iSCSIProtocolLevel": lambda _, text: str(min(number(text, 0, 31), 1)),
}

DISCOVERY_IRRELEVANT = frozenset(
    (
        "MaxConnections", "InitialR2T", "ImmediateData", "MaxBurstLength", "FirstBurstLength",
        "MaxOutstandingR2T", "DataPDUInOrder", "DataSequenceInOrder",
    )
)  # fmt: skip
"""Keys that mean nothing in a discovery session."""


def settle(agreement: Agreement, key: str, value: str, discovery: bool) -> str:
    """The answer to one key; the agreement has the outcome. Raises :class:`TextError` for a value that the key does not allow."""
    rule = RULES.get(key)
    if rule is None:
        return "NotUnderstood"
    if discovery and key in DISCOVERY_IRRELEVANT:
        return "Irrelevant"
    return rule(agreement, value)
