/* ring.h: a split virtqueue, from the device's side (VIRTIO 1.2, section 2.7).
 *
 * The driver puts chains of buffers into the ring of available heads; the device takes them, reads and writes the buffers, and puts the heads
 * into the used ring.  What is in the buffers is the business of the files above: nothing here knows of networks or disks.
 *
 *   vsw_ring_waiting()   how many chains wait              vsw_chain_take()     one chain as checked segments
 *   vsw_chain_read(), vsw_chain_write()                         copy what is in its segments
 *   vsw_used_put()       one chain done                    vsw_used_publish()   show the driver what is done; then vsw_used_call()
 *   vsw_ring_sleep()     ask for a kick before sleeping    vsw_ring_wake()      kicks are not needed while polling
 *
 * A guest may write anything at any time.  Indices, heads and descriptors are copied once and then checked; a chain has at most VSW_CHAIN segments;
 * whatever does not fit sets `fault`, and nothing of that ring is touched until it is set up anew.
 *
 * Thread-safety: a ring belongs to one thread at a time.  The control side changes it only behind its gate: the owner goes through
 * vsw_ring_enter() before it touches the ring or the memory behind it and through vsw_ring_leave() afterwards, and vsw_ring_shut() returns when it
 * is out.  So memory is unmapped only when no worker can hold an address in it.  */
#ifndef VSW_VIRTIO_RING_H
#define VSW_VIRTIO_RING_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "vsw/virtio/memory.h"

#define VSW_CHAIN 1024                 /* segments of one chain */
#define VSW_RING_SIZE_MAX 32768
#define VSW_RING_TURNS 1000            /* looks at the gate before napping between them */
#define VSW_RING_NAP 100               /* microseconds */

enum { VSW_DESC_NEXT = 1, VSW_DESC_WRITE = 2, VSW_DESC_INDIRECT = 4 };
enum { VSW_AVAIL_NO_INTERRUPT = 1, VSW_USED_NO_NOTIFY = 1 };

/* Why a ring stopped; the sentences are in faults.py, in this order. */
enum {
    VSW_RING_WELL = 0,
    VSW_RING_RUNAWAY,                  /* more chains available than the ring has entries */
    VSW_RING_HEAD,                     /* a head beyond the descriptor table */
    VSW_RING_NEXT,                     /* a chain leads beyond the descriptor table */
    VSW_RING_LONG,                     /* more than VSW_CHAIN segments, or a loop */
    VSW_RING_INDIRECT,                 /* an indirect table that is nested, not negotiated, chained on, or of an impossible length */
    VSW_RING_ADDRESS,                  /* a buffer or indirect table outside the guest's memory */
    VSW_RING_ORDER,                    /* a buffer to read after one to write */
    VSW_RING_SHAPE,                    /* buffers that the device can't use: no header, nothing to write to */
    VSW_RING_MEMORY,                   /* the file behind the guest's memory was cut short */
};

typedef struct vsw_descriptor {
    uint64_t address;                  /* guest-physical */
    uint32_t length;                   /* bytes */
    uint16_t flags;
    uint16_t next;
} vsw_descriptor;

typedef struct vsw_available {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[];                   /* size heads, then the used_event index */
} vsw_available;

typedef struct vsw_used_entry {
    uint32_t head;
    uint32_t length;                   /* bytes written into the chain's buffers */
} vsw_used_entry;

typedef struct vsw_used {
    uint16_t flags;
    uint16_t index;
    vsw_used_entry ring[];             /* size entries, then the avail_event index */
} vsw_used;

_Static_assert(sizeof(vsw_descriptor) == 16, "a descriptor has 16 bytes");
_Static_assert(sizeof(vsw_used_entry) == 8, "a used entry has 8 bytes");

