/* straight.h: what nearly every frame is, IPv4 with ports, into a row in some sixty instructions (x86-64 with AVX2, found out at run time).
 *
 * Half of the traffic of a trunk is tagged at random, so tags must not be branched on: comparing three TPIDs with all 16-bit fields at once gives an index,
 * and the index tells how to gather the row.  One test asks for all that can be unusual; frames that fail it go the careful way.
 *
 * Rows are written once and are many, so a large result goes past the caches: that saves reading each line first. */
#ifndef VSW_CLASSIFIER_STRAIGHT_H
#define VSW_CLASSIFIER_STRAIGHT_H

#include "vsw/datapath/burst.h"
#include "vsw/datapath/classifier/careful.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    /* Two tags, IPv4, ports: the straight way may read so much of any frame that it takes. */
    VSW_STRAIGHT_BYTES = VSW_ETH_HEADER + 2 * VSW_TAG + VSW_IPV4_HEADER + VSW_L4_PORTS,
    /* Type and first octet of an IPv4 header without options, as le32 loads them, and the octets that count. */
    VSW_STRAIGHT_IPV4 = 0x450008,
    VSW_STRAIGHT_MASK = 0xFFFFFF,
    VSW_STRAIGHT_PARTS = 0xFF3F,       /* a fragment's bits, as le16 loads them */
};

static inline int vsw_is_straight(const uint8_t *header)
{
    return (vsw_le32(header - 2) & VSW_STRAIGHT_MASK) == VSW_STRAIGHT_IPV4 && !(vsw_le16(header + VSW_IPV4_FRAGMENT) & VSW_STRAIGHT_PARTS)
           && vsw_has_ports[header[VSW_IPV4_PROTOCOL]];
}

#define VSW_AVX2 __attribute__((target("avx2,bmi2")))

enum { Z = 0x80 };                     /* in a shuffle: a zero */

/* What the straight way takes from memory.  `tags` is indexed by whether there are TPIDs at 12 (bit 0) and at 16 (bit 1). */
static const struct vsw_straight {
    struct {
        uint8_t first[16];             /* out of the frame from 0 on: both addresses, TPID and TCI */
        uint8_t second[16];            /* out of the frame from 12 on: inner TPID and TCI, EtherType, type of service */
        uint8_t last[16];              /* IP version, offsets, number of tags, a flag */
        uint64_t network, spare;
    } tags[4];
    uint8_t ends[16];                  /* out of the IPv4 header from 8 on: source and its port, destination and its port */
    uint8_t protocol[16];              /* out of the same: both ports, protocol */
    uint8_t flags[16];                 /* out of the frame's marks: the first octet of both addresses */
    uint8_t not_dst[16], group[16], broadcast[16];
    uint64_t salt[2];
    uint16_t tpid[3][8];
} vsw_straight __attribute__((aligned(64))) = {
    .tags = {
        { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, Z, Z, Z, Z }, { Z, Z, Z, Z, 1, 0, 3, Z, Z, Z, Z, Z, Z, Z, Z, Z },
          { [8] = 4, [10] = 14, [11] = 0, [12] = 34, [14] = VSW_ROW_HAS_PORTS }, 14, 0 },
        { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 12, 15, 14 }, { Z, Z, Z, Z, 5, 4, 7, Z, Z, Z, Z, Z, Z, Z, Z, Z },
          { [8] = 4, [10] = 18, [11] = 1, [12] = 38, [14] = VSW_ROW_HAS_PORTS }, 18, 0 },
        { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, Z, Z, Z, Z }, { Z, Z, Z, Z, 1, 0, 3, Z, Z, Z, Z, Z, Z, Z, Z, Z },
          { [8] = 4, [10] = 14, [11] = 0, [12] = 34, [14] = VSW_ROW_HAS_PORTS }, 14, 0 },     /* a TPID at 16 without one at 12 is no tag */
        { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 12, 15, 14 }, { 5, 4, 7, 6, 9, 8, 11, Z, Z, Z, Z, Z, Z, Z, Z, Z },
          { [8] = 4, [10] = 22, [11] = 2, [12] = 42, [14] = VSW_ROW_HAS_PORTS }, 22, 0 },
    },
    .ends = { 4, 5, 6, 7, 12, 13, Z, Z, 8, 9, 10, 11, 14, 15, Z, Z },
    .protocol = { 13, 12, 15, 14, Z, Z, Z, Z, Z, 1, Z, Z, Z, Z, Z, Z },
    .flags = { Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, 0, 6 },
    .not_dst = { [6] = 0xFF, [7] = 0xFF },
    .group = { [0] = VSW_ROW_GROUP, [6] = VSW_ETH_GROUP },
    .broadcast = { [0] = VSW_ROW_BROADCAST },
    .salt = { VSW_FLOW_END, VSW_FLOW_END },
    .tpid = { { 0x0081, 0, 0x0081, 0 }, { 0xA888, 0, 0xA888, 0 }, { 0x0091, 0, 0x0091, 0 } },
};

static inline VSW_AVX2 __m128i vsw_load16(const void *p) { return _mm_loadu_si128((const __m128i *)p); }

static inline VSW_AVX2 void vsw_store16(uint64_t *out, __m128i x, int past_caches)
{
    if (past_caches)
        _mm_stream_si128((__m128i *)out, x);
    else
        _mm_storeu_si128((__m128i *)out, x);
}

