/* layer3_4.h: team policy `layer3+4` of Linux bonding: both IP addresses, and ports where the packet has them.
 *
 * The lowest bit is dropped: ports of one host's connections often have the same parity.  Without a readable IP header it is `layer2`,
 * neither folded nor shifted. */
#ifndef VSW_HASHES_LAYER3_4_H
#define VSW_HASHES_LAYER3_4_H

#include "vsw/datapath/hashes/bonding.h"
#include "vsw/datapath/hashes/layer2.h"

static inline uint32_t vsw_hash_layer3_4(const vsw_hash_input *in)
{
    vsw_bond_keys keys;
    return vsw_bond_dissect(in, &keys) ? vsw_bond_fold(keys.ports ^ keys.addresses) >> 1 : vsw_hash_layer2(in);
}

#endif
