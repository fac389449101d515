/* backlog.h: frames that wait for the other side: a bounded FIFO of lengths (32 bits, big-endian) and frames in one piece of memory.
 *
 * It lies as QEMU's stream format wants it, so that a stream can send it as it is, from the middle of a frame if need be.
 * What was sent is counted frame by frame when its last byte has gone.
 *
 * Bounds: `room` bytes.  Thread-safety: under the port's lock.  */
#ifndef VSW_PORTS_BACKLOG_H
#define VSW_PORTS_BACKLOG_H

#include <stdlib.h>

#include "vsw/ports/port.h"

#define VSW_LENGTH 4u                  /* bytes before each frame */
#define VSW_BACKLOG_ROOM ((size_t)512 << 10)

typedef struct vsw_backlog {
    uint8_t *bytes;
    size_t room;
    size_t head;                       /* of the next byte to go */
    size_t frame;                      /* where the frame begins that head is in */
    size_t tail;
} vsw_backlog;

static inline uint32_t vsw_load_length(const uint8_t *from) {
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return __builtin_bswap32(value);
}

static inline int vsw_backlog_init(vsw_backlog *b) {
    b->room = VSW_BACKLOG_ROOM;
    b->bytes = (uint8_t *)malloc(b->room);
    return b->bytes != NULL;
}

static inline int vsw_backlog_empty(const vsw_backlog *b) {
    return b->head == b->tail;
}

/* One more copy; otherwise it is dropped and counted. */
static inline void vsw_backlog_add(vsw_backlog *b, vsw_live *live, const vsw_out *out, uint32_t longest) {
    uint32_t length = vsw_out_length(out, live->shortest);
    if (length > longest) {
        vsw_live_drop(live, VSW_DROP_TX_TOO_LONG, 1);
        return;
    }
    if (b->room - b->tail < VSW_LENGTH + (size_t)length && b->frame) {
        memmove(b->bytes, b->bytes + b->frame, b->tail - b->frame);
        b->tail -= b->frame;
        b->head -= b->frame;
        b->frame = 0;
    }
    if (b->room - b->tail < VSW_LENGTH + (size_t)length) {
        vsw_live_drop(live, VSW_DROP_TX_FULL, 1);
        return;
    }
    uint32_t big = __builtin_bswap32(length);
    memcpy(b->bytes + b->tail, &big, sizeof big);
    b->tail += VSW_LENGTH + vsw_out_write(out, live->shortest, b->bytes + b->tail + VSW_LENGTH);
}

/* The length of the frame at `frame`. */
static inline uint32_t vsw_backlog_length(const vsw_backlog *b) {
    return vsw_load_length(b->bytes + b->frame);
}

/* `count` bytes have gone, lengths included: whole frames among them are sent. */
static inline void vsw_backlog_gone(vsw_backlog *b, vsw_live *live, size_t count) {
    b->head += count;
    while (b->frame < b->tail && b->head - b->frame >= VSW_LENGTH + (size_t)vsw_backlog_length(b)) {
        uint32_t length = vsw_backlog_length(b);
        vsw_live_sent(live, length);
        b->frame += VSW_LENGTH + (size_t)length;
    }
    if (b->frame == b->tail)
        b->head = b->frame = b->tail = 0;
}

/* The first frame will never go. */
static inline void vsw_backlog_skip(vsw_backlog *b, vsw_live *live, uint32_t reason) {
    b->frame += VSW_LENGTH + (size_t)vsw_backlog_length(b);
    b->head = b->frame;
    vsw_live_drop(live, reason, 1);
    if (b->frame == b->tail)
        b->head = b->frame = b->tail = 0;
}

/* None of them will. */
static inline void vsw_backlog_drop(vsw_backlog *b, vsw_live *live, uint32_t reason) {
    while (b->frame < b->tail)
        vsw_backlog_skip(b, live, reason);
    live->blocked = 0;
}

#endif
