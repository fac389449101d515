/* wrap.h: a port around a port: what all wrappers share.
 *
 * The wrapper is the port that the loop knows; it calls the one inside, and shows what that one says of its descriptors, its link and its backlog.  */
#ifndef VSW_PORTS_WRAP_H
#define VSW_PORTS_WRAP_H

#include "vsw/ports/port.h"

typedef struct vsw_wrap {
    vsw_live live;                     /* first */
    vsw_live *inner;
} vsw_wrap;

/* After every call: the wrapper looks as the port inside does. */
static inline void vsw_wrap_mirror(vsw_wrap *w) {
    w->live.rx_fd = w->inner->rx_fd;
    w->live.tx_fd = w->inner->tx_fd;
    w->live.link = w->inner->link;
    w->live.blocked = w->inner->blocked;
    w->live.shortest = w->inner->shortest;
    if (w->inner->attention)
        __atomic_store_n(&w->live.attention, 1, __ATOMIC_RELEASE);
}

static inline uint32_t vsw_wrap_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_wrap *w = (vsw_wrap *)self;
    w->inner->now = self->now;
    uint32_t count = w->inner->receive(w->inner, burst, first, limit, slots);
    vsw_wrap_mirror(w);
    return count;
}

static inline void vsw_wrap_release(vsw_live *self) {
    vsw_wrap *w = (vsw_wrap *)self;
    w->inner->release(w->inner);
}

static inline void vsw_wrap_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    vsw_wrap *w = (vsw_wrap *)self;
    w->inner->now = self->now;
    w->inner->transmit(w->inner, out, count);
    vsw_wrap_mirror(w);
}

static inline uint32_t vsw_wrap_arm(vsw_live *self) {
    vsw_wrap *w = (vsw_wrap *)self;
    return w->inner->arm(w->inner);
}

static inline void vsw_wrap_disarm(vsw_live *self) {
    vsw_wrap *w = (vsw_wrap *)self;
    w->inner->disarm(w->inner);
}

static inline void vsw_wrap_init(vsw_wrap *w) {
    w->live.receive = vsw_wrap_receive;
    w->live.release = vsw_wrap_release;
    w->live.transmit = vsw_wrap_transmit;
    w->live.arm = vsw_wrap_arm;
    w->live.disarm = vsw_wrap_disarm;
}

#endif
