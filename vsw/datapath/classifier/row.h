/* row.h: what classify writes for a frame, and the flow hash.
 *
 * The row has no gaps and is ten 64-bit words long; vsw/datapath/rows.py describes the same columns to Python.  Their order is chosen for the straight way,
 * which gathers a row in 16-byte vectors: columns that lie in one vector of the frame lie in one vector of the row.  */
#ifndef VSW_CLASSIFIER_ROW_H
#define VSW_CLASSIFIER_ROW_H

#include "vsw/datapath/wire/bytes.h"
#include "vsw/datapath/wire/ethernet.h"
#include "vsw/datapath/wire/ip.h"
#include "vsw/datapath/wire/l4.h"
#include "vsw/datapath/wire/vlan.h"

enum { VSW_ROW_WORDS = 10 };

typedef struct vsw_row {
    uint8_t dst[VSW_ETH_ADDRESS], src[VSW_ETH_ADDRESS];
    uint16_t outer_tpid, outer_tci, inner_tpid, inner_tci, ethertype;
    uint8_t tos, spare;
    uint32_t length, captured;
    uint8_t src_ip[VSW_IPV6_ADDRESS], dst_ip[VSW_IPV6_ADDRESS];
    uint16_t sport, dport;
    uint32_t flow_hash;
    uint8_t ip_version, protocol, network, tags;
    uint16_t transport, flags;
} vsw_row;
_Static_assert(sizeof(vsw_row) == VSW_ROW_WORDS * sizeof(uint64_t), "a row is ten words, without gaps");

enum {
    VSW_ROW_GROUP = 1 << 0,
    VSW_ROW_BROADCAST = 1 << 1,
    VSW_ROW_HAS_PORTS = 1 << 2,
    VSW_ROW_LENGTH_FIELD = 1 << 3,
    VSW_ROW_UNREAD_TAG = 1 << 4,
    VSW_ROW_IP_OPTIONS = 1 << 5,
    VSW_ROW_FRAGMENT = 1 << 6,
    VSW_ROW_LATER_FRAGMENT = 1 << 7,
    VSW_ROW_GROUP_SOURCE = 1 << 8,          /* bit 0 of the second octet: straight.h puts it there */
    VSW_ROW_CUT = 1 << 9,
    VSW_ROW_MALFORMED = 1 << 10,
};

/* By IP protocol: 1 where the transport header begins with two ports. */
static const uint8_t vsw_has_ports[256] = {
    [VSW_PROTO_TCP] = 1, [VSW_PROTO_UDP] = 1, [VSW_PROTO_DCCP] = 1, [VSW_PROTO_SCTP] = 1, [VSW_PROTO_UDP_LITE] = 1,
};

/* One 128-bit product, folded. */
static inline uint64_t vsw_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#define VSW_FLOW_END UINT64_C(0xA0761D6478BD642F)
#define VSW_FLOW_UPPER UINT64_C(0x9E3779B97F4A7C15)

/* Both ends are mostly constant, and the product alone shows it; a second one spreads what varies over the 32 bits that are kept. */
static inline uint32_t vsw_flow_finish(uint64_t mixed, uint32_t kind)
{
    return (uint32_t)((mixed ^ kind) * VSW_FLOW_UPPER >> 32);
}

/* An end is an address and a port, as they stand on the wire.  A product does not mind which end comes first, so both directions of a flow
 * get the same hash. */
static inline uint32_t vsw_flow_hash(uint64_t one_end, uint64_t other_end, uint32_t kind)
{
    return vsw_flow_finish(vsw_mix(one_end ^ VSW_FLOW_END, other_end ^ VSW_FLOW_END), kind);
}

static inline uint64_t vsw_ipv4_end(const uint8_t *address, uint32_t port_as_sent)
{
    return vsw_le32(address) | (uint64_t)port_as_sent << 32;
}

static inline uint64_t vsw_ipv6_end(const uint8_t *address, uint32_t port_as_sent)
{
    return vsw_mix(vsw_le64(address) ^ VSW_FLOW_UPPER, vsw_le64(address + 8) ^ VSW_FLOW_END) + port_as_sent;
}

#endif
