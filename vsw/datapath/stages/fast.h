/* fast.h: the fast lane: what most frames need, for a whole burst at a time, without a branch that depends on a frame.
 *
 * It stands beside the line of stages, not in it: a frame that is unicast, of a VLAN that its port accepts, to a static address on a port
 * that receives the VLAN, and about which nothing else is special, ends in the same verdict and the same counters as by the exact path.
 * Two passes over the burst: `look` reads the headers, works out VLAN and key, and asks the cache for the bucket; `settle` probes, counts, writes the rows, and sorts what is
 * left into lists, each with a loop of its own: frames to the outside (the team picks), unknown ones from the outside (dropped), floods.
 * Whatever none of them is sure of goes to the exact path, afterwards or (where copies are wanted) in its turn.
 *
 * Only for runs in which no frame changes what a later one meets, and bursts that may be read beyond a frame's end (vsw_burst.roomy).  */
#ifndef VSW_STAGE_FAST_H
#define VSW_STAGE_FAST_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define VSW_PICKS_LANE 1
#endif

#include "vsw/datapath/state.h"

#define VSW_FAST_LEAST 4u            /* smaller bursts are not worth two passes */
#define VSW_FAST_CAPTURED 18u        /* addresses, one tag, a type */
#define VSW_LLC_BELOW 6u             /* first byte of a type field that is an 802.3 length */
#define VSW_RESERVED_OUI 0x2BE000u   /* 00-E0-2B as loaded: unicast addresses on Open vSwitch's reserved list */

/* All ones if `condition` holds, else 0, without a branch. */
#define VSW_MASK(condition) __extension__({ uint32_t mask_ = 0u - (uint32_t)((condition) != 0); __asm__("" : "+r"(mask_)); mask_; })

/* Where a frame of the burst goes next. */
enum vsw_list {
    VSW_LIST_DONE = 0,               /* counted, its row is written */
    VSW_LIST_OUTWARD = 1,            /* nobody here has the address; from a local port */
    VSW_LIST_INWARD = 2,             /* the same, from an uplink */
    VSW_LIST_GROUP = 3,
    VSW_LIST_REST = 4,               /* the exact path */
    VSW_LISTS = 5,
};

typedef struct vsw_lane {
    uint64_t key[VSW_BURST];
    uint32_t dst[VSW_BURST], src[VSW_BURST];   /* the first four bytes of the addresses, as loaded */
    uint32_t src_end[VSW_BURST];     /* the last two of the source, and two more */
    uint32_t word[VSW_BURST];        /* type and TCI, as loaded */
    uint32_t limit[VSW_BURST], in[VSW_BURST];  /* the two halves of the ingress port's hot word */
    uint32_t skip[VSW_BURST];        /* bytes of a tag that source-mac took off */
    uint32_t lost[VSW_BURST];        /* the frame's list if its destination is not in the bucket */
    uint32_t vid[VSW_BURST], tag[VSW_BURST];   /* of the tag, 0 without one; its bytes */
    uint32_t bucket[VSW_BURST], vlan[VSW_BURST];
    uint32_t body[VSW_BURST];        /* bytes without the tag that became state */
    uint32_t odd[VSW_BURST];         /* bits of enum vsw_odd */
    uint16_t target[VSW_BURST];      /* the port of the only copy, or one of the following */
    uint16_t list[VSW_LISTS][VSW_BURST];       /* numbers of frames, in order */
    uint32_t counts[VSW_LISTS];
} vsw_lane;

/* In vsw_lane.target. */
#define VSW_TO_NOBODY 0xFFFFu        /* dropped here, no copy */
#define VSW_TO_EXACT 0xFFFEu

enum vsw_odd {
    VSW_ODD = 1,                     /* only the exact path knows */
    VSW_ODD_GROUP = 2,               /* a group destination, and nothing else */
};

/* First three bytes of an address as loaded: 01-80-C2 and 01-00-0C have reserved groups among them. */
#define VSW_RESERVED_GROUPS 0xC28001u
#define VSW_CISCO_GROUPS 0x0C0001u

static inline uint64_t vsw_load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint32_t vsw_load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline uint32_t vsw_load16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

#define VSW_LANE(name) vsw_lane_##name##_portable
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE

#ifdef VSW_PICKS_LANE
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define VSW_LANE(name) vsw_lane_##name##_v3
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define VSW_LANE(name) vsw_lane_##name##_v4
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE
#pragma GCC pop_options
#endif

/* The passes as this processor runs them best; called once a burst. */
typedef struct vsw_lane_calls {
    int64_t (*clock)(const int64_t *restrict time, uint32_t count, int64_t now, int64_t until);
    uint32_t (*headers)(const vsw_burst *restrict b, vsw_lane *restrict lane, uint32_t count);
    void (*burst)(vsw_worker *w, vsw_lane *lane, uint32_t count);
} vsw_lane_calls;

static const vsw_lane_calls *vsw_pick_lane(void) {
    static const vsw_lane_calls portable = {vsw_lane_clock_portable, vsw_lane_headers_portable, vsw_lane_burst_portable};
#ifdef VSW_PICKS_LANE
    static const vsw_lane_calls v3 = {vsw_lane_clock_v3, vsw_lane_headers_v3, vsw_lane_burst_v3};
    static const vsw_lane_calls v4 = {vsw_lane_clock_v4, vsw_lane_headers_v4, vsw_lane_burst_v4};
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4"))
        return &v4;
    if (__builtin_cpu_supports("x86-64-v3"))
        return &v3;
#endif
    return &portable;
}

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

/* One frame after the other: the clock, up to the first with time >= until.  Returns how many frames come before it. */
static inline uint32_t vsw_clock_slowly(vsw_worker *w, uint32_t count, int64_t until) {
    for (uint32_t i = 0; i < count; i++) {
        if (w->burst.time[i] >= until)
            return i;
        vsw_clock(w, w->burst.time[i]);
    }
    return count;
}

/* One burst, cut at `until`.  Returns how many frames are done. */
static inline uint32_t vsw_burst_run(vsw_worker *w, uint32_t count, int64_t until, int *ok) {
    const uint32_t in_order = VSW_LEARNS | VSW_GUARDS;
    const vsw_lane_calls *call = w->lane;
    vsw_lane lane;
    vsw_find_ports(w, count);
    if (w->exact || (w->tables->module.flags & in_order) || !w->burst.roomy || count < VSW_FAST_LEAST ||
        call->headers(&w->burst, &lane, count) >= VSW_HUGE)
        return vsw_burst_exact(w, count, until, ok);
    int64_t now = call->clock(w->burst.time, count, w->now, until);
    if (now != INT64_MIN)
        w->now = now;
    else
        count = vsw_clock_slowly(w, count, until);
    if (!count)
        return 0;
    call->burst(w, &lane, count);
    vsw_settle_outward(w, &lane);
    vsw_settle_inward(w, &lane);
    vsw_settle_groups(w, &lane);
    w->received = 1;
    if (w->sink)
        count = vsw_lane_emit(w, &lane, count, ok);
    else
        for (uint32_t i = 0; i < lane.counts[VSW_LIST_REST]; i++)
            vsw_exact(w, lane.list[VSW_LIST_REST][i]);
    w->received = 0;
    if (++w->counters.packed_bursts == VSW_PACKED_BURSTS)
        vsw_counters_unpack(w);
    return count;
}

#endif
