/* merge.h: several sources as one, ordered by time; of equal times the first source's frames come first.
 *
 * What a source delivered is valid until it is asked for more, so a burst ends where a source has run out whose frames would not outlive that (a
 * pipe); the frames of a mapped file do.
 *
 * Thread-safety: a merge belongs to one thread, as its sources do.  */
#ifndef VSW_CAPTURE_MERGE_H
#define VSW_CAPTURE_MERGE_H

#include "vsw/datapath/burst.h"

/* One of the sources that are merged, and the frames of it that are at hand. */
typedef struct vsw_merge_part {
    vsw_source *source;
    vsw_burst *burst;
    uint32_t at, count;
    uint32_t shift;                /* added to the numbers of its interfaces */
    uint32_t stays;                /* what it delivered stays valid when it is asked for more */
} vsw_merge_part;

typedef struct vsw_merge {
    vsw_source source;             /* first: a merge is a source */
    vsw_merge_part *parts;
    uint32_t count;
    uint32_t ready;                /* no part has run out since the last call */
    uint64_t left;
} vsw_merge;

/* Asks the parts that have run out for more; 0 if one of them failed. */
static int vsw_merge_refill(vsw_merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        vsw_merge_part *part = &merge->parts[i];
        if (part->at < part->count || !part->source)
            continue;
        part->at = 0;
        part->count = part->source->next(part->source, part->burst, VSW_BURST);
        if (!part->count) {
            if (part->source->failed)
                return 0;
            part->source = NULL;
        }
    }
    return 1;
}

static uint32_t vsw_merge_next(vsw_source *source, vsw_burst *burst, uint32_t limit)
{
    vsw_merge *merge = (vsw_merge *)source;
    uint32_t filled = 0;
    burst->count = 0;
    burst->roomy = 1;
    if (limit > merge->left)
        limit = (uint32_t)merge->left;
    if (source->failed || !limit)
        return 0;
    if (!merge->ready && !vsw_merge_refill(merge)) {
        source->failed = 1;
        return 0;
    }
    merge->ready = 1;
    while (filled < limit) {
        vsw_merge_part *first = NULL;
        for (uint32_t i = 0; i < merge->count; i++) {
            vsw_merge_part *part = &merge->parts[i];
            if (part->at < part->count && (!first || part->burst->time[part->at] < first->burst->time[first->at]))
                first = part;
        }
        if (!first)
            break;
        uint32_t at = first->at++;
        burst->data[filled] = first->burst->data[at];
        burst->captured[filled] = first->burst->captured[at];
        burst->length[filled] = first->burst->length[at];
        burst->time[filled] = first->burst->time[at];
        burst->interface[filled] = (uint16_t)(first->shift + (first->source->interfaces ? first->burst->interface[at] : 0));
        burst->roomy &= first->burst->roomy;
        filled++;
        if (first->at == first->count) {
            /* Which frame is the next one can't be told before this part was asked; if that would invalidate what it gave, not now. */
            merge->ready = first->stays && vsw_merge_refill(merge);
            if (!merge->ready)
                break;
        }
    }
    burst->count = filled;
    merge->left -= filled;
    source->position += filled;
    return filled;
}

#endif
