/* pipeline.h: the line of stages, and the loop that takes bursts through it.
 *
 * The order of the stages is the order of the calls in vsw_exact_stages().  The fast lane does for a whole burst what most frames need and leaves
 * the rest to the exact path; a run that is stateful, or asked to be exact, takes every frame by the exact path in order.  */
#ifndef VSW_PIPELINE_H
#define VSW_PIPELINE_H

#include "vsw/datapath/gate.h"
#include "vsw/datapath/reprogram.h"
#include "vsw/datapath/stages/parse.h"
#include "vsw/datapath/hashes/registry.h"
#include "vsw/datapath/stages/classify.h"
#include "vsw/datapath/stages/learn.h"
#include "vsw/datapath/stages/forward.h"
#include "vsw/datapath/stages/source_mac.h"
#include "vsw/datapath/state.h"

#define VSW_NO_VLAN 0xFFFFu
#define VSW_EGRESS_NONE (-1)
#define VSW_EGRESS_SEVERAL (-2)
/* In a map of interfaces: this one is no port, look at the source address. */
#define VSW_BY_SOURCE 0xFFFEu

/* Parse, classify, learn, forward, team, egress.  Returns why the frame was stopped, 0 if it was forwarded (see `o`), VSW_IS_CONSUMED. */
static inline uint32_t vsw_exact_stages(vsw_worker *w, vsw_frame *f, uint32_t index, vsw_outcome *o) {
    const vsw_tables *t = w->tables;
    vsw_port *p = t->ports + f->port_in;
    if (!(p->flags & VSW_PORT_UP))
        return VSW_PORT_DOWN;
    uint32_t reason = vsw_parse(t, f);
    if (reason)
        return reason;
    reason = vsw_classify(t, w->fdb, p, f);
    if (reason)
        return reason;
    if (t->module.flags & VSW_LEARNS)
        vsw_learn(w, f);
    vsw_forward(w, f, index, o);
    return 0;
}

/* Takes frame `i` of the burst through the exact path and writes its row.  0: the sink took not all of its copies. */
static inline int vsw_exact(vsw_worker *w, uint32_t i) {
    const vsw_burst *b = &w->burst;
    vsw_counters *n = &w->counters;
    uint32_t port = w->port_in[i];
    vsw_frame f;
    memset(&f, 0, sizeof f);
    vsw_outcome o = {0, 0, 0, 0, 0};
    uint32_t reason;
    f.vlan = VSW_NO_VLAN;
    if (port >= w->tables->module.ports || !(w->tables->ports[port].flags & VSW_PORT_EXISTS)) {
        port = VSW_NO_PORT;
        reason = VSW_NO_INGRESS_PORT;
    } else {
        f.data = b->data[i];
        f.skip = w->skip[i];
        f.captured = b->captured[i] - f.skip;
        f.length = b->length[i] - f.skip;
        f.port_in = (uint16_t)port;
        f.now = w->now;
        f.time = b->time[i];
        if (!w->received) {
            n->rx_frames[port]++;
            n->rx_bytes[port] += f.length;
            n->normalised += f.skip != 0;
        }
        reason = vsw_exact_stages(w, &f, i, &o);
    }
    uint8_t verdict = VSW_DROPPED;
    if (reason == VSW_IS_CONSUMED) {
        verdict = VSW_CONSUMED;
        reason = 0;
        n->consumed++;
    } else if (o.out) {
        verdict = VSW_DELIVERED;
        n->delivered++;
    } else {
        if (!reason)
            reason = o.reason;
        n->reasons[reason]++;
        if (port != VSW_NO_PORT)
            n->dropped[(size_t)port * VSW_REASONS + reason]++;
    }
    n->offered++;
    n->copies_selected += o.selected;
    n->copies_out += o.out;
    vsw_columns *c = &w->columns;
    if (c->verdict) {
        c->verdict[i] = verdict;
        c->reason[i] = (uint8_t)(verdict == VSW_DROPPED ? reason : 0);
        c->port_in[i] = (uint16_t)port;
        c->egress_port[i] = (int16_t)(o.out == 0 ? VSW_EGRESS_NONE : o.out == 1 ? (int)o.last_port : VSW_EGRESS_SEVERAL);
        c->vlan[i] = f.vlan;
        c->normalised[i] = f.skip != 0;
    }
    return !o.refused;
}

/* VSW_MAX_PORTS is nobody's number, and the tables have a row for it. */
static inline uint16_t vsw_bounded(uint32_t port) {
    return (uint16_t)(port < VSW_MAX_PORTS ? port : VSW_MAX_PORTS);
}

/* Fills port_in and skip for the frames of the burst. */
static inline void vsw_find_ports(vsw_worker *w, uint32_t count) {
    const vsw_burst *b = &w->burst;
    if (w->interface_ports) {
        memset(w->skip, 0, count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t interface = w->interfaces ? b->interface[i] : 0;
            uint16_t port = interface < w->interface_count ? w->interface_ports[interface] : VSW_BY_SOURCE;
            if (port == VSW_BY_SOURCE)
                port = w->owners ? (uint16_t)vsw_source_port(w, b->data[i], b->captured[i], b->length[i], &w->skip[i]) : VSW_NO_PORT;
            w->port_in[i] = vsw_bounded(port);
        }
    } else if (w->owners) {
        for (uint32_t i = 0; i < count; i++)
            w->port_in[i] = vsw_bounded(vsw_source_port(w, b->data[i], b->captured[i], b->length[i], &w->skip[i]));
    } else if (w->ingress) {
        for (uint32_t i = 0; i < count; i++)
            w->port_in[i] = vsw_bounded(w->ingress[i]);
        memset(w->skip, 0, count);
    } else {
        for (uint32_t i = 0; i < count; i++)
            w->port_in[i] = vsw_bounded(w->port);
        memset(w->skip, 0, count);
    }
}

