/* fdb.h: the forwarding database of one module: (filtering VLAN, MAC) -> port.
 *
 * Concept: a hash table of buckets, each one cache line: six keys, six values, and a count of the entries that found this bucket full and went on to the next.
 * A lookup reads one line (and goes on only where that count is not 0), so it has nothing to mispredict, and a caller that has hashed a burst can prefetch all lines before it
 * probes the first.  Entries are static (from configuration; they never age or move) or learned.  What only learned entries have (stamp, order) lies in a pool
 * beside the table: two lists run through it, of all learned entries and of each port's, least recently stamped first.
 *
 * Bounds: slots are at least 2.5 times the entries that were asked for; learned entries are bounded by the module's and the port's limit.
 *
 * Thread-safety: lookups may run in many threads; whatever changes the table runs alone (the gate of pipeline.h).  A run that learns is alone too.
 *
 * Keys: VSW_FDB_USED | VLAN << 48 | MAC as loaded; VSW_FDB_ANY | MAC for "any VLAN that the port receives".  */
#ifndef VSW_FDB_H
#define VSW_FDB_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vsw/datapath/tables.h"

#define VSW_FDB_SLOTS 6
#define VSW_FDB_USED (1ull << 60)
#define VSW_FDB_ANY (3ull << 60)
#define VSW_FDB_NIL 0xFFFFFFFFu

/* A value: the port's number, and flags above it. */
#define VSW_FDB_PORT 0x0FFFu
#define VSW_FDB_STATIC 0x8000u
#define VSW_FDB_MEMBER 0x4000u   /* static, to a local port that receives the VLAN: nothing about the entry is left to check */
#define VSW_FDB_HONEST_AT 14u     /* source-mac: the flag that says that the address is surely the own one of its port */
#define VSW_FDB_FLAGS_AT 14u
#define VSW_FDB_SETTLED 3u           /* both flags */

typedef struct vsw_fdb_bucket {
    uint64_t key[VSW_FDB_SLOTS];
    uint16_t value[VSW_FDB_SLOTS];
    uint16_t passed;             /* entries that belong here or before and lie behind; stays at VSW_FDB_PASSED once it came there */
    uint16_t spare;
} vsw_fdb_bucket;

#define VSW_FDB_PASSED 0x7FFFu       /* no value with VSW_FDB_STATIC looks like a count */

_Static_assert(sizeof(vsw_fdb_bucket) == 64, "a bucket is one cache line");
_Static_assert(offsetof(vsw_fdb_bucket, passed) == offsetof(vsw_fdb_bucket, value) + 2 * VSW_FDB_SLOTS, "passed is read as the value of one slot more");

typedef struct vsw_learned {
    uint64_t key;
    int64_t stamp;
    uint32_t older, newer;             /* all learned entries, by stamping */
    uint32_t port_older, port_newer;   /* those of the same port */
    uint16_t port;
    uint16_t used;
} vsw_learned;

typedef struct vsw_learned_list {
    uint32_t oldest, newest, count;
} vsw_learned_list;

typedef struct vsw_fdb {
    vsw_fdb_bucket *buckets;
    uint64_t bucket_count;       /* power of two */
    uint64_t multiplier;         /* odd, drawn at random: nobody outside can choose MACs that collide */
    uint32_t shift;
    uint32_t any_count;          /* any-VLAN entries; 0 saves the second probe */
    uint64_t entries;
    size_t mapped;
    /* Filter over the MACs of static entries, by MAC alone: one probe of a bit says "surely none has it". */
    uint64_t *filter;
    uint32_t filter_shift;
    uint32_t learned_capacity;
    vsw_learned *learned;        /* pool */
    uint32_t free_learned;
    vsw_learned_list all;
    vsw_learned_list *by_port;   /* [VSW_MAX_PORTS] */
    uint32_t *slot_pool;         /* pool index of the entry in slot bucket * VSW_FDB_SLOTS + i; allocated only where something learns */
} vsw_fdb;

static inline uint64_t vsw_fdb_key(uint32_t fid, uint64_t mac) {
    return VSW_FDB_USED | ((uint64_t)fid << 48) | mac;
}

static inline uint64_t vsw_fdb_hash(const vsw_fdb *f, uint64_t key) {
    return (key * f->multiplier) >> f->shift;
}

static inline uint64_t vsw_fdb_filter_hash(const vsw_fdb *f, uint64_t mac) {
    return (mac * 0x9E3779B97F4A7C15ull) >> f->filter_shift;
}

