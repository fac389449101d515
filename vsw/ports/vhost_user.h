/* vhost_user.h: a guest's virtio network card, from the switch's side: bursts between the guest's rings and the run loop.
 *
 * The rings are vsw/virtio/ring.h's; here is what a network card makes of them.  Of each pair the guest sends into ring 2i+1 and receives from
 * ring 2i.  A frame is a header (VSW_NET_HEADER or VSW_NET_HEADER_OLD bytes) and the bytes behind it, in as many buffers as the guest likes.
 *
 * A frame from the guest is copied before anybody looks at it: the guest could change it between the look and the copy that is sent on.  Short ones
 * are packed into the port's own arena (a few cache lines a frame), others go to the caller's slots.
 *
 * Receive: all waiting chains are looked up first and their bytes prefetched, then copied.  A chain of one buffer, which is what guests send, needs no
 * walk.  Transmit: likewise; what the guest has no buffers for is dropped, as a card does (its ring is the backlog).  Frames that a guest takes as one
 * segment are joined (join.h); the port counts them as the frames that they are.
 *
 * Thread-safety: rings 2i+1 and the arena belong to the port's home, rings 2i to whoever holds the port's lock.  The control side (vhost_user.pyx)
 * changes `header`, `mergeable`, `csum`, `tso` and `joins` only while no ring runs.  */
#ifndef VSW_PORTS_VHOST_USER_H
#define VSW_PORTS_VHOST_USER_H

#include <sys/epoll.h>

#include "vsw/ports/join.h"
#include "vsw/ports/offload.h"
#include "vsw/ports/port.h"
#include "vsw/virtio/ring.h"

#define VSW_NET_PAIRS 16               /* queue pairs of a port */
#define VSW_NET_HEADER 12u             /* with VERSION_1 or MRG_RXBUF */
#define VSW_NET_HEADER_OLD 10u
#define VSW_NET_ARENA (VSW_BURST * 640u)
#define VSW_NET_IN_ARENA 2048u         /* longer frames go to the caller's slots */
#define VSW_NET_AHEAD 8u               /* chains that transmit prefetches */

/* The header before each frame (VIRTIO 1.2, 5.1.6); of the old one the last field is missing. */
typedef struct vsw_net_header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t header_length;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t buffers;
} vsw_net_header;

_Static_assert(sizeof(vsw_net_header) == VSW_NET_HEADER, "the header of a network card's frame");

enum { VSW_NET_NEEDS_CSUM = 1 };
enum { VSW_NET_GSO_NONE = 0 };

typedef struct vsw_vhost {
    vsw_live live;                     /* first */
    vsw_ring *ring[2 * VSW_NET_PAIRS];
    uint32_t pairs;
    uint32_t header;                   /* bytes before each frame */
    uint32_t mergeable;                /* a frame for the guest may lie in several chains */
    uint32_t csum;                     /* the guest may leave checksums to us */
    uint32_t tso;                      /* and segments, of these types (a bit for each vsw GSO type) */
    uint32_t joins;                    /* it takes segments of these types */
    uint32_t turn;                     /* the pair that receive() looks at first */
    uint32_t used;                     /* bytes of the arena that hold frames */
    uint8_t *arena;                    /* VSW_NET_ARENA bytes, with VSW_SLACK on either side */
    vsw_gso *gso;                      /* the segment that is being cut, the home's */
    vsw_chain *from_guest, *to_guest; /* for chains of several buffers; the home's and the lock's */
} vsw_vhost;

/* A chain that was looked up: one buffer, or (data NULL) one that has to be walked. */
typedef struct vsw_net_piece {
    uint8_t *data;
    uint32_t length;
    uint32_t head;
} vsw_net_piece;

/* Copies a frame: long enough ones in whole words that overlap, without a loop over bytes. */
static inline void vsw_frame_copy(uint8_t *to, const uint8_t *from, uint32_t length) {
    if (length > 256) {
        memcpy(to, from, length);
    } else if (length >= 32) {
        uint32_t at = 0;
        for (; at + 32 < length; at += 32) memcpy(to + at, from + at, 32);
        memcpy(to + length - 32, from + length - 32, 32);
    } else if (length >= 16) {
        memcpy(to, from, 16);
        memcpy(to + length - 16, from + length - 16, 16);
    } else {
        memcpy(to, from, length);
    }
}

