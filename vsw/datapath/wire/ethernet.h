/* ethernet.h: the Ethernet header, where every frame begins.
 *
 * A frame with VSW_ETH_HEADER captured bytes has all three fields; nothing else is checked after that.  What stands at VSW_ETH_TYPE is an
 * EtherType from VSW_ETH_TYPE_MIN upwards, below that the length of an 802.3 frame. */
#ifndef VSW_WIRE_ETHERNET_H
#define VSW_WIRE_ETHERNET_H

#include "vsw/datapath/wire/bytes.h"

enum {
    VSW_ETH_DST = 0,
    VSW_ETH_SRC = 6,
    VSW_ETH_TYPE = 12,                 /* of an untagged frame, or the TPID of the outermost tag */
    VSW_ETH_HEADER = 14,
    VSW_ETH_ADDRESS = 6,               /* bytes of a MAC address */
    VSW_ETH_LAST_OCTET = 5,            /* of an address, from its start */
    VSW_ETH_GROUP = 0x01,              /* in an address's first octet */
    VSW_ETH_TYPE_MIN = 0x0600,

    VSW_TYPE_IPV4 = 0x0800,
    VSW_TYPE_ARP = 0x0806,
    VSW_TYPE_IPV6 = 0x86DD,
};

#define VSW_MAC_BROADCAST UINT64_C(0xFFFFFFFFFFFF)

#endif
