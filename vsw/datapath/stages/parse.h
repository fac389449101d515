/* parse.h: first stage: lengths are proved and the tags read (rules 2 to 4).
 *
 * Everything after it may read the addresses, the tags that were read and the type behind them without asking again.  */
#ifndef VSW_STAGE_PARSE_H
#define VSW_STAGE_PARSE_H

#include "vsw/datapath/state.h"

#define VSW_TYPE_MIN 0x0600u      /* below, the type field is an 802.3 length */
#define VSW_LLC_AT 14u
#define VSW_SNAP_TYPE_AT 20u

/* A header needs `bytes`: 0 if they are there, else the reason. */
static inline uint32_t vsw_missing(const vsw_frame *f, uint32_t bytes) {
    if (f->length < bytes)
        return VSW_MALFORMED;
    return f->captured < bytes ? VSW_CUT_BY_CAPTURE : 0;
}

/* Open vSwitch takes a SNAP header that announces a tag for a tag that was cut. */
static inline int vsw_snap_tag(const vsw_tables *t, const vsw_frame *f) {
    static const uint8_t snap[6] = {0xAA, 0xAA, 0x03, 0, 0, 0};
    if (vsw_at16(f, VSW_TYPE_AT) >= VSW_TYPE_MIN || f->captured < VSW_SNAP_TYPE_AT + 2)
        return 0;
    return !memcmp(f->data + f->skip + VSW_LLC_AT, snap, sizeof snap) && vsw_is_tpid(t, vsw_at16(f, VSW_SNAP_TYPE_AT));
}

/* Reads addresses and tags.  Returns 0, or why the frame is dropped. */
static inline uint32_t vsw_parse(const vsw_tables *t, vsw_frame *f) {
    uint32_t reason = vsw_missing(f, VSW_ETHERNET);
    if (reason)
        return reason;
    f->dst = vsw_load_mac(f->data);
    f->src = vsw_load_mac(f->data + 6);
    if (vsw_is_tpid(t, vsw_at16(f, VSW_TYPE_AT))) {
        reason = vsw_missing(f, VSW_ETHERNET + VSW_TAG);
        if (reason)
            return reason;
        f->read = (uint8_t)vsw_tags_at(t, f, VSW_TYPE_AT, t->module.vlan_limit);
        for (uint32_t i = 0; i < f->read; i++) {
            f->tags[i].tpid = vsw_at16(f, VSW_TYPE_AT + i * VSW_TAG);
            f->tags[i].tci = vsw_at16(f, VSW_TYPE_AT + i * VSW_TAG + 2);
        }
        f->received_pcp = f->tags[0].tci & VSW_TCI_PCP;
    } else if ((t->module.flags & VSW_OVS_TAGS) && vsw_snap_tag(t, f)) {
        return VSW_MALFORMED;
    }
    uint32_t longest = t->ports[f->port_in].max_length;
    if (f->length > longest) {
        uint32_t tags = vsw_tags_at(t, f, VSW_TYPE_AT, 2);
        if (f->length > longest + (uint64_t)tags * VSW_TAG)
            return VSW_TOO_LONG;
    }
    return 0;
}

#endif
