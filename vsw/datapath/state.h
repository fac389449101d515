/* state.h: what the stages share: one frame on its way, the worker that carries it, and where results go.
 *
 * The exact path takes one frame at a time through parse, classify, learn, forward, team and egress (stages/).  The fast lane
 * (stages/fast.h) does the common case for a whole burst and leaves the rest to it.  */
#ifndef VSW_STATE_H
#define VSW_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vsw/datapath/burst.h"
#include "vsw/datapath/fdb.h"
#include "vsw/datapath/tables.h"

#define VSW_MACS 12u              /* bytes of the two addresses */
#define VSW_TYPE_AT 12u           /* of the EtherType, or of the outermost tag's TPID */
#define VSW_ETHERNET 14u
#define VSW_TAG 4u
#define VSW_SHORTEST 60u          /* shortest frame without its check sequence */
#define VSW_MAX_TAGS 3u           /* tags that a copy can be sent with: two of the stack, one priority tag */
#define VSW_PACKED_BYTES 40       /* a packed counter: frames << 40 | bytes */
#define VSW_PACKED_BURSTS 256     /* bursts until packed counters must be emptied: 2^16 frames of less than 2^24 bytes */
#define VSW_HUGE (1u << 24)       /* frames this long are not counted packed */

typedef struct vsw_tag {
    uint16_t tpid;                /* host order; 0: no tag */
    uint16_t tci;                 /* host order: PCP, DEI, VID */
} vsw_tag;

#define VSW_TCI_VID 0x0FFFu
#define VSW_TCI_DEI 0x1000u
#define VSW_TCI_PCP 0xE000u

typedef struct vsw_frame {
    const uint8_t *data;          /* the frame, tag and all */
    uint32_t captured;            /* bytes of it that are there, without those that were skipped */
    uint32_t length;              /* bytes on the wire, without those that were skipped */
    uint32_t skip;                /* 4: source-mac took the outermost tag off; what lies at 12 and after lies 4 bytes further on */
    uint16_t port_in;
    uint16_t vlan;
    uint16_t fid;
    uint16_t carried;             /* PCP and DEI of the outermost tag of the stack */
    uint16_t received_pcp;        /* PCP bits of the outermost tag as received */
    uint8_t read;                 /* tags that were read */
    uint8_t depth;                /* tags of the stack */
    vsw_tag tags[2];              /* as read */
    vsw_tag stack[2];
    uint32_t body_at;             /* where the bytes behind the stack's tags begin, in the frame without the skipped bytes */
    uint32_t type_at;             /* of the EtherType that a team's hash sees, likewise */
    uint64_t dst, src;            /* as loaded */
    int64_t now;                  /* the clock: the greatest time so far */
    int64_t time;                 /* the frame's own */
} vsw_frame;

/* A copy of a frame: its addresses, these tags, then the frame's bytes from `body_at` on. */
typedef struct vsw_copy {
    uint64_t frame;               /* number of the frame within the run */
    uint32_t length;              /* on the wire */
    uint16_t port;
    uint8_t tags;
    uint8_t body_at;              /* in the frame as it lies in memory */
    vsw_tag tag[VSW_MAX_TAGS];
    uint8_t pad;                  /* zeros behind its last byte */
    uint8_t reserved[3];
} vsw_copy;

_Static_assert(sizeof(vsw_copy) == 32, "vsw_copy matches COPY in result.py");

typedef struct vsw_counters {
    uint64_t *rx, *tx;                     /* packed, [VSW_MAX_PORTS + 1]; the last one is nobody's */
    uint64_t *rx_frames, *rx_bytes;        /* a row for each port of the module, at least */
    uint64_t *tx_frames, *tx_bytes;
    uint64_t *dropped, *filtered;          /* [ports][VSW_REASONS] */
    uint64_t reasons[VSW_REASONS];
    uint64_t offered, delivered, consumed;
    uint64_t copies_selected, copies_out;
    uint64_t time_backwards, normalised;
    uint64_t learned, moved, evicted, aged;
    uint32_t packed_bursts;
} vsw_counters;

