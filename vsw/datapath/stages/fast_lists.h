/* fast_lists.h: what the fast lane sorted out: unknown frames from the outside, floods; and copies in their order.
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

/* Leaves by `port`, and nothing there is special. */
static inline int vsw_plain_out(const vsw_port *q, uint32_t body) {
    return (q->flags & (VSW_PORT_UP | VSW_PORT_SLOW_OUT)) == VSW_PORT_UP && body <= q->max_length;
}

static inline void vsw_count_out(vsw_worker *w, const vsw_lane *lane, uint32_t i, uint32_t port) {
    const vsw_port *q = w->tables->ports + port;
    w->counters.tx[port] += (1ull << VSW_PACKED_BYTES) + lane->body[i] + (lane->vlan[i] == q->untagged_vid ? 0 : q->tag_sent);
}

static inline void vsw_leave_to_exact(vsw_lane *lane, uint32_t i) {
    lane->target[i] = VSW_TO_EXACT;
    lane->lists[VSW_LIST_REST].bits[i / 64] |= 1ull << (i % 64);
}

/* Known to nobody here, from an uplink: it does not go back out. */
static inline void vsw_settle_inward(vsw_worker *w, vsw_lane *lane) {
    VSW_EACH(i, lane->lists[VSW_LIST_INWARD]) {
        if (!vsw_surely_outside(w, lane, i)) {
            vsw_leave_to_exact(lane, i);
            continue;
        }
        vsw_settled(w, 1, 0, 0);
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
        pick = vsw_lane_pick(w, lane, i, 1);
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
    vsw_settled(w, 1, out + held, out);
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
    VSW_EACH(i, lane->lists[VSW_LIST_GROUP])
        if (w->sink || !vsw_flood_plain(w, lane, i))
            vsw_leave_to_exact(lane, i);
}

/* The only copy of a frame that the lane has settled, as dialect `ovs` tags it. */
static inline void vsw_lane_describe_ovs(const vsw_worker *w, const vsw_lane *lane, uint32_t i, vsw_copy *c) {
    const vsw_tables *t = w->tables;
    vsw_frame f;
    memset(&f, 0, sizeof f);
    f.data = w->burst.data[i];
    f.skip = w->skip[i];
    f.captured = w->burst.captured[i] - f.skip;
    f.length = w->burst.length[i] - f.skip;
    f.port_in = w->port_in[i];
    if (f.length != lane->body[i]) {
        f.read = 1;
        f.tags[0].tpid = vsw_at16(&f, VSW_TYPE_AT);
        f.tags[0].tci = vsw_at16(&f, VSW_TYPE_AT + 2);
    }
    vsw_enter_vlan(t, t->ports + f.port_in, &f);
    vsw_make_copy(t, t->ports + lane->target[i], &f, lane->target[i], c);
}

/* The same in a virtual dialect: what the lane worked out says it all. */
static inline void vsw_lane_describe(const vsw_worker *w, const vsw_lane *lane, uint32_t i, vsw_copy *c) {
    const vsw_port *p = w->tables->ports + w->port_in[i];
    const uint32_t skip = w->skip[i], body = lane->body[i], left = lane->left[i], taken = w->burst.length[i] - skip - body;
    const uint8_t *tag = w->burst.data[i] + VSW_TYPE_AT + skip;
    c->length = left;
    c->port = (uint16_t)lane->target[i];
    c->tags = left != body;
    c->body_at = (uint8_t)(VSW_TYPE_AT + skip + taken);
    c->tag[0].tpid = taken ? vsw_load_big16(tag) : p->mode == VSW_TUNNEL ? p->tunnel_tpid : VSW_TPID_CTAG;
    c->tag[0].tci = (uint16_t)((taken ? vsw_load_big16(tag + 2) & (VSW_TCI_PCP | VSW_TCI_DEI) : 0) | lane->vlan[i]);
}

/* Copies in the order of their frames, and the exact path for what it was left, in its turn.  Returns how many frames are done. */
static inline uint32_t vsw_lane_emit(vsw_worker *w, vsw_lane *lane, uint32_t count, int *ok) {
    const uint32_t ovs = w->tables->module.flags & VSW_OVS_TAGS;
    const vsw_burst *b = &w->burst;
    vsw_copy c;
    memset(&c, 0, sizeof c);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t target = lane->target[i];
        if (target == VSW_TO_NOBODY)
            continue;
        if (target == VSW_TO_EXACT) {
            *ok = vsw_exact(w, i);
        } else {
            if (ovs)
                vsw_lane_describe_ovs(w, lane, i, &c);
            else
                vsw_lane_describe(w, lane, i, &c);
            c.frame = w->frame + i;
            *ok = w->sink->copy(w->sink, &c, b->data[i], b->captured[i], b->time[i]);
        }
        if (!*ok)
            return i + 1;
    }
    return count;
}

#endif
