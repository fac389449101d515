"""The compiled datapath: tables in, frames through, results out.

It knows numbers, not names: :mod:`vsw.switch` turns configuration into :class:`~vsw.datapath.tables.Tables`.
"""

import os
import threading

import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport INT64_MAX, INT64_MIN, int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from vsw.datapath.source cimport VSW_BURST, FrameReader, FrameSource, vsw_burst, vsw_source

from vsw.datapath import tables as schema
from vsw.errors import UsageError

cdef extern from "vsw/datapath/pipeline.h" nogil:
    enum:
        VSW_MAX_PORTS
        VSW_NO_PORT
        VSW_REASONS
        VSW_STOP_END
        VSW_STOP_LIMIT
        VSW_STOP_UNTIL
        VSW_STOP_SINK
        VSW_LEARNS
        VSW_GUARDS
        VSW_PORT_UPLINK
        VSW_FDB_PORT
        VSW_FDB_STATIC
        VSW_FDB_SLOTS
    uint64_t VSW_FDB_ANY
    uint64_t VSW_MAC_MASK
    int vsw_run(vsw_worker *w, vsw_source *s, const uint32_t *closed, uint64_t limit, uint32_t burst, int64_t until)
    uint64_t vsw_count_backwards(vsw_source *s, vsw_burst *b, uint64_t limit, int64_t *now)
    void vsw_counters_unpack(vsw_worker *w)
    void vsw_heat_port(vsw_tables *t, uint32_t i)
    void vsw_heat_vlans(vsw_tables *t)
    const void *vsw_pick_lane()
    void vsw_gate_enter(const uint32_t *closed, uint32_t *inside)
    void vsw_gate_leave(uint32_t *inside)
    void vsw_gate_close(uint32_t *closed)
    void vsw_gate_wait(const uint32_t *inside)
    void vsw_gate_open(uint32_t *closed)
    uint64_t vsw_fdb_key(uint32_t fid, uint64_t mac)
    int vsw_fdb_init(vsw_fdb *f, uint64_t entries, uint32_t learned, uint64_t seed)
    void vsw_fdb_free(vsw_fdb *f)
    uint64_t vsw_fdb_find(const vsw_fdb *f, uint64_t key)
    uint16_t *vsw_fdb_value(const vsw_fdb *f, uint64_t slot)
    uint64_t vsw_fdb_insert(vsw_fdb *f, uint64_t key, uint16_t value)
    void vsw_fdb_remove(vsw_fdb *f, uint64_t slot)
    void vsw_fdb_note_local(vsw_fdb *f, uint64_t mac)
    void vsw_fdb_forget(vsw_fdb *f, uint32_t e)
    void vsw_fdb_learn(vsw_fdb *f, uint64_t key, uint16_t port, int64_t now)
    void vsw_fdb_keep_learned(vsw_fdb *f, const vsw_fdb *old, const vsw_tables *t)
    void vsw_fdb_copy(vsw_fdb *f, const vsw_fdb *old)
    void vsw_fdb_drop_claimed(vsw_fdb *f, const vsw_tables *t)

#: What ended a run: the frames, the limit, the time, or a sink that can take no more.
END, LIMIT, UNTIL, SINK = VSW_STOP_END, VSW_STOP_LIMIT, VSW_STOP_UNTIL, VSW_STOP_SINK
#: ``until`` for a run that no time ends.
FOREVER = INT64_MAX
_ROWS = VSW_MAX_PORTS + 1
#: Counters with a row for each port, and the shape of a row.
_PER_PORT = {"rx_frames": (), "rx_bytes": (), "tx_frames": (), "tx_bytes": (), "dropped": (VSW_REASONS,), "filtered": (VSW_REASONS,)}
_TOTALS = (
    "offered", "delivered", "consumed", "copies_selected", "copies_out", "time_backwards", "normalised", "learned", "moved", "evicted", "aged",
)


