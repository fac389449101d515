"""The NBD server over real sockets, with a client that shares no code with it."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk import nbd_client as nbd
from tests.disk.nbd_client import ACK, ERR, Client, text
from tests.patience import PATIENCE
from vsw.disk.blocks import Blocks, Fault, FaultyBlocks, MemoryBlocks, RawBlocks, create_blocks
from vsw.disk.serve.nbd import Export, NbdServer, nbd_url
from vsw.errors import UsageError

SIZE = 8 << 20
HAS, READ_ONLY, FLUSH, FUA, TRIM, ZEROES, DF, MULTI, CACHE, FAST = (1 << bit for bit in (0, 1, 2, 3, 5, 6, 7, 8, 10, 11))
EPERM, EIO, EINVAL, ENOSPC, ENOTSUP = 1, 5, 22, 28, 95


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path, since the names of unix sockets are; in memory, since disks that flush slowly are not tested here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(params=["memory", "file", "python"])
def blocks(request: pytest.FixtureRequest, place: Path) -> Iterator[Blocks]:
    """A disk with a compiled door in memory and in a file, and one without."""
    if request.param == "file":
        disk: Blocks = create_blocks(place / "disk", SIZE)
    else:
        disk = MemoryBlocks(SIZE) if request.param == "memory" else FaultyBlocks(MemoryBlocks(SIZE))
    with disk:
        yield disk


@pytest.fixture
def server(blocks: Blocks, place: Path) -> Iterator[str]:
    """The path of a server's socket; its exports are a disk and the same one read-only."""
    path = str(place / "socket")
    with NbdServer([Export("disk", blocks, "the disk"), Export("kept", blocks, read_only=True)], unix=path):
        yield path


