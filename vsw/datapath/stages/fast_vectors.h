/* fast_vectors.h: what the fast lane's passes share and an instruction set does in its own way: comparing keys, sets of frames, clocks.
 *
 * Included once for each instruction set, as fast_lane.h says.  */

#ifndef VSW_STAGE_FAST_VECTORS_H
#define VSW_STAGE_FAST_VECTORS_H

/* Slots whose key is `key`, as bits. */
#if defined(__AVX512F__)
static inline uint32_t VSW_LANE(match)(const vsw_fdb_bucket *bucket, uint64_t key) {
    __m512i keys = _mm512_loadu_si512((const void *)bucket);
    return _mm512_cmpeq_epi64_mask(keys, _mm512_set1_epi64((long long)key)) & ((1u << VSW_FDB_SLOTS) - 1);
}
#elif defined(__AVX2__)
static inline uint32_t VSW_LANE(match)(const vsw_fdb_bucket *bucket, uint64_t key) {
    __m256i wanted = _mm256_set1_epi64x((long long)key);
    __m256i first = _mm256_cmpeq_epi64(_mm256_loadu_si256((const __m256i *)(const void *)bucket->key), wanted);
    __m128i last = _mm_cmpeq_epi64(_mm_loadu_si128((const __m128i *)(const void *)(bucket->key + 4)), _mm256_castsi256_si128(wanted));
    return (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(first)) | (uint32_t)_mm_movemask_pd(_mm_castsi128_pd(last)) << 4;
}
#else
static inline uint32_t VSW_LANE(match)(const vsw_fdb_bucket *bucket, uint64_t key) {
    return vsw_fdb_match(bucket, key);
}
#endif

/* Which of 64 bytes have this value, as bits. */
#if defined(__AVX2__)
static inline uint64_t VSW_LANE(equal)(const uint8_t *bytes, uint8_t value) {
    __m256i wanted = _mm256_set1_epi8((char)value);
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)bytes), high = _mm256_loadu_si256((const __m256i *)(const void *)(bytes + 32));
    uint32_t last = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted));
    return (uint64_t)last << 32 | (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted));
}
#else
static inline uint64_t VSW_LANE(equal)(const uint8_t *bytes, uint8_t value) {
    uint64_t bits = 0;
    for (uint32_t i = 0; i < 64; i++)
        bits |= (uint64_t)(bytes[i] == value) << i;
    return bits;
}
#endif

/* The frames of the burst whose byte has this value. */
static inline void VSW_LANE(pick)(vsw_set *set, const uint8_t *bytes, uint8_t value, uint32_t count) {
    for (uint32_t word = 0; word < VSW_SET_WORDS; word++) {
        uint64_t bits = VSW_LANE(equal)(bytes + 64 * word, value);
        uint32_t left = count > 64 * word ? count - 64 * word : 0;
        set->bits[word] = left >= 64 ? bits : bits & ((1ull << left) - 1);
    }
}

/* The clock at the end of the burst, if its times ascend from the clock on and stay before `until`; INT64_MIN: they don't. */
static __attribute__((noinline)) int64_t VSW_LANE(clock)(const int64_t *restrict time, uint32_t count, int64_t now, int64_t until) {
    uint64_t wrong = time[0] < now;
    for (uint32_t i = 1; i < count; i++)
        wrong |= (uint64_t)(time[i] < time[i - 1]);
    return wrong || time[count - 1] >= until ? INT64_MIN : time[count - 1];
}

/* The longest length, at least. */
static __attribute__((noinline)) uint32_t VSW_LANE(longest)(const uint32_t *restrict length, uint32_t count) {
    uint32_t longest = 0;
    for (uint32_t i = 0; i < count; i++)
        longest |= length[i];
    return longest;
}

#endif
