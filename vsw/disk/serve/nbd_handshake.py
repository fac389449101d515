"""The handshake of an NBD connection: options until the client enters transmission (NBD protocol, fixed newstyle negotiation).

``Handshake`` does no I/O of its own beyond two callables, one that gives the next bytes and one that sends, so that tests can drive it
without a socket. What a client can make it hold is bounded by :data:`LONGEST_OPTION`, how long it goes on by :data:`MOST_OPTIONS`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import nbd_protocol as nbd
from .nbd_protocol import Info, Option, OptionReply

if TYPE_CHECKING:
    from .nbd import Export

LONGEST_OPTION = 64 << 10
"""Bytes of one option's data; more ends the connection."""
MOST_OPTIONS = 64
"""Options of one handshake; more end the connection."""
ALWAYS = nbd.ExportFlag.HAS_FLAGS | nbd.ExportFlag.FLUSH | nbd.ExportFlag.FUA | nbd.ExportFlag.MULTI_CONN | nbd.ExportFlag.CACHE


class HandshakeError(Exception):
    """The client broke the protocol, or gave up; the text is for the log."""


class _InvalidError(Exception):
    """The option's data has the wrong shape; the text is sent to the client."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a handshake ended with."""

    export: Export
    structured: bool
    allocation: bool
    """The client may ask for block status in the context ``base:allocation``."""