static inline uint32_t vsw_fdb_maybe_local(const vsw_fdb *f, uint64_t mac) {
    uint64_t h = vsw_fdb_filter_hash(f, mac);
    return (uint32_t)(f->filter[h >> 6] >> (h & 63)) & 1;
}

static inline void vsw_fdb_note_local(vsw_fdb *f, uint64_t mac) {
    uint64_t h = vsw_fdb_filter_hash(f, mac);
    f->filter[h >> 6] |= 1ull << (h & 63);
}

/* ---- memory ---- */

static inline void *vsw_fdb_map(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (bytes >= (2u << 20))
        madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

static inline void vsw_fdb_free(vsw_fdb *f) {
    if (f->buckets)
        munmap(f->buckets, f->mapped);
    free(f->filter);
    free(f->learned);
    free(f->by_port);
    free(f->slot_pool);
    memset(f, 0, sizeof *f);
}

/* An empty table for `entries` static entries and `learned` learned ones.  0: no memory. */
static inline int vsw_fdb_init(vsw_fdb *f, uint64_t entries, uint32_t learned, uint64_t seed) {
    memset(f, 0, sizeof *f);
    uint64_t wanted = entries + learned;
    uint32_t bits = 4;
    while (((uint64_t)VSW_FDB_SLOTS << bits) * 2 < wanted * 5)
        bits++;
    f->bucket_count = 1ull << bits;
    f->shift = 64 - bits;
    f->multiplier = seed | 1;
    f->mapped = f->bucket_count * sizeof(vsw_fdb_bucket);
    f->buckets = (vsw_fdb_bucket *)vsw_fdb_map(f->mapped);
    uint32_t filter_bits = 9;
    while ((1ull << filter_bits) < entries * 16)
        filter_bits++;
    f->filter_shift = 64 - filter_bits;
    f->filter = (uint64_t *)calloc((1ull << filter_bits) / 64, 8);
    f->all.oldest = f->all.newest = VSW_FDB_NIL;
    f->free_learned = VSW_FDB_NIL;
    f->learned_capacity = learned;
    if (!f->buckets || !f->filter) {
        vsw_fdb_free(f);
        return 0;
    }
    if (learned) {
        f->learned = (vsw_learned *)calloc(learned, sizeof *f->learned);
        f->by_port = (vsw_learned_list *)malloc(VSW_MAX_PORTS * sizeof *f->by_port);
        f->slot_pool = (uint32_t *)malloc(f->bucket_count * VSW_FDB_SLOTS * sizeof *f->slot_pool);
        if (!f->learned || !f->by_port || !f->slot_pool) {
            vsw_fdb_free(f);
            return 0;
        }
        for (uint32_t i = 0; i < VSW_MAX_PORTS; i++)
            f->by_port[i] = (vsw_learned_list){VSW_FDB_NIL, VSW_FDB_NIL, 0};
        for (uint32_t i = learned; i-- > 0;) {
            f->learned[i].newer = f->free_learned;
            f->free_learned = i;
        }
    }
    return 1;
}

/* ---- slots ---- */

/* Slots of `bucket` whose key is `key`, as bits. */
static inline uint32_t vsw_fdb_match(const vsw_fdb_bucket *bucket, uint64_t key) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < VSW_FDB_SLOTS; i++)
        bits |= (uint32_t)(bucket->key[i] == key) << i;
    return bits;
}

/* The slot of `key`, as bucket * VSW_FDB_SLOTS + slot; UINT64_MAX: not there. */
static inline uint64_t vsw_fdb_find(const vsw_fdb *f, uint64_t key) {
    uint64_t b = vsw_fdb_hash(f, key);
    for (uint64_t seen = 0; seen < f->bucket_count; seen++) {
        const vsw_fdb_bucket *bucket = f->buckets + b;
        uint32_t bits = vsw_fdb_match(bucket, key);
        if (bits)
            return b * VSW_FDB_SLOTS + (uint32_t)__builtin_ctz(bits);
        if (!bucket->passed)
            break;
        b = (b + 1) & (f->bucket_count - 1);
    }
    return UINT64_MAX;
}

static inline uint16_t *vsw_fdb_value(const vsw_fdb *f, uint64_t slot) {
    return &f->buckets[slot / VSW_FDB_SLOTS].value[slot % VSW_FDB_SLOTS];
}

