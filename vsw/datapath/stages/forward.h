/* forward.h: where the frame goes: the ports that it is for, in ascending order (rule 12), and what becomes of each copy.
 *
 * Candidates are: one port that the database named, the team's pick, the members of a flood group, and promiscuous ports.  They are
 * walked in order without being collected first, so that a flood to 4,096 ports needs no room.  */
#ifndef VSW_STAGE_FORWARD_H
#define VSW_STAGE_FORWARD_H

#include "vsw/datapath/stages/egress.h"
#include "vsw/datapath/stages/lookup.h"
#include "vsw/datapath/stages/team.h"
#include "vsw/datapath/state.h"

/* What happened to the copies of one frame. */
typedef struct vsw_outcome {
    uint32_t selected, out;
    uint32_t last_port;       /* of the copies that left */
    uint32_t reason;          /* of the first copy that was held back; later why there was no candidate */
    uint32_t refused;         /* the sink did not take a copy: it is given no more, and what becomes of the frame is the same */
} vsw_outcome;

static inline void vsw_send(vsw_worker *w, const vsw_frame *f, uint32_t index, uint32_t port, vsw_outcome *o) {
    const vsw_tables *t = w->tables;
    vsw_counters *n = &w->counters;
    vsw_copy c;
    vsw_make_copy(t, t->ports + port, f, port, &c);
    uint32_t reason = vsw_egress_reason(t, f, port, &c);
    o->selected++;
    if (reason) {
        n->filtered[(size_t)port * VSW_REASONS + reason]++;
        if (!o->reason)
            o->reason = reason;
        return;
    }
    o->out++;
    o->last_port = port;
    n->tx_frames[port]++;
    n->tx_bytes[port] += c.length;
    if (w->sink && !o->refused) {
        c.frame = w->frame + index;
        o->refused = !w->sink->copy(w->sink, &c, f->data, f->captured + f->skip, f->time);
    }
}

/* A member of a bond stands for the whole of it: only the one that is picked is a candidate, and none for a frame from the same bond. */
static inline int vsw_skip_member(const vsw_tables *t, const vsw_frame *f, uint32_t port) {
    const vsw_port *q = t->ports + port, *p = t->ports + f->port_in;
    if (!(q->flags & VSW_PORT_UPLINK) || q->team == VSW_NO_TEAM)
        return 0;
    if ((p->flags & VSW_PORT_UPLINK) && p->team == q->team)
        return 1;
    return vsw_team_pick(t, q->team, f) != port;
}

/* Open vSwitch asks for the inner VID before it floods. */
static inline int vsw_floods_inner(const vsw_tables *t, const vsw_frame *f, uint32_t port) {
    const vsw_port *q = t->ports + port;
    uint32_t inner = f->depth > 1 ? f->stack[1].tci & VSW_TCI_VID : 0;
    if (q->mode == VSW_ACCESS || q->mode == VSW_PRIVATE)
        return inner == 0;
    if (q->mode == VSW_TUNNEL)
        return (int)vsw_accepts(t, port, inner);
    return 1;
}

static inline void vsw_flood(vsw_worker *w, const vsw_frame *f, uint32_t index, vsw_outcome *o) {
    const vsw_tables *t = w->tables;
    const vsw_port *p = t->ports + f->port_in;
    const vsw_group *g = t->groups + t->vlans[f->vlan].group;
    const uint16_t *member = t->members + g->start, *end = member + g->count;
    uint32_t plain = !(t->module.flags & VSW_VIRTUAL);
    uint32_t pick = VSW_NO_PORT;
    if (!plain && !(p->flags & VSW_PORT_UPLINK)) {
        pick = vsw_team_pick(t, p->team, f);
        if (pick != VSW_NO_PORT && !vsw_receives(t, pick, f->vlan))
            pick = VSW_NO_PORT;
    }
    for (; member < end; member++) {
        uint32_t port = *member;
        if (plain) {
            if (((t->module.flags & VSW_TEAMS_OF_PORTS) && vsw_skip_member(t, f, port)) || ((t->module.flags & VSW_OVS_TAGS) && !vsw_floods_inner(t, f, port)))
                continue;
        } else if (pick < port) {
            vsw_send(w, f, index, pick, o);
            pick = VSW_NO_PORT;
        }
        if (port != f->port_in)
            vsw_send(w, f, index, port, o);
    }
    if (!plain && pick != VSW_NO_PORT)
        vsw_send(w, f, index, pick, o);
}

