/* trace.h: a port that remembers the last frames that went through the port inside, in both directions.
 *
 * Thread-safety: the port's home writes what came in, whoever sends (under the lock) what went out; each direction has a ring of its own.  Readers look
 * while the loop is quiet.  */
#ifndef VSW_PORTS_TRACE_H
#define VSW_PORTS_TRACE_H

#include "vsw/ports/wrap.h"

#define VSW_TRACE_KEPT 256u            /* frames of each direction; a power of two */
#define VSW_TRACE_BYTES 128u           /* of each frame */

typedef struct vsw_traced {
    int64_t time;                      /* ns of the monotonic clock */
    uint32_t length, bytes;
    uint8_t data[VSW_TRACE_BYTES];
} vsw_traced;

typedef struct vsw_trace {
    vsw_wrap wrap;                     /* first */
    uint64_t count[2];                 /* in, out */
    vsw_traced kept[2][VSW_TRACE_KEPT];
} vsw_trace;

static inline vsw_traced *vsw_trace_next(vsw_trace *t, uint32_t way, uint32_t length) {
    vsw_traced *one = &t->kept[way][t->count[way]++ & (VSW_TRACE_KEPT - 1)];
    one->time = t->wrap.live.now;
    one->length = length;
    return one;
}

static inline uint32_t vsw_trace_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_trace *t = (vsw_trace *)(void *)self;
    uint32_t count = vsw_wrap_receive(self, burst, first, limit, slots);
    for (uint32_t i = first; i < first + count; i++) {
        vsw_traced *one = vsw_trace_next(t, 0, burst->length[i]);
        one->bytes = burst->captured[i] < VSW_TRACE_BYTES ? burst->captured[i] : VSW_TRACE_BYTES;
        memcpy(one->data, burst->data[i], one->bytes);
    }
    return count;
}

static inline void vsw_trace_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    vsw_trace *t = (vsw_trace *)(void *)self;
    for (uint32_t i = 0; i < count; i++) {
        vsw_pieces p;
        vsw_traced *one = vsw_trace_next(t, 1, vsw_out_pieces(out[i], self->shortest, &p));
        uint32_t body = VSW_TRACE_BYTES - p.head_bytes < p.body_bytes ? VSW_TRACE_BYTES - p.head_bytes : p.body_bytes;
        memcpy(one->data, p.head, p.head_bytes);
        memcpy(one->data + p.head_bytes, p.body, body);
        one->bytes = p.head_bytes + body;
    }
    vsw_wrap_transmit(self, out, count);
}

#endif