/* Looks up the next `count` chains of a ring; those of one buffer of the wanted kind (flags 0, or VSW_DESC_WRITE) at once. */
static inline void vsw_net_look(vsw_ring *ring, uint32_t ahead, uint32_t count, uint32_t kind, vsw_net_piece *piece) {
    for (uint32_t i = 0; i < count; i++) {
        piece[i].head = vsw_ring_head(ring, ahead + i);
        if (piece[i].head < ring->size) __builtin_prefetch(ring->descriptors + (size_t)piece[i].head * sizeof(vsw_descriptor));
    }
    for (uint32_t i = 0; i < count; i++) {
        piece[i].data = NULL;
        if (piece[i].head >= ring->size) continue;
        vsw_descriptor descriptor = vsw_descriptor_copy(ring->descriptors, piece[i].head);
        if (descriptor.flags != kind || descriptor.length == 0) continue;
        piece[i].data = vsw_guest_whole(ring->memory, descriptor.address, descriptor.length);
        piece[i].length = descriptor.length;
        if (piece[i].data != NULL) {
            if (kind) __builtin_prefetch(piece[i].data, 1);
            else __builtin_prefetch(piece[i].data);
        }
    }
}

/* ---- from the guest */

/* Where the next frame of row `row` goes, `length` bytes of it. */
static inline uint8_t *vsw_vhost_place(vsw_vhost *v, vsw_slots *slots, uint32_t row, uint32_t length) {
    uint32_t size = (length + 2 * VSW_SLACK - 1) / VSW_SLACK * VSW_SLACK;
    if (length > VSW_NET_IN_ARENA || v->used + size > VSW_NET_ARENA) return vsw_slot(slots, row);
    uint8_t *place = v->arena + VSW_SLACK + v->used;
    v->used += size;
    return place;
}

/* Whether there is nothing to be done for the guest. */
static inline int vsw_net_plain(const vsw_net_header *header) {
    return !(header->flags & VSW_NET_NEEDS_CSUM) && header->gso_type == VSW_NET_GSO_NONE;
}

/* The next pieces of the segment that is being cut, into at most `limit` rows. */
static inline uint32_t vsw_vhost_pieces(vsw_vhost *v, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    uint32_t rows = 0;
    for (; v->gso->length && rows < limit; rows++) {
        uint32_t length = vsw_gso_next_length(v->gso);
        if (v->gso->pieces) {
            v->live.counters.rx_cut_frames++;
            v->live.counters.rx_cut_bytes += v->gso->headers;
        }
        uint8_t *place = vsw_vhost_place(v, slots, first + rows, length);
        vsw_gso_next(v->gso, place);
        vsw_live_row(&v->live, burst, first + rows, place, length, length);
    }
    return rows;
}

/* A frame for which something is to be done: rows that it made, -1: it is none. */
static inline int vsw_vhost_offload(
    vsw_vhost *v, vsw_chain *chain, const vsw_net_header *header, vsw_burst *burst, uint32_t row, uint32_t limit, vsw_slots *slots) {
    uint64_t length = chain->readable_bytes - v->header;
    if (!(header->flags & VSW_NET_NEEDS_CSUM) || !v->csum || length > VSW_GSO_BYTES) return -1;
    if (header->gso_type == VSW_NET_GSO_NONE) {
        uint8_t *place = vsw_vhost_place(v, slots, row, (uint32_t)length);
        vsw_chain_read(chain, v->header, place, (size_t)length);
        if (!vsw_csum_complete(place, (uint32_t)length, header->csum_start, header->csum_offset)) return -1;
        vsw_live_row(&v->live, burst, row, place, (uint32_t)length, (uint32_t)length);
        return 1;
    }
    uint32_t type = header->gso_type & ~(uint32_t)VSW_GSO_ECN;
    if (type > VSW_GSO_TCPV6 || !(v->tso >> type & 1)) return -1;
    vsw_chain_read(chain, v->header, v->gso->bytes, (size_t)length);
    if (!vsw_gso_begin(v->gso, (uint32_t)length, header->gso_type, header->gso_size, header->csum_start, header->csum_offset)) return -1;
    return (int)vsw_vhost_pieces(v, burst, row, limit, slots);
}

