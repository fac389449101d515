/* lookup.h: what the forwarding database says of a (VLAN, MAC): static entries, then learned ones (rules 11 and 12).
 *
 * A static entry is exact, or for any VLAN that its port receives.  A learned entry that has expired is found by nobody: the lookup that meets it takes it out.  */
#ifndef VSW_STAGE_LOOKUP_H
#define VSW_STAGE_LOOKUP_H

#include "vsw/datapath/state.h"

static inline uint32_t vsw_any_lookup(const vsw_tables *t, const vsw_fdb *fdb, uint32_t vlan, uint64_t mac) {
    if (!fdb->any_count)
        return VSW_NO_PORT;
    uint64_t slot = vsw_fdb_find(fdb, VSW_FDB_ANY | mac);
    if (slot == UINT64_MAX)
        return VSW_NO_PORT;
    uint32_t port = *vsw_fdb_value(fdb, slot) & VSW_FDB_PORT;
    return vsw_receives(t, port, vlan) ? port : VSW_NO_PORT;
}

/* The port of the static entry for (fid, vlan, mac); VSW_NO_PORT: there is none. */
static inline uint32_t vsw_static_lookup(const vsw_tables *t, const vsw_fdb *fdb, uint32_t fid, uint32_t vlan, uint64_t mac) {
    uint64_t slot = vsw_fdb_find(fdb, vsw_fdb_key(fid, mac));
    if (slot != UINT64_MAX) {
        uint16_t value = *vsw_fdb_value(fdb, slot);
        if (value & VSW_FDB_STATIC)
            return value & VSW_FDB_PORT;
    }
    return vsw_any_lookup(t, fdb, vlan, mac);
}

/* Whether a static entry, exact or for any VLAN, puts `mac` on `port`. */
static inline int vsw_static_here(const vsw_fdb *fdb, uint32_t fid, uint64_t mac, uint32_t port) {
    uint64_t slot = vsw_fdb_find(fdb, vsw_fdb_key(fid, mac));
    if (slot != UINT64_MAX) {
        uint16_t value = *vsw_fdb_value(fdb, slot);
        if (value & VSW_FDB_STATIC && (value & VSW_FDB_PORT) == port)
            return 1;
    }
    slot = fdb->any_count ? vsw_fdb_find(fdb, VSW_FDB_ANY | mac) : UINT64_MAX;
    return slot != UINT64_MAX && (*vsw_fdb_value(fdb, slot) & VSW_FDB_PORT) == port;
}

/* Destination lookup: static, else learned and not expired. */
static inline uint32_t vsw_lookup(vsw_worker *w, const vsw_frame *f) {
    vsw_fdb *fdb = w->fdb;
    uint64_t slot = vsw_fdb_find(fdb, vsw_fdb_key(f->fid, f->dst));
    uint16_t value = slot == UINT64_MAX ? 0 : *vsw_fdb_value(fdb, slot);
    if (value & VSW_FDB_STATIC)
        return value & VSW_FDB_PORT;
    /* in a secondary VLAN there can be both: an any-VLAN entry, and one learned where the port of that one receives nothing */
    uint32_t port = vsw_any_lookup(w->tables, fdb, f->vlan, f->dst);
    if (port != VSW_NO_PORT || slot == UINT64_MAX)
        return port;
    uint32_t e = fdb->slot_pool[slot];
    if (f->now - fdb->learned[e].stamp >= w->tables->module.age) {
        vsw_fdb_forget(fdb, e);
        w->counters.aged++;
        return VSW_NO_PORT;
    }
    return value & VSW_FDB_PORT;
}

#endif
