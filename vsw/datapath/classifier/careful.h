/* careful.h: any frame into a row, header by header.
 *
 * The way of frames that are not what most frames are, of machines without vectors, and the measure of the straight way: both must give the same row.
 * Each header's length is proved once, before anything in it is read; what can't be read stays 0. */
#ifndef VSW_CLASSIFIER_CAREFUL_H
#define VSW_CLASSIFIER_CAREFUL_H

#include "vsw/datapath/classifier/row.h"

enum { VSW_EXTENSIONS = 8 };           /* at most so many IPv6 extension headers are walked */

static inline uint16_t vsw_mac_flags(uint64_t first_word)
{
    return (uint16_t)((first_word & VSW_ETH_GROUP ? VSW_ROW_GROUP : 0) | (first_word << 16 == ~UINT64_C(0) << 16 ? VSW_ROW_BROADCAST : 0)
                      | (first_word >> 48 & VSW_ETH_GROUP ? VSW_ROW_GROUP_SOURCE : 0));
}

/* Are there `n` bytes?  If not the row is told why. */
static inline int vsw_row_needs(vsw_row *row, uint32_t n)
{
    if (row->captured >= n)
        return 1;
    row->flags |= row->length < n ? VSW_ROW_MALFORMED : VSW_ROW_CUT;
    return 0;
}

/* Reads tags and type; where what follows begins, or 0 if the frame has no whole Ethernet header. */
static inline uint32_t vsw_row_ethernet(vsw_row *row, const uint8_t *frame)
{
    uint32_t at = VSW_ETH_TYPE;

    if (!vsw_row_needs(row, VSW_ETH_HEADER))
        return 0;
    memcpy(row->dst, frame + VSW_ETH_DST, VSW_ETH_ADDRESS);
    memcpy(row->src, frame + VSW_ETH_SRC, VSW_ETH_ADDRESS);
    row->flags |= vsw_mac_flags(vsw_le64(frame));
    row->ethertype = vsw_be16(frame + at);
    while (row->tags < 2 && vsw_is_any_tpid(row->ethertype) && vsw_row_needs(row, at + VSW_TAG_AND_TYPE)) {
        uint16_t tci = vsw_be16(frame + at + VSW_TAG_TCI);
        *(row->tags ? &row->inner_tpid : &row->outer_tpid) = row->ethertype;
        *(row->tags ? &row->inner_tci : &row->outer_tci) = tci;
        row->tags++;
        at += VSW_TAG;
        row->ethertype = vsw_be16(frame + at);
    }
    if (vsw_is_any_tpid(row->ethertype))
        row->flags |= VSW_ROW_UNREAD_TAG;
    else if (row->ethertype < VSW_ETH_TYPE_MIN)
        row->flags |= VSW_ROW_LENGTH_FIELD;
    row->network = (uint8_t)(at + 2);
    return at + 2;
}

/* Where the transport header begins; 0 if there is none to be found. */
static inline uint32_t vsw_row_ipv4(vsw_row *row, const uint8_t *frame, uint32_t at)
{
    const uint8_t *header = frame + at;
    uint32_t size, fragment;

    if (!vsw_row_needs(row, at + VSW_IPV4_HEADER))
        return 0;
    size = 4u * (header[VSW_IPV4_VERSION_IHL] & VSW_IPV4_IHL);
    if (header[VSW_IPV4_VERSION_IHL] >> VSW_IP_VERSION_SHIFT != 4 || size < VSW_IPV4_HEADER) {
        row->flags |= VSW_ROW_MALFORMED;
        return 0;
    }
    fragment = vsw_be16(header + VSW_IPV4_FRAGMENT);
    row->ip_version = 4;
    row->tos = header[VSW_IPV4_TOS];
    row->protocol = header[VSW_IPV4_PROTOCOL];
    memcpy(row->src_ip, header + VSW_IPV4_SRC, VSW_IPV4_ADDRESS);
    memcpy(row->dst_ip, header + VSW_IPV4_DST, VSW_IPV4_ADDRESS);
    row->flags |= (size > VSW_IPV4_HEADER ? VSW_ROW_IP_OPTIONS : 0)
                  | (fragment & (VSW_IPV4_MORE_FRAGMENTS | VSW_IPV4_FRAGMENT_OFFSET) ? VSW_ROW_FRAGMENT : 0)
                  | (fragment & VSW_IPV4_FRAGMENT_OFFSET ? VSW_ROW_LATER_FRAGMENT : 0);
    return vsw_row_needs(row, at + size) && !(row->flags & VSW_ROW_LATER_FRAGMENT) ? at + size : 0;
}