/* Puts a key that is not there into a free slot; UINT64_MAX: the table is full. */
static inline uint64_t vsw_fdb_insert(vsw_fdb *f, uint64_t key, uint16_t value) {
    uint64_t home = vsw_fdb_hash(f, key), b = home;
    for (uint64_t seen = 0; seen < f->bucket_count; seen++) {
        vsw_fdb_bucket *bucket = f->buckets + b;
        uint32_t bits = vsw_fdb_match(bucket, 0);
        if (bits) {
            uint32_t i = (uint32_t)__builtin_ctz(bits);
            for (uint64_t k = home; k != b; k = (k + 1) & (f->bucket_count - 1))
                f->buckets[k].passed += f->buckets[k].passed < VSW_FDB_PASSED;
            bucket->value[i] = value;
            bucket->key[i] = key;
            f->entries++;
            return b * VSW_FDB_SLOTS + i;
        }
        b = (b + 1) & (f->bucket_count - 1);
    }
    return UINT64_MAX;
}

static inline void vsw_fdb_remove(vsw_fdb *f, uint64_t slot) {
    uint64_t b = slot / VSW_FDB_SLOTS;
    vsw_fdb_bucket *bucket = f->buckets + b;
    uint32_t i = (uint32_t)(slot % VSW_FDB_SLOTS);
    for (uint64_t k = vsw_fdb_hash(f, bucket->key[i]); k != b; k = (k + 1) & (f->bucket_count - 1))
        f->buckets[k].passed -= f->buckets[k].passed < VSW_FDB_PASSED;
    bucket->key[i] = 0;
    bucket->value[i] = 0;
    f->entries--;
}

/* ---- learned entries ---- */

static inline void vsw_fdb_unlink(vsw_fdb *f, uint32_t e) {
    vsw_learned *pool = f->learned, *entry = pool + e;
    vsw_learned_list *port = f->by_port + entry->port;
    if (entry->older != VSW_FDB_NIL) pool[entry->older].newer = entry->newer; else f->all.oldest = entry->newer;
    if (entry->newer != VSW_FDB_NIL) pool[entry->newer].older = entry->older; else f->all.newest = entry->older;
    if (entry->port_older != VSW_FDB_NIL) pool[entry->port_older].port_newer = entry->port_newer; else port->oldest = entry->port_newer;
    if (entry->port_newer != VSW_FDB_NIL) pool[entry->port_newer].port_older = entry->port_older; else port->newest = entry->port_older;
    f->all.count--;
    port->count--;
}

/* As the most recently stamped one. */
static inline void vsw_fdb_link(vsw_fdb *f, uint32_t e) {
    vsw_learned *pool = f->learned, *entry = pool + e;
    vsw_learned_list *port = f->by_port + entry->port;
    entry->newer = entry->port_newer = VSW_FDB_NIL;
    entry->older = f->all.newest;
    if (entry->older != VSW_FDB_NIL) pool[entry->older].newer = e; else f->all.oldest = e;
    f->all.newest = e;
    entry->port_older = port->newest;
    if (entry->port_older != VSW_FDB_NIL) pool[entry->port_older].port_newer = e; else port->oldest = e;
    port->newest = e;
    f->all.count++;
    port->count++;
}

static inline void vsw_fdb_forget(vsw_fdb *f, uint32_t e) {
    vsw_learned *entry = f->learned + e;
    vsw_fdb_unlink(f, e);
    vsw_fdb_remove(f, vsw_fdb_find(f, entry->key));
    entry->used = 0;
    entry->newer = f->free_learned;
    f->free_learned = e;
}

/* A new learned entry; the caller has made room for it. */
static inline void vsw_fdb_learn(vsw_fdb *f, uint64_t key, uint16_t port, int64_t now) {
    uint32_t e = f->free_learned;
    if (e == VSW_FDB_NIL)
        return;
    uint64_t slot = vsw_fdb_insert(f, key, port);
    if (slot == UINT64_MAX)
        return;
    vsw_learned *entry = f->learned + e;
    f->free_learned = entry->newer;
    entry->key = key;
    entry->stamp = now;
    entry->port = port;
    entry->used = 1;
    f->slot_pool[slot] = e;
    vsw_fdb_link(f, e);
}

/* The port with most learned entries, the lowest number among equals. */
static inline uint16_t vsw_fdb_fullest(const vsw_fdb *f, uint32_t ports) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < ports; i++)
        if (f->by_port[i].count > f->by_port[best].count)
            best = i;
    return (uint16_t)best;
}

#endif
