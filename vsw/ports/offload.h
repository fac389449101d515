/* offload.h: what a guest leaves to its card, done in software: a checksum to complete, a TCP segment to cut into frames.
 *
 * Ports carry whole frames with complete checksums (port.h).  A guest that has agreed on CSUM and TSO hands over a frame whose TCP or UDP checksum holds
 * only the sum of the pseudo header, or one of up to 64 KiB with the size of the pieces that are wanted.  All of it lies in our own memory when it comes
 * here: the guest can't change it any more.  Everything that the guest says about it is checked against its length.
 *
 * Bounds: a segment of at most VSW_GSO_BYTES, pieces of at least VSW_GSO_LEAST bytes.  Thread-safety: none, a vsw_gso belongs to a port's home.  */
#ifndef VSW_PORTS_OFFLOAD_H
#define VSW_PORTS_OFFLOAD_H

#include <stdint.h>
#include <string.h>

#include "vsw/datapath/wire/bytes.h"
#include "vsw/datapath/wire/ethernet.h"
#include "vsw/datapath/wire/ip.h"

#define VSW_GSO_BYTES 66000u           /* 65,535 bytes of IP, Ethernet, two tags */
#define VSW_GSO_LEAST 64u              /* a guest could make us send a frame a byte otherwise */

enum { VSW_GSO_TCPV4 = 1, VSW_GSO_TCPV6 = 4, VSW_GSO_ECN = 0x80 };
enum { VSW_TCP_SEQUENCE = 4, VSW_TCP_OFFSET = 12, VSW_TCP_FLAGS = 13, VSW_TCP_CSUM = 16, VSW_TCP_HEADER = 20 };
enum { VSW_TCP_FIN = 0x01, VSW_TCP_PSH = 0x08, VSW_TCP_CWR = 0x80 };
enum { VSW_GSO_TPID_C = 0x8100, VSW_GSO_TPID_S = 0x88A8 };
enum { VSW_IPV4_ID = 4, VSW_IPV4_CSUM = 10 };

static inline void vsw_put_be16(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)(x >> 8);
    p[1] = (uint8_t)x;
}

static inline void vsw_put_be32(uint8_t *p, uint32_t x) {
    vsw_put_be16(p, x >> 16);
    vsw_put_be16(p + 2, x);
}

/* The ones' complement sum of bytes, in the order in which they lie; `length` odd: as if a zero followed. */
static inline uint64_t vsw_sum(const uint8_t *p, uint32_t length, uint64_t sum) {
    for (; length >= 4; p += 4, length -= 4) sum += vsw_le32(p);
    if (length & 2) {
        sum += vsw_le16(p);
        p += 2;
    }
    if (length & 1) sum += *p;
    return sum;
}

/* The checksum of a sum, ready to be stored as it lies; never 0, which means "none" in UDP and the same as 0xFFFF elsewhere. */
static inline uint16_t vsw_sum_fold(uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    uint16_t folded = (uint16_t)~sum;
    return folded ? folded : 0xFFFF;
}

/* Completes the checksum that stands `offset` bytes behind `start`, over everything from `start` on; 0: there is no room for one. */
static inline int vsw_csum_complete(uint8_t *frame, uint32_t length, uint32_t start, uint32_t offset) {
    if (start >= length || offset + 2 > length - start) return 0;
    uint16_t sum = vsw_sum_fold(vsw_sum(frame + start, length - start, 0));
    memcpy(frame + start + offset, &sum, sizeof sum);
    return 1;
}

/* A segment that is being cut. */
typedef struct vsw_gso {
    uint32_t length;                   /* bytes of the whole; 0: there is none */
    uint32_t at;                       /* bytes up to here are sent, headers included */
    uint32_t headers;                  /* bytes before the payload */
    uint32_t size;                     /* payload of a piece */
    uint32_t ip, tcp;                  /* where these headers begin */
    uint32_t v6;
    uint32_t pieces;                   /* sent so far */
    uint8_t bytes[VSW_GSO_BYTES];
} vsw_gso;

