/* fast_lane.h: the two passes of the fast lane, compiled once for each instruction set that fast.h picks from at run time.
 *
 * fast.h includes it several times (and takes the guard back), with VSW_LANE(name) giving each function a name of its own and the compiler's target
 * set around it.  Short loops over few arrays each: what is arithmetic becomes vectors, what is a table look-up stays scalar, and no loop needs
 * more pointers than there are registers.  */

#ifndef VSW_STAGE_FAST_LANE_H
#define VSW_STAGE_FAST_LANE_H

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

/* The clock at the end of the burst, if its times ascend from the clock on and stay before `until`; INT64_MIN: they don't. */
static __attribute__((noinline)) int64_t VSW_LANE(clock)(const int64_t *restrict time, uint32_t count, int64_t now, int64_t until) {
    uint64_t wrong = time[0] < now;
    for (uint32_t i = 1; i < count; i++)
        wrong |= (uint64_t)(time[i] < time[i - 1]);
    return wrong || time[count - 1] >= until ? INT64_MIN : time[count - 1];
}

/* Headers: addresses, type and TCI of every frame, side by side; and the longest length. */
static __attribute__((noinline)) uint32_t VSW_LANE(headers)(const vsw_burst *restrict b, vsw_lane *restrict lane, uint32_t count) {
    uint32_t longest = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *data = b->data[i];
        lane->dst[i] = vsw_load32(data);
        lane->src[i] = vsw_load32(data + 6);
        lane->src_end[i] = vsw_load32(data + 10);
        lane->word[i] = vsw_load32(data + VSW_TYPE_AT);
    }
    for (uint32_t i = 0; i < count; i++)
        longest |= b->length[i];
    return longest;
}

/* VID and tag bytes, from type and TCI; and what is odd about the frame by itself. */
static inline void VSW_LANE(tags)(const vsw_module *m, const vsw_burst *restrict b, vsw_lane *restrict lane, uint32_t count) {
    const uint32_t tpid0 = m->tpid[0], tpid1 = m->tpid[1], tpid2 = m->tpid[2];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t word = lane->word[i], type = word & 0xFFFF;
        uint32_t tagged = (type == tpid0) | (type == tpid1) | (type == tpid2) ? UINT32_MAX : 0;
        uint32_t vid = word >> 24 | (word >> 8 & VSW_VID_HIGH);
        lane->vid[i] = vid & tagged;
        lane->tag[i] = tagged & VSW_TAG;
        lane->odd[i] = ((type & 0xFF) < VSW_LLC_BELOW) | (b->captured[i] < VSW_FAST_CAPTURED);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t oui = lane->dst[i] & 0xFFFFFF, low = lane->src[i], high = lane->src_end[i] & 0xFFFF;
        uint32_t odd = lane->odd[i] | (low & 1) | ((low | high) == 0 ? 1 : 0);
        odd |= oui == VSW_RESERVED_OUI ? 1 : 0;
        odd |= oui == VSW_RESERVED_GROUPS ? 1 : 0;
        odd |= oui == VSW_CISCO_GROUPS ? 1 : 0;
        lane->odd[i] = odd | (oui & 1) << 1;
    }
}

/* Frames whose tag source-mac took off: they go on as if they had come without it. */
static inline void VSW_LANE(skips)(vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    const vsw_tables *t = w->tables;
    for (uint32_t i = 0; i < count; i++)
        lane->skip[i] = w->skip[i];
    for (uint32_t i = 0; i < count; i++)
        if (w->skip[i]) {
            /* behind the tag there is another type; if that is a tag, or a length, the exact path reads on */
            uint32_t inner = vsw_load16(w->burst.data[i] + VSW_TYPE_AT + VSW_TAG);
            lane->odd[i] |= (inner & 0xFF) < VSW_LLC_BELOW || vsw_is_tpid(t, (uint16_t)__builtin_bswap16((uint16_t)inner)) ||
                            w->burst.captured[i] < VSW_FAST_CAPTURED + VSW_TAG;
            lane->vid[i] = lane->tag[i] = 0;
            w->counters.normalised++;
        }
}

