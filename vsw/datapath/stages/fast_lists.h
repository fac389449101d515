/* fast_lists.h: what the fast lane sorted out: frames to the outside, unknown ones from the outside, floods; and copies in their order.
 *
 * Each list is one kind of frame, in one loop, so that its branches go the same way.  What is special about a frame shows here at the latest, and sends it to the exact path.  */
#ifndef VSW_STAGE_FAST_LISTS_H
#define VSW_STAGE_FAST_LISTS_H

#include "vsw/datapath/stages/fast.h"

static inline void vsw_row(const vsw_columns *c, uint32_t i, uint32_t verdict, uint32_t reason, int egress) {
    if (c->verdict) {
        c->verdict[i] = (uint8_t)verdict;
        c->reason[i] = (uint8_t)reason;
        c->egress_port[i] = (int16_t)egress;
    }
}

/* Counts of a frame that one of the lists has settled. */
static inline void vsw_settled(vsw_worker *w, uint32_t selected, uint32_t out) {
    vsw_counters *n = &w->counters;
    n->offered++;
    n->copies_selected += selected;
    n->copies_out += out;
}

/* Whether no static entry has this destination: the filter knows them all, and the bucket did not match. */
static inline int vsw_surely_outside(const vsw_worker *w, const vsw_lane *lane, uint32_t i) {
    return !vsw_fdb_maybe_local(w->fdb, lane->key[i] & VSW_MAC_MASK);
}

/* Leaves by `port`, and nothing there is special. */
static inline int vsw_plain_out(const vsw_port *q, uint32_t body) {
    return (q->flags & (VSW_PORT_UP | VSW_PORT_SLOW_OUT)) == VSW_PORT_UP && body <= q->max_length;
}

static inline void vsw_count_out(vsw_worker *w, const vsw_lane *lane, uint32_t i, uint32_t port) {
    const vsw_port *q = w->tables->ports + port;
    w->counters.tx[port] += (1ull << VSW_PACKED_BYTES) + lane->body[i] + (lane->vlan[i] == q->untagged_vid ? 0 : q->tag_sent);
}

/* The uplink that the team of frame i's port picks. */
static inline uint32_t vsw_lane_pick(const vsw_worker *w, const vsw_lane *lane, uint32_t i) {
    const vsw_tables *t = w->tables;
    const vsw_port *p = t->ports + w->port_in[i];
    uint32_t tag = w->burst.length[i] - w->skip[i] - lane->body[i];   /* bytes of the tag that became state: 4 or 0 */
    vsw_frame f;
    f.data = w->burst.data[i];
    f.skip = w->skip[i];
    f.captured = w->burst.captured[i] - f.skip;
    f.port_in = w->port_in[i];
    f.vlan = lane->vlan[i];
    f.type_at = VSW_TYPE_AT + tag;
    f.carried = tag ? vsw_at16(&f, VSW_TYPE_AT + 2) & (VSW_TCI_PCP | VSW_TCI_DEI) : 0;
    return vsw_team_pick(t, p->team, &f);
}

static inline void vsw_leave_to_exact(vsw_lane *lane, uint32_t i) {
    lane->target[i] = VSW_TO_EXACT;
    lane->list[VSW_LIST_REST][lane->counts[VSW_LIST_REST]++] = (uint16_t)i;
}

/* Known to nobody here, from a local port: out by the team. */
static inline void vsw_settle_outward(vsw_worker *w, vsw_lane *lane) {
    const vsw_tables *t = w->tables;
    for (uint32_t k = 0; k < lane->counts[VSW_LIST_OUTWARD]; k++) {
        uint32_t i = lane->list[VSW_LIST_OUTWARD][k];
        uint32_t pick = vsw_surely_outside(w, lane, i) ? vsw_lane_pick(w, lane, i) : VSW_NO_PORT;
        if (pick == VSW_NO_PORT || !vsw_plain_out(t->ports + pick, lane->body[i]) || !vsw_receives(t, pick, lane->vlan[i])) {
            vsw_leave_to_exact(lane, i);
            continue;
        }
        vsw_settled(w, 1, 1);
        w->counters.delivered++;
        vsw_count_out(w, lane, i, pick);
        vsw_row(&w->columns, i, VSW_DELIVERED, 0, (int)pick);
        lane->target[i] = (uint16_t)pick;
    }
}

/* Known to nobody here, from an uplink: it does not go back out. */
static inline void vsw_settle_inward(vsw_worker *w, vsw_lane *lane) {
    for (uint32_t k = 0; k < lane->counts[VSW_LIST_INWARD]; k++) {
        uint32_t i = lane->list[VSW_LIST_INWARD][k];
        if (!vsw_surely_outside(w, lane, i)) {
            vsw_leave_to_exact(lane, i);
            continue;
        }
        vsw_settled(w, 0, 0);
        w->counters.reasons[VSW_UNKNOWN_UNICAST]++;
        w->counters.dropped[(size_t)w->port_in[i] * VSW_REASONS + VSW_UNKNOWN_UNICAST]++;
        vsw_row(&w->columns, i, VSW_DROPPED, VSW_UNKNOWN_UNICAST, VSW_EGRESS_NONE);
        lane->target[i] = VSW_TO_NOBODY;
    }
}

