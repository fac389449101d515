/* ip_hash.h: team policy `ip-hash`: one uplink for each pair of IP addresses, both directions alike.
 *
 * For IPv4 the XOR of both addresses, big-endian; for IPv6 the XOR of the eight words of both.  Whatever else a frame carries, the eight bytes
 * are taken where IPv4 has its addresses: the hash must not depend on a protocol being known.  Bytes that were not captured count as 0. */
#ifndef VSW_HASHES_IP_HASH_H
#define VSW_HASHES_IP_HASH_H

#include "vsw/datapath/hashes/input.h"
#include "vsw/datapath/wire/ip.h"

/* The big-endian word at `at`, with zeros for what was not captured. */
static inline uint32_t vsw_be32_or_zeros(const uint8_t *frame, uint32_t at, uint32_t captured)
{
    uint32_t word = 0;
    for (uint32_t i = 0; i < 4; i++)
        word = word << 8 | (at + i < captured ? frame[at + i] : 0);
    return word;
}

/* XOR of the eight 32-bit words of both IPv6 addresses, as they lie in memory. */
static inline uint32_t vsw_xor_ipv6_addresses(const uint8_t *header)
{
    const uint8_t *p = header + VSW_IPV6_SRC;
    uint64_t both = vsw_le64(p) ^ vsw_le64(p + 8) ^ vsw_le64(p + 16) ^ vsw_le64(p + 24);
    return (uint32_t)both ^ (uint32_t)(both >> 32);
}

static inline uint32_t vsw_hash_ip_hash(const vsw_hash_input *in)
{
    uint32_t header = in->type_at + 2, src = header + VSW_IPV4_SRC, dst = header + VSW_IPV4_DST, hash;

    if (vsw_hash_type(in) == VSW_TYPE_IPV6 && in->captured >= header + VSW_IPV6_HEADER)
        hash = __builtin_bswap32(vsw_xor_ipv6_addresses(in->frame + header));
    else if (in->captured >= header + VSW_IPV4_HEADER)
        hash = vsw_be32(in->frame + src) ^ vsw_be32(in->frame + dst);
    else
        hash = vsw_be32_or_zeros(in->frame, src, in->captured) ^ vsw_be32_or_zeros(in->frame, dst, in->captured);
    return in->ip_hash_bits == 8 ? hash & 0xFF : hash;
}

#endif