/* VLAN and key of every frame; its bucket is asked for. */
static inline void VSW_LANE(keys)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    const vsw_tables *t = w->tables;
    const uint64_t *restrict hot = t->hot_in, *restrict accept = t->accept;
    const uint16_t *restrict vlans = t->hot_vlans;
    const uint64_t multiplier = w->fdb->multiplier;
    const uint32_t shift = w->fdb->shift;
    const vsw_fdb_bucket *buckets = w->fdb->buckets;
    const uint64_t *restrict filter = w->fdb->filter;
    const uint32_t filter_shift = w->fdb->filter_shift;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t port = w->port_in[i], vid = lane->vid[i];
        const uint8_t *data = w->burst.data[i];
        uint64_t h = hot[port];
        uint32_t accepted = (uint32_t)(accept[(size_t)port * VSW_VID_WORDS + (vid >> 6)] >> (vid & 63));
        uint32_t vlan = h & VSW_HOT_TUNNEL ? 0 : vid, own = VSW_MASK(vlan == 0);
        vlan |= (uint32_t)(h >> VSW_HOT_VLAN) & VSW_TCI_VID & own;
        uint32_t fid = vlans[vlan];
        uint64_t key = vsw_fdb_key(fid & VSW_TCI_VID, vsw_load64(data) & VSW_MAC_MASK);
        uint64_t bucket = (key * multiplier) >> shift;
        __builtin_prefetch(buckets + bucket);
        uint64_t hash = ((vsw_load64(data + 6) & VSW_MAC_MASK) * 0x9E3779B97F4A7C15ull) >> filter_shift;
        uint32_t maybe = (uint32_t)(filter[hash >> 6] >> (hash & 63)) & (uint32_t)(h >> VSW_HOT_DEJA_VU);
        lane->limit[i] = (uint32_t)h;
        lane->in[i] = (uint32_t)(h >> 32);
        lane->key[i] = key;
        lane->bucket[i] = (uint32_t)bucket;
        lane->vlan[i] = vlan;
        lane->odd[i] |= ((~accepted | maybe) & 1) | fid >> 15;
    }
}

/* What is odd about a frame on its port: its length, the port's own oddness, a source that is somebody else's; and its list if nobody has the destination. */
static inline void VSW_LANE(ports)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count, const int owned) {
    const uint32_t *restrict lengths = w->burst.length;
    const uint32_t known = w->tables->module.flags & VSW_VIRTUAL ? UINT32_MAX : 0;
    if (!owned && w->tables->hot_forged)
        for (uint32_t i = 0; i < count; i++)
            lane->odd[i] |= (lane->in[i] >> (VSW_HOT_FORGED - 32)) & (vsw_load_mac(w->burst.data[i] + 6) != w->tables->ports[w->port_in[i]].mac) & 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t in = lane->in[i], tag = lane->tag[i];
        uint32_t length = lengths[i] - (owned ? lane->skip[i] : 0);
        uint32_t tunnel = in >> (VSW_HOT_TUNNEL_AT - 32) & 1;
        uint32_t odd = lane->odd[i] | in >> 31;
        odd |= length > lane->limit[i] + tag ? 1 : 0;
        lane->body[i] = length - (tunnel ? 0 : tag);
        lane->odd[i] = odd;
        uint32_t list = odd == 0 ? VSW_LIST_OUTWARD + (in >> (VSW_HOT_UPLINK - 32) & 1) : VSW_LIST_REST;
        list = odd == VSW_ODD_GROUP ? VSW_LIST_GROUP : list;
        lane->lost[i] = known ? list : VSW_LIST_REST;
    }
}