/* Takes the frame of a chain into row `row` and, if it is a segment, up to `limit` rows; returns how many.  0: there was no frame in it (it is
 * counted), or the ring has failed. */
static inline uint32_t vsw_vhost_take(
    vsw_vhost *v, vsw_ring *ring, const vsw_net_piece *piece, vsw_burst *burst, uint32_t row, uint32_t limit, vsw_slots *slots) {
    vsw_net_header header;
    uint64_t length;
    uint32_t captured;
    memset(&header, 0, sizeof header);
    if (piece->data != NULL && piece->length >= v->header + VSW_ETHERNET) {
        memcpy(&header, piece->data, VSW_NET_HEADER_OLD);
        VSW_COPIED();
        if (vsw_net_plain(&header)) {
            length = piece->length - v->header;
            captured = length < VSW_SLOT_BYTES ? (uint32_t)length : VSW_SLOT_BYTES;
            uint8_t *place = vsw_vhost_place(v, slots, row, captured);
            vsw_frame_copy(place, piece->data + v->header, captured);
            vsw_live_row(&v->live, burst, row, place, captured, (uint32_t)length);
            return 1;
        }
    }
    vsw_chain *chain = v->from_guest;
    if (!vsw_chain_take(ring, piece->head, chain)) return 0;
    if (chain->readable_bytes < v->header + VSW_ETHERNET || chain->readable_bytes > UINT32_MAX) goto malformed;
    vsw_chain_read(chain, 0, &header, VSW_NET_HEADER_OLD);
    if (!vsw_net_plain(&header)) {
        int rows = vsw_vhost_offload(v, chain, &header, burst, row, limit, slots);
        if (rows < 0) goto malformed;
        return (uint32_t)rows;
    }
    length = chain->readable_bytes - v->header;
    captured = length < VSW_SLOT_BYTES ? (uint32_t)length : VSW_SLOT_BYTES;
    uint8_t *place = vsw_vhost_place(v, slots, row, captured);
    vsw_chain_read(chain, v->header, place, captured);
    vsw_live_row(&v->live, burst, row, place, captured, (uint32_t)length);
    return 1;
malformed:
    vsw_live_drop(&v->live, VSW_DROP_RX_MALFORMED, 1);
    return 0;
}

/* Frames of one ring into rows `first` and following. */
static inline uint32_t vsw_vhost_receive_ring(vsw_vhost *v, vsw_ring *ring, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_net_piece piece[VSW_BURST];
    uint32_t waiting = vsw_ring_waiting(ring), rows = 0, done = 0;
    if (waiting > limit) waiting = limit;
    if (waiting == 0) return 0;
    vsw_ring_wake(ring);
    vsw_net_look(ring, 0, waiting, 0, piece);
    const vsw_live_counters before = v->live.counters;
    for (; done < waiting && rows < limit && !v->gso->length; done++) {
        rows += vsw_vhost_take(v, ring, &piece[done], burst, first + rows, limit - rows, slots);
        if (__builtin_expect(ring->fault != VSW_RING_WELL, 0)) break;
        vsw_used_put(ring, done, piece[done].head, 0);
    }
    if (!vsw_ring_sound(ring) && ring->fault == VSW_RING_MEMORY) {
        /* Frames that were read from memory that had gone are no frames. */
        v->live.counters.rx_frames = before.rx_frames;
        v->live.counters.rx_bytes = before.rx_bytes;
        v->live.counters.rx_cut_frames = before.rx_cut_frames;
        v->live.counters.rx_cut_bytes = before.rx_cut_bytes;
        v->gso->length = 0;
        return 0;
    }
    ring->next_available = (uint16_t)(ring->next_available + done);
    vsw_used_publish(ring, done);
    vsw_used_call(ring);
    return rows;
}