static inline void vsw_advance_columns(vsw_worker *w, uint32_t by) {
    vsw_columns *c = &w->columns;
    if (c->verdict) {
        c->verdict += by;
        c->reason += by;
        c->port_in += by;
        c->egress_port += by;
        c->vlan += by;
        c->normalised += by;
    }
    if (w->ingress)
        w->ingress += by;
    w->frame += by;
}

static inline void vsw_clock(vsw_worker *w, int64_t time) {
    if (time < w->now)
        w->counters.time_backwards++;
    else
        w->now = time;
}

/* One frame after the other: the clock, up to the first with time >= until.  Returns how many frames come before it. */
static inline uint32_t vsw_clock_slowly(vsw_worker *w, uint32_t count, int64_t until) {
    for (uint32_t i = 0; i < count; i++) {
        if (w->burst.time[i] >= until)
            return i;
        vsw_clock(w, w->burst.time[i]);
    }
    return count;
}

/* All frames of the burst by the exact path, in order, up to the first with time >= until.  Returns how many. */
static inline uint32_t vsw_burst_exact(vsw_worker *w, uint32_t count, int64_t until, int *ok) {
    for (uint32_t i = 0; i < count; i++) {
        if (w->burst.time[i] >= until)
            return i;
        vsw_clock(w, w->burst.time[i]);
        *ok = vsw_exact(w, i);
        if (!*ok)
            return i + 1;
    }
    return count;
}

/* Empties the packed counters of the fast lane into the plain ones. */
static inline void vsw_counters_unpack(vsw_worker *w) {
    vsw_counters *n = &w->counters;
    const uint64_t bytes = (1ull << VSW_PACKED_BYTES) - 1;
    if (!n->packed_bursts)
        return;
    for (uint32_t i = 0; i < w->tables->module.ports; i++) {
        if (w->tables->ports[i].flags & VSW_PORT_EXISTS) {
            n->rx_frames[i] += n->rx[i] >> VSW_PACKED_BYTES;
            n->rx_bytes[i] += n->rx[i] & bytes;
            n->tx_frames[i] += n->tx[i] >> VSW_PACKED_BYTES;
            n->tx_bytes[i] += n->tx[i] & bytes;
        }
        n->rx[i] = n->tx[i] = 0;
    }
    n->rx[VSW_MAX_PORTS] = n->tx[VSW_MAX_PORTS] = 0;
    n->packed_bursts = 0;
}

#include "vsw/datapath/stages/fast.h"

/* Why a run came back. */
enum vsw_stop { VSW_STOP_END = 0, VSW_STOP_LIMIT = 1, VSW_STOP_UNTIL = 2, VSW_STOP_SINK = 3 };

/* Drops the first `done` frames of a burst that was cut. */
static inline void vsw_burst_shift(vsw_burst *b, uint32_t done, uint32_t interfaces) {
    uint32_t rest = b->count - done;
    memmove(b->data, b->data + done, rest * sizeof *b->data);
    memmove(b->captured, b->captured + done, rest * sizeof *b->captured);
    memmove(b->length, b->length + done, rest * sizeof *b->length);
    memmove(b->time, b->time + done, rest * sizeof *b->time);
    if (interfaces)
        memmove(b->interface, b->interface + done, rest * sizeof *b->interface);
    b->count = rest;
}

/* Takes up to `limit` frames, in bursts of at most `burst`, up to the first with time >= until. */
static inline int vsw_run(vsw_worker *w, vsw_source *s, const uint32_t *closed, uint64_t limit, uint32_t burst, int64_t until) {
    vsw_burst *b = &w->burst;
    while (limit) {
        if (!b->count) {
            b->count = s->next(s, b, limit < burst ? (uint32_t)limit : burst);
            if (!b->count)
                return VSW_STOP_END;
            if (!w->started) {
                w->started = 1;
                w->first_time = b->time[0];
                w->interfaces = s->interfaces;
            }
        }
        uint32_t count = b->count < limit ? b->count : (uint32_t)limit;
        int ok = 1;
        if (w->sink)
            w->sink->roomy = b->roomy;
        vsw_gate_enter(closed, &w->inside);
        uint32_t done = vsw_burst_run(w, count, until, &ok);
        vsw_gate_leave(&w->inside);
        vsw_advance_columns(w, done);
        limit -= done;
        if (done == b->count) {
            b->count = 0;
        } else {
            vsw_burst_shift(b, done, s->interfaces);
            if (done < count)
                return ok ? VSW_STOP_UNTIL : VSW_STOP_SINK;
        }
        if (!ok)
            return VSW_STOP_SINK;
    }
    return VSW_STOP_LIMIT;
}

/* Of up to `limit` frames: how many are earlier than the greatest time before them.  `now` is that time, before and after. */
static inline uint64_t vsw_count_backwards(vsw_source *s, vsw_burst *b, uint64_t limit, int64_t *now) {
    uint64_t backwards = 0;
    while (limit) {
        uint32_t count = s->next(s, b, limit < VSW_BURST ? (uint32_t)limit : VSW_BURST);
        if (!count)
            break;
        for (uint32_t i = 0; i < count; i++) {
            if (b->time[i] < *now)
                backwards++;
            else
                *now = b->time[i];
        }
        limit -= count;
    }
    return backwards;
}

#endif