static inline uint32_t vsw_row_ipv6(vsw_row *row, const uint8_t *frame, uint32_t at)
{
    const uint8_t *header = frame + at;
    uint32_t size;

    if (!vsw_row_needs(row, at + VSW_IPV6_HEADER))
        return 0;
    if (header[VSW_IPV6_VERSION] >> VSW_IP_VERSION_SHIFT != 6) {
        row->flags |= VSW_ROW_MALFORMED;
        return 0;
    }
    row->ip_version = 6;
    row->tos = (uint8_t)(vsw_be16(header) >> VSW_IPV6_CLASS_SHIFT);
    row->protocol = header[VSW_IPV6_NEXT];
    memcpy(row->src_ip, header + VSW_IPV6_SRC, VSW_IPV6_ADDRESS);
    memcpy(row->dst_ip, header + VSW_IPV6_DST, VSW_IPV6_ADDRESS);
    at += VSW_IPV6_HEADER;
    for (uint32_t i = 0; i < VSW_EXTENSIONS; i++) {
        switch (row->protocol) {
        case VSW_PROTO_HOP_BY_HOP: case VSW_PROTO_ROUTING: case VSW_PROTO_DESTINATION: case VSW_PROTO_FRAGMENT: case VSW_PROTO_AH:
            break;
        default:
            return at;
        }
        row->flags |= VSW_ROW_IP_OPTIONS;
        if (!vsw_row_needs(row, at + VSW_EXTENSION_MIN))
            return 0;
        header = frame + at;
        size = VSW_EXTENSION_MIN;
        if (row->protocol == VSW_PROTO_FRAGMENT) {
            uint16_t fragment = vsw_be16(header + VSW_FRAGMENT_OFFSET);
            row->flags |= (fragment & VSW_FRAGMENT_PART ? VSW_ROW_FRAGMENT : 0) | (fragment & VSW_FRAGMENT_LATER ? VSW_ROW_LATER_FRAGMENT : 0);
        } else if (row->protocol == VSW_PROTO_AH) {
            size = 4u * (header[VSW_EXTENSION_LENGTH] + 2u);
        } else {
            size = 8u * (header[VSW_EXTENSION_LENGTH] + 1u);
        }
        if (!vsw_row_needs(row, at + size))
            return 0;
        row->protocol = header[VSW_EXTENSION_NEXT];
        at += size;
        if (row->flags & VSW_ROW_LATER_FRAGMENT)
            return 0;
    }
    return at;
}

static inline void vsw_classify_any(vsw_row *row, const uint8_t *frame, uint32_t captured, uint32_t length)
{
    uint32_t network, transport = 0;

    memset(row, 0, sizeof *row);
    row->captured = captured;
    row->length = length;
    network = vsw_row_ethernet(row, frame);
    if (!network)
        return;
    if (row->ethertype == VSW_TYPE_IPV4)
        transport = vsw_row_ipv4(row, frame, network);
    else if (row->ethertype == VSW_TYPE_IPV6)
        transport = vsw_row_ipv6(row, frame, network);
    row->transport = (uint16_t)transport;
    if (transport && vsw_has_ports[row->protocol] && vsw_row_needs(row, transport + VSW_L4_PORTS)) {
        row->flags |= VSW_ROW_HAS_PORTS;
        row->sport = vsw_be16(frame + transport + VSW_L4_SRC_PORT);
        row->dport = vsw_be16(frame + transport + VSW_L4_DST_PORT);
    }
    /* All fragments of a packet have the same hash, so none of them may count ports. */
    uint32_t counts = !(row->flags & VSW_ROW_FRAGMENT);
    uint32_t sport = __builtin_bswap16(row->sport) * counts, dport = __builtin_bswap16(row->dport) * counts;
    if (row->ip_version == 4)
        row->flow_hash = vsw_flow_hash(vsw_ipv4_end(row->src_ip, sport), vsw_ipv4_end(row->dst_ip, dport), row->protocol);
    else if (row->ip_version == 6)
        row->flow_hash = vsw_flow_hash(vsw_ipv6_end(row->src_ip, sport), vsw_ipv6_end(row->dst_ip, dport), row->protocol);
    else
        row->flow_hash = vsw_flow_hash(vsw_be48(row->src), vsw_be48(row->dst), row->ethertype < VSW_ETH_TYPE_MIN ? 0 : row->ethertype);
}

#endif
