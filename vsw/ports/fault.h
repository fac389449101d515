/* fault.h: a port that spoils what goes through it: loses, repeats, delays, reorders and corrupts frames, as a seed says.
 *
 * Frames are copied when they come and wait in a heap, ordered by the time at which they may go on and by their coming.  A frame that is reordered waits
 * `reorder` longer than it would.  Both directions have dice of their own, so that what happens to one does not depend on the other's traffic.
 *
 * Bounds: VSW_FAULT_WAITING frames in each direction; more are dropped and counted.  */
#ifndef VSW_PORTS_FAULT_H
#define VSW_PORTS_FAULT_H

#include <stdlib.h>

#include "vsw/ports/wrap.h"

#define VSW_FAULT_WAITING 65536u
#define VSW_CERTAIN 4294967296.0       /* a probability of 1 */

/* Probabilities in units of 2^-32, times in nanoseconds. */
typedef struct vsw_faults {
    uint64_t loss, duplicate, corrupt, reorder;
    int64_t delay, jitter, reorder_by;
} vsw_faults;

typedef struct vsw_waiting {
    int64_t due;
    uint64_t order;
    int64_t time;
    uint32_t length;
    uint8_t *frame;                    /* `length` bytes, with VSW_SLACK on either side */
} vsw_waiting;

typedef struct vsw_fault_way {
    vsw_waiting *heap;
    uint32_t count, room;
    uint64_t order, dice;
} vsw_fault_way;

typedef struct vsw_fault {
    vsw_wrap wrap;                     /* first */
    vsw_faults faults;
    vsw_fault_way in, out;
    vsw_burst burst;                   /* what the port inside received */
    uint8_t *lent[VSW_BURST];          /* frames in the caller's burst */
    uint32_t lent_count;
} vsw_fault;

