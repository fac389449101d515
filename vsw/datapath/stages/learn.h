/* learn.h: third stage, only where the switch learns: the source of the frame is on the port that it came in by (rule 11).
 *
 * It stands in the same in-order loop as the lookup: what one frame teaches, the next one knows.  */
#ifndef VSW_STAGE_LEARN_H
#define VSW_STAGE_LEARN_H

#include "vsw/datapath/state.h"
#include "vsw/datapath/stages/lookup.h"

static inline void vsw_evict(vsw_worker *w, uint32_t entry) {
    vsw_fdb_forget(w->fdb, entry);
    w->counters.evicted++;
}

static inline void vsw_learn(vsw_worker *w, const vsw_frame *f) {
    const vsw_tables *t = w->tables;
    const vsw_module *m = &t->module;
    vsw_fdb *fdb = w->fdb;
    if (!(t->ports[f->port_in].flags & VSW_PORT_LEARN) || (f->src & VSW_GROUP_BIT))
        return;
    uint64_t key = vsw_fdb_key(f->fid, f->src);
    uint64_t slot = vsw_fdb_find(fdb, key);
    if (slot != UINT64_MAX && *vsw_fdb_value(fdb, slot) & VSW_FDB_STATIC)
        return;
    if (vsw_any_lookup(t, fdb, f->vlan, f->src) != VSW_NO_PORT)
        return;
    vsw_learned_list *here = fdb->by_port + f->port_in;
    if (slot != UINT64_MAX) {
        uint32_t e = fdb->slot_pool[slot];
        vsw_learned *entry = fdb->learned + e;
        if (f->now - entry->stamp >= m->age) {
            vsw_fdb_forget(fdb, e);
            w->counters.aged++;
        } else {
            if (entry->port != f->port_in) {
                if (here->count >= m->port_limit) {
                    if (here->oldest == VSW_FDB_NIL)
                        return;
                    vsw_evict(w, here->oldest);
                    slot = vsw_fdb_find(fdb, key);
                }
                w->counters.moved++;
            }
            vsw_fdb_unlink(fdb, e);
            entry->port = f->port_in;
            entry->stamp = f->now;
            vsw_fdb_link(fdb, e);
            *vsw_fdb_value(fdb, slot) = f->port_in;
            return;
        }
    }
    if (!m->port_limit || !m->module_limit)
        return;
    if (here->count >= m->port_limit)
        vsw_evict(w, here->oldest);
    if (fdb->all.count >= m->module_limit) {
        uint32_t oldest = fdb->all.oldest;
        if (f->now - fdb->learned[oldest].stamp < m->age)
            oldest = fdb->by_port[vsw_fdb_fullest(fdb, m->ports)].oldest;
        vsw_evict(w, oldest);
    }
    vsw_fdb_learn(fdb, key, f->port_in, f->now);
    w->counters.learned++;
}

#endif
