/* layer2_3.h: team policy `layer2+3` of Linux bonding: the layer-2 hash and both IP addresses.
 *
 * Without a readable IP header it is `layer2`, not folded. */
#ifndef VSW_HASHES_LAYER2_3_H
#define VSW_HASHES_LAYER2_3_H

#include "vsw/datapath/hashes/bonding.h"
#include "vsw/datapath/hashes/layer2.h"

static inline uint32_t vsw_hash_layer2_3(const vsw_hash_input *in)
{
    vsw_bond_keys keys;
    uint32_t ethernet = vsw_hash_layer2(in);
    return vsw_bond_dissect(in, &keys) ? vsw_bond_fold(ethernet ^ keys.addresses) : ethernet;
}

#endif
