/* fast_lists.h: what the fast lane sorted out: unknown frames from the outside, floods.
 *
 * Each list is one kind of frame, in one loop, so that its branches go the same way.  What is special about a frame shows here at the latest, and sends it to the exact path.  */
#ifndef VSW_STAGE_FAST_LISTS_H
#define VSW_STAGE_FAST_LISTS_H

#include "vsw/datapath/stages/fast_copies.h"

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

/* One copy of a flood: counted, and given away where copies are wanted. */
static inline void vsw_flood_out(vsw_worker *w, const vsw_lane *lane, uint32_t i, uint32_t port, vsw_giving *giving) {
    const vsw_port *q = w->tables->ports + port;
    uint32_t tag = lane->vlan[i] == q->untagged_vid ? 0 : q->tag_sent;
    w->counters.tx[port] += (1ull << VSW_PACKED_BYTES) + lane->body[i] + tag;
    if (giving)
        vsw_give(w, lane, i, port, tag, giving);
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

/* A flood of a virtual dialect, where every member that takes it takes it plainly; its copies in ascending order of their ports.  0: the exact path
 * must see to it, nothing is done yet. */
static inline int vsw_flood_plain(vsw_worker *w, const vsw_lane *lane, uint32_t i, vsw_giving *giving) {
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
        if (pick < port) {
            vsw_flood_out(w, lane, i, last = pick, giving);
            pick = VSW_NO_PORT;
            out++;
        }
        if (port == port_in)
            continue;
        if (uplink && (q->flags & VSW_PORT_DESIGNATED) && q->designated != port_in) {
            w->counters.filtered[(size_t)port * VSW_REASONS + VSW_NOT_DESIGNATED]++;
            held++;
            continue;
        }
        vsw_flood_out(w, lane, i, last = port, giving);
        out++;
    }
    if (pick != VSW_NO_PORT) {
        vsw_flood_out(w, lane, i, last = pick, giving);
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
        if (!vsw_flood_plain(w, lane, i, NULL))
            vsw_leave_to_exact(lane, i);
}

#endif