typedef struct vsw_ring {
    /* What the owner reads and writes. */
    const vsw_memory *memory;
    const uint8_t *descriptors;
    const vsw_available *available;
    vsw_used *used;
    uint32_t size;                     /* entries, a power of two */
    uint16_t next_available;           /* the next head to take */
    uint16_t next_used;                /* the next used entry to write; published up to here */
    uint16_t called_at;                /* next_used when the driver was last called */
    uint8_t event_idx;                 /* negotiated features */
    uint8_t indirect;
    uint8_t polling;                   /* kicks are switched off */
    uint8_t fault;
    int call;                          /* eventfd, -1: the driver polls */
    int attention;                     /* eventfd of the control side, which is told of a fault; -1: nobody is */
    uint64_t calls;                    /* written to it so far */
    uint64_t done;                     /* chains published so far */
    /* The gate.  A cache line of its own: the control side reads one and writes the other. */
    uint32_t inside __attribute__((aligned(64)));
    uint32_t open;
} vsw_ring;

typedef struct vsw_segment {
    uint8_t *data;
    uint32_t length;                   /* bytes, not 0 */
} vsw_segment;

typedef struct vsw_chain {
    uint32_t head;
    uint32_t count;                    /* segments */
    uint32_t readable;                 /* of these the first so many are the driver's to the device; the rest is to be written */
    uint64_t readable_bytes;
    uint64_t writable_bytes;
    vsw_segment segment[VSW_CHAIN];
} vsw_chain;

/* ---- the gate */

/* True if the ring runs and is the caller's until vsw_ring_leave(). */
static inline int vsw_ring_enter(vsw_ring *ring) {
    __atomic_store_n(&ring->inside, 1, __ATOMIC_SEQ_CST);
    if (__builtin_expect(__atomic_load_n(&ring->open, __ATOMIC_SEQ_CST) != 0, 1)) return 1;
    __atomic_store_n(&ring->inside, 0, __ATOMIC_RELEASE);
    return 0;
}

static inline void vsw_ring_leave(vsw_ring *ring) { __atomic_store_n(&ring->inside, 0, __ATOMIC_RELEASE); }

/* Returns when the owner is out: after its burst, or after the request that a disk has in hand, which may take long. */
static inline void vsw_ring_shut(vsw_ring *ring) {
    __atomic_store_n(&ring->open, 0, __ATOMIC_SEQ_CST);
    for (uint32_t turn = 0; __atomic_load_n(&ring->inside, __ATOMIC_SEQ_CST); turn++) {
        if (turn < VSW_RING_TURNS) sched_yield();
        else usleep(VSW_RING_NAP);
    }
}

/* For an owner that is at something long: the control side waits for it. */
static inline int vsw_ring_closing(vsw_ring *ring) { return !__atomic_load_n(&ring->open, __ATOMIC_RELAXED); }

static inline void vsw_ring_open(vsw_ring *ring) { __atomic_store_n(&ring->open, 1, __ATOMIC_SEQ_CST); }

/* ---- the available ring */

/* Stops the ring for `fault`, tells the control side, and returns 0, so that callers can end with it. */
static inline uint32_t vsw_ring_fail(vsw_ring *ring, uint8_t fault) {
    const uint64_t one = 1;
    if (ring->fault) return 0;
    __atomic_store_n(&ring->fault, vsw_memory_broken(ring->memory) ? VSW_RING_MEMORY : fault, __ATOMIC_RELEASE);
    if (ring->attention >= 0 && write(ring->attention, &one, sizeof one) < 0) return 0;
    return 0;
}

/* Once a burst, after the memory was used: zeroes that were read because it had gone must not be taken for the guest's. */
static inline int vsw_ring_sound(vsw_ring *ring) {
    if (__builtin_expect(vsw_memory_broken(ring->memory), 0)) vsw_ring_fail(ring, VSW_RING_MEMORY);
    return ring->fault == VSW_RING_WELL;
}

/* Chains that wait, at most `size`; 0 too if the ring has failed. */
static inline uint32_t vsw_ring_waiting(vsw_ring *ring) {
    uint16_t count = (uint16_t)(__atomic_load_n(&ring->available->index, __ATOMIC_ACQUIRE) - ring->next_available);
    if (__builtin_expect(ring->fault != 0, 0)) return 0;
    if (__builtin_expect(count > ring->size, 0)) return vsw_ring_fail(ring, VSW_RING_RUNAWAY);
    /* An index that is zero because its page has gone looks like an idle guest. */
    if (count == 0) vsw_ring_sound(ring);
    return count;
}

