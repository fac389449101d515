/* registry.h: every team hash, numbered.
 *
 * A new one is a header and a line in the enum and in the switch.  `explicit` has no hash and no number: its member follows from the
 * order of the configuration alone. */
#ifndef VSW_HASHES_REGISTRY_H
#define VSW_HASHES_REGISTRY_H

#include "vsw/datapath/hashes/ip_hash.h"
#include "vsw/datapath/hashes/layer2.h"
#include "vsw/datapath/hashes/layer2_3.h"
#include "vsw/datapath/hashes/layer3_4.h"
#include "vsw/datapath/hashes/port_id.h"
#include "vsw/datapath/hashes/src_mac.h"
#include "vsw/datapath/hashes/vlan_srcmac.h"

enum {
    VSW_HASH_PORT_ID = 0,
    VSW_HASH_SRC_MAC = 1,
    VSW_HASH_IP_HASH = 2,
    VSW_HASH_LAYER2 = 3,
    VSW_HASH_LAYER2_3 = 4,
    VSW_HASH_LAYER3_4 = 5,
    VSW_HASH_VLAN_SRCMAC = 6,
};

static inline uint32_t vsw_team_hash(uint32_t policy, const vsw_hash_input *in)
{
    switch (policy) {
    case VSW_HASH_SRC_MAC: return vsw_hash_src_mac(in);
    case VSW_HASH_IP_HASH: return vsw_hash_ip_hash(in);
    case VSW_HASH_LAYER2: return vsw_hash_layer2(in);
    case VSW_HASH_LAYER2_3: return vsw_hash_layer2_3(in);
    case VSW_HASH_LAYER3_4: return vsw_hash_layer3_4(in);
    case VSW_HASH_VLAN_SRCMAC: return vsw_hash_vlan_srcmac(in);
    default: return vsw_hash_port_id(in);
    }
}

#endif
