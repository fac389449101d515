"""The login phase of an iSCSI connection: names, CHAP, parameters (RFC 7143 6.3 and 11.12, RFC 1994).

``Login.step`` takes one Login Request and gives the Login Response; it does no I/O, so that tests drive it without a socket. Secrets are
compared in constant time and have no printable form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import iscsi_keys as keys
from .iscsi_wire import LARGEST_SEGMENT

if TYPE_CHECKING:
    from .iscsi import Exported

SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3
"""Stages of a login."""
HEAD = 48
TRANSIT, CONTINUE = 0x80, 0x40
LONGEST_NAME = 223
CHAP_ALGORITHMS: Mapping[str, str] = {"7": "sha256", "6": "sha1", "5": "md5"}
"""Algorithm numbers of CHAP that are accepted, with the names of hashlib."""
CHALLENGE_BYTES = 24


@dataclass(frozen=True, slots=True)
class Chap:
    """A CHAP name and its secret, which no representation shows."""

    name: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.name or not self.secret:
            raise ValueError("CHAP needs a name and a secret that are not empty")


class LoginError(Exception):
    """The login is refused with a status class and detail (RFC 7143 11.13.5); the text is for the log."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


INITIATOR_ERROR = 0x0200
AUTHENTICATION_FAILED = 0x0201
NOT_AUTHORISED = 0x0202
TARGET_NOT_FOUND = 0x0203
UNSUPPORTED_VERSION = 0x0205
TOO_MANY_CONNECTIONS = 0x0206
MISSING_PARAMETER = 0x0207
CANT_INCLUDE = 0x0208
SESSION_TYPE_UNSUPPORTED = 0x0209
SESSION_MISSING = 0x020A
INVALID_DURING_LOGIN = 0x020B
SERVICE_UNAVAILABLE = 0x0301
OUT_OF_RESOURCES = 0x0302


def decode_binary(text: str) -> bytes:
    """A binary value of a key: hexadecimal (0x...) or base64 (0b...)."""
    try:
        if text[:2] in ("0x", "0X"):
            digits = text[2:]
            return bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
        if text[:2] in ("0b", "0B"):
            return base64.b64decode(text[2:], validate=True)
    except (ValueError, binascii.Error):
        pass
    raise LoginError(INITIATOR_ERROR, "a binary value is neither hexadecimal nor base64")


def chap_response(algorithm: str, identifier: int, secret: str, challenge: bytes) -> bytes:
    """The digest of identifier, secret and challenge."""
    return hashlib.new(CHAP_ALGORITHMS[algorithm], bytes((identifier,)) + secret.encode() + challenge, usedforsecurity=False).digest()


