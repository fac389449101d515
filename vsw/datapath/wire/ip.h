/* ip.h: IPv4, IPv6 and IPv6's extension headers: offsets from the header's start, and what a field's bits mean.
 *
 * Used by the team hashes and by classify, which need addresses, the protocol, and where the transport header begins.  A header of
 * VSW_IPV4_HEADER or VSW_IPV6_HEADER captured bytes has every field named here. */
#ifndef VSW_WIRE_IP_H
#define VSW_WIRE_IP_H

#include "vsw/datapath/wire/bytes.h"

enum {
    VSW_IPV4_VERSION_IHL = 0,
    VSW_IPV4_TOS = 1,
    VSW_IPV4_TOTAL_LENGTH = 2,
    VSW_IPV4_FRAGMENT = 6,
    VSW_IPV4_TTL = 8,
    VSW_IPV4_PROTOCOL = 9,
    VSW_IPV4_SRC = 12,
    VSW_IPV4_DST = 16,
    VSW_IPV4_HEADER = 20,              /* without options */
    VSW_IPV4_ADDRESS = 4,
    VSW_IPV4_IHL = 0x0F,               /* in 4-byte words */
    VSW_IPV4_MORE_FRAGMENTS = 0x2000,
    VSW_IPV4_FRAGMENT_OFFSET = 0x1FFF, /* in 8-byte units */

    VSW_IPV6_VERSION = 0,
    VSW_IPV6_CLASS_SHIFT = 4,          /* the first two octets: version, traffic class, flow label */
    VSW_IPV6_PAYLOAD_LENGTH = 4,
    VSW_IPV6_NEXT = 6,
    VSW_IPV6_SRC = 8,
    VSW_IPV6_DST = 24,
    VSW_IPV6_HEADER = 40,
    VSW_IPV6_ADDRESS = 16,

    VSW_EXTENSION_NEXT = 0,            /* extension headers: next header, length */
    VSW_EXTENSION_LENGTH = 1,
    VSW_EXTENSION_MIN = 8,             /* bytes of the shortest one */
    VSW_FRAGMENT_OFFSET = 2,           /* of the fragment header: offset in 8-byte units << 3, and MF */
    VSW_FRAGMENT_PART = 0xFFF9,        /* any of these bits: not the whole packet (an atomic fragment has none) */
    VSW_FRAGMENT_LATER = 0xFFF8,       /* not the first fragment */

    VSW_IP_VERSION_SHIFT = 4,          /* of the first octet, both versions */
};

/* IP protocol numbers (IPv4 protocol, IPv6 next header). */
enum {
    VSW_PROTO_HOP_BY_HOP = 0,
    VSW_PROTO_ICMP = 1,
    VSW_PROTO_TCP = 6,
    VSW_PROTO_UDP = 17,
    VSW_PROTO_DCCP = 33,
    VSW_PROTO_ROUTING = 43,
    VSW_PROTO_FRAGMENT = 44,
    VSW_PROTO_ESP = 50,
    VSW_PROTO_AH = 51,
    VSW_PROTO_ICMP6 = 58,
    VSW_PROTO_NO_NEXT = 59,
    VSW_PROTO_DESTINATION = 60,
    VSW_PROTO_SCTP = 132,
    VSW_PROTO_MOBILITY = 135,
    VSW_PROTO_UDP_LITE = 136,
    VSW_PROTO_HIP = 139,
    VSW_PROTO_SHIM6 = 140,
};

#endif
