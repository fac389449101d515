/* source_mac.h: before the first stage, where nobody said it: which port did the frame come in by (rule 0)?
 *
 * The owner of a source is looked up by the VID on the wire, so these entries lie in a table of their own, shaped as the forwarding database.  */
#ifndef VSW_STAGE_SOURCE_MAC_H
#define VSW_STAGE_SOURCE_MAC_H

#include "vsw/datapath/stages/parse.h"
#include "vsw/datapath/state.h"

/* The frame as it lies in memory; writes the port, and how many bytes of a tag are taken off. */
static inline uint32_t vsw_source_port(const vsw_worker *w, const uint8_t *data, uint32_t captured, uint32_t length, uint8_t *skip) {
    const vsw_tables *t = w->tables;
    const vsw_fdb *owners = w->owners;
    *skip = 0;
    if (captured < VSW_ETHERNET || length < VSW_ETHERNET)
        return t->module.default_port;
    uint64_t src = vsw_load_mac(data + 6);
    uint16_t type = (uint16_t)(data[VSW_TYPE_AT] << 8 | data[VSW_TYPE_AT + 1]);
    uint32_t vid = 0;
    if ((src & VSW_GROUP_BIT) || !src)
        return t->module.default_port;
    if (vsw_is_tpid(t, type)) {
        if (captured < VSW_ETHERNET + VSW_TAG || length < VSW_ETHERNET + VSW_TAG)
            return t->module.default_port;
        vid = (uint32_t)(data[VSW_ETHERNET] << 8 | data[VSW_ETHERNET + 1]) & VSW_TCI_VID;
    } else if (t->module.flags & VSW_OVS_TAGS) {
        vsw_frame f = {.data = data, .captured = captured, .length = length};
        if (vsw_snap_tag(t, &f))
            return t->module.default_port;
    }
    uint32_t port = VSW_NO_PORT;
    uint64_t slot = vsw_fdb_find(owners, vsw_fdb_key(vid, src));
    if (slot != UINT64_MAX)
        port = *vsw_fdb_value(owners, slot) & VSW_FDB_PORT;
    if (owners->any_count) {
        slot = vsw_fdb_find(owners, VSW_FDB_ANY | src);
        if (slot != UINT64_MAX) {
            uint32_t any = *vsw_fdb_value(owners, slot) & VSW_FDB_PORT;
            if (any < port && (vid ? vsw_receives(t, any, vid) : vsw_accepts(t, any, 0)))
                port = any;
        }
    }
    if (port == VSW_NO_PORT)
        return t->module.default_port;
    uint8_t mode = t->ports[port].mode;
    if (vid && (mode == VSW_ACCESS || mode == VSW_PRIVATE || mode == VSW_TUNNEL))
        *skip = VSW_TAG;
    return port;
}

#endif
