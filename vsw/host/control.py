"""The control socket of a running host: a JSON object a line, one answer each; and the client's side of it.

Only the user that the host runs as, and root, are answered: the socket has mode 0600, and the kernel says who is calling (SO_PEERCRED).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vsw.errors import ConfigError, UsageError, VswError
from vsw.host.place import control_socket, running_hosts
from vsw.ports.sockets import claim

LOG = logging.getLogger("vsw.host")
#: Bytes of one line: a topology fits, see ``vsw.config.load``.
MAX_LINE = 64 << 20
#: Connections at a time.
MAX_CLIENTS = 32
#: Seconds that a client waits for an answer.
PATIENCE = 60.0

Command = Callable[[Mapping[str, Any]], Any]


class ControlServer:
    """Answers at ``path`` by ``commands``: each gets the request and returns what goes into ``result``.

    :class:`~vsw.errors.VswError` of a command becomes ``{"ok": false, "error": ...}``, that of a topology with ``problems``.
    """

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self.path = path
        self.commands = commands
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = claim(str(path), socket.SOCK_STREAM)
        self._listener.setblocking(True)
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._accept, name="vsw-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more answers; the socket is gone."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.path.unlink(missing_ok=True)
        with self._lock:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._admits(client):
                client.close()
                continue
            with self._lock:
                self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), name="vsw-control-client", daemon=True).start()

    def _admits(self, client: socket.socket) -> bool:
        pid, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        if uid not in {0, os.geteuid()}:
            LOG.warning("control socket: user %d (process %d) was turned away", uid, pid)
            return False
        if len(self._clients) >= MAX_CLIENTS:
            LOG.warning("control socket: process %d was turned away: %d others are connected", pid, MAX_CLIENTS)
            return False
        return True

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as lines:
                while line := lines.readline(MAX_LINE + 1):
                    client.sendall(json.dumps(self._answer(line), ensure_ascii=False).encode() + b"\n")
                    if len(line) > MAX_LINE:
                        break
        except (OSError, ValueError):
            pass  # the client has gone
        finally:
            with self._lock:
                self._clients.discard(client)

    def _answer(self, line: bytes) -> dict[str, Any]:
        if len(line) > MAX_LINE:
            return {"ok": False, "error": f"a request has at most {MAX_LINE} bytes"}
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            return {"ok": False, "error": 'a request is an object with a "command"'}
        command = self.commands.get(request["command"])
        if command is None:
            return {"ok": False, "error": f"no such command: {request['command']!r}; there are {', '.join(self.commands)}"}
        try:
            return {"ok": True, "result": command(request)}
        except ConfigError as error:
            return {"ok": False, "error": str(error), "problems": [str(problem) for problem in error.problems]}
        except (VswError, OSError) as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:
            LOG.exception("control socket: %s failed", request["command"])
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def find_host(run: Path, host: str | None) -> str:
    """The host that is meant: the one that was named, or the only one that runs."""
    if host is not None:
        return host
    hosts = running_hosts(run)
    if len(hosts) == 1:
        return hosts[0]
    if not hosts:
        raise UsageError(f"no host runs in {run}: start one with vsw run, or say where it is with --run-dir")
    raise UsageError(f"several hosts run in {run}: {', '.join(hosts)}; say which with --host")


def ask(run: Path, host: str | None, request: Mapping[str, Any]) -> Any:
    """Ask a running host; :class:`~vsw.errors.VswError` with its words if it refuses, or if none answers."""
    name = find_host(run, host)
    path = control_socket(run, name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
            client.sendall(json.dumps(request, ensure_ascii=False).encode() + b"\n")
            with client.makefile("rb") as lines:
                line = lines.readline()
        except (FileNotFoundError, ConnectionRefusedError):
            raise VswError(f"host {name} does not run in {run}: nobody answers at {path}") from None
        except TimeoutError:
            raise VswError(f"{path}: no answer within {PATIENCE:.0f} seconds") from None
        except OSError as error:
            raise VswError(f"{path}: {error.strerror}") from None
    if not line:
        raise VswError(f"{path}: the host turned us away; its log says why")
    answer = json.loads(line)
    if not answer["ok"]:
        raise VswError(answer["error"])
    return answer["result"]
