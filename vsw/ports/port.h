/* port.h: the contract of a live port: a way by which frames enter and leave a running switch.
 *
 * A port is a structure with five functions that are called without the GIL.  The run loop of vsw/host is the caller; it takes frames from many ports
 * into one burst, sends the burst through the switch, hands each port its copies in one call, and only then gives the frames back.
 *
 * Order of calls.  receive() any number of times; the frames lie still until release(), which gives all of them back.  transmit() comes between them,
 * so that copies may point into what another port received; a port that keeps a copy beyond transmit() keeps bytes of its own.
 * arm() before the caller sleeps in poll(2) on rx_fd, disarm() after it.  All of them may be called while there is nobody on the other side, or nothing.
 *
 * Who calls.  receive(), release(), arm(), disarm(): one thread, the port's home.  transmit(): any worker, with `lock` held.  Everything else (opening,
 * closing, service() of the Python class) only while no worker is between the calls: the loop is quiet then.
 *
 * Nothing disappears.  Each frame that came in is in the burst or counted in drops[]; each copy given to transmit() is sent (counted in tx_frames once the
 * other side or the kernel has it, or it waits in the port's backlog) or counted in drops[].  Frames keep their order.
 *
 * Frames are whole and bare: no offload header, checksums complete, tags in place.  Short frames are accepted as they come; one longer than a slot
 * has its first bytes captured and its true length, and the switch's MTU rule refuses it.  */
#ifndef VSW_PORTS_PORT_H
#define VSW_PORTS_PORT_H

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "vsw/datapath/burst.h"
#include "vsw/datapath/state.h"

/* A slot holds the longest frame that an MTU of 65,535 permits, with two tags and room to spare. */
#define VSW_SLOT_BYTES 69632u
/* Distance of slots: an odd number of cache lines, so that short frames do not share the same few sets of the cache. */
#define VSW_SLOT_STRIDE (VSW_SLOT_BYTES + 3 * VSW_SLACK)
#define VSW_SLOTS_SIZE ((size_t)VSW_BURST * VSW_SLOT_STRIDE + 2 * VSW_SLACK)
#define VSW_NEVER INT64_MAX

/* Why a port itself dropped a frame (vsw.ports.reasons has the sentences, in this order). */
enum vsw_port_drop {
    VSW_DROP_RX_MALFORMED = 0,     /* what came in is no frame */
    VSW_DROP_RX_LOST = 1,          /* gone before it was read, as the kernel or the ring says */
    VSW_DROP_TX_FULL = 2,
    VSW_DROP_TX_NO_PEER = 3,
    VSW_DROP_TX_TOO_LONG = 4,      /* longer than the attachment can carry */
    VSW_DROP_TX_REFUSED = 5,       /* the kernel or the other side would not take it */
    VSW_DROP_INJECTED = 6,         /* the fault injector's doing */
    VSW_DROP_RX_SEGMENTED = 7,     /* several segments that the sender left to a card to cut */
    VSW_PORT_DROPS = 16,
};

/* rx_* and the rx drops are written by the port's home, the others under the lock; anybody may read. */
typedef struct vsw_live_counters {
    uint64_t rx_frames, rx_bytes;
    uint64_t tx_frames, tx_bytes;
    /* What the other side counts less than the switch: pieces that were cut from its segments, or joined for it, and their headers. */
    uint64_t rx_cut_frames, rx_cut_bytes;
    uint64_t tx_joined_frames, tx_joined_bytes;
    uint64_t drops[VSW_PORT_DROPS];
} vsw_live_counters;

/* Memory of the caller for ports that have none of their own: slot i belongs to row i of the burst, until release(). */
typedef struct vsw_slots {
    uint8_t *base;
} vsw_slots;

/* One copy on its way out. */
typedef struct vsw_out {
    vsw_copy copy;                 /* port, tags, body_at, pad */
    const uint8_t *data;           /* the frame that was received */
    int64_t time;                  /* of its receipt, ns of the monotonic clock */
    uint32_t captured;
    uint32_t next;                 /* the caller's own */
} vsw_out;

typedef struct vsw_live vsw_live;
struct vsw_live {
    /* Writes data, captured and length of at most `limit` frames into rows `first` and following of the burst, in order of arrival; returns how many.
     * A port clears burst->roomy if VSW_SLACK bytes around its frames can't be read.  Never blocks. */
    uint32_t (*receive)(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots);
    /* Gives back the frames of all calls of receive() since the last release(). */
    void (*release)(vsw_live *self);
    /* Sends copies in order.  Never blocks: what can't go now waits in a backlog that the port has and bounds (then `blocked` is set), or is dropped and
     * counted.  With a count of 0: try the backlog again. */
    void (*transmit)(vsw_live *self, const vsw_out *const *out, uint32_t count);
    /* Asks for a notification on rx_fd when a frame comes, looks once more, and returns 1 if there is one already. */
    uint32_t (*arm)(vsw_live *self);
    /* No notifications are needed; what rx_fd had to say is taken back. */
    void (*disarm)(vsw_live *self);