cdef uint64_t _address(object array) except? 0:
    # By the buffer protocol: an array's `ctypes` attribute costs a microsecond.
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef uint64_t address = <uint64_t><uintptr_t>view.buf
    PyBuffer_Release(&view)
    return address


cdef uint64_t _seed():
    return int.from_bytes(os.urandom(8), "little")


cdef int _fill(vsw_fdb *f, object entries, bint replace) except -1:
    """Insert rows of Entries; an entry whose key is there is replaced or left."""
    cdef const uint16_t[::1] vlan = entries.vlan
    cdef const uint64_t[::1] mac = entries.mac
    cdef const uint16_t[::1] port = entries.port
    cdef uint64_t key, slot
    cdef Py_ssize_t i, count = vlan.shape[0]
    cdef uint32_t failed = 0
    if mac.shape[0] != count or port.shape[0] != count:
        raise ValueError("vlan, mac and port of entries differ in length")
    with nogil:
        for i in range(count):
            if vlan[i] == 0xFFFF:
                key = VSW_FDB_ANY | (mac[i] & VSW_MAC_MASK)
            else:
                key = vsw_fdb_key(vlan[i] & 0x0FFF, mac[i] & VSW_MAC_MASK)
            slot = vsw_fdb_find(f, key)
            if slot != <uint64_t>-1:
                if replace:
                    vsw_fdb_value(f, slot)[0] = port[i]
                continue
            if vsw_fdb_insert(f, key, port[i]) == <uint64_t>-1:
                failed = 1
                break
            f.any_count += vlan[i] == 0xFFFF
    if failed:
        raise MemoryError("the forwarding table is full")
    return 0


