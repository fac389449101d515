"""vhost-user-scsi: the SCSI engine for a guest's virtio-scsi driver, over virtqueues in the guest's memory.

Ring 0 takes task management, ring 1 would carry events (none are sent), the others take commands. A command's header has an address (target and
LUN), a CDB and 96 bytes of room for sense data. READ and WRITE that the engine's gates let pass go from the guest's buffers to the block backend
without the GIL; everything else is ``Nexus.execute``. A target that is not there is answered with BAD_TARGET, which is how a guest's scan ends.

Requests of one ring are done one after another, so that there is never an older task to abort when its management function comes.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ...virtio.ring cimport VSW_RING_SHAPE, vsw_chain, vsw_chain_read, vsw_chain_write, vsw_ring, vsw_ring_fail
from ..scsi.gate cimport GATE_READ, GATE_SLOW, Gate, transfer
from .vhost_user_requests cimport BOUNCE, Requests

import logging

log = logging.getLogger("vsw.disk.vhost_user")

cdef enum:
    CONTROL = 0                 # rings
    EVENTS = 1
    COMMAND_HEADER = 51         # bytes: LUN 8, tag 8, attribute, priority, CRN, CDB 32
    CDB = 19                    # offset
    CDB_BYTES = 32
    ANSWER = 108                # bytes: sense length 4, residual 4, qualifier 2, status, response, sense 96
    SENSE_BYTES = 96
    RESIDUAL = 4
    STATUS = 10
    RESPONSE = 11
    SENSE = 12
    OK = 0
    OVERRUN = 1
    BAD_TARGET = 3
    FAILURE = 9
    FUNCTION_COMPLETE = 0
    FUNCTION_SUCCEEDED = 10
    FUNCTION_REJECTED = 11
    INCORRECT_LUN = 12
    TASK_MANAGEMENT = 0
    ABORT_TASK = 0
    ABORT_TASK_SET = 1
    CLEAR_TASK_SET = 3
    NEXUS_RESET = 4
    UNIT_RESET = 5
    QUERY_TASK = 6
    QUERY_TASK_SET = 7
    MANAGEMENT_BYTES = 24       # type 4, subtype 4, LUN 8, tag 8
    GATED_LUNS = 256

MOST_TARGETS = 16
"""Targets of one controller."""
LARGEST_TRANSFER = 16 << 20
"""Bytes of data of a command that goes through the engine."""


cdef int lun_of(const uint8_t *address) noexcept nogil:
    """The number of the LUN in an address (8 bytes: 1, target, two bytes of LUN, zeros), or -1."""
    cdef int kind = address[2] >> 6
    cdef int i
    for i in range(4, 8):
        if address[i]:
            return -1
    if kind > 1 or kind == 0 and address[2]:
        return -1
    return (address[2] & 0x3F) << 8 | address[3]


cdef class ScsiRequests(Requests):
    """Serves one controller; :meth:`attach` gives it the nexuses, by target number, of the front end that is there."""

    cdef dict nexuses
    cdef list kept              # keeps the gates alive
    cdef void *gates[16][256]
    cdef uint32_t largest_transfer

    def __init__(self):
        self.nexuses = {}
        self.kept = []
        memset(self.gates, 0, sizeof(self.gates))

    def attach(self, dict nexuses):
        """Only while no ring runs."""
        self.nexuses = nexuses
        self.open_gates()

    cdef open_gates(self):
        """Look up which units there are: when the guest has come, and when it asks for them (REPORT LUNS)."""
        cdef Gate gate
        cdef int target, lun
        memset(self.gates, 0, sizeof(self.gates))
        kept = []
        for target, nexus in self.nexuses.items():
            for lun in nexus.luns():
                found = nexus.gate(lun) if lun < GATED_LUNS else None
                if found is not None:
                    gate = found
                    kept.append(gate)
                    self.gates[target][lun] = <void *>gate
        # Another ring's thread may be in a gate that has gone: what was kept once stays until the guest goes.
        self.kept += kept

    cdef uint32_t serve(self, uint32_t number, vsw_ring *ring, vsw_chain *chain, unsigned char *bounce) noexcept nogil:
        if number == EVENTS:
            return vsw_ring_fail(ring, VSW_RING_SHAPE)      # not reached: nobody serves that ring
        if number == CONTROL:
            with gil:
                return self.manage(chain)
        return self.command(ring, chain, bounce)

    cdef uint32_t command(self, vsw_ring *ring, vsw_chain *chain, unsigned char *bounce) noexcept nogil:
        cdef uint8_t head[COMMAND_HEADER]
        cdef uint8_t answer[ANSWER]
        cdef uint64_t in_bytes, out_bytes
        cdef transfer what
        cdef void *gate = NULL
        cdef int lun, kind
        cdef uint32_t written
        if chain.readable_bytes < COMMAND_HEADER or chain.writable_bytes < ANSWER:
            return vsw_ring_fail(ring, VSW_RING_SHAPE)
        vsw_chain_read(chain, 0, head, COMMAND_HEADER)
        in_bytes = chain.writable_bytes - ANSWER
        out_bytes = chain.readable_bytes - COMMAND_HEADER
        lun = lun_of(head)
        if head[0] == 1 and head[1] < 16 and 0 <= lun < GATED_LUNS:
            gate = self.gates[head[1]][lun]
        if gate != NULL:
            kind = (<Gate>gate).decode(head + CDB, &what)
            if kind != GATE_SLOW and what.length == (in_bytes if kind == GATE_READ else out_bytes) and what.length <= BOUNCE:
                if self.pass_gate(gate, kind, &what, chain, bounce):
                    memset(answer, 0, ANSWER)
                    vsw_chain_write(chain, 0, answer, ANSWER)
                    return ANSWER + (what.length if kind == GATE_READ else 0)
        with gil:
            written = self.execute(head, lun, chain, in_bytes, out_bytes)
        return written

    cdef bint pass_gate(self, void *gate, int kind, const transfer *what, vsw_chain *chain, unsigned char *bounce) noexcept nogil:
        """Read or write past the engine; false: let the engine do it."""
        cdef vsw_chain *c = chain
        if kind == GATE_READ:
            # The data lies in one buffer behind the answer's.
            if c.count == c.readable + 2 and c.segment[c.readable].length == ANSWER:
                return (<Gate>gate).read(what, c.segment[c.readable + 1].data) == 0
            if (<Gate>gate).read(what, bounce) != 0:
                return False
            vsw_chain_write(chain, ANSWER, bounce, what.length)
            return True
        if c.readable == 2 and c.segment[0].length == COMMAND_HEADER:
            return (<Gate>gate).write(what, c.segment[1].data) == 0
        vsw_chain_read(chain, COMMAND_HEADER, bounce, what.length)
        return (<Gate>gate).write(what, bounce) == 0

    # With the GIL.

    cdef uint32_t execute(self, const uint8_t *head, int lun, vsw_chain *chain, uint64_t in_bytes, uint64_t out_bytes):
        cdef uint8_t answer[ANSWER]
        cdef const uint8_t *begin
        cdef uint32_t length, written = ANSWER
        cdef uint64_t residual = 0
        cdef size_t wanted
        memset(answer, 0, ANSWER)
        nexus = self.nexuses.get(head[1]) if head[0] == 1 else None
        if nexus is None:
            # REPORT LUNS of the well-known unit (C1 01 ...) is none that anybody here has.
            answer[RESPONSE] = BAD_TARGET
        else:
            cdb = bytes(head[CDB:CDB + CDB_BYTES])
            number = lun if lun >= 0 else None
            data = bytearray(min(out_bytes, <uint64_t>nexus.data_out_length(number, cdb), <uint64_t>LARGEST_TRANSFER))
            wanted = len(data)
            if wanted:
                vsw_chain_read(chain, COMMAND_HEADER, <char *>data, wanted)
            reply = nexus.execute(number, cdb, data, out_bytes)
            answer[STATUS] = <uint8_t>int(reply.status)
            sense = bytes(reply.sense)[:SENSE_BYTES]
            begin = sense
            length = <uint32_t>len(sense)
            memcpy(answer, &length, 4)
            memcpy(answer + SENSE, begin, length)
            returned = bytes(reply.data)
            length = <uint32_t>min(<uint64_t>len(returned), in_bytes)
            if length:
                begin = returned
                vsw_chain_write(chain, ANSWER, begin, length)
            written += length
            if <uint64_t>len(returned) > in_bytes:
                answer[RESPONSE] = OVERRUN
            residual = in_bytes - length if in_bytes else out_bytes - wanted
            memcpy(answer + RESIDUAL, &residual, 4)
            if cdb[0] == 0xA0:
                self.open_gates()
        vsw_chain_write(chain, 0, answer, ANSWER)
        return written

    cdef uint32_t manage(self, vsw_chain *chain):
        """Task management, and what asks for events."""
        cdef uint8_t request[MANAGEMENT_BYTES]
        cdef uint8_t answer[5]
        cdef uint32_t kind, function
        cdef size_t got = vsw_chain_read(chain, 0, request, MANAGEMENT_BYTES)
        memset(answer, 0, 5)
        if got < 4:
            answer[0] = FUNCTION_REJECTED
            return <uint32_t>vsw_chain_write(chain, 0, answer, 1)
        memcpy(&kind, request, 4)
        if kind != TASK_MANAGEMENT:
            # Asynchronous notifications: none are ever sent, so none is agreed on.
            answer[4] = OK
            return <uint32_t>vsw_chain_write(chain, 0, answer, 5)
        if got < MANAGEMENT_BYTES:
            answer[0] = FUNCTION_REJECTED
            return <uint32_t>vsw_chain_write(chain, 0, answer, 1)
        memcpy(&function, request + 4, 4)
        lun = lun_of(request + 8)
        nexus = self.nexuses.get(request[9]) if request[8] == 1 else None
        answer[0] = self.function(nexus, function, lun)
        return <uint32_t>vsw_chain_write(chain, 0, answer, 1)

    cdef uint8_t function(self, nexus, uint32_t function, int lun):
        if nexus is None:
            return BAD_TARGET
        if function == NEXUS_RESET:
            nexus.lost()
            return FUNCTION_SUCCEEDED
        if function not in (ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, UNIT_RESET, QUERY_TASK, QUERY_TASK_SET):
            return FUNCTION_REJECTED
        if nexus.presence(lun) is None:
            return INCORRECT_LUN
        if function == CLEAR_TASK_SET:
            nexus.clear_tasks(lun)
        elif function == UNIT_RESET:
            nexus.reset_unit(lun)
        # A task that is still there would have been done before: aborting is done, and a query finds none.
        return FUNCTION_COMPLETE