/* The head that stands `ahead` entries further (below what vsw_ring_waiting() said); unchecked. */
static inline uint16_t vsw_ring_head(const vsw_ring *ring, uint32_t ahead) {
    return __atomic_load_n(&ring->available->ring[(ring->next_available + ahead) & (ring->size - 1)], __ATOMIC_RELAXED);
}

/* An indirect table may lie at any address, so tables are bytes. */
static inline vsw_descriptor vsw_descriptor_copy(const uint8_t *table, uint32_t index) {
    vsw_descriptor copy;
    memcpy(&copy, table + (size_t)index * sizeof copy, sizeof copy);
    VSW_COPIED();
    return copy;
}

/* Appends what a descriptor names; 0: it does not fit (the ring has failed). */
static inline int vsw_chain_add(vsw_ring *ring, vsw_chain *chain, const vsw_descriptor *descriptor) {
    uint64_t address = descriptor->address;
    uint64_t left = descriptor->length;
    int write = (descriptor->flags & VSW_DESC_WRITE) != 0;
    if (!write && chain->readable != chain->count) return (int)vsw_ring_fail(ring, VSW_RING_ORDER);
    while (left) {
        uint64_t length = left;
        uint8_t *data = vsw_guest(ring->memory, address, &length);
        if (data == NULL) return (int)vsw_ring_fail(ring, VSW_RING_ADDRESS);
        if (chain->count == VSW_CHAIN) return (int)vsw_ring_fail(ring, VSW_RING_LONG);
        chain->segment[chain->count].data = data;
        chain->segment[chain->count].length = (uint32_t)length;
        chain->count++;
        if (write) {
            chain->writable_bytes += length;
        } else {
            chain->readable++;
            chain->readable_bytes += length;
        }
        address += length;
        left -= length;
    }
    return 1;
}

/* The chain that begins at `head`, checked; 0: it can't be one (the ring has failed).  Takes nothing from the ring. */
static inline int vsw_chain_take(vsw_ring *ring, uint32_t head, vsw_chain *chain) {
    const uint8_t *table = ring->descriptors;
    uint32_t size = ring->size, index = head, steps = 0;
    int nested = 0;
    chain->head = head;
    chain->count = chain->readable = 0;
    chain->readable_bytes = chain->writable_bytes = 0;
    if (head >= size) return (int)vsw_ring_fail(ring, VSW_RING_HEAD);
    for (;;) {
        vsw_descriptor descriptor = vsw_descriptor_copy(table, index);
        if (++steps > VSW_CHAIN) return (int)vsw_ring_fail(ring, VSW_RING_LONG);
        if (descriptor.flags & VSW_DESC_INDIRECT) {
            uint32_t entries = descriptor.length / sizeof(vsw_descriptor);
            int whole = descriptor.length % sizeof(vsw_descriptor) == 0 && entries != 0 && entries <= VSW_CHAIN;
            if (!ring->indirect || nested || !whole || descriptor.flags & VSW_DESC_NEXT) return (int)vsw_ring_fail(ring, VSW_RING_INDIRECT);
            table = vsw_guest_whole(ring->memory, descriptor.address, descriptor.length);
            if (table == NULL) return (int)vsw_ring_fail(ring, VSW_RING_ADDRESS);
            size = entries;
            index = 0;
            nested = 1;
            continue;
        }
        if (!vsw_chain_add(ring, chain, &descriptor)) return 0;
        if (!(descriptor.flags & VSW_DESC_NEXT)) return 1;
        index = descriptor.next;
        if (index >= size) return (int)vsw_ring_fail(ring, VSW_RING_NEXT);
    }
}