@pytest.fixture(params=[False, True], ids=["simple", "structured"])
def client(server: str, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(server) as made:
        if request.param:
            made.want_structured()
        made.go("disk")
        yield made


# The handshake.


def test_what_an_export_can_do(server: str) -> None:
    with Client(server) as client:
        client.want_structured()
        known = client.go("disk", 1, 2, 3)
        assert client.size == SIZE
        assert client.flags == HAS | FLUSH | FUA | TRIM | ZEROES | DF | MULTI | CACHE | FAST
        assert known[1] == b"disk"
        assert known[2] == b"the disk"
        assert struct.unpack(">III", known[3]) == (1, 4096, 32 << 20)


def test_a_read_only_export_says_so_and_refuses_changes(server: str) -> None:
    with Client(server) as client:
        client.go("kept")
        assert client.flags == HAS | READ_ONLY | FLUSH | FUA | MULTI | CACHE
        assert client.do(nbd.WRITE, 0, 512, data=bytes(512)).error == EPERM
        assert client.do(nbd.TRIM, 0, 512).error == EPERM
        assert client.do(nbd.ZEROES, 0, 512).error == EPERM
        assert client.read(0, 512) == bytes(512)
        assert client.do(nbd.FLUSH).error == 0


def test_the_list_of_exports(server: str) -> None:
    with Client(server) as client:
        assert client.replies(nbd.LIST) == [(nbd.SERVER, text("disk") + b"the disk"), (nbd.SERVER, text("kept")), (ACK, b"")]


def test_no_name_means_the_first_export(server: str) -> None:
    with Client(server) as client:
        assert client.go("", 1)[1] == b"disk"


def test_info_leaves_the_handshake_open(server: str) -> None:
    with Client(server) as client:
        client.go("kept", option=nbd.INFO)
        client.go("disk")
        client.write(0, b"x")


def test_an_unknown_export_is_refused_and_another_can_be_chosen(server: str) -> None:
    with Client(server) as client:
        assert client.replies(nbd.GO, text("nothing") + b"\0\0")[-1][0] == ERR | 6
        assert client.replies(nbd.INFO, text("nothing") + b"\0\0")[-1][0] == ERR | 6
        client.go("disk")


@pytest.mark.parametrize(("flags", "padding"), [(3, 0), (1, 124), (0, 124)])
def test_export_name(server: str, flags: int, padding: int) -> None:
    with Client(server, flags=flags) as client:
        client.option(nbd.EXPORT_NAME, b"disk")
        size, given = struct.unpack(">QH", client.exactly(10))
        assert client.exactly(padding) == bytes(padding)
        assert (size, given) == (SIZE, HAS | FLUSH | FUA | TRIM | ZEROES | MULTI | CACHE | FAST)
        client.write(5, b"old clients")
        assert client.read(5, 11) == b"old clients"


def test_export_name_of_an_unknown_export_ends_the_connection(server: str) -> None:
    with Client(server) as client:
        client.option(nbd.EXPORT_NAME, b"nothing")
        assert client.closed()


def test_abort_is_acknowledged(server: str) -> None:
    with Client(server) as client:
        assert client.replies(nbd.ABORT) == [(ACK, b"")]
        assert client.closed()


@pytest.mark.parametrize("option", [nbd.STARTTLS, 4, 11, 12, 0xFFFFFFFF])
def test_what_is_not_there_is_said_so(server: str, option: int) -> None:
    with Client(server) as client:
        assert client.replies(option, b"whatever")[0][0] == ERR | 1
        client.go("disk")


BAD_OPTIONS = [
    (nbd.LIST, b"x"),
    (nbd.STRUCTURED, b"x"),
    (nbd.GO, b""),
    (nbd.GO, b"\0\0\0\4disk"),
    (nbd.GO, b"\0\0\0\4disk\0"),
    (nbd.GO, b"\0\0\0\4disk\0\2\0\3"),
    (nbd.GO, b"\0\0\0\4disk\0\0\0\0"),
    (nbd.GO, b"\xff\xff\xff\xffdisk\0\0"),
    (nbd.GO, b"\0\0\0\2\xff\xfe\0\0"),
    (nbd.INFO, struct.pack(">I", 4097) + b"x" * 4097 + b"\0\0"),
    (nbd.LIST_META, text("disk")),
    (nbd.LIST_META, text("disk") + b"\0\0\0\1"),
    (nbd.LIST_META, text("disk") + b"\xff\xff\xff\xff" + text("base:")),
    (nbd.LIST_META, text("disk") + b"\0\0\0\0x"),
    (nbd.SET_META, text("disk") + b"\0\0\0\1" + text("base:allocation")),
]


@pytest.mark.parametrize(("option", "data"), BAD_OPTIONS)
def test_a_malformed_option_is_refused_and_the_handshake_goes_on(server: str, option: int, data: bytes) -> None:
    with Client(server) as client:
        kind, words = client.replies(option, data)[0]
        assert kind == ERR | 3
        assert words.decode()
        client.go("disk")
        client.write(0, b"x")


# Metadata contexts.


@pytest.mark.parametrize(
    ("queries", "found"),
    [((), True), (("base:",), True), (("base:allocation",), True), (("base:other",), False), (("qemu:", "base:allocation"), True), (("",), False)],
)
def test_the_list_of_contexts(server: str, queries: tuple[str, ...], found: bool) -> None:
    with Client(server) as client:
        got = client.replies(nbd.LIST_META, text("disk") + struct.pack(">I", len(queries)) + b"".join(map(text, queries)))
        assert got == ([(nbd.META_REPLY, bytes(4) + b"base:allocation")] if found else []) + [(ACK, b"")]


def test_block_status(server: str, blocks: Blocks) -> None:
    blocks.write(1 << 20, b"x" * (1 << 20))
    with Client(server) as client:
        client.want_status("disk").go("disk")
        assert client.do(nbd.STATUS, 0, SIZE).extents == [(1 << 20, 3), (1 << 20, 0), (SIZE - (2 << 20), 3)]
        assert client.do(nbd.STATUS, 0, SIZE, flags=nbd.REQ_ONE).extents == [(1 << 20, 3)]
        assert client.do(nbd.STATUS, 1536 << 10, 1 << 20).extents == [(512 << 10, 0), (512 << 10, 3)]
        assert client.do(nbd.STATUS, 0, 0).error == EINVAL
        assert client.do(nbd.STATUS, SIZE, 1).error == EINVAL


def test_block_status_of_many_pieces_ends_early(place: Path) -> None:
    with MemoryBlocks(64 << 20) as blocks, NbdServer([Export("", blocks)], unix=place / "s"), Client(str(place / "s")) as client:
        for number in range(2000):
            blocks.write(number * 8192, b"x")
        client.want_status("").go("")
        extents = client.do(nbd.STATUS, 0, 64 << 20).extents
        assert extents == [(4096, 0), (4096, 3)] * 512


@pytest.mark.parametrize("chosen", ["kept", None])
def test_block_status_without_its_context_is_refused(server: str, chosen: str | None) -> None:
    with Client(server) as client:
        client.want_structured()
        if chosen:
            client.want_status(chosen)
        client.go("disk")
        assert client.do(nbd.STATUS, 0, 4096).error == EINVAL


# Requests.


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (511, 2), (4095, 70000), (SIZE - 1, 1), (0, 1 << 20), (100, (1 << 20) + 1), (0, SIZE)])
def test_what_is_written_is_read(client: Client, blocks: Blocks, offset: int, length: int) -> None:
    data = os.urandom(length)
    client.write(offset, data)
    assert client.read(offset, length) == data
    assert blocks.read(0, SIZE) == bytes(offset) + data + bytes(SIZE - offset - length)
    client.write(offset, data[::-1], nbd.FUA)
    assert client.read(offset, length) == data[::-1]
    if client.structured:
        assert client.do(nbd.READ, offset, length, flags=nbd.DF).data == data[::-1]


