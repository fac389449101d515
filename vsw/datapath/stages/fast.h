/* fast.h: the burst as a whole. */
#ifndef VSW_STAGE_FAST_H
#define VSW_STAGE_FAST_H

#include "vsw/datapath/pipeline.h"

static inline uint32_t vsw_burst_run(vsw_worker *w, uint32_t count, int64_t until, int *ok) {
    vsw_find_ports(w, count);
    return vsw_burst_exact(w, count, until, ok);
}

#endif