/* Second pass: probe, count, write rows, and sort what is left into lists. */
static inline __attribute__((always_inline)) void VSW_LANE(settle)(vsw_worker *w, vsw_lane *restrict lane, uint32_t count, const int rows, const int owned) {
    const vsw_fdb_bucket *buckets = w->fdb->buckets;
    const uint64_t *restrict hot = w->tables->hot_out;
    uint64_t *restrict tx = w->counters.tx;
    const vsw_columns c = w->columns;
    uint32_t *restrict counts = lane->counts;
    memset(lane->counts, 0, sizeof lane->counts);
    for (uint32_t i = 0; i < count; i++) {
        const vsw_fdb_bucket *bucket = buckets + lane->bucket[i];
        uint32_t match = VSW_LANE(match)(bucket, lane->key[i]);
        uint32_t value = bucket->value[__builtin_ctz(match | 1u << (VSW_FDB_SLOTS - 1))];
        uint32_t odd = lane->odd[i], port = value & VSW_FDB_PORT, port_in = w->port_in[i], body = lane->body[i], vlan = lane->vlan[i];
        uint64_t q = hot[port];
        uint32_t out = (uint32_t)(q >> 32), tag = out >> (VSW_HOT_TAG - 32) & VSW_TAG;
        uint32_t length = body + ((uint16_t)out == (uint16_t)vlan ? 0 : tag);
        uint32_t wrong = odd | (match == 0) | (~value >> VSW_FDB_FLAGS_AT & VSW_FDB_SETTLED) | out >> 31 | (port == port_in) | (body > (uint32_t)q);
        /* masks that the compiler can't make branches of: which it is can't be foreseen */
        uint32_t stopped = VSW_MASK(wrong), found = VSW_MASK((odd == 0) & (match != 0));
        uint32_t list = ((VSW_LIST_REST & found) | (lane->lost[i] & ~found)) & stopped;
        tx[(port & ~stopped) | (VSW_MAX_PORTS & stopped)] += (1ull << VSW_PACKED_BYTES) + length;
        lane->target[i] = (uint16_t)((port & ~stopped) | (VSW_TO_EXACT & stopped));
        lane->list[list][counts[list]++] = (uint16_t)i;
        if (rows) {
            c.verdict[i] = VSW_DELIVERED;
            c.reason[i] = 0;
            c.port_in[i] = (uint16_t)port_in;
            c.egress_port[i] = (int16_t)port;
            c.vlan[i] = (uint16_t)vlan;
            c.normalised[i] = owned ? w->skip[i] != 0 : 0;
        }
    }
    uint32_t done = counts[VSW_LIST_DONE];
    vsw_counters *n = &w->counters;
    n->offered += done;
    n->delivered += done;
    n->copies_selected += done;
    n->copies_out += done;
}

/* Frames and bytes received, by port, whatever becomes of them; a number that is no port counts on nobody's row. */
static inline void VSW_LANE(receive)(vsw_worker *w, uint32_t count, const int owned) {
    uint64_t *restrict rx = w->counters.rx;
    for (uint32_t i = 0; i < count; i++)
        rx[w->port_in[i]] += (1ull << VSW_PACKED_BYTES) + w->burst.length[i] - (owned ? w->skip[i] : 0);
}

static __attribute__((noinline)) void VSW_LANE(burst)(vsw_worker *w, vsw_lane *lane, uint32_t count) {
    const int owned = w->owners != NULL;
    VSW_LANE(tags)(&w->tables->module, &w->burst, lane, count);
    if (owned)
        VSW_LANE(skips)(w, lane, count);
    VSW_LANE(keys)(w, lane, count);
    VSW_LANE(receive)(w, count, owned);
    if (owned)
        VSW_LANE(ports)(w, lane, count, 1);
    else
        VSW_LANE(ports)(w, lane, count, 0);
    if (w->columns.verdict)
        VSW_LANE(settle)(w, lane, count, 1, owned);
    else
        VSW_LANE(settle)(w, lane, count, 0, owned);
}

#endif