/* Rows are written strictly one behind the other: a gap that is filled in later makes stores past the caches very slow. */
static VSW_AVX2 __attribute__((noinline)) void vsw_classify_other(uint64_t *out, const vsw_burst *burst, uint32_t i, int past_caches)
{
    vsw_row row;

    vsw_classify_any(&row, burst->data[i], burst->captured[i], burst->length[i]);
    for (int k = 0; k < VSW_ROW_WORDS; k += 2)
        vsw_store16(out + k, vsw_load16((const uint8_t *)&row + k * sizeof *out), past_caches);
}

/* Frames from `i` on, up to the first one that is not straight; returns its index.  There is no call in the loop, so that the constants stay in
 * registers: loads are what it would wait for. */
static inline VSW_AVX2 uint32_t vsw_classify_run(uint64_t *out, const vsw_burst *burst, uint32_t i, int past_caches)
{
    const struct vsw_straight *table = &vsw_straight;
    __asm__("" : "+r"(table));         /* else the compiler, which knows what is in it, makes the constants anew for each frame */
    const __m128i tpid_c = vsw_load16(table->tpid[0]), tpid_s = vsw_load16(table->tpid[1]), tpid_old = vsw_load16(table->tpid[2]);
    const __m128i to_ends = vsw_load16(table->ends), salt = vsw_load16(table->salt), to_last = vsw_load16(table->protocol);
    const __m128i not_dst = vsw_load16(table->not_dst), group_bits = vsw_load16(table->group), broadcast_bit = vsw_load16(table->broadcast);
    const __m128i to_flags = vsw_load16(table->flags);

    /* The next burst most likely follows in memory: it comes into the cache while this one keeps the processor busy. */
    const uintptr_t ahead = (uintptr_t)burst->data[burst->count - 1] - (uintptr_t)burst->data[0];

    for (out += (size_t)i * VSW_ROW_WORDS; i < burst->count; i++, out += VSW_ROW_WORDS) {
        const uint8_t *frame = burst->data[i];
        __builtin_prefetch((const uint8_t *)((uintptr_t)frame + ahead));
        if (__builtin_expect(burst->captured[i] < VSW_STRAIGHT_BYTES, 0))
            break;
        __m128i start = vsw_load16(frame), types = vsw_load16(frame + VSW_ETH_TYPE);
        __m128i tpids = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi16(types, tpid_c), _mm_cmpeq_epi16(types, tpid_s)), _mm_cmpeq_epi16(types, tpid_old));
        unsigned tags = (unsigned)_mm_movemask_ps(_mm_castsi128_ps(_mm_slli_epi32(tpids, 16))) & 3;
        const uint8_t *header = frame + table->tags[tags].network;
        if (__builtin_expect(!vsw_is_straight(header), 0))
            break;

        /* The IPv4 header's last twelve bytes, and both ports. */
        __m128i ip = vsw_load16(header + VSW_IPV4_TTL);
        __m128i ends = _mm_xor_si128(_mm_shuffle_epi8(ip, to_ends), salt);
        uint64_t mixed = vsw_mix((uint64_t)_mm_cvtsi128_si64(ends), (uint64_t)_mm_extract_epi64(ends, 1));
        __m128i broadcast = _mm_cmpeq_epi64(_mm_or_si128(start, not_dst), _mm_set1_epi32(-1));
        __m128i marks = _mm_or_si128(_mm_and_si128(start, group_bits), _mm_and_si128(broadcast, broadcast_bit));
        __m128i second = _mm_shuffle_epi8(types, vsw_load16(table->tags[tags].second));
        __m128i last = _mm_or_si128(_mm_shuffle_epi8(ip, to_last), vsw_load16(table->tags[tags].last));

        second = _mm_insert_epi32(second, (int)burst->length[i], 2);
        second = _mm_insert_epi32(second, (int)burst->captured[i], 3);
        last = _mm_or_si128(last, _mm_shuffle_epi8(marks, to_flags));
        last = _mm_insert_epi32(last, (int)vsw_flow_finish(mixed, header[VSW_IPV4_PROTOCOL]), 1);
        vsw_store16(out, _mm_shuffle_epi8(start, vsw_load16(table->tags[tags].first)), past_caches);
        vsw_store16(out + 2, second, past_caches);
        vsw_store16(out + 4, _mm_cvtsi32_si128((int)vsw_le32(header + VSW_IPV4_SRC)), past_caches);
        vsw_store16(out + 6, _mm_cvtsi32_si128((int)vsw_le32(header + VSW_IPV4_DST)), past_caches);
        vsw_store16(out + 8, last, past_caches);
    }
    return i;
}

static inline VSW_AVX2 void vsw_classify_loop_avx2(uint64_t *out, const vsw_burst *burst, int past_caches)
{
    for (uint32_t i = 0; (i = vsw_classify_run(out, burst, i, past_caches)) < burst->count; i++)
        vsw_classify_other(out + (size_t)i * VSW_ROW_WORDS, burst, i, past_caches);
}

static VSW_AVX2 __attribute__((noinline)) void vsw_classify_avx2(uint64_t *out, const vsw_burst *burst, int past_caches)
{
    if (past_caches)
        vsw_classify_loop_avx2(out, burst, 1);
    else
        vsw_classify_loop_avx2(out, burst, 0);
}
#endif

#endif
