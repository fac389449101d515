/* join.h: TCP frames that follow each other, joined into one segment for a guest whose card may hand it such.
 *
 * The switch sees frames as they are on a wire (offload.h cuts what guests send).  A guest that has agreed on GUEST_TSO takes up to 64 KiB of a flow at
 * once, which costs it a fraction; so copies on their way to it that stand next to each other, of one flow, in sequence, are joined again, whoever sent
 * them.  What the guest gets is what its own card would have cut into exactly these frames: same headers, all payloads of one size but the last,
 * PSH and FIN only on the last.  Checksums are verified first, because the guest will not: a frame that was damaged on its way stays one by itself.
 *
 * Order is kept: only neighbours are joined.  Frames with tags, IP options or fragments, CWR, SYN, RST or URG are left alone.
 *
 * Bounds: VSW_GSO_BYTES, as in offload.h.  Thread-safety: none needed, it only reads.  */
#ifndef VSW_PORTS_JOIN_H
#define VSW_PORTS_JOIN_H

#include "vsw/ports/offload.h"
#include "vsw/ports/port.h"

enum { VSW_TCP_PORTS_BYTES = 4, VSW_TCP_ACK_AT = 8, VSW_TCP_WINDOW = 14, VSW_TCP_URGENT = 18 };
enum { VSW_TCP_ACK = 0x10, VSW_TCP_ECE = 0x40 };
#define VSW_TCP_LAST (VSW_TCP_FIN | VSW_TCP_PSH)   /* flags that only a segment's last frame may have */
#define VSW_IPV4_LEAST 20u                          /* a header without options */
#define VSW_IPV4_PLAIN 0x45u                        /* first byte of such */
#define VSW_IPV4_DF 0x40u
#define VSW_IP_MOST 65535u
#define VSW_JOIN_HEADERS (VSW_ETH_HEADER + VSW_IPV6_HEADER + 60u)

/* Bytes that go out one behind the other. */
typedef struct vsw_part {
    const uint8_t *data;
    uint32_t length;
} vsw_part;

/* What is looked at of a copy that may be a piece. */
typedef struct vsw_piece {
    const uint8_t *ip, *tcp, *payload;
    uint32_t bytes;                    /* of the payload */
    uint32_t v6;
} vsw_piece;

/* A run of copies that are one segment. */
typedef struct vsw_join {
    uint32_t count;                    /* copies */
    uint32_t size;                     /* payload of each but the last */
    uint32_t headers;                  /* bytes before the payload */
    uint32_t payload;                  /* of all */
    uint32_t tcp;                      /* where the TCP header begins */
    uint32_t v6;
    uint8_t head[VSW_JOIN_HEADERS];
} vsw_join;

/* Whether a copy is TCP with nothing special about it; its checksum is not yet looked at. */
static inline int vsw_piece_look(const vsw_out *out, vsw_piece *p) {
    const vsw_copy *copy = &out->copy;
    uint32_t begin = copy->body_at + 2u;
    if (copy->tags || copy->pad || out->captured < begin + VSW_IPV4_LEAST + VSW_TCP_HEADER) return 0;
    uint32_t left = out->captured - begin, type = vsw_be16(out->data + copy->body_at), header;
    const uint8_t *ip = out->data + begin;
    p->v6 = type == VSW_TYPE_IPV6;
    if (p->v6) {
        header = VSW_IPV6_HEADER;
        if (left < VSW_IPV6_HEADER + VSW_TCP_HEADER || ip[0] >> VSW_IP_VERSION_SHIFT != 6 || ip[VSW_IPV6_NEXT] != VSW_PROTO_TCP) return 0;
        if (vsw_be16(ip + VSW_IPV6_PAYLOAD_LENGTH) != left - VSW_IPV6_HEADER) return 0;
    } else {
        header = VSW_IPV4_LEAST;
        if (type != VSW_TYPE_IPV4 || ip[0] != VSW_IPV4_PLAIN || ip[VSW_IPV4_PROTOCOL] != VSW_PROTO_TCP) return 0;
        if (vsw_be16(ip + VSW_IPV4_TOTAL_LENGTH) != left || (vsw_be16(ip + VSW_IPV4_FRAGMENT) & (uint32_t)~(VSW_IPV4_DF << 8))) return 0;
    }
    const uint8_t *tcp = ip + header;
    uint32_t words = tcp[VSW_TCP_OFFSET], flags = tcp[VSW_TCP_FLAGS], bytes = (words >> 4) * 4;
    if ((words & 0xF) || bytes < VSW_TCP_HEADER || header + bytes >= left) return 0;
    if ((flags & ~(uint32_t)(VSW_TCP_LAST | VSW_TCP_ECE)) != VSW_TCP_ACK || vsw_be16(tcp + VSW_TCP_URGENT)) return 0;
    p->ip = ip;
    p->tcp = tcp;
    p->payload = tcp + bytes;
    p->bytes = left - header - bytes;
    return 1;
}