static inline uint32_t vsw_fault_roll(vsw_fault_way *way) {
    way->dice += 0x9E3779B97F4A7C15ull;
    uint64_t z = way->dice;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static inline int vsw_fault_before(const vsw_waiting *a, const vsw_waiting *b) {
    return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static inline int vsw_fault_push(vsw_fault_way *way, vsw_waiting one) {
    if (way->count == way->room) {
        uint32_t room = way->room ? way->room * 2 : 64;
        vsw_waiting *heap = way->room < VSW_FAULT_WAITING ? (vsw_waiting *)realloc(way->heap, room * sizeof *heap) : NULL;
        if (!heap)
            return 0;
        way->heap = heap;
        way->room = room;
    }
    uint32_t i = way->count++;
    for (; i && vsw_fault_before(&one, way->heap + (i - 1) / 2); i = (i - 1) / 2)
        way->heap[i] = way->heap[(i - 1) / 2];
    way->heap[i] = one;
    return 1;
}

static inline vsw_waiting vsw_fault_pop(vsw_fault_way *way) {
    vsw_waiting first = way->heap[0], last = way->heap[--way->count];
    uint32_t i = 0, child;
    for (; (child = 2 * i + 1) < way->count; i = child) {
        if (child + 1 < way->count && vsw_fault_before(way->heap + child + 1, way->heap + child))
            child++;
        if (!vsw_fault_before(way->heap + child, &last))
            break;
        way->heap[i] = way->heap[child];
    }
    way->heap[i] = last;
    return first;
}

/* Memory for a frame of `length` bytes that is to wait, or NULL. */
static inline uint8_t *vsw_fault_room(uint32_t length) {
    uint8_t *memory = (uint8_t *)malloc((size_t)length + 2 * VSW_SLACK);
    return memory ? memory + VSW_SLACK : NULL;
}

static inline void vsw_fault_free(uint8_t *frame) {
    if (frame)
        free(frame - VSW_SLACK);
}

/* One frame, which lies in memory of its own, meets its fate. */
static inline void vsw_fault_cast(vsw_fault *f, vsw_fault_way *way, uint8_t *frame, uint32_t length, uint32_t full) {
    const vsw_faults *c = &f->faults;
    int64_t now = f->wrap.live.now;
    if (vsw_fault_roll(way) < c->loss) {
        vsw_live_drop(&f->wrap.live, VSW_DROP_INJECTED, 1);
        vsw_fault_free(frame);
        return;
    }
    if (vsw_fault_roll(way) < c->corrupt && length) {
        uint32_t bit = vsw_fault_roll(way) % (length * 8);
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (uint32_t copies = 1 + (vsw_fault_roll(way) < c->duplicate); copies; copies--) {
        vsw_waiting one = {now + c->delay, way->order++, now, length, frame};
        if (c->jitter)
            one.due += (int64_t)((double)vsw_fault_roll(way) / VSW_CERTAIN * (double)c->jitter);
        if (vsw_fault_roll(way) < c->reorder)
            one.due += c->reorder_by;
        if (copies > 1) {
            one.frame = vsw_fault_room(length);
            if (!one.frame)
                continue;
            memcpy(one.frame, frame, length);
        }
        if (!vsw_fault_push(way, one)) {
            vsw_live_drop(&f->wrap.live, full, 1);
            vsw_fault_free(one.frame);
        }
    }
}

/* When the next frame of either direction may go on. */
static inline void vsw_fault_due(vsw_fault *f) {
    int64_t in = f->in.count ? f->in.heap[0].due : VSW_NEVER, out = f->out.count ? f->out.heap[0].due : VSW_NEVER;
    f->wrap.live.due = in < out ? in : out;
}

static inline uint32_t vsw_fault_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_fault *f = (vsw_fault *)(void *)self;
    uint32_t got, count = 0;
    pthread_mutex_lock(&self->lock);   /* `due` looks at both directions */
    /* into rows from `first` on, so that the slots are those that belong to this call */
    f->burst.roomy = 1;
    got = vsw_wrap_receive(self, &f->burst, first, limit, slots);
    for (uint32_t i = first; i < first + got; i++) {
        uint8_t *frame = vsw_fault_room(f->burst.captured[i]);
        if (!frame) {
            vsw_live_drop(self, VSW_DROP_RX_LOST, 1);
            continue;
        }
        memcpy(frame, f->burst.data[i], f->burst.captured[i]);
        vsw_fault_cast(f, &f->in, frame, f->burst.captured[i], VSW_DROP_RX_LOST);
    }
    vsw_wrap_release(self);
    while (count < limit && f->lent_count < VSW_BURST && f->in.count && f->in.heap[0].due <= self->now) {
        vsw_waiting one = vsw_fault_pop(&f->in);
        f->lent[f->lent_count++] = one.frame;
        burst->data[first + count] = one.frame;
        burst->captured[first + count] = burst->length[first + count] = one.length;
        count++;
    }
    vsw_fault_due(f);
    pthread_mutex_unlock(&self->lock);
    return count;
}

static inline void vsw_fault_release(vsw_live *self) {
    vsw_fault *f = (vsw_fault *)(void *)self;
    while (f->lent_count)
        vsw_fault_free(f->lent[--f->lent_count]);
}

static inline uint32_t vsw_fault_arm(vsw_live *self) {
    vsw_fault *f = (vsw_fault *)(void *)self;
    return vsw_wrap_arm(self) || (f->in.count && f->in.heap[0].due <= self->now);
}

static inline void vsw_fault_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    vsw_fault *f = (vsw_fault *)(void *)self;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *frame = vsw_fault_room(vsw_out_length(out[i], 0));
        if (!frame) {
            vsw_live_drop(self, VSW_DROP_TX_FULL, 1);
            continue;
        }
        vsw_fault_cast(f, &f->out, frame, vsw_out_write(out[i], 0, frame), VSW_DROP_TX_FULL);
    }
    int sent = 0;
    while (f->out.count && f->out.heap[0].due <= self->now) {
        vsw_waiting one = vsw_fault_pop(&f->out);
        vsw_out plain = {.copy = {.body_at = VSW_MACS, .length = one.length}, .data = one.frame, .captured = one.length, .time = one.time};
        const vsw_out *pointer = &plain;
        vsw_wrap_transmit(self, &pointer, 1);
        vsw_fault_free(one.frame);
        sent = 1;
    }
    if (!sent)
        vsw_wrap_transmit(self, NULL, 0);
    vsw_fault_due(f);
}

/* The port closes: what waits to be sent is lost, and counted. */
static inline void vsw_fault_end(vsw_fault *f) {
    vsw_live_drop(&f->wrap.live, VSW_DROP_INJECTED, f->out.count + f->in.count);
    while (f->in.count)
        vsw_fault_free(f->in.heap[--f->in.count].frame);
    while (f->out.count)
        vsw_fault_free(f->out.heap[--f->out.count].frame);
    vsw_fault_release(&f->wrap.live);
    free(f->in.heap);
    free(f->out.heap);
    f->in.heap = f->out.heap = NULL;
    f->in.room = f->out.room = 0;
}

#endif
