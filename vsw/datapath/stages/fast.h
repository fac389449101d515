/* fast.h: the fast lane: what most frames need, for a whole burst at a time, without a branch that depends on a frame.
 *
 * It stands beside the line of stages, not in it: a frame that is unicast, of a VLAN that its port accepts, to a static address on a port
 * that receives the VLAN, and about which nothing else is special, ends in the same verdict and the same counters as by the exact path.
 * Headers are read, VLAN and key worked out, the bucket asked for; then it is probed, the team picks for frames to the outside, and what is left is sorted into lists, each
 * with a loop of its own: unknown ones from the outside (dropped), floods.  Whatever none of them is sure of goes to the exact path, afterwards or (where copies are wanted)
 * in its turn.
 *
 * Only for runs in which no frame changes what a later one meets, and bursts that may be read beyond a frame's end (vsw_burst.roomy).  */
#ifndef VSW_STAGE_FAST_H
#define VSW_STAGE_FAST_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define VSW_PICKS_LANE 1
#endif

#include "vsw/datapath/hashes/registry.h"
#include "vsw/datapath/stages/source_mac.h"
#include "vsw/datapath/stages/team.h"
#include "vsw/datapath/state.h"

#define VSW_FAST_LEAST 4u            /* smaller bursts are not worth two passes */
#define VSW_FAST_CAPTURED 18u        /* addresses, one tag, a type */
#define VSW_VID_HIGH 0x0F00u         /* of a VID, the bits of the first byte */
#define VSW_KEPT_OF_TAG 0x00F0FFFFu  /* of a tag as loaded, the first byte lowest: its type, PCP and DEI */
#define VSW_NEW_TAG 0x0081u          /* 0x8100 with PCP 0, likewise */
#define VSW_LLC_BELOW 6u             /* first byte of a type field that is an 802.3 length */
#define VSW_KEY_HIGH (uint32_t)(VSW_FDB_USED >> 32)
#define VSW_OUI 0xFFFFFFu            /* first three bytes of an address as loaded */
#define VSW_RESERVED_OUI 0x2BE000u   /* 00-E0-2B as loaded: unicast addresses on Open vSwitch's reserved list */

/* Where a frame of the burst goes next. */
enum vsw_list {
    VSW_LIST_DONE = 0,               /* counted, its row is written */
    VSW_LIST_INWARD = 1,             /* from an uplink, and nobody here has the address */
    VSW_LIST_GROUP = 2,
    VSW_LIST_REST = 3,               /* the exact path */
    VSW_LISTS = 4,
};

/* All ones if `condition` holds, else 0. */
#define VSW_MASK(condition) ((condition) ? UINT32_MAX : 0u)

/* For a loop that does little a round. */
#define VSW_UNROLL _Pragma("GCC unroll 4")

/* Frames of a burst, a bit each. */
#define VSW_SET_WORDS (VSW_BURST / 64)
typedef struct vsw_set {
    uint64_t bits[VSW_SET_WORDS];
} vsw_set;

/* For each frame of a set, in order. */
#define VSW_EACH(i, set) \
    for (uint32_t word_ = 0, i; word_ < VSW_SET_WORDS; word_++) \
        for (uint64_t left_ = (set).bits[word_]; left_ && (i = 64 * word_ + (uint32_t)__builtin_ctzll(left_), 1); left_ &= left_ - 1)

typedef struct vsw_lane {
    uint32_t head[VSW_BURST][4];     /* what a frame begins with, as loaded: addresses, type, TCI */
    uint64_t key[VSW_BURST];
    vsw_hot_in in[VSW_BURST];        /* of the ingress port */
    uint32_t out[VSW_BURST];         /* hot_out of the port that `value` names */
    uint32_t vid[VSW_BURST], tag[VSW_BURST];   /* of the tag, 0 without one; its bytes */
    uint32_t vlan[VSW_BURST];
    union {
        uint32_t fid[VSW_BURST];     /* filtering VLAN; bit 15: odd */
        uint32_t bucket[VSW_BURST];
        uint32_t sent[VSW_BURST];    /* where copies are wanted: the tag of a copy that has one, as loaded */
    };
    union {
        uint32_t refused[VSW_BURST]; /* VIDs outside of the port's longest run */
        uint32_t value[VSW_BURST];   /* what the bucket says */
    };
    uint32_t body[VSW_BURST];        /* bytes without the tag that became state */
    uint32_t left[VSW_BURST];        /* bytes that the only copy has */
    uint32_t odd[VSW_BURST];         /* bits of enum vsw_odd */
    uint32_t target[VSW_BURST];      /* the port of the only copy, or one of the following */
    uint8_t check[VSW_BURST];        /* what its port asks about the source */
    uint8_t honest[VSW_BURST];       /* source-mac found the port by an address that is surely its own */
    uint8_t list[VSW_BURST];
    vsw_set lists[VSW_LISTS];
} vsw_lane;

/* In vsw_lane.target. */
#define VSW_TO_NOBODY 0xFFFFu        /* dropped here, no copy */
#define VSW_TO_GROUP 0xFFFEu         /* a flood whose copies are made in its turn */
#define VSW_TO_EXACT VSW_MAX_PORTS   /* the least of these */

/* In vsw_lane.check: bits of vsw_hot_in.accepts, of which a port has one at most. */
#define VSW_CHECKS 3u
#define VSW_CHECK_DEJA_VU 1u
#define VSW_CHECK_FORGED (1u << (VSW_HOT_FORGED - VSW_HOT_DEJA_VU))

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

