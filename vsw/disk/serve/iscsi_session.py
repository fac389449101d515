"""One iSCSI session: what happens to each PDU after login (RFC 7143 4 and 11), at error recovery level 0 with one connection.

A thread for each connection; it sleeps in ``Wire.next``. Plain reads and writes never come up here (``iscsi_wire.pyx``). The rest: commands
whose data still has to be fetched wait in ``tasks``; commands that may take seconds run in the server's pool. What the pool has done a second thread
of the session answers, so that an initiator that does not read holds up no thread of the pool.
"""
from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..scsi.discovery import decode_lun
from ..scsi.sense import Code, Key, Sense, Status
from . import iscsi_keys as keys
from . import iscsi_wire
from .iscsi_login import HEAD, OUT_OF_RESOURCES, SESSION_MISSING, Login, LoginError

if TYPE_CHECKING:
    from ..scsi.commands import Reply
    from ..scsi.target import Nexus
    from .iscsi import IscsiServer

log = logging.getLogger("vsw.disk.iscsi")

WINDOW = 128
"""Commands that an initiator may send ahead of the one that is expected next."""
MOST_TASKS = 1024
"""Commands of one session that wait for data or run in the pool; beyond that the answer is TASK SET FULL."""
MOST_DATA = 64 << 20
"""Bytes that commands of one session may collect; beyond that the answer is TASK SET FULL."""
LOGIN_SECONDS = 30
ABORT_SECONDS = 10
NOBODY = 0xFFFFFFFF
"""The reserved task tag."""

FINAL = 0x80
IMMEDIATE = 0x40
READS, WRITES = 0x40, 0x20
OVERFLOW, UNDERFLOW = 0x04, 0x02

DATA_PHASE_ERROR = Code(0x4B, 0x00, "data phase error")
DIGEST_ERROR = Code(0x47, 0x05, "protocol service CRC error")
UNSOLICITED_MISSING = Code(0x0C, 0x0D, "write error - not enough unsolicited data")

# Reasons of a Reject PDU.
REJECT_DIGEST = 0x02
REJECT_SNACK = 0x03
REJECT_PROTOCOL = 0x04
REJECT_UNSUPPORTED = 0x05
REJECT_INVALID = 0x09


class Task:
    """A command between its arrival and its answer."""

    __slots__ = (
        "aborted", "burst_end", "cdb", "data", "data_sn", "done", "expected",
        "filled", "flags", "lun", "r2t_sn", "tag", "unsolicited", "wanted",
    )  # fmt: skip

    def __init__(self, header: bytes, cdb: bytes, lun: int | None, wanted: int) -> None:
        self.tag = header[16:20]
        self.flags = header[1]
        self.cdb = cdb
        self.lun = lun
        self.expected = int.from_bytes(header[20:24], "big")
        """Bytes that the initiator means to transfer (EDTL)."""
        self.wanted = wanted
        """Bytes that the command takes."""
        self.data = bytearray(min(wanted, self.expected))
        self.filled = 0
        """Bytes that have arrived, which may be more than are kept."""
        self.unsolicited = False
        self.burst_end = 0
        self.data_sn = 0
        self.r2t_sn = 0
        self.aborted = False
        self.done = threading.Event()


