/* fast_emit.h: the fast lane where copies are wanted: once more through the burst, in the frames' order.
 *
 * What the lane has settled is given to the sink; floods and what was left to the exact path are done here, each in its turn.  */
#ifndef VSW_STAGE_FAST_EMIT_H
#define VSW_STAGE_FAST_EMIT_H

#include "vsw/datapath/stages/fast_copies.h"
#include "vsw/datapath/stages/fast_lists.h"

/* Floods wait for their turn. */
static inline void vsw_defer_groups(vsw_lane *lane) {
    VSW_EACH(i, lane->lists[VSW_LIST_GROUP])
        lane->target[i] = VSW_TO_GROUP;
}

/* Frame i, which is not settled: a flood, or one for the exact path.  What was gathered before it goes first. */
static inline void vsw_emit_other(vsw_worker *w, vsw_lane *lane, uint32_t i, vsw_giving *giving) {
    if (lane->target[i] == VSW_TO_NOBODY || (lane->target[i] == VSW_TO_GROUP && vsw_flood_plain(w, lane, i, giving)))
        return;
    vsw_give_lean(w, giving);
    if (giving->ok)
        giving->ok = vsw_exact(w, i);
}

/* The sink takes no more: frames from `first` on are not done, and what the lane has counted of them is taken back. */
static __attribute__((noinline)) void vsw_take_back(vsw_worker *w, const vsw_lane *lane, uint32_t first, uint32_t count) {
    vsw_counters *n = &w->counters;
    for (uint32_t i = first; i < count; i++) {
        const uint32_t target = lane->target[i], port = w->port_in[i];
        n->rx[port] -= (1ull << VSW_PACKED_BYTES) + w->burst.length[i] - w->skip[i];
        n->normalised -= w->skip[i] != 0;
        if (target < VSW_TO_EXACT) {
            n->tx[target] -= (1ull << VSW_PACKED_BYTES) + lane->left[i];
            n->offered--;
            n->delivered--;
            n->copies_selected--;
            n->copies_out--;
        } else if (target == VSW_TO_NOBODY) {
            n->offered--;
            n->reasons[VSW_UNKNOWN_UNICAST]--;
            n->dropped[(size_t)port * VSW_REASONS + VSW_UNKNOWN_UNICAST]--;
        }
    }
}

/* Copies in the order of their frames.  Returns how many frames are done. */
static inline uint32_t vsw_lane_emit(vsw_worker *w, vsw_lane *lane, uint32_t count, int *ok) {
    const uint32_t ovs = w->tables->module.flags & VSW_OVS_TAGS;
    vsw_giving giving;
    uint32_t i;
    giving.ok = 1;
    giving.lean.count = 0;
    for (i = 0; i < count && giving.ok; i++) {
        uint32_t target = lane->target[i];
        if (target >= VSW_TO_EXACT)
            vsw_emit_other(w, lane, i, &giving);
        else if (ovs)
            giving.ok = vsw_give_ovs(w, lane, i);
        else
            vsw_give(w, lane, i, target, lane->left[i] - lane->body[i], &giving);
    }
    vsw_give_lean(w, &giving);
    *ok = giving.ok;
    if (!giving.ok)
        vsw_take_back(w, lane, i, count);
    return i;
}

#endif
