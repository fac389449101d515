/* burst.h: 256 frames on their way through the switch, and where they come from.
 *
 * A burst says where the frames are; it does not hold them.  A source (a mapped capture, the caller's own arrays, a live port)
 * fills a burst; the stages of the pipeline read it.  `data` stays valid until the source's next call of `next`.
 *
 * Thread-safety: a source belongs to one thread.  */
#ifndef VSW_BURST_H
#define VSW_BURST_H

#include <stddef.h>
#include <stdint.h>

#define VSW_BURST 256
/* A source guarantees that this many bytes before and after every frame's captured bytes may be read (their content means nothing), or
 * that the frame is at the edge of its memory and says so by clearing `roomy`.  Stages may then load whole words. */
#define VSW_SLACK 64

typedef struct vsw_burst {
    uint32_t count;
    uint32_t roomy;                    /* 1: reading VSW_SLACK bytes from data[i] is safe for every i, however short the frame */
    const uint8_t *data[VSW_BURST];    /* first captured byte: the destination address */
    uint32_t captured[VSW_BURST];      /* bytes that are there */
    uint32_t length[VSW_BURST];        /* bytes that the frame had on the wire; at least `captured` */
    int64_t time[VSW_BURST];           /* nanoseconds since the epoch */
    uint16_t interface[VSW_BURST];     /* index of the capture's interface; written only where vsw_source.interfaces != 0 */
} vsw_burst;

typedef struct vsw_source vsw_source;
struct vsw_source {
    /* Fills `burst` with at most `limit` (1..VSW_BURST) frames in order and returns how many; 0 at the end, or when the input can't be read on
     * (`failed` is then set, and what was wrong is the source's own business).  Called without the GIL, once a burst. */
    uint32_t (*next)(vsw_source *self, vsw_burst *burst, uint32_t limit);
    uint32_t interfaces;               /* 0: burst.interface is not written, all frames count as interface 0 */
    uint32_t failed;
    uint64_t position;                 /* bytes consumed so far, for progress (may be read by another thread) */
};

#endif
