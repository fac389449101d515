/* frame.h: the team hash of a frame that no switch has looked at: its outermost tag is read here.
 *
 * Behind vsw.team_hash only.  In the switch the pipeline has read the tag, knows the VLAN, and calls vsw_team_hash itself. */
#ifndef VSW_HASHES_FRAME_H
#define VSW_HASHES_FRAME_H

#include "vsw/datapath/hashes/registry.h"
#include "vsw/datapath/wire/vlan.h"

enum { VSW_MAX_TPIDS = 8 };

typedef struct vsw_tpid_list {
    uint32_t count;
    uint16_t tpid[VSW_MAX_TPIDS];
} vsw_tpid_list;

static inline int vsw_is_tpid(const vsw_tpid_list *list, uint16_t type)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->tpid[i] == type)
            return 1;
    return 0;
}

/* 0 for a frame whose Ethernet header was not captured whole.  A tag that was cut short is no tag. */
static inline uint32_t vsw_team_hash_of_frame(uint32_t policy, const uint8_t *frame, uint32_t captured, uint16_t port, uint32_t ip_hash_bits,
                                              const vsw_tpid_list *tpids)
{
    vsw_hash_input in = { .frame = frame, .type_at = VSW_ETH_TYPE, .captured = captured, .ip_hash_bits = ip_hash_bits, .port = port };

    if (captured < VSW_ETH_HEADER)
        return 0;
    if (captured >= VSW_ETH_TYPE + VSW_TAG_AND_TYPE && vsw_is_tpid(tpids, vsw_be16(frame + VSW_ETH_TYPE))) {
        in.type_at = VSW_ETH_TYPE + VSW_TAG;
        in.tci = vsw_be16(frame + VSW_ETH_TYPE + VSW_TAG_TCI);
    }
    return vsw_team_hash(policy, &in);
}

#endif
