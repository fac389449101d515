"""What runs on the hosts: small programs over ordinary sockets."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import struct
import threading
import time

IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
MDNS_V4, MDNS_V6, MDNS_PORT = "224.0.0.251", "ff02::fb", 5353
SSDP_V4, SSDP_PORT = "239.255.255.250", 1900


def family(address: str) -> int:
    """The socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Pages(http.server.BaseHTTPRequestHandler):
    """`GET /N` answers N bytes of text."""

    protocol_version = "HTTP/1.1"
    server_version = "pages"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        body = (f"page {self.path} ".encode() * 8192)[: int(self.path.strip("/"))]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


class Server6(http.server.ThreadingHTTPServer):
    """The same over IPv6."""

    address_family = socket.AF_INET6
    daemon_threads = True


def serve_pages() -> None:
    """Serve HTTP on port 80 until the end, over both families."""
    # A socket of IPv6 that takes IPv4 too.
    server = Server6(("::", 80), Pages)
    server.serve_forever()


def fetch(address: str, sizes: list[int]) -> None:
    """Fetch pages of these sizes over one connection."""
    connection = http.client.HTTPConnection(address, 80, timeout=20)
    for size in sizes:
        connection.request("GET", f"/{size}", headers={"Host": "shop.example"})
        body = connection.getresponse().read()
        assert len(body) == size
    connection.close()


def serve_rows(port: int, ready: threading.Event) -> None:
    """A database of one table: each line that comes in is a key, each line that goes out its row."""
    with socket.create_server(("", port)) as server:
        ready.set()
        while True:
            client, _ = server.accept()
            with client, client.makefile("rwb") as stream:
                for key in stream:
                    if key == b"quit\n":
                        break
                    stream.write(b"row %s: %s\n" % (key.strip(), key.strip() * 12))
                    stream.flush()


def query_rows(address: str, port: int, count: int) -> None:
    """Ask that database for rows, one after the other."""
    with socket.create_connection((address, port), timeout=20) as server, server.makefile("rwb") as stream:
        for key in range(count):
            stream.write(b"%d\n" % key)
            stream.flush()
            assert stream.readline().startswith(b"row %d:" % key)
        stream.write(b"quit\n")
        stream.flush()


def swallow(port: int, size: int, ready: threading.Event) -> None:
    """Take one connection and read `size` bytes from it."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        ready.set()
        client, _ = server.accept()
        with client:
            while size > 0 and (data := client.recv(65536)):
                size -= len(data)
    assert size == 0


def pour(address: str, port: int, size: int) -> None:
    """Send `size` bytes over TCP."""
    with socket.create_connection((address, port), timeout=20) as server:
        server.sendall((b"block of a backup " * (size // 16))[:size])


def listen(address: str, port: int, ready: threading.Event) -> None:
    """Take datagrams, answer none."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, port))
        ready.set()
        while True:
            receiver.recv(65536)


def datagrams(address: str, port: int, count: int, size: int, gap: float, service: int = 0) -> None:
    """Send datagrams of `size` bytes, one each `gap` seconds; `service` is the TOS octet or traffic class."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family(address) == socket.AF_INET:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, service)
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, service)
        for number in range(count):
            with contextlib.suppress(ConnectionRefusedError):
                sender.sendto((b"datagram %d " % number * 800)[:size], (address, port))
            time.sleep(gap)


def refused(address: str, port: int) -> None:
    """Connect to where nobody listens."""
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((address, port), timeout=5)
        raise AssertionError(f"{address} port {port} accepted a connection")


def too_big(address: str, size: int) -> None:
    """Send a datagram that must not be fragmented, on a way that is too narrow for it; then again, knowing better."""
    level, option = (socket.IPPROTO_IPV6, 23) if ":" in address else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
    with socket.socket(family(address), socket.SOCK_DGRAM) as sender:
        sender.setsockopt(level, option, IP_PMTUDISC_DO)
        for _ in range(3):
            with contextlib.suppress(OSError):
                sender.sendto(b"x" * size, (address, 4000))
            time.sleep(0.2)


def _question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 0, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 12, 1)


def discover(card: str, ready: threading.Event, leave: threading.Event, questions: int) -> None:
    """Join the groups of mDNS and SSDP, ask after services, and leave the groups when told to."""
    index = socket.if_nametoindex(card)
    with contextlib.ExitStack() as stack:
        four = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        six = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        for group in (MDNS_V4, SSDP_V4):
            four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", socket.inet_aton(group), bytes(4), index))
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, MDNS_V6) + struct.pack("i", index))
        four.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), index))
        four.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        four.bind(("", MDNS_PORT))
        six.bind(("::", MDNS_PORT + 1))
        ready.set()
        for number in range(questions):
            four.sendto(_question("_http._tcp.local"), (MDNS_V4, MDNS_PORT))
            six.sendto(_question("_ipp._tcp.local"), (MDNS_V6, MDNS_PORT))
            search = f'M-SEARCH * HTTP/1.1\r\nHOST: {SSDP_V4}:{SSDP_PORT}\r\nMAN: "ssdp:discover"\r\nMX: {number + 1}\r\nST: ssdp:all\r\n\r\n'
            four.sendto(search.encode(), (SSDP_V4, SSDP_PORT))
            time.sleep(0.3)
        leave.wait(30)