/* A flood of a virtual dialect, where every member that takes it takes it plainly. */
static inline int vsw_flood_plain(vsw_worker *w, const vsw_lane *lane, uint32_t i) {
    const vsw_tables *t = w->tables;
    const vsw_group *g = t->groups + t->vlans[lane->vlan[i]].group;
    const uint16_t *members = t->members + g->start;
    uint32_t port_in = w->port_in[i], body = lane->body[i], plain = 1, out = 0, held = 0, last = 0, pick = VSW_NO_PORT;
    uint32_t uplink = t->ports[port_in].flags & VSW_PORT_UPLINK;
    for (uint32_t k = 0; k < g->count; k++)
        plain &= (uint32_t)vsw_plain_out(t->ports + members[k], body);
    if (!uplink) {
        pick = vsw_lane_pick(w, lane, i);
        if (pick != VSW_NO_PORT && !vsw_receives(t, pick, lane->vlan[i]))
            pick = VSW_NO_PORT;
        if (pick != VSW_NO_PORT)
            plain &= (uint32_t)vsw_plain_out(t->ports + pick, body);
    }
    if (!plain)
        return 0;
    for (uint32_t k = 0; k < g->count; k++) {
        uint32_t port = members[k];
        const vsw_port *q = t->ports + port;
        if (port == port_in)
            continue;
        if (uplink && (q->flags & VSW_PORT_DESIGNATED) && q->designated != port_in) {
            w->counters.filtered[(size_t)port * VSW_REASONS + VSW_NOT_DESIGNATED]++;
            held++;
            continue;
        }
        vsw_count_out(w, lane, i, port);
        last = port;
        out++;
    }
    if (pick != VSW_NO_PORT) {
        vsw_count_out(w, lane, i, pick);
        last = pick;
        out++;
    }
    vsw_settled(w, out + held, out);
    if (out) {
        w->counters.delivered++;
        vsw_row(&w->columns, i, VSW_DELIVERED, 0, out == 1 ? (int)last : VSW_EGRESS_SEVERAL);
    } else {
        uint32_t reason = held ? VSW_NOT_DESIGNATED : VSW_NO_MEMBER;
        w->counters.reasons[reason]++;
        w->counters.dropped[(size_t)port_in * VSW_REASONS + reason]++;
        vsw_row(&w->columns, i, VSW_DROPPED, reason, VSW_EGRESS_NONE);
    }
    return 1;
}

static inline void vsw_settle_groups(vsw_worker *w, vsw_lane *lane) {
    for (uint32_t k = 0; k < lane->counts[VSW_LIST_GROUP]; k++)
        if (w->sink || !vsw_flood_plain(w, lane, lane->list[VSW_LIST_GROUP][k]))
            vsw_leave_to_exact(lane, lane->list[VSW_LIST_GROUP][k]);
}

/* The only copy of a frame that the lane has settled, described for the sink. */
static inline int vsw_lane_copy(vsw_worker *w, const vsw_lane *lane, uint32_t i) {
    const vsw_tables *t = w->tables;
    const vsw_burst *b = &w->burst;
    const vsw_port *p = t->ports + w->port_in[i];
    uint32_t tag = b->length[i] - w->skip[i] - lane->body[i];
    vsw_frame f;
    vsw_copy c;
    memset(&f, 0, sizeof f);
    f.data = b->data[i];
    f.skip = w->skip[i];
    f.captured = b->captured[i] - f.skip;
    f.length = b->length[i] - f.skip;
    f.port_in = w->port_in[i];
    if (tag) {
        f.read = 1;
        f.tags[0].tpid = vsw_at16(&f, VSW_TYPE_AT);
        f.tags[0].tci = vsw_at16(&f, VSW_TYPE_AT + 2);
    }
    vsw_enter_vlan(t, p, &f);
    vsw_make_copy(t, t->ports + lane->target[i], &f, lane->target[i], &c);
    c.frame = w->frame + i;
    return w->sink->copy(w->sink, &c, f.data, b->captured[i], b->time[i]);
}

/* Copies in the order of their frames, and the exact path for what it was left, in its turn.  Returns how many frames are done. */
static inline uint32_t vsw_lane_emit(vsw_worker *w, vsw_lane *lane, uint32_t count, int *ok) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t target = lane->target[i];
        if (target == VSW_TO_NOBODY)
            continue;
        *ok = target == VSW_TO_EXACT ? vsw_exact(w, i) : vsw_lane_copy(w, lane, i);
        if (!*ok)
            return i + 1;
    }
    return count;
}

#endif
