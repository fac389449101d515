/* entry.h: the switch as another C or Cython program calls it: frames offered, what became of each, and each copy handed out.
 *
 * These structures are the promised C-level interface (docs/reference/c-level.md); nothing else of the datapath is needed to compile against it.
 * Cython programs cimport vsw.switch.entry.  Fields may be added at the end of vsw_fate and vsw_leaving; a caller is built again for a new version.
 *
 * Thread-safety: an Entry belongs to one thread at a time.  */
#ifndef VSW_SWITCH_ENTRY_H
#define VSW_SWITCH_ENTRY_H

#include <stdint.h>

/* A frame that is offered.  Nothing of it is written, or kept when the call has ended. */
typedef struct vsw_offer {
    const uint8_t *data;               /* first byte of the destination address */
    uint32_t captured;                 /* bytes that are there */
    uint32_t length;                   /* bytes that the frame has on the wire: `captured`, or more where it was cut */
    int64_t time;                      /* nanoseconds since the epoch: learned addresses age by it */
    uint16_t port;                     /* number of the port that it comes in by */
} vsw_offer;

/* What became of a frame: the numbers of vsw.Verdict and vsw.Reason. */
typedef struct vsw_fate {
    uint8_t verdict;
    uint8_t reason;                    /* 0 unless dropped */
    uint16_t vlan;                     /* 65535 if it was dropped before that was known */
    int16_t egress_port;               /* -1 none, -2 several */
} vsw_fate;

/* A copy that leaves by a port: its bytes are head, body, and `pad` zeros.  Valid during the call only. */
typedef struct vsw_leaving {
    uint32_t offer;                    /* index of the offered frame */
    uint16_t port;
    uint16_t head_bytes;               /* addresses and tags */
    const uint8_t *head;
    const uint8_t *body;               /* within the offered frame */
    uint32_t body_bytes;
    uint32_t pad;
    uint32_t length;                   /* bytes on the wire */
} vsw_leaving;

/* Takes a copy; 0: it can take no more, the call ends behind this frame. */
typedef int (*vsw_leave)(void *context, const vsw_leaving *leaving);

#endif
