/* layer2.h: team policy `layer2` of Linux bonding: last octets of both MAC addresses, and the EtherType.
 *
 * Also what the policies over IP fall back to when there is no IP header that could be read. */
#ifndef VSW_HASHES_LAYER2_H
#define VSW_HASHES_LAYER2_H

#include "vsw/datapath/hashes/input.h"

static inline uint32_t vsw_hash_layer2(const vsw_hash_input *in)
{
    return in->frame[VSW_ETH_DST + VSW_ETH_LAST_OCTET] ^ in->frame[VSW_ETH_SRC + VSW_ETH_LAST_OCTET] ^ vsw_hash_type(in);
}

#endif
