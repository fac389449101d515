/* entry_state.h: what an Entry is inside: a source of the caller's frames, rows for a burst of them, and a sink that hands copies out.  */
#ifndef VSW_SWITCH_ENTRY_STATE_H
#define VSW_SWITCH_ENTRY_STATE_H

#include "vsw/datapath/burst.h"
#include "vsw/switch/copies.h"
#include "vsw/switch/entry.h"

typedef struct vsw_entry {
    vsw_source source;                 /* first: an entry is a source ... */
    vsw_sink sink;                     /* ... and has a sink */
    vsw_worker *worker;                /* NULL: closed */
    int (*run)(vsw_worker *w, vsw_source *s, const uint32_t *closed, uint64_t limit, uint32_t burst, int64_t until);
    const uint32_t *closed;
    const vsw_offer *offers;           /* of this burst */
    uint32_t count;
    uint32_t roomy;
    uint32_t first;                    /* index of the burst's first frame among all that were offered */
    uint64_t frame;                    /* the datapath's number of the burst's first frame */
    vsw_leave leave;
    void *context;
    uint16_t ports[VSW_BURST];
    uint8_t verdict[VSW_BURST], reason[VSW_BURST], normalised[VSW_BURST];
    uint16_t port_in[VSW_BURST], vlan[VSW_BURST];
    int16_t egress_port[VSW_BURST];
} vsw_entry;

static inline uint32_t vsw_entry_next(vsw_source *source, vsw_burst *burst, uint32_t limit) {
    vsw_entry *e = (vsw_entry *)source;
    uint32_t count = e->count < limit ? e->count : limit;
    for (uint32_t i = 0; i < count; i++) {
        const vsw_offer *offer = e->offers + i;
        burst->data[i] = offer->data;
        burst->captured[i] = offer->captured;
        burst->length[i] = offer->length < offer->captured ? offer->captured : offer->length;
        burst->time[i] = offer->time;
    }
    burst->roomy = e->roomy;
    e->offers += count;
    e->count -= count;
    return count;
}

static inline int vsw_entry_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) {
    vsw_entry *e = (vsw_entry *)((char *)sink - offsetof(vsw_entry, sink));
    uint8_t head[VSW_HEAD];
    (void)time;
    vsw_leaving leaving = {
        .offer = e->first + (uint32_t)(copy->frame - e->frame),
        .port = copy->port,
        .head_bytes = (uint16_t)vsw_copy_head(copy, data, head),
        .head = head,
        .body = data + copy->body_at,
        .body_bytes = captured > copy->body_at ? captured - copy->body_at : 0,
        .pad = copy->pad,
        .length = copy->length,
    };
    return e->leave(e->context, &leaving);
}

/* The next `count` frames (at most VSW_BURST) are these. */
static inline void vsw_entry_point(vsw_entry *e, const vsw_offer *offers, uint32_t first, uint32_t count, uint64_t frame) {
    e->offers = offers + first;
    e->count = count;
    e->first = first;
    e->frame = frame;
    for (uint32_t i = 0; i < count; i++)
        e->ports[i] = e->offers[i].port;
}

static inline void vsw_entry_fates(const vsw_entry *e, vsw_fate *fates, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        fates[i] = (vsw_fate){.verdict = e->verdict[i], .reason = e->reason[i], .vlan = e->vlan[i], .egress_port = e->egress_port[i]};
}

#endif