/* The one port that a unicast frame is for, or VSW_NO_PORT and in `reason` why; VSW_FLOODS: nobody knows it, and this switch floods. */
#define VSW_FLOODS 0x10000u

static inline uint32_t vsw_unicast_port(vsw_worker *w, const vsw_frame *f, uint32_t *reason) {
    const vsw_tables *t = w->tables;
    const vsw_port *p = t->ports + f->port_in;
    uint32_t port = vsw_lookup(w, f);
    uint32_t from_uplink = p->flags & VSW_PORT_UPLINK;
    uint32_t team = p->team;
    if (t->module.flags & VSW_VIRTUAL) {
        if (port == VSW_NO_PORT && from_uplink) {
            *reason = VSW_UNKNOWN_UNICAST;
            return VSW_NO_PORT;
        }
        if (port != VSW_NO_PORT && !(t->ports[port].flags & VSW_PORT_UPLINK)) {
            *reason = VSW_SAME_PORT;
            return port == f->port_in ? VSW_NO_PORT : port;
        }
        if (from_uplink) {
            *reason = VSW_UPLINK_TO_UPLINK;
            return VSW_NO_PORT;
        }
    } else {
        if (port == VSW_NO_PORT)
            return VSW_FLOODS;
        const vsw_port *q = t->ports + port;
        *reason = VSW_SAME_PORT;
        if (!(q->flags & VSW_PORT_UPLINK) || q->team == VSW_NO_TEAM)
            return port == f->port_in ? VSW_NO_PORT : port;
        if (from_uplink && p->team == q->team)
            return VSW_NO_PORT;
        team = q->team;
    }
    *reason = VSW_NO_UPLINK;
    return vsw_team_pick(t, team, f);
}

/* A unicast frame to its port and to the promiscuous ones, in order. */
static inline void vsw_unicast(vsw_worker *w, const vsw_frame *f, uint32_t index, uint32_t port, vsw_outcome *o) {
    const vsw_tables *t = w->tables;
    const vsw_vlan *vlan = t->vlans + f->vlan;
    if (vlan->flags & VSW_VLAN_PROMISCUOUS) {
        const vsw_group *g = t->groups + vlan->promiscuous;
        const uint16_t *member = t->members + g->start, *end = member + g->count;
        for (; member < end; member++) {
            if (port < *member)
                vsw_send(w, f, index, port, o);
            if (port <= *member)
                port = VSW_NO_PORT;
            if (*member != f->port_in)
                vsw_send(w, f, index, *member, o);
        }
    }
    if (port != VSW_NO_PORT)
        vsw_send(w, f, index, port, o);
}

/* Forwards one frame that every earlier stage let through. */
static inline void vsw_forward(vsw_worker *w, const vsw_frame *f, uint32_t index, vsw_outcome *o) {
    uint32_t none = VSW_NO_MEMBER;
    uint32_t port = VSW_FLOODS;
    if (!(f->dst & VSW_GROUP_BIT))
        port = vsw_unicast_port(w, f, &none);
    if (port == VSW_FLOODS)
        vsw_flood(w, f, index, o);
    else
        vsw_unicast(w, f, index, port, o);
    if (!o->selected)
        o->reason = port == VSW_FLOODS ? (uint32_t)VSW_NO_MEMBER : none;
}

#endif