/* Looks at `length` bytes that were put into gso->bytes; 0: they are no such segment. */
static inline int vsw_gso_begin(vsw_gso *gso, uint32_t length, uint32_t type, uint32_t size, uint32_t start, uint32_t offset) {
    const uint8_t *p = gso->bytes;
    uint32_t ip = VSW_ETH_HEADER, tags = 0;
    gso->length = 0;
    type &= ~(uint32_t)VSW_GSO_ECN;
    if ((type != VSW_GSO_TCPV4 && type != VSW_GSO_TCPV6) || size < VSW_GSO_LEAST || offset != VSW_TCP_CSUM) return 0;
    while (tags < 2 && ip + 4 <= length && (vsw_be16(p + ip - 2) == VSW_GSO_TPID_C || vsw_be16(p + ip - 2) == VSW_GSO_TPID_S)) {
        ip += 4;
        tags++;
    }
    gso->v6 = type == VSW_GSO_TCPV6;
    if (length < ip + (gso->v6 ? VSW_IPV6_HEADER : VSW_IPV4_HEADER) || vsw_be16(p + ip - 2) != (gso->v6 ? VSW_TYPE_IPV6 : VSW_TYPE_IPV4)) return 0;
    if (gso->v6) {
        if (p[ip] >> VSW_IP_VERSION_SHIFT != 6 || start < ip + VSW_IPV6_HEADER) return 0;
    } else {
        uint32_t header = (p[ip] & VSW_IPV4_IHL) * 4u;
        if (p[ip] >> VSW_IP_VERSION_SHIFT != 4 || header < VSW_IPV4_HEADER || start != ip + header || p[ip + VSW_IPV4_PROTOCOL] != VSW_PROTO_TCP) return 0;
    }
    if (start > length || length - start < VSW_TCP_HEADER) return 0;
    uint32_t tcp = (p[start + VSW_TCP_OFFSET] >> 4) * 4u;
    if (tcp < VSW_TCP_HEADER || length - start <= tcp || length - ip > 65535u + (gso->v6 ? VSW_IPV6_HEADER : 0)) return 0;
    gso->ip = ip;
    gso->tcp = start;
    gso->headers = gso->at = start + tcp;
    gso->size = size;
    gso->pieces = 0;
    gso->length = length;
    return 1;
}

/* Bytes of the next piece. */
static inline uint32_t vsw_gso_next_length(const vsw_gso *gso) {
    uint32_t left = gso->length - gso->at;
    return gso->headers + (left < gso->size ? left : gso->size);
}

/* Writes the next piece, a whole frame of vsw_gso_next_length() bytes, to `to`. */
static inline void vsw_gso_next(vsw_gso *gso, uint8_t *to) {
    uint32_t payload = vsw_gso_next_length(gso) - gso->headers, sent = gso->at - gso->headers;
    uint32_t last = gso->at + payload == gso->length, tcp_bytes = gso->headers - gso->tcp + payload;
    uint8_t *ip = to + gso->ip, *tcp = to + gso->tcp;
    memcpy(to, gso->bytes, gso->headers);
    memcpy(to + gso->headers, gso->bytes + gso->at, payload);
    vsw_put_be32(tcp + VSW_TCP_SEQUENCE, vsw_be32(tcp + VSW_TCP_SEQUENCE) + sent);
    if (!last) tcp[VSW_TCP_FLAGS] &= (uint8_t)~(VSW_TCP_FIN | VSW_TCP_PSH);
    if (gso->pieces) tcp[VSW_TCP_FLAGS] &= (uint8_t)~VSW_TCP_CWR;
    uint64_t sum;
    if (gso->v6) {
        vsw_put_be16(ip + VSW_IPV6_PAYLOAD_LENGTH, gso->headers - gso->ip - VSW_IPV6_HEADER + payload);
        sum = vsw_sum(ip + VSW_IPV6_SRC, 2 * VSW_IPV6_ADDRESS, 0);
    } else {
        vsw_put_be16(ip + VSW_IPV4_TOTAL_LENGTH, gso->headers - gso->ip + payload);
        vsw_put_be16(ip + VSW_IPV4_ID, vsw_be16(ip + VSW_IPV4_ID) + gso->pieces);
        memset(ip + VSW_IPV4_CSUM, 0, 2);
        uint16_t check = vsw_sum_fold(vsw_sum(ip, gso->tcp - gso->ip, 0));
        memcpy(ip + VSW_IPV4_CSUM, &check, sizeof check);
        sum = vsw_sum(ip + VSW_IPV4_SRC, 2 * VSW_IPV4_ADDRESS, 0);
    }
    /* The pseudo header: addresses, protocol, length. */
    uint8_t rest[4] = {0, VSW_PROTO_TCP, (uint8_t)(tcp_bytes >> 8), (uint8_t)tcp_bytes};
    memset(tcp + VSW_TCP_CSUM, 0, 2);
    uint16_t check = vsw_sum_fold(vsw_sum(tcp, tcp_bytes, vsw_sum(rest, sizeof rest, sum)));
    memcpy(tcp + VSW_TCP_CSUM, &check, sizeof check);
    gso->at += payload;
    gso->pieces++;
    if (last) gso->length = 0;
}

#endif
