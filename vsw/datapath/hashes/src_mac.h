/* src_mac.h: team policy `src-mac`: one uplink for each source address.
 *
 * Only the last octet counts: hypervisors count their vNICs' addresses up in it. */
#ifndef VSW_HASHES_SRC_MAC_H
#define VSW_HASHES_SRC_MAC_H

#include "vsw/datapath/hashes/input.h"

static inline uint32_t vsw_hash_src_mac(const vsw_hash_input *in)
{
    return in->frame[VSW_ETH_SRC + VSW_ETH_LAST_OCTET];
}

#endif
