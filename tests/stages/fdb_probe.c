/* fdb_probe.c: the forwarding database and the stages that use it, as functions that a test can call one at a time.
 *
 * Built by test_fdb.py into a shared library.  The multiplier of the hash is given, so that keys can be made to collide. */
#include "vsw/datapath/stages/learn.h"
#include "vsw/datapath/reprogram.h"

typedef struct probe {
    vsw_tables tables;
    vsw_fdb fdb;
    vsw_worker worker;
    vsw_port ports[VSW_MAX_PORTS];
    uint64_t receive[VSW_MAX_PORTS * VSW_VID_WORDS];
} probe;

static uint64_t mac_of(uint64_t mac) { return mac & VSW_MAC_MASK; }

/* Keeps the shift that vsw_fdb_init chose. */
static int start(vsw_fdb *f, uint64_t entries, uint32_t learned, uint64_t multiplier) { return vsw_fdb_init(f, entries, learned, multiplier); }

probe *probe_new(uint64_t entries, uint32_t learned, uint64_t multiplier, uint32_t ports, int64_t age, uint32_t port_limit, uint32_t module_limit) {
    probe *p = calloc(1, sizeof *p);
    if (!p || !start(&p->fdb, entries, learned, multiplier))
        return NULL;
    for (uint32_t i = 0; i < ports; i++)
        p->ports[i].flags = VSW_PORT_EXISTS | VSW_PORT_UP | VSW_PORT_LEARN;
    p->tables.ports = p->ports;
    p->tables.receive = p->receive;
    p->tables.module.ports = (uint16_t)ports;
    p->tables.module.age = age;
    p->tables.module.port_limit = port_limit;
    p->tables.module.module_limit = module_limit;
    p->worker.tables = &p->tables;
    p->worker.fdb = &p->fdb;
    return p;
}

void probe_free(probe *p) {
    vsw_fdb_free(&p->fdb);
    free(p);
}

void probe_receives(probe *p, uint32_t port, uint32_t vlan) { p->receive[port * VSW_VID_WORDS + vlan / 64] |= 1ull << (vlan % 64); }

/* 1: there is a slot for it.  `vlan` 0xFFFF: any VLAN. */
int probe_add(probe *p, uint32_t vlan, uint64_t mac, uint32_t port) {
    uint64_t key = vlan == 0xFFFF ? VSW_FDB_ANY | mac_of(mac) : vsw_fdb_key(vlan, mac_of(mac)), slot = vsw_fdb_find(&p->fdb, key);
    vsw_fdb_note_local(&p->fdb, mac_of(mac));
    if (slot != UINT64_MAX && !(*vsw_fdb_value(&p->fdb, slot) & VSW_FDB_STATIC)) {
        vsw_fdb_forget(&p->fdb, p->fdb.slot_pool[slot]);
        slot = UINT64_MAX;
    }
    if (slot != UINT64_MAX) {
        *vsw_fdb_value(&p->fdb, slot) = (uint16_t)(port | VSW_FDB_STATIC);
    } else {
        if (vsw_fdb_insert(&p->fdb, key, (uint16_t)(port | VSW_FDB_STATIC)) == UINT64_MAX)
            return 0;
        p->fdb.any_count += vlan == 0xFFFF;
    }
    vsw_fdb_drop_claimed(&p->fdb, &p->tables);
    return 1;
}

int probe_remove(probe *p, uint32_t vlan, uint64_t mac) {
    uint64_t key = vlan == 0xFFFF ? VSW_FDB_ANY | mac_of(mac) : vsw_fdb_key(vlan, mac_of(mac)), slot = vsw_fdb_find(&p->fdb, key);
    if (slot == UINT64_MAX || !(*vsw_fdb_value(&p->fdb, slot) & VSW_FDB_STATIC))
        return 0;
    vsw_fdb_remove(&p->fdb, slot);
    p->fdb.any_count -= vlan == 0xFFFF;
    return 1;
}

void probe_learn(probe *p, uint32_t vlan, uint64_t mac, uint32_t port, int64_t now) {
    vsw_frame f = {.vlan = (uint16_t)vlan, .fid = (uint16_t)vlan, .src = mac_of(mac), .port_in = (uint16_t)port, .now = now};
    vsw_learn(&p->worker, &f);
}