/* Per-frame results; NULL columns are not wanted. */
typedef struct vsw_columns {
    uint8_t *verdict;
    uint8_t *reason;
    uint16_t *port_in;
    int16_t *egress_port;
    uint16_t *vlan;
    uint8_t *normalised;
} vsw_columns;

/* Copies with one tag at most and no padding, of frames of one burst that may be read beyond their ends: in the order of the frames, those of one frame
 * in that of their ports. */
#define VSW_LEAN 256u
typedef struct vsw_lean {
    uint32_t count;
    uint32_t tag[VSW_LEAN];       /* as sent, the first byte of the wire lowest; 0: none */
    uint16_t port[VSW_LEAN];
    uint8_t frame[VSW_LEAN];      /* index in the burst */
    uint8_t body_at[VSW_LEAN];    /* where the bytes behind the tag begin, in the frame as it lies in memory; they are all captured */
} vsw_lean;

/* Where copies go: filled by the stages, taken by the sink before the next burst. */
typedef struct vsw_sink vsw_sink;
struct vsw_sink {
    /* One copy; `frame` holds the bytes.  0: stop, the sink can't take more (disk full ...). */
    int (*copy)(vsw_sink *self, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time);
    /* Many at a time, for sinks that gain by it; NULL: each is given to `copy`.  The order in which both are called is that of the frames. */
    int (*lean)(vsw_sink *self, const vsw_burst *burst, const vsw_lean *copies);
    uint32_t failed;
    uint32_t roomy;                        /* set by the worker: VSW_SLACK bytes from any place in a frame on may be read (vsw_burst.roomy) */
};

typedef struct vsw_worker {
    const vsw_tables *tables;
    vsw_fdb *fdb;
    const vsw_fdb *owners;                 /* source-mac; else NULL */
    vsw_counters counters;
    vsw_columns columns;                   /* at the frame after the last burst */
    const uint16_t *ingress;               /* one port a frame, likewise; else NULL */
    const uint16_t *interface_ports;       /* port of each interface of the source; else NULL */
    uint32_t interface_count;
    uint32_t interfaces;                   /* the source says by which interface each frame came */
    uint32_t port;                         /* the port of all frames where neither is given */
    vsw_sink *sink;                        /* NULL: copies are only counted */
    uint64_t frame;                        /* number of the burst's first frame */
    int64_t now;
    int64_t first_time;
    uint32_t inside;                       /* a burst is on its way (see the gate) */
    uint32_t received;                     /* the burst's frames are counted as received */
    const struct vsw_lane_calls *lane;     /* the fast lane, for this processor */
    uint32_t exact;                        /* 1: every frame takes the exact path */
    vsw_burst burst;
    uint32_t started;                      /* first_time is known */
    uint8_t skip[VSW_BURST];               /* of source-mac: bytes of a tag taken off */
    uint16_t port_in[VSW_BURST];
} vsw_worker;

static inline uint16_t vsw_at16(const vsw_frame *f, uint32_t offset) {
    const uint8_t *p = f->data + f->skip + offset;
    return (uint16_t)((p[0] << 8) | p[1]);
}

static inline uint64_t vsw_load_mac(const uint8_t *p) {
    uint32_t low;
    uint16_t high;
    memcpy(&low, p, 4);
    memcpy(&high, p + 4, 2);
    return (uint64_t)high << 32 | low;
}

/* The address as a number with the first octet on top, as people write it. */
static inline uint64_t vsw_mac_value(uint64_t loaded) {
    return __builtin_bswap64(loaded) >> 16;
}

static inline int vsw_is_tpid(const vsw_tables *t, uint16_t type) {
    uint16_t loaded = __builtin_bswap16(type);
    return loaded == t->module.tpid[0] || loaded == t->module.tpid[1] || loaded == t->module.tpid[2];
}

/* Consecutive tags from `offset` on, each with the two bytes behind its TCI captured, at most `most`. */
static inline uint32_t vsw_tags_at(const vsw_tables *t, const vsw_frame *f, uint32_t offset, uint32_t most) {
    uint32_t tags = 0;
    while (tags < most && offset + VSW_TAG + 2 <= f->captured && vsw_is_tpid(t, vsw_at16(f, offset))) {
        tags++;
        offset += VSW_TAG;
    }
    return tags;
}

#endif
