/* fast_look.h: the fast lane's first look at a burst: headers, look-ups in tables of addresses, ports by the source address.
 *
 * Included once for each instruction set, as fast_lane.h says.  */

#ifndef VSW_STAGE_FAST_LOOK_H
#define VSW_STAGE_FAST_LOOK_H

#include "vsw/datapath/stages/fast_vectors.h"

/* Headers; VID and tag bytes, from type and TCI; and what is odd about the frame by itself. */
static inline void VSW_LANE(headers)(const vsw_module *m, const vsw_burst *restrict b, vsw_lane *restrict lane, uint32_t count) {
    const uint32_t tpid0 = m->tpid[0], tpid1 = m->tpid[1], tpid2 = m->tpid[2];
    VSW_UNROLL
    for (uint32_t i = 0; i < count; i++)
        memcpy(lane->head[i], b->data[i], sizeof lane->head[i]);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t dst = lane->head[i][0], middle = lane->head[i][1], end = lane->head[i][2], word = lane->head[i][3];
        uint32_t type = word & 0xFFFF, oui = dst & VSW_OUI;
        uint32_t tagged = (type == tpid0) | (type == tpid1) | (type == tpid2) ? UINT32_MAX : 0;
        uint32_t odd = (type & 0xFF) < VSW_LLC_BELOW ? 1 : 0;
        odd |= b->captured[i] < VSW_FAST_CAPTURED ? 1 : 0;
        odd |= (middle >> 16 | end) == 0 ? 1 : 0;
        odd |= oui == VSW_RESERVED_OUI ? 1 : 0;
        odd |= oui == VSW_RESERVED_GROUPS ? 1 : 0;
        odd |= oui == VSW_CISCO_GROUPS ? 1 : 0;
        lane->odd[i] = odd | (middle >> 16 & 1) | (dst & 1) << 1;
        lane->vid[i] = (word >> 24 | (word >> 8 & VSW_VID_HIGH)) & tagged;
        lane->tag[i] = tagged & VSW_TAG;
    }
}

/* Buckets of all keys, asked for. */
static inline void VSW_LANE(ask)(const vsw_fdb *fdb, vsw_lane *restrict lane, uint32_t count) {
    const uint64_t multiplier = fdb->multiplier;
    const uint32_t shift = fdb->shift;
    const vsw_fdb_bucket *buckets = fdb->buckets;
    VSW_UNROLL
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bucket = (lane->key[i] * multiplier) >> shift;
        __builtin_prefetch(buckets + bucket);
        lane->bucket[i] = (uint32_t)bucket;
    }
}

/* The value of frame i's key; below VSW_FDB_STATIC: not in its bucket, and 0: nowhere. */
static inline uint32_t VSW_LANE(answer)(const vsw_fdb_bucket *buckets, const vsw_lane *lane, uint32_t i) {
    const vsw_fdb_bucket *bucket = buckets + lane->bucket[i];
    uint32_t slot = (uint32_t)__builtin_ctz(VSW_LANE(match)(bucket, lane->key[i]) | 1u << VSW_FDB_SLOTS);
    uint16_t value;
    memcpy(&value, (const uint8_t *)bucket + offsetof(vsw_fdb_bucket, value) + sizeof value * slot, sizeof value);
    return value;
}

/* Ports by the source address (source_mac.h), and whose tag comes off; what is unsure is found out frame by frame. */
static inline void VSW_LANE(owners)(vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    const uint32_t unknown = vsw_bounded(w->tables->module.default_port);
    const vsw_fdb_bucket *buckets = w->owners->buckets;
    const vsw_hot_in *hot = w->tables->hot_in;
    const uint32_t all = w->owners->any_count ? 1 : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t low = lane->head[i][1] >> 16 | lane->head[i][2] << 16, high = lane->head[i][2] >> 16;
        lane->key[i] = (uint64_t)(high | lane->vid[i] << 16 | VSW_KEY_HIGH) << 32 | low;
    }
    VSW_LANE(ask)(w->owners, lane, count);
    VSW_UNROLL
    for (uint32_t i = 0; i < count; i++) {
        uint32_t value = VSW_LANE(answer)(buckets, lane, i);
        uint32_t port = value & VSW_FDB_STATIC ? value & VSW_FDB_PORT : unknown;
        lane->value[i] = value;
        w->port_in[i] = (uint16_t)port;
        lane->in[i] = hot[port];
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t value = lane->value[i], unsure = all | (lane->odd[i] & VSW_ODD) | (value - 1 < VSW_FDB_STATIC - 1 ? 1 : 0);
        uint32_t strips = lane->in[i].word >> VSW_HOT_STRIPS & (value >= VSW_FDB_STATIC ? 1 : 0) & (lane->vid[i] ? 1 : 0);
        lane->check[i] = (uint8_t)unsure;
        w->skip[i] = (uint8_t)(strips * VSW_TAG);
        lane->honest[i] = value >> VSW_FDB_HONEST_AT & 1;
    }
    vsw_set unsure;
    VSW_LANE(pick)(&unsure, lane->check, 1, count);
    VSW_EACH(i, unsure) {
        w->port_in[i] = vsw_bounded(vsw_source_port(w, w->burst.data[i], w->burst.captured[i], w->burst.length[i], &w->skip[i]));
        lane->in[i] = hot[w->port_in[i]];
        lane->honest[i] = 0;
    }
}

/* Ports that were found one by one, some by source-mac. */
static inline void VSW_LANE(found)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    memset(lane->honest, 0, sizeof lane->honest);
    for (uint32_t i = 0; i < count; i++)
        lane->in[i] = w->tables->hot_in[w->port_in[i]];
}

/* Frames whose tag source-mac took off: they go on as if they had come without it. */
static inline void VSW_LANE(skips)(vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    const vsw_tables *t = w->tables;
    vsw_set skipped;
    VSW_LANE(pick)(&skipped, w->skip, VSW_TAG, count);
    VSW_EACH(i, skipped) {
        /* behind the tag there is another type; if that is a tag, or a length, the exact path reads on */
        uint32_t inner = vsw_load16(w->burst.data[i] + VSW_TYPE_AT + VSW_TAG);
        lane->odd[i] |= (inner & 0xFF) < VSW_LLC_BELOW || vsw_is_tpid(t, (uint16_t)__builtin_bswap16((uint16_t)inner)) ||
                        w->burst.captured[i] < VSW_FAST_CAPTURED + VSW_TAG;
        lane->vid[i] = lane->tag[i] = 0;
        w->counters.normalised++;
    }
}

#endif
