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

#include "vsw/datapath/state.h"

#define VSW_FAST_LEAST 4u            /* smaller bursts are not worth two passes */
#define VSW_FAST_CAPTURED 18u        /* addresses, one tag, a type */
#define VSW_LLC_BELOW 6u             /* first byte of a type field that is an 802.3 length */
#define VSW_RESERVED_OUI 0x2BE000u   /* 00-E0-2B as loaded: unicast addresses on Open vSwitch's reserved list */

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(VSW_NO_CLONES)
#define VSW_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#else
#define VSW_CLONES __attribute__((noinline))
#endif

typedef struct vsw_lane {
    uint64_t key[VSW_BURST];
    uint32_t bucket[VSW_BURST];
    uint32_t body[VSW_BURST];        /* bytes without the tag that became state */
    uint16_t vlan[VSW_BURST];
    uint16_t target[VSW_BURST];      /* the port of the only copy, or one of the following */
    uint8_t odd[VSW_BURST];          /* bits of enum vsw_odd */
    uint16_t outward[VSW_BURST], inward[VSW_BURST], group[VSW_BURST], rest[VSW_BURST];   /* numbers of frames, in order */
    uint32_t outward_count, inward_count, group_count, rest_count;
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

static inline uint32_t vsw_load16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* First pass.  `owned`: ports were found by source-mac (tags may be taken off, and an owner's source is not forged). */
static inline __attribute__((always_inline)) void vsw_look(vsw_worker *w, vsw_lane *lane, uint32_t count, const int owned) {
    const vsw_burst *b = &w->burst;
    const vsw_tables *t = w->tables;
    const vsw_fdb *fdb = w->fdb;
    const uint32_t ports = t->module.ports;
    const uint32_t tpid0 = t->module.tpid[0], tpid1 = t->module.tpid[1], tpid2 = t->module.tpid[2];
    const uint32_t normal = VSW_PORT_EXISTS | VSW_PORT_UP;
    const uint32_t seen = normal | VSW_PORT_SLOW_IN;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *data = b->data[i];
        uint32_t port = w->port_in[i];
        uint32_t odd = port >= ports;
        port = odd ? 0 : port;
        const vsw_port *p = t->ports + port;
        uint32_t skip = owned ? w->skip[i] : 0;
        uint64_t low = vsw_load64(data), high = vsw_load64(data + 6);
        uint64_t dst = low & VSW_MAC_MASK, src = high & VSW_MAC_MASK;
        uint32_t type = (uint32_t)(high >> 48);
        uint32_t tagged = (type == tpid0) | (type == tpid1) | (type == tpid2);
        uint32_t tci = vsw_load16(data + VSW_ETHERNET);
        uint32_t vid = ((tci >> 8) | (tci << 8)) & VSW_TCI_VID;
        if (owned) {
            /* behind a tag that was taken off there is another type; if that is a tag, or a length, the exact path reads on */
            uint32_t inner = vsw_load16(data + VSW_ETHERNET + 2);
            uint32_t again = (inner == tpid0) | (inner == tpid1) | (inner == tpid2) | ((inner & 0xFF) < VSW_LLC_BELOW);
            odd |= (skip != 0) & again;
            tagged = skip ? 0 : tagged;
            type = skip ? inner : type;
        }
        vid = tagged ? vid : 0;
        uint32_t length = b->length[i] - skip;
        odd |= b->captured[i] < VSW_FAST_CAPTURED + skip;
        odd |= (p->flags & seen) != normal;
        uint32_t oui = (uint32_t)dst & 0xFFFFFF;
        odd |= (uint32_t)((src & VSW_GROUP_BIT) | (src == 0));
        odd |= (oui == VSW_RESERVED_OUI) | (oui == VSW_RESERVED_GROUPS) | (oui == VSW_CISCO_GROUPS);
        odd |= (type & 0xFF) < VSW_LLC_BELOW;
        odd |= !vsw_accepts(t, port, vid);
        odd |= length > p->max_length + (tagged ? VSW_TAG : 0);
        if (!owned)
            odd |= ((p->flags & VSW_PORT_CHECK_FORGED) != 0) & (src != p->mac);
        odd |= ((p->flags & VSW_PORT_CHECK_DEJA_VU) != 0) & vsw_fdb_maybe_local(fdb, src);
        uint32_t vlan = vid & p->vid_mask;
        vlan = vlan ? vlan : p->pvid;
        const vsw_vlan *v = t->vlans + vlan;
        odd |= (vlan == 0) | (v->flags & VSW_VLAN_PROMISCUOUS);
        uint64_t key = vsw_fdb_key(v->fid, dst);
        uint64_t bucket = vsw_fdb_hash(fdb, key);
        __builtin_prefetch(fdb->buckets + bucket);
        lane->key[i] = key;
        lane->bucket[i] = (uint32_t)bucket;
        lane->body[i] = length - (tagged ? p->tag_taken : 0);
        lane->vlan[i] = (uint16_t)vlan;
        lane->odd[i] = (uint8_t)((odd != 0) | (uint32_t)(dst & VSW_GROUP_BIT) << 1);
    }
}

/* Second pass: probe, count, sort what is left. */
static inline __attribute__((always_inline)) void vsw_settle(vsw_worker *w, vsw_lane *lane, uint32_t count, const int rows, const int owned) {
    const vsw_burst *b = &w->burst;
    const vsw_tables *t = w->tables;
    const vsw_fdb *fdb = w->fdb;
    vsw_counters *n = &w->counters;
    const vsw_columns *c = &w->columns;
    const uint32_t virtual = (t->module.flags & VSW_VIRTUAL) != 0;
    uint32_t outward = 0, inward = 0, group = 0, rest = 0, normalised = 0;
    for (uint32_t i = 0; i < count; i++) {
        const vsw_fdb_bucket *bucket = fdb->buckets + lane->bucket[i];
        uint32_t match = vsw_fdb_match(bucket, lane->key[i]);
        uint32_t value = bucket->value[__builtin_ctz(match | 1u << (VSW_FDB_SLOTS - 1))];
        uint32_t odd = lane->odd[i];
        uint32_t wrong = odd | (match == 0) | ((value & (VSW_FDB_STATIC | VSW_FDB_MEMBER)) != (VSW_FDB_STATIC | VSW_FDB_MEMBER));
        uint32_t port = value & VSW_FDB_PORT, port_in = w->port_in[i];
        const vsw_port *q = t->ports + port;
        uint32_t body = lane->body[i], vlan = lane->vlan[i];
        wrong |= (q->flags & (VSW_PORT_UP | VSW_PORT_SLOW_OUT)) != VSW_PORT_UP;
        wrong |= (port == port_in) | (body > q->max_length);
        uint32_t length = body + (vlan == q->untagged_vid ? 0 : q->tag_sent);
        uint32_t skip = owned ? w->skip[i] : 0;
        n->rx[wrong ? VSW_MAX_PORTS : port_in] += (1ull << VSW_PACKED_BYTES) + (b->length[i] - skip);
        n->tx[wrong ? VSW_MAX_PORTS : port] += (1ull << VSW_PACKED_BYTES) + length;
        lane->target[i] = (uint16_t)(wrong ? VSW_TO_EXACT : port);
        /* one of four lists, or none: each list is written, and grows where the frame belongs to it */
        uint32_t unknown = virtual & (odd == 0) & (match == 0);
        uint32_t uplink = (t->ports[odd ? 0 : port_in].flags & VSW_PORT_UPLINK) != 0;
        uint32_t flood = odd == VSW_ODD_GROUP && virtual;
        lane->outward[outward] = lane->inward[inward] = lane->group[group] = lane->rest[rest] = (uint16_t)i;
        outward += unknown & !uplink;
        inward += unknown & uplink;
        group += flood;
        rest += (wrong != 0) & !unknown & !flood;
        if (owned)
            normalised += (wrong == 0) & (skip != 0);
        if (rows) {
            c->verdict[i] = VSW_DELIVERED;
            c->reason[i] = 0;
            c->port_in[i] = (uint16_t)port_in;
            c->egress_port[i] = (int16_t)port;
            c->vlan[i] = (uint16_t)vlan;
            c->normalised[i] = skip != 0;
        }
    }
    uint32_t done = count - outward - inward - group - rest;
    n->offered += done;
    n->delivered += done;
    n->copies_selected += done;
    n->copies_out += done;
    n->normalised += normalised;
    lane->outward_count = outward;
    lane->inward_count = inward;
    lane->group_count = group;
    lane->rest_count = rest;
}

static inline void vsw_row(const vsw_columns *c, uint32_t i, uint32_t verdict, uint32_t reason, int egress) {
    if (c->verdict) {
        c->verdict[i] = (uint8_t)verdict;
        c->reason[i] = (uint8_t)reason;
        c->egress_port[i] = (int16_t)egress;
    }
}

/* Counts of a frame that one of the lists has settled. */
static inline void vsw_settled(vsw_worker *w, uint32_t i, uint32_t selected, uint32_t out) {
    vsw_counters *n = &w->counters;
    n->rx[w->port_in[i]] += (1ull << VSW_PACKED_BYTES) + (w->burst.length[i] - w->skip[i]);
    n->offered++;
    n->normalised += w->skip[i] != 0;
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
    lane->rest[lane->rest_count++] = (uint16_t)i;
}

/* Known to nobody here, from a local port: out by the team. */
static inline void vsw_settle_outward(vsw_worker *w, vsw_lane *lane) {
    const vsw_tables *t = w->tables;
    for (uint32_t k = 0; k < lane->outward_count; k++) {
        uint32_t i = lane->outward[k];
        uint32_t pick = vsw_surely_outside(w, lane, i) ? vsw_lane_pick(w, lane, i) : VSW_NO_PORT;
        if (pick == VSW_NO_PORT || !vsw_plain_out(t->ports + pick, lane->body[i]) || !vsw_receives(t, pick, lane->vlan[i])) {
            vsw_leave_to_exact(lane, i);
            continue;
        }
        vsw_settled(w, i, 1, 1);
        w->counters.delivered++;
        vsw_count_out(w, lane, i, pick);
        vsw_row(&w->columns, i, VSW_DELIVERED, 0, (int)pick);
        lane->target[i] = (uint16_t)pick;
    }
}

/* Known to nobody here, from an uplink: it does not go back out. */
static inline void vsw_settle_inward(vsw_worker *w, vsw_lane *lane) {
    for (uint32_t k = 0; k < lane->inward_count; k++) {
        uint32_t i = lane->inward[k];
        if (!vsw_surely_outside(w, lane, i)) {
            vsw_leave_to_exact(lane, i);
            continue;
        }
        vsw_settled(w, i, 0, 0);
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
    vsw_settled(w, i, out + held, out);
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
    for (uint32_t k = 0; k < lane->group_count; k++)
        if (w->sink || !vsw_flood_plain(w, lane, lane->group[k]))
            vsw_leave_to_exact(lane, lane->group[k]);
}

static inline __attribute__((always_inline)) void vsw_fast(vsw_worker *w, vsw_lane *lane, uint32_t count, const int rows, const int owned) {
    vsw_look(w, lane, count, owned);
    vsw_settle(w, lane, count, rows, owned);
}

static VSW_CLONES void vsw_fast_given(vsw_worker *w, vsw_lane *lane, uint32_t count) {
    vsw_fast(w, lane, count, 0, 0);
}

static VSW_CLONES void vsw_fast_given_rows(vsw_worker *w, vsw_lane *lane, uint32_t count) {
    vsw_fast(w, lane, count, 1, 0);
}

static VSW_CLONES void vsw_fast_owned(vsw_worker *w, vsw_lane *lane, uint32_t count) {
    vsw_fast(w, lane, count, 0, 1);
}

static VSW_CLONES void vsw_fast_owned_rows(vsw_worker *w, vsw_lane *lane, uint32_t count) {
    vsw_fast(w, lane, count, 1, 1);
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

/* A burst's times: how many frames come before the first with time >= until; the clock goes on to the last of them. */
static inline uint32_t vsw_burst_clock(vsw_worker *w, uint32_t count, int64_t until) {
    const int64_t *time = w->burst.time;
    int64_t before = w->now, highest = time[0];
    uint32_t sorted = time[0] >= before;
    for (uint32_t i = 1; i < count; i++) {
        sorted &= time[i] >= time[i - 1];
        highest = time[i] > highest ? time[i] : highest;
    }
    if (sorted && highest < until) {
        w->now = highest;
        return count;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (time[i] >= until)
            return i;
        vsw_clock(w, time[i]);
    }
    return count;
}

/* One burst, cut at `until`.  Returns how many frames are done. */
static inline uint32_t vsw_burst_run(vsw_worker *w, uint32_t count, int64_t until, int *ok) {
    const uint32_t in_order = VSW_LEARNS | VSW_GUARDS;
    vsw_lane lane;
    uint32_t longest = 0;
    vsw_find_ports(w, count);
    for (uint32_t i = 0; i < count; i++)
        longest |= w->burst.length[i];
    if (w->exact || (w->tables->module.flags & in_order) || !w->burst.roomy || count < VSW_FAST_LEAST || longest >= VSW_HUGE)
        return vsw_burst_exact(w, count, until, ok);
    count = vsw_burst_clock(w, count, until);
    if (w->owners && w->columns.verdict)
        vsw_fast_owned_rows(w, &lane, count);
    else if (w->owners)
        vsw_fast_owned(w, &lane, count);
    else if (w->columns.verdict)
        vsw_fast_given_rows(w, &lane, count);
    else
        vsw_fast_given(w, &lane, count);
    vsw_settle_outward(w, &lane);
    vsw_settle_inward(w, &lane);
    vsw_settle_groups(w, &lane);
    if (w->sink)
        count = vsw_lane_emit(w, &lane, count, ok);
    else
        for (uint32_t i = 0; i < lane.rest_count; i++)
            vsw_exact(w, lane.rest[i]);
    if (++w->counters.packed_bursts == VSW_PACKED_BURSTS)
        vsw_counters_unpack(&w->counters);
    return count;
}

#endif