    int rx_fd;                     /* readable when there are frames (level-triggered; may be an epoll of several); -1: none */
    int tx_fd;                     /* writable when the backlog may go on; -1: none */
    uint32_t link;                 /* 1: there is somebody on the other side */
    uint32_t attention;            /* 1: service() of the Python class is wanted (the peer has gone ...); service() clears it */
    uint32_t blocked;              /* 1: a backlog waits for tx_fd */
    uint32_t shortest;             /* bytes to which copies are padded: 60 towards wires, else 0 */
    int64_t now;                   /* the caller's clock at this call, ns of the monotonic clock */
    int64_t due;                   /* when receive() or transmit() with 0 copies is wanted though nothing came; VSW_NEVER */
    vsw_live_counters counters;
    pthread_mutex_t lock;          /* around transmit() */
};

static inline void vsw_live_drop(vsw_live *live, uint32_t reason, uint64_t count) {
    live->counters.drops[reason] += count;
}

/* The peer has gone, or something else that a worker can't mend. */
static inline void vsw_live_lost(vsw_live *live) {
    __atomic_store_n(&live->link, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&live->attention, 1, __ATOMIC_RELEASE);
}

/* Where the frame of row i goes; VSW_SLACK readable bytes lie on either side. */
static inline uint8_t *vsw_slot(const vsw_slots *slots, uint32_t i) {
    return slots->base + VSW_SLACK + (size_t)i * VSW_SLOT_STRIDE;
}

/* A frame that lies somewhere becomes a row of the burst, and is counted. */
static inline void vsw_live_row(vsw_live *live, vsw_burst *burst, uint32_t row, const uint8_t *data, uint32_t captured, uint32_t length) {
    burst->data[row] = data;
    burst->captured[row] = captured;
    burst->length[row] = length;
    live->counters.rx_frames++;
    live->counters.rx_bytes += length;
}

static inline void vsw_live_sent(vsw_live *live, uint32_t length) {
    live->counters.tx_frames++;
    live->counters.tx_bytes += length;
}

/* A copy in pieces: `head` (addresses and tags), the frame's bytes behind them, zeros. */
typedef struct vsw_pieces {
    uint8_t head[VSW_MACS + VSW_MAX_TAGS * VSW_TAG];
    uint32_t head_bytes, body_bytes, zeros;
    const uint8_t *body;
} vsw_pieces;

/* Cuts a copy into its pieces for a port that pads to `shortest` bytes; returns the length of all together. */
static inline uint32_t vsw_out_pieces(const vsw_out *out, uint32_t shortest, vsw_pieces *p) {
    const vsw_copy *copy = &out->copy;
    memcpy(p->head, out->data, VSW_MACS);
    uint32_t at = VSW_MACS;
    for (uint32_t i = 0; i < copy->tags; i++) {
        p->head[at++] = (uint8_t)(copy->tag[i].tpid >> 8);
        p->head[at++] = (uint8_t)copy->tag[i].tpid;
        p->head[at++] = (uint8_t)(copy->tag[i].tci >> 8);
        p->head[at++] = (uint8_t)copy->tag[i].tci;
    }
    p->head_bytes = at;
    p->body = out->data + copy->body_at;
    p->body_bytes = out->captured > copy->body_at ? out->captured - copy->body_at : 0;
    p->zeros = copy->pad;
    uint32_t length = p->head_bytes + p->body_bytes + p->zeros;
    if (length < shortest) {
        p->zeros += shortest - length;
        length = shortest;
    }
    return length;
}

/* The length of a copy as it is sent. */
static inline uint32_t vsw_out_length(const vsw_out *out, uint32_t shortest) {
    const vsw_copy *copy = &out->copy;
    uint32_t length = VSW_MACS + copy->tags * VSW_TAG + copy->pad + (out->captured > copy->body_at ? out->captured - copy->body_at : 0);
    return length < shortest ? shortest : length;
}

/* Writes a copy as it is sent to `to`, which has room for vsw_out_length(); returns that. */
static inline uint32_t vsw_out_write(const vsw_out *out, uint32_t shortest, uint8_t *to) {
    vsw_pieces p;
    uint32_t length = vsw_out_pieces(out, shortest, &p);
    memcpy(to, p.head, p.head_bytes);
    memcpy(to + p.head_bytes, p.body, p.body_bytes);
    memset(to + p.head_bytes + p.body_bytes, 0, p.zeros);
    return length;
}

/* What a port that needs nothing special at these points calls. */
static inline void vsw_live_no_release(vsw_live *self) { (void)self; }
static inline uint32_t vsw_live_no_arm(vsw_live *self) { (void)self; return 0; }
static inline void vsw_live_no_disarm(vsw_live *self) { (void)self; }

static inline void vsw_live_init(vsw_live *live) {
    memset(live, 0, sizeof *live);
    live->release = vsw_live_no_release;
    live->arm = vsw_live_no_arm;
    live->disarm = vsw_live_no_disarm;
    live->rx_fd = live->tx_fd = -1;
    live->due = VSW_NEVER;
    pthread_mutex_init(&live->lock, NULL);
}

#endif