uint32_t probe_lookup(probe *p, uint32_t vlan, uint64_t mac, int64_t now) {
    vsw_frame f = {.vlan = (uint16_t)vlan, .fid = (uint16_t)vlan, .dst = mac_of(mac), .now = now};
    return vsw_lookup(&p->worker, &f);
}

uint32_t probe_maybe_local(const probe *p, uint64_t mac) { return vsw_fdb_maybe_local(&p->fdb, mac_of(mac)); }

uint64_t probe_counter(const probe *p, uint32_t which) {
    const vsw_counters *n = &p->worker.counters;
    const uint64_t counts[] = {n->learned, n->moved, n->evicted, n->aged, p->fdb.entries, p->fdb.bucket_count, p->fdb.all.count};
    return counts[which];
}

uint64_t probe_longest(const probe *p) {
    uint64_t longest = 0;
    for (uint64_t b = 0; b < p->fdb.bucket_count; b++)
        longest = p->fdb.buckets[b].passed > longest ? p->fdb.buckets[b].passed : longest;
    return longest;
}

/* The learned entries, least recently stamped first. */
uint32_t probe_learned(const probe *p, uint64_t *keys, uint16_t *ports, int64_t *stamps) {
    uint32_t count = 0;
    for (uint32_t e = p->fdb.all.oldest; e != VSW_FDB_NIL; e = p->fdb.learned[e].newer, count++) {
        keys[count] = p->fdb.learned[e].key & ~(3ull << 60);
        ports[count] = p->fdb.learned[e].port;
        stamps[count] = p->fdb.learned[e].stamp;
    }
    return count;
}

/* A larger table with the same entries. */
int probe_grow(probe *p, uint64_t entries, uint64_t multiplier) {
    vsw_fdb grown;
    if (!start(&grown, entries, p->fdb.learned_capacity, multiplier))
        return 0;
    vsw_fdb_copy(&grown, &p->fdb);
    vsw_fdb_free(&p->fdb);
    p->fdb = grown;
    return 1;
}

/* The first of these that does not hold, 0 if all do:
 * 1 each bucket's `passed` is the number of entries that went on over it; 2 the number of entries; 3 every slot is found by its key;
 * 4 a learned slot and its pool entry name each other; 5 both lists are linked in both directions and counted. */
int probe_broken(const probe *p) {
    const vsw_fdb *f = &p->fdb;
    uint32_t *passed = calloc(f->bucket_count, sizeof *passed);
    uint64_t entries = 0;
    uint32_t learned = 0;
    int broken = 0;
    for (uint64_t b = 0; b < f->bucket_count; b++)
        for (uint32_t i = 0; i < VSW_FDB_SLOTS; i++) {
            uint64_t key = f->buckets[b].key[i], slot = b * VSW_FDB_SLOTS + i;
            if (!key)
                continue;
            entries++;
            for (uint64_t k = vsw_fdb_hash(f, key); k != b; k = (k + 1) & (f->bucket_count - 1))
                passed[k]++;
            if (vsw_fdb_find(f, key) != slot)
                broken = 3;
            if (f->buckets[b].value[i] & VSW_FDB_STATIC)
                continue;
            learned++;
            const vsw_learned *entry = f->learned + f->slot_pool[slot];
            if (entry->key != key || entry->port != f->buckets[b].value[i])
                broken = 4;
        }
    for (uint64_t b = 0; b < f->bucket_count && !broken; b++)
        if (passed[b] != f->buckets[b].passed)
            broken = 1;
    if (entries != f->entries)
        broken = 2;
    uint32_t forth = 0, back = 0, by_port = 0;
    if (f->learned_capacity) {
        for (uint32_t e = f->all.oldest; e != VSW_FDB_NIL; e = f->learned[e].newer)
            forth++;
        for (uint32_t e = f->all.newest; e != VSW_FDB_NIL; e = f->learned[e].older)
            back++;
        for (uint32_t port = 0; port < VSW_MAX_PORTS; port++) {
            uint32_t here = 0, there = 0;
            for (uint32_t e = f->by_port[port].oldest; e != VSW_FDB_NIL; e = f->learned[e].port_newer)
                here += f->learned[e].port == port;
            for (uint32_t e = f->by_port[port].newest; e != VSW_FDB_NIL; e = f->learned[e].port_older)
                there++;
            if (here != f->by_port[port].count || there != here)
                broken = 5;
            by_port += here;
        }
        if (forth != learned || back != learned || by_port != learned || f->all.count != learned)
            broken = 5;
    }
    free(passed);
    return broken;
}