static inline uint32_t vsw_vhost_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_vhost *v = (vsw_vhost *)self;
    uint32_t count = 0;
    if (!__atomic_load_n(&self->link, __ATOMIC_ACQUIRE)) return 0;
    if (__builtin_expect(v->gso->length != 0, 0)) count = vsw_vhost_pieces(v, burst, first, limit, slots);
    for (uint32_t i = 0; i < v->pairs && count < limit && !v->gso->length; i++) {
        uint32_t pair = v->turn + i < v->pairs ? v->turn + i : v->turn + i - v->pairs;
        vsw_ring *ring = v->ring[2 * pair + 1];
        if (!vsw_ring_enter(ring)) continue;
        count += vsw_vhost_receive_ring(v, ring, burst, first + count, limit - count, slots);
        vsw_ring_leave(ring);
    }
    v->turn = v->turn + 1 < v->pairs ? v->turn + 1 : 0;
    return count;
}

static inline void vsw_vhost_release(vsw_live *self) { ((vsw_vhost *)self)->used = 0; }

/* ---- to the guest */

/* Puts parts, the first of which is the header (v->header bytes), into chains; returns how many it took, 0 if there are too few or it can't be. */
static inline uint32_t vsw_vhost_scatter(vsw_vhost *v, vsw_ring *ring, uint32_t taken, uint32_t waiting, const vsw_part *part, uint32_t bytes, int *never) {
    vsw_chain *chain = v->to_guest;
    uint32_t chains = 0, left = bytes, at = 0;   /* `at`: bytes of *part that are written */
    uint8_t *count = NULL;
    *never = 0;
    while (left) {
        uint32_t head;
        if (taken + chains >= waiting) return 0;
        head = vsw_ring_head(ring, taken + chains);
        if (!vsw_chain_take(ring, head, chain)) return 0;
        if (chain->readable || chain->writable_bytes < (chains ? 1 : v->header)) {
            vsw_ring_fail(ring, VSW_RING_SHAPE);
            return 0;
        }
        if (!v->mergeable && chain->writable_bytes < left) {
            *never = 1;
            return 0;
        }
        uint32_t room = chain->writable_bytes < left ? (uint32_t)chain->writable_bytes : left, inside = 0;
        while (inside < room) {
            uint32_t step = part->length - at < room - inside ? part->length - at : room - inside;
            vsw_chain_write(chain, inside, part->data + at, step);
            inside += step;
            at += step;
            if (at == part->length) {
                part++;
                at = 0;
            }
        }
        if (chains == 0 && v->mergeable) {
            /* Where the header's last field went, if it lies in one piece; else the frame must fit (guests give whole buffers). */
            count = chain->segment[0].length >= VSW_NET_HEADER ? chain->segment[0].data + VSW_NET_HEADER - sizeof(uint16_t) : NULL;
            if (count == NULL && room < left) {
                vsw_ring_fail(ring, VSW_RING_SHAPE);
                return 0;
            }
        }
        vsw_used_put(ring, taken + chains, head, room);
        chains++;
        left -= room;
    }
    if (chains > 1) {
        uint16_t number = (uint16_t)chains;
        memcpy(count, &number, sizeof number);
    }
    return chains;
}

/* A copy that is longer than its first buffer. */
static inline uint32_t vsw_vhost_long(vsw_vhost *v, vsw_ring *ring, uint32_t taken, uint32_t waiting, const vsw_out *out, int *never) {
    static const vsw_net_header plain = {.buffers = 1};
    static const uint8_t zeros[UINT8_MAX];
    vsw_pieces p;
    uint32_t length = vsw_out_pieces(out, 0, &p);
    const vsw_part part[] = {{(const uint8_t *)&plain, v->header}, {p.head, p.head_bytes}, {p.body, p.body_bytes}, {zeros, p.zeros}};
    return vsw_vhost_scatter(v, ring, taken, waiting, part, length + v->header, never);
}

