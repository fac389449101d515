/* bonding.h: how Linux bonding reads a frame for `layer2+3` and `layer3+4`.
 *
 * Deliberately less than a parser would do, for members must be picked as the kernel picks them: IPv4's version and header length are not
 * checked, a fragment (the first one too) has no ports, of IPv6 only the first next header counts, tunnels are not opened, and neither the total
 * length nor trailing padding is looked at.  An ICMP error is hashed as the packet that it quotes, so that it takes the way of its flow.
 * Words are little-endian: that is what the kernel has on the hosts that count. */
#ifndef VSW_HASHES_BONDING_H
#define VSW_HASHES_BONDING_H

#include "vsw/datapath/hashes/input.h"
#include "vsw/datapath/hashes/ip_hash.h"
#include "vsw/datapath/wire/ip.h"
#include "vsw/datapath/wire/l4.h"

enum { VSW_BOND_NO_PROTOCOL = 256 };   /* a fragment: neither ports nor ICMP */

typedef struct vsw_bond_keys {
    uint32_t addresses;                /* source XOR destination */
    uint32_t ports;                    /* both ports, an SPI, or an ICMP query's type, code and identifier; 0 if none */
} vsw_bond_keys;

/* Reads one IP header at `at` of D's EtherType; 0 if there is none.  `l4` is where the transport header begins, in the captured bytes or not. */
static inline int vsw_bond_ip(const uint8_t *frame, uint32_t at, uint32_t captured, uint16_t type, uint32_t *addresses, uint32_t *protocol, uint32_t *l4)
{
    const uint8_t *header = frame + at;

    if (type == VSW_TYPE_IPV4 && captured >= at + VSW_IPV4_HEADER) {
        uint16_t fragment = vsw_be16(header + VSW_IPV4_FRAGMENT) & (VSW_IPV4_MORE_FRAGMENTS | VSW_IPV4_FRAGMENT_OFFSET);
        *addresses = vsw_le32(header + VSW_IPV4_SRC) ^ vsw_le32(header + VSW_IPV4_DST);
        *protocol = fragment ? VSW_BOND_NO_PROTOCOL : header[VSW_IPV4_PROTOCOL];
        *l4 = at + 4u * (header[VSW_IPV4_VERSION_IHL] & VSW_IPV4_IHL);
        return 1;
    }
    if (type == VSW_TYPE_IPV6 && captured >= at + VSW_IPV6_HEADER) {
        *addresses = vsw_xor_ipv6_addresses(header);
        *protocol = header[VSW_IPV6_NEXT];
        *l4 = at + VSW_IPV6_HEADER;
        return 1;
    }
    return 0;
}

static inline uint32_t vsw_bond_ports(const uint8_t *frame, uint32_t l4, uint32_t captured, uint32_t protocol)
{
    switch (protocol) {
    case VSW_PROTO_AH:
        l4 += VSW_AH_SPI;
        break;
    case VSW_PROTO_TCP: case VSW_PROTO_UDP: case VSW_PROTO_DCCP: case VSW_PROTO_ESP: case VSW_PROTO_SCTP: case VSW_PROTO_UDP_LITE:
        break;
    default:
        return 0;
    }
    return captured >= l4 + VSW_L4_PORTS ? vsw_le32(frame + l4) : 0;
}

/* Types whose identifier stands for the ports.  Both families' numbers count, whichever of the two protocols it is. */
static inline int vsw_icmp_has_id(uint8_t type)
{
    return type == VSW_ICMP_ECHO_REPLY || type == VSW_ICMP_ECHO || type == VSW_ICMP_TIMESTAMP || type == VSW_ICMP_TIMESTAMP_REPLY
           || type == VSW_ICMP6_ECHO || type == VSW_ICMP6_ECHO_REPLY;
}

static inline int vsw_icmp_is_error(uint32_t protocol, uint8_t type)
{
    if (protocol == VSW_PROTO_ICMP6)
        return type >= VSW_ICMP6_UNREACHABLE && type <= VSW_ICMP6_PARAMETER;
    return type == VSW_ICMP_UNREACHABLE || type == VSW_ICMP_SOURCE_QUENCH || type == VSW_ICMP_REDIRECT || type == VSW_ICMP_TIME_EXCEEDED
           || type == VSW_ICMP_PARAMETER;
}

/* Fills `keys`; 0 if there is no IP header that can be read, outside or in an ICMP error. */
static inline int vsw_bond_dissect(const vsw_hash_input *in, vsw_bond_keys *keys)
{
    const uint8_t *frame = in->frame;
    uint32_t captured = in->captured, protocol, l4;
    uint16_t type = vsw_hash_type(in);

    if (!vsw_bond_ip(frame, in->type_at + 2, captured, type, &keys->addresses, &protocol, &l4))
        return 0;
    if (protocol != VSW_PROTO_ICMP && protocol != VSW_PROTO_ICMP6) {
        keys->ports = vsw_bond_ports(frame, l4, captured, protocol);
        return 1;
    }
    keys->ports = 0;
    if (captured < l4 + VSW_ICMP_HEADER)
        return 1;
    if (vsw_icmp_has_id(frame[l4 + VSW_ICMP_TYPE])) {
        uint32_t id = vsw_be16(frame + l4 + VSW_ICMP_ID);
        keys->ports = frame[l4 + VSW_ICMP_TYPE] | (uint32_t)frame[l4 + VSW_ICMP_CODE] << 8 | (id ? id : 1) << 16;
    } else if (vsw_icmp_is_error(protocol, frame[l4 + VSW_ICMP_TYPE])) {
        if (!vsw_bond_ip(frame, l4 + VSW_ICMP_HEADER, captured, type, &keys->addresses, &protocol, &l4))
            return 0;
        keys->ports = vsw_bond_ports(frame, l4, captured, protocol);
    }
    return 1;
}

static inline uint32_t vsw_bond_fold(uint32_t hash)
{
    hash ^= hash >> 16;
    return hash ^ hash >> 8;
}

#endif
