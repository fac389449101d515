/* capture_port.h: a port that writes down what comes in by the port inside, as pcapng, and never waits for whoever reads it.
 *
 * The worker puts whole records into a ring of bytes; a thread of the capture's own writes them to a file or a FIFO.  Records for which the ring has no room
 * are left out and counted.
 *
 * Bounds: `room` bytes.  Thread-safety: head belongs to the port's home, tail to the writing thread.  */
#ifndef VSW_PORTS_CAPTURE_H
#define VSW_PORTS_CAPTURE_H

#include <stdlib.h>
#include <time.h>

#include "vsw/ports/wrap.h"

#define VSW_CAPTURE_ROOM ((uint64_t)8 << 20)   /* a power of two */
/* pcapng's enhanced packet block, in the machine's byte order as the section header says: words of 32 bits, the frame padded to one, the block's size again. */
#define VSW_EPB 6u
#define VSW_EPB_WORDS 7u               /* before the frame */
#define VSW_EPB_HEAD (VSW_EPB_WORDS * 4u)
#define VSW_EPB_AROUND (VSW_EPB_HEAD + 4u)

typedef struct vsw_capture_port {
    vsw_wrap wrap;                     /* first */
    uint8_t *bytes;
    uint64_t head, tail;
    uint64_t frames, missed;
} vsw_capture_port;

static inline void vsw_capture_put(vsw_capture_port *c, uint64_t at, const void *from, uint64_t count) {
    uint64_t begin = at & (VSW_CAPTURE_ROOM - 1), first = VSW_CAPTURE_ROOM - begin < count ? VSW_CAPTURE_ROOM - begin : count;
    memcpy(c->bytes + begin, from, first);
    memcpy(c->bytes, (const uint8_t *)from + first, count - first);
}

/* One frame, as an enhanced packet block of interface 0. */
static inline void vsw_capture_frame(vsw_capture_port *c, const uint8_t *data, uint32_t captured, uint32_t length, uint64_t stamp) {
    const uint32_t padding = (4u - captured % 4u) % 4u, total = VSW_EPB_AROUND + captured + padding;
    const uint32_t head[VSW_EPB_WORDS] = {VSW_EPB, total, 0, (uint32_t)(stamp >> 32), (uint32_t)stamp, captured, length};
    if (total > VSW_CAPTURE_ROOM - (c->head - __atomic_load_n(&c->tail, __ATOMIC_ACQUIRE))) {
        __atomic_fetch_add(&c->missed, 1, __ATOMIC_RELAXED);
        return;
    }
    uint8_t end[8] = {0};
    memcpy(end + padding, &total, sizeof total);
    vsw_capture_put(c, c->head, head, VSW_EPB_HEAD);
    vsw_capture_put(c, c->head + VSW_EPB_HEAD, data, captured);
    vsw_capture_put(c, c->head + VSW_EPB_HEAD + captured, end, padding + sizeof total);
    c->frames++;
    __atomic_store_n(&c->head, c->head + total, __ATOMIC_RELEASE);
}

static inline uint32_t vsw_capture_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_capture_port *c = (vsw_capture_port *)(void *)self;
    uint32_t count = vsw_wrap_receive(self, burst, first, limit, slots);
    if (!count)
        return 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t stamp = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    for (uint32_t i = first; i < first + count; i++)
        vsw_capture_frame(c, burst->data[i], burst->captured[i], burst->length[i], stamp);
    return count;
}

/* The bytes that wait, in one piece; NULL: there are none. */
static inline const uint8_t *vsw_capture_waiting(const vsw_capture_port *c, uint64_t *count) {
    uint64_t head = __atomic_load_n(&c->head, __ATOMIC_ACQUIRE), begin = c->tail & (VSW_CAPTURE_ROOM - 1);
    *count = head - c->tail < VSW_CAPTURE_ROOM - begin ? head - c->tail : VSW_CAPTURE_ROOM - begin;
    return *count ? c->bytes + begin : NULL;
}

static inline void vsw_capture_written(vsw_capture_port *c, uint64_t count) {
    __atomic_store_n(&c->tail, c->tail + count, __ATOMIC_RELEASE);
}

#endif
