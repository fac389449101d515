/* reprogram.h: what a forwarding database keeps when its tables change or it grows: the control side, behind a closed gate.  */
#ifndef VSW_REPROGRAM_H
#define VSW_REPROGRAM_H

#include "vsw/datapath/fdb.h"
#include "vsw/datapath/stages/lookup.h"
#include "vsw/datapath/tables.h"

/* Learned entries of `old` that the new tables have room for: the port exists and learns, and configuration does not claim the address. */
static inline void vsw_fdb_keep_learned(vsw_fdb *f, const vsw_fdb *old, const vsw_tables *t) {
    if (!old->learned_capacity || !f->learned_capacity)
        return;
    for (uint32_t e = old->all.oldest; e != VSW_FDB_NIL; e = old->learned[e].newer) {
        const vsw_learned *entry = old->learned + e;
        if (entry->port >= t->module.ports || !(t->ports[entry->port].flags & VSW_PORT_LEARN))
            continue;
        uint32_t vlan = (uint32_t)(entry->key >> 48) & 0x0FFF;
        if (vsw_fdb_find(f, entry->key) != UINT64_MAX || vsw_any_lookup(t, f, vlan, entry->key & VSW_MAC_MASK) != VSW_NO_PORT)
            continue;
        if (f->by_port[entry->port].count >= t->module.port_limit && f->by_port[entry->port].count)
            vsw_fdb_forget(f, f->by_port[entry->port].oldest);
        if (f->all.count >= t->module.module_limit && f->all.count)
            vsw_fdb_forget(f, f->all.oldest);
        vsw_fdb_learn(f, entry->key, entry->port, entry->stamp);
    }
}

/* Learned entries for which there is now a static any-VLAN entry, or whose port is gone or no longer learns. */
static inline void vsw_fdb_drop_claimed(vsw_fdb *f, const vsw_tables *t) {
    if (!f->learned_capacity)
        return;
    for (uint32_t e = f->all.oldest, next; e != VSW_FDB_NIL; e = next) {
        uint64_t key = f->learned[e].key;
        uint32_t port = f->learned[e].port;
        next = f->learned[e].newer;
        if (port >= t->module.ports || !(t->ports[port].flags & VSW_PORT_LEARN) ||
            vsw_any_lookup(t, f, (uint32_t)(key >> 48) & 0x0FFF, key & VSW_MAC_MASK) != VSW_NO_PORT)
            vsw_fdb_forget(f, e);
    }
}

/* Everything, into a larger table. */
static inline void vsw_fdb_copy(vsw_fdb *f, const vsw_fdb *old) {
    for (uint64_t b = 0; b < old->bucket_count; b++)
        for (uint32_t i = 0; i < VSW_FDB_SLOTS; i++)
            if (old->buckets[b].key[i] && old->buckets[b].value[i] & VSW_FDB_STATIC) {
                vsw_fdb_insert(f, old->buckets[b].key[i], old->buckets[b].value[i]);
                vsw_fdb_note_local(f, old->buckets[b].key[i] & VSW_MAC_MASK);
            }
    f->any_count = old->any_count;
    for (uint32_t e = old->learned_capacity ? old->all.oldest : VSW_FDB_NIL; e != VSW_FDB_NIL; e = old->learned[e].newer)
        vsw_fdb_learn(f, old->learned[e].key, old->learned[e].port, old->learned[e].stamp);
}

#endif
