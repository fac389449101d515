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
#define VSW_VID_HIGH 0x0F00u         /* of a VID, the bits of the first byte */
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
#undef VSW_STAGE_FAST_LANE_H

#ifdef VSW_PICKS_LANE
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define VSW_LANE(name) vsw_lane_##name##_v3
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE
#undef VSW_STAGE_FAST_LANE_H
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define VSW_LANE(name) vsw_lane_##name##_v4
#include "vsw/datapath/stages/fast_lane.h"
#undef VSW_LANE
#undef VSW_STAGE_FAST_LANE_H
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

#include "vsw/datapath/stages/fast_lists.h"

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