@pytest.mark.parametrize("flags", [0, nbd.FUA, nbd.NO_HOLE, nbd.NO_HOLE | nbd.FUA])
def test_write_zeroes(client: Client, blocks: Blocks, flags: int) -> None:
    client.write(0, b"x" * (1 << 20))
    assert client.do(nbd.ZEROES, 4096, 512 << 10, flags=flags).error == 0
    assert client.read(0, 1 << 20) == b"x" * 4096 + bytes(512 << 10) + b"x" * ((512 << 10) - 4096)


def test_fast_zeroes_are_quick_or_refused(client: Client, blocks: Blocks) -> None:
    client.write(0, b"x" * 65536)
    unmapped = client.do(nbd.ZEROES, 0, 65536, flags=nbd.FAST_ZERO)
    assert unmapped.error == 0
    assert client.read(0, 65536) == bytes(65536)
    client.write(0, b"y" * 65536)
    kept = client.do(nbd.ZEROES, 0, 65536, flags=nbd.FAST_ZERO | nbd.NO_HOLE)
    assert kept.error in (0, ENOTSUP)
    assert client.read(0, 65536) == (b"y" * 65536 if kept.error else bytes(65536))


def test_trim_cache_flush(client: Client, blocks: Blocks) -> None:
    client.write(0, b"x" * 65536)
    assert client.do(nbd.TRIM, 0, 8192).error == 0
    assert client.do(nbd.TRIM, 8192, 8192, flags=nbd.FUA).error == 0
    assert set(client.read(0, 16384)) <= {0, ord("x")}
    assert client.read(16384, 49152) == b"x" * 49152
    assert client.do(nbd.CACHE, 0, SIZE).error == 0
    assert client.do(nbd.FLUSH).error == 0