/* Whether the checksums of a piece are right. */
static inline int vsw_piece_sound(const vsw_piece *p) {
    uint32_t bytes = (uint32_t)(p->payload - p->tcp) + p->bytes;
    uint8_t rest[4] = {0, VSW_PROTO_TCP, (uint8_t)(bytes >> 8), (uint8_t)bytes};
    uint64_t sum = vsw_sum(rest, sizeof rest, vsw_sum(p->tcp, bytes, 0));
    if (p->v6) return vsw_sum_fold(vsw_sum(p->ip + VSW_IPV6_SRC, 2 * VSW_IPV6_ADDRESS, sum)) == 0xFFFF;
    return vsw_sum_fold(vsw_sum(p->ip, VSW_IPV4_LEAST, 0)) == 0xFFFF &&
           vsw_sum_fold(vsw_sum(p->ip + VSW_IPV4_SRC, 2 * VSW_IPV4_ADDRESS, sum)) == 0xFFFF;
}

/* Whether `b` is the frame behind `count` frames that began with `a` and hold `payload` bytes. */
static inline int vsw_piece_follows(const vsw_piece *a, const vsw_piece *b, uint32_t count, uint32_t payload) {
    if (a->v6 != b->v6 || a->payload - a->tcp != b->payload - b->tcp || b->bytes > a->bytes) return 0;
    if (vsw_be32(b->tcp + VSW_TCP_SEQUENCE) != (uint32_t)(vsw_be32(a->tcp + VSW_TCP_SEQUENCE) + payload)) return 0;
    if (a->v6) {
        if (memcmp(a->ip, b->ip, VSW_IPV6_PAYLOAD_LENGTH) || memcmp(a->ip + VSW_IPV6_NEXT, b->ip + VSW_IPV6_NEXT, VSW_IPV6_HEADER - VSW_IPV6_NEXT)) return 0;
    } else {
        uint32_t id = vsw_be16(b->ip + VSW_IPV4_ID), first = vsw_be16(a->ip + VSW_IPV4_ID);
        if (id != ((first + count) & 0xFFFF) && !(id == first && (a->ip[VSW_IPV4_FRAGMENT] & VSW_IPV4_DF))) return 0;
        if (memcmp(a->ip, b->ip, VSW_IPV4_TOTAL_LENGTH) || memcmp(a->ip + VSW_IPV4_FRAGMENT, b->ip + VSW_IPV4_FRAGMENT, VSW_IPV4_CSUM - VSW_IPV4_FRAGMENT))
            return 0;
        if (memcmp(a->ip + VSW_IPV4_SRC, b->ip + VSW_IPV4_SRC, 2 * VSW_IPV4_ADDRESS)) return 0;
    }
    if (memcmp(a->tcp, b->tcp, VSW_TCP_PORTS_BYTES) || memcmp(a->tcp + VSW_TCP_ACK_AT, b->tcp + VSW_TCP_ACK_AT, VSW_TCP_FLAGS - VSW_TCP_ACK_AT)) return 0;
    if ((a->tcp[VSW_TCP_FLAGS] ^ b->tcp[VSW_TCP_FLAGS]) & ~VSW_TCP_LAST) return 0;
    if (memcmp(a->tcp + VSW_TCP_WINDOW, b->tcp + VSW_TCP_WINDOW, 2)) return 0;
    return !memcmp(a->tcp + VSW_TCP_HEADER, b->tcp + VSW_TCP_HEADER, (size_t)(a->payload - a->tcp) - VSW_TCP_HEADER);
}