cdef class Worker:
    """One thread's share of a :class:`Datapath`.  Make it with :meth:`Datapath.worker`; use it from one thread at a time."""

    def __cinit__(self):
        self.worker = <vsw_worker *>calloc(1, sizeof(vsw_worker))
        if self.worker == NULL:
            raise MemoryError
        self.worker.now = INT64_MIN

    def __init__(self, Datapath datapath):
        self.datapath = datapath
        self.call = <vsw_run_call>vsw_run
        self.arrays = {name: np.zeros(_ROWS, np.uint64) for name in ("rx", "tx")}
        self.worker.counters.rx = <uint64_t *>_address(self.arrays["rx"])
        self.worker.counters.tx = <uint64_t *>_address(self.arrays["tx"])
        self.reserve(datapath.tables.module.ports)

    cdef reserve(self, uint32_t ports):
        """Room for the counters of this many ports; the gate is closed, or the worker not yet at work."""
        cdef vsw_counters *n = &self.worker.counters
        if "dropped" in self.arrays and len(self.arrays["dropped"]) >= ports:
            return
        rows = min(max(64, 2 * ports), VSW_MAX_PORTS)
        for name, shape in _PER_PORT.items():
            grown = np.zeros((rows, *shape), np.uint64)
            if name in self.arrays:
                grown[: len(self.arrays[name])] = self.arrays[name]
            self.arrays[name] = grown
        n.rx_frames = <uint64_t *>_address(self.arrays["rx_frames"])
        n.rx_bytes = <uint64_t *>_address(self.arrays["rx_bytes"])
        n.tx_frames = <uint64_t *>_address(self.arrays["tx_frames"])
        n.tx_bytes = <uint64_t *>_address(self.arrays["tx_bytes"])
        n.dropped = <uint64_t *>_address(self.arrays["dropped"])
        n.filtered = <uint64_t *>_address(self.arrays["filtered"])

    def __dealloc__(self):
        free(self.worker)

    def start(self, FrameReader reader, *, port=None, ingress=None, interface_ports=None, source_mac=False, columns=None, sink=None, exact=False):
        """Point the worker at frames and at where results go.

        Exactly one way to find the ingress port is given: ``port`` (one number), ``ingress`` (uint16, one a frame of the reader),
        ``interface_ports`` (uint16, one an interface) or ``source_mac``.  ``columns`` is a mapping of the six column arrays, or None.
        ``sink`` is the address of a ``vsw_sink``.  The caller keeps arrays alive until the next ``start``.
        """
        cdef vsw_worker *w = self.worker
        if source_mac and not self.datapath.has_owners:
            raise UsageError("source-mac needs tables with owners")
        self.reader = reader
        self.keep = (ingress, interface_ports)
        w.burst.count = 0
        w.frame = 0
        w.started = 0
        w.owners = &self.datapath.owners if source_mac else NULL
        w.port = VSW_NO_PORT if port is None else port
        w.ingress = NULL
        w.interface_ports = NULL
        if ingress is not None:
            w.ingress = <const uint16_t *>_address(ingress)
        if interface_ports is not None:
            w.interface_ports = <const uint16_t *>_address(interface_ports)
            w.interface_count = len(interface_ports)
        w.exact = exact
        w.sink = <vsw_sink *><uintptr_t>(sink or 0)
        self.columns(columns)

    def columns(self, columns):
        """Where the rows of the frames from here on go: a mapping of the six column arrays, or None."""
        cdef vsw_columns *c = &self.worker.columns
        memset(c, 0, sizeof(vsw_columns))
        self.rows = columns
        if columns is not None:
            c.verdict = <uint8_t *>_address(columns["verdict"])
            c.reason = <uint8_t *>_address(columns["reason"])
            c.port_in = <uint16_t *>_address(columns["port_in"])
            c.egress_port = <int16_t *>_address(columns["egress_port"])
            c.vlan = <uint16_t *>_address(columns["vlan"])
            c.normalised = <uint8_t *>_address(columns["normalised"])

    cpdef int run(self, uint64_t limit, int64_t until, uint32_t burst) except -1:
        """Take up to ``limit`` frames, in bursts of ``burst`` (1..256), up to the first with time >= ``until`` (ns); the GIL is released."""
        cdef vsw_worker *w = self.worker
        cdef vsw_source *source = self.reader.source
        cdef const uint32_t *closed = &self.datapath.closed
        cdef int stop
        if burst < 1 or burst > VSW_BURST:
            raise ValueError(f"a burst has 1 to {VSW_BURST} frames, not {burst}")
        with nogil:
            stop = vsw_run(w, source, closed, limit, burst, until)
            vsw_gate_enter(closed, &w.inside)
            vsw_counters_unpack(w)
            vsw_gate_leave(&w.inside)
        return stop

    @property
    def frames(self):
        """Frames done since ``start``."""
        return self.worker.frame

    @property
    def clock(self):
        """The greatest timestamp so far, ns; None before the first frame."""
        return None if self.worker.now == INT64_MIN else self.worker.now

    @clock.setter
    def clock(self, int64_t value):
        self.worker.now = value

    @property
    def first_time(self):
        """Timestamp of the first frame since ``start``, ns."""
        return self.worker.first_time

    @property
    def position(self):
        """Bytes of the input consumed so far."""
        return 0 if self.reader is None else self.reader.source.position

    def counters(self):
        """Everything counted so far: a dictionary of copies (uint64 arrays indexed by port number, and totals as int)."""
        cdef vsw_counters *n = &self.worker.counters
        result = {name: array.copy() for name, array in self.arrays.items() if name not in ("rx", "tx")}
        result["reasons"] = np.array([n.reasons[i] for i in range(VSW_REASONS)], np.uint64)
        result["offered"] = n.offered
        result["delivered"] = n.delivered
        result["consumed"] = n.consumed
        result["copies_selected"] = n.copies_selected
        result["copies_out"] = n.copies_out
        result["time_backwards"] = n.time_backwards
        result["normalised"] = n.normalised
        result["learned"] = n.learned
        result["moved"] = n.moved
        result["evicted"] = n.evicted
        result["aged"] = n.aged
        return result


