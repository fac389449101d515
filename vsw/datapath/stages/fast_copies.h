/* fast_copies.h: copies of what the fast lane settles, where somebody wants them.
 *
 * The lane knows of each copy whether it has a tag and which (vsw_lane.sent), and where the bytes behind the tag begin.  A sink that takes many at a time
 * gets no more than that; for others each is described as the exact path would.  */
#ifndef VSW_STAGE_FAST_COPIES_H
#define VSW_STAGE_FAST_COPIES_H

#include "vsw/datapath/stages/fast.h"

/* Copies on their way to the sink. */
typedef struct vsw_giving {
    int ok;                        /* 0: the sink failed, and is given nothing any more */
    vsw_lean lean;                 /* gathered; sinks without `lean` get theirs at once */
} vsw_giving;

/* Hands over what was gathered. */
static inline void vsw_give_lean(vsw_worker *w, vsw_giving *giving) {
    if (giving->lean.count && giving->ok)
        giving->ok = w->sink->lean(w->sink, &w->burst, &giving->lean);
    giving->lean.count = 0;
}

/* Where the bytes behind the copy's tag begin: behind what source-mac took off and the tag that became state. */
static inline uint32_t vsw_lane_body_at(const vsw_worker *w, const vsw_lane *lane, uint32_t i) {
    return VSW_MACS + w->burst.length[i] - lane->body[i];
}

/* One copy at once, for a sink that wants descriptions. */
static inline void vsw_give_one(vsw_worker *w, const vsw_lane *lane, uint32_t i, uint32_t port, uint32_t tag, vsw_giving *giving) {
    const vsw_burst *b = &w->burst;
    const uint32_t sent = __builtin_bswap32(lane->sent[i]);
    vsw_copy c = {
        .frame = w->frame + i,
        .length = lane->body[i] + tag,
        .port = (uint16_t)port,
        .tags = tag != 0,
        .body_at = (uint8_t)vsw_lane_body_at(w, lane, i),
        .tag = {{.tpid = (uint16_t)(sent >> 16), .tci = (uint16_t)sent}},
    };
    if (giving->ok)
        giving->ok = w->sink->copy(w->sink, &c, b->data[i], b->captured[i], b->time[i]);
}

/* A copy of frame i for `port`; `tag`: bytes of a tag that it is sent with, 4 or 0. */
static inline void vsw_give(vsw_worker *w, const vsw_lane *lane, uint32_t i, uint32_t port, uint32_t tag, vsw_giving *giving) {
    vsw_lean *lean = &giving->lean;
    if (!w->sink->lean) {
        vsw_give_one(w, lane, i, port, tag, giving);
        return;
    }
    if (lean->count == VSW_LEAN)
        vsw_give_lean(w, giving);
    uint32_t k = lean->count++;
    lean->frame[k] = (uint8_t)i;
    lean->port[k] = (uint16_t)port;
    lean->tag[k] = lane->sent[i] & VSW_MASK(tag);
    lean->body_at[k] = (uint8_t)vsw_lane_body_at(w, lane, i);
}

/* The only copy of a frame that the lane has settled, as dialect `ovs` tags it. */
static inline int vsw_give_ovs(vsw_worker *w, const vsw_lane *lane, uint32_t i) {
    const vsw_tables *t = w->tables;
    const vsw_burst *b = &w->burst;
    vsw_copy c;
    vsw_frame f;
    memset(&f, 0, sizeof f);
    f.data = b->data[i];
    f.skip = w->skip[i];
    f.captured = b->captured[i] - f.skip;
    f.length = b->length[i] - f.skip;
    f.port_in = w->port_in[i];
    if (f.length != lane->body[i]) {
        f.read = 1;
        f.tags[0].tpid = vsw_at16(&f, VSW_TYPE_AT);
        f.tags[0].tci = vsw_at16(&f, VSW_TYPE_AT + 2);
    }
    vsw_enter_vlan(t, t->ports + f.port_in, &f);
    vsw_make_copy(t, t->ports + lane->target[i], &f, lane->target[i], &c);
    c.frame = w->frame + i;
    return w->sink->copy(w->sink, &c, b->data[i], b->captured[i], b->time[i]);
}

#endif