/* Joins the copies from out[0] on that may be; returns the chains that it took, and how many copies `*run` there were, if only they had fitted. */
static inline uint32_t vsw_vhost_join(vsw_vhost *v, vsw_ring *ring, uint32_t taken, uint32_t waiting, const vsw_out *const *out, uint32_t count, uint32_t *run) {
    vsw_part part[VSW_BURST + 2];
    vsw_join join;
    int never;
    *run = vsw_join_run(out, count < VSW_BURST ? count : VSW_BURST, v->joins, &join, part + 2);
    if (*run == 0) return 0;
    const vsw_net_header header = {
        .flags = VSW_NET_NEEDS_CSUM,
        .gso_type = join.v6 ? VSW_GSO_TCPV6 : VSW_GSO_TCPV4,
        .header_length = (uint16_t)join.headers,
        .gso_size = (uint16_t)join.size,
        .csum_start = (uint16_t)join.tcp,
        .csum_offset = VSW_TCP_CSUM,
        .buffers = 1,
    };
    part[0] = (vsw_part){(const uint8_t *)&header, v->header};
    part[1] = (vsw_part){join.head, join.headers};
    uint32_t chains = vsw_vhost_scatter(v, ring, taken, waiting, part, v->header + join.headers + join.payload, &never);
    if (chains) {
        v->live.counters.tx_joined_frames += *run - 1;
        v->live.counters.tx_joined_bytes += (uint64_t)(*run - 1) * join.headers;
    }
    return chains;
}

/* Sends copies into one ring, in order. */
static inline void vsw_vhost_transmit_ring(vsw_vhost *v, vsw_ring *ring, const vsw_out *const *out, uint32_t count) {
    static const vsw_net_header plain = {.buffers = 1};
    vsw_net_piece piece[VSW_NET_AHEAD];
    uint32_t waiting = vsw_ring_waiting(ring), taken = 0, looked = 0, at = 0, sent = 0, alone = 0;   /* alone: copies before this one are not joined */
    uint64_t bytes = 0;
    const vsw_live_counters before = v->live.counters;
    vsw_ring_wake(ring);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = vsw_out_length(out[i], 0);
        if (__builtin_expect(length > VSW_SLOT_BYTES, 0)) {
            vsw_live_drop(&v->live, VSW_DROP_TX_TOO_LONG, 1);
            continue;
        }
        if (taken >= waiting) {
            vsw_live_drop(&v->live, ring->fault ? VSW_DROP_TX_REFUSED : VSW_DROP_TX_FULL, 1);
            continue;
        }
        if (v->joins && i >= alone) {
            uint32_t run, chains = vsw_vhost_join(v, ring, taken, waiting, out + i, count - i, &run);
            if (chains) {
                for (uint32_t end = i + run; i < end; i++) bytes += vsw_out_length(out[i], 0);
                i--;
                sent += run;
                taken += chains;
                looked = at = 0;
                continue;
            }
            alone = i + run;
            if (ring->fault) {
                vsw_live_drop(&v->live, VSW_DROP_TX_REFUSED, 1);
                waiting = taken;
                continue;
            }
        }
        if (at == looked) {
            looked = waiting - taken < VSW_NET_AHEAD ? waiting - taken : VSW_NET_AHEAD;
            vsw_net_look(ring, taken, looked, VSW_DESC_WRITE, piece);
            at = 0;
        }
        const vsw_net_piece *p = &piece[at];
        uint32_t chains = 1;
        if (p->data != NULL && p->length >= length + v->header) {
            memcpy(p->data, &plain, v->header == VSW_NET_HEADER ? VSW_NET_HEADER : VSW_NET_HEADER_OLD);
            uint8_t *to = p->data + v->header;
            if (out[i]->copy.tags == 0 && out[i]->copy.body_at == VSW_MACS && out[i]->copy.pad == 0 && out[i]->captured == length) {
                vsw_frame_copy(to, out[i]->data, length);
            } else {
                vsw_out_write(out[i], 0, to);
            }
            vsw_used_put(ring, taken, p->head, length + v->header);
            at++;
        } else {
            int never;
            chains = vsw_vhost_long(v, ring, taken, waiting, out[i], &never);
            if (chains == 0) {
                vsw_live_drop(&v->live, ring->fault ? VSW_DROP_TX_REFUSED : never ? VSW_DROP_TX_TOO_LONG : VSW_DROP_TX_FULL, 1);
                if (ring->fault) waiting = taken;
                continue;
            }
            looked = at = 0;
        }
        taken += chains;
        sent++;
        bytes += length;
    }
    if (taken == 0) return;
    if (!vsw_ring_sound(ring) && ring->fault == VSW_RING_MEMORY) {
        vsw_live_drop(&v->live, VSW_DROP_TX_NO_PEER, sent);
        v->live.counters.tx_joined_frames = before.tx_joined_frames;
        v->live.counters.tx_joined_bytes = before.tx_joined_bytes;
        return;
    }
    ring->next_available = (uint16_t)(ring->next_available + taken);
    vsw_used_publish(ring, taken);
    vsw_used_call(ring);
    v->live.counters.tx_frames += sent;
    v->live.counters.tx_bytes += bytes;
}