/* The run that begins at out[0], of at most `count` copies; `types`: a bit for each vsw GSO type that may come out.  Fills `join` and `payload[]` (where
 * each copy's begins, and its bytes); returns how many copies it has, 0 if there is none. */
static inline uint32_t vsw_join_run(const vsw_out *const *out, uint32_t count, uint32_t types, vsw_join *join, vsw_part *payload) {
    vsw_piece first, next;
    if (count < 2 || out[0]->captured < VSW_ETH_HEADER + VSW_IPV4_LEAST + VSW_TCP_HEADER + VSW_GSO_LEAST) return 0;
    if (!vsw_piece_look(out[0], &first) || (first.tcp[VSW_TCP_FLAGS] & VSW_TCP_LAST) || first.bytes < VSW_GSO_LEAST) return 0;
    if (!(types >> (first.v6 ? VSW_GSO_TCPV6 : VSW_GSO_TCPV4) & 1)) return 0;
    uint32_t headers = VSW_ETH_HEADER + (uint32_t)(first.payload - first.ip), n = 1, total = first.bytes, flags = 0;
    for (; n < count; n++) {
        const vsw_out *o = out[n];
        if (memcmp(o->data, out[0]->data, VSW_MACS) || !vsw_piece_look(o, &next) || !vsw_piece_follows(&first, &next, n, total)) break;
        if (headers - VSW_ETH_HEADER + total + next.bytes > VSW_IP_MOST) break;
        if ((n == 1 && !vsw_piece_sound(&first)) || !vsw_piece_sound(&next)) break;
        if (n == 1) payload[0] = (vsw_part){first.payload, first.bytes};
        payload[n] = (vsw_part){next.payload, next.bytes};
        total += next.bytes;
        flags = next.tcp[VSW_TCP_FLAGS] & VSW_TCP_LAST;
        if (flags || next.bytes < first.bytes) {
            n++;
            break;
        }
    }
    if (n < 2) return 0;
    *join = (vsw_join){.count = n, .size = first.bytes, .headers = headers, .payload = total, .v6 = first.v6};
    uint8_t *ip = join->head + VSW_ETH_HEADER;
    join->tcp = VSW_ETH_HEADER + (uint32_t)(first.tcp - first.ip);
    memcpy(join->head, out[0]->data, VSW_MACS);
    memcpy(join->head + VSW_MACS, first.ip - 2, headers - VSW_MACS);
    uint32_t tcp_bytes = headers - join->tcp + total;
    uint8_t *tcp = join->head + join->tcp;
    uint64_t sum;
    tcp[VSW_TCP_FLAGS] |= (uint8_t)flags;
    if (first.v6) {
        vsw_put_be16(ip + VSW_IPV6_PAYLOAD_LENGTH, tcp_bytes);
        sum = vsw_sum(ip + VSW_IPV6_SRC, 2 * VSW_IPV6_ADDRESS, 0);
    } else {
        vsw_put_be16(ip + VSW_IPV4_TOTAL_LENGTH, headers - VSW_ETH_HEADER + total);
        memset(ip + VSW_IPV4_CSUM, 0, 2);
        uint16_t check = vsw_sum_fold(vsw_sum(ip, VSW_IPV4_LEAST, 0));
        memcpy(ip + VSW_IPV4_CSUM, &check, sizeof check);
        sum = vsw_sum(ip + VSW_IPV4_SRC, 2 * VSW_IPV4_ADDRESS, 0);
    }
    /* What the guest finds in the checksum is the sum of the pseudo header, not yet complemented. */
    uint8_t rest[4] = {0, VSW_PROTO_TCP, (uint8_t)(tcp_bytes >> 8), (uint8_t)tcp_bytes};
    uint16_t partial = (uint16_t)~vsw_sum_fold(vsw_sum(rest, sizeof rest, sum));
    memcpy(tcp + VSW_TCP_CSUM, &partial, sizeof partial);
    return n;
}

#endif
