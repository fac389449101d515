/* classify.h: a burst of frames into rows: addresses, tags, EtherType, IP, ports, flow hash, flags.
 *
 * Stands beside the switch: vsw.classify needs no topology.  Two ways lead to a row, a straight one for what most frames are and a careful one for any frame;
 * this is where they part. */
#ifndef VSW_CLASSIFIER_CLASSIFY_H
#define VSW_CLASSIFIER_CLASSIFY_H

#include "vsw/datapath/burst.h"
#include "vsw/datapath/classifier/careful.h"
#include "vsw/datapath/classifier/straight.h"

/* Makes rows that were written past the caches visible to other threads. */
static inline void vsw_row_fence(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

/* Does this machine have the straight way? */
static inline int vsw_classify_has_vectors(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#else
    return 0;
#endif
}

/* All frames of a burst (one at least) into rows from `out` on, which is a multiple of 16 bytes from 0 if `past_caches`. */
static inline void vsw_classify_burst(uint64_t *out, const vsw_burst *burst, int vectors, int past_caches)
{
#if defined(__x86_64__)
    if (vectors) {
        vsw_classify_avx2(out, burst, past_caches);
        return;
    }
#endif
    (void)vectors;
    (void)past_caches;
    for (uint32_t i = 0; i < burst->count; i++, out += VSW_ROW_WORDS) {
        vsw_row row;
        vsw_classify_any(&row, burst->data[i], burst->captured[i], burst->length[i]);
        memcpy(out, &row, sizeof row);
    }
}

#endif