class Login:
    """One login. ``find(name)`` gives the exported target of that name, or ``None``; ``portal_tag`` is this portal group's.

    Afterwards: ``agreement``, ``initiator``, ``exported`` (``None`` in a discovery session), ``isid`` (6 bytes), ``cid``.
    """

    def __init__(self, find: Callable[[str], Exported | None], portal_tag: int, discovery_chap: Chap | None = None) -> None:
        self._find = find
        self._portal_tag = portal_tag
        self._discovery_chap = discovery_chap
        self.agreement = keys.Agreement()
        self.initiator = ""
        self.exported: Exported | None = None
        self.discovery = False
        self.isid = bytes(6)
        self.tsih = 0
        self.cid = 0
        self.done = False
        self._stage: int | None = None
        self._text = bytearray()
        self._answers: list[tuple[str, str]] = []
        self._authenticated = False
        self._algorithm: str | None = None
        self._identifier = 0
        self._challenge = b""
        self._announced = False

    # One request, one response.

    def step(self, header: bytes, data: bytes) -> tuple[bytearray, bytes]:
        """The response's header (without the connection's numbers) and text. Raises :class:`LoginError` to refuse."""
        flags = header[1]
        current, following = flags >> 2 & 3, flags & 3
        transit = bool(flags & TRANSIT)
        if header[3] > 0:
            raise LoginError(UNSUPPORTED_VERSION, f"version {header[3]} or later is asked for, 0 is the only one")
        if self._stage is None:
            self._first(header, current)
        elif header[8:14] != self.isid or int.from_bytes(header[20:22], "big") != self.cid:
            raise LoginError(INITIATOR_ERROR, "ISID or CID changed during the login")
        if current != self._stage:
            raise LoginError(INVALID_DURING_LOGIN, f"stage {current} in a login that is in stage {self._stage}")
        if transit and (flags & CONTINUE or following <= current or following == 2):
            raise LoginError(INVALID_DURING_LOGIN, f"no way from stage {current} to {following}")
        if len(self._text) + len(data) > keys.LONGEST_TEXT:
            raise LoginError(OUT_OF_RESOURCES, f"more than {keys.LONGEST_TEXT} bytes of keys")
        self._text += data
        if flags & CONTINUE:
            return self._response(header, 0, current, 0), b""
        try:
            given = keys.parse(bytes(self._text))
            self._text.clear()
            self._answers = []
            self._take(given, current)
        except keys.TextError as error:
            raise LoginError(INITIATOR_ERROR, str(error)) from None
        moves = transit and self._may_leave(current, following)
        if moves:
            self._stage = following
            self.done = following == FULL_FEATURE
        return self._response(header, TRANSIT if moves else 0, current, following if moves else 0), keys.encode(self._answers)

    def _response(self, header: bytes, transit: int, current: int, following: int) -> bytearray:
        answer = bytearray(HEAD)
        answer[0] = 0x23
        answer[1] = transit | current << 2 | following
        answer[8:14] = self.isid
        answer[14:16] = self.tsih.to_bytes(2, "big")
        answer[16:20] = header[16:20]
        return answer

    def _first(self, header: bytes, current: int) -> None:
        if current not in (SECURITY, OPERATIONAL):
            raise LoginError(INVALID_DURING_LOGIN, f"a login can't begin in stage {current}")
        self._stage = current
        self.isid = header[8:14]
        self.tsih = int.from_bytes(header[14:16], "big")
        self.cid = int.from_bytes(header[20:22], "big")

    # Names.

    def _identify(self, given: dict[str, str]) -> None:
        """The keys of the first request say who wants what."""
        self.initiator = given.pop("InitiatorName", "")
        given.pop("InitiatorAlias", None)
        if not self.initiator:
            raise LoginError(MISSING_PARAMETER, "no InitiatorName")
        if len(self.initiator.encode()) > LONGEST_NAME or not self.initiator.isprintable():
            raise LoginError(INITIATOR_ERROR, f"an iSCSI name has at most {LONGEST_NAME} printable bytes")
        kind = given.pop("SessionType", "Normal")
        name = given.pop("TargetName", None)
        if kind == "Discovery":
            self.discovery = True
            return
        if kind != "Normal":
            raise LoginError(SESSION_TYPE_UNSUPPORTED, f"session type {kind[:40]!r}")
        if name is None:
            raise LoginError(MISSING_PARAMETER, "no TargetName")
        self.exported = self._find(name)
        if self.exported is None:
            raise LoginError(TARGET_NOT_FOUND, f"no target {name[:LONGEST_NAME]!r}")
        if self.exported.initiators is not None and self.initiator not in self.exported.initiators:
            raise LoginError(NOT_AUTHORISED, f"{self.initiator} is not on the list of initiators")

    # Keys of one request.

    def _take(self, given: dict[str, str], current: int) -> None:
        if not self.initiator:
            self._identify(given)
        chap, mutual = self._credentials()
        if current == SECURITY:
            self._secure(given, chap, mutual)
        elif chap is not None and not self._authenticated:
            raise LoginError(AUTHENTICATION_FAILED, "the target asks for CHAP, the initiator skipped it")
        else:
            for key, value in given.items():
                self._answers.append((key, keys.settle(self.agreement, key, value, self.discovery)))
            self.agreement.first_burst = min(self.agreement.first_burst, self.agreement.max_burst)
            if "MaxRecvDataSegmentLength" not in given and self.agreement.our_segment < LARGEST_SEGMENT:
                self.agreement.our_segment = LARGEST_SEGMENT
                self._answers.append(("MaxRecvDataSegmentLength", str(LARGEST_SEGMENT)))
        if not self._announced and not self.discovery:
            self._announced = True
            self._answers.append(("TargetPortalGroupTag", str(self._portal_tag)))

    def _credentials(self) -> tuple[Chap | None, Chap | None]:
        if self.exported is not None:
            return self.exported.chap, self.exported.mutual
        return self._discovery_chap, None

    def _secure(self, given: dict[str, str], chap: Chap | None, mutual: Chap | None) -> None:
        methods = given.pop("AuthMethod", None)
        if methods is not None:
            wanted = "CHAP" if chap is not None else "None"
            if wanted not in methods.split(","):
                raise LoginError(AUTHENTICATION_FAILED, f"the initiator does not offer AuthMethod {wanted}")
            self._answers.append(("AuthMethod", wanted))
        algorithms = given.pop("CHAP_A", None)
        if algorithms is not None:
            self._challenge_them(algorithms, chap)
        if "CHAP_N" in given or "CHAP_R" in given:
            self._verify(given, chap, mutual)
        for key in given:
            self._answers.append((key, "NotUnderstood" if key not in keys.RULES else "Reject"))

    def _challenge_them(self, algorithms: str, chap: Chap | None) -> None:
        if chap is None or self._algorithm is not None:
            raise LoginError(INITIATOR_ERROR, "CHAP_A out of place")
        self._algorithm = next((number for number in algorithms.split(",") if number in CHAP_ALGORITHMS), None)
        if self._algorithm is None:
            raise LoginError(AUTHENTICATION_FAILED, "no CHAP algorithm in common")
        self._identifier = os.urandom(1)[0]
        self._challenge = os.urandom(CHALLENGE_BYTES)
        self._answers += [("CHAP_A", self._algorithm), ("CHAP_I", str(self._identifier)), ("CHAP_C", "0x" + self._challenge.hex())]

    def _verify(self, given: dict[str, str], chap: Chap | None, mutual: Chap | None) -> None:
        name, response = given.pop("CHAP_N", None), given.pop("CHAP_R", None)
        identifier, challenge = given.pop("CHAP_I", None), given.pop("CHAP_C", None)
        if chap is None or self._algorithm is None or not self._challenge or name is None or response is None:
            raise LoginError(AUTHENTICATION_FAILED, "CHAP response out of place")
        expected = chap_response(self._algorithm, self._identifier, chap.secret, self._challenge)
        ours, self._challenge = self._challenge, b""  # a challenge is good for one answer
        right = hmac.compare_digest(decode_binary(response), expected)
        if not hmac.compare_digest(name.encode(), chap.name.encode()) or not right:
            raise LoginError(AUTHENTICATION_FAILED, f"CHAP of {self.initiator} failed")
        self._authenticated = True
        if challenge is None and identifier is None:
            return
        if challenge is None or identifier is None or mutual is None:
            raise LoginError(AUTHENTICATION_FAILED, "the initiator asks for mutual CHAP, which is not set up")
        theirs = decode_binary(challenge)
        if theirs == ours or not theirs or len(theirs) > 1024:
            raise LoginError(AUTHENTICATION_FAILED, "the initiator sent our own challenge back, or none")
        answer = chap_response(self._algorithm, keys.number(identifier, 0, 255), mutual.secret, theirs)
        self._answers += [("CHAP_N", mutual.name), ("CHAP_R", "0x" + answer.hex())]

    def _may_leave(self, current: int, following: int) -> bool:
        """True if nothing is left to say in this stage."""
        chap, _ = self._credentials()
        if current == SECURITY and chap is not None and not self._authenticated:
            if following == FULL_FEATURE or (self._algorithm is None and not any(key == "AuthMethod" for key, _ in self._answers)):
                raise LoginError(AUTHENTICATION_FAILED, "the target asks for CHAP, the initiator skipped it")
            return False
        return True