/* A number that is the same for all frames of a flow: of the addresses, and of what stands where IPv4 has its addresses and ports. */
static inline uint32_t vsw_vhost_flow(const vsw_out *out) {
    const uint32_t addresses = 26, ports = 38;
    uint64_t a, b, c = 0;
    memcpy(&a, out->data, sizeof a);
    memcpy(&b, out->data + VSW_MACS - sizeof b, sizeof b);
    if (out->captured >= ports) {
        uint64_t d;
        memcpy(&d, out->data + addresses, sizeof d);
        memcpy(&c, out->data + ports - 4, 4);
        c ^= d;
    }
    uint64_t hash = (a ^ b * 3 ^ c * 5) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(hash >> 32);
}

static inline void vsw_vhost_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    vsw_vhost *v = (vsw_vhost *)self;
    vsw_ring *running[VSW_NET_PAIRS];
    uint32_t rings = 0;
    if (count == 0) return;
    if (__atomic_load_n(&self->link, __ATOMIC_ACQUIRE)) {
        for (uint32_t pair = 0; pair < v->pairs; pair++) {
            if (vsw_ring_enter(v->ring[2 * pair])) running[rings++] = v->ring[2 * pair];
        }
    }
    if (rings == 0) {
        vsw_live_drop(self, VSW_DROP_TX_NO_PEER, count);
        return;
    }
    if (rings == 1) {
        vsw_vhost_transmit_ring(v, running[0], out, count);
    } else {
        const vsw_out *mine[VSW_BURST];
        uint8_t which[VSW_BURST];
        for (uint32_t start = 0; start < count; start += VSW_BURST) {
            uint32_t part = count - start < VSW_BURST ? count - start : VSW_BURST;
            for (uint32_t i = 0; i < part; i++) which[i] = (uint8_t)(vsw_vhost_flow(out[start + i]) % rings);
            for (uint32_t r = 0; r < rings; r++) {
                uint32_t many = 0;
                for (uint32_t i = 0; i < part; i++) {
                    mine[many] = out[start + i];
                    many += which[i] == r;
                }
                if (many) vsw_vhost_transmit_ring(v, running[r], mine, many);
            }
        }
    }
    for (uint32_t r = 0; r < rings; r++) vsw_ring_leave(running[r]);
}

/* ---- sleeping */

/* Asks the guest for kicks; 1 if a frame is there already. */
static inline uint32_t vsw_vhost_arm(vsw_live *self) {
    vsw_vhost *v = (vsw_vhost *)self;
    uint32_t there = v->gso->length != 0;
    if (!__atomic_load_n(&self->link, __ATOMIC_ACQUIRE)) return 0;
    for (uint32_t pair = 0; pair < v->pairs; pair++) {
        vsw_ring *ring = v->ring[2 * pair + 1];
        if (!vsw_ring_enter(ring)) continue;
        there |= !vsw_ring_sleep(ring);
        vsw_ring_leave(ring);
    }
    return there;
}

/* rx_fd is an epoll instance over the guest's eventfds, edge by edge: asking it takes back what it had to say, and reads nothing of the guest's. */
static inline void vsw_vhost_disarm(vsw_live *self) {
    struct epoll_event events[VSW_NET_PAIRS];
    while (epoll_wait(self->rx_fd, events, VSW_NET_PAIRS, 0) == VSW_NET_PAIRS) continue;
}

#endif