def count_backwards(FrameReader reader, int64_t clock, uint64_t limit):
    """Of up to ``limit`` frames, how many have a time before the greatest one so far; ``clock`` is that before the first.  Returns (count, clock)."""
    cdef vsw_burst burst
    cdef vsw_source *source = reader.source
    cdef uint64_t count
    with nogil:
        count = vsw_count_backwards(source, &burst, limit, &clock)
    return count, clock


def add_counters(total, counters):
    """Add one worker's counters to a total (None: a new one)."""
    if total is None:
        return dict(counters)
    return {name: _sum(total[name], value) for name, value in counters.items()}


def _sum(one, other):
    """The sum of two counts, or of two arrays of which one may have rows that the other lacks."""
    if isinstance(one, int):
        return one + other
    if len(one) < len(other):
        one, other = other, one
    result = one.copy()
    result[: len(other)] += other
    return result


cdef class Datapath:
    """The data plane of one module.

    Thread-safety: :meth:`program`, :meth:`apply` and :meth:`flush` may be called from any thread while others run; they take effect at a burst
    boundary.  Runs of a stateless module may go on in several threads at once; where frames change what later frames meet (learning,
    BPDU guard) one run waits for the other.
    """

    def __cinit__(self):
        memset(&self.tables, 0, sizeof(self.tables))
        memset(&self.fdb, 0, sizeof(self.fdb))
        memset(&self.owners, 0, sizeof(self.owners))

    def __init__(self, tables=None):
        self.writer_lock = threading.Lock()
        self.run_lock = threading.Lock()
        self.workers = []
        self.idle = []
        self.retired = None
        self.hot = (np.zeros(_ROWS, np.uint64), np.zeros(_ROWS, np.uint32), np.zeros(schema.VIDS, np.uint16))
        self.tables.hot_in = <vsw_hot_in *><uintptr_t>_address(self.hot[0])
        self.tables.hot_out = <uint32_t *><uintptr_t>_address(self.hot[1])
        self.tables.hot_vlans = <uint16_t *><uintptr_t>_address(self.hot[2])
        if tables is not None:
            self.program(tables)

    def __dealloc__(self):
        vsw_fdb_free(&self.fdb)
        vsw_fdb_free(&self.owners)

    # ---- the control side ----

    cdef _close(self):
        cdef Worker worker
        vsw_gate_close(&self.closed)
        for worker in self.workers:
            with nogil:
                vsw_gate_wait(&worker.worker.inside)
            vsw_counters_unpack(worker.worker)

    cdef _open(self):
        vsw_gate_open(&self.closed)

    cdef _own(self, object tables):
        """Copies of the small tables, as large as they can get: rows are then added in place, and the caller's arrays stay the caller's."""
        # what the fast lane looks up by the ingress port has a row for nobody's number too
        own = {
            "module": np.zeros(1, schema.MODULE),
            "ports": np.zeros(VSW_MAX_PORTS + 1, schema.PORT),
            "vlans": np.zeros(schema.VIDS, schema.VLAN),
            "teams": np.zeros(VSW_MAX_PORTS, schema.TEAM),
            "accept": np.zeros((VSW_MAX_PORTS + 1, schema.VID_WORDS), np.uint64),
            "receive": np.zeros((VSW_MAX_PORTS, schema.VID_WORDS), np.uint64),
        }
        for name, array in own.items():
            given = getattr(tables, name)
            if given.dtype != array.dtype or given.shape[1:] != array.shape[1:] or len(given) > min(len(array), VSW_MAX_PORTS):
                raise ValueError(f"{name} must have dtype {array.dtype} and shape {array.shape} at most, not {given.dtype} and {given.shape}")
            array[: len(given)] = given
        own["groups"] = np.ascontiguousarray(tables.groups, schema.GROUP).copy()
        own["members"] = np.ascontiguousarray(tables.members, np.uint16).copy()
        _check_groups(own)
        return own

    cdef _point(self):
        """Let the C structure point at the arrays in ``current``."""
        own = self.current
        memcpy(&self.tables.module, <const void *><uintptr_t>_address(own["module"]), sizeof(vsw_module))
        self.tables.ports = <vsw_port *><uintptr_t>_address(own["ports"])
        self.tables.vlans = <const vsw_vlan *><uintptr_t>_address(own["vlans"])
        self.tables.groups = <const vsw_group *><uintptr_t>_address(own["groups"])
        self.tables.members = <const uint16_t *><uintptr_t>_address(own["members"])
        self.tables.teams = <vsw_team *><uintptr_t>_address(own["teams"])
        self.tables.accept = <const uint64_t *><uintptr_t>_address(own["accept"])
        self.tables.receive = <const uint64_t *><uintptr_t>_address(own["receive"])
        self.stateful = bool(self.tables.module.flags & (VSW_LEARNS | VSW_GUARDS))

    cdef _reserve(self):
        """Every worker has room for the ports that there are now."""
        cdef Worker worker
        for worker in self.workers:
            worker.reserve(self.tables.module.ports)

    def program(self, tables):
        """Take a whole :class:`~vsw.datapath.tables.Tables`.

        Effective at the next burst boundary of each run.  Counters stay, by port number, and so do learned entries whose port still exists and whose
        address configuration does not claim.
        """
        cdef vsw_fdb fdb, owners, old, old_owners
        cdef uint32_t learned = 0, i
        with self.writer_lock:
            own = self._own(tables)
            module = own["module"][0]
            if module["flags"] & VSW_LEARNS:
                learned = int(module["module_limit"])
            memset(&owners, 0, sizeof(owners))
            _build(&fdb, tables.static, learned)
            try:
                _build(&owners, tables.owners, 0)
            except BaseException:
                vsw_fdb_free(&fdb)
                raise
            _note_local(&fdb, tables.static)
            self._close()
            old, old_owners = self.fdb, self.owners
            previous = self.current
            self.current = own
            self.fdb, self.owners = fdb, owners
            self.has_owners = True
            self._point()
            for i in range(_ROWS):
                vsw_heat_port(&self.tables, i)
            vsw_heat_vlans(&self.tables)
            self._reserve()
            vsw_fdb_keep_learned(&self.fdb, &old, &self.tables)
            self._open()
            self.programmed = True
            vsw_fdb_free(&old)
            vsw_fdb_free(&old_owners)
            del previous

    def apply(self, delta):
        """Change rows: a :class:`~vsw.datapath.tables.Delta`.

        Effective at the next burst boundary of each run; counters and learned entries stay.
        """
        with self.writer_lock:
            own = self.current
            changed = dict(own)
            if delta.groups is not None:
                changed["groups"] = np.ascontiguousarray(delta.groups, schema.GROUP).copy()
                changed["members"] = np.ascontiguousarray(delta.members, np.uint16).copy()
            if delta.vlans:
                changed["vlans"] = own["vlans"].copy()
                for number, value in delta.vlans.items():
                    changed["vlans"][number] = value
            if delta.groups is not None or delta.vlans:
                _check_groups(changed)
            for name in ("ports", "accept", "receive", "teams"):
                if any(not 0 <= number < VSW_MAX_PORTS for number in getattr(delta, name)):
                    raise ValueError(f"a row of {name} is outside 0..{VSW_MAX_PORTS - 1}")
            if delta.module is not None and bool(delta.module["flags"][0] & VSW_LEARNS) != bool(self.tables.module.flags & VSW_LEARNS):
                raise ValueError("learning begins or ends: that takes whole tables (program), not a delta")
            self._close()
            try:
                _make_room(&self.fdb, len(delta.add))
                _make_room(&self.owners, len(delta.add_owners))
                for name in ("ports", "accept", "receive", "teams"):
                    for number, value in getattr(delta, name).items():
                        own[name][number] = value
                if delta.module is not None:
                    own["module"][:] = delta.module
                self.current = changed
                ports = self.tables.module.ports
                self._point()
                for number in {*delta.ports, *delta.accept, *range(min(ports, self.tables.module.ports), max(ports, self.tables.module.ports))}:
                    vsw_heat_port(&self.tables, number)
                if delta.vlans:
                    vsw_heat_vlans(&self.tables)
                self._reserve()
                _take(&self.fdb, delta.remove)
                _take(&self.owners, delta.remove_owners)
                _forget_claimed(&self.fdb, delta.add)
                _fill(&self.fdb, delta.add, True)
                _fill(&self.owners, delta.add_owners, True)
                _note_local(&self.fdb, delta.add)
                vsw_fdb_drop_claimed(&self.fdb, &self.tables)
            finally:
                self._open()

    def flush(self, port=None):
        """Forget learned entries: those of one port, or all.  Returns how many."""
        cdef uint32_t e, following, count = 0
        with self.writer_lock:
            self._close()
            if self.fdb.learned_capacity:
                e = self.fdb.all.oldest
                while e != <uint32_t>-1:
                    following = self.fdb.learned[e].newer
                    if port is None or self.fdb.learned[e].port == port:
                        vsw_fdb_forget(&self.fdb, e)
                        count += 1
                    e = following
            self._open()
        return count

    def learned(self):
        """Learned entries, least recently stamped first: a list of (filtering VLAN, MAC as loaded, port, stamp in ns)."""
        rows = []
        cdef uint32_t e
        with self.writer_lock:
            self._close()
            if self.fdb.learned_capacity:
                e = self.fdb.all.oldest
                while e != <uint32_t>-1:
                    entry = self.fdb.learned[e]
                    rows.append(((entry.key >> 48) & 0x0FFF, entry.key & VSW_MAC_MASK, entry.port, entry.stamp))
                    e = entry.newer
            self._open()
        return rows

    def port_up(self, int number):
        """Whether the port is up now (a BPDU guard may have shut it)."""
        return bool(self.tables.ports[number].flags & schema.UP) if 0 <= number < VSW_MAX_PORTS else False

    @property
    def entries(self):
        """Entries of the forwarding database, static and learned."""
        return self.fdb.entries

    # ---- frames ----

    def worker(self):
        """A new :class:`Worker`; :meth:`retire` it when it is done."""
        if not self.programmed:
            raise UsageError("the datapath has no tables yet")
        cdef Worker worker = Worker(self)
        worker.worker.tables = &self.tables
        worker.worker.fdb = &self.fdb
        worker.worker.lane = vsw_pick_lane()
        with self.writer_lock:
            self.workers.append(worker)
        return worker

    def retire(self, Worker worker not None):
        """Add a worker's counters to the datapath's and let it go."""
        with self.writer_lock:
            self.workers.remove(worker)
            vsw_counters_unpack(worker.worker)
            self.retired = add_counters(self.retired, worker.counters())

    def discard(self, worker):
        """Let a worker go without its counters: what it did does not count."""
        with self.writer_lock:
            self.workers.remove(worker)

    def alone(self):
        """The lock that a run of a stateful module holds (a context manager)."""
        return self.run_lock

    def run(self, FrameSource frames, out=None, port=None, ingress=None, source_mac=False):
        """Run a batch through the switch; the lowest-level call from Python.

        ``out`` is a mapping of column arrays with at least ``len(frames)`` rows, or None.  Returns the number of frames done.
        """
        cdef Worker worker
        cdef FrameReader reader = frames.reader(0, <uint64_t>-1)
        try:
            worker = self.idle.pop()
        except IndexError:
            worker = self.worker()
        try:
            worker.start(reader, port=port, ingress=ingress, source_mac=source_mac, columns=out)
            if self.stateful:
                with self.run_lock:
                    worker.run(<uint64_t>-1, INT64_MAX, VSW_BURST)
            else:
                worker.run(<uint64_t>-1, INT64_MAX, VSW_BURST)
            return worker.worker.frame
        finally:
            self.idle.append(worker)

    def counters(self):
        """Everything counted since the datapath was made, summed over its workers (see :meth:`Worker.counters`)."""
        with self.writer_lock:
            self._close()
            total = self.retired
            for worker in self.workers:
                total = add_counters(total, worker.counters())
            self._open()
        return total