REFUSED = [
    # id, command, offset, length, flags, error
    ("read beyond", nbd.READ, SIZE - 511, 512, 0, EINVAL),
    ("read far beyond", nbd.READ, 1 << 63, 512, 0, EINVAL),
    ("read that wraps", nbd.READ, (1 << 64) - 256, 512, 0, EINVAL),
    ("read nothing", nbd.READ, 0, 0, 0, EINVAL),
    ("read too much", nbd.READ, 0, (32 << 20) + 1, 0, EINVAL),
    ("read everything", nbd.READ, 0, 0xFFFFFFFF, 0, EINVAL),
    ("read with FUA", nbd.READ, 0, 512, nbd.FUA, EINVAL),
    ("write beyond", nbd.WRITE, SIZE - 511, 512, 0, ENOSPC),
    ("write that wraps", nbd.WRITE, (1 << 64) - 256, 512, 0, ENOSPC),
    ("write nothing", nbd.WRITE, 0, 0, 0, EINVAL),
    ("write with DF", nbd.WRITE, 0, 512, nbd.DF, EINVAL),
    ("write with unknown flags", nbd.WRITE, 0, 512, 0x8000, EINVAL),
    ("trim beyond", nbd.TRIM, SIZE, 1, 0, EINVAL),
    ("zeroes beyond", nbd.ZEROES, SIZE - 1, 2, 0, ENOSPC),
    ("zeroes of 4 GiB", nbd.ZEROES, 0, 0xFFFFFFFF, 0, ENOSPC),
    ("cache beyond", nbd.CACHE, 0, SIZE + 1, 0, EINVAL),
    ("flush of a range", nbd.FLUSH, 0, 512, 0, EINVAL),
    ("resize", 8, 0, SIZE * 2, 0, EINVAL),
    ("unknown", 0xFFFF, 0, 0, 0, EINVAL),
]


@pytest.mark.parametrize(("command", "offset", "length", "flags", "error"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_done_is_refused_and_the_next_request_works(
    client: Client, command: int, offset: int, length: int, flags: int, error: int
) -> None:
    client.write(0, b"before")
    data = b"z" * length if command == nbd.WRITE else b""
    answer = client.do(command, offset, length, flags=flags, data=data)
    assert answer.error == error
    assert bool(answer.message) == client.structured
    assert client.read(0, 6) == b"before"
    assert client.read(SIZE - 512, 512) == bytes(512)


def test_disconnect_ends_the_connection_after_what_is_under_way(client: Client, blocks: Blocks) -> None:
    for number in range(20):
        client.request(nbd.WRITE, number, 1, flags=nbd.FUA, data=b"d")
    client.request(nbd.DISC)
    answers = [client.receive()[1].error for _ in range(20)]
    assert answers == [0] * 20
    assert client.closed()
    assert blocks.read(0, 21) == b"d" * 20 + b"\0"


def test_many_requests_at_once_are_all_answered(client: Client, blocks: Blocks) -> None:
    writes = {client.request(nbd.WRITE, number * 512, 512, data=bytes((number % 251,)) * 512): number for number in range(500)}
    for _ in range(500):
        cookie, answer = client.receive()
        assert answer.error == 0
        del writes[cookie]
    reads = {client.request(nbd.READ, number * 512, 512): number for number in range(500)}
    for _ in range(500):
        cookie, answer = client.receive()
        assert answer.data == bytes((reads.pop(cookie) % 251,)) * 512
    assert not writes
    assert not reads


# Faults of the disk.


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.EIO, EIO), (errno.ENOSPC, ENOSPC), (errno.EDQUOT, ENOSPC), (errno.EROFS, EPERM), (errno.EBADF, EIO), (errno.ENOMEM, 12)],
)
@pytest.mark.parametrize(
    ("operation", "command", "flags"),
    [
        ("read", nbd.READ, 0),
        ("write", nbd.WRITE, 0),
        ("write", nbd.WRITE, nbd.FUA),
        ("flush", nbd.FLUSH, 0),
        ("discard", nbd.TRIM, 0),
        ("flush", nbd.TRIM, nbd.FUA),
        ("write_zeroes", nbd.ZEROES, 0),
        ("write_zeroes", nbd.ZEROES, nbd.FAST_ZERO),
        ("extents", nbd.STATUS, 0),
    ],
)
def test_a_fault_becomes_an_error_and_the_next_request_works(
    place: Path, operation: str, command: int, flags: int, code: int, error: int, structured: bool
) -> None:
    if command == nbd.STATUS and not structured:
        return
    with (
        FaultyBlocks(MemoryBlocks(SIZE), [Fault(operation, code)]) as blocks,  # type: ignore[arg-type]
        NbdServer([Export("", blocks)], unix=place / "s"),
        Client(str(place / "s")) as client,
    ):
        if structured:
            client.want_status("")
        client.go("")
        length = 0 if command == nbd.FLUSH else 4096
        data = bytes(length) if command == nbd.WRITE else b""
        assert client.do(command, 0, length, flags=flags, data=data).error == error
        assert client.do(command, 0, length, flags=flags, data=data).error == 0
        client.write(0, b"after")
        assert client.read(0, 5) == b"after"


