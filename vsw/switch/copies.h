/* copies.h: a sink that keeps the descriptions of all copies, and the bytes of one copy put together.  */
#ifndef VSW_SWITCH_COPIES_H
#define VSW_SWITCH_COPIES_H

#include <stdlib.h>
#include <string.h>

#include "vsw/datapath/state.h"

typedef struct vsw_recorder {
    vsw_sink sink;            /* first: a recorder is a sink */
    vsw_copy *copies;
    uint64_t count, room;
} vsw_recorder;

static inline int vsw_recorder_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) {
    vsw_recorder *r = (vsw_recorder *)sink;
    (void)data, (void)captured, (void)time;
    if (r->count == r->room) {
        uint64_t room = r->room ? r->room * 2 : 1024;
        vsw_copy *copies = (vsw_copy *)realloc(r->copies, room * sizeof *copies);
        if (!copies) {
            r->sink.failed = 1;
            return 0;
        }
        r->copies = copies;
        r->room = room;
    }
    r->copies[r->count++] = *copy;
    return 1;
}

/* The addresses and the tags that a copy begins with: at most VSW_HEAD bytes.  Returns how many; fewer where the capture was cut within the addresses. */
#define VSW_HEAD (VSW_MACS + VSW_MAX_TAGS * VSW_TAG)

static inline uint32_t vsw_copy_head(const vsw_copy *copy, const uint8_t *data, uint8_t *head) {
    memcpy(head, data, VSW_MACS);
    for (uint32_t i = 0; i < copy->tags; i++) {
        uint32_t tag = __builtin_bswap32((uint32_t)copy->tag[i].tpid << 16 | copy->tag[i].tci);
        memcpy(head + VSW_MACS + i * VSW_TAG, &tag, sizeof tag);
    }
    return VSW_MACS + copy->tags * VSW_TAG;
}

#endif