def _check_groups(own):
    groups, members, vlans = own["groups"], own["members"], own["vlans"]
    ends = groups["start"].astype(np.uint64) + groups["count"]
    if len(groups) == 0 or (ends > len(members)).any():
        raise ValueError("a group reaches past the members")
    if vlans["group"].max() >= len(groups) or vlans["promiscuous"].max() >= len(groups):
        raise ValueError("a VLAN names a group that does not exist")
    if vlans["fid"].max() >= schema.VIDS or (len(members) and members.max() >= VSW_MAX_PORTS):
        raise ValueError("a VLAN or a port number is out of range")


cdef int _build(vsw_fdb *f, object entries, uint32_t learned) except -1:
    if not vsw_fdb_init(f, len(entries) + 64, learned, _seed()):
        raise MemoryError("no memory for the forwarding table")
    try:
        _fill(f, entries, False)
    except BaseException:
        vsw_fdb_free(f)
        raise
    return 0


cdef int _make_room(vsw_fdb *f, uint64_t more) except -1:
    """A larger table in place of one that could not take ``more`` entries without crowding."""
    cdef vsw_fdb grown
    if (f.entries + more) * 2 <= f.bucket_count * VSW_FDB_SLOTS:
        return 0
    if not vsw_fdb_init(&grown, (f.entries + more) * 2, f.learned_capacity, _seed()):
        raise MemoryError("no memory for the forwarding table")
    vsw_fdb_copy(&grown, f)
    vsw_fdb_free(f)
    f[0] = grown
    return 0


