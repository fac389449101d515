"""What two runs did differently, gathered part by part: numbers and kinds of the frames that changed, and groups of them."""

import numpy as np

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy

cdef extern from "vsw/replay/changes.h" nogil:
    enum:
        VSW_MAX_PORTS
        VSW_KIND_DELIVERED
        VSW_KIND_DROPPED
        VSW_KIND_CONSUMED
        VSW_KIND_REASON
        VSW_KIND_MOVED_UPLINK
        VSW_KIND_MOVED_PORT
        VSW_KIND_DUPLICATED
        VSW_KIND_FEWER
        VSW_KIND_RETAGGED
    ctypedef struct vsw_fates_row:
        pass
    ctypedef struct vsw_did:
        const uint8_t *verdict
        const uint8_t *reason
        const int16_t *egress
        const uint16_t *port_in
        const vsw_fates_row *fates
        const uint8_t *uplink
    ctypedef struct vsw_alike:
        pass
    ctypedef struct vsw_changes:
        uint64_t *frames
        uint8_t *kinds
        uint64_t count
        vsw_alike *groups
        uint32_t *slots
        uint32_t group_count
        uint32_t failed
    void vsw_changes_part(vsw_changes *c, const vsw_did *one, const vsw_did *other, uint64_t first, uint32_t count)

#: The number of each kind of change.
KINDS = {
    "delivered": VSW_KIND_DELIVERED,
    "dropped": VSW_KIND_DROPPED,
    "consumed": VSW_KIND_CONSUMED,
    "reason": VSW_KIND_REASON,
    "moved_uplink": VSW_KIND_MOVED_UPLINK,
    "moved_port": VSW_KIND_MOVED_PORT,
    "duplicated": VSW_KIND_DUPLICATED,
    "fewer": VSW_KIND_FEWER,
    "retagged": VSW_KIND_RETAGGED,
}

#: Frames that changed alike: how many, the number of the first one (from 0), and what they have in common, before and after.
ALIKE = np.dtype(
    [
        ("frames", "<u8"), ("example", "<u8"), ("kind", "u1"), ("spare", "u1", 3), ("verdict", "u1", 2), ("reason", "u1", 2),
        ("egress_port", "<i2", 2), ("port_in", "<u2", 2),
    ]
)


cdef class Did:
    """What one run did with the frames of a part: its columns and fates, as they lie in memory, to be looked at again for each part.

    ``uplinks`` are the numbers of the ports that are uplinks.
    """

    cdef vsw_did did
    cdef object kept
    cdef readonly uint64_t rows

    def __init__(self, columns, fates, uplinks):
        flags = np.zeros(VSW_MAX_PORTS, np.uint8)
        flags[list(uplinks)] = 1
        rows = fates.rows
        self.kept = (columns, rows, flags)
        self.rows = min(len(rows), *(len(column) for column in columns.values()))
        self.did.verdict = <const uint8_t *><uintptr_t>columns["verdict"].ctypes.data
        self.did.reason = <const uint8_t *><uintptr_t>columns["reason"].ctypes.data
        self.did.egress = <const int16_t *><uintptr_t>columns["egress_port"].ctypes.data
        self.did.port_in = <const uint16_t *><uintptr_t>columns["port_in"].ctypes.data
        self.did.fates = <const vsw_fates_row *><uintptr_t>rows.ctypes.data
        self.did.uplink = <const uint8_t *><uintptr_t>flags.ctypes.data


cdef class Changes:
    """Gathers what differs between two runs."""

    cdef vsw_changes changes

    def __dealloc__(self):
        free(self.changes.frames)
        free(self.changes.kinds)
        free(self.changes.groups)
        free(self.changes.slots)

    def add(self, Did before not None, Did after not None, uint64_t first, uint32_t count):
        """Compare the ``count`` frames from number ``first`` on.  Raises MemoryError."""
        if count > min(before.rows, after.rows):
            raise ValueError(f"there are {min(before.rows, after.rows)} rows (found {count})")
        with nogil:
            vsw_changes_part(&self.changes, &before.did, &after.did, first, count)
        if self.changes.failed:
            raise MemoryError("no memory for more changes")

    def frames(self):
        """Numbers of the frames that changed (from 0, ascending)."""
        found = np.empty(self.changes.count, np.int64)
        if self.changes.count:
            memcpy(<void *><uintptr_t>found.ctypes.data, self.changes.frames, self.changes.count * sizeof(uint64_t))
        return found

    def kinds(self):
        """The kind of each (a number of :data:`KINDS`)."""
        found = np.empty(self.changes.count, np.uint8)
        if self.changes.count:
            memcpy(<void *><uintptr_t>found.ctypes.data, self.changes.kinds, self.changes.count)
        return found

    def groups(self):
        """One row of :data:`ALIKE` for each group, in order of their first frames."""
        found = np.empty(self.changes.group_count, ALIKE)
        if self.changes.group_count:
            memcpy(<void *><uintptr_t>found.ctypes.data, self.changes.groups, self.changes.group_count * sizeof(vsw_alike))
        return found
