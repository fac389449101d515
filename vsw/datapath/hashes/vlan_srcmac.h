/* vlan_srcmac.h: team policy `vlan+srcmac` of Linux bonding: one uplink for each VLAN and source address.
 *
 * The two halves of the address are XORed as 24-bit numbers, and the whole TCI goes in: PCP and DEI too. */
#ifndef VSW_HASHES_VLAN_SRCMAC_H
#define VSW_HASHES_VLAN_SRCMAC_H

#include "vsw/datapath/hashes/input.h"

static inline uint32_t vsw_hash_vlan_srcmac(const vsw_hash_input *in)
{
    uint64_t source = vsw_be48(in->frame + VSW_ETH_SRC);
    return in->tci ^ (uint32_t)(source >> 24) ^ (uint32_t)(source & 0xFFFFFF);
}

#endif
