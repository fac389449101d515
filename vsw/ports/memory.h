/* memory.h: two ports that are each other's wire: what one sends the other receives, through memory alone.
 *
 * Each direction is a ring of bytes with many senders (under the sending port's lock) and one receiver.  A record is a length and the frame, never cut in
 * two at the ring's end.  The receiver reads frames where they lie and moves the tail when it gives them back.
 *
 * Notification: a receiver that is about to sleep says so, and looks once more; the next sender that sees it writes to its eventfd.  The fences make
 * sure that one of the two sees the other.
 *
 * Bounds: `frames` frames and `room` bytes in each direction.  Thread-safety: as port.h says; a ring's head belongs to senders, its tail to the receiver.  */
#ifndef VSW_PORTS_MEMORY_H
#define VSW_PORTS_MEMORY_H

#include <stdlib.h>
#include <unistd.h>

#include "vsw/ports/port.h"

#define VSW_RECORD 8u                    /* bytes before a frame: its length */
#define VSW_RECORD_WRAPS UINT32_MAX      /* as a length: the next record is at the ring's begin */

typedef struct vsw_ring {
    uint8_t *bytes;                      /* `room` (a power of two), with VSW_SLACK on either side */
    uint64_t room, frames;
    uint64_t head, sent;                 /* bytes and frames put in; written by senders */
    uint64_t read, taken;                /* bytes and frames handed to the receiver's burst */
    uint64_t tail, freed;                /* bytes and frames given back; written by the receiver */
    uint32_t sleeping;                   /* the receiver wants a word on its eventfd */
} vsw_ring;

/* What both ends share; the last to close frees it. */
typedef struct vsw_wire {
    vsw_ring ring[2];                    /* ring[i] is what end i receives */
    int event[2];
    uint32_t open;
} vsw_wire;

typedef struct vsw_memory {
    vsw_live live;                       /* first */
    vsw_wire *wire;
    uint32_t end;
} vsw_memory;

static inline vsw_wire *vsw_wire_new(uint64_t room, uint64_t frames) {
    vsw_wire *wire = (vsw_wire *)calloc(1, sizeof *wire);
    for (uint32_t i = 0; wire && i < 2; i++) {
        wire->event[i] = -1;
        wire->ring[i].room = room;
        wire->ring[i].frames = frames;
        wire->ring[i].bytes = (uint8_t *)malloc(room + 2 * VSW_SLACK);
        if (!wire->ring[i].bytes) {
            free(wire->ring[0].bytes);
            free(wire);
            return NULL;
        }
    }
    return wire;
}

/* One end has closed; the last one takes everything with it. */
static inline void vsw_wire_leave(vsw_wire *wire) {
    if (--wire->open)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        close(wire->event[i]);
        free(wire->ring[i].bytes);
    }
    free(wire);
}

static inline uint64_t vsw_record_size(uint32_t length) {
    return VSW_RECORD + ((uint64_t)length + 7) / 8 * 8;
}

static inline uint8_t *vsw_ring_at(const vsw_ring *r, uint64_t position) {
    return r->bytes + VSW_SLACK + (position & (r->room - 1));
}

/* Where a frame of `length` bytes may be written, or NULL: there is no room.  The position of its record goes to `*at`. */
static inline uint8_t *vsw_ring_room(vsw_ring *r, uint32_t length, uint64_t *at) {
    uint64_t size = vsw_record_size(length), left = r->room - (r->head & (r->room - 1)), skip = left < size ? left : 0;
    if (size > r->room || r->sent - __atomic_load_n(&r->freed, __ATOMIC_ACQUIRE) >= r->frames ||
        r->head + skip + size - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) > r->room)
        return NULL;
    if (skip >= VSW_RECORD)
        memcpy(vsw_ring_at(r, r->head), &(uint32_t){VSW_RECORD_WRAPS}, sizeof(uint32_t));
    *at = r->head + skip;
    memcpy(vsw_ring_at(r, *at), &length, sizeof length);
    return vsw_ring_at(r, *at) + VSW_RECORD;
}

static inline void vsw_memory_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    vsw_memory *m = (vsw_memory *)self;
    if (!self->link) {
        vsw_live_drop(self, VSW_DROP_TX_NO_PEER, count);
        return;
    }
    vsw_ring *r = m->wire->ring + !m->end;
    uint64_t at, sent = r->sent;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = vsw_out_length(out[i], 0);
        uint8_t *to = vsw_ring_room(r, length, &at);
        if (!to) {
            vsw_live_drop(self, vsw_record_size(length) > r->room ? VSW_DROP_TX_TOO_LONG : VSW_DROP_TX_FULL, 1);
            continue;
        }
        vsw_out_write(out[i], 0, to);
        vsw_live_sent(self, length);
        r->sent++;
        __atomic_store_n(&r->head, at + vsw_record_size(length), __ATOMIC_RELEASE);
    }
    if (r->sent == sent)
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&r->sleeping, __ATOMIC_RELAXED) && __atomic_exchange_n(&r->sleeping, 0, __ATOMIC_SEQ_CST)) {
        ssize_t put = write(m->wire->event[!m->end], &(uint64_t){1}, sizeof(uint64_t));
        (void)put;                       /* it can only be full, and then it is readable */
    }
}

static inline uint32_t vsw_memory_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_memory *m = (vsw_memory *)self;
    vsw_ring *r = m->wire->ring + m->end;
    uint64_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
    uint32_t count = 0;
    (void)slots;
    while (count < limit && r->read < head) {
        uint64_t left = r->room - (r->read & (r->room - 1));
        uint32_t length = VSW_RECORD_WRAPS;
        if (left >= VSW_RECORD)
            memcpy(&length, vsw_ring_at(r, r->read), sizeof length);
        if (length == VSW_RECORD_WRAPS) {
            r->read += left;
            continue;
        }
        vsw_live_row(self, burst, first + count, vsw_ring_at(r, r->read) + VSW_RECORD, length, length);
        r->read += vsw_record_size(length);
        r->taken++;
        count++;
    }
    return count;
}

static inline void vsw_memory_release(vsw_live *self) {
    vsw_memory *m = (vsw_memory *)self;
    vsw_ring *r = m->wire->ring + m->end;
    __atomic_store_n(&r->freed, r->taken, __ATOMIC_RELEASE);
    __atomic_store_n(&r->tail, r->read, __ATOMIC_RELEASE);
}

static inline uint32_t vsw_memory_arm(vsw_live *self) {
    vsw_memory *m = (vsw_memory *)self;
    vsw_ring *r = m->wire->ring + m->end;
    __atomic_store_n(&r->sleeping, 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) != r->read;
}

static inline void vsw_memory_disarm(vsw_live *self) {
    vsw_memory *m = (vsw_memory *)self;
    uint64_t count;
    __atomic_store_n(&m->wire->ring[m->end].sleeping, 0, __ATOMIC_SEQ_CST);
    ssize_t got = read(m->wire->event[m->end], &count, sizeof count);
    (void)got;                           /* nothing to read is fine */
}

#endif