cdef int _take(vsw_fdb *f, object entries) except -1:
    """Remove static entries; what is not there is no error."""
    cdef uint64_t key, slot
    for vlan, mac in zip(entries.vlan.tolist(), entries.mac.tolist()):
        key = VSW_FDB_ANY | <uint64_t>mac if vlan == schema.ANY_VLAN else vsw_fdb_key(vlan & 0x0FFF, mac)
        slot = vsw_fdb_find(f, key)
        if slot != <uint64_t>-1 and vsw_fdb_value(f, slot)[0] & VSW_FDB_STATIC:
            vsw_fdb_remove(f, slot)
            f.any_count -= vlan == schema.ANY_VLAN
    return 0


cdef int _forget_claimed(vsw_fdb *f, object entries) except -1:
    """Learned entries whose key becomes a static one go first."""
    cdef uint64_t slot
    if not f.learned_capacity:
        return 0
    for vlan, mac in zip(entries.vlan.tolist(), entries.mac.tolist()):
        if vlan == schema.ANY_VLAN:
            continue
        slot = vsw_fdb_find(f, vsw_fdb_key(vlan & 0x0FFF, mac))
        if slot != <uint64_t>-1 and not vsw_fdb_value(f, slot)[0] & VSW_FDB_STATIC:
            vsw_fdb_forget(f, f.slot_pool[slot])
    return 0


cdef int _note_local(vsw_fdb *f, object entries) except -1:
    """Set the filter's bits for the addresses."""
    cdef const uint64_t[::1] macs = np.ascontiguousarray(entries.mac, np.uint64)
    cdef Py_ssize_t i
    with nogil:
        for i in range(macs.shape[0]):
            vsw_fdb_note_local(f, macs[i])
    return 0