def test_a_file_that_shrank_is_an_error(place: Path) -> None:
    with create_blocks(place / "disk", SIZE) as blocks, NbdServer([Export("", blocks)], unix=place / "s"), Client(str(place / "s")) as client:
        client.go("")
        os.truncate(place / "disk", SIZE // 2)
        assert client.do(nbd.READ, SIZE // 2, 4096).error == EIO
        assert client.do(nbd.READ, 0, 4096).error == 0
        os.truncate(place / "disk", SIZE)
        assert client.do(nbd.READ, SIZE // 2, 4096).error == 0


def test_a_slow_request_does_not_hold_up_the_others(place: Path) -> None:
    """Replies come out of order: the one that waits for the disk last."""
    held = threading.Event()

    class Slow(FaultyBlocks):
        def _flush(self) -> None:
            held.wait(PATIENCE)
            super()._flush()

    with Slow(MemoryBlocks(SIZE)) as blocks, NbdServer([Export("", blocks)], unix=place / "s"), Client(str(place / "s")) as client:
        client.go("")
        flush = client.request(nbd.FLUSH)
        write = client.request(nbd.WRITE, 0, 4, data=b"fast")
        assert client.receive()[0] == write
        read = client.request(nbd.READ, 0, 4)
        assert client.receive() == (read, nbd.Answer(0, b"fast"))
        held.set()
        assert client.receive() == (flush, nbd.Answer(0))


def test_what_one_connection_wrote_another_reads_and_flushes(server: str) -> None:
    with Client(server) as one, Client(server) as two:
        one.go("disk")
        two.go("disk")
        one.write(0, b"one")
        assert two.read(0, 3) == b"one"
        assert two.do(nbd.FLUSH).error == 0


def test_direct_io_tells_its_block_size(place: Path) -> None:
    """O_DIRECT is not for every file system; here only what the protocol makes of an alignment matters."""

    class Sectors(MemoryBlocks):
        alignment = 4096

    with Sectors(SIZE) as blocks, NbdServer([Export("", blocks)], unix=place / "s"), Client(str(place / "s")) as client:
        assert client.replies(nbd.GO, text("") + b"\0\0")[0][0] == ERR | 8
        assert struct.unpack(">III", client.go("", 3)[3]) == (4096, 4096, 32 << 20)
        assert client.do(nbd.READ, 512, 4096).error == EINVAL
        assert client.do(nbd.READ, 4096, 512).error == EINVAL
        client.write(4096, b"x" * 4096)
        assert client.read(4096, 4096) == b"x" * 4096


# Servers.


def test_over_tcp_on_the_loopback_interface() -> None:
    with MemoryBlocks(SIZE) as blocks, NbdServer([Export("a b/c", blocks)], tcp=[("127.0.0.1", 0)]) as server:
        address = server.addresses[0]
        assert server.urls == [f"nbd://127.0.0.1:{address[1]}/a%20b%2Fc"]
        with Client(address) as client:  # type: ignore[arg-type]
            client.go("a b/c")
            client.write(0, b"tcp")
            assert client.read(0, 3) == b"tcp"


def test_urls() -> None:
    assert nbd_url("/run/a b.sock", "") == "nbd+unix:///?socket=/run/a%20b.sock"
    assert nbd_url(("::1", 10809), "x") == "nbd://[::1]:10809/x"


def test_a_socket_that_is_alive_is_left_alone(place: Path) -> None:
    path = place / "s"
    with MemoryBlocks(SIZE) as blocks:
        with NbdServer([Export("", blocks)], unix=path):
            assert path.stat().st_mode & 0o777 == 0o600
            with pytest.raises(OSError, match="another process serves there"):
                NbdServer([Export("", blocks)], unix=path)
            with Client(str(path)) as client:
                client.go("")
        assert not path.exists()


def test_a_dead_socket_is_replaced(place: Path) -> None:
    import socket

    path = place / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with MemoryBlocks(SIZE) as blocks, NbdServer([Export("", blocks)], unix=path), Client(str(path)) as client:
        client.go("")


def test_a_file_is_not_taken_for_a_socket(place: Path) -> None:
    path = place / "s"
    path.write_text("precious")
    with MemoryBlocks(SIZE) as blocks, pytest.raises(OSError, match="a file that is no socket is there"):
        NbdServer([Export("", blocks)], unix=path)
    assert path.read_text() == "precious"


def test_servers_need_a_place_and_exports_a_name_of_their_own() -> None:
    with MemoryBlocks(SIZE) as blocks:
        with pytest.raises(UsageError, match="needs a unix socket or an address"):
            NbdServer([Export("", blocks)])
        with pytest.raises(UsageError, match="'x' is there already"):
            NbdServer([Export("x", blocks), Export("x", blocks)], tcp=[("127.0.0.1", 0)])
        with pytest.raises(UsageError, match="at most 4096 bytes"):
            Export("x" * 4097, blocks)


def test_closing_finishes_what_has_arrived(place: Path) -> None:
    held = threading.Event()
    started = threading.Event()

    class Slow(FaultyBlocks):
        def _flush(self) -> None:
            started.set()
            held.wait(PATIENCE)
            super()._flush()

    with Slow(MemoryBlocks(SIZE)) as blocks:
        server = NbdServer([Export("", blocks)], unix=place / "s")
        with Client(str(place / "s")) as client:
            client.go("")
            cookie = client.request(nbd.FLUSH)
            assert started.wait(PATIENCE)
            closing = threading.Thread(target=server.close)
            closing.start()
            held.set()
            assert client.receive() == (cookie, nbd.Answer(0))
            assert client.closed()
            closing.join()
        assert server.sessions == []


def test_a_withdrawn_export_is_gone(server: str, blocks: Blocks, place: Path) -> None:
    with NbdServer([Export("a", blocks), Export("b", blocks)], unix=place / "t") as two, Client(str(place / "t")) as a, Client(str(place / "t")) as b:
        a.go("a")
        b.go("b")
        assert two.withdraw("a").name == "a"
        assert a.closed()
        b.write(0, b"still here")
        with Client(str(place / "t")) as late:
            assert late.replies(nbd.GO, text("a") + b"\0\0")[-1][0] == ERR | 6
        with pytest.raises(UsageError, match="no export is called 'a'"):
            two.withdraw("a")


def test_raw_files_pass_by_python(place: Path) -> None:
    """Plain requests never reach the session; the session's counter says so."""
    path = place / "s"
    with RawBlocks.create(place / "disk", SIZE) as blocks, NbdServer([Export("", blocks)], unix=path) as server, Client(str(path)) as client:
        client.go("")
        for number in range(10):
            client.write(number * 4096, b"p" * 4096)
            client.read(number * 4096, 4096)
        assert client.do(nbd.FLUSH).error == 0
        session = server.sessions[0]
        reads, writes, bytes_read, bytes_written = session.counters
        assert (writes, bytes_written) == (10, 40960)
        assert reads + session.requests == 11  # a file system that can't tell what is cached sends reads to the pool
        assert bytes_read == reads * 4096


def test_a_server_that_does_not_come_to_be_leaves_no_socket(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("vsw.disk.serve.listen.socket.socketpair", none_left)
    with MemoryBlocks(1 << 20) as blocks, pytest.raises(OSError, match="Too many open files"):
        NbdServer([Export("disk", blocks)], unix=place / "early.sock")
    assert not (place / "early.sock").exists()