/* Copies what the chain offers to the device from byte `at` on, at most `most` bytes; returns how many. */
static inline size_t vsw_chain_read(const vsw_chain *chain, uint64_t at, void *into, size_t most) {
    size_t done = 0;
    for (uint32_t i = 0; i < chain->readable && done < most; i++) {
        uint64_t there = chain->segment[i].length;
        if (at >= there) {
            at -= there;
            continue;
        }
        size_t step = there - at < most - done ? (size_t)(there - at) : most - done;
        memcpy((uint8_t *)into + done, chain->segment[i].data + at, step);
        done += step;
        at = 0;
    }
    VSW_COPIED();
    return done;
}

/* Writes to the chain's buffers from byte `at` of what may be written there; returns how many bytes had room. */
static inline size_t vsw_chain_write(const vsw_chain *chain, uint64_t at, const void *from, size_t length) {
    size_t done = 0;
    for (uint32_t i = chain->readable; i < chain->count && done < length; i++) {
        uint64_t room = chain->segment[i].length;
        if (at >= room) {
            at -= room;
            continue;
        }
        size_t step = room - at < length - done ? (size_t)(room - at) : length - done;
        memcpy(chain->segment[i].data + at, (const uint8_t *)from + done, step);
        done += step;
        at = 0;
    }
    return done;
}

/* ---- the used ring */

/* Writes the entry `ahead` of the published ones; nobody sees it before vsw_used_publish(). */
static inline void vsw_used_put(vsw_ring *ring, uint32_t ahead, uint32_t head, uint32_t length) {
    vsw_used_entry *entry = &ring->used->ring[(ring->next_used + ahead) & (ring->size - 1)];
    entry->head = head;
    entry->length = length;
}

static inline void vsw_used_publish(vsw_ring *ring, uint32_t count) {
    ring->next_used = (uint16_t)(ring->next_used + count);
    ring->done += count;
    __atomic_store_n(&ring->used->index, ring->next_used, __ATOMIC_RELEASE);
}

static inline uint16_t *vsw_used_event(const vsw_ring *ring) { return (uint16_t *)&ring->available->ring[ring->size]; }

static inline uint16_t *vsw_avail_event(const vsw_ring *ring) { return (uint16_t *)(void *)&ring->used->ring[ring->size]; }

/* Calls the driver if it wants to be called for what was published since the last time. */
static inline void vsw_used_call(vsw_ring *ring) {
    uint16_t before = ring->called_at, now = ring->next_used;
    if (before == now) return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);   /* our index first, then its wish */
    ring->called_at = now;
    if (ring->event_idx) {
        uint16_t event = __atomic_load_n(vsw_used_event(ring), __ATOMIC_RELAXED);
        if ((uint16_t)(now - event - 1) >= (uint16_t)(now - before)) return;
    } else if (__atomic_load_n(&ring->available->flags, __ATOMIC_RELAXED) & VSW_AVAIL_NO_INTERRUPT) {
        return;
    }
    if (ring->call >= 0) {
        const uint64_t one = 1;
        ring->calls++;
        /* A full counter (EAGAIN) is a call that is pending already. */
        if (write(ring->call, &one, sizeof one) < 0) return;
    }
}

/* ---- kicks */

/* No kicks while we poll. */
static inline void vsw_ring_wake(vsw_ring *ring) {
    if (ring->polling) return;
    ring->polling = 1;
    /* With event indices the driver kicks only when it passes avail_event, and that one stays where it is. */
    if (!ring->event_idx) __atomic_store_n(&ring->used->flags, VSW_USED_NO_NOTIFY, __ATOMIC_RELAXED);
}

/* Asks for a kick with the next chain; true if the owner may sleep, false if a chain came meanwhile. */
static inline int vsw_ring_sleep(vsw_ring *ring) {
    ring->polling = 0;
    if (ring->event_idx) {
        __atomic_store_n(vsw_avail_event(ring), ring->next_available, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&ring->used->flags, 0, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);   /* our wish first, then its index */
    return ring->fault || __atomic_load_n(&ring->available->index, __ATOMIC_ACQUIRE) == ring->next_available;
}

#endif
