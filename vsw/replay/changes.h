/* changes.h: which frames two runs did different things with, in what way, and how many changed alike.
 *
 * Both runs hand on their columns and fates for the same frames, a part at a time, and this goes over each part once, while it is in the cache.  What is kept
 * is a number and a kind for each frame that changed, and one row for each group: frames of one kind that came in and left by the same ports on either
 * side, with the same verdicts.  Groups are found through a hash table of their keys, which are compared whole.
 *
 * Thread-safety: changes belong to one thread at a time.  */
#ifndef VSW_REPLAY_CHANGES_H
#define VSW_REPLAY_CHANGES_H

#include <stdlib.h>

#include "vsw/datapath/tables.h"
#include "vsw/replay/fates.h"

typedef enum vsw_kind {
    VSW_KIND_DELIVERED,
    VSW_KIND_DROPPED,
    VSW_KIND_CONSUMED,
    VSW_KIND_REASON,
    VSW_KIND_MOVED_UPLINK,
    VSW_KIND_MOVED_PORT,
    VSW_KIND_DUPLICATED,
    VSW_KIND_FEWER,
    VSW_KIND_RETAGGED,
    VSW_KINDS
} vsw_kind;

/* What one of the runs did with the frames of a part. */
typedef struct vsw_did {
    const uint8_t *verdict, *reason;
    const int16_t *egress;             /* negative: none, or several */
    const uint16_t *port_in;
    const vsw_fates_row *fates;
    const uint8_t *uplink;             /* [VSW_MAX_PORTS]: 1 for uplinks */
} vsw_did;

/* Frames that changed alike: pairs are before and after. */
typedef struct vsw_alike {
    uint64_t frames;
    uint64_t example;                  /* the first of them */
    uint8_t kind, spare[3];            /* from here on: the key */
    uint8_t verdict[2], reason[2];
    int16_t egress[2];
    uint16_t port_in[2];
} vsw_alike;

enum { VSW_ALIKE_KEY = 16 };
_Static_assert(sizeof(vsw_alike) == 2 * VSW_ALIKE_KEY, "the key is the second half, without gaps");

typedef struct vsw_changes {
    uint64_t *frames;                  /* numbers of those that changed, ascending */
    uint8_t *kinds;
    uint64_t count, room;
    vsw_alike *groups;
    uint32_t *slots;                   /* number of a group and 1; 0: free.  A power of two of them, at most half taken. */
    uint32_t group_count, slot_count;
    uint32_t failed;                   /* no memory */
} vsw_changes;

static inline const uint8_t *vsw_alike_key(const vsw_alike *group) { return (const uint8_t *)group + VSW_ALIKE_KEY; }

static inline uint64_t vsw_alike_hash(const vsw_alike *group) {
    uint64_t words[2];
    memcpy(words, vsw_alike_key(group), sizeof words);
    return vsw_fate_mix(words[0], words[1]);
}

/* The slot of a key: that of its group, or the free one where it would go. */
static inline uint32_t *vsw_changes_slot(const vsw_changes *c, const vsw_alike *wanted) {
    for (uint64_t at = vsw_alike_hash(wanted);; at++) {
        uint32_t *slot = c->slots + (at & (c->slot_count - 1));
        if (!*slot || memcmp(vsw_alike_key(c->groups + *slot - 1), vsw_alike_key(wanted), VSW_ALIKE_KEY) == 0)
            return slot;
    }
}

/* Room for one more group; 0 without memory. */
static inline int vsw_changes_grow(vsw_changes *c) {
    if (2 * c->group_count < c->slot_count)
        return 1;
    uint32_t slot_count = c->slot_count ? 2 * c->slot_count : 256;
    vsw_alike *groups = slot_count ? /* 0: there are no more numbers */ (vsw_alike *)realloc(c->groups, (size_t)slot_count / 2 * sizeof *groups) : NULL;
    if (groups)
        c->groups = groups;
    uint32_t *slots = groups ? (uint32_t *)calloc(slot_count, sizeof *slots) : NULL;
    if (!slots)
        return 0;
    free(c->slots);
    c->slots = slots;
    c->slot_count = slot_count;
    for (uint32_t i = 0; i < c->group_count; i++)
        *vsw_changes_slot(c, c->groups + i) = i + 1;
    return 1;
}

static inline vsw_kind vsw_kind_of(const vsw_did *one, const vsw_did *other, uint32_t i) {
    const vsw_fates_row *fate = one->fates + i, *now = other->fates + i;
    if (one->verdict[i] != other->verdict[i])
        return other->verdict[i] == VSW_CONSUMED ? VSW_KIND_CONSUMED : other->verdict[i] == VSW_DROPPED ? VSW_KIND_DROPPED : VSW_KIND_DELIVERED;
    if (one->reason[i] != other->reason[i])
        return VSW_KIND_REASON;
    if (fate->count != now->count)
        return now->count > fate->count ? VSW_KIND_DUPLICATED : VSW_KIND_FEWER;
    if (fate->ports == now->ports)
        return VSW_KIND_RETAGGED;
    int from = one->egress[i], to = other->egress[i];
    return from >= 0 && to >= 0 && one->uplink[from] && other->uplink[to] ? VSW_KIND_MOVED_UPLINK : VSW_KIND_MOVED_PORT;
}

/* Adds frame `first + i` of a part. */
static inline void vsw_changes_add(vsw_changes *c, const vsw_did *one, const vsw_did *other, uint64_t first, uint32_t i) {
    if (c->count == c->room) {
        uint64_t room = c->room ? 2 * c->room : 1024;
        uint64_t *frames = (uint64_t *)realloc(c->frames, room * sizeof *frames);
        if (frames)
            c->frames = frames;
        uint8_t *kinds = (uint8_t *)realloc(c->kinds, room);
        if (kinds)
            c->kinds = kinds;
        if (!frames || !kinds) {
            c->failed = 1;
            return;
        }
        c->room = room;
    }
    vsw_alike wanted = {
        .example = first + i,
        .kind = (uint8_t)vsw_kind_of(one, other, i),
        .verdict = {one->verdict[i], other->verdict[i]},
        .reason = {one->reason[i], other->reason[i]},
        .egress = {one->egress[i], other->egress[i]},
        .port_in = {one->port_in[i], other->port_in[i]},
    };
    if (!vsw_changes_grow(c)) {
        c->failed = 1;
        return;
    }
    c->frames[c->count] = wanted.example;
    c->kinds[c->count++] = wanted.kind;
    uint32_t *slot = vsw_changes_slot(c, &wanted);
    if (!*slot) {
        c->groups[c->group_count++] = wanted;
        *slot = c->group_count;
    }
    c->groups[*slot - 1].frames++;
}

/* Compares the `count` frames of a part that begins with frame number `first`. */
static inline void vsw_changes_part(vsw_changes *c, const vsw_did *one, const vsw_did *other, uint64_t first, uint32_t count) {
    for (uint32_t i = 0; i < count && !c->failed; i++) {
        const vsw_fates_row *fate = one->fates + i, *now = other->fates + i;
        uint64_t differs = (fate->copies ^ now->copies) | (fate->count ^ now->count)
                           | (uint64_t)((one->verdict[i] ^ other->verdict[i]) | (one->reason[i] ^ other->reason[i]));
        if (__builtin_expect(differs != 0, 0))
            vsw_changes_add(c, one, other, first, i);
    }
}

#endif