class Session:
    """One connection and, after login, the session on it."""

    def __init__(self, server: IscsiServer, connection: socket.socket, peer: str) -> None:
        self.server = server
        self.connection = connection
        self.peer = peer
        host, port = connection.getsockname()[:2]
        self.portal = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.wire = iscsi_wire.Wire(connection.fileno(), WINDOW)
        self.login = Login(server.find, server.portal_tag, server.discovery_chap)
        self.agreement = self.login.agreement
        self.nexus: Nexus | None = None
        self.tasks: dict[bytes, Task] = {}
        self._running: set[Task] = set()
        self._finished: SimpleQueue[tuple[Task, Reply | None] | None] = SimpleQueue()
        self._answerer: threading.Thread | None = None
        self._collected = 0
        self._text = bytearray()
        self._closing = False
        self._pinged = 0
        self._tag = 0
        self._logged_in = False
        self._opened = time.monotonic()

    # The thread.

    def run(self) -> None:
        """Serve the connection until it ends; never raises."""
        try:
            if self._login():
                self._full_feature()
        except Exception:
            log.exception("session with %s ends by a defect of the target", self.peer)
        finally:
            self._end()

    def _end(self) -> None:
        self.wire.open_gates({})
        if self.nexus is not None:
            self._wait_for(list(self._running))
            self.nexus.close()
        if self._answerer is not None:
            self._finished.put(None)
            self._answerer.join()
        self.server.ended(self)
        # Who sees the connection end may rely on the nexus being gone.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        # The descriptor goes last: nobody may be in a system call on a number that is used again.
        self.connection.close()
        if self._logged_in:
            log.info("session of %s from %s ended", self.login.initiator, self.peer)

    def stop(self) -> None:
        """End the session from another thread: its receive returns."""
        self._closing = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    @property
    def key(self) -> tuple[str, bytes, str]:
        """What makes a session unique: initiator, ISID, target."""
        return self.login.initiator, self.login.isid, self.login.exported.target.name if self.login.exported else ""

    # Login.

    def _login(self) -> bool:
        first = True
        while not self.login.done:
            event = self.wire.next()
            if event == iscsi_wire.IDLE and time.monotonic() - self._opened < LOGIN_SECONDS:
                continue
            if event != iscsi_wire.PDU:
                return False
            header = self.wire.header
            if header[0] & 0x3F != 0x03 or len(self.wire.ahs) or time.monotonic() - self._opened > LOGIN_SECONDS:
                return False
            if first:
                self.wire.begin(int.from_bytes(header[24:28], "big"))
                first = False
            try:
                answer, text = self.login.step(header, bytes(self.wire.data))
                if self.login.done:
                    self._begin(answer)
            except LoginError as error:
                log.warning("login from %s refused (%04x): %s", self.peer, error.status, error)
                refusal = bytearray(HEAD)
                refusal[0] = 0x23
                refusal[8:16] = header[8:16]
                refusal[16:20] = header[16:20]
                refusal[36:38] = error.status.to_bytes(2, "big")
                self.wire.send(refusal)
                self.wire.flush()
                return False
            self.wire.send(answer, text)
        agreed = self.agreement
        self.wire.flush()
        self.wire.agree(
            header_digests=agreed.header_digest == "CRC32C",
            data_digests=agreed.data_digest == "CRC32C",
            largest_send=agreed.their_segment,
            largest_burst=agreed.max_burst,
        )
        self._open_gates()
        self._logged_in = True
        log.info("session of %s from %s to %s", self.login.initiator, self.peer, self.key[2] or "discovery")
        return True

    def _begin(self, answer: bytearray) -> None:
        """The last login step: the session comes to be, and ends an older one of the same name."""
        if self.login.tsih:
            raise LoginError(SESSION_MISSING, "a session has one connection; there is none to add to or to replace")
        tsih = self.server.started(self)
        if tsih is None:
            raise LoginError(OUT_OF_RESOURCES, "too many sessions")
        answer[14:16] = tsih.to_bytes(2, "big")
        exported = self.login.exported
        if exported is not None:
            self.nexus = exported.target.connect(
                transport_id(self.login.initiator, self.login.isid),
                relative_port=self.server.portal_tag,
                target_port=f"{exported.target.name},t,0x{self.server.portal_tag:04x}",
                version_descriptors=(0x0960,),
                on_abort=self.abort_unit,
            )

    def _open_gates(self) -> None:
        if self.nexus is not None:
            gates = {lun: self.nexus.gate(lun) for lun in self.nexus.luns() if lun < 256}
            self.wire.open_gates({lun: gate for lun, gate in gates.items() if gate is not None})

    # Full feature phase.

    def _full_feature(self) -> None:
        handlers = {
            0x00: self._nop_out,
            0x01: self._command,
            0x02: self._task_management,
            0x04: self._text_request,
            0x05: self._data_out,
            0x06: self._logout,
        }
        while True:
            event = self.wire.next()
            if event == iscsi_wire.PDU:
                self._pinged = 0
                header = self.wire.header
                handler = handlers.get(header[0] & 0x3F)
                if handler is None:
                    self._reject(header, REJECT_SNACK if header[0] & 0x3F == 0x10 else REJECT_UNSUPPORTED)
                elif not handler(header):
                    self.wire.flush()
                    return
            elif event == iscsi_wire.BAD_DATA:
                self._bad_data(self.wire.header)
            elif event == iscsi_wire.IDLE:
                if not self._ping():
                    return
            else:
                if event == iscsi_wire.BAD_HEADER:
                    log.warning("%s from %s: a header digest or a length is wrong; the connection ends", self.login.initiator, self.peer)
                return

    def _numbered(self, header: bytes) -> bool:
        """True if the PDU's command number is the next; others are dropped silently (RFC 7143 4.2.2.1)."""
        if header[0] & IMMEDIATE:
            return True
        if int.from_bytes(header[24:28], "big") != self.wire.exp_cmd_sn:
            return False
        self.wire.accept_command()
        return True

    def _reject(self, header: bytes, reason: int) -> None:
        answer = bytearray(HEAD)
        answer[0] = 0x3F
        answer[1] = FINAL
        answer[2] = reason
        answer[16:20] = b"\xff\xff\xff\xff"
        self.wire.send(answer, header)

    def _bad_data(self, header: bytes) -> None:
        self._reject(header, REJECT_DIGEST)
        if header[0] & 0x3F == 0x05:
            task = self.tasks.get(header[16:20])
            if task is not None:
                self._fail(task, DIGEST_ERROR)

    # Pings.

    def _ping(self) -> bool:
        """Nothing came for a while: ask whether the initiator is there. False once it has not answered twice."""
        if self._pinged > 1:
            log.warning("%s from %s does not answer; the session ends", self.login.initiator, self.peer)
            return False
        self._pinged += 1
        self._tag = self._tag % 0x7FFFFFFF + 1
        ping = bytearray(HEAD)
        ping[0] = 0x20
        ping[1] = FINAL
        ping[16:20] = b"\xff\xff\xff\xff"
        ping[20:24] = self._tag.to_bytes(4, "big")
        self.wire.send(ping, advance=False)
        return self.wire.flush()

    def _nop_out(self, header: bytes) -> bool:
        tag = header[16:20]
        if tag == b"\xff\xff\xff\xff":  # the answer to a ping
            if not header[0] & IMMEDIATE:
                self._numbered(header)
            return True
        if not self._numbered(header):
            return True
        answer = bytearray(HEAD)
        answer[0] = 0x20
        answer[1] = FINAL
        answer[8:16] = header[8:16]
        answer[16:20] = tag
        answer[20:24] = b"\xff\xff\xff\xff"
        self.wire.send(answer, self.wire.data[: self.agreement.their_segment])
        return True

    # Commands.

    def _command(self, header: bytes) -> bool:
        if not self._numbered(header):
            return True
        if self.nexus is None:
            self._reject(header, REJECT_PROTOCOL)
            return True
        cdb = header[32:48]
        ahs = self.wire.ahs
        if ahs:
            extra = _extended_cdb(ahs)
            if extra is None:
                self._reject(header, REJECT_INVALID)
                return True
            cdb += extra
        lun = decode_lun(header[8:16])
        flags = header[1]
        expected = int.from_bytes(header[20:24], "big")
        data = self.wire.data
        if header[16:20] in self.tasks or (flags & READS and flags & WRITES):
            self._reject(header, REJECT_INVALID)
            return True
        wanted = self.nexus.data_out_length(lun, cdb) if flags & WRITES else 0
        kept = min(wanted, expected)
        if len(data) > (expected if flags & WRITES else 0) or (len(data) and not self.agreement.immediate_data):
            self._reject(header, REJECT_PROTOCOL)
            return True
        if self._collected + kept > MOST_DATA or len(self.tasks) + len(self._running) >= MOST_TASKS:
            self.wire.send_response(header[16:20], Status.TASK_SET_FULL, b"", 0, 0)
            return True
        task = Task(header, cdb, lun, wanted)
        self._keep(task, data)
        more_unsolicited = bool(flags & WRITES) and not flags & FINAL
        if more_unsolicited and self.agreement.initial_r2t:
            self._reject(header, REJECT_PROTOCOL)
            return True
        if more_unsolicited or task.filled < kept:
            self.tasks[task.tag] = task
            self._collected += len(task.data)
            if more_unsolicited:
                task.unsolicited = True
                task.burst_end = min(expected, self.agreement.first_burst)
            else:
                self._ask(task)
            return True
        self._start(task)
        return True

    def _keep(self, task: Task, data: memoryview) -> None:
        """Store what arrives next, as far as the command takes it."""
        room = len(task.data) - task.filled
        if room > 0:
            task.data[task.filled : task.filled + min(room, len(data))] = data[:room]
        task.filled += len(data)

    def _ask(self, task: Task) -> None:
        """Ready To Transfer for the next burst."""
        length = min(len(task.data) - task.filled, self.agreement.max_burst)
        task.unsolicited = False
        task.burst_end = task.filled + length
        task.data_sn = 0
        self._tag = self._tag % 0x7FFFFFFF + 1
        request = bytearray(HEAD)
        request[0] = 0x31
        request[1] = FINAL
        lun = task.lun or 0
        request[8:10] = (lun if lun < 256 else 0x4000 | lun).to_bytes(2, "big")
        request[16:20] = task.tag
        request[20:24] = self._tag.to_bytes(4, "big")
        request[36:40] = task.r2t_sn.to_bytes(4, "big")
        request[40:44] = task.filled.to_bytes(4, "big")
        request[44:48] = length.to_bytes(4, "big")
        task.r2t_sn += 1
        self.wire.send(request, advance=False)

    def _data_out(self, header: bytes) -> bool:
        task = self.tasks.get(header[16:20])
        if task is None:  # of a command that has ended: the rest of its data is dropped
            return True
        data = self.wire.data
        offset = int.from_bytes(header[40:44], "big")
        solicited = header[20:24] != b"\xff\xff\xff\xff"
        last = bool(header[1] & FINAL)
        in_order = int.from_bytes(header[36:40], "big") == task.data_sn and offset == task.filled
        if not in_order or solicited is task.unsolicited or task.filled + len(data) > task.burst_end:
            self._reject(header, REJECT_PROTOCOL)
            self._fail(task, DATA_PHASE_ERROR)
            return True
        self._keep(task, data)
        task.data_sn += 1
        if not last:
            return True
        if solicited and task.filled < task.burst_end:
            self._fail(task, DATA_PHASE_ERROR)
        elif task.filled < len(task.data):
            self._ask(task)
        else:
            self._drop(task)
            self._start(task)
        return True

    def _drop(self, task: Task) -> None:
        if self.tasks.pop(task.tag, None) is task:
            self._collected -= len(task.data)

    def _fail(self, task: Task, code: Code) -> None:
        """End a command whose data went wrong."""
        self._drop(task)
        if not task.aborted:
            sense = Sense(Key.ABORTED_COMMAND, code).encode(False)
            self.wire.send_response(task.tag, Status.CHECK_CONDITION, sense, *_residual(task.expected, 0))

    def _start(self, task: Task) -> None:
        assert self.nexus is not None
        if task.aborted:
            return
        ordered = task.flags & 0x07 > 1
        if ordered:  # ORDERED and HEAD OF QUEUE: nothing else runs beside it
            for other in list(self._running):
                other.done.wait()
        elif self.nexus.lengthy(task.lun, task.cdb):
            self._running.add(task)
            if self._answerer is None:
                self._answerer = threading.Thread(target=self._answer_finished, name=f"vsw-iscsi-answers-{self.peer}", daemon=True)
                self._answerer.start()
            if self.server.submit(lambda: self._finish_later(task)):
                return
            self._running.discard(task)
        self._answer(task, self.nexus.execute(task.lun, task.cdb, task.data, _announced(task)))
        self._refresh(task)

    def _finish_later(self, task: Task) -> None:
        """In the pool: do the command, and leave its answer to the session's second thread."""
        assert self.nexus is not None
        try:
            reply = self.nexus.execute(task.lun, task.cdb, task.data, _announced(task))
        except Exception:
            log.exception("a command of %s ends by a defect of the target", self.login.initiator)
            self.stop()
            self._finished.put((task, None))
        else:
            self._finished.put((task, reply))

    def _answer_finished(self) -> None:
        """The second thread: answer what the pool has done, unless it was aborted meanwhile."""
        while (finished := self._finished.get()) is not None:
            task, reply = finished
            try:
                if reply is not None and not task.aborted:
                    self._answer(task, reply)
                    self.wire.flush()
            except Exception:
                log.exception("an answer to %s fails by a defect of the target", self.login.initiator)
                self.stop()
            finally:
                self._running.discard(task)
                task.done.set()

    def _refresh(self, task: Task) -> None:
        """REPORT LUNS is what an initiator sends when units came or went: their gates follow."""
        if task.cdb[0] == 0xA0:
            self._open_gates()

    def _answer(self, task: Task, reply: Reply) -> None:
        data = reply.data
        if task.flags & READS and reply.status != Status.CHECK_CONDITION:
            flag, count = _residual(task.expected, len(data))
            if data and task.expected:
                self.wire.send_data(task.tag, memoryview(data)[: task.expected], reply.status, flag, count)
                return
        elif task.flags & WRITES and reply.status != Status.CHECK_CONDITION:
            flag, count = _residual(task.expected, task.wanted)
        elif task.flags & WRITES:
            flag, count = _residual(task.expected, task.wanted) if task.wanted > task.expected else (0, 0)
        else:
            flag, count = _residual(task.expected, len(data) if reply.status != Status.CHECK_CONDITION else 0)
        self.wire.send_response(task.tag, reply.status, reply.sense, flag, count)

    # Task management.

    def abort_unit(self, lun: int) -> None:
        """End, without an answer, what waits for data at this unit; any thread may call it."""
        for task in list(self.tasks.values()):
            if task.lun == lun:
                task.aborted = True
                self._drop(task)

    def _wait_for(self, tasks: list[Task]) -> bool:
        """Commands that run can't be stopped, only awaited; false if one did not end in time."""
        assert self.nexus is not None
        for task in tasks:
            task.aborted = True
        tasks = [task for task in tasks if not self.nexus.unstoppable(task.lun, task.cdb)]
        deadline = time.monotonic() + ABORT_SECONDS
        return all(task.done.wait(max(0.0, deadline - time.monotonic())) for task in tasks)

    def _task_management(self, header: bytes) -> bool:
        if not self._numbered(header):
            return True
        if self.nexus is None:
            self._reject(header, REJECT_PROTOCOL)
            return True
        function = header[1] & 0x7F
        lun = decode_lun(header[8:16])
        response, ends = self._manage(function, lun, header)
        answer = bytearray(HEAD)
        answer[0] = 0x22
        answer[1] = FINAL
        answer[2] = response
        answer[16:20] = header[16:20]
        self.wire.send(answer)
        if ends:
            self.server.end_sessions(self.nexus.target, but=self)
        return not ends

    def _manage(self, function: int, lun: int | None, header: bytes) -> tuple[int, bool]:
        """``(response code, session ends)``."""
        assert self.nexus is not None
        complete, no_task, no_unit, no_reassign, unsupported, rejected = 0, 1, 2, 4, 5, 255
        if function == 1:
            return self._abort(header, complete, no_task, rejected), False
        if function in (2, 4, 5):
            if lun is None or self.nexus.presence(lun) is None:
                return no_unit, False
            self.abort_unit(lun)
            if not self._wait_for([task for task in list(self._running) if task.lun == lun]):
                return rejected, False
            if function == 4:
                self.nexus.clear_tasks(lun)
            elif function == 5:
                self.nexus.reset_unit(lun)
            return complete, False
        if function in (6, 7):
            for number in self.nexus.luns():
                self.abort_unit(number)
            if not self._wait_for(list(self._running)):
                return rejected, False
            self.nexus.reset_target()
            return complete, function == 7
        return (no_reassign if function == 8 else unsupported), False

    def _abort(self, header: bytes, complete: int, no_task: int, rejected: int) -> int:
        tag = header[20:24]
        task = self.tasks.get(tag)
        if task is not None:
            task.aborted = True
            self._drop(task)
            return complete
        running = [task for task in list(self._running) if task.tag == tag]
        if running:
            return complete if self._wait_for(running) else rejected
        # A command that has not arrived yet counts as aborted (RFC 7143 11.6.1); one that has been answered does not exist.
        reference = int.from_bytes(header[32:36], "big")
        ahead = (reference - self.wire.exp_cmd_sn) & NOBODY
        return complete if ahead < WINDOW and reference != int.from_bytes(header[24:28], "big") else no_task

    # Text and logout.

    def _text_request(self, header: bytes) -> bool:
        if not self._numbered(header):
            return True
        if len(self._text) + len(self.wire.data) > keys.LONGEST_TEXT:
            self._reject(header, REJECT_PROTOCOL)
            self._text.clear()
            return True
        self._text += bytes(self.wire.data)
        answer = bytearray(HEAD)
        answer[0] = 0x24
        answer[8:16] = header[8:16]
        answer[16:20] = header[16:20]
        answer[20:24] = b"\xff\xff\xff\xff"
        if header[1] & 0x40:  # more follows
            answer[20:24] = header[16:20] if header[16:20] != b"\xff\xff\xff\xff" else bytes(4)
            self.wire.send(answer)
            return True
        try:
            given = keys.parse(bytes(self._text))
        except keys.TextError:
            self._reject(header, REJECT_PROTOCOL)
            return True
        finally:
            self._text.clear()
        answers: list[tuple[str, str]] = []
        for key, value in given.items():
            if key == "SendTargets":
                answers += self._send_targets(value)
            elif key == "MaxRecvDataSegmentLength":
                with contextlib.suppress(keys.TextError):
                    answers.append((key, keys.settle(self.agreement, key, value, False)))
            else:
                answers.append((key, "Reject" if key in keys.RULES else "NotUnderstood"))
        answer[1] = FINAL
        text = keys.encode(answers)
        self.wire.send(answer, text[: self.agreement.their_segment])
        return True

    def _send_targets(self, value: str) -> list[tuple[str, str]]:
        """All targets in a discovery session, in a normal one its own (RFC 7143 appendix C)."""
        own = self.login.exported.target.name if self.login.exported is not None else None
        if value == "All" and own is not None:
            return [("SendTargets", "Reject")]
        wanted = own if value == "" else None if value == "All" else value
        found: list[tuple[str, str]] = []
        for exported in self.server.exports():
            name = exported.target.name
            hidden = exported.initiators is not None and self.login.initiator not in exported.initiators
            if hidden or (wanted is not None and name != wanted) or (own is not None and name != own):
                continue
            found.append(("TargetName", name))
            found += [("TargetAddress", f"{address},{self.server.portal_tag}") for address in self.server.addresses(self.portal)]
        return found

    def _logout(self, header: bytes) -> bool:
        if not self._numbered(header):
            return True
        reason = header[1] & 0x7F
        answer = bytearray(HEAD)
        answer[0] = 0x26
        answer[1] = FINAL
        answer[16:20] = header[16:20]
        if reason == 2:  # remove the connection for recovery: not at this level
            answer[2] = 2
        elif reason == 1 and int.from_bytes(header[20:22], "big") != self.login.cid:
            answer[2] = 1
        self.wire.send(answer)
        return answer[2] != 0

    def ask_for_logout(self, seconds: int) -> None:
        """Asynchronous message: log out within so many seconds; any thread may call it."""
        message = bytearray(HEAD)
        message[0] = 0x32
        message[1] = FINAL
        message[16:20] = b"\xff\xff\xff\xff"
        message[36] = 1
        message[42:44] = seconds.to_bytes(2, "big")
        self.wire.send(message)
        self.wire.flush()


def transport_id(initiator: str, isid: bytes) -> bytes:
    """The TransportID of an iSCSI initiator port: its name and the ISID of the session (SPC-4 7.6.4.6)."""
    name = f"{initiator},i,0x{isid.hex()}".encode() + b"\0"
    name += bytes(max(-len(name) % 4, 20 - len(name)))
    return bytes((0x45, 0)) + len(name).to_bytes(2, "big") + name


def _announced(task: Task) -> int:
    return task.expected if task.flags & WRITES else 0


def _residual(expected: int, actual: int) -> tuple[int, int]:
    """Flag and count for ``actual`` bytes where ``expected`` were meant."""
    if actual > expected:
        return OVERFLOW, actual - expected
    if actual < expected:
        return UNDERFLOW, expected - actual
    return 0, 0


def _extended_cdb(ahs: bytes) -> bytes | None:
    """What an extended CDB segment adds to the 16 bytes in the header; ``None`` for anything else, or if lengths do not fit."""
    size = int.from_bytes(ahs[:2], "big")
    if len(ahs) < 4 or ahs[2] != 1 or size < 1 or size + 3 > len(ahs) or len(ahs) - size - 3 > 3:
        return None
    return ahs[4 : 3 + size]
