/* fates.h: a sink that keeps of each frame what is needed to tell whether two runs did the same with it.
 *
 * A part of the frames at a time: whoever reads the rows has them cleared for the next part, so that they stay in the cache.
 *
 * Per frame two hashes and a count: of the ports that copies left by, of the copies with all their bytes, and how many there were.  A port counts by a number
 * that stands for its name, so that runs through different modules can be compared.  Two copies of one frame with the same length have the same bytes
 * if those behind the addresses are the same as far as tags can reach: what follows is the frame's own, at the same shift.
 *
 * Thread-safety: fates belong to one thread at a time.  */
#ifndef VSW_REPLAY_FATES_H
#define VSW_REPLAY_FATES_H

#include <string.h>

#include "vsw/switch/copies.h"

#define VSW_FATE_BYTES 16u         /* behind the addresses: as many as the tags of a copy have, and the type that follows */

_Static_assert(VSW_MAX_TAGS * VSW_TAG < VSW_FATE_BYTES, "tags are within the bytes that count");

typedef struct vsw_fates_row {
    uint64_t ports;
    uint64_t copies;
    uint32_t count;
    uint32_t reserved;
} vsw_fates_row;

typedef struct vsw_fates {
    vsw_sink sink;                 /* first: fates are a sink */
    vsw_fates_row *rows;
    uint64_t first;                /* the frame of the first row */
    uint64_t room;
    const uint64_t *names;         /* [ports] */
} vsw_fates;

/* A factor of 0, which frames may be made for, leaves the other one. */
static inline uint64_t vsw_fate_mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)(a ^ UINT64_C(0x9E3779B97F4A7C15)) * (b ^ UINT64_C(0xA0761D6478BD642F));
    return (uint64_t)product ^ (uint64_t)(product >> 64) ^ a ^ (b << 32 | b >> 32);
}

static inline int vsw_fates_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) {
    vsw_fates *f = (vsw_fates *)sink;
    unsigned __int128 bytes = 0;       /* tags, then the frame's own */
    (void)time;
    if (copy->frame - f->first >= f->room) {
        f->sink.failed = 1;
        return 0;
    }
    uint32_t tags = copy->tags * VSW_TAG, rest = captured > copy->body_at ? captured - copy->body_at : 0;
    if (__builtin_expect(rest >= VSW_FATE_BYTES, 1))
        memcpy(&bytes, data + copy->body_at, VSW_FATE_BYTES);
    else
        memcpy(&bytes, data + copy->body_at, rest);
    bytes <<= 8 * tags;
    for (uint32_t i = 0; i < copy->tags; i++) {
        uint32_t tag = __builtin_bswap32((uint32_t)copy->tag[i].tpid << 16 | copy->tag[i].tci);
        bytes |= (unsigned __int128)tag << 8 * i * VSW_TAG;
    }
    uint64_t words[2] = {(uint64_t)bytes, (uint64_t)(bytes >> 64)};
    vsw_fates_row *row = f->rows + (copy->frame - f->first);
    uint64_t name = f->names[copy->port];
    uint64_t lengths = (uint64_t)copy->length << 32 | (tags + rest + copy->pad);
    /* Sums: runs may have their ports in different orders. */
    row->ports += name;
    row->copies += vsw_fate_mix(vsw_fate_mix(words[0], words[1] ^ name), lengths ^ (uint64_t)copy->pad << 56);
    row->count++;
    return 1;
}

#endif