@dataclass(slots=True)
class Handshake:
    """One handshake. ``exports`` are those that this client may see, by name; an empty name that none has is the first one's."""

    exports: Mapping[str, Export]
    receive: Callable[[int], bytes]
    """Exactly so many bytes, or an exception."""
    send: Callable[[bytes], None]
    structured: bool = False
    contexts: tuple[str, bool] | None = field(default=None)
    """For which export metadata contexts were chosen, and whether ``base:allocation`` is among them."""

    def run(self) -> Agreed | None:
        """Negotiate to the end; ``None`` if the client ended it politely. Raises :class:`HandshakeError`."""
        self.send(nbd.MAGIC + nbd.OPTION_MAGIC + struct.pack(">H", nbd.ServerFlag.FIXED_NEWSTYLE | nbd.ServerFlag.NO_ZEROES))
        flags = struct.unpack(">I", self.receive(4))[0]
        if flags & ~3:
            raise HandshakeError(f"client flags {flags:#x} hold bits that are not known")
        for _ in range(MOST_OPTIONS):
            magic, option, length = struct.unpack(">8sII", self.receive(16))
            if magic != nbd.OPTION_MAGIC:
                raise HandshakeError(f"an option begins with {magic.hex()}")
            if length > LONGEST_OPTION:
                raise HandshakeError(f"option {option} has {length} bytes of data, the limit is {LONGEST_OPTION}")
            data = self.receive(length)
            if option == Option.EXPORT_NAME:
                return self._export_name(data, bool(flags & nbd.ServerFlag.NO_ZEROES))
            if not flags & nbd.ServerFlag.FIXED_NEWSTYLE:
                raise HandshakeError(f"option {option} from a client that knows only the export's name")
            if option == Option.ABORT:
                self._reply(option, OptionReply.ACK)
                return None
            try:
                agreed = self._option(option, data)
            except _InvalidError as error:
                self._reply(option, OptionReply.ERR_INVALID, str(error).encode())
                continue
            if agreed is not None:
                return agreed
        raise HandshakeError(f"more than {MOST_OPTIONS} options")

    def _reply(self, option: int, kind: OptionReply, data: bytes = b"") -> None:
        self.send(nbd.OPTION_REPLY.pack(nbd.OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

    def _find(self, name: str) -> Export | None:
        found = self.exports.get(name)
        return next(iter(self.exports.values()), None) if found is None and not name else found

    def _option(self, option: int, data: bytes) -> Agreed | None:
        match option:
            case Option.LIST:
                self._list(data)
            case Option.INFO:
                self._info(option, data)
            case Option.GO:
                return self._info(option, data)
            case Option.STRUCTURED_REPLY:
                if data:
                    raise _InvalidError("this option has no data")
                self.structured = True
                self._reply(option, OptionReply.ACK)
            case Option.LIST_META_CONTEXT | Option.SET_META_CONTEXT:
                self._contexts(option, data)
            case _:
                self._reply(option, OptionReply.ERR_UNSUP, b"this option is not known here")
        return None

    # Exports.

    def _export_name(self, data: bytes, no_zeroes: bool) -> Agreed:
        """The oldest way to choose an export: it has no answer for a wrong name."""
        export = self._find(data.decode(errors="replace"))
        if export is None:
            raise HandshakeError(f"no export is called {data[:200]!r}")
        self.send(struct.pack(">QH", export.blocks.size, export_flags(export, self.structured)) + (b"" if no_zeroes else bytes(124)))
        return self._agree(export)

    def _agree(self, export: Export) -> Agreed:
        allocation = self.structured and self.contexts is not None and self.contexts == (export.name, True)
        return Agreed(export, self.structured, allocation)

    def _list(self, data: bytes) -> None:
        if data:
            raise _InvalidError("this option has no data")
        for export in self.exports.values():
            name = export.name.encode()
            self._reply(Option.LIST, OptionReply.SERVER, struct.pack(">I", len(name)) + name + export.description.encode())
        self._reply(Option.LIST, OptionReply.ACK)

    def _info(self, option: int, data: bytes) -> Agreed | None:
        name, rest = _string(data)
        if len(rest) < 2 or len(rest) != 2 + 2 * int.from_bytes(rest[:2], "big"):
            raise _InvalidError("the number of information requests does not fit the length")
        wanted = set(struct.unpack(f">{len(rest) // 2 - 1}H", rest[2:]))
        export = self._find(name)
        if export is None:
            self._reply(option, OptionReply.ERR_UNKNOWN, f"no export is called {name[:200]!r}".encode())
            return None
        smallest = export.blocks.alignment
        if smallest > 512 and Info.BLOCK_SIZE not in wanted:
            self._reply(option, OptionReply.ERR_BLOCK_SIZE_REQD, f"requests must be multiples of {smallest} bytes".encode())
            return None
        self._reply(option, OptionReply.INFO, struct.pack(">HQH", Info.EXPORT, export.blocks.size, export_flags(export, self.structured)))
        if Info.NAME in wanted:
            self._reply(option, OptionReply.INFO, struct.pack(">H", Info.NAME) + export.name.encode())
        if Info.DESCRIPTION in wanted and export.description:
            self._reply(option, OptionReply.INFO, struct.pack(">H", Info.DESCRIPTION) + export.description.encode())
        if Info.BLOCK_SIZE in wanted:
            sizes = (smallest, max(4096, smallest), nbd.LARGEST_PAYLOAD)
            self._reply(option, OptionReply.INFO, struct.pack(">HIII", Info.BLOCK_SIZE, *sizes))
        self._reply(option, OptionReply.ACK)
        return self._agree(export) if option == Option.GO else None

    # Metadata contexts.

    def _contexts(self, option: int, data: bytes) -> None:
        name, rest = _string(data)
        if len(rest) < 4:
            raise _InvalidError("the number of queries is missing")
        count, rest = int.from_bytes(rest[:4], "big"), rest[4:]
        queries = []
        for _ in range(count):
            query, rest = _string(rest)
            queries.append(query)
        if rest:
            raise _InvalidError(f"{len(rest)} bytes follow the last query")
        setting = option == Option.SET_META_CONTEXT
        if setting and not self.structured:
            raise _InvalidError("metadata contexts need structured replies")
        if setting:
            self.contexts = None
        export = self._find(name)
        if export is None:
            self._reply(option, OptionReply.ERR_UNKNOWN, f"no export is called {name[:200]!r}".encode())
            return
        all_of_them = not setting and (not queries or "base:" in queries)
        found = all_of_them or nbd.ALLOCATION in queries
        if setting:
            self.contexts = (export.name, found)
        if found:
            self._reply(option, OptionReply.META_CONTEXT, struct.pack(">I", nbd.ALLOCATION_ID if setting else 0) + nbd.ALLOCATION.encode())
        self._reply(option, OptionReply.ACK)


def _string(data: bytes) -> tuple[str, bytes]:
    """A string with its length before it, and what follows."""
    if len(data) < 4:
        raise _InvalidError("the length of a string is missing")
    length = int.from_bytes(data[:4], "big")
    if length > nbd.LONGEST_NAME or length > len(data) - 4:
        raise _InvalidError(f"a string of {length} bytes: {len(data) - 4} are left, and {nbd.LONGEST_NAME} allowed")
    try:
        return data[4 : 4 + length].decode(), data[4 + length :]
    except UnicodeDecodeError:
        raise _InvalidError("a string is not UTF-8") from None


def export_flags(export: Export, structured: bool) -> int:
    """The transmission flags of an export."""
    flags = ALWAYS
    if structured:
        flags |= nbd.ExportFlag.DF
    if export.writable:
        return flags | nbd.ExportFlag.TRIM | nbd.ExportFlag.WRITE_ZEROES | nbd.ExportFlag.FAST_ZERO
    return flags | nbd.ExportFlag.READ_ONLY
