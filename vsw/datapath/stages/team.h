/* team.h: fourth stage: which member an uplink's team sends a frame out by (rule 13).
 *
 * Who is usable, and which bucket is whose, was worked out when the tables were made or a member's state changed; here a hash picks.  */
#ifndef VSW_STAGE_TEAM_H
#define VSW_STAGE_TEAM_H

#include "vsw/datapath/hashes/registry.h"
#include "vsw/datapath/state.h"

/* The member for a frame with this hash input; VSW_NO_PORT: none is usable. */
static inline uint32_t vsw_team_member(const vsw_team *team, vsw_hash_input *in) {
    if (team->policy == VSW_POLICY_EXPLICIT || !team->usable_count)
        return team->first;
    in->ip_hash_bits = team->ip_hash_bits;
    uint32_t hash = vsw_team_hash(team->policy, in), count = team->usable_count;
    if (team->buckets_used)
        return team->buckets[hash & (VSW_BUCKETS - 1)];
    return team->usable[count & (count - 1) ? hash % count : hash & (count - 1)];
}

/* The member for this frame; VSW_NO_PORT: the team has none that is usable. */
static inline uint32_t vsw_team_pick(const vsw_tables *t, uint32_t index, const vsw_frame *f) {
    if (index == VSW_NO_TEAM)
        return VSW_NO_PORT;
    vsw_hash_input in = {
        .frame = f->data,
        .type_at = f->type_at + f->skip,
        .captured = f->captured + f->skip,
        .tci = (uint16_t)(f->carried | f->vlan),
        .port = f->port_in,
    };
    return vsw_team_member(t->teams + index, &in);
}

#endif