static inline uint16_t vsw_load_big16(const uint8_t *p) {
    return __builtin_bswap16((uint16_t)vsw_load16(p));
}

/* Counts of frames that one of the lists has settled: how many, and their copies. */
static inline void vsw_settled(vsw_worker *w, uint32_t frames, uint32_t selected, uint32_t out) {
    vsw_counters *n = &w->counters;
    n->offered += frames;
    n->copies_selected += selected;
    n->copies_out += out;
}

/* Whether no static entry has this destination: the filter knows them all, and the bucket did not match. */
static inline int vsw_surely_outside(const vsw_worker *w, const vsw_lane *lane, uint32_t i) {
    return !vsw_fdb_maybe_local(w->fdb, lane->key[i] & VSW_MAC_MASK);
}

/* The uplink that the team of frame i's port picks. */
static inline uint32_t vsw_lane_pick(const vsw_worker *w, const vsw_lane *lane, uint32_t i, const int owned) {
    const vsw_tables *t = w->tables;
    const vsw_port *p = t->ports + w->port_in[i];
    if (p->team == VSW_NO_TEAM)
        return VSW_NO_PORT;
    const uint8_t *data = w->burst.data[i];
    uint32_t skip = owned ? w->skip[i] : 0, tag = w->burst.length[i] - skip - lane->body[i];   /* bytes of the tag that became state: 4 or 0 */
    vsw_hash_input in = {
        .frame = data,
        .type_at = VSW_TYPE_AT + tag + skip,
        .captured = w->burst.captured[i],
        .tci = (uint16_t)((tag ? vsw_load_big16(data + VSW_TYPE_AT + 2 + skip) & (VSW_TCI_PCP | VSW_TCI_DEI) : 0) | lane->vlan[i]),
        .port = w->port_in[i],
    };
    return vsw_team_member(t->teams + p->team, &in);
}

#define VSW_LANE(name) vsw_lane_##name##_portable
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE
#undef VSW_STAGE_FAST_LANE_H
#undef VSW_STAGE_FAST_LOOK_H
#undef VSW_STAGE_FAST_VECTORS_H

#ifdef VSW_PICKS_LANE
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define VSW_LANE(name) vsw_lane_##name##_v3
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE
#undef VSW_STAGE_FAST_LANE_H
#undef VSW_STAGE_FAST_LOOK_H
#undef VSW_STAGE_FAST_VECTORS_H
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define VSW_LANE(name) vsw_lane_##name##_v4
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE
#undef VSW_STAGE_FAST_LANE_H
#undef VSW_STAGE_FAST_LOOK_H
#undef VSW_STAGE_FAST_VECTORS_H
#pragma GCC pop_options
#endif

/* The passes as this processor runs them best; called once a burst. */
typedef struct vsw_lane_calls {
    int64_t (*clock)(const int64_t *restrict time, uint32_t count, int64_t now, int64_t until);
    uint32_t (*longest)(const uint32_t *restrict length, uint32_t count);
    void (*burst)(vsw_worker *w, vsw_lane *lane, uint32_t count);
} vsw_lane_calls;

static const vsw_lane_calls *vsw_pick_lane(void) {
    static const vsw_lane_calls portable = {vsw_lane_clock_portable, vsw_lane_longest_portable, vsw_lane_burst_portable};
#ifdef VSW_PICKS_LANE
    static const vsw_lane_calls v3 = {vsw_lane_clock_v3, vsw_lane_longest_v3, vsw_lane_burst_v3};
    static const vsw_lane_calls v4 = {vsw_lane_clock_v4, vsw_lane_longest_v4, vsw_lane_burst_v4};
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4"))
        return &v4;
    if (__builtin_cpu_supports("x86-64-v3"))
        return &v3;
#endif
    return &portable;
}

#include "vsw/datapath/stages/fast_emit.h"

/* One burst, cut at `until`.  Returns how many frames are done. */
static inline uint32_t vsw_burst_run(vsw_worker *w, uint32_t count, int64_t until, int *ok) {
    const uint32_t in_order = VSW_LEARNS | VSW_GUARDS;
    const vsw_lane_calls *call = w->lane;
    vsw_lane lane;
    if (w->exact || (w->tables->module.flags & in_order) || !w->burst.roomy || count < VSW_FAST_LEAST ||
        call->longest(w->burst.length, count) >= VSW_HUGE) {
        vsw_find_ports(w, count);
        return vsw_burst_exact(w, count, until, ok);
    }
    const int64_t before = w->now;
    const uint64_t backwards = w->counters.time_backwards;
    int64_t now = call->clock(w->burst.time, count, before, until);
    if (now != INT64_MIN)
        w->now = now;
    else
        count = vsw_clock_slowly(w, count, until);
    if (!count)
        return 0;
    if (!w->owners || w->interface_ports)
        vsw_find_ports(w, count);
    call->burst(w, &lane, count);
    vsw_settle_inward(w, &lane);
    w->received = 1;
    if (w->sink) {
        vsw_defer_groups(&lane);
        count = vsw_lane_emit(w, &lane, count, ok);
        if (!*ok) {                    /* time as well goes no further than the frames that are done */
            w->now = before;
            w->counters.time_backwards = backwards;
            vsw_clock_slowly(w, count, INT64_MAX);
        }
    } else {
        vsw_settle_groups(w, &lane);
        VSW_EACH(i, lane.lists[VSW_LIST_REST])
            vsw_exact(w, i);
    }
    w->received = 0;
    if (++w->counters.packed_bursts == VSW_PACKED_BURSTS)
        vsw_counters_unpack(w);
    return count;
}

#endif
